"""Places in datastores, as notebooks hand them around."""

from __future__ import annotations

from typing import Any

from ..exceptions import UserErrorException


class DataPath:
    """A place in a datastore.

    Parameters
    ----------
    datastore
        The datastore.
    path_on_datastore
        A file, a folder or a glob.
    name
        A name for it.
    """

    def __init__(
        self,
        datastore: Any = None,
        path_on_datastore: str | None = None,
        name: str | None = None,
    ) -> None:
        if datastore is None:
            msg = "datastore is missing; give one, such as ws.get_default_datastore()."
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
        """Return the place as a reference for a step."""
        return DataReference(self.datastore, data_reference_name, self.path_on_datastore)


class DataReference:
    """A place in a datastore that a step reads whole.

    Parameters
    ----------
    datastore
        The datastore.
    data_reference_name
        Its name in the step. Default: made from the datastore's.
    path_on_datastore
        A file or a folder.
    mode
        ``mount``, ``download`` or ``upload``; here the files are where they are.
    path_on_compute
        Where the script wants to find it.
    overwrite
        Taken and not used.
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
        """Return a place below this one."""
        below = "/".join(part for part in (self.path_on_datastore, (path or "").strip("/")) if part)
        return DataReference(
            self.datastore, data_reference_name or self.data_reference_name, below, self.mode
        )

    def as_mount(self) -> DataReference:
        """Return this place, to be read by a step."""
        return self._as("mount", self.path_on_compute)

    def as_download(
        self, path_on_compute: str | None = None, overwrite: bool = False
    ) -> DataReference:
        """Return this place, to be read by a step."""
        return self._as("download", path_on_compute)

    def as_upload(
        self, path_on_compute: str | None = None, overwrite: bool = False
    ) -> DataReference:
        """Return this place, to be written by a step."""
        return self._as("upload", path_on_compute)

    def _as(self, mode: str, path_on_compute: str | None) -> DataReference:
        return DataReference(
            self.datastore, self.data_reference_name, self.path_on_datastore, mode, path_on_compute
        )


class DataPathComputeBinding:
    """How a step reads a `DataPath`; here it is where it is.

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
