"""Datastores: named locations of data, registered in the home, with credentials by reference."""

from __future__ import annotations

import json
import os
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from ...errors import ConfigError, InputError
from ...files import lock, write_atomically
from ...formatting import nearest_hint
from ...home import home
from .storage import (
    ENDPOINT_VARIABLE,
    Place,
    StorageSpec,
    Url,
    datastore_of,
    local_path,
    make_storage,
    parse_url,
    protocol_of,
)

_FILE = "datastores.json"


@dataclass(frozen=True, slots=True)
class DataPath:
    """A path, folder or glob in a datastore, as returned by ``Datastore.path``."""

    datastore: Datastore
    path: str

    def place(self) -> Place:
        """Return the full path or URL, with the storage that opens it."""
        store = self.datastore
        path = self.path.strip("/")
        if path in {"", "."}:
            return Place(store.url, store.storage)
        return Place(f"{store.url.rstrip('/')}/{path.removeprefix('./')}", store.storage)


class Datastore:
    """A named blob container, folder, or other URL of fsspec.

    Datastores are registered in ``<home>/datastores.json``, without secrets: a typed key or token is
    held in memory and passed to the drivers of runs. Another session reads it from the environment
    variable ``PARALLELRUN_<NAME>_ACCOUNT_KEY`` (or ``_SAS_TOKEN``, ...). If the name has characters
    other than ``a`` to ``z``, digits and ``_``, a digest is added to ``<NAME>``, so that ``a-b`` and
    ``A_b`` have different variables; the error for a missing variable names it.
    ``EnvironmentVariable("NAME")`` and ``Keyring(service, username)`` refer to a credential instead.

    Examples
    --------
    >>> store = Datastore.register_azure_blob_container(
    ...     "samples", container_name="sampledata", account_name="pipelinedata"
    ... )  # without a key: a public container
    >>> mnist = FileDataset(store.path("mnist/*.png"))  # doctest: +SKIP
    """

    def __init__(self, name: str, url: str, storage: StorageSpec | None) -> None:
        self.name = name
        self.url = url
        self.storage = storage

    def __repr__(self) -> str:
        account = self.storage.options.get("account_name") if self.storage else None
        return f"Datastore({self.name!r}: {self.url}{f' of {account}' if account else ''})"

    @classmethod
    def register_azure_blob_container(
        cls,
        name: str,
        container_name: str,
        account_name: str | None = None,
        *,
        account_key: Any = None,
        sas_token: Any = None,
        connection_string: Any = None,
        credential: Any = None,
        blob_endpoint: str | None = None,
        overwrite: bool = True,
    ) -> Datastore:
        """Register a blob container; without a credential it is opened as a public one.

        Parameters
        ----------
        name
            Name of the datastore: letters, digits, ``_`` and ``-``.
        container_name, account_name
            The container and its account, which a connection string may name as well.
        account_key, sas_token, connection_string
            The credential: a text, ``EnvironmentVariable(...)`` or ``Keyring(...)``.
        credential
            ``"identity"``, or a ``DefaultAzureCredential()``: the identity of the machine or user.
        blob_endpoint
            Template of the endpoint, with ``{account}``. Default: the variable
            ``PARALLELRUN_BLOB_ENDPOINT``, else Azure's public cloud.
        overwrite
            Replace a registered datastore of that name.

        Raises
        ------
        ConfigError
            More than one credential is given, the name is invalid or already in use, or the account
            is unknown.
        """
        credentials = {
            "account_key": account_key, "sas_token": sas_token,
            "connection_string": connection_string, "credential": credential,
        }  # fmt: skip
        options = {name: value for name, value in credentials.items() if value is not None}
        if len(options) > 1:
            msg = f"{' and '.join(options)} are given for datastore {name!r}; expected one of them."
            raise ConfigError(msg)
        options = options or {"anon": True}
        if account_name:
            options["account_name"] = account_name
        if blob_endpoint:
            options["blob_endpoint"] = blob_endpoint
        url = parse_url(f"az://{container_name}").url
        return cls._register(name, url, "az", options, overwrite=overwrite)

    @classmethod
    def register_local(
        cls, name: str, folder: str | os.PathLike[str], *, overwrite: bool = True
    ) -> Datastore:
        """Register a folder of this machine.

        Parameters
        ----------
        name
            Name of the datastore: letters, digits, ``_`` and ``-``.
        folder
            The folder, which exists.
        overwrite
            Replace a registered datastore of that name.

        Raises
        ------
        ConfigError, InputError
            The folder does not exist, or the name is invalid or already in use.
        """
        path = local_folder(folder, "folder")
        if not os.path.isdir(path):
            msg = f"the folder of datastore {name!r} is {path!r}, which does not exist; create it first."
            raise ConfigError(msg)
        return cls._register(name, path, "", {}, overwrite=overwrite)

    @classmethod
    def register_url(
        cls,
        name: str,
        url: str,
        *,
        storage_options: Mapping[str, Any] | None = None,
        overwrite: bool = True,
    ) -> Datastore:
        """Register a URL of any protocol of fsspec, such as ``s3://bucket/folder``.

        Parameters
        ----------
        name
            Name of the datastore: letters, digits, ``_`` and ``-``.
        url
            The URL of a folder, bucket or container.
        storage_options
            How fsspec opens it. Credentials are kept in memory. Default: those of the environment.
        overwrite
            Replace a registered datastore of that name.

        Raises
        ------
        ConfigError, InputError
            The URL, its options or the name is invalid, or the name is already in use.
        """
        parsed = parse_url(url, os.environ.get(ENDPOINT_VARIABLE, ""))
        options = {**parsed.options, **(storage_options or {})}
        return cls._register(name, parsed.url, parsed.protocol, options, overwrite=overwrite)

    @classmethod
    def _register(
        cls, name: str, url: str, protocol: str, options: Mapping[str, Any], *, overwrite: bool
    ) -> Datastore:
        if not name or not name.replace("_", "").replace("-", "").isalnum():
            msg = f"a datastore's name is {name!r}; expected letters, digits, '_' and '-'."
            raise ConfigError(msg)
        storage = None
        with _registry() as specs:
            if name in specs and not overwrite:
                msg = f"there is a datastore {name!r} already; give overwrite=True to replace it."
                raise ConfigError(msg)
            # Only now: a refused registration must not replace the key of the registered datastore.
            if protocol:
                storage = make_storage(protocol, options, label=name, owner=f"datastore {name}")
            specs[name] = {"url": url, "storage": storage.spec() if storage else None}
        return cls(name, url, storage)

    @classmethod
    def get(cls, name: str) -> Datastore:
        """Return the datastore with a name.

        Parameters
        ----------
        name
            The name that it was registered by.

        Raises
        ------
        ConfigError
            No datastore has this name.
        """
        specs = _read(home() / _FILE)
        if name not in specs:
            hint = nearest_hint(name, list(specs))
            names = ", ".join(sorted(specs)) or "none"
            msg = (
                f"there is no datastore {name!r}.{hint} Registered are: {names}. "
                "Datastore.register_azure_blob_container(...) adds one."
            )
            raise ConfigError(msg)
        return cls._of_spec(name, specs[name])

    @classmethod
    def list(cls) -> list[Datastore]:
        """Return all datastores, sorted by name."""
        specs = _read(home() / _FILE)
        return [cls._of_spec(name, specs[name]) for name in sorted(specs)]

    @classmethod
    def _of_spec(cls, name: str, spec: Mapping[str, Any]) -> Datastore:
        storage = spec.get("storage")
        return cls(name, spec["url"], StorageSpec.of_spec(storage) if storage else None)

    def unregister(self) -> None:
        """Remove the registration of the datastore; its files are kept."""
        with _registry() as specs:
            specs.pop(self.name, None)

    def path(self, path: str = "") -> DataPath:
        """Return a path, folder or glob in the datastore, for a dataset or an output.

        Parameters
        ----------
        path
            Relative to the datastore. Default: all of it.
        """
        return DataPath(self, path)

    def upload_files(
        self,
        files: Sequence[str | os.PathLike[str]],
        relative_root: str | os.PathLike[str] | None = None,
        target_path: str = "",
        overwrite: bool = False,  # noqa: FBT001, FBT002 - Azure's signature
        show_progress: bool = True,  # noqa: FBT001, FBT002, ARG002 - Azure's signature
    ) -> DataPath:
        """Copy local files into the datastore; return the path of the target folder.

        Parameters
        ----------
        files
            Their paths.
        relative_root
            Folder that their paths in the datastore are relative to. Default: the folder of each
            file.
        target_path
            Folder in the datastore.
        overwrite
            Replace existing files; otherwise they are skipped.
        show_progress
            Ignored; part of Azure's signature.

        Raises
        ------
        InputError
            A file is missing, or the store refuses.
        """
        from .transfer import upload_all

        pairs = []
        root = os.path.abspath(os.fspath(relative_root)) if relative_root else None
        for file in files:
            path = os.path.abspath(os.path.expanduser(os.fspath(file)))
            name = os.path.relpath(path, root) if root else os.path.basename(path)
            if name.split(os.sep)[0] == os.pardir:
                msg = f"the file {path!r} is not below relative_root {root!r}."
                raise InputError(msg)
            pairs.append((path, name.replace(os.sep, "/")))
        target = self.path(target_path)
        upload_all(pairs, target.place(), overwrite=overwrite)
        return target

    def upload(
        self,
        src_dir: str | os.PathLike[str],
        target_path: str = "",
        overwrite: bool = False,  # noqa: FBT001, FBT002 - Azure's signature
        show_progress: bool = True,  # noqa: FBT001, FBT002 - Azure's signature
    ) -> DataPath:
        """Copy a local folder into the datastore; return the path of the target folder.

        Parameters
        ----------
        src_dir
            The local folder, with all files below it.
        target_path
            Folder in the datastore. Default: its root.
        overwrite
            Replace existing files; otherwise they are skipped.
        show_progress
            Ignored; part of Azure's signature.

        Raises
        ------
        InputError
            ``src_dir`` is not a folder, or the store refuses.
        """
        folder = local_folder(src_dir, "src_dir")
        if not os.path.isdir(folder):
            msg = f"src_dir is {folder!r}, which is not a folder; use upload_files for files."
            raise InputError(msg)
        paths = [os.path.join(at, name) for at, _, names in os.walk(folder) for name in names]
        return self.upload_files(sorted(paths), folder, target_path, overwrite, show_progress)

    def download(
        self,
        target_path: str | os.PathLike[str],
        prefix: str = "",
        overwrite: bool = False,  # noqa: FBT001, FBT002 - Azure's signature
        show_progress: bool = True,  # noqa: FBT001, FBT002, ARG002 - Azure's signature
    ) -> int:
        """Copy files of the datastore to a local folder; return their number.

        They keep their paths in the datastore.

        Parameters
        ----------
        target_path
            The local folder.
        prefix
            A folder, a file or a glob in the datastore. Default: all files.
        overwrite
            Replace existing files; otherwise they are left as they are.
        show_progress
            Ignored; part of Azure's signature.

        Raises
        ------
        InputError
            The prefix matches no file, or the store refuses.
        """
        from .transfer import download_all

        target = local_folder(target_path, "target_path")
        place = self.path(prefix).place()
        return len(download_all(place, self.url, target, overwrite=overwrite))


def place_of(path: Any, storage_options: Mapping[str, Any] | None = None) -> Place:
    """Resolve a path in any form that users write.

    Parameters
    ----------
    path
        A local path, a URL, ``(datastore, path)``, ``datastore.path(...)`` or ``azureml://...``.
    storage_options
        Options of fsspec for a URL. Default: the options of a registered datastore with the same
        container.

    Raises
    ------
    ConfigError, InputError
        The path has none of these forms, or its datastore or account is unknown.
    """
    if isinstance(path, tuple) and len(path) == 2 and isinstance(path[0], Datastore):
        path = DataPath(path[0], str(path[1]))
    if isinstance(path, Place):
        return path
    if isinstance(path, DataPath):
        return path.place()
    if isinstance(path, Datastore):
        return Place(path.url, path.storage)
    if not isinstance(path, str | os.PathLike) or not isinstance(os.fspath(path), str):
        msg = (
            f"{path!r} is not a path; expected a text, a pathlib.Path, a URL, datastore.path(...) or "
            "(datastore, path)."
        )
        raise InputError(msg)
    text: str = os.fspath(path)
    named = datastore_of(text)
    if named:
        return Datastore.get(named[0]).path(named[1]).place()
    if not protocol_of(text) and "::" not in text:
        return Place(local_path(text))
    parsed = parse_url(text, os.environ.get(ENDPOINT_VARIABLE, ""))
    if not storage_options and "sas_token" not in parsed.options:
        registered = _registered_storage(text, parsed)
        if registered is not None:
            return Place(parsed.url, registered)
    options = {**parsed.options, **(storage_options or {})}
    label = _root_of(parsed.url)
    storage = make_storage(parsed.protocol, options, label=label, owner=parsed.url)
    return Place(parsed.url, storage)


def _root_of(url: str) -> str:
    """Return the container, bucket or host of a URL."""
    return url.partition("://")[2].partition("/")[0]


def _registered_storage(text: str, parsed: Url) -> StorageSpec | None:
    """Return the storage of the datastore that has the container of a URL; None if there is none.

    Raises
    ------
    ConfigError
        The URL does not name the account, and containers of several accounts match.
    """
    account = parsed.options.get("account_name")
    root = _root_of(parsed.url)
    storages: dict[str, StorageSpec] = {}
    names = []
    for store in Datastore.list():
        storage = store.storage
        if storage is None or storage.protocol != parsed.protocol or _root_of(store.url) != root:
            continue
        if account in {None, storage.options.get("account_name")}:
            storages.setdefault(storage.identity, storage)
            names.append(repr(store))
    if len(storages) > 1:
        msg = (
            f"{text!r} may be in each of {' and '.join(names)}. Write the account into the URL, as "
            "in az://CONTAINER@ACCOUNT.blob.core.windows.net/PATH, or give datastore.path(...)."
        )
        raise ConfigError(msg)
    return next(iter(storages.values()), None)


def local_folder(folder: str | os.PathLike[str], option: str) -> str:
    """Return the absolute path of a local folder.

    Raises
    ------
    InputError
        The path is empty; ``option`` names it in the message.
    """
    text = os.fspath(folder)
    if not text.strip():
        msg = f"{option} is {text!r}; expected a folder. Write '.' for the current one."
        raise InputError(msg)
    return os.path.abspath(os.path.expanduser(local_path(text)))


@contextmanager
def _registry() -> Iterator[dict[str, Any]]:
    """Yield the registered datastores under a lock, and write back the changes."""
    folder = home()
    folder.mkdir(mode=0o700, parents=True, exist_ok=True)
    with lock(folder / f".{_FILE}.lock"):
        path = folder / _FILE
        datastores = _read(path)
        yield datastores
        write_atomically(path, json.dumps(datastores, indent=1), mode=0o600)


def _read(path: Path) -> dict[str, Any]:
    try:
        specs: dict[str, Any] = json.loads(path.read_text(encoding="utf-8"))
    except FileNotFoundError:
        return {}
    except ValueError as error:
        msg = f"{path} is not the list of datastores ({error}); delete it and register them again."
        raise ConfigError(msg) from error
    return specs
