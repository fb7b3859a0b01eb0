"""Datastores: places by name, kept in the home, with their credentials by reference."""

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
from .storage import Place, StorageSpec, make_storage
from .urls import ENDPOINT_VARIABLE, Url, datastore_of, local_path, parse_url, protocol_of

_FILE = "datastores.json"


@dataclass(frozen=True, slots=True)
class DataPath:
    """A path, folder or glob in a datastore: what ``Datastore.path`` returns."""

    datastore: Datastore
    path: str

    def place(self) -> Place:
        """Return where that is."""
        store = self.datastore
        inside = self.path.strip("/")
        if inside in {"", "."}:
            return Place(store.url, store.storage)
        joined = f"{store.url.rstrip('/')}/{inside.removeprefix('./')}"
        return Place(joined, store.storage)


class Datastore:
    """A place that has a name: a blob container, a folder, or another URL of fsspec.

    Registering stores where it is, in ``<home>/datastores.json``, and never a secret: a key or
    token that is typed is held in memory, and goes to the driver of a run from there. In another
    session it is looked for in the environment variable
    ``PARALLELRUN_<NAME>_ACCOUNT_KEY`` (or ``_SAS_TOKEN``, ...). Where the name has characters
    beyond ``a`` to ``z``, digits and ``_``, the variable has a mark behind it, so that ``a-b`` and
    ``A_b`` have one each; the error that asks for a missing variable names it.
    ``EnvironmentVariable("NAME")`` and ``Keyring(service, username)`` say where it is instead.

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
        """Register a blob container; without any credential it is read as a public one.

        Parameters
        ----------
        name
            Its name here: letters, digits, ``_`` and ``-``.
        container_name, account_name
            Where it is; a connection string may name the account.
        account_key, sas_token, connection_string
            The credential: a text, ``EnvironmentVariable(...)`` or ``Keyring(...)``.
        credential
            ``"identity"``, or a ``DefaultAzureCredential()``: the machine's or the user's own.
        blob_endpoint
            Template of the endpoint, with ``{account}`` in it. Default: the variable
            ``PARALLELRUN_BLOB_ENDPOINT``, else Azure's public cloud.
        overwrite
            Replace a datastore of that name.

        Raises
        ------
        ConfigError
            More than one credential, a name that cannot be used or is taken, or no account.
        """
        given = {
            "account_key": account_key, "sas_token": sas_token,
            "connection_string": connection_string, "credential": credential,
        }  # fmt: skip
        chosen = [option for option, value in given.items() if value is not None]
        if len(chosen) > 1:
            msg = f"{' and '.join(chosen)} are given for datastore {name!r}; expected one of them."
            raise ConfigError(msg)
        options = {option: given[option] for option in chosen} or {"anon": True}
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

        Raises
        ------
        ConfigError, InputError
            The folder does not exist, or the name cannot be used or is taken.
        """
        path = local_folder(folder, "folder")
        if not os.path.isdir(path):
            msg = f"the datastore {name!r} is to be {path!r}, which is not a folder; make it first."
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
        """Register any URL that fsspec can read, such as ``s3://bucket/folder``.

        Raises
        ------
        ConfigError, InputError
            The URL or its options cannot be used, or the name is taken.
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
        with _registry() as known:
            if name in known and not overwrite:
                msg = f"there is a datastore {name!r} already; give overwrite=True to replace it."
                raise ConfigError(msg)
            # Not before: a refused registration must not replace the key of the one that is there.
            if protocol:
                endpoint = os.environ.get(ENDPOINT_VARIABLE, "")
                storage = make_storage(
                    protocol, {}, options, label=name, owner=f"datastore {name}", endpoint=endpoint
                )
            known[name] = {"url": url, "storage": storage.spec() if storage else None}
        return cls(name, url, storage)

    @classmethod
    def get(cls, name: str) -> Datastore:
        """Return the datastore of that name.

        Raises
        ------
        ConfigError
            There is none.
        """
        known = _read(home() / _FILE)
        if name not in known:
            hint = nearest_hint(name, list(known))
            names = ", ".join(sorted(known)) or "none"
            msg = (
                f"there is no datastore {name!r}.{hint} Registered are: {names}. "
                "Datastore.register_azure_blob_container(...) adds one."
            )
            raise ConfigError(msg)
        return cls._of_spec(name, known[name])

    @classmethod
    def list(cls) -> list[Datastore]:
        """Return all datastores, by name."""
        known = _read(home() / _FILE)
        return [cls._of_spec(name, known[name]) for name in sorted(known)]

    @classmethod
    def _of_spec(cls, name: str, spec: Mapping[str, Any]) -> Datastore:
        storage = spec.get("storage")
        return cls(name, spec["url"], StorageSpec.of_spec(storage) if storage else None)

    def unregister(self) -> None:
        """Forget the name; what is there stays."""
        with _registry() as known:
            known.pop(self.name, None)

    def path(self, path: str = "") -> DataPath:
        """Return a path, folder or glob in it, for a dataset or an output."""
        return DataPath(self, path)

    def upload_files(
        self,
        files: Sequence[str | os.PathLike[str]],
        relative_root: str | os.PathLike[str] | None = None,
        target_path: str = "",
        overwrite: bool = False,  # noqa: FBT001, FBT002 - Azure's signature
        show_progress: bool = True,  # noqa: FBT001, FBT002, ARG002 - Azure's signature
    ) -> DataPath:
        """Copy local files into the datastore, and return where they are.

        Parameters
        ----------
        files
            Their paths.
        relative_root
            Folder that their paths in the store are relative to. Default: each one's own.
        target_path
            Folder in the store.
        overwrite
            Replace what is there; otherwise it is left as it is.
        show_progress
            Taken for Azure's sake.

        Raises
        ------
        InputError
            A file is missing, or the store refuses.
        """
        from .transfer import upload_all

        pairs = []
        for file in files:
            path = os.path.abspath(os.path.expanduser(os.fspath(file)))
            root = os.path.abspath(os.fspath(relative_root)) if relative_root else None
            inside = os.path.relpath(path, root) if root else os.path.basename(path)
            if inside.split(os.sep)[0] == os.pardir:
                msg = f"the file {path!r} is not below relative_root {root!r}."
                raise InputError(msg)
            pairs.append((path, inside.replace(os.sep, "/")))
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
        """Copy a local folder, whole, into the datastore, and return where it is.

        Raises
        ------
        InputError
            It is no folder, or the store refuses.
        """
        folder = local_folder(src_dir, "src_dir")
        if not os.path.isdir(folder):
            msg = f"src_dir is {folder!r}, which is not a folder; upload_files takes files."
            raise InputError(msg)
        found = [os.path.join(at, name) for at, _, names in os.walk(folder) for name in names]
        return self.upload_files(sorted(found), folder, target_path, overwrite, show_progress)

    def download(
        self,
        target_path: str | os.PathLike[str],
        prefix: str = "",
        overwrite: bool = False,  # noqa: FBT001, FBT002 - Azure's signature
        show_progress: bool = True,  # noqa: FBT001, FBT002, ARG002 - Azure's signature
    ) -> int:
        """Copy what lies below a prefix to a local folder; return the number of files.

        Paths stay as they are in the store. ``prefix`` is a folder, a file or a glob; nothing is
        everything.

        Raises
        ------
        InputError
            There is nothing, or the store refuses.
        """
        from .transfer import download_all

        target = local_folder(target_path, "target_path")
        return download_all(self.path(prefix).place(), self.url, target, overwrite=overwrite)


def place_of(path: Any, storage_options: Mapping[str, Any] | None = None) -> Place:
    """Return where something is, as people give it.

    Parameters
    ----------
    path
        A local path, a URL, ``(datastore, path)``, ``datastore.path(...)`` or ``azureml://...``.
    storage_options
        For a URL: fsspec's options. Without them, a registered datastore of the same container
        lends its own.

    Raises
    ------
    ConfigError, InputError
        It cannot be read as any of these.
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
    endpoint = os.environ.get(ENDPOINT_VARIABLE, "")
    parsed = parse_url(text, endpoint)
    root = parsed.url.partition("://")[2].partition("/")[0]
    if not storage_options and "sas_token" not in parsed.options:
        lent = _lent(text, parsed, root)
        if lent is not None:
            return Place(parsed.url, lent)
    storage = make_storage(
        parsed.protocol,
        parsed.options,
        storage_options or {},
        label=root,
        owner=parsed.url,
        endpoint=endpoint,
    )
    return Place(parsed.url, storage)


def _lent(text: str, parsed: Url, root: str) -> StorageSpec | None:
    """Return the storage that a registered datastore lends to a URL of its container.

    Raises
    ------
    ConfigError
        The URL leaves the account open, and the container is one of several accounts.
    """
    account = parsed.options.get("account_name")
    lenders = [store for store in Datastore.list() if _lends(store, parsed.protocol, root, account)]
    storages = [store.storage for store in lenders if store.storage is not None]
    if len({storage.identity for storage in storages}) > 1:
        names = " and ".join(repr(store) for store in lenders)
        msg = (
            f"{text!r} may be in each of {names}. Write the account into the URL, as in "
            "az://CONTAINER@ACCOUNT.blob.core.windows.net/PATH, or give datastore.path(...)."
        )
        raise ConfigError(msg)
    return storages[0] if storages else None


def _lends(store: Datastore, protocol: str, root: str, account: str | None) -> bool:
    """Say whether a datastore is the container of a URL, whose account may be left open."""
    if store.storage is None or store.storage.protocol != protocol:
        return False
    same = store.url.partition("://")[2].partition("/")[0] == root
    return same and account in {None, store.storage.options.get("account_name")}


def local_folder(given: str | os.PathLike[str], what: str) -> str:
    """Return the absolute path of a local folder that was given; an empty one is not the current."""
    text = os.fspath(given)
    if not text.strip():
        msg = f"{what} is {text!r}; expected a folder. Write '.' for the current one."
        raise InputError(msg)
    return os.path.abspath(os.path.expanduser(local_path(text)))


@contextmanager
def _registry() -> Iterator[dict[str, Any]]:
    """Read the datastores, and write them back: one process at a time."""
    folder = home()
    folder.mkdir(mode=0o700, parents=True, exist_ok=True)
    with lock(folder / f".{_FILE}.lock"):
        path = folder / _FILE
        known = _read(path)
        yield known
        write_atomically(path, json.dumps(known, indent=1), mode=0o600)


def _read(path: Path) -> dict[str, Any]:
    try:
        known: dict[str, Any] = json.loads(path.read_text(encoding="utf-8"))
    except FileNotFoundError:
        return {}
    except ValueError as error:
        msg = f"{path} is not the list of datastores ({error}); delete it and register them anew."
        raise ConfigError(msg) from error
    return known
