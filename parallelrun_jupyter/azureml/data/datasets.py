"""Datasets: files and tables over datastores, lazily read, registered by name."""

from __future__ import annotations

import os
import shutil
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
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
from ..core.workspace import Workspace, as_workspace
from ..exceptions import DatasetValidationError, UserErrorException
from ..loader.missing import Partial
from ..loader.name_table import load
from .consumption import DatasetConsumptionConfig
from .places import native_path, paths_of, target_of


class AbstractDataset(Partial):
    """What datasets of both kinds have in common."""

    _instead = " Transform the rows in the entry script, where they come as a DataFrame."

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
        """The dataset as the rest of this package has it."""
        return self._native

    @property
    def partition_keys(self) -> list[str]:
        """The names of the keys in the paths."""
        return list(getattr(self._native, "partition_keys", None) or ())

    def get_partition_key_values(
        self, partition_keys: list[str] | None = None
    ) -> list[dict[str, Any]]:
        """Return the combinations of values that there are, of all keys or of some."""
        values: list[dict[str, Any]] = self._native.get_partition_key_values(partition_keys)
        return values

    def as_named_input(self, name: str) -> DatasetConsumptionConfig:
        """Return the dataset as an input of a step, under a name."""
        return DatasetConsumptionConfig(name, self)

    def register(
        self,
        workspace: Workspace,
        name: str,
        description: str | None = None,
        tags: dict[str, str] | None = None,
        create_new_version: bool = False,
    ) -> Any:
        """Register the dataset under a name, and return it as registered.

        Raises
        ------
        UserErrorException
            The name is taken, and ``create_new_version`` is False.
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
        """Forget the dataset's name; its files stay."""
        if self.workspace is not None and self.name is not None:
            registered_datasets.remove_dataset(self.workspace.folder, self.name)

    def _ensure_saved(self, workspace: Workspace) -> str:
        """Do what older notebooks ask for: nothing, the dataset travels with its pipeline."""
        return self.id or "saved"


class FileDataset(AbstractDataset):
    """Files of datastores, folders and URLs."""

    def __repr__(self) -> str:
        return f'FileDataset\n{{\n  "source": {list(self._native.paths)!r}\n}}'

    def as_mount(self, path_on_compute: str | None = None) -> DatasetConsumptionConfig:
        """Return the dataset as an input that a step reads through paths."""
        return DatasetConsumptionConfig(_default_name(), self).as_mount(path_on_compute)

    def as_download(self, path_on_compute: str | None = None) -> DatasetConsumptionConfig:
        """Return the dataset as an input that a step reads through paths."""
        return DatasetConsumptionConfig(_default_name(), self).as_download(path_on_compute)

    def to_path(self) -> list[str]:
        """Return the paths of all files, relative to the dataset, as Azure does."""
        items = self._items()
        root = common_folder(list(self._native.paths), [item[0] for item in items])
        return ["/" + os.path.relpath(item[0], root) for item in items]

    def _items(self) -> list[tuple[str, int, Any]]:
        return [item for files in self._native.folders() for item in files]

    def download(
        self,
        target_path: str | None = None,
        overwrite: bool = False,
        ignore_not_found: bool = False,
    ) -> list[str]:
        """Copy the files into a folder; return their paths there.

        Raises
        ------
        UserErrorException
            A file is there already, and ``overwrite`` is False.
        InputError
            A name in the store leads out of the folder.
        """
        target = target_path or tempfile.mkdtemp()
        items = list(dict.fromkeys(self._items()))  # overlapping globs list a file twice
        here = [item[0] for item in items]
        if self._native.storage:
            here = local_copies(items, self._native.storage)
        names = [item[0] for item in items]
        root = common_folder(list(self._native.paths), names)
        places = [place_below(target, os.path.relpath(name, root), name) for name in names]
        written = []
        for path, place in zip(here, places, strict=True):
            if os.path.exists(place) and not overwrite:
                msg = f"{place} is there already; give overwrite=True to replace it."
                raise UserErrorException(msg)
            os.makedirs(os.path.dirname(place), exist_ok=True)
            shutil.copyfile(path, place)
            written.append(os.path.abspath(place))
        return written

    @contextmanager
    def mount(self, mount_point: str | None = None, **_: Any) -> Iterator[Any]:
        """Give the files in a folder, ``mount_point``, as long as the context lasts."""
        folder = mount_point or tempfile.mkdtemp()
        self.download(folder, overwrite=True)
        try:
            yield _Mounted(folder)
        finally:
            if mount_point is None:
                shutil.rmtree(folder, ignore_errors=True)

    def take(self, count: int) -> FileDataset:
        """Return a dataset of the first files."""
        return self._of(self._items()[:count])

    def skip(self, count: int) -> FileDataset:
        """Return a dataset without the first files."""
        return self._of(self._items()[count:])

    def _of(self, items: list[tuple[str, int, Any]]) -> FileDataset:
        places = [Place(item[0], self._native.storage) for item in items]
        return FileDataset(NativeFiles(places))


class _Mounted:
    """Files in a folder."""

    def __init__(self, mount_point: str) -> None:
        self.mount_point = mount_point


_MADE = 0


def _default_name() -> str:
    """Return a name for an input that was given none."""
    global _MADE  # noqa: PLW0603 - names differ within a session, as Azure's do
    _MADE += 1
    return f"input_{_MADE}"


class FileDatasetFactory:
    """``Dataset.File``."""

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
            A path, a URL, ``(datastore, path)``, what ``datastore.path`` returns, or a list.
        validate
            See now that there is at least one file.
        partition_format
            Where keys are in the paths.
        is_file
            Taken and not used.

        Raises
        ------
        DatasetValidationError
            Nothing is there, and ``validate`` is True.
        """
        dataset = FileDataset(_native_files(path, partition_format))
        if validate:
            check_there(dataset.native)
        return dataset

    @staticmethod
    def upload_directory(
        src_dir: str,
        target: Any,
        pattern: str | None = None,
        overwrite: bool = False,
        show_progress: bool = True,
    ) -> FileDataset:
        """Copy a folder into a datastore; return it as a dataset."""
        datastore, path = target_of(target)
        datastore.upload(src_dir, path, overwrite, show_progress)
        return FileDatasetFactory.from_files((datastore, path), validate=False)


def _native_files(path: Any, partition_format: str | None) -> NativeFiles:
    paths = [native_path(one) for one in paths_of(path)]
    return NativeFiles(paths, partition_format=partition_format)


def check_there(native: Any) -> None:
    """See that the files of a dataset are there.

    Raises
    ------
    DatasetValidationError
        They are not, or cannot be read.
    """
    try:
        native.check()
    except (InputError, ConfigError) as error:
        raise DatasetValidationError(str(error)) from error


class Dataset:
    """Makes datasets, and finds registered ones."""

    File = FileDatasetFactory
    Tabular: Any = None  # tables puts its factory here

    @staticmethod
    def get_by_name(workspace: Workspace, name: str, version: Any = "latest") -> Any:
        """Return a registered dataset.

        Raises
        ------
        UserErrorException
            There is no such dataset, or no such version.
        """
        folder = as_workspace(workspace).folder
        versions = registered_datasets.dataset_versions(folder, name)
        found = [one for one in versions if version in {"latest", None, one["version"]}]
        found += [one for one in versions if str(version) == str(one["version"]) and not found]
        if not found:
            names = ", ".join(registered_datasets.dataset_names(folder)) or "none"
            which = "" if version in {"latest", None} else f", version {version},"
            msg = (
                f"Cannot find dataset registered with name {name!r}{which} in workspace "
                f"{workspace.name!r}; registered are: {names}."
            )
            raise UserErrorException(msg)
        return _registered(workspace, name, found[-1])

    @staticmethod
    def get_by_id(workspace: Workspace, id: str, **_: Any) -> Any:
        """Return a registered dataset by its id, ``name:version``."""
        name, _sep, version = id.rpartition(":")
        return Dataset.get_by_name(workspace, name, int(version))

    @staticmethod
    def get(workspace: Workspace, name: str | None = None, id: str | None = None) -> Any:
        """Return a registered dataset by its name or its id."""
        return (
            Dataset.get_by_name(workspace, name) if name else Dataset.get_by_id(workspace, str(id))
        )

    @staticmethod
    def get_all(workspace: Workspace) -> dict[str, Any]:
        """Return the registered datasets, by name."""
        return as_workspace(workspace).datasets


def _registered(workspace: Workspace, name: str, record: dict[str, Any]) -> Any:
    facts = {**record, "name": name, "workspace": workspace}
    return wrap(dataset_of(record["spec"]), facts)


def wrap(native: Any, facts: dict[str, Any] | None = None) -> Any:
    """Return a dataset of this package as one of Azure's names."""
    if isinstance(native, NativeTable):
        return load("data.tables:TabularDataset")(native, facts)
    return FileDataset(native, facts)
