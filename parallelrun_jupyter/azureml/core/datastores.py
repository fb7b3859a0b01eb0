"""Datastores of a workspace: folders on this machine, blob containers and recorded file shares."""

from __future__ import annotations

import json
import os
import tempfile
from collections.abc import Sequence
from typing import Any

from ...data.storage.datastores import Datastore as NativeDatastore
from ...data.storage.object_store import ObjectStore
from ...data.storage.storage import ENDPOINT_VARIABLE, StorageSpec
from ...pipelines.workspaces import BUILT_IN_DATASTORES
from ...pipelines.workspaces import DEFAULT_DATASTORE as DEFAULT_NAME
from ..exceptions import UserErrorException
from ..loader.name_table import Partial
from .references import DataReference
from .workspace import Workspace, as_workspace, changed_records, read_records

_CLOUD = "core.windows.net"
_FILE = "datastores.json"


class AbstractAzureStorageDatastore(Partial):
    """A datastore of a workspace; get one from ``Datastore.get`` or ``ws.datastores``."""

    datastore_type = "AzureBlob"

    def __init__(self, workspace: Workspace, name: str, record: dict[str, Any]) -> None:
        self.workspace = workspace
        self.name = name
        self._record = record
        self.container_name = record.get("container_name", "")
        self.account_name = record.get("account_name", "")
        self.account_key = None
        self.sas_token = None
        self.protocol = record.get("protocol", "https")
        self.endpoint = record.get("endpoint", _CLOUD)

    def __repr__(self) -> str:
        return json.dumps(
            {
                "name": self.name,
                "container_name": self.container_name,
                "account_name": self.account_name,
                "protocol": self.protocol,
                "endpoint": self.endpoint,
            },
            indent=2,
        )

    @property
    def native(self) -> NativeDatastore:
        """The datastore as this package's own `Datastore`.

        Raises
        ------
        UserErrorException
            It is a file share; the local layer cannot read one.
        """
        folder = self._record.get("folder")
        if folder is not None:
            os.makedirs(folder, mode=0o700, exist_ok=True)
            return NativeDatastore(self.name, str(folder), None)
        if "storage" not in self._record:
            msg = (
                f"datastore {self.name!r} is a file share, which the local layer only records. "
                "Mount it, and pass the local paths of its files."
            )
            raise UserErrorException(msg)
        storage = StorageSpec.of_spec(self._record["storage"])
        return NativeDatastore(self.name, self._record["url"], storage)

    def path(
        self, path: str | None = None, data_reference_name: str | None = None
    ) -> DataReference:
        """Return a path in the datastore: a file, a folder or a glob."""
        return DataReference(
            self, data_reference_name=data_reference_name, path_on_datastore=path or ""
        )

    def as_mount(self) -> DataReference:
        """Return the whole datastore as an input of a step."""
        return self.path().as_mount()

    def as_download(self, path_on_compute: str | None = None) -> DataReference:
        """Return the whole datastore as an input of a step."""
        return self.path().as_download(path_on_compute)

    def upload(
        self,
        src_dir: str,
        target_path: str | None = None,
        overwrite: bool = False,
        show_progress: bool = True,
    ) -> DataReference:
        """Copy a folder into the datastore; return a reference to the copy.

        Raises
        ------
        InputError
            ``src_dir`` is not a folder, or the upload failed.
        """
        self.native.upload(src_dir, (target_path or "").strip("/"), overwrite)
        if show_progress:
            print(f"Uploaded {src_dir} to {self.name}:{target_path or ''}")
        return self.path(target_path or "")

    def upload_files(
        self,
        files: Sequence[str],
        relative_root: str | None = None,
        target_path: str | None = None,
        overwrite: bool = False,
        show_progress: bool = True,
    ) -> DataReference:
        """Copy files into the datastore; return a reference to the target folder.

        Existing files are skipped, unless ``overwrite`` is True.

        Raises
        ------
        InputError
            A file is missing or not below ``relative_root``, or the upload failed.
        """
        self.native.upload_files(
            files, relative_root, (target_path or "").strip("/").removeprefix("."), overwrite
        )
        if show_progress:
            print(f"Uploaded {len(files)} files to {self.name}:{target_path or ''}")
        return self.path(target_path or "")

    def download(
        self,
        target_path: str,
        prefix: str | None = None,
        overwrite: bool = False,
        show_progress: bool = True,
    ) -> int:
        """Copy the files below a prefix to a local folder; return the number of files.

        Their paths below the folder are their paths in the datastore.
        """
        count = self.native.download(target_path, prefix or "", overwrite)
        if show_progress:
            print(f"Downloaded {count} files to {target_path}")
        return count

    def upload_frame(self, frame: Any, path: str) -> None:
        """Write a DataFrame to a Parquet file at a path in the datastore."""
        folder, _, name = path.rpartition("/")
        with tempfile.TemporaryDirectory() as temporary:
            file = os.path.join(temporary, name)
            frame.to_parquet(file, index=False)
            self.native.upload_files([file], target_path=folder, overwrite=True)

    def set_as_default(self) -> None:
        """Make this the default datastore of its workspace."""
        set_default(self.workspace, self.name)

    def unregister(self) -> None:
        """Remove the registration; the data is kept."""
        with changed_records(self.workspace, _FILE) as records:
            records.get("stores", {}).pop(self.name, None)


class AzureBlobDatastore(AbstractAzureStorageDatastore):
    """A blob container, or a folder on this machine in place of one."""


class AzureFileDatastore(AbstractAzureStorageDatastore):
    """A file share; only recorded."""

    datastore_type = "AzureFile"


class Datastore:
    """Registers datastores and returns them; ``Datastore(workspace, name)`` is ``Datastore.get``."""

    def __new__(cls, workspace: Workspace, name: str | None = None) -> Any:
        """Return a datastore by its name; without a name, the default datastore."""
        return get(as_workspace(workspace), name or default_name(workspace))

    @staticmethod
    def get(workspace: Workspace, datastore_name: str) -> Any:
        """Return a datastore by its name.

        Raises
        ------
        UserErrorException
            It does not exist.
        """
        return get(as_workspace(workspace), datastore_name)

    @staticmethod
    def get_default(workspace: Workspace) -> Any:
        """Return the default datastore."""
        return as_workspace(workspace).get_default_datastore()

    @staticmethod
    def register_azure_blob_container(
        workspace: Workspace,
        datastore_name: str,
        container_name: str,
        account_name: str,
        sas_token: str | None = None,
        account_key: str | None = None,
        protocol: str | None = None,
        endpoint: str | None = None,
        overwrite: bool = False,
        create_if_not_exists: bool = False,
        skip_validation: bool = False,
        blob_cache_timeout: int | None = None,
        grant_workspace_access: bool = False,
        subscription_id: str | None = None,
        resource_group: str | None = None,
    ) -> Any:
        """Register a blob container; without a key it is read as a public container.

        A key or token is held in memory and never written to disk; another session needs it again.

        Raises
        ------
        UserErrorException
            A datastore of this name exists, and ``overwrite`` is False.
        """
        _check_free(workspace, datastore_name, overwrite=overwrite)
        native = NativeDatastore.register_azure_blob_container(
            _native_name(as_workspace(workspace), datastore_name),
            container_name,
            account_name,
            account_key=account_key,
            sas_token=sas_token,
            blob_endpoint=_endpoint(protocol, endpoint),
        )
        if create_if_not_exists and native.storage is not None:
            with ObjectStore(native.storage) as store:
                store.make_container(native.url)
        record = {
            "type": "AzureBlob",
            "container_name": container_name,
            "account_name": account_name,
            "protocol": protocol or "https",
            "endpoint": endpoint or _CLOUD,
            "url": native.url,
            "storage": native.storage.spec() if native.storage else None,
        }
        return _register(workspace, datastore_name, record, overwrite=overwrite)

    @staticmethod
    def register_azure_file_share(
        workspace: Workspace,
        datastore_name: str,
        file_share_name: str,
        account_name: str,
        sas_token: str | None = None,
        account_key: str | None = None,
        protocol: str | None = None,
        endpoint: str | None = None,
        overwrite: bool = False,
        create_if_not_exists: bool = False,
        skip_validation: bool = False,
    ) -> Any:
        """Record a file share. To read its files, mount it and pass local paths."""
        record = {
            "type": "AzureFile",
            "container_name": file_share_name,
            "account_name": account_name,
            "protocol": protocol or "https",
            "endpoint": endpoint or _CLOUD,
        }
        return _register(workspace, datastore_name, record, overwrite=overwrite)


def _native_name(workspace: Workspace, name: str) -> str:
    """Return the name under which the native registry knows a datastore of a workspace.

    Datastore names contain no ``-``, so the last one separates the two parts: ``a-b_c`` and
    ``a_b-c`` differ.
    """
    _check_name(name)
    return f"{workspace.folder.name}-{name}"


def _check_name(name: str) -> None:
    if not name or not name.replace("_", "").isalnum():
        msg = f"datastore_name is {name!r}; expected letters, digits and underscores."
        raise UserErrorException(msg)


def _check_free(workspace: Workspace, name: str, *, overwrite: bool) -> None:
    if not overwrite and name in _registered(workspace):
        msg = f"datastore {name!r} exists already; pass overwrite=True to replace it."
        raise UserErrorException(msg)


def _endpoint(protocol: str | None, endpoint: str | None) -> str | None:
    """Return the endpoint template of another cloud; None to use the default or the variable."""
    if os.environ.get(ENDPOINT_VARIABLE) or not (protocol or endpoint):
        return None
    return f"{protocol or 'https'}://{{account}}.blob.{endpoint or _CLOUD}"


def _register(workspace: Workspace, name: str, record: dict[str, Any], *, overwrite: bool) -> Any:
    _check_name(name)
    with changed_records(workspace, _FILE) as records:
        _check_free(workspace, name, overwrite=overwrite)
        records.setdefault("stores", {})[name] = record
    return get(workspace, name)


def get(workspace: Workspace, name: str) -> Any:
    """Return a datastore of a workspace.

    Raises
    ------
    UserErrorException
        It does not exist; the message names the existing ones.
    """
    record = _registered(workspace).get(name)
    if record is None and name in BUILT_IN_DATASTORES:
        record = {
            "type": "AzureFile" if "file" in name else "AzureBlob",
            "folder": str(workspace.folder / "datastores" / name),
            "container_name": name,
            "account_name": "local",
        }
    if record is None:
        existing = ", ".join(names(workspace))
        msg = f"datastore {name!r} does not exist in workspace {workspace.name!r}; it has: {existing}."
        raise UserErrorException(msg)
    kind = AzureFileDatastore if record["type"] == "AzureFile" else AzureBlobDatastore
    return kind(workspace, name, record)


def names(workspace: Workspace) -> list[str]:
    """Return the names of the datastores: two built-in ones and the registered ones."""
    return sorted({*BUILT_IN_DATASTORES[:2], *_registered(workspace)})


def default_name(workspace: Workspace) -> str:
    """Return the name of the default datastore."""
    return str(read_records(workspace, _FILE).get("default", DEFAULT_NAME))


def set_default(workspace: Workspace, name: str) -> None:
    """Set the default datastore.

    Raises
    ------
    UserErrorException
        It does not exist.
    """
    get(workspace, name)
    with changed_records(workspace, _FILE) as records:
        records["default"] = name


def _registered(workspace: Workspace) -> dict[str, Any]:
    stores: dict[str, Any] = read_records(workspace, _FILE).get("stores", {})
    return stores
