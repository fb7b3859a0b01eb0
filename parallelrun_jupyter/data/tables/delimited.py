"""Plans delimited text: headers, then one forward pass that finds the rows and the column types."""

from __future__ import annotations

import io
import re
import warnings
from collections.abc import Iterable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass, fields
from functools import lru_cache
from itertools import islice
from typing import Any

from ...errors import InputError
from ...machine import usable_cores
from ...worker.tables.delimited import csv_dialect
from ...worker.tables.row_splitter import Marks
from ..batching import BatchSpec
from .column_types import Inference, fixed_types_of, used_columns
from .first_look import HEAD_BYTES, LOOKED_AT, FirstLook, first_look
from .row_ranges import Range, RowScan
from .table_files import (
    InputWarning,
    Plan,
    PlannedBatch,
    Sources,
    TableFile,
    table_text,
    unreadable,
)
from .text_encoding import TextFile, text_file
from .type_inference import Reading, Rules, infer_block

HEADERS = (
    "all_files_same_headers",
    "all_files_different_headers",
    "from_first_file",
    "no_header",
)
"""Which files have a line of column names, under the names of Azure's MLTable."""

_USUAL_SEPARATORS = ";\t|,"

_HEADER_ALIASES = {
    "only_first_file_has_headers": "from_first_file",
    "all_files_have_same_headers": "all_files_same_headers",
    "combine_all_files_headers": "all_files_different_headers",
    "no_headers": "no_header",
    "true": "all_files_same_headers",
    "false": "no_header",
    "none": "no_header",
}


@dataclass(frozen=True, slots=True)
class Dialect:
    """How delimited text is written: its special characters, encoding and headers."""

    separator: str = ","
    quote: str = '"'
    encoding: str = "utf-8"
    header: str = HEADERS[0]
    escape: str = ""

    @property
    def marks(self) -> Marks:
        """The separator, the quote and the escape character."""
        return Marks(self.separator, self.quote, self.escape)


def header_mode(header: Any) -> str:
    """Return the header mode with this name, enumeration member or truth value.

    Raises
    ------
    InputError
        The mode is unknown.
    """
    name = str(getattr(header, "name", header)).lower()
    name = _HEADER_ALIASES.get(name, name)
    if name not in HEADERS:
        msg = f"header is {header!r}; expected {', '.join(map(repr, HEADERS))}, True or False."
        raise InputError(msg)
    return name


@dataclass
class OpenTable:
    """One open file of a dataset: its text, its own column names, and the scan of its rows."""

    source: TableFile
    text: TextFile
    names: list[str]
    scan: RowScan
    start: int


def open_table(source: TableFile, dialect: Dialect, *, is_first: bool) -> OpenTable:
    """Open a file and read its header, or count its columns if it has none.

    Raises
    ------
    OSError, EOFError, ValueError
        The file cannot be read.
    """
    text = text_file(source.path, dialect.encoding, str(dialect.marks))
    scan = RowScan(text, dialect.marks)
    has_header = dialect.header != "no_header" and (is_first or dialect.header != "from_first_file")
    head, start = scan.first_row()
    if has_header:
        text.check_text(head, start)
    names = list(_header_names(head, text.content_encoding, dialect)) if head else []
    if not has_header:
        # The first row is data: scan again from the start.
        names = [f"Column{number + 1}" for number in range(len(names))]
        scan = RowScan(text, dialect.marks)
        start = text.start
    return OpenTable(source, text, names, scan, start)


@lru_cache(maxsize=64)
def _header_names(head: bytes, encoding: str, dialect: Dialect) -> tuple[str, ...]:
    """Return the column names of a header, made unique as pandas does."""
    names = _plain_names(head, encoding, dialect)
    if names:
        return names
    import pandas as pd

    frame = pd.read_csv(
        io.BytesIO(b"\n" + head),  # the empty line keeps pandas from dropping a byte order mark
        nrows=0,
        index_col=False,
        encoding_errors="replace",
        **csv_dialect(dialect.marks, encoding),
    )
    return tuple(str(name) for name in frame.columns)


def _plain_names(head: bytes, encoding: str, dialect: Dialect) -> tuple[str, ...]:
    """Return the names of a header that is trivial to parse; empty if pandas has to parse it."""
    line = head.removesuffix(b"\n").removesuffix(b"\r")
    if not re.fullmatch(rb"[\x20-\x7e\t]+", line):
        return ()
    names = line.decode(encoding, "replace").split(dialect.separator)
    is_plain = len(set(names)) == len(names) and all(name.strip() for name in names)
    marks = (dialect.quote + dialect.escape).encode("ascii")
    is_plain = is_plain and not any(mark in line for mark in marks)
    return tuple(names) if is_plain else ()


class DelimitedPass:
    """One forward pass over the files of a dataset, which infers the types that are not fixed.

    Parameters
    ----------
    dialect
        How the text is written.
    columns
        The columns of the dataset.
    fixed_types
        Types by column; the others are inferred.
    rules
        How fields are interpreted.
    used
        The columns that are read.
    """

    def __init__(
        self,
        dialect: Dialect,
        columns: list[str],
        fixed_types: dict[str, str],
        rules: Rules,
        used: list[str],
    ) -> None:
        self.dialect = dialect
        self.columns = columns
        self.fixed_types = fixed_types
        self.rules = rules
        self.used = used
        self.inferences = {name: Inference() for name in used if name not in fixed_types}
        #: the guessed types, if all rows are found without inferring their types
        self.look: FirstLook | None = None
        self._has_warned = False

    @property
    def is_decided(self) -> bool:
        """Whether the types are known before the pass, because they are given or guessed."""
        return not self.inferences or self.look is not None

    def types(self) -> list[str]:
        """Return the type of every column that is read."""
        if self.look is not None:
            types = {**self.look.types, **self.fixed_types}
            return [types[name] for name in self.used]
        is_text = self.rules.empty_is_text
        return [
            self.fixed_types.get(name) or self.inferences[name].decide(empty_is_text=is_text)
            for name in self.used
        ]

    def ranges(self, file: OpenTable, cut: BatchSpec) -> Iterator[Range]:
        """Yield the ranges of a file, while other threads infer its types."""
        if self.is_decided:
            file.scan.watch(lambda data: self._check_escapes(file, data))
            yield from file.scan.ranges(cut, file.start)
            return
        for name in self.inferences.keys() - set(file.names):
            self.inferences[name].add("empty", has_gap=True)
        with ThreadPoolExecutor(usable_cores(), thread_name_prefix="types") as threads:
            pending: list[Future[dict[str, Inference]]] = []

            def infer(data: bytes) -> None:
                self._check_escapes(file, data)
                while len(pending) >= 2 * usable_cores():
                    self._merge(pending.pop(0).result())
                wanted = [k for k, name in enumerate(file.names) if self._is_open(name)]
                if wanted:
                    pending.append(threads.submit(self._infer, file, data, wanted))

            file.scan.watch(infer)
            yield from file.scan.ranges(cut, file.start)
            for future in pending:
                self._merge(future.result())

    def _is_open(self, name: str) -> bool:
        return name in self.inferences and not self.inferences[name].is_text

    def _infer(self, file: OpenTable, data: bytes, wanted: list[int]) -> dict[str, Inference]:
        reading = Reading(self.dialect.marks, file.text.content_encoding, self.rules)
        inferences = infer_block(data, len(file.names), wanted, reading)
        return dict(zip((file.names[k] for k in wanted), inferences, strict=True))

    def _merge(self, block: dict[str, Inference]) -> None:
        for name, inference in block.items():
            self.inferences[name].merge(inference)

    def _check_escapes(self, file: OpenTable, data: bytes) -> None:
        """Warn, once, if quotes look escaped and no escape character is given."""
        quote = self.dialect.quote
        if not quote or self.dialect.escape or self._has_warned or b"\\" not in data:
            return  # searching one byte is ten times faster than searching two
        escaped = f"\\{quote}".encode("ascii")
        if escaped not in data:
            return
        ends = re.escape(f"{self.dialect.separator}{quote}\r\n".encode("ascii"))
        example = re.search(
            rb"[^%s]{0,20}%s[^%s][^\r\n]{0,20}" % (ends, re.escape(escaped), ends), data
        )
        if example:
            self._has_warned = True
            shown = example[0].decode("utf-8", "replace")
            text = (
                f"{file.source.name!r} seems to escape quotes with a backslash: {shown!r}. "
                f"They are read as the ends of fields; give escape='\\\\' to read them as quotes."
            )
            warnings.warn(text, InputWarning, stacklevel=2)

    def table(self, file: OpenTable, types: list[str]) -> dict[str, Any]:
        """Return the table of a plan line, from which a worker reads ranges of a file."""
        table: dict[str, Any] = {
            "format": "delimited",
            "separator": self.dialect.separator,
            "quote": self.dialect.quote,
            "columns": self.used,
            "types": types,
            **file.text.table(),
        }
        if self.dialect.escape:
            table["escape"] = self.dialect.escape
        if self.rules.missing is not None:
            table["missing"] = list(self.rules.missing)
        elif self.rules.is_exact:
            table["text_missing"] = [""]
        names = file.names
        if len(self.used) < len(self.columns):
            used = set(self.used)
            # A column that is not one of the dataset's counts the rows of a file without any of them.
            positions = [k for k, name in enumerate(names) if name in used] or [0]
            table.update(width=len(names), positions=positions)
            names = [names[position] for position in positions]
        if self.dialect.header == "all_files_different_headers" and names != self.used:
            table["names"] = names
        if self.look is not None:
            table["assumed"] = {
                "is_exact": self.rules.is_exact,
                "given": sorted(self.fixed_types),
                "empty": list(self.look.empty),
            }
        return table

    def check_header(self, file: OpenTable, first: str) -> None:
        """Check that a file has the header of the first file, if all files must have the same.

        Raises
        ------
        InputError
            Its header is different.
        """
        if self.dialect.header != "all_files_same_headers" or not file.names:
            return
        if file.names != self.columns:
            msg = (
                f"the header of {file.source.name!r} is {_shown(file.names)}, but the header of "
                f"{first!r} is "
                f"{_shown(self.columns)}. Give header='all_files_different_headers' to join the "
                "columns by name."
            )
            raise InputError(msg)


def _shown(names: list[str]) -> str:
    return ", ".join(names[:8]) + (f" and {len(names) - 8} more" if len(names) > 8 else "")


def dialect_of(options: dict[str, Any]) -> Dialect:
    """Return the dialect from a dataset's options."""
    names = {field.name for field in fields(Dialect)}
    return Dialect(**{name: value for name, value in options.items() if name in names})


def check_delimited(source: TableFile, options: dict[str, Any]) -> None:
    """Check that the header of the first file can be read, and has the columns with given types.

    Raises
    ------
    InputError
        It cannot be read, or a type is given for a column that does not exist.
    """
    try:
        first = open_table(source, dialect_of(options), is_first=True)
        first.text.check_encoding(first.start)
    except (OSError, EOFError, ValueError) as error:
        msg = f"the input {source.name!r} could not be read as delimited text: {error}"
        raise InputError(msg) from error
    if options["header"] != "all_files_different_headers":
        fixed_types_of(options, first.names)
        used_columns(options, first.names)


def plan_delimited(sources: Sources, options: dict[str, Any], cut: BatchSpec) -> Plan:
    """Yield the mini-batches of delimited text.

    If all types are given, or can be guessed from the first rows, each mini-batch is yielded as soon
    as its rows are found; otherwise after the pass over all rows, which decides the types.

    Raises
    ------
    InputError
        The headers differ, or a type is given for a column that does not exist, or one that does not
        exist is to be kept.
    """
    dialect = dialect_of(options)
    columns, first = _columns(sources, dialect)
    _check_separator(columns, first, dialect)
    fixed_types = fixed_types_of(options, columns)
    used = used_columns(options, columns)
    pass_ = DelimitedPass(dialect, columns, fixed_types, Rules.of(options), used)
    if cut.assumes_types and pass_.inferences:
        pass_.look = _first_look(sources, pass_, first)
    yield from (_plan_at_once if pass_.is_decided else _plan_inferred)(sources, pass_, first, cut)


def _check_separator(columns: list[str], first: str, dialect: Dialect) -> None:
    """Warn if a table has a single column that another separator would divide."""
    if len(columns) != 1 or dialect.header == "no_header":
        return
    [name] = columns
    likely = max(_USUAL_SEPARATORS, key=name.count)
    if likely in name and dialect.separator not in name:  # otherwise its quotes are right
        text = (
            f"{first!r} is read as a table of one column, {name[:100]!r}, because the separator is "
            f"{dialect.separator!r}. If the separator of the file is {likely!r}, give separator={likely!r}, "
            f"or the option --separator {likely!r}."
        )
        warnings.warn(text, InputWarning, stacklevel=2)


def _plan_at_once(sources: Sources, pass_: DelimitedPass, first: str, cut: BatchSpec) -> Plan:
    """Yield each mini-batch as soon as its rows are found: the types are known."""
    types = pass_.types()
    for source in sources():
        try:
            file = _open_checked(source, pass_, first)
            if file is not None:
                yield from _batches(file, pass_.ranges(file, cut), pass_, types)
        except InputError:
            raise
        except (OSError, EOFError, ValueError) as error:
            yield unreadable(source, error)


def _plan_inferred(sources: Sources, pass_: DelimitedPass, first: str, cut: BatchSpec) -> Plan:
    """Yield the mini-batches after the pass over all rows, which decides the types."""
    held: list[tuple[OpenTable, list[Range]] | PlannedBatch] = []
    for source in sources():
        try:
            file = _open_checked(source, pass_, first)
            if file is not None:
                held.append((file, ranges := []))
                for range_ in pass_.ranges(file, cut):
                    ranges.append(range_)
                    yield range_[2]
        except InputError:
            raise
        except (OSError, EOFError, ValueError) as error:
            held.append(unreadable(source, error))
            yield 1
    types = pass_.types()
    for batches in held:
        if isinstance(batches, PlannedBatch):
            yield batches
        else:
            yield from _batches(*batches, pass_, types)


def _first_look(sources: Sources, pass_: DelimitedPass, first: str) -> FirstLook | None:
    """Return the types that the first rows of some files suggest; None to infer them from all rows."""
    if pass_.dialect.header == "all_files_different_headers":
        return None
    heads: list[bytes] = []
    probes: list[bytes] = []
    encoding = ""
    for source in islice(sources(), LOOKED_AT):
        try:
            file = _open_checked(source, pass_, first)
            if file is None:
                continue
            head = file.text.head(file.start, HEAD_BYTES)
        except (OSError, EOFError, ValueError):  # InputError is one
            return None
        if head is None:
            return None
        heads.append(head)
        probes += file.text.probes(file.start)
        encoding = file.text.content_encoding
    reading = Reading(pass_.dialect.marks, encoding, pass_.rules)
    return first_look(heads, probes, pass_.columns, pass_.inferences, reading) if heads else None


def _open_checked(source: TableFile, pass_: DelimitedPass, first: str) -> OpenTable | None:
    """Open a file that fits its dataset; return None if it has no rows."""
    file = open_table(source, pass_.dialect, is_first=source.name == first)
    if not file.names:
        return None
    pass_.check_header(file, first)
    if pass_.dialect.header in {"no_header", "from_first_file"}:
        file.names = pass_.columns
    return file


def _batches(
    file: OpenTable, ranges: Iterable[Range], pass_: DelimitedPass, types: list[str]
) -> Iterator[PlannedBatch]:
    table = table_text(pass_.table(file, types), file.source)
    for range_ in ranges:
        yield PlannedBatch(file.source, range_, table)


def _columns(sources: Sources, dialect: Dialect) -> tuple[list[str], str]:
    """Return the columns of the dataset, and the name of the first file with rows."""
    columns: dict[str, None] = {}
    first = ""
    for source in sources():
        try:
            names = open_table(source, dialect, is_first=not first).names
        except (OSError, EOFError, ValueError):
            continue  # its mini-batch reports the error
        first = first or (source.name if names else "")
        columns.update(dict.fromkeys(names))
        if names and dialect.header != "all_files_different_headers":
            break
    return list(columns), first
