"""Paths in datastores, and the kinds of paths that notebooks pass to datasets."""

from __future__ import annotations

import os
from typing import Any

from ..exceptions import UserErrorException


class DataPath:
    """A path in a datastore.

    Parameters
    ----------
    datastore
        The datastore.
    path_on_datastore
        A file, a folder or a glob.
    name
        A name for the path.

    Raises
    ------
    UserErrorException
        ``datastore`` is missing.
    """

    def __init__(
        self,
        datastore: Any = None,
        path_on_datastore: str | None = None,
        name: str | None = None,
    ) -> None:
        if datastore is None:
            msg = "datastore is missing; pass one, such as ws.get_default_datastore()."
            raise UserErrorException(msg)
        self.datastore = datastore
        self.path_on_datastore = path_on_datastore or ""
        self.datastore_name = datastore.name
        self.name = name

    def create_data_reference(
        self,
        data_reference_name: str | None = None,
        datapath_compute_binding: Any = None,
    ) -> DataReference:
        """Return the path as a reference for a step."""
        return DataReference(self.datastore, data_reference_name, self.path_on_datastore)


class DataReference:
    """A file or folder in a datastore that a step reads as a whole.

    Parameters
    ----------
    datastore
        The datastore.
    data_reference_name
        Its name in the step. Default: derived from the datastore's name.
    path_on_datastore
        A file or a folder.
    mode
        ``mount``, ``download`` or ``upload``; makes no difference here.
    path_on_compute
        The path that the script expects.
    overwrite
        Ignored.
    """

    def __init__(
        self,
        datastore: Any,
        data_reference_name: str | None = None,
        path_on_datastore: str | None = None,
        mode: str = "mount",
        path_on_compute: str | None = None,
        overwrite: bool = False,
    ) -> None:
        self.datastore = datastore
        self.path_on_datastore = (path_on_datastore or "").strip("/")
        self.mode = mode
        self.path_on_compute = path_on_compute
        self.overwrite = overwrite
        self.data_reference_name = data_reference_name or f"{datastore.name}_data"

    def __repr__(self) -> str:
        return f"$AZUREML_DATAREFERENCE_{self.data_reference_name}"

    def path(
        self, path: str | None = None, data_reference_name: str | None = None
    ) -> DataReference:
        """Return a reference to a path below this one."""
        parts = (self.path_on_datastore, (path or "").strip("/"))
        joined = "/".join(part for part in parts if part)
        return DataReference(
            self.datastore, data_reference_name or self.data_reference_name, joined, self.mode
        )

    def as_mount(self) -> DataReference:
        """Return this reference as an input of a step."""
        return self._with_mode("mount", self.path_on_compute)

    def as_download(
        self, path_on_compute: str | None = None, overwrite: bool = False
    ) -> DataReference:
        """Return this reference as an input of a step."""
        return self._with_mode("download", path_on_compute)

    def as_upload(
        self, path_on_compute: str | None = None, overwrite: bool = False
    ) -> DataReference:
        """Return this reference as an output of a step."""
        return self._with_mode("upload", path_on_compute)

    def _with_mode(self, mode: str, path_on_compute: str | None) -> DataReference:
        return DataReference(
            self.datastore, self.data_reference_name, self.path_on_datastore, mode, path_on_compute
        )


class DataPathComputeBinding:
    """The way a step reads a `DataPath`; only recorded.

    Parameters
    ----------
    mode, path_on_compute, overwrite
        Recorded.
    """

    def __init__(
        self, mode: str = "mount", path_on_compute: str | None = None, overwrite: bool = False
    ) -> None:
        self.mode = mode
        self.path_on_compute = path_on_compute
        self.overwrite = overwrite


def paths_of(path: Any) -> list[Any]:
    """Return the paths in the argument of a factory: a single path or a list of them."""
    is_list = isinstance(path, list) or (isinstance(path, tuple) and not _is_in_datastore(path))
    return list(path) if is_list else [path]


def _is_in_datastore(path: Any) -> bool:
    """Return whether a path is ``(datastore, path)``."""
    is_pair = isinstance(path, tuple | list) and len(path) == 2
    return is_pair and hasattr(path[0], "datastore_type")


def native_path(path: Any) -> Any:
    """Convert a path to the form that native datasets accept.

    Raises
    ------
    UserErrorException
        The path is of an unknown kind.
    """
    if isinstance(path, str | os.PathLike):
        return os.fspath(path)
    pair = _datastore_and_path(path)
    if pair is not None:
        return in_datastore(*pair)
    msg = (
        f"path contains {path!r}; expected a path, a URL, (datastore, path) or datastore.path(...)."
    )
    raise UserErrorException(msg)


def in_datastore(datastore: Any, path: str) -> Any:
    """Convert a path in a datastore to the form that native datasets accept."""
    return datastore.native.path(path.strip("/")).place()


def target_of(target: Any) -> tuple[Any, str]:
    """Return the datastore and the path of a target.

    Raises
    ------
    UserErrorException
        The target is not in a datastore.
    """
    pair = _datastore_and_path(target)
    if pair is not None:
        return pair
    msg = f"target is {target!r}; expected (datastore, path) or datastore.path(...)."
    raise UserErrorException(msg)


def _datastore_and_path(path: Any) -> tuple[Any, str] | None:
    if isinstance(path, DataPath | DataReference):
        return path.datastore, path.path_on_datastore
    if _is_in_datastore(path):
        return path[0], str(path[1])
    return (path, "") if hasattr(path, "datastore_type") else None
