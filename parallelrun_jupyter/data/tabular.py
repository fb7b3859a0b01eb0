"""Tables as inputs: their rows are the items, and ``run`` gets them as DataFrames."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping, Sequence
from itertools import chain
from typing import TYPE_CHECKING, Any, ClassVar, cast

from ..errors import InputError
from ..worker.failures import BadInput
from ..worker.tables import load_table
from .arrangement import Arrangement, arrange, split_types
from .column_types import Types, given_types, known_types
from .combinations import combinations_of
from .cut import STILL_READING, Cut
from .delimited import DelimitedPass, Dialect, TableFile, header_mode, open_table
from .files import FileDataset, PathLike
from .local import FileItem
from .partition_format import PartitionFormat, check_keys
from .ranges import Range
from .storage import Storage
from .text_files import codec_name

if TYPE_CHECKING:
    import pandas as pd

Paths = PathLike | Sequence[PathLike]

_TAKE_BYTES = 1 << 16
_WHOLE_FILES = 1 << 62


class TabularDataset:
    """Rows of files to run over, each one an item; made by one of its ``from_`` methods.

    A mini-batch is a DataFrame of consecutive rows of one file, with a fresh index. The column
    types are decided once for the whole dataset.
    """

    kind: ClassVar[str] = "tabular"

    def __init__(
        self,
        files: FileDataset,
        form: str,
        options: dict[str, Any],
        arrangement: Arrangement | None = None,
    ) -> None:
        self.files = files
        self.form = form
        types, of_keys = split_types(options.get("column_types"), files.partition_keys)
        self.options = {**options, "column_types": types}
        self.arrangement = arrangement or Arrangement(of_keys)
        self.key_format = (
            PartitionFormat(files.partition_format.text, self.arrangement.key_types)
            if files.partition_format
            else None
        )

    def __repr__(self) -> str:
        return f"TabularDataset of {self.form} {self.files!r}"

    @classmethod
    def from_delimited_files(
        cls,
        path: Paths,
        *,
        separator: str = ",",
        header: Any = "all_files_same_headers",
        encoding: str = "utf8",
        quote: str | None = '"',
        column_types: Types = None,
        storage_options: Mapping[str, Any] | None = None,
        support_multi_line: bool = False,  # noqa: ARG003 - Azure's; quoted line ends always count
        partition_format: str | None = None,
    ) -> TabularDataset:
        r"""Return the rows of delimited text files.

        Parameters
        ----------
        path
            A file, folder or glob, or a list of them, as for `FileDataset`. Files whose names end in
            ``.gz``, ``.bz2``, ``.xz`` or ``.zip`` are decompressed; each is one mini-batch.
        separator
            One ASCII character. Default: a comma.
        header
            ``"all_files_same_headers"`` (the default, and True), ``"all_files_different_headers"``
            (the columns are joined by name), ``"from_first_file"`` (only that one has a header), or
            ``"no_header"`` (and False): the columns are Column1, Column2 and so on.
        encoding
            Default: UTF-8, with or without a byte order mark.
        quote
            The character around fields that hold separators or line ends; None where there are no
            such fields and it is a plain character.
        column_types
            Types by column name, or one for all columns: ``"int64"``, ``"float64"``, ``"bool"``,
            ``"str"``, ``"Int64"``, ``"datetime"``, ``"datetime:%d.%m.%Y"`` and others. What is not
            given is inferred from all rows before the first one runs; where all are given, the run
            starts at once.
        storage_options
            For URLs, as for `FileDataset`. Files of a store are brought here once, by the pass.
        support_multi_line
            Accepted and not needed: a line end in quotes never ends a row.
        partition_format
            Which parts of the paths are which keys, as for `FileDataset`. The keys are the last
            columns of the table, in place of columns of these names in the files; ``column_types``
            gives their types too.

        Raises
        ------
        InputError
            A separator, quote, header, encoding or type that cannot be used.
        """
        dialect = {
            "separator": _one_character(separator, "separator"),
            "quote": "" if quote in {None, ""} else _one_character(quote, "quote"),
            "encoding": codec_name(encoding),
            "header": header_mode(header),
        }
        options = {**dialect, "column_types": given_types(column_types)}
        files = FileDataset(
            path, partition_format=partition_format, storage_options=storage_options
        )
        return cls(files, "delimited", options)

    @property
    def storage(self) -> Storage | None:
        """The store that the files are in; None on this machine."""
        return self.files.storage

    def spec(self) -> dict[str, Any]:
        """Return what a run's record says of this dataset: JSON, and no secret."""
        files = {k: v for k, v in self.files.spec().items() if k != "kind"}
        spec = {"kind": self.kind, "form": self.form, "options": self.options, **files}
        return {**spec, "arrangement": self.arrangement.spec()}

    @classmethod
    def of_spec(cls, spec: dict[str, Any]) -> TabularDataset:
        """Return the dataset that a run's record describes."""
        arrangement = Arrangement.of_spec(spec.get("arrangement", {}))
        return cls(FileDataset.of_spec(spec), spec["form"], spec["options"], arrangement)

    def arranged(self, arrangement: Arrangement) -> TabularDataset:
        """Return this table with other columns of its own: keys' types, the path, what is left out."""
        return type(self)(self.files, self.form, self.options, arrangement)

    @property
    def partition_keys(self) -> list[str]:
        """Names of the keys that the paths carry: the last columns of the table."""
        return self.files.partition_keys

    def get_partition_key_values(self, keys: Sequence[str] | None = None) -> list[dict[str, Any]]:
        """Return the combinations of the keys' values that there are, each one once.

        Parameters
        ----------
        keys
            Some of the partition keys. Default: all of them.

        Returns
        -------
        list
            A dict for each combination, in order of its first file.

        Raises
        ------
        ConfigError
            One of ``keys`` is no key of this dataset.
        InputError
            The files cannot be listed, or a path does not match the format.
        """
        wanted = self.partition_keys if keys is None else list(keys)
        check_keys(wanted, self.partition_keys, repr(self))
        form = cast("PartitionFormat", self.key_format)  # where there are keys, there is a format
        return combinations_of((path for path, *_ in self._items()), form, wanted)

    def check(self) -> None:
        """See that every path exists, and that the first file can be read.

        Raises
        ------
        InputError
            A path matches nothing, a header cannot be read, or a type is given for no column.
        """
        self.files.check()
        for item in self._items():
            if item[1]:
                first = open_table(item, self._dialect(), is_first=True)
                if self.options["header"] != "all_files_different_headers":
                    known_types(self.options["column_types"], first.names)
                return

    def mini_batches(self, number: int, cut: Cut) -> Iterator[tuple[bytes, int]]:
        """Yield the plan line and the number of rows of each mini-batch, as input ``number``.

        `STILL_READING` comes in between while the column types are not decided yet.
        """
        lines = self._ranges(number, Cut(_WHOLE_FILES) if cut.keys else cut)
        if self.key_format or self.arrangement.spec():
            lines = arrange(lines, self.arrangement, self.key_format, cut.keys)
        return lines

    def _ranges(self, number: int, cut: Cut) -> Iterator[tuple[bytes, int]]:
        """Yield the plan line and the number of rows of each range of the files."""
        columns, first = self._columns()
        known = known_types(self.options["column_types"], columns)
        reading = DelimitedPass(self._dialect(), columns, known)
        if not reading.seen:
            for file in self._tables(reading, first):
                head, tail = _line_parts(number, file.item, reading.table(file, reading.types()))
                for found in reading.ranges(file, cut):
                    yield _line(head, found, tail), found[2]
            return
        planned: list[tuple[FileItem, dict[str, Any], list[Range]]] = []
        for file in self._tables(reading, first):
            ranges: list[Range] = []
            for found in reading.ranges(file, cut):
                ranges.append(found)
                yield STILL_READING
            planned.append((file.item, reading.table(file, []), ranges))
        types = reading.types()
        for item, table, ranges in planned:
            head, tail = _line_parts(number, item, {**table, "types": types})
            for found in ranges:
                yield _line(head, found, tail), found[2]

    def to_pandas_dataframe(self) -> pd.DataFrame:
        """Return all rows, as the mini-batches have them.

        Raises
        ------
        InputError
            A file cannot be read.
        """
        return self._frame(self.mini_batches(0, Cut(_WHOLE_FILES)), None)

    def take(self, count: int) -> pd.DataFrame:
        """Return the first ``count`` rows; the types are still those of the whole dataset.

        Raises
        ------
        InputError
            A file cannot be read.
        """
        return self._frame(self.mini_batches(0, Cut(_TAKE_BYTES)), count)

    def _frame(self, lines: Iterator[tuple[bytes, int]], count: int | None) -> pd.DataFrame:
        import pandas as pd

        frames: list[Any] = []
        rows = 0
        for line, _ in lines:
            if not line:
                continue
            if count is not None and rows >= count:
                break
            try:
                frames.append(load_table(json.loads(line)))
            except BadInput as error:
                raise InputError(str(error)) from error
            rows += len(frames[-1])
        joined = pd.concat(frames, ignore_index=True) if frames else pd.DataFrame()
        taken: pd.DataFrame = joined[:count]
        return taken

    def _items(self) -> Iterator[FileItem]:
        return chain.from_iterable(self.files.folders())

    def _dialect(self) -> Dialect:
        return Dialect(**{k: v for k, v in self.options.items() if k != "column_types"})

    def _columns(self) -> tuple[list[str], str]:
        """Return the columns of the dataset, and the file that they come from."""
        dialect = self._dialect()
        columns: dict[str, None] = {}
        first = ""
        for item in self._items():
            names = open_table(item, dialect, is_first=not first).names
            first = first or (item[0] if names else "")
            columns.update(dict.fromkeys(names))
            if names and dialect.header != "all_files_different_headers":
                break
        return list(columns), first

    def _tables(self, reading: DelimitedPass, first: str) -> Iterator[TableFile]:
        """Open the files in turn; those without a single row are left out."""
        for item in self._items():
            file = open_table(item, reading.dialect, is_first=item[0] == first)
            if not file.names:
                continue
            reading.check_header(file, first)
            if reading.dialect.header in {"no_header", "from_first_file"}:
                file.names = reading.columns
            yield file


def _one_character(given: Any, what: str) -> str:
    if not isinstance(given, str) or len(given) != 1 or not given.isascii() or given in "\r\n\0":
        msg = f"{what} is {given!r}; expected one ASCII character, such as ',' or '\\t'."
        raise InputError(msg)
    return given


def _line_parts(number: int, item: FileItem, table: dict[str, Any]) -> tuple[str, str]:
    """Return what stands before and behind the range and the rows in a file's plan lines."""
    path, size_bytes, mtime_ns = item
    head = json.dumps(["t", number, [path], [size_bytes], [mtime_ns]], separators=(",", ":"))
    return head[:-1], json.dumps(table, separators=(",", ":"))


def _line(head: str, found: Range, tail: str) -> bytes:
    start, end, rows = found
    return f"{head},[[{start},{end}]],{tail},{rows}]\n".encode("ascii")
