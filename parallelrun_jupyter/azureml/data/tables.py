"""Tabular datasets, and Azure's names for column types and headers."""

from __future__ import annotations

import uuid
from collections.abc import Sequence
from dataclasses import replace
from enum import Enum
from typing import Any

from ...data.datasets.tabular_dataset import TabularDataset as NativeTable
from ...pipelines import registered_datasets
from ..core.references import in_datastore, native_path, paths_of, target_of
from ..exceptions import UserErrorException
from .datasets import AbstractDataset, Dataset, validate_native


class PromoteHeadersBehavior(Enum):
    """Which files start with a header."""

    NO_HEADERS = 0
    ONLY_FIRST_FILE_HAS_HEADERS = 1
    COMBINE_ALL_FILES_HEADERS = 2
    ALL_FILES_HAVE_SAME_HEADERS = 3


_HEADERS = {
    PromoteHeadersBehavior.NO_HEADERS: "no_header",
    PromoteHeadersBehavior.ONLY_FIRST_FILE_HAS_HEADERS: "from_first_file",
    PromoteHeadersBehavior.COMBINE_ALL_FILES_HEADERS: "all_files_different_headers",
    PromoteHeadersBehavior.ALL_FILES_HAVE_SAME_HEADERS: "all_files_same_headers",
}


def plain_header(value: Any) -> Any:
    """Return the native name of Azure's header setting; other values are returned unchanged."""
    return _HEADERS[value] if isinstance(value, PromoteHeadersBehavior) else value


class DataType:
    """The type of a column.

    Parameters
    ----------
    type_name
        One of ``str``, ``int``, ``float``, ``bool``, ``datetime``.
    formats
        Formats of ``datetime``; the first is used.
    """

    def __init__(self, type_name: str, formats: Sequence[str] = ()) -> None:
        self.type_name = type_name
        self.formats = list(formats)

    def __repr__(self) -> str:
        return f"DataType({self.type_name!r})"

    @staticmethod
    def to_string() -> DataType:
        """Return the type for text."""
        return DataType("str")

    @staticmethod
    def to_long() -> DataType:
        """Return the type for integers."""
        return DataType("int")

    @staticmethod
    def to_float(decimal_mark: str = ".") -> DataType:
        """Return the type for floating-point numbers."""
        return DataType("float")

    @staticmethod
    def to_bool() -> DataType:
        """Return the type for booleans."""
        return DataType("bool")

    @staticmethod
    def to_datetime(formats: str | Sequence[str] | None = None) -> DataType:
        """Return the type for dates and times."""
        return DataType("datetime", [formats] if isinstance(formats, str) else formats or ())


_TYPES = {"str": "str", "int": "Int64", "float": "float64", "bool": "boolean"}


class TabularDataset(AbstractDataset):
    """Rows of delimited, Parquet or JSON Lines files."""

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
        """The dataset as this package's own `TabularDataset`.

        Raises
        ------
        UserErrorException
            It is the result of ``take()``, which cannot be the input of a step.
        """
        if self._limit is not None:
            msg = (
                "the result of take() cannot be the input of a step; it can only be read with "
                "to_pandas_dataframe(). Use the whole dataset, or register the rows with "
                "Dataset.Tabular.register_pandas_dataframe()."
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
        """Return the first ``count`` rows, for reading in the notebook, not as a step's input."""
        return TabularDataset(self._native, limit=count)

    def partition_by(
        self,
        partition_keys: list[str],
        target: Any,
        name: str | None = None,
        show_progress: bool = True,
        partition_as_file_dataset: bool = False,
    ) -> TabularDataset:
        """Write a copy partitioned by some columns, which become its last columns, and return it.

        Parameters
        ----------
        partition_keys
            The columns.
        target
            ``(datastore, path)`` or ``datastore.path(...)``.
        name
            The name to register the copy under. Default: not registered.
        show_progress
            Ignored.
        partition_as_file_dataset
            Not supported.

        Raises
        ------
        UserErrorException
            ``partition_as_file_dataset`` is True.
        """
        if partition_as_file_dataset:
            msg = "partition_as_file_dataset=True is not supported; use partition_format instead."
            raise UserErrorException(msg)
        datastore, path = target_of(target)
        native = self.native.partition_by(partition_keys, in_datastore(datastore, path), name)
        copy = TabularDataset(native)
        if name is None:
            return copy
        facts = vars(copy.register(datastore.workspace, name, create_new_version=True))
        return TabularDataset(native, {**facts, "name": name})


class TabularDatasetFactory:
    """``Dataset.Tabular``: creates tabular datasets."""

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
            A path, a URL, ``(datastore, path)``, ``datastore.path(...)``, or a list of these.
        validate
            Check that the first file can be read.
        include_path
            Not supported.
        infer_column_types
            Whether to infer types; if False, all columns are text.
        set_column_types
            Types by column name.
        separator, header, encoding
            As in Azure.
        partition_format
            Pattern of the paths, with partition keys in braces; the keys become columns.
        support_multi_line
            Ignored: line breaks in quotes never end a row.
        empty_as_string
            Whether empty fields and ``NA`` in text columns are text; if False, they are missing, as
            in pandas.

        Raises
        ------
        DatasetValidationError
            No file exists or can be read, and ``validate`` is True.
        """
        types: Any = _native_types(set_column_types)
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
        return _checked(native, validate)

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
            No file exists or can be read, and ``validate`` is True.
        """
        paths = _native_paths(path, include_path)
        native = NativeTable.from_parquet_files(paths, **_keys(partition_format))
        return _checked(native, validate)

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
        """Return a dataset of the rows of JSON Lines files: one JSON object per line.

        Raises
        ------
        DatasetValidationError
            No file exists or can be read, and ``validate`` is True.
        UserErrorException
            ``invalid_lines`` is not ``error``: lines are never dropped silently.
        """
        if invalid_lines != "error":
            msg = f"invalid_lines is {invalid_lines!r}; expected 'error'; lines are never dropped here."
            raise UserErrorException(msg)
        native = NativeTable.from_json_lines_files(
            _native_paths(path, include_path),
            encoding=encoding,
            column_types=_native_types(set_column_types),
            inference="pandas",
            **_keys(partition_format),
        )
        return _checked(native, validate)

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

        Every call writes a new file, in a new folder below the target, and registers it as the next
        version: earlier versions keep their rows.

        Raises
        ------
        ConfigError
            The name is empty or contains a ``/``.
        InputError
            The upload failed.
        """
        registered_datasets.check_name(name, "dataset")
        datastore, path = target_of(target)
        # A version number would be reused after the name was unregistered.
        file = f"{path.strip('/')}/{uuid.uuid4()}/{name}.parquet".lstrip("/")
        datastore.upload_frame(dataframe, file)
        dataset = TabularDatasetFactory.from_parquet_files((datastore, file), validate=False)
        return dataset.register(
            datastore.workspace, name, description, tags, create_new_version=True
        )


def _native_paths(path: Any, include_path: bool) -> list[Any]:
    if include_path:
        msg = (
            "include_path=True is not supported; use partition_format to make columns of the paths."
        )
        raise UserErrorException(msg)
    return [native_path(single) for single in paths_of(path)]


def _keys(partition_format: str | None) -> dict[str, Any]:
    return {} if partition_format is None else {"partition_format": partition_format}


def _native_types(types: dict[str, DataType] | None) -> dict[str, str] | None:
    return {column: _native_type(type_) for column, type_ in types.items()} if types else None


def _native_type(type_: DataType) -> str:
    if type_.type_name == "datetime":
        return f"datetime:{type_.formats[0]}" if type_.formats else "datetime"
    return _TYPES[type_.type_name]


def _checked(native: NativeTable, validate: bool) -> TabularDataset:
    if validate:
        validate_native(native)
    return TabularDataset(native)


Dataset.Tabular = TabularDatasetFactory
