"""An open object store: listings in the order of local files, containers, plain errors."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any, NamedTuple

from ...errors import InputError, MissingExtraError
from ..walker import (
    MAGIC,
    FileItem,
    LeavesOut,
    Listing,
    Unlisted,
    bracket_hint,
    is_hidden,
    is_literal_too,
    matching,
    shown_names,
    split_glob,
    walk,
)
from .storage import StorageSpec

if TYPE_CHECKING:
    from typing_extensions import Self

_THREADS = 16


def store_errors() -> tuple[type[BaseException], ...]:
    """Return the errors that stores raise when they refuse or are unreachable.

    Only errors of packages that are loaded: others cannot have been raised.
    """
    errors: list[type[BaseException]] = [OSError, TimeoutError, EOFError]
    for module, name in (
        ("azure.core.exceptions", "AzureError"),
        ("aiohttp", "ClientError"),
        ("asyncio", "TimeoutError"),
        ("fsspec.exceptions", "FSTimeoutError"),
    ):
        if module in sys.modules:
            errors.append(getattr(sys.modules[module], name))
    return tuple(errors)


class _Entry(NamedTuple):
    """An entry of a folder, with the fields that fsspec returns."""

    url: str
    fields: dict[str, Any]

    @property
    def name(self) -> str:
        return self.url.rpartition("/")[2]

    @property
    def is_folder(self) -> bool:
        return bool(self.fields["type"] == "directory")


class ObjectStore:
    """An open store. Its methods raise `InputError` with a remedy, not the errors of packages.

    As a context manager it closes its connections.

    Parameters
    ----------
    storage
        The store and how to open it.
    leaves_out
        Returns whether listings leave out a name. Default: hidden names.
    """

    def __init__(self, storage: StorageSpec, leaves_out: LeavesOut = is_hidden) -> None:
        self.storage = storage
        self._leaves_out = leaves_out
        self.files = storage.open()
        self._is_web = storage.protocol in {"http", "https"}
        self._prefix = "" if self._is_web else f"{storage.protocol}://"

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        client = getattr(self.files, "service_client", None)
        if client is not None:  # others close when they are garbage-collected
            from fsspec.asyn import sync

            sync(self.files.loop, client.close)
            if self.files.credential is not None:
                sync(self.files.loop, self.files.credential.close)

    def url_of(self, name: str) -> str:
        """Return the URL of a name in an answer of the store."""
        return name if "://" in name else f"{self._prefix}{name.lstrip('/')}"

    def folders(self, url: str) -> Iterator[list[FileItem]]:
        """List the files of a URL, folder by folder; no list is empty.

        A subfolder that cannot be listed is returned as a file of size -1, whose download fails.

        Raises
        ------
        InputError
            The store refuses or cannot be reached. A URL that matches nothing is not an error.
        """
        with plain_errors(self.storage, url), ThreadPoolExecutor(_THREADS) as pool:
            is_glob = MAGIC.search(url) is not None
            entry = None if is_glob and not is_literal_too(url) else self._info(url)
            if entry is not None and entry["type"] == "file":
                yield [self._item(entry)]
                return
            root, parts = (url, ["**"]) if entry is not None else split_glob(url)
            if not parts:
                return
            if root.endswith(":/"):
                protocol = root.removesuffix(":/")
                msg = (
                    f"the glob {url!r} does not name the container; write {protocol}://CONTAINER/*"
                )
                raise InputError(msg)
            for files in walk(root, parts, self._list_folder, pool):
                yield [(files[0], -1, "")] if isinstance(files, Unlisted) else files

    def check(self, url: str) -> None:
        """Check that a URL is a file, or a folder or glob with files.

        Raises
        ------
        InputError
            The URL has no files, and the message lists the names in its folder; or the store refuses.
        """
        if next(self.folders(url), None) is None:
            raise InputError(self.why_no_files(url))

    def check_container(self, url: str) -> None:
        """Check that the container of a URL exists, if the credential permits that query.

        Raises
        ------
        InputError
            The container does not exist, or the store refuses or cannot be reached.
        """
        protocol, _, path = url.partition("://")
        with plain_errors(self.storage, url):
            try:
                self.files.info(f"{protocol}://{path.partition('/')[0]}")
            except FileNotFoundError:
                raise
            except store_errors() as error:
                # A token may permit writing blobs and nothing else.
                if (
                    getattr(error, "status_code", 0) != 403
                    or "sas_token" not in self.storage.secrets
                ):
                    raise

    def make_container(self, url: str) -> None:
        """Create the container of a URL if it does not exist.

        Raises
        ------
        InputError
            The store refuses or cannot be reached.
        """
        protocol, _, path = url.partition("://")
        container = path.partition("/")[0]
        with plain_errors(self.storage, url):
            if not self.files.exists(f"{protocol}://{container}"):
                self.files.mkdir(container)

    def why_no_files(self, url: str) -> str:
        """Return an error message for a URL without files, with the names in its folder."""
        kind = "glob" if MAGIC.search(url) else "input"
        message = f"the {kind} {url!r} matches no file in {self.storage.title};"
        protocol, _, path = url.partition("://")
        parts = path.strip("/").split("/")
        fixed = next((i for i, part in enumerate(parts) if MAGIC.search(part)), len(parts) - 1)
        folders = [f"{protocol}://{'/'.join(parts[: k + 1])}" for k in range(max(1, fixed))]
        with plain_errors(self.storage, url):
            for folder in reversed(folders):
                names = self._names_in(folder)
                if names:
                    return f"{message} {shown_names(folder, names)}{bracket_hint(url)}"
        self.check_container(folders[0])
        return f"{message} {folders[0]!r} is empty."

    def _names_in(self, folder: str) -> list[str]:
        lists, folders = self._list_folder(folder, "*")
        urls = [*folders, *(url for files in lists for url, *_ in files)]
        return [url.rpartition("/")[2] for url in urls]

    def _info(self, url: str) -> dict[str, Any] | None:
        """Return the store's entry of a file or folder, or None."""
        try:
            entry: dict[str, Any] = self.files.info(url)
        except FileNotFoundError as error:
            # A missing container is an error; for a missing blob the caller decides.
            if "No such container" in str(error):
                raise
            return None
        return entry

    def _item(self, entry: dict[str, Any]) -> FileItem:
        if entry.get("size") is None and self._is_web:
            entry = self._info(entry["name"]) or entry  # a page of links has no sizes
        size = entry.get("size")
        return self.url_of(entry["name"]), -1 if size is None else int(size), version_of(entry)

    def _list_folder(self, folder: str, pattern: str) -> Listing[FileItem]:
        """List one folder; a folder that does not exist is empty, as in object stores."""
        url = folder.rstrip("/")
        path = f"{url}/"
        if not self._is_web:  # a zip lists its own names only; a web server redirects to the slash
            path = self.files._strip_protocol(url)  # noqa: SLF001 - as fsspec's own ls does
        try:
            entries = self.files.ls(path, detail=True)
        except FileNotFoundError as error:
            if "No such container" in str(error):
                raise
            return [], []
        named = [_Entry(self.url_of(fields["name"]).rstrip("/"), fields) for fields in entries]
        below = [entry for entry in named if entry.url != url]
        matched = matching(below, pattern, self._leaves_out)
        files = sorted(self._item(entry.fields) for entry in matched if not entry.is_folder)
        # A store may list a folder twice: as a prefix, and as the blob that marks it.
        folders = sorted({entry.url for entry in matched if entry.is_folder})
        return [files] if files else [], folders


def version_of(entry: dict[str, Any]) -> str:
    """Return the ETag of a file, or its modification time; empty if the store has neither."""
    for key in ("etag", "ETag"):
        if entry.get(key):
            return str(entry[key])
    for key in ("last_modified", "LastModified", "mtime", "updated", "modified", "created"):
        if entry.get(key):
            return str(entry[key])
    return ""


@contextmanager
def plain_errors(storage: StorageSpec, url: str) -> Iterator[None]:
    """Raise the errors of a store as `InputError` with a remedy."""
    try:
        yield
    except (InputError, MissingExtraError):
        raise
    except store_errors() as error:
        raise InputError(why_not(storage, url, error)) from error


def why_not(storage: StorageSpec, url: str, error: BaseException) -> str:
    """Return the message for an error of a store: the reason and the remedy."""
    status = getattr(error, "status_code", None) or getattr(error, "status", None)
    reason = _short(error)
    container = url.partition("://")[2].partition("/")[0]
    if isinstance(error, FileNotFoundError) and "No such container" not in reason:
        return f"{url!r} does not exist in {storage.title}. Check the path."
    if "No such container" in reason or "ContainerNotFound" in reason:
        return (
            f"{url!r} cannot be used: {storage.title} has no container {container!r}. "
            "Check its name, and the account."
        )
    if status in {401, 403, 404, 409} or "authenticat" in reason.lower():
        return _refused(storage, url, container, reason)
    endpoint = storage.options.get("blob_endpoint", "").replace(
        "{account}", str(storage.options.get("account_name", ""))
    )
    return (
        f"{url!r} cannot be used: {storage.title}{f' at {endpoint}' if endpoint else ''} did not "
        f"send the answer of a store ({reason}). Check its name and the network, and try again."
    )


def _refused(storage: StorageSpec, url: str, container: str, reason: str) -> str:
    if storage.options.get("anon"):
        return (
            f"{url!r} cannot be used without a credential: {storage.title} has no container "
            f"{container!r}, or it is not public ({reason}). Give storage_options with an "
            "account_key or sas_token, or register the container with one."
        )
    names = ", ".join(f"{k} in {_source(v.spec())}" for k, v in storage.secrets.items())
    credential = names or "the identity of this machine or of az login"
    return (
        f"{url!r} cannot be used: {storage.title} refused the credential ({credential}): {reason}. "
        "Check that it belongs to this account, has not expired and permits this operation."
    )


def _source(spec: dict[str, Any]) -> str:
    [(kind, name)] = [(k, v) for k, v in spec.items() if k != "json"]
    return {"env": f"${name}", "keyring": "the keyring", "memory": "memory"}[kind]


def _short(error: BaseException) -> str:
    """Return the first sentence of an error, and the code of an Azure error."""
    lines = str(error).strip().splitlines() or [""]
    code = getattr(error, "error_code", None)
    prefix = f"{getattr(code, 'value', code)}: " if code else ""
    sentence = lines[0].partition(". ")[0].strip(" .'")
    return f"{type(error).__name__}: {prefix}{sentence or 'no message'}"[:300]
