"""Tables as inputs: their rows are the items, and ``run`` gets them as DataFrames."""

from __future__ import annotations

import json
from collections.abc import Callable, Container, Iterator, Mapping, Sequence
from copy import copy
from itertools import chain
from typing import TYPE_CHECKING, Any, ClassVar, cast

from ...errors import InputError
from ...worker.failures import BadInput
from ...worker.tables.reader import load_table
from ..batching import STILL_READING, BatchSpec
from ..partitions.group_by_keys import combinations_of
from ..partitions.path_format import PartitionFormat, check_keys
from ..partitions.writer import write_partitions
from ..storage.datastores import place_of
from ..storage.storage import StorageSpec
from ..tables.column_layout import ColumnLayout, arrange, split_types
from ..tables.column_types import Types, given_types
from ..tables.delimited import check_delimited, header_mode, plan_delimited
from ..tables.json_lines import check_json_lines, plan_json_lines
from ..tables.parquet import check_parquet, plan_parquet, require_pyarrow
from ..tables.table_files import Plan, PlannedBatch, TableFile, sources_of
from ..tables.text_encoding import codec_name
from .file_dataset import FileDataset, PathLike

if TYPE_CHECKING:
    import pandas as pd

Paths = PathLike | Sequence[PathLike]

_TAKE_BYTES = 1 << 16
_COPY_BYTES = 1 << 26
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
        arrangement: ColumnLayout | None = None,
    ) -> None:
        self.files = files.for_table()
        self.form = form
        types, of_keys = split_types(options.get("column_types"), files.partition_keys)
        self.options = {**options, "column_types": types}
        self.arrangement = arrangement or ColumnLayout(of_keys)
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
        escape: str | None = None,
        column_types: Types = None,
        missing: Sequence[str] | None = None,
        inference: str = "exact",
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
            One of Python's names, or of Azure's (``"utf8bom"``, ``"iso88591"``, ``"windows1252"``).
            Default: UTF-8, with or without a byte order mark.
        quote
            The character around fields that hold separators or line ends; None where there are no
            such fields and it is a plain character.
        escape
            The character behind which a quote, a separator or a line end is a plain character, such
            as ``"\\"``. Default: None, two quotes stand for one in a quoted field.
        column_types
            Types by column name, or one for all columns: ``"int64"``, ``"float64"``, ``"bool"``,
            ``"str"``, ``"Int64"``, ``"datetime"``, ``"datetime:%d.%m.%Y"`` and others. What is not
            given is inferred from all rows before the first one runs; where all are given, the run
            starts at once.
        missing
            The fields that count as missing, such as ``["", "-"]``. An empty field of numbers, truth
            values or dates is missing in any case. Default: None, in columns of text the empty field
            only, in other columns what pandas takes for missing (``NA``, ``null``, ``nan``, ...).
        inference
            ``"exact"`` (the default): a column of numbers in which one has a leading zero is text,
            and whole numbers above 2^53 stay exact, with gaps as ``Int64``. ``"pandas"``: columns are
            what ``pandas.read_csv`` makes of them, and ``NA`` and its like are missing in all.
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
            A separator, quote, escape, header, encoding, type, ``missing`` or ``inference`` that
            cannot be used.
        """
        options: dict[str, Any] = {
            "separator": _one_character(separator, "separator"),
            "quote": "" if quote in {None, ""} else _one_character(quote, "quote"),
            "encoding": codec_name(encoding),
            "header": header_mode(header),
            "column_types": given_types(column_types),
        }
        # What is not given is not named: a dataset keeps the record that older versions gave it.
        if escape not in {None, ""}:
            options["escape"] = _one_character(escape, "escape")
            _check_different(options)
        if missing is not None:
            options["missing"] = _words(missing)
        if _inference(inference) == "exact":
            options["inference"] = "exact"
        files = FileDataset(
            path, partition_format=partition_format, storage_options=storage_options
        )
        return cls(files, "delimited", options)

    @classmethod
    def from_parquet_files(
        cls,
        path: Paths,
        *,
        partition_format: str | None = None,
        storage_options: Mapping[str, Any] | None = None,
    ) -> TabularDataset:
        """Return the rows of Parquet files; a mini-batch is whole row groups, or ``mini_batch_rows``.

        Parameters
        ----------
        path, partition_format, storage_options
            As for `from_delimited_files`; keys are texts and times. Without a format, folders such as
            ``year=2024`` below the path are keys: numbers where all values are, else texts. All files
            have the same columns, beside an index without a name; their types may differ as far as
            one can hold the other.

        Raises
        ------
        MissingExtraError
            pyarrow is not installed.
        """
        require_pyarrow()
        files = FileDataset(
            path, partition_format=partition_format, storage_options=storage_options
        )
        return cls(files, "parquet", {})

    @classmethod
    def from_json_lines_files(
        cls,
        path: Paths,
        *,
        encoding: str = "utf8",
        column_types: Types = None,
        inference: str = "exact",
        partition_format: str | None = None,
        storage_options: Mapping[str, Any] | None = None,
    ) -> TabularDataset:
        """Return the rows of files that have a JSON object in each line.

        Parameters
        ----------
        path, encoding, partition_format, storage_options
            As for `from_delimited_files`, compressed files too.
        column_types
            Types of some columns; the others are decided from all rows. Columns are the names that
            any row has, in order of appearance. Lists, objects and mixtures stay as they are.
        inference
            ``"exact"`` (the default): whole numbers above 2^53 with gaps are ``Int64``. ``"pandas"``:
            they are objects.

        Raises
        ------
        InputError
            An encoding, type or ``inference`` that cannot be used.
        """
        options: dict[str, Any] = {"encoding": codec_name(encoding)}
        options["column_types"] = given_types(column_types)
        if _inference(inference) == "exact":
            options["inference"] = "exact"
        files = FileDataset(
            path, partition_format=partition_format, storage_options=storage_options
        )
        return cls(files, "json_lines", options)

    @property
    def storage(self) -> StorageSpec | None:
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
        arrangement = ColumnLayout.of_spec(spec.get("arrangement", {}))
        return cls(FileDataset.of_spec(spec), spec["form"], spec["options"], arrangement)

    def arranged(self, arrangement: ColumnLayout) -> TabularDataset:
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
        return combinations_of(chain.from_iterable(self.files.listed()), form, wanted)

    def check(self) -> None:
        """See that every path exists, and that the first file can be read.

        Raises
        ------
        InputError
            A path matches nothing, a file is not of this kind, or a type is given for no column.
        """
        self.files.check()
        for source in self._sources():
            is_there = source.item[1] >= 0 or self.storage is not None
            if source.item[1] and is_there:
                _FORMS[self.form][0](source, self.options)
                return

    def mini_batches(self, number: int, cut: BatchSpec) -> Iterator[tuple[bytes, int]]:
        """Yield the plan line and the number of rows of each mini-batch, as input ``number``.

        `STILL_READING` and rows come in between while the column types are not decided yet.
        """
        lines = self._ranges(number, BatchSpec(_WHOLE_FILES) if cut.keys else cut)
        if self.key_format or self.arrangement.spec():
            lines = arrange(lines, self.arrangement, self.key_format, cut.keys)
        return lines

    def replanned(
        self, number: int, paths: Container[str], types: Mapping[str, str]
    ) -> Iterator[tuple[bytes, int]]:
        """Yield plan lines of some of the files, each one mini-batch, with types decided before.

        Parameters
        ----------
        number
            Of this input in the run.
        paths
            The files.
        types
            Of all columns; empty to infer them.
        """
        twin = copy(self)
        twin.options = {**self.options, "column_types": types or self.options.get("column_types")}
        twin._sources = lambda: sources_of(self.files, paths)  # type: ignore[method-assign] # noqa: SLF001 - of this class
        return twin.mini_batches(number, BatchSpec(_WHOLE_FILES))

    def _ranges(self, number: int, cut: BatchSpec) -> Iterator[tuple[bytes, int]]:
        """Yield the plan line and the number of rows of each range of the files."""
        options = self.options
        if self.arrangement.empty_is_text:
            options = {**options, "empty_is_text": True}
        for planned in _FORMS[self.form][1](self._sources, options, cut):
            if isinstance(planned, int):
                yield STILL_READING, planned
            else:
                yield _line(number, planned), planned.range[2]

    def to_pandas_dataframe(self) -> pd.DataFrame:
        """Return all rows, as the mini-batches have them.

        Raises
        ------
        InputError
            A file cannot be read.
        """
        return self._frame(self.mini_batches(0, BatchSpec(_WHOLE_FILES)), None)

    def take(self, count: int) -> pd.DataFrame:
        """Return the first ``count`` rows; the types are still those of the whole dataset.

        Raises
        ------
        InputError
            A file cannot be read.
        """
        return self._frame(self.mini_batches(0, BatchSpec(_TAKE_BYTES)), count)

    def partition_by(
        self, partition_keys: Sequence[str], target: PathLike, name: str | None = None
    ) -> TabularDataset:
        """Write a copy of this table, partitioned by the values of some columns, and return it.

        The copy is Parquet, in folders ``key=value``, so that all types survive; its keys are its
        last columns. Rows of a combination keep their order. An ``MLTable`` file in the folder says
        how to read it: give the folder as an input later. Memory holds 64 MB of the source at a
        time.

        Parameters
        ----------
        partition_keys
            Columns, the first one the outermost folder.
        target
            A folder, here or in a store, in which a new folder is made for the copy.
        name
            A name for people, kept in the ``MLTable`` file.

        Returns
        -------
        TabularDataset
            The copy; a run over it takes any of the keys as its ``partition_keys``.

        Raises
        ------
        ConfigError
            A key is no column, or all columns are keys.
        InputError
            The table cannot be read, has no rows, or a key's values cannot stand in a path.
        MissingExtraError
            pyarrow is not installed.
        """
        lines = self.mini_batches(0, BatchSpec(_COPY_BYTES))
        frames = (self._frame(iter([line]), None) for line in lines if line[0])
        keys = list(partition_keys)
        place, form, types = write_partitions(frames, keys, place_of(target), name)
        copy = type(self).from_parquet_files(place, partition_format=form)
        return copy.arranged(ColumnLayout(types))

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
                frames.append(load_table(self._here(json.loads(line))))
            except BadInput as error:
                raise InputError(str(error)) from error
            rows += len(frames[-1])
        joined = pd.concat(frames, ignore_index=True) if frames else pd.DataFrame()
        taken: pd.DataFrame = joined[:count]
        return taken

    def _here(self, row: list[Any]) -> list[Any]:
        """Return a plan line with paths on this machine."""
        if self.files.storage is not None:
            from ..staging.local_copies import local_copies

            row[2] = local_copies(list(zip(*row[2:5], strict=True)), self.files.storage)
        return row

    def _sources(self) -> Iterator[TableFile]:
        has_keys = self.form == "parquet" and self.key_format is None
        return sources_of(self.files, has_keys=has_keys)


def _one_character(given: Any, what: str) -> str:
    if not isinstance(given, str) or len(given) != 1 or not given.isascii() or given in "\r\n\0":
        msg = f"{what} is {given!r}; expected one ASCII character, such as ',' or '\\t'."
        raise InputError(msg)
    return given


def _check_different(options: dict[str, Any]) -> None:
    for name in ("separator", "quote"):
        if options["escape"] == options[name]:
            msg = (
                f"escape and {name} are both {options[name]!r}; expected two different characters."
            )
            raise InputError(msg)


def _words(given: Any) -> list[str]:
    words = [given] if isinstance(given, str) else list(given)
    for word in words:
        if not isinstance(word, str):
            msg = f"missing holds {word!r}; expected texts as they stand in the file, such as '-'."
            raise InputError(msg)
    return words


def _inference(given: str) -> str:
    if given not in {"exact", "pandas"}:
        msg = f"inference is {given!r}; expected 'exact' or 'pandas'."
        raise InputError(msg)
    return given


def _line(number: int, planned: PlannedBatch) -> bytes:
    path, size_bytes, version = planned.source.item
    start, end, rows = planned.range
    head = json.dumps(["t", number, [path], [size_bytes], [version]], separators=(",", ":"))
    return f"{head[:-1]},[[{start},{end}]],{planned.table},{rows}]\n".encode("ascii")


_FORMS: dict[str, tuple[Callable[..., None], Callable[..., Plan]]] = {
    "delimited": (check_delimited, plan_delimited),
    "json_lines": (check_json_lines, plan_json_lines),
    "parquet": (check_parquet, plan_parquet),
}
