"""Datastores of a workspace: folders of this machine, and blob containers by their account."""

from __future__ import annotations

import json
import os
import tempfile
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from ...data.storage.datastores import Datastore as NativeDatastore
from ...data.storage.object_store import ObjectStore
from ...data.storage.storage import ENDPOINT_VARIABLE, Place, StorageSpec
from ...data.storage.transfer import upload_all
from ...pipelines import registered_datasets
from ...runs.folders import write_atomically
from ..exceptions import UserErrorException
from ..loader.missing import Partial
from .references import DataReference
from .workspace import Workspace, as_workspace

DEFAULT_NAME = "workspaceblobstore"
_CLOUD = "core.windows.net"
_OWN = (DEFAULT_NAME, "workspacefilestore", "workspaceartifactstore", "workspaceworkingdirectory")


class AbstractAzureStorageDatastore(Partial):
    """A datastore of a workspace. ``Datastore.get`` and ``ws.datastores`` make them."""

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
        """The datastore as the rest of this package has it.

        Raises
        ------
        UserErrorException
            It is a file share, which cannot be read from here.
        """
        folder = self._record.get("folder")
        if folder is not None:
            os.makedirs(folder, mode=0o700, exist_ok=True)
            return NativeDatastore(self.name, str(folder), None)
        if "storage" not in self._record:
            msg = (
                f"datastore {self.name!r} is a file share, which is recorded only. Mount it, and "
                "give the paths of its files as local ones."
            )
            raise UserErrorException(msg)
        storage = StorageSpec.of_spec(self._record["storage"])
        return NativeDatastore(self.name, self._record["url"], storage)

    def path(
        self, path: str | None = None, data_reference_name: str | None = None
    ) -> DataReference:
        """Return a place in it: a file, a folder or a glob."""
        return DataReference(
            self, data_reference_name=data_reference_name, path_on_datastore=path or ""
        )

    def as_mount(self) -> DataReference:
        """Return the whole of it, to be read by a step."""
        return self.path().as_mount()

    def as_download(self, path_on_compute: str | None = None) -> DataReference:
        """Return the whole of it, to be read by a step."""
        return self.path().as_download(path_on_compute)

    def upload(
        self,
        src_dir: str,
        target_path: str | None = None,
        overwrite: bool = False,
        show_progress: bool = True,
    ) -> DataReference:
        """Copy a folder, whole, into the datastore; return where it is.

        Raises
        ------
        InputError
            ``src_dir`` is not a folder, or the store refuses.
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
        """Copy files into the datastore; return where they are.

        Files that are there already are left as they are, unless ``overwrite``.

        Raises
        ------
        InputError
            A file is missing or not below ``relative_root``, or the store refuses.
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
        """Copy what lies below a prefix to a local folder; return the number of files.

        Paths stay as they are in the datastore.
        """
        count = self.native.download(target_path, prefix or "", overwrite)
        if show_progress:
            print(f"Downloaded {count} files to {target_path}")
        return count

    def put_frame(self, frame: Any, place: Any) -> None:
        """Write a DataFrame as one Parquet file to a place in the datastore."""
        with tempfile.TemporaryDirectory() as folder:
            path = os.path.join(folder, os.path.basename(place.path))
            frame.to_parquet(path, index=False)
            parent, _, name = place.path.rpartition("/")
            upload_all([(path, name)], Place(parent, place.storage), overwrite=True)

    def set_as_default(self) -> None:
        """Make it the default datastore of its workspace."""
        set_default(self.workspace, self.name)

    def unregister(self) -> None:
        """Forget it; what is in it stays."""
        with registered_datasets.lock(self.workspace.folder):
            record = _read(self.workspace)
            record["stores"].pop(self.name, None)
            _write(self.workspace, record)


class AzureBlobDatastore(AbstractAzureStorageDatastore):
    """A blob container, or the folder of this machine that stands for one."""


class AzureFileDatastore(AbstractAzureStorageDatastore):
    """A file share; recorded."""

    datastore_type = "AzureFile"


class Datastore:
    """Registers and finds datastores; ``Datastore(workspace, name)`` is ``Datastore.get``."""

    def __new__(cls, workspace: Workspace, name: str | None = None) -> Any:
        """Return a datastore by its name; the default one without a name."""
        return get(as_workspace(workspace), name or default_name(workspace))

    @staticmethod
    def get(workspace: Workspace, datastore_name: str) -> Any:
        """Return a datastore by its name.

        Raises
        ------
        UserErrorException
            There is none of that name.
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
        """Register a blob container; without a key it is read as a public one.

        A key or token is held in memory and never written; another session asks for it again.

        Raises
        ------
        UserErrorException
            There is a datastore of that name already, and ``overwrite`` is False.
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
        """Record a file share. Reading it takes a mount of it, as a folder of this machine."""
        record = {
            "type": "AzureFile",
            "container_name": file_share_name,
            "account_name": account_name,
            "protocol": protocol or "https",
            "endpoint": endpoint or _CLOUD,
        }
        return _register(workspace, datastore_name, record, overwrite=overwrite)


def _native_name(workspace: Workspace, name: str) -> str:
    """Return the name of a workspace's datastore among those of all workspaces.

    The last ``-`` parts the two, since a datastore's name has none: workspace ``a`` with ``b_c`` is
    another one than ``a_b`` with ``c``.
    """
    _check_name(name)
    return f"{workspace.folder.name}-{name}"


def _check_name(name: str) -> None:
    if not name or not name.replace("_", "").isalnum():
        msg = f"datastore_name is {name!r}; expected letters, digits and underscores."
        raise UserErrorException(msg)


def _check_free(workspace: Workspace, name: str, *, overwrite: bool) -> None:
    if name in _read(workspace)["stores"] and not overwrite:
        msg = f"there is a datastore {name!r} already; give overwrite=True to replace it."
        raise UserErrorException(msg)


def _endpoint(protocol: str | None, endpoint: str | None) -> str | None:
    """Return the template of another cloud's endpoints; None for the usual one, or the setting's."""
    if os.environ.get(ENDPOINT_VARIABLE) or not (protocol or endpoint):
        return None
    return f"{protocol or 'https'}://{{account}}.blob.{endpoint or _CLOUD}"


def _register(workspace: Workspace, name: str, record: dict[str, Any], *, overwrite: bool) -> Any:
    _check_name(name)
    with registered_datasets.lock(as_workspace(workspace).folder):
        _check_free(workspace, name, overwrite=overwrite)
        known = _read(workspace)
        known["stores"][name] = record
        _write(workspace, known)
    return get(workspace, name)


def get(workspace: Workspace, name: str) -> Any:
    """Return a datastore of a workspace.

    Raises
    ------
    UserErrorException
        There is none of that name; the message names those there are.
    """
    record = _read(workspace)["stores"].get(name)
    if record is None and name in _OWN:
        record = {
            "type": "AzureFile" if "file" in name else "AzureBlob",
            "folder": str(workspace.folder / "datastores" / name),
            "container_name": name,
            "account_name": "local",
        }
    if record is None:
        known = ", ".join(names(workspace))
        msg = f"there is no datastore {name!r} in workspace {workspace.name!r}; there are: {known}."
        raise UserErrorException(msg)
    kind = AzureFileDatastore if record["type"] == "AzureFile" else AzureBlobDatastore
    return kind(workspace, name, record)


def names(workspace: Workspace) -> list[str]:
    """Return the names of the datastores: a workspace's own two, and what was registered."""
    return sorted({*_OWN[:2], *_read(workspace)["stores"]})


def default_name(workspace: Workspace) -> str:
    """Return the name of the default datastore."""
    return str(_read(workspace)["default"])


def set_default(workspace: Workspace, name: str) -> None:
    """Make a datastore the default one.

    Raises
    ------
    UserErrorException
        There is none of that name.
    """
    get(workspace, name)
    with registered_datasets.lock(workspace.folder):
        _write(workspace, {**_read(workspace), "default": name})


def _file(workspace: Workspace) -> Path:
    return workspace.folder / "datastores.json"


def _read(workspace: Workspace) -> dict[str, Any]:
    try:
        record: dict[str, Any] = json.loads(_file(workspace).read_text(encoding="utf-8"))
    except FileNotFoundError:
        return {"default": DEFAULT_NAME, "stores": {}}
    return record


def _write(workspace: Workspace, record: dict[str, Any]) -> None:
    write_atomically(_file(workspace), json.dumps(record, indent=1))
