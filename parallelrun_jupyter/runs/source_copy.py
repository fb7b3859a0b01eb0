"""Copies a source directory into a run, following links, up to a size limit."""

from __future__ import annotations

import fnmatch
import os
import shutil
import stat
from collections.abc import Callable, Collection
from pathlib import Path

from ..errors import ConfigError
from ..home import home

LIMIT_BYTES = 300 * 1024**2
"""Maximum size of a source directory: Azure's own limit for a snapshot."""

NOT_COPIED = frozenset({"__pycache__", ".git", ".ipynb_checkpoints", ".venv", "node_modules"})
"""Names of files and folders that are never copied."""

_IGNORE_FILES = (".amlignore", ".gitignore")
_SHOWN = 3


class _Copy:
    """A copy in progress; see `copy_source`."""

    def __init__(
        self, source: Path, target: Path, ignore: Callable[[str], bool], limit_bytes: int
    ) -> None:
        self._source = source
        self._ignore = ignore
        self._limit_bytes = limit_bytes
        self._total_bytes = 0
        # The new run is in the home, and both may be in the source directory.
        self._own_folders = {os.path.realpath(home()), os.path.realpath(target)}
        self.skipped: list[str] = []

    def folder(self, source: str, target: str, above: tuple[str, ...] = ()) -> None:
        """Copy a folder; ``above`` are the real paths of the folders that contain it."""
        real = os.path.realpath(source)
        if above and real in self._own_folders:
            return
        if any(f"{folder}/".startswith(f"{real}/") for folder in above):
            self.skipped.append(f"{source} (a link back to {real})")
            return
        os.makedirs(target, exist_ok=True)
        try:
            names = sorted(os.listdir(source))
        except OSError as error:
            raise self._refusal(source, error) from error
        for name in names:
            if not self._ignore(name):
                self._entry(os.path.join(source, name), os.path.join(target, name), (*above, real))

    def _entry(self, source: str, target: str, above: tuple[str, ...]) -> None:
        try:
            status = os.stat(source)
        except OSError as error:
            if not os.path.islink(source) and os.path.lexists(source):
                raise self._refusal(source, error) from error
            self.skipped.append(f"{source} ({error.strerror})")  # a broken link, or just removed
            return
        if stat.S_ISDIR(status.st_mode):
            self.folder(source, target, above)
        elif stat.S_ISREG(status.st_mode):
            self._file(source, target, status.st_size)
        else:
            self.skipped.append(f"{source} (neither a file nor a folder)")

    def _file(self, source: str, target: str, size_bytes: int) -> None:
        self._check(self._total_bytes + size_bytes)
        try:
            shutil.copy2(source, target)
        except FileNotFoundError as error:
            self.skipped.append(f"{source} ({error.strerror})")  # just removed
            return
        except PermissionError as error:
            raise self._refusal(source, error) from error
        self._total_bytes += os.stat(target).st_size
        self._check(self._total_bytes)

    def _check(self, total_bytes: int) -> None:
        if total_bytes > self._limit_bytes:
            msg = (
                f"source_directory {self._source} contains more than {self._limit_bytes >> 20} MB, "
                "including linked files, and everything in it would be copied into the run. "
                "Move data and models to another folder, or give only the folder of the script."
            )
            raise ConfigError(msg)

    def _refusal(self, path: str, error: OSError) -> ConfigError:
        return ConfigError(
            f"source_directory {self._source} contains {path!r}, which could not be read "
            f"({error.strerror}), and the script may need it. Make it readable, or move it out."
        )


def copy_source(
    source: Path,
    target: Path,
    ignore: Callable[[str], bool] = NOT_COPIED.__contains__,
    limit_bytes: int = LIMIT_BYTES,
) -> str:
    """Copy a source directory into a run.

    Links are followed, and linked files count toward the limit. Broken links, links back to a
    folder that is being copied, sockets, pipes, devices and the home of the runs are skipped.

    Parameters
    ----------
    source, target
        The directory and its copy.
    ignore
        Returns whether a file or folder of this name is skipped.
    limit_bytes
        Maximum size of the copy, in bytes.

    Returns
    -------
    str
        A sentence that names skipped files and folders; empty if nothing was skipped.

    Raises
    ------
    ConfigError
        The directory exceeds the limit, or a file is not readable.
    OSError
        The target cannot be written.
    """
    copy = _Copy(source, target, ignore, limit_bytes)
    copy.folder(str(source), str(target))
    if not copy.skipped:
        return ""
    shown = ", ".join(copy.skipped[:_SHOWN])
    more = len(copy.skipped) - _SHOWN
    return f"not copied from source_directory: {shown}{f' and {more:,} more' if more > 0 else ''}"


def ignored_in(source: str, names: Collection[str] = NOT_COPIED) -> Callable[[str], bool]:
    """Return whether a name is skipped, by ``names`` and by the ignore file of a folder.

    The name patterns of .amlignore count, else those of .gitignore; paths and negations do not.
    """
    patterns = [*names, *_ignore_patterns(source)]

    def is_ignored(name: str) -> bool:
        return any(fnmatch.fnmatch(name, pattern) for pattern in patterns)

    return is_ignored


def _ignore_patterns(source: str) -> list[str]:
    for name in _IGNORE_FILES:
        path = os.path.join(source, name)
        if os.path.isfile(path):
            lines = Path(path).read_text(encoding="utf-8").splitlines()
            patterns = (line.strip().rstrip("/").removeprefix("/") for line in lines)
            return [text for text in patterns if text and text[0] not in "#!" and "/" not in text]
    return []
