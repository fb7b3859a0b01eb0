"""File datasets, and the registration of datasets in workspaces."""

from __future__ import annotations

import itertools
import os
import shutil
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from types import SimpleNamespace
from typing import Any

from ...data.datasets.file_dataset import FileDataset as NativeFiles
from ...data.datasets.inputs import dataset_of
from ...data.datasets.tabular_dataset import TabularDataset as NativeTable
from ...data.local.listing import place_below
from ...data.staging.local_copies import local_copies
from ...data.storage.storage import Place
from ...errors import ConfigError, InputError
from ...pipelines import registered_datasets
from ...pipelines.bindings import common_folder
from ..core.references import native_path, paths_of, target_of
from ..core.workspace import Workspace, as_workspace
from ..exceptions import DatasetValidationError, UserErrorException
from ..loader.name_table import Partial, load
from .step_inputs import DatasetConsumptionConfig


class AbstractDataset(Partial):
    """Base of file and tabular datasets."""

    _instead = " Transform the rows in the entry script, which receives them as a DataFrame."

    def __init__(self, native: Any, facts: dict[str, Any] | None = None) -> None:
        self._native = native
        facts = facts or {}
        self.name: str | None = facts.get("name")
        self.version: int | None = facts.get("version")
        self.description: str | None = facts.get("description")
        self.tags: dict[str, str] = facts.get("tags") or {}
        self.workspace: Workspace | None = facts.get("workspace")

    @property
    def id(self) -> str | None:
        """The id of a registered dataset."""
        return None if self.name is None else f"{self.name}:{self.version}"

    @property
    def native(self) -> Any:
        """The dataset as this package's own `FileDataset` or `TabularDataset`."""
        return self._native

    @property
    def partition_keys(self) -> list[str]:
        """The names of the partition keys."""
        return list(getattr(self._native, "partition_keys", None) or ())

    def get_partition_key_values(
        self, partition_keys: list[str] | None = None
    ) -> list[dict[str, Any]]:
        """Return the distinct combinations of values, of all partition keys or of some."""
        values: list[dict[str, Any]] = self._native.get_partition_key_values(partition_keys)
        return values

    def as_named_input(self, name: str) -> DatasetConsumptionConfig:
        """Return the dataset under a name, as an input of a step."""
        return DatasetConsumptionConfig(name, self)

    def register(
        self,
        workspace: Workspace,
        name: str,
        description: str | None = None,
        tags: dict[str, str] | None = None,
        create_new_version: bool = False,
    ) -> Any:
        """Register the dataset under a name; return the registered dataset.

        Raises
        ------
        UserErrorException
            The name is already registered, and ``create_new_version`` is False.
        ConfigError
            The name is invalid.
        """
        folder = as_workspace(workspace).folder
        versions = registered_datasets.dataset_versions(folder, name)
        spec = self._native.spec()
        if versions and versions[-1]["spec"] == spec:
            return _registered(workspace, name, versions[-1])
        if versions and not create_new_version:
            msg = (
                f"There is already a dataset registered under name {name!r}. Specify "
                "create_new_version=True to register it as a new version."
            )
            raise UserErrorException(msg)
        facts = {"spec": spec, "description": description, "tags": tags or {}}
        registered_datasets.add_dataset_version(folder, name, facts)
        return Dataset.get_by_name(workspace, name)

    def unregister_all_versions(self) -> None:
        """Remove the registration with all versions; the files are kept."""
        if self.workspace is not None and self.name is not None:
            registered_datasets.remove_dataset(self.workspace.folder, self.name)

    def _ensure_saved(self, workspace: Workspace) -> str:
        """Do nothing: the dataset is stored with its pipeline; older notebooks call this."""
        return self.id or "saved"


class FileDataset(AbstractDataset):
    """Files in datastores, folders or at URLs."""

    def __repr__(self) -> str:
        return f'FileDataset\n{{\n  "source": {list(self._native.paths)!r}\n}}'

    def as_mount(self, path_on_compute: str | None = None) -> DatasetConsumptionConfig:
        """Return the dataset as an input of a step."""
        return DatasetConsumptionConfig(_default_name(), self).as_mount(path_on_compute)

    def as_download(self, path_on_compute: str | None = None) -> DatasetConsumptionConfig:
        """Return the dataset as an input of a step."""
        return DatasetConsumptionConfig(_default_name(), self).as_download(path_on_compute)

    def to_path(self) -> list[str]:
        """Return the paths of all files, relative to their common folder, as Azure does."""
        items = self._items()
        root = common_folder(list(self._native.paths), [item[0] for item in items])
        return ["/" + os.path.relpath(item[0], root) for item in items]

    def _items(self) -> list[tuple[str, int, Any]]:
        return list(itertools.chain.from_iterable(self._native.folders()))

    def download(
        self,
        target_path: str | None = None,
        overwrite: bool = False,
        ignore_not_found: bool = False,
    ) -> list[str]:
        """Copy the files into a folder; return the paths of the copies.

        Raises
        ------
        UserErrorException
            A file exists already, and ``overwrite`` is False.
        InputError
            A name in the store leads out of the folder.
        """
        target = target_path or tempfile.mkdtemp()
        items = list(dict.fromkeys(self._items()))  # overlapping globs list a file twice
        names = [item[0] for item in items]
        storage = self._native.storage
        sources = local_copies(items, storage) if storage else names
        root = common_folder(list(self._native.paths), names)
        copies = [place_below(target, os.path.relpath(name, root), name) for name in names]
        for source, copy in zip(sources, copies, strict=True):
            if os.path.exists(copy) and not overwrite:
                msg = f"{copy} exists already; pass overwrite=True to replace it."
                raise UserErrorException(msg)
            os.makedirs(os.path.dirname(copy), exist_ok=True)
            shutil.copyfile(source, copy)
        return [os.path.abspath(copy) for copy in copies]

    @contextmanager
    def mount(self, mount_point: str | None = None, **_: Any) -> Iterator[Any]:
        """Return a context with copies of the files in a folder, ``mount_point``."""
        folder = mount_point or tempfile.mkdtemp()
        self.download(folder, overwrite=True)
        try:
            yield SimpleNamespace(mount_point=folder)
        finally:
            if mount_point is None:
                shutil.rmtree(folder, ignore_errors=True)

    def take(self, count: int) -> FileDataset:
        """Return a dataset of the first ``count`` files."""
        return FileDataset(self._native.take(count))

    def skip(self, count: int) -> FileDataset:
        """Return a dataset without the first ``count`` files."""
        places = [Place(item[0], self._native.storage) for item in self._items()[count:]]
        return FileDataset(NativeFiles(places))


_INPUT_NUMBERS = itertools.count(1)


def _default_name() -> str:
    """Return a name for an unnamed input, unique in this session as in Azure."""
    return f"input_{next(_INPUT_NUMBERS)}"


class FileDatasetFactory:
    """``Dataset.File``: creates file datasets."""

    @staticmethod
    def from_files(
        path: Any,
        validate: bool = True,
        partition_format: str | None = None,
        is_file: bool = False,
    ) -> FileDataset:
        """Return a dataset of files.

        Parameters
        ----------
        path
            A path, a URL, ``(datastore, path)``, ``datastore.path(...)``, or a list of these.
        validate
            Check that at least one file exists.
        partition_format
            Pattern of the paths, with partition keys in braces.
        is_file
            Ignored.

        Raises
        ------
        DatasetValidationError
            No file exists or can be read, and ``validate`` is True.
        """
        dataset = FileDataset(_native_files(path, partition_format))
        if validate:
            validate_native(dataset.native)
        return dataset

    @staticmethod
    def upload_directory(
        src_dir: str,
        target: Any,
        pattern: str | None = None,
        overwrite: bool = False,
        show_progress: bool = True,
    ) -> FileDataset:
        """Copy a folder into a datastore; return the copy as a dataset."""
        datastore, path = target_of(target)
        datastore.upload(src_dir, path, overwrite, show_progress)
        return FileDatasetFactory.from_files((datastore, path), validate=False)


def _native_files(path: Any, partition_format: str | None) -> NativeFiles:
    paths = [native_path(single) for single in paths_of(path)]
    return NativeFiles(paths, partition_format=partition_format)


def validate_native(native: Any) -> None:
    """Check that a dataset has files and that they can be read.

    Raises
    ------
    DatasetValidationError
        It has no files, or they cannot be read.
    """
    try:
        native.check()
    except (InputError, ConfigError) as error:
        raise DatasetValidationError(str(error)) from error


class Dataset:
    """Creates datasets, and returns registered datasets."""

    File = FileDatasetFactory
    Tabular: Any = None  # set by tables.py

    @staticmethod
    def get_by_name(workspace: Workspace, name: str, version: Any = "latest") -> Any:
        """Return a registered dataset.

        Raises
        ------
        UserErrorException
            The dataset or version is not registered.
        """
        folder = as_workspace(workspace).folder
        versions = registered_datasets.dataset_versions(folder, name)
        if version not in {"latest", None}:
            versions = [record for record in versions if str(record["version"]) == str(version)]
        if not versions:
            names = ", ".join(registered_datasets.dataset_names(folder)) or "none"
            suffix = "" if version in {"latest", None} else f", version {version},"
            msg = (
                f"Cannot find dataset registered with name {name!r}{suffix} in workspace "
                f"{workspace.name!r}; registered are: {names}."
            )
            raise UserErrorException(msg)
        return _registered(workspace, name, versions[-1])

    @staticmethod
    def get_by_id(workspace: Workspace, id: str, **_: Any) -> Any:
        """Return a registered dataset by its id, ``name:version``."""
        name, _sep, version = id.rpartition(":")
        return Dataset.get_by_name(workspace, name, int(version))

    @staticmethod
    def get(workspace: Workspace, name: str | None = None, id: str | None = None) -> Any:
        """Return a registered dataset by its name or id."""
        if name:
            return Dataset.get_by_name(workspace, name)
        return Dataset.get_by_id(workspace, str(id))

    @staticmethod
    def get_all(workspace: Workspace) -> dict[str, Any]:
        """Return the registered datasets, by name."""
        return as_workspace(workspace).datasets


def _registered(workspace: Workspace, name: str, record: dict[str, Any]) -> Any:
    facts = {**record, "name": name, "workspace": workspace}
    return wrap(dataset_of(record["spec"]), facts)


def wrap(native: Any, facts: dict[str, Any] | None = None) -> Any:
    """Return a native dataset as one of this layer's classes."""
    if isinstance(native, NativeTable):
        return load("data.tables:TabularDataset")(native, facts)
    return FileDataset(native, facts)
