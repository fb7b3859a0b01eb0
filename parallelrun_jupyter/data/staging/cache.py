"""The staging cache: files of stores on this machine, shared by its runs and workers.

``objects/`` holds each version of a file once, under a digest of where it is from and its ETag (or
size and time). A run sees them in its own folder under ``views/``, under the names and folders
that they have in the store, as hard links: the number of links says what is in use, across
processes, and an object that goes leaves the links of those who still read it whole. Everything
appears by rename or link, so what a crash leaves is never half a file.
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

_KEPT_OF_LIMIT = 0.9
_LOOKED_AT_S = 600.0
_LONGEST_NAME = 200


class Cache:
    """The objects of a cache, and how much room they may take.

    Parameters
    ----------
    folder
        Where it is; made when it is missing, for its owner only.
    limit_bytes
        What the objects may take; what is in use is never taken away, so it may be more for a time.
    clock
        Seconds since the epoch, as the file system has them.
    """

    def __init__(
        self, folder: Path, limit_bytes: int, clock: Callable[[], float] = time.time
    ) -> None:
        self.folder = folder
        self.limit_bytes = limit_bytes
        self._clock = clock
        self._objects = folder / "objects"
        self._added = 0
        self._objects.mkdir(mode=0o700, parents=True, exist_ok=True)
        (folder / "views").mkdir(mode=0o700, exist_ok=True)
        with self.locked() as usage:
            kept = os.fstat(usage)
            is_known = kept.st_size == 8 and clock() - kept.st_mtime < _LOOKED_AT_S
            if not is_known:
                self._write(usage, sum(size for _, size, _, _ in self._all()))

    def path_of(self, digest: str) -> Path:
        """Return where an object is, or would be."""
        return self._objects / digest[:2] / digest[2:]

    def temporary(self, digest: str) -> Path:
        """Return where to write an object before `add`; its folder is there."""
        path = self.path_of(digest)
        path.parent.mkdir(mode=0o700, exist_ok=True)
        return path.with_name(f".{path.name}.{os.getpid()}.tmp")

    def use(self, digest: str, link: Path, size: int) -> bool:
        """Link an object into a view, if it is there and whole; it counts as used now."""
        path = self.path_of(digest)
        try:
            if size >= 0 and os.stat(path).st_size != size:
                path.unlink(missing_ok=True)  # somebody wrote into it
                return False
            os.utime(path, (self._clock(),) * 2)
            _link(path, link)
        except FileNotFoundError:
            return False
        return True

    def add(self, digest: str, written: Path, link: Path) -> int:
        """Take a file that was written whole, link it into a view, and return its size."""
        size = os.stat(written).st_size
        os.chmod(written, 0o400)
        _link(written, link)
        written.replace(self.path_of(digest))
        self._added += size
        if self._added > max(self.limit_bytes // 100, 1 << 20):
            self.settle()
        return size

    def settle(self) -> None:
        """Count what was added, and make room when it is too much."""
        with self.locked() as usage:
            total = self._read(usage) + self._added
            self._added = 0
            self._write(usage, self._evict() if total > self.limit_bytes else total)

    def make_room(self) -> None:
        """Let everything go that nobody uses: the disk is full."""
        with self.locked() as usage:
            self._write(usage, self._evict(keep_bytes=0))
            self._added = 0

    def _evict(self, keep_bytes: int | None = None) -> int:
        """Delete the least recently used objects that are not in use; return what is left."""
        keep = int(self.limit_bytes * _KEPT_OF_LIMIT) if keep_bytes is None else keep_bytes
        known = sorted(self._all())
        total = sum(size for _, size, _, _ in known)
        for _, size, links, path in known:
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

    def _all(self) -> Iterator[tuple[float, int, int, str]]:
        """Yield (used at, size, links, path) of every object; remove what a crash left half."""
        for part in os.scandir(self._objects):
            for entry in os.scandir(part.path):
                try:
                    stat = entry.stat(follow_symlinks=False)
                    if entry.name.endswith(".tmp"):
                        if self._clock() - stat.st_mtime > _LOOKED_AT_S and not _lives(entry.name):
                            os.unlink(entry.path)
                        continue
                except FileNotFoundError:
                    continue
                yield stat.st_mtime, stat.st_size, stat.st_nlink, entry.path

    def locked(self) -> AbstractContextManager[int]:
        """Hold the lock of the cache; its file holds the bytes in use, about."""
        return lock(self.folder / "usage")

    @staticmethod
    def _read(fd: int) -> int:
        return int.from_bytes(os.pread(fd, 8, 0), "little")

    @staticmethod
    def _write(fd: int, total: int) -> None:
        os.pwrite(fd, max(0, total).to_bytes(8, "little"), 0)


class View:
    """A folder in which one process of a run sees files of a cache, while it lives.

    Parameters
    ----------
    cache
        The cache.
    name
        The folder's name.
    keeps
        Take over what a process of that name that has died has left; otherwise it is removed.
    """

    def __init__(self, cache: Cache, name: str, *, keeps: bool = False) -> None:
        self._cache = cache
        self._views = cache.folder / "views"
        self.path = self._views / name
        self._folders: set[Path] = set()
        with cache.locked():  # nobody sweeps between the file of a lock and the lock
            self._lock = try_lock(self._views / f".{name}.lock")
            _sweep(self._views)
            if not keeps:
                shutil.rmtree(self.path, ignore_errors=True)
            self.path.mkdir(mode=0o700, exist_ok=True)

    def place(self, group: str, name: str, digest: str) -> Path:
        """Return where a file is to appear: below ``group``, by its path in the store.

        Parts that no folder can have, and names that are a file here and a folder there, get a
        folder of their own; the base name stays in any case.
        """
        parts = [_part(part) for part in name.split("/") if part]
        path = self.path.joinpath(group, *parts)
        try:
            self._make(path.parent)
            is_free = not os.path.lexists(path) or self._is(path, digest)
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

    def _is(self, path: Path, digest: str) -> bool:
        """Say whether a file of the view is this object: then it is left from a process before."""
        try:
            return os.path.samefile(path, self._cache.path_of(digest))
        except FileNotFoundError:
            return False

    def _make(self, folder: Path) -> None:
        if folder not in self._folders:
            folder.mkdir(mode=0o700, parents=True, exist_ok=True)
            self._folders.add(folder)

    def close(self) -> None:
        """Give everything back."""
        shutil.rmtree(self.path, ignore_errors=True)
        (self._views / f".{self.path.name}.lock").unlink(missing_ok=True)
        os.close(self._lock)


def open_cache(environ: Mapping[str, str] = os.environ) -> Cache:
    """Return this machine's cache: ``PARALLELRUN_CACHE``, else a folder of the home.

    Raises
    ------
    ConfigError
        ``PARALLELRUN_CACHE_SIZE`` is no size, or the folder cannot be made.
    """
    given = environ.get(FOLDER_VARIABLE, "").strip()
    folder = Path(given).expanduser().absolute() if given else home(environ) / "cache"
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
        msg = f"the cache {folder} could not be made ({error.strerror}); set {FOLDER_VARIABLE} to a folder that you can write."
        raise ConfigError(msg) from error


def digest_of(identity: str, url: str, size: int, version: int | str, salt: str = "") -> str:
    """Return the name of an object: where it is from, and which version it is.

    Parameters
    ----------
    identity
        The store's.
    url, size, version
        The file's; one without a version is not to be shared, so ``salt`` makes it somebody's own.
    salt
        The run.
    """
    own = "" if version else salt
    text = "\0".join((identity, url, str(size), str(version), own))
    return hashlib.sha256(text.encode("utf-8", "surrogateescape")).hexdigest()[:40]


def path_in_store(url: str) -> str:
    """Return the path by which a view shows a file: container, folders and name."""
    return url.partition("://")[2].partition("?")[0]


def root_of(folder: Path, url: str, paths: Sequence[str]) -> str:
    """Return the path that stands for a dataset in a view: its file, or the folder it names.

    Parameters
    ----------
    folder
        The view's folder that the files are in.
    url
        A file, a folder or a glob.
    paths
        The files.
    """
    place = path_in_store(url).strip("/").split("/")
    is_here = Path(paths[0]).is_relative_to(folder)
    first = Path(paths[0]).relative_to(folder).parts if is_here else ()
    fixed = next(
        (
            number
            for number, part in enumerate(place)
            if set(part) & set("*?[") and _part(part) not in first[number : number + 1]
        ),
        len(place),
    )
    root = str(folder.joinpath(*map(_part, filter(None, place[:fixed]))))
    return (
        paths[0]
        if len(paths) == 1
        and fixed == len(place)
        and os.path.isfile(paths[0])
        and (os.path.basename(paths[0]) == place[-1])
        else root
    )


def _link(path: Path, link: Path) -> None:
    try:
        os.link(path, link)
    except FileExistsError:
        pass  # the same file twice in a run
    except OSError as error:
        if error.errno not in {errno.EPERM, errno.EMLINK, errno.ENOTSUP, errno.EXDEV}:
            raise
        shutil.copyfile(path, link)  # a file system without hard links


def _part(name: str) -> str:
    """Return a name that a folder can have, with its suffix."""
    if name in {".", ".."}:
        return name.replace(".", "%2E")
    name = name.replace("\0", "%00")
    encoded = name.encode("utf-8", "surrogateescape")
    if len(encoded) <= _LONGEST_NAME:
        return name
    mark = hashlib.sha256(encoded).hexdigest()[:8]
    stem, suffix = os.path.splitext(name)
    kept = stem.encode("utf-8", "surrogateescape")[: _LONGEST_NAME - 10 - len(suffix.encode())]
    return f"{kept.decode('utf-8', 'ignore')}~{mark}{suffix}"


def _sweep(views: Path) -> None:
    """Remove the views of processes that are gone: the kernel has given back their locks."""
    for path in views.glob(".*.lock"):
        try:
            fd = try_lock(path)
        except (BlockingIOError, FileNotFoundError):
            continue
        shutil.rmtree(views / path.name[1:-5], ignore_errors=True)
        path.unlink(missing_ok=True)
        os.close(fd)


def _lives(temporary: str) -> bool:
    """Say whether the process that writes a temporary file is still there."""
    pid = temporary.split(".")[-2]
    try:
        os.kill(int(pid), 0)
    except (ProcessLookupError, ValueError):
        return False
    except PermissionError:
        return True
    return True
