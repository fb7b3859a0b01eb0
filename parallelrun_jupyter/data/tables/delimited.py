"""Delimited text: headers, one forward pass that finds rows and column types, and plan lines."""

from __future__ import annotations

import io
import re
import warnings
from collections.abc import Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass, fields
from functools import lru_cache
from typing import Any

from ...errors import InputError
from ...machine import usable_cores
from ..batching import BatchSpec
from .column_types import Inference, known_types
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
from .type_inference import Reading, infer_block

HEADERS = (
    "all_files_same_headers",
    "all_files_different_headers",
    "from_first_file",
    "no_header",
)
"""How a dataset's files carry their column names; the words of Azure's MLTable."""

_OTHER_HEADERS = {
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
    """How delimited text is written."""

    separator: str = ","
    quote: str = '"'
    encoding: str = "utf-8"
    header: str = HEADERS[0]
    escape: str = ""

    @property
    def marks(self) -> tuple[str, str, str]:
        """The separator, the quote and the escape character."""
        return self.separator, self.quote, self.escape


def header_mode(given: Any) -> str:
    """Return the header mode that was given, by one of its names.

    Raises
    ------
    InputError
        It is none.
    """
    name = str(getattr(given, "name", given)).lower()
    name = _OTHER_HEADERS.get(name, name)
    if name not in HEADERS:
        msg = f"header is {given!r}; expected {', '.join(map(repr, HEADERS))}, True or False."
        raise InputError(msg)
    return name


@dataclass
class OpenTable:
    """One file of a dataset: where it is, how it is read, and its own column names."""

    source: TableFile
    text: TextFile
    names: list[str]
    scan: RowScan
    start: int


def open_table(source: TableFile, dialect: Dialect, *, is_first: bool) -> OpenTable:
    """Open a file and read its header, or count its columns where it has none.

    Raises
    ------
    OSError, EOFError, ValueError
        It cannot be read.
    """
    text = text_file(source.path, dialect.encoding, "".join(dialect.marks))
    scan = RowScan(text, *dialect.marks)
    has_header = dialect.header != "no_header" and (is_first or dialect.header != "from_first_file")
    head, start = scan.first_row()
    if has_header:
        text.check_text(head, start)
    encoding = text.encoding if text.is_transparent else "utf-8"
    names = list(_header_names(head, encoding, dialect)) if head else []
    if not has_header:
        # The row that was looked at is data; the scan begins again.
        names = [f"Column{number + 1}" for number in range(len(names))]
        scan = RowScan(text, *dialect.marks)
        start = text.start
    return OpenTable(source, text, names, scan, start)


@lru_cache(maxsize=64)
def _header_names(head: bytes, encoding: str, dialect: Dialect) -> tuple[str, ...]:
    """Return the column names of a header, told apart as pandas does."""
    names = _plain_names(head, encoding, dialect)
    if names:
        return names
    import pandas as pd

    frame = pd.read_csv(
        io.BytesIO(b"\n" + head),  # behind an empty line, no character is taken for a mark
        sep=dialect.separator,
        nrows=0,
        index_col=False,
        encoding=encoding,
        encoding_errors="replace",
        quotechar=dialect.quote or '"',
        quoting=0 if dialect.quote else 3,
        escapechar=dialect.escape or None,
    )
    return tuple(str(name) for name in frame.columns)


def _plain_names(head: bytes, encoding: str, dialect: Dialect) -> tuple[str, ...]:
    """Return the names of a header in which nothing has to be told apart; none where it has."""
    line = head.removesuffix(b"\n").removesuffix(b"\r")
    if not re.fullmatch(rb"[\x20-\x7e\t]+", line):
        return ()
    names = line.decode(encoding, "replace").split(dialect.separator)
    is_plain = len(set(names)) == len(names) and all(name.strip() for name in names)
    marks = (dialect.quote + dialect.escape).encode("ascii")
    is_plain = is_plain and not any(mark in line for mark in marks)
    return tuple(names) if is_plain else ()


class DelimitedPass:
    """Goes forward through the files of a dataset once, and infers what types are not given.

    Parameters
    ----------
    dialect
        How the text is written.
    columns
        The columns of the dataset.
    known
        The types that are given; the others are inferred.
    rules
        What is read as what.
    """

    def __init__(
        self, dialect: Dialect, columns: list[str], known: dict[str, str], rules: Rules
    ) -> None:
        self.dialect = dialect
        self.columns = columns
        self.known = known
        self.rules = rules
        self.seen = {name: Inference() for name in columns if name not in known}
        self._has_warned = False

    def types(self) -> list[str]:
        """Return the decided type of every column."""
        is_text = self.rules.empty_is_text
        return [
            self.known.get(name) or self.seen[name].decide(empty_is_text=is_text)
            for name in self.columns
        ]

    def ranges(self, file: OpenTable, cut: BatchSpec) -> Iterator[Range]:
        """Yield the ranges of a file, while its types are inferred on all cores."""
        for name in self.seen.keys() - set(file.names):
            self.seen[name].see("empty", has_gap=True)
        if not self.seen:
            file.scan.watch(lambda data: self._look(file, data))
            yield from file.scan.ranges(cut, file.start)
            return
        with ThreadPoolExecutor(usable_cores(), thread_name_prefix="types") as threads:
            pending: list[Future[dict[str, Inference]]] = []

            def see(data: bytes) -> None:
                self._look(file, data)
                while len(pending) >= 2 * usable_cores():
                    self._merge(pending.pop(0).result())
                wanted = [k for k, n in enumerate(file.names) if n in self.seen]
                wanted = [k for k in wanted if not self.seen[file.names[k]].is_text]
                if wanted:
                    pending.append(threads.submit(self._infer, file, data, wanted))

            file.scan.watch(see)
            yield from file.scan.ranges(cut, file.start)
            for future in pending:
                self._merge(future.result())

    def _infer(self, file: OpenTable, data: bytes, wanted: list[int]) -> dict[str, Inference]:
        encoding = file.text.encoding if file.text.is_transparent else "utf-8"
        rules = self.rules
        reading = Reading(*self.dialect.marks, encoding, rules.missing, rules.is_exact)
        seen = infer_block(data, len(file.names), wanted, reading)
        return {file.names[k]: one for k, one in zip(wanted, seen, strict=True)}

    def _look(self, file: OpenTable, data: bytes) -> None:
        """Warn, once, where quotes look escaped and no escape character is given."""
        quote = self.dialect.quote
        if not quote or self.dialect.escape or self._has_warned or b"\\" not in data:
            return  # a single byte is found ten times faster than two
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
                f"{file.source.name!r} looks as if its quotes were escaped by a backslash: {shown!r}. "
                f"They are read as the ends of fields; give escape='\\\\' to read them as quotes."
            )
            warnings.warn(text, InputWarning, stacklevel=2)

    def _merge(self, found: dict[str, Inference]) -> None:
        for name, one in found.items():
            self.seen[name].merge(one)

    def table(self, file: OpenTable, types: list[str]) -> dict[str, Any]:
        """Return what a worker has to know to read ranges of a file."""
        table: dict[str, Any] = {
            "format": "delimited",
            "separator": self.dialect.separator,
            "quote": self.dialect.quote,
            "columns": self.columns,
            "types": types,
            **file.text.table(),
        }
        if self.dialect.escape:
            table["escape"] = self.dialect.escape
        if self.rules.missing is not None:
            table["missing"] = list(self.rules.missing)
        elif self.rules.is_exact:
            table["text_missing"] = [""]
        if self.dialect.header == "all_files_different_headers" and file.names != self.columns:
            table["names"] = file.names
        return table

    def check_header(self, file: OpenTable, first: str) -> None:
        """See that a file has the columns that all have.

        Raises
        ------
        InputError
            Its header is another one.
        """
        if self.dialect.header != "all_files_same_headers" or not file.names:
            return
        if file.names != self.columns:
            msg = (
                f"the header of {file.source.name!r} is {_shown(file.names)}, but that of {first!r} is "
                f"{_shown(self.columns)}. Give header='all_files_different_headers' to join the "
                "columns by name."
            )
            raise InputError(msg)


def _shown(names: list[str]) -> str:
    return ", ".join(names[:8]) + (f" and {len(names) - 8} more" if len(names) > 8 else "")


def dialect_of(options: dict[str, Any]) -> Dialect:
    """Return the dialect among a dataset's options."""
    names = [one.name for one in fields(Dialect)]
    return Dialect(**{name: options[name] for name in names if name in options})


@dataclass(frozen=True, slots=True)
class Rules:
    """What the fields of a column are read as.

    Parameters
    ----------
    missing
        The fields that count as missing; None for those of pandas.
    is_exact
        Whether digits with leading zeros are text, and whole numbers above 2^53 stay what they are;
        and whether the words of pandas for what is missing are text in columns of text.
    empty_is_text
        Whether an empty field in a column of text is empty text, and not missing.
    """

    missing: tuple[str, ...] | None = None
    is_exact: bool = False
    empty_is_text: bool = False

    @classmethod
    def of(cls, options: dict[str, Any]) -> Rules:
        """Return the rules among a dataset's options; records of older versions name none."""
        missing = options.get("missing")
        empty_is_text = options.get("empty_is_text", missing is not None and "" not in missing)
        return cls(
            None if missing is None else tuple(missing),
            is_exact=options.get("inference") == "exact",
            empty_is_text=empty_is_text,
        )


def check_delimited(source: TableFile, options: dict[str, Any]) -> None:
    """See that the header of the first file can be read, and has the columns that have types.

    Raises
    ------
    InputError
        It cannot be read, or a type is given for no column.
    """
    try:
        first = open_table(source, dialect_of(options), is_first=True)
    except (OSError, EOFError, ValueError) as error:
        msg = f"the input {source.name!r} could not be read as delimited text: {error}"
        raise InputError(msg) from error
    if options["header"] != "all_files_different_headers":
        known_types(options["column_types"], first.names)


def plan_delimited(sources: Sources, options: dict[str, Any], cut: BatchSpec) -> Plan:
    """Yield the mini-batches of delimited text; rows while types are not decided yet.

    Raises
    ------
    InputError
        The files do not fit together, or a type is given for no column.
    """
    dialect = dialect_of(options)
    columns, first = _columns(sources, dialect)
    known = known_types(options["column_types"], columns)
    reading = DelimitedPass(dialect, columns, known, Rules.of(options))
    held: list[tuple[OpenTable, list[Range]] | PlannedBatch] = []
    for source in sources():
        try:
            file = _open_checked(source, reading, first)
            if file is not None and not reading.seen:
                table = table_text(reading.table(file, reading.types()), source)
                for found in reading.ranges(file, cut):
                    yield PlannedBatch(source, found, table)
            elif file is not None:
                held.append((file, ranges := []))
                for found in reading.ranges(file, cut):
                    ranges.append(found)
                    yield found[2]
        except InputError:
            raise
        except (OSError, EOFError, ValueError) as error:
            bad = unreadable(source, error)
            held.append(bad)
            yield 1 if reading.seen else bad
    if reading.seen:
        yield from _decided(held, reading)


def _open_checked(source: TableFile, reading: DelimitedPass, first: str) -> OpenTable | None:
    """Open a file that fits its dataset; None where it has not a single row."""
    file = open_table(source, reading.dialect, is_first=source.name == first)
    if not file.names:
        return None
    reading.check_header(file, first)
    if reading.dialect.header in {"no_header", "from_first_file"}:
        file.names = reading.columns
    return file


def _decided(
    held: list[tuple[OpenTable, list[Range]] | PlannedBatch], reading: DelimitedPass
) -> Iterator[PlannedBatch]:
    """Yield what was held back until the types of all columns were known."""
    types = reading.types()
    for one in held:
        if isinstance(one, PlannedBatch):
            yield one
            continue
        table = table_text(reading.table(one[0], types), one[0].source)
        for found in one[1]:
            yield PlannedBatch(one[0].source, found, table)


def _columns(sources: Sources, dialect: Dialect) -> tuple[list[str], str]:
    """Return the columns of the dataset, and the file that they come from."""
    columns: dict[str, None] = {}
    first = ""
    for source in sources():
        try:
            names = open_table(source, dialect, is_first=not first).names
        except (OSError, EOFError, ValueError):
            continue  # it will be a mini-batch that says so
        first = first or (source.name if names else "")
        columns.update(dict.fromkeys(names))
        if names and dialect.header != "all_files_different_headers":
            break
    return list(columns), first
