"""Copies a source directory into a run: links are followed, and what is copied is measured."""

from __future__ import annotations

import os
import shutil
import stat
from collections.abc import Callable
from pathlib import Path

from ..errors import ConfigError
from ..home import home

LIMIT_BYTES = 300 * 1024**2
"""Most bytes of a source directory that are copied: Azure's own limit for a snapshot."""

NOT_COPIED = frozenset({"__pycache__", ".git", ".ipynb_checkpoints", ".venv", "node_modules"})
"""Names of files and folders that are never copied."""

_SHOWN = 3


class _Copy:
    """One copy under way.

    Parameters
    ----------
    source, target
        The source directory, for messages, and where its copy goes.
    ignore
        Says of a name that it is not copied.
    limit_bytes
        Most bytes that are copied.
    """

    def __init__(
        self, source: Path, target: Path, ignore: Callable[[str], bool], limit_bytes: int
    ) -> None:
        self._source = source
        self._ignore = ignore
        self._limit_bytes = limit_bytes
        self._total_bytes = 0
        # The run that is being made is in the home, and both may be in the source directory.
        self._own_folders = {os.path.realpath(home()), os.path.realpath(target)}
        self.left_out: list[str] = []

    def folder(self, source: str, target: str, above: tuple[str, ...] = ()) -> None:
        """Copy a folder; ``above`` are the folders that are being copied, without links."""
        real = os.path.realpath(source)
        if above and real in self._own_folders:
            return
        if any(f"{one}/".startswith(f"{real}/") for one in above):
            self.left_out.append(f"{source} (a link back to {real})")
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
            found = os.stat(source)
        except OSError as error:
            if not os.path.islink(source) and os.path.lexists(source):
                raise self._refusal(source, error) from error
            self.left_out.append(f"{source} ({error.strerror})")  # a link to nothing, or just gone
            return
        if stat.S_ISDIR(found.st_mode):
            self.folder(source, target, above)
        elif stat.S_ISREG(found.st_mode):
            self._file(source, target, found.st_size)
        else:
            self.left_out.append(f"{source} (neither a file nor a folder)")

    def _file(self, source: str, target: str, size_bytes: int) -> None:
        self._check(self._total_bytes + size_bytes)
        try:
            shutil.copy2(source, target)
        except FileNotFoundError as error:
            self.left_out.append(f"{source} ({error.strerror})")  # deleted just now
            return
        except PermissionError as error:
            raise self._refusal(source, error) from error
        self._total_bytes += os.stat(target).st_size
        self._check(self._total_bytes)

    def _check(self, total_bytes: int) -> None:
        if total_bytes > self._limit_bytes:
            msg = (
                f"source_directory {self._source} holds more than {self._limit_bytes >> 20} MB, "
                "links in it followed, and all of it would be copied into the run. Move data and "
                "models out of it, or give the folder of the script only."
            )
            raise ConfigError(msg)

    def _refusal(self, path: str, error: OSError) -> ConfigError:
        return ConfigError(
            f"source_directory {self._source} holds {path!r}, which could not be read "
            f"({error.strerror}), and the script may need it. Make it readable, or move it out."
        )


def copy_source(
    source: Path,
    target: Path,
    ignore: Callable[[str], bool] = NOT_COPIED.__contains__,
    limit_bytes: int = LIMIT_BYTES,
) -> str:
    """Copy a source directory into a run.

    Links are followed, and what they lead to is measured like the rest. Left out are links to
    nothing, links back to a folder that is being copied, sockets, pipes and devices, and the folder
    of the runs themselves.

    Parameters
    ----------
    source, target
        The directory, and where its copy goes.
    ignore
        Says of a name that it is not copied.
    limit_bytes
        Most bytes that are copied.

    Returns
    -------
    str
        A sentence that names what was left out; empty where nothing was.

    Raises
    ------
    ConfigError
        There is more than that, or something may not be read.
    OSError
        The target cannot be written.
    """
    copy = _Copy(source, target, ignore, limit_bytes)
    copy.folder(str(source), str(target))
    if not copy.left_out:
        return ""
    shown = ", ".join(copy.left_out[:_SHOWN])
    more = len(copy.left_out) - _SHOWN
    return f"not copied from source_directory: {shown}{f' and {more:,} more' if more > 0 else ''}"
