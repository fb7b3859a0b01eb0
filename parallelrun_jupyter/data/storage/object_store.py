"""Listing a store, in the order of local listing, many folders at a time."""

from __future__ import annotations

import fnmatch
import re
import sys
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any, TypeAlias

from ...errors import InputError, MissingExtraError
from ..local.listing import LeavesOut, bracket_hint, is_hidden, is_literal_too, names_hidden
from .storage import StorageSpec

if TYPE_CHECKING:
    from typing_extensions import Self

_MAGIC = re.compile(r"[*?[]")
_LISTED_AHEAD = 16

RemoteFile: TypeAlias = tuple[str, int, int | str]
"""One file of a store: its URL, size in bytes (-1 where unknown) and ETag, or else its time, in the shape
of local files."""

_Listing: TypeAlias = tuple[list[RemoteFile], list[str]]


def store_errors() -> tuple[type[BaseException], ...]:
    """Return what stores raise when they refuse or are not there, of those that are loaded."""
    found: list[type[BaseException]] = [OSError, TimeoutError, EOFError]
    for module, name in (
        ("azure.core.exceptions", "AzureError"),
        ("aiohttp", "ClientError"),
        ("asyncio", "TimeoutError"),
        ("fsspec.exceptions", "FSTimeoutError"),
    ):
        if module in sys.modules:
            found.append(getattr(sys.modules[module], name))
    return tuple(found)


class ObjectStore:
    """A store that is open, with its errors made plain.

    Parameters
    ----------
    storage
        Which one.
    leaves_out
        Tells of a name whether listings leave it out, where it is not written.

    Leaving it as a context closes its connections.
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
        if client is not None:  # others close when they are collected
            from fsspec.asyn import sync

            sync(self.files.loop, client.close)
            if self.files.credential is not None:
                sync(self.files.loop, self.files.credential.close)

    def url_of(self, name: str) -> str:
        """Return the URL of a name that the store gave."""
        return name if "://" in name else f"{self._prefix}{name.lstrip('/')}"

    def folders(self, url: str) -> Iterator[list[RemoteFile]]:
        """List what a URL names, folder by folder; no list is empty.

        Raises
        ------
        InputError
            The store refuses, or cannot be reached; nothing there is no error.
        """
        with plain_errors(self.storage, url), ThreadPoolExecutor(_LISTED_AHEAD) as pool:
            is_glob = _MAGIC.search(url) is not None
            entry = None if is_glob and not is_literal_too(url) else self._look(url)
            if entry is None:
                if is_glob:
                    yield from self._expand(url, pool)
                return
            if entry["type"] == "file":
                yield [self._item(entry)]
            else:
                yield from self._walk(url, pool)

    def check(self, url: str) -> None:
        """See that a URL names a file, or a folder or glob with files.

        Raises
        ------
        InputError
            It names nothing, and the message says what is there; or the store refuses.
        """
        if next(self.folders(url), None) is None:
            raise InputError(self.nothing_found(url))

    def check_container(self, url: str) -> None:
        """See that the container of a URL is there, as far as the credential may look.

        Raises
        ------
        InputError
            It is not, or the store refuses or cannot be reached.
        """
        protocol, _, path = url.partition("://")
        with plain_errors(self.storage, url):
            try:
                self.files.info(f"{protocol}://{path.partition('/')[0]}")
            except FileNotFoundError:
                raise
            except store_errors() as error:
                # A token may be good for writing blobs and for nothing else.
                if (
                    getattr(error, "status_code", 0) != 403
                    or "sas_token" not in self.storage.secrets
                ):
                    raise

    def make_container(self, url: str) -> None:
        """Make the container of a URL where there is none.

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

    def nothing_found(self, url: str) -> str:
        """Say why a URL names no file, from what is there."""
        what = "glob" if _MAGIC.search(url) else "input"
        protocol, _, path = url.partition("://")
        parts = path.strip("/").split("/")
        fixed = next((i for i, part in enumerate(parts) if _MAGIC.search(part)), len(parts) - 1)
        with plain_errors(self.storage, url):
            for depth in range(max(1, fixed), 0, -1):
                folder = f"{protocol}://{'/'.join(parts[:depth])}"
                files, folders = self._list(folder)
                names = [u.rpartition("/")[2] for u in (*folders, *(f[0] for f in files))]
                if names:
                    shown = ", ".join(names[:4])
                    more = f" and {len(names) - 4:,} more" if len(names) > 4 else ""
                    return f"the {what} {url!r} matches no file in {self.storage.title}; {folder!r} holds {shown}{more}.{bracket_hint(url)}"
        root = f"{protocol}://{parts[0]}"
        self.check_container(root)
        return f"the {what} {url!r} matches no file in {self.storage.title}; {root!r} is empty."

    def _look(self, url: str) -> dict[str, Any] | None:
        """Return what the store says of one file or folder."""
        try:
            entry: dict[str, Any] = self.files.info(url)
        except FileNotFoundError as error:
            # A missing container is said; a missing blob is found out by who asked.
            if "No such container" in str(error):
                raise
            return None
        return entry

    def _item(self, entry: dict[str, Any]) -> RemoteFile:
        if entry.get("size") is None and self._is_web:
            entry = self._look(entry["name"]) or entry  # a page of links knows no sizes
        size = entry.get("size")
        return self.url_of(entry["name"]), -1 if size is None else int(size), version_of(entry)

    def _list(self, folder: str, pattern: str = "*") -> _Listing:
        """Return the files and the subfolders of a folder whose names match, sorted by name."""
        matches: Callable[[str], Any] = re.compile(fnmatch.translate(pattern)).match
        takes_all = names_hidden(pattern)
        here = folder.rstrip("/")
        files, folders = [], []
        asked = here + "/"
        if not self._is_web:  # a zip knows its names alone; a web server redirects to the slash
            asked = self.files._strip_protocol(here)  # noqa: SLF001 - what fsspec's own ls does
        try:
            entries = self.files.ls(asked, detail=True)
        except FileNotFoundError as error:
            if "No such container" in str(error):
                raise
            return [], []
        named = [(self.url_of(entry["name"]).rstrip("/"), entry) for entry in entries]
        # A name such as "[v2]" is that of a folder, where there is one.
        if is_literal_too(pattern) and any(url == f"{here}/{pattern}" for url, _ in named):
            matches = pattern.__eq__
        for url, entry in named:
            name = url.rpartition("/")[2]
            is_meant = takes_all or not self._leaves_out(name)
            if url == here or not is_meant or not matches(name):
                continue
            if entry["type"] == "directory":
                folders.append(url)
            else:
                files.append(self._item(entry))
        # A store may say the same folder twice: as a prefix, and as the blob that marks it.
        return sorted(files), sorted(set(folders))

    def _walk(self, folder: str, pool: ThreadPoolExecutor) -> Iterator[list[RemoteFile]]:
        """List a folder: its files, then its subfolders, which are asked for ahead."""
        todo, asked = [folder], dict[str, Future[_Listing]]()
        while todo:
            for ahead in todo[-_LISTED_AHEAD:]:
                if ahead not in asked:
                    asked[ahead] = pool.submit(self._list, ahead)
            current = todo.pop()
            try:
                files, folders = asked.pop(current).result()
            except PermissionError:
                if current == folder:
                    raise
                files, folders = [(current, -1, "")], []  # an item that fails, as on this machine
            if files:
                yield files
            todo += reversed(folders)

    def _expand(self, glob: str, pool: ThreadPoolExecutor) -> Iterator[list[RemoteFile]]:
        """List the files that a glob matches, folder by folder."""
        protocol, _, path = glob.partition("://")
        parts = path.split("/")
        fixed = next(i for i, part in enumerate(parts) if _MAGIC.search(part))
        if not fixed:
            msg = f"the glob {glob!r} leaves the container open; name it: {protocol}://CONTAINER/*"
            raise InputError(msg)
        found = self._match(f"{protocol}://{'/'.join(parts[:fixed])}", parts[fixed:], pool)
        seen: set[str] = set()  # two ** reach a folder by several ways
        several = parts.count("**") > 1
        for files in found:
            new = [item for item in files if item[0] not in seen]
            if several:
                seen.update(item[0] for item in new)
            if new:
                yield new

    def _match(
        self, folder: str, parts: Sequence[str], pool: ThreadPoolExecutor
    ) -> Iterator[list[RemoteFile]]:
        part, rest = parts[0], parts[1:]
        if part == "**":
            if not rest or list(rest) == ["*"]:
                yield from self._walk(folder, pool)
                return
            yield from self._match(folder, rest, pool)
            for subfolder in self._list(folder)[1]:
                yield from self._match(subfolder, parts, pool)
            return
        if rest and not _MAGIC.search(part):
            yield from self._match(f"{folder}/{part}", rest, pool)
            return
        files, folders = self._list(folder, part)
        if not rest:
            if files:
                yield files
            return
        for subfolder in folders:
            yield from self._match(subfolder, rest, pool)


def version_of(entry: dict[str, Any]) -> str:
    """Return what tells this version of a file from others: its ETag, else its time."""
    for key in ("etag", "ETag"):
        if entry.get(key):
            return str(entry[key])
    for key in ("last_modified", "LastModified", "mtime", "updated", "modified", "created"):
        if entry.get(key):
            return str(entry[key])
    return ""


@contextmanager
def plain_errors(storage: StorageSpec, url: str) -> Iterator[None]:
    """Turn what a store raises into an `InputError` that says what to do."""
    try:
        yield
    except (InputError, MissingExtraError):
        raise
    except store_errors() as error:
        raise InputError(why_not(storage, url, error)) from error


def why_not(storage: StorageSpec, url: str, error: BaseException) -> str:
    """Say why a store did not give what was asked for, and what to do."""
    status = getattr(error, "status_code", None) or getattr(error, "status", None)
    said = _short(error)
    container = url.partition("://")[2].partition("/")[0]
    if isinstance(error, FileNotFoundError) and "No such container" not in said:
        return f"{url!r} does not exist in {storage.title}. Check the path."
    if "No such container" in said or "ContainerNotFound" in said:
        return (
            f"{url!r} cannot be used: {storage.title} has no container {container!r}. "
            "Check its name, and the account."
        )
    if status in {401, 403, 404, 409} or "authenticat" in said.lower():
        return _refused(storage, url, container, said)
    where = storage.options.get("blob_endpoint", "").replace(
        "{account}", str(storage.options.get("account_name", ""))
    )
    return (
        f"{url!r} cannot be used: {storage.title}{f' at {where}' if where else ''} did not "
        f"answer as a store does ({said}). Check its name and the network, and try again."
    )


def _refused(storage: StorageSpec, url: str, container: str, said: str) -> str:
    if storage.options.get("anon"):
        return (
            f"{url!r} cannot be used without a credential: {storage.title} has no container "
            f"{container!r}, or it is not public ({said}). Give storage_options with an "
            "account_key or sas_token, or register the container with one."
        )
    names = ", ".join(f"{k} in {_place(v.spec())}" for k, v in storage.secrets.items())
    tried = names or "the identity of this machine or of az login"
    return (
        f"{url!r} cannot be used: {storage.title} refused the credential ({tried}): {said}. "
        "Check that it is of this account, has not expired and permits this."
    )


def _place(spec: dict[str, Any]) -> str:
    [(kind, where)] = [(k, v) for k, v in spec.items() if k != "json"]
    return {"env": f"${where}", "keyring": "the keyring", "memory": "memory"}[kind]


def _short(error: BaseException) -> str:
    """Return the first sentence of an error, and its code where Azure gives one."""
    lines = str(error).strip().splitlines() or [""]
    code = getattr(error, "error_code", None)
    known = f"{getattr(code, 'value', code)}: " if code else ""
    sentence = lines[0].partition(". ")[0].strip(" .'")
    return f"{type(error).__name__}: {known}{sentence or 'no further word'}"[:300]
