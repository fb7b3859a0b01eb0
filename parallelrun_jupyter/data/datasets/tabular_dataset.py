"""Tables as inputs: their rows are the items, and ``run()`` gets DataFrames."""

from __future__ import annotations

from collections.abc import Callable, Container, Iterable, Iterator, Mapping, Sequence
from dataclasses import replace
from functools import partial
from itertools import chain
from typing import TYPE_CHECKING, Any, ClassVar, cast

from ...worker.plan_line import PlanLine
from ..batching import STILL_READING, BatchSpec, table_line
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
from ..tables.table_files import Plan, Sources, TableFile, sources_of, unchanged
from ..tables.text_encoding import codec_name
from ..walker import FileItem
from .file_dataset import FileDataset, PathLike
from .loaded_rows import loaded_rows
from .reading_options import (
    escape_of,
    inference_option,
    kept_columns,
    missing_fields,
    one_character,
)

if TYPE_CHECKING:
    import pandas as pd

Paths = PathLike | Sequence[PathLike]

_TAKE_BYTES = 1 << 16
_COPY_BYTES = 1 << 26
_WHOLE_FILES = 1 << 62


class TabularDataset:
    """Rows of tables as the input of a run. Each row is an item.

    Create one with `from_delimited_files`, `from_parquet_files` or `from_json_lines_files`.
    ``run()`` gets a mini-batch as a DataFrame: consecutive rows of one file, with an index from 0.
    The column types are decided once, so they are the same in every mini-batch.

    Examples
    --------
    >>> iris = TabularDataset.from_delimited_files("iris/*.csv", column_types={"species": "str"})
    >>> options = {"account_name": "acct"}
    >>> TabularDataset.from_parquet_files("az://sales/2024", storage_options=options)
    TabularDataset of parquet FileDataset('az://sales/2024')
    >>> logs = TabularDataset.from_json_lines_files(["a.jsonl", "b.jsonl.gz"])
    >>> logs.take(5)  # doctest: +SKIP
    """

    kind: ClassVar[str] = "tabular"

    def __init__(
        self,
        files: FileDataset,
        form: str,
        options: dict[str, Any],
        layout: ColumnLayout | None = None,
    ) -> None:
        self.files = files.for_table()
        self.form = form
        types, key_types = split_types(options.get("column_types"), files.partition_keys)
        self.options = {**options, "column_types": types}
        self.layout = layout or ColumnLayout(key_types)
        self.key_format = (
            PartitionFormat(files.partition_format.text, self.layout.key_types)
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
        columns: Sequence[str] | None = None,
        missing: Sequence[str] | None = None,
        inference: str = "exact",
        storage_options: Mapping[str, Any] | None = None,
        support_multi_line: bool = False,  # noqa: ARG003 - Azure's; quoted line ends always count
        partition_format: str | None = None,
    ) -> TabularDataset:
        r"""Return the rows of delimited text files, such as CSV.

        Parameters
        ----------
        path, storage_options, partition_format
            As for `FileDataset`. Keys become the last columns and replace columns of the same
            names; ``column_types`` may set their types. Files that end in ``.gz``, ``.bz2``,
            ``.xz`` or ``.zip`` are decompressed, and each is one mini-batch. Files in a store are
            downloaded once.
        separator
            One ASCII character. Default: a comma.
        header
            ``"all_files_same_headers"`` (the default, or True), ``"all_files_different_headers"``
            (columns are matched by name), ``"from_first_file"`` (the others have no header), or
            ``"no_header"`` (or False: the columns are Column1, Column2, ...).
        encoding
            Its name in Python or Azure (``"utf8bom"``). Default: UTF-8, with or without a byte order
            mark.
        quote
            Encloses fields that contain separators or line ends; None to read it as plain text.
        escape
            Makes the next quote, separator or line end plain text, such as ``"\\"``. Default: None;
            two quotes in a quoted field stand for one.
        column_types
            Types by column name, or one for all columns: ``"int64"``, ``"float64"``, ``"bool"``,
            ``"str"``, ``"Int64"``, ``"datetime"``, ``"datetime:%d.%m.%Y"`` and others. Other columns
            are those that all rows allow for; a run may start with types that its first rows suggest.
        columns
            The columns that ``run()`` gets, in the order of the file, such as ``["id", "price"]``. The
            fields of the others are not parsed, so their values may be anything; only a row with more
            fields than the header is still an error. Keys of the paths are left out too unless they
            are named. Default: all columns.
        missing
            Fields that mean a missing value, such as ``["", "-"]``; empty numbers, booleans and
            dates are always missing. Default: empty fields, and in columns that are not text also
            ``NA``, ``null``, ``nan`` and the other markers of pandas.
        inference
            ``"exact"``: leading zeros make a column text; integers above 2^53 with gaps are
            ``Int64``. ``"pandas"``: the types, and missing values, of ``pandas.read_csv``.
        support_multi_line
            Ignored: line ends in quotes never end a row.

        Raises
        ------
        InputError
            An argument is invalid.
        ConfigError, MissingExtraError
            As for `FileDataset`.
        """
        options: dict[str, Any] = {
            "separator": one_character(separator, "separator"),
            "quote": "" if quote in {None, ""} else one_character(quote, "quote"),
            "encoding": codec_name(encoding),
            "header": header_mode(header),
            "column_types": given_types(column_types),
        }
        # Records of older versions lack these options, and must equal records with the defaults.
        if escape not in {None, ""}:
            options["escape"] = escape_of(escape, options)
        if missing is not None:
            options["missing"] = missing_fields(missing)
        options.update(inference_option(inference))
        table = cls._of_files(path, "delimited", options, partition_format, storage_options)
        return table._keeping(columns)  # noqa: SLF001 - of this class

    @classmethod
    def from_parquet_files(
        cls,
        path: Paths,
        *,
        columns: Sequence[str] | None = None,
        partition_format: str | None = None,
        storage_options: Mapping[str, Any] | None = None,
    ) -> TabularDataset:
        """Return the rows of Parquet files.

        A mini-batch by size is one or more whole row groups; ``mini_batch_rows`` may divide them.
        All files have the same columns, apart from an unnamed index. Their types may differ if one
        can hold the other.

        Parameters
        ----------
        path, storage_options
            As for `FileDataset`.
        columns
            The columns that ``run()`` gets, in the order of the file; the others are not read, so
            files may differ in them. Keys of the paths are left out too unless they are named.
            Default: all columns.
        partition_format
            As for `FileDataset`; the keys become the last columns, as text or dates. Default: folders
            such as ``year=2024`` below the path are keys, as integers if all their values are.

        Raises
        ------
        MissingExtraError
            pyarrow is not installed.
        InputError, ConfigError
            As for `FileDataset`.
        """
        require_pyarrow()
        table = cls._of_files(path, "parquet", {}, partition_format, storage_options)
        return table._keeping(columns)  # noqa: SLF001 - of this class

    @classmethod
    def from_json_lines_files(
        cls,
        path: Paths,
        *,
        encoding: str = "utf8",
        column_types: Types = None,
        columns: Sequence[str] | None = None,
        inference: str = "exact",
        partition_format: str | None = None,
        storage_options: Mapping[str, Any] | None = None,
    ) -> TabularDataset:
        """Return the rows of files with one JSON object per line.

        The columns are the names that occur in the rows, in order of appearance. Lists, objects and
        mixed values are kept unchanged.

        Parameters
        ----------
        path, encoding, partition_format, storage_options
            As for `from_delimited_files`.
        column_types
            Types by column name, or one for all columns; others are as in `from_delimited_files`.
        columns
            The columns that ``run()`` gets, in order of appearance. Every line must still be an
            object, but the values of the others may be anything. Keys of the paths are left out too
            unless they are named. Default: all columns.
        inference
            ``"exact"`` (the default): integers above 2^53 with gaps are ``Int64``. ``"pandas"``: they
            are objects.

        Raises
        ------
        InputError
            An argument is invalid.
        ConfigError, MissingExtraError
            As for `FileDataset`.
        """
        options: dict[str, Any] = {"encoding": codec_name(encoding)}
        options["column_types"] = given_types(column_types)
        options.update(inference_option(inference))
        table = cls._of_files(path, "json_lines", options, partition_format, storage_options)
        return table._keeping(columns)  # noqa: SLF001 - of this class

    @classmethod
    def _of_files(
        cls,
        path: Paths,
        form: str,
        options: dict[str, Any],
        partition_format: str | None,
        storage_options: Mapping[str, Any] | None,
    ) -> TabularDataset:
        files = FileDataset(
            path, partition_format=partition_format, storage_options=storage_options
        )
        return cls(files, form, options)

    def take(self, count: int) -> pd.DataFrame:
        """Return the first rows. This may read the whole dataset to decide the column types.

        Parameters
        ----------
        count
            Number of rows.

        Raises
        ------
        InputError
            A file cannot be read.
        """
        return loaded_rows(self.mini_batches(0, BatchSpec(_TAKE_BYTES)), self.storage, count)

    def to_pandas_dataframe(self) -> pd.DataFrame:
        """Return all rows, with the types that ``run()`` gets.

        Raises
        ------
        InputError
            A file cannot be read.
        """
        return loaded_rows(self.mini_batches(0, BatchSpec(_WHOLE_FILES)), self.storage)

    def partition_by(
        self, partition_keys: Sequence[str], target: PathLike, name: str | None = None
    ) -> TabularDataset:
        """Write a copy of this table, partitioned by the values of some columns, and return it.

        The copy consists of Parquet files in folders ``key=value``; all types are kept. The keys are
        its last columns, and rows of a combination stay in order. An ``MLTable`` file in the folder
        describes it, so the folder can be an input later. About 64 MB of the source are in memory
        at a time.

        Parameters
        ----------
        partition_keys
            Columns; the first becomes the outermost folder.
        target
            A folder on this machine or in a store. The copy is a new folder in it.
        name
            A name for the ``MLTable`` file's metadata. Default: none.

        Returns
        -------
        TabularDataset
            The copy. A run over it may use any of the keys as its ``partition_keys``.

        Raises
        ------
        ConfigError
            A key is not a column, or all columns are keys.
        InputError
            The table cannot be read or has no rows, or a key's values cannot be in a path.
        MissingExtraError
            pyarrow is not installed.
        """
        lines = self.mini_batches(0, BatchSpec(_COPY_BYTES))
        frames = (loaded_rows(iter([line]), self.storage) for line in lines if line[0])
        place, form, types = write_partitions(frames, list(partition_keys), place_of(target), name)
        written = type(self).from_parquet_files(place, partition_format=form)
        return written.with_layout(ColumnLayout(types))

    @property
    def partition_keys(self) -> list[str]:
        """Names of the keys in the paths; they are the last columns of the table."""
        return self.files.partition_keys

    def get_partition_key_values(self, keys: Sequence[str] | None = None) -> list[dict[str, Any]]:
        """Return the combinations of key values that the files have, each once.

        Parameters
        ----------
        keys
            Some of the partition keys. Default: all of them.

        Returns
        -------
        list
            One dict per combination, in order of its first file.

        Raises
        ------
        ConfigError
            The dataset does not have one of the keys.
        InputError
            The files cannot be listed, or a path does not match the partition format.
        """
        wanted = self.partition_keys if keys is None else list(keys)
        check_keys(wanted, self.partition_keys, repr(self))
        form = cast("PartitionFormat", self.key_format)  # keys come from a format
        return combinations_of(chain.from_iterable(self.files.listed()), form, wanted)

    @property
    def storage(self) -> StorageSpec | None:
        """The store of the files; None on this machine."""
        return self.files.storage

    def spec(self) -> dict[str, Any]:
        """Return this dataset as JSON for the record of a run, with credentials by reference."""
        files = {k: v for k, v in self.files.spec().items() if k != "kind"}
        spec = {"kind": self.kind, "form": self.form, "options": self.options, **files}
        return {**spec, "arrangement": self.layout.spec()}

    @classmethod
    def of_spec(cls, spec: dict[str, Any]) -> TabularDataset:
        """Return the dataset of a run's record."""
        layout = ColumnLayout.of_spec(spec.get("arrangement", {}))
        return cls(FileDataset.of_spec(spec), spec["form"], spec["options"], layout)

    def with_layout(self, layout: ColumnLayout) -> TabularDataset:
        """Return this table with another layout of its columns."""
        return type(self)(self.files, self.form, self.options, layout)

    def _keeping(self, columns: Sequence[str] | None) -> TabularDataset:
        """Return this table with only some of its columns; with all of them for None."""
        if columns is None:
            return self
        return self.with_layout(replace(self.layout, keeps=kept_columns(columns)))

    def check(self) -> None:
        """Check that every path has files, and that the first file that is not empty can be read.

        Raises
        ------
        InputError
            A path matches nothing, a file has another format, or a type names a missing column.
        """
        self.files.check()
        for source in self._sources():
            size = source.item[1]
            if size > 0 or (size < 0 and self.storage is not None):
                check_form, _ = _FORMS[self.form]
                check_form(source, self._planning_options())
                return

    def mini_batches(
        self, number: int, batches: BatchSpec, sources: Sources | None = None
    ) -> Iterator[tuple[bytes, int]]:
        """Yield the plan line and the number of rows of each mini-batch, as input ``number``.

        While the column types are not decided yet, `STILL_READING` is yielded with the rows read.
        ``sources`` lists the files; by default all of them.
        """
        if batches.assumes_types and (self.storage is not None or self.key_format is not None):
            batches = replace(batches, assumes_types=False)  # remote files are read only once
        cut = BatchSpec(_WHOLE_FILES) if batches.keys else batches
        lines = self._plan(sources or self._sources, number, cut)
        if self.key_format or self.layout.spec():
            lines = arrange(lines, self.layout, self.key_format, batches.keys)
        return lines

    def replanned(
        self, number: int, paths: Container[str], types: Mapping[str, str]
    ) -> Iterator[tuple[bytes, int]]:
        """Yield plan lines of some files, each one mini-batch.

        Parameters
        ----------
        number
            Position of this input in the run.
        paths
            The files.
        types
            Types of all columns, as an earlier plan has them; empty to decide them.
        """
        options = {**self.options, "column_types": types or self.options.get("column_types")}
        table = type(self)(self.files, self.form, options, self.layout)
        sources = partial(sources_of, self.files, paths)
        return table.mini_batches(number, BatchSpec(_WHOLE_FILES), sources)

    def types_of_all_rows(
        self, files: Iterable[FileItem], report: Callable[[], None]
    ) -> dict[str, str]:
        """Return the type of each column, inferred from all rows of some local files.

        Files that are gone or have changed are left out; without others the result is empty. ``report``
        is called as a sign of progress.
        """
        types: dict[str, str] = {}
        sources = partial(unchanged, files)
        for text, _ in self.mini_batches(0, BatchSpec(_WHOLE_FILES), sources):
            report()
            table = PlanLine.decode(text).table if text and not types else {}
            if "types" in table:
                types = dict(zip(table["columns"], table["types"], strict=True))
        return types

    def _plan(
        self, sources: Sources, number: int, batches: BatchSpec
    ) -> Iterator[tuple[bytes, int]]:
        _, plan_form = _FORMS[self.form]
        for planned in plan_form(sources, self._planning_options(), batches):
            if isinstance(planned, int):
                yield STILL_READING, planned
            else:
                file, range_ = planned.source.item, planned.range
                yield table_line(number, file, range_, planned.table), range_[2]

    def _planning_options(self) -> dict[str, Any]:
        return {**self.options, **self.layout.planning(self.partition_keys)}

    def _sources(self) -> Iterator[TableFile]:
        has_keys = self.form == "parquet" and self.key_format is None
        return sources_of(self.files, has_keys=has_keys)


_FORMS: dict[str, tuple[Callable[..., None], Callable[..., Plan]]] = {
    "delimited": (check_delimited, plan_delimited),
    "json_lines": (check_json_lines, plan_json_lines),
    "parquet": (check_parquet, plan_parquet),
}
"""How to check and how to plan the files of each format."""
