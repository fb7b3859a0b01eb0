"""Tables: datasets whose items are rows."""

from __future__ import annotations

import uuid
from dataclasses import replace
from typing import Any

from ...data.datasets.tabular_dataset import TabularDataset as NativeTable
from ...pipelines import registered_datasets
from ..exceptions import UserErrorException
from .dataset_types import DataType, plain_header
from .datasets import AbstractDataset, Dataset, check_there
from .places import in_datastore, native_path, paths_of, target_of

_TYPES = {"str": "str", "int": "Int64", "float": "float64", "bool": "boolean"}


class TabularDataset(AbstractDataset):
    """Rows of delimited, Parquet or JSON lines files."""

    is_tabular = True

    def __init__(
        self, native: Any, facts: dict[str, Any] | None = None, limit: int | None = None
    ) -> None:
        super().__init__(native, facts)
        self._limit = limit

    def __repr__(self) -> str:
        return f'TabularDataset\n{{\n  "source": {list(self._native.files.paths)!r}\n}}'

    @property
    def native(self) -> Any:
        """The dataset as the rest of this package has it.

        Raises
        ------
        UserErrorException
            It is the first rows of another one, which can be looked at and not run over.
        """
        if self._limit is not None:
            msg = (
                "a dataset after take() can be looked at, with to_pandas_dataframe(), and not be "
                "run over; run over the whole one, or register_pandas_dataframe its rows."
            )
            raise UserErrorException(msg)
        return self._native

    def to_pandas_dataframe(
        self, on_error: str = "null", out_of_range_datetime: str = "null"
    ) -> Any:
        """Return the rows as a DataFrame."""
        if self._limit is not None:
            return self._native.take(self._limit)
        return self._native.to_pandas_dataframe()

    def take(self, count: int) -> TabularDataset:
        """Return a dataset of the first rows, to be looked at."""
        return TabularDataset(self._native, limit=count)

    def partition_by(
        self,
        partition_keys: list[str],
        target: Any,
        name: str | None = None,
        show_progress: bool = True,
        partition_as_file_dataset: bool = False,
    ) -> TabularDataset:
        """Write a copy that is partitioned by some columns, and return it; those come last in it.

        Parameters
        ----------
        partition_keys
            The columns.
        target
            ``(datastore, path)``, or what ``datastore.path`` returns.
        name
            Register the copy under this name.
        show_progress
            Taken and not used.
        partition_as_file_dataset
            Not available.

        Raises
        ------
        UserErrorException
            ``partition_as_file_dataset`` is True.
        """
        if partition_as_file_dataset:
            msg = "partition_as_file_dataset=True is not available; give partition_format instead."
            raise UserErrorException(msg)
        datastore, path = target_of(target)
        made = self.native.partition_by(partition_keys, in_datastore(datastore, path), name)
        copy = TabularDataset(made)
        if name is None:
            return copy
        facts = vars(copy.register(datastore.workspace, name, create_new_version=True))
        return TabularDataset(made, {**facts, "name": name})


class TabularDatasetFactory:
    """``Dataset.Tabular``."""

    @staticmethod
    def from_delimited_files(
        path: Any,
        validate: bool = True,
        include_path: bool = False,
        infer_column_types: bool = True,
        set_column_types: dict[str, DataType] | None = None,
        separator: str = ",",
        header: Any = True,
        partition_format: str | None = None,
        support_multi_line: bool = False,
        empty_as_string: bool = False,
        encoding: str = "utf8",
    ) -> TabularDataset:
        """Return a dataset of the rows of delimited files.

        Parameters
        ----------
        path
            A path, a URL, ``(datastore, path)``, what ``datastore.path`` returns, or a list.
        validate
            See now that the first file can be read.
        include_path
            Not available.
        infer_column_types
            False: all columns are text.
        set_column_types
            Types by column name.
        separator, header, encoding
            As in Azure.
        partition_format
            Which keys are in the paths; they are columns too.
        support_multi_line
            Taken and not used: line ends in quotes never end a row.
        empty_as_string
            True: in columns of text every field is text, the empty one and ``NA`` too. False: those
            are missing, as pandas has it.

        Raises
        ------
        DatasetValidationError
            Nothing is there or it cannot be read, and ``validate`` is True.
        """
        types: Any = _types(set_column_types)
        if not infer_column_types and not types:
            types = "str"
        native = NativeTable.from_delimited_files(
            _native_paths(path, include_path),
            separator=separator,
            header=plain_header(header),
            encoding=encoding,
            column_types=types,
            inference="pandas",
            **_keys(partition_format),
        )  # fmt: skip
        if empty_as_string:
            native = native.with_layout(replace(native.layout, empty_is_text=True))
        return _made(native, validate)

    @staticmethod
    def from_parquet_files(
        path: Any,
        validate: bool = True,
        include_path: bool = False,
        set_column_types: dict[str, DataType] | None = None,
        partition_format: str | None = None,
    ) -> TabularDataset:
        """Return a dataset of the rows of Parquet files.

        Raises
        ------
        DatasetValidationError
            Nothing is there or it cannot be read, and ``validate`` is True.
        """
        paths = _native_paths(path, include_path)
        native = NativeTable.from_parquet_files(paths, **_keys(partition_format))
        return _made(native, validate)

    @staticmethod
    def from_json_lines_files(
        path: Any,
        validate: bool = True,
        include_path: bool = False,
        set_column_types: dict[str, DataType] | None = None,
        partition_format: str | None = None,
        invalid_lines: str = "error",
        encoding: str = "utf8",
    ) -> TabularDataset:
        """Return a dataset of the rows of files with a JSON object in each line.

        Raises
        ------
        DatasetValidationError
            Nothing is there or it cannot be read, and ``validate`` is True.
        UserErrorException
            ``invalid_lines`` is not ``error``: no line is dropped without a word.
        """
        if invalid_lines != "error":
            msg = f"invalid_lines is {invalid_lines!r}; expected 'error': no line is dropped here."
            raise UserErrorException(msg)
        native = NativeTable.from_json_lines_files(
            _native_paths(path, include_path),
            encoding=encoding,
            column_types=_types(set_column_types),
            inference="pandas",
            **_keys(partition_format),
        )
        return _made(native, validate)

    @staticmethod
    def register_pandas_dataframe(
        dataframe: Any,
        target: Any,
        name: str,
        description: str | None = None,
        tags: dict[str, str] | None = None,
        show_progress: bool = True,
        **_: Any,
    ) -> Any:
        """Write a DataFrame as Parquet into a datastore, and register it as a dataset.

        Every call writes a file of its own, in a new folder below the target, and registers it as
        the next version: earlier versions keep their rows.

        Raises
        ------
        ConfigError
            The name has a ``/``, or is empty.
        InputError
            The store refuses.
        """
        registered_datasets.check_name(name, "dataset")
        datastore, path = target_of(target)
        # Not the number of the version: that begins anew when the name was unregistered.
        own_folder = f"{path.strip('/')}/{uuid.uuid4()}".lstrip("/")
        file = (datastore, f"{own_folder}/{name}.parquet")
        datastore.put_frame(dataframe, native_path(file))
        made = TabularDatasetFactory.from_parquet_files(file, validate=False)
        return made.register(datastore.workspace, name, description, tags, create_new_version=True)


def _native_paths(path: Any, include_path: bool) -> list[Any]:
    if include_path:
        msg = "include_path=True is not available; partition_format makes columns of paths."
        raise UserErrorException(msg)
    return [native_path(one) for one in paths_of(path)]


def _keys(partition_format: str | None) -> dict[str, Any]:
    return {} if partition_format is None else {"partition_format": partition_format}


def _types(given: dict[str, DataType] | None) -> dict[str, str] | None:
    if not given:
        return None
    found = {}
    for column, kind in given.items():
        if kind.type_name == "datetime":
            found[column] = f"datetime:{kind.formats[0]}" if kind.formats else "datetime"
        else:
            found[column] = _TYPES[kind.type_name]
    return found


def _made(native: NativeTable, validate: bool) -> TabularDataset:
    if validate:
        check_there(native)
    return TabularDataset(native)


Dataset.Tabular = TabularDatasetFactory
