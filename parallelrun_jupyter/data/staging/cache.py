"""The staging cache: downloaded files of object stores, shared by the runs of this machine.

``objects/`` has one entry per version of a file, named by a digest of its store, URL and ETag (or
size and time). A process pins the entries it uses by hard links in a folder of its own below
``views/``, in which files have the paths they have in the store. An entry with more than one link is
in use, by any process, and is not evicted. Files appear by rename or link, so a crash never leaves an
incomplete entry.
"""

from __future__ import annotations

import errno
import hashlib
import os
import shutil
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager
from pathlib import Path

from ...errors import ConfigError
from ...files import lock, try_lock
from ...formatting import parse_mini_batch_size
from ...home import home

FOLDER_VARIABLE = "PARALLELRUN_CACHE"
SIZE_VARIABLE = "PARALLELRUN_CACHE_SIZE"
DEFAULT_BYTES = 20 * 1024**3

_EVICT_TO = 0.9
"""Share of the limit that remains in use after an eviction."""

_USAGE_VALID_S = 600.0
"""Time for which the recorded usage is trusted, and unfinished downloads are kept."""

_MAX_NAME_BYTES = 200


class Cache:
    """The entries of a cache, and the limit of their size.

    Parameters
    ----------
    folder
        The cache's folder; created for its owner only if it does not exist.
    limit_bytes
        Total size of the entries. Pinned entries are never evicted, so they may exceed it.
    clock
        Returns seconds since the epoch, as the file system does.
    """

    def __init__(
        self, folder: Path, limit_bytes: int, clock: Callable[[], float] = time.time
    ) -> None:
        self.folder = folder
        self.limit_bytes = limit_bytes
        self._clock = clock
        self._objects = folder / "objects"
        self._added_bytes = 0
        self._objects.mkdir(mode=0o700, parents=True, exist_ok=True)
        (folder / "views").mkdir(mode=0o700, exist_ok=True)
        with self.locked() as usage:
            stat = os.fstat(usage)
            is_valid = stat.st_size == 8 and clock() - stat.st_mtime < _USAGE_VALID_S
            if not is_valid:
                self._write(usage, sum(size for _, size, _, _ in self._entries()))

    def entry_path(self, digest: str) -> Path:
        """Return the path of an entry, which may not exist yet."""
        return self._objects / digest[:2] / digest[2:]

    def temporary_path(self, digest: str) -> Path:
        """Return the path for downloading an entry, before `add`; its folder is created."""
        path = self.entry_path(digest)
        path.parent.mkdir(mode=0o700, exist_ok=True)
        return path.with_name(f".{path.name}.{os.getpid()}.tmp")

    def pin(self, digest: str, link: Path, size: int) -> bool:
        """Link an entry into a view and mark it as used now; return whether the entry exists.

        An entry of another size (unless ``size`` is below 0) is removed.
        """
        path = self.entry_path(digest)
        try:
            if size >= 0 and os.stat(path).st_size != size:
                path.unlink(missing_ok=True)  # a program has modified the file
                return False
            os.utime(path, (self._clock(),) * 2)
            _link(path, link)
        except FileNotFoundError:
            return False
        return True

    def add(self, digest: str, temporary: Path, link: Path) -> None:
        """Turn a complete download into an entry, linked into a view."""
        size = os.stat(temporary).st_size
        os.chmod(temporary, 0o400)
        _link(temporary, link)
        temporary.replace(self.entry_path(digest))
        self._added_bytes += size
        if self._added_bytes > max(self.limit_bytes // 100, 1 << 20):
            self.update_usage()

    def update_usage(self) -> None:
        """Record the size of the added entries; evict entries above the limit."""
        with self.locked() as usage:
            total = self._read(usage) + self._added_bytes
            self._added_bytes = 0
            self._write(usage, self._evict() if total > self.limit_bytes else total)

    def evict_unused(self) -> None:
        """Evict all entries that are not pinned, since the disk is full."""
        with self.locked() as usage:
            self._write(usage, self._evict(keep_bytes=0))
            self._added_bytes = 0

    def _evict(self, keep_bytes: int | None = None) -> int:
        """Evict the least recently used entries that are not pinned; return the remaining size.

        Parameters
        ----------
        keep_bytes
            Stop at this size. Default: a share of the limit.
        """
        keep = int(self.limit_bytes * _EVICT_TO) if keep_bytes is None else keep_bytes
        entries = sorted(self._entries())
        total = sum(size for _, size, _, _ in entries)
        for _, size, links, path in entries:
            if total <= keep:
                break
            if links > 1:
                continue
            try:
                os.unlink(path)
            except FileNotFoundError:
                pass
            total -= size
        return total

    def _entries(self) -> Iterator[tuple[float, int, int, str]]:
        """Yield (time of last use, size, links, path) of each entry; remove orphaned downloads."""
        for folder in os.scandir(self._objects):
            for entry in os.scandir(folder.path):
                try:
                    stat = entry.stat(follow_symlinks=False)
                    if entry.name.endswith(".tmp"):
                        if self._clock() - stat.st_mtime > _USAGE_VALID_S and _is_orphaned(
                            entry.name
                        ):
                            os.unlink(entry.path)
                        continue
                except FileNotFoundError:
                    continue
                yield stat.st_mtime, stat.st_size, stat.st_nlink, entry.path

    def locked(self) -> AbstractContextManager[int]:
        """Hold the lock of the cache; its file contains the approximate number of bytes in use."""
        return lock(self.folder / "usage")

    @staticmethod
    def _read(fd: int) -> int:
        return int.from_bytes(os.pread(fd, 8, 0), "little")

    @staticmethod
    def _write(fd: int, total: int) -> None:
        os.pwrite(fd, max(0, total).to_bytes(8, "little"), 0)


class View:
    """The lease of one process on cache entries: a folder of links, removed when the process ends.

    Parameters
    ----------
    cache
        The cache.
    name
        The folder's name.
    adopt
        Keep the links of an earlier process with this name, which has died. Default: remove them.
    """

    def __init__(self, cache: Cache, name: str, *, adopt: bool = False) -> None:
        self._cache = cache
        self._views = cache.folder / "views"
        self.path = self._views / name
        self._folders: set[Path] = set()
        with cache.locked():  # so that no process sweeps this view before it is locked
            self._lock = try_lock(self._views / f".{name}.lock")
            _sweep(self._views)
            if not adopt:
                shutil.rmtree(self.path, ignore_errors=True)
            self.path.mkdir(mode=0o700, exist_ok=True)

    def path_for(self, group: str, name: str, digest: str) -> Path:
        """Return the path at which to link a file; its folder is created.

        The file keeps its path in the store, ``name``, below the folder ``group``. If that is not
        possible, because the path is too long or is both a file and a folder in the store, the file
        gets a folder of its own. The base name is kept in either case.
        """
        parts = [_local_name(part) for part in name.split("/") if part]
        path = self.path.joinpath(group, *parts)
        try:
            self._make(path.parent)
            is_free = not os.path.lexists(path) or self._is_entry(path, digest)
        except (NotADirectoryError, FileExistsError):
            is_free = False
        except OSError as error:
            if error.errno != errno.ENAMETOOLONG:
                raise
            is_free = False
        if not is_free:
            path = self.path / group / f"~{digest[:16]}" / parts[-1]
            self._make(path.parent)
        return path

    def _is_entry(self, path: Path, digest: str) -> bool:
        """Return whether a file of the view links this entry, from an adopted process."""
        try:
            return os.path.samefile(path, self._cache.entry_path(digest))
        except FileNotFoundError:
            return False

    def _make(self, folder: Path) -> None:
        if folder not in self._folders:
            folder.mkdir(mode=0o700, parents=True, exist_ok=True)
            self._folders.add(folder)

    def close(self) -> None:
        """End the lease: unpin all entries."""
        shutil.rmtree(self.path, ignore_errors=True)
        (self._views / f".{self.path.name}.lock").unlink(missing_ok=True)
        os.close(self._lock)


def open_cache(environ: Mapping[str, str] = os.environ) -> Cache:
    """Return this machine's cache: ``PARALLELRUN_CACHE``, else a folder of the home.

    Raises
    ------
    ConfigError
        ``PARALLELRUN_CACHE_SIZE`` is not a size, or the folder cannot be created.
    """
    path = environ.get(FOLDER_VARIABLE, "").strip()
    folder = Path(path).expanduser().absolute() if path else home(environ) / "cache"
    size = environ.get(SIZE_VARIABLE, "").strip()
    limit = DEFAULT_BYTES
    if size:
        try:
            limit = parse_mini_batch_size(size).count
        except ConfigError as error:
            msg = f"{SIZE_VARIABLE} is {size!r}; expected a size such as 500MB or 20GB."
            raise ConfigError(msg) from error
    try:
        return Cache(folder, limit)
    except OSError as error:
        msg = (
            f"the cache {folder} could not be created ({error.strerror}); set {FOLDER_VARIABLE} to "
            "a writable folder."
        )
        raise ConfigError(msg) from error


def digest_of(identity: str, url: str, size: int, version: int | str, salt: str = "") -> str:
    """Return the digest that names the entry of one version of a file.

    Parameters
    ----------
    identity
        Identity of the store.
    url, size, version
        The file.
    salt
        The run or process. It is part of the digest of a file without a version, which cannot be
        shared.
    """
    text = "\0".join((identity, url, str(size), str(version), "" if version else salt))
    return hashlib.sha256(text.encode("utf-8", "surrogateescape")).hexdigest()[:40]


def path_in_store(url: str) -> str:
    """Return the path of a file in a view: container, folders and name."""
    return url.partition("://")[2].partition("?")[0]


def root_of(folder: Path, url: str, paths: Sequence[str]) -> str:
    """Return the local path of a dataset: of its only file, or of its folder in a view.

    Parameters
    ----------
    folder
        Folder of the view with the files.
    url
        The dataset's path: a file, a folder or a glob.
    paths
        Local paths of the files.
    """
    parts = path_in_store(url).strip("/").split("/")
    is_below = Path(paths[0]).is_relative_to(folder)
    first = Path(paths[0]).relative_to(folder).parts if is_below else ()
    fixed = next(  # the number of parts before those of a glob; brackets may be part of a name
        (
            number
            for number, part in enumerate(parts)
            if set(part) & set("*?[") and _local_name(part) not in first[number : number + 1]
        ),
        len(parts),
    )
    is_file = len(paths) == 1 and fixed == len(parts) and os.path.basename(paths[0]) == parts[-1]
    if is_file and os.path.isfile(paths[0]):
        return paths[0]
    return str(folder.joinpath(*map(_local_name, filter(None, parts[:fixed]))))


def _link(path: Path, link: Path) -> None:
    try:
        os.link(path, link)
    except FileExistsError:
        pass  # the run uses this file twice
    except OSError as error:
        if error.errno not in {errno.EPERM, errno.EMLINK, errno.ENOTSUP, errno.EXDEV}:
            raise
        shutil.copyfile(path, link)  # a file system without hard links


def _local_name(name: str) -> str:
    """Return a valid file name for a part of a URL; a long one is cut before its suffix."""
    if name in {".", ".."}:
        return name.replace(".", "%2E")
    name = name.replace("\0", "%00")
    encoded = name.encode("utf-8", "surrogateescape")
    if len(encoded) <= _MAX_NAME_BYTES:
        return name
    digest = hashlib.sha256(encoded).hexdigest()[:8]
    stem, suffix = os.path.splitext(name)
    start = stem.encode("utf-8", "surrogateescape")[: _MAX_NAME_BYTES - 10 - len(suffix.encode())]
    return f"{start.decode('utf-8', 'ignore')}~{digest}{suffix}"


def _sweep(views: Path) -> None:
    """Remove the views of processes that have ended: the kernel has released their locks."""
    for path in views.glob(".*.lock"):
        try:
            fd = try_lock(path)
        except (BlockingIOError, FileNotFoundError):
            continue
        shutil.rmtree(views / path.name[1:-5], ignore_errors=True)
        path.unlink(missing_ok=True)
        os.close(fd)


def _is_orphaned(temporary: str) -> bool:
    """Return whether the process that wrote a temporary file has ended."""
    pid = temporary.split(".")[-2]
    try:
        os.kill(int(pid), 0)
    except (ProcessLookupError, ValueError):
        return True
    except PermissionError:
        return False
    return False
