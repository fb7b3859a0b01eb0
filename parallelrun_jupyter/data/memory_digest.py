"""The digest of the stored values of a variable, and whether they are those of the submit."""

from __future__ import annotations

import hashlib
import os
from collections.abc import Callable, Mapping
from contextlib import suppress
from pathlib import Path
from typing import Any

from ..errors import InputError
from ..files import write_atomically

_PIECE_BYTES = 1 << 20


def digest_path(path: str | Path) -> Path:
    """Return the file with the SHA-256 of a file of values."""
    return Path(f"{path}.sha256")


def write_digest(path: str | Path, is_over: Callable[[], bool] = lambda: False) -> None:
    """Write the SHA-256 of a file beside it, unless ``is_over`` returns True before the end.

    Raises
    ------
    OSError
        A file cannot be read or written.
    """
    if not digest_path(path).exists():
        digest = _digest(path, is_over)
        if digest:
            write_atomically(digest_path(path), digest)


def check_stored(spec: Mapping[str, Any]) -> None:
    """Check that a file still has the values that were stored at submit.

    It has if its size and time are the same; with another time, such as that of a copy, if its digest
    is the recorded one.

    Raises
    ------
    InputError
        The file is missing, or has changed.
    """
    path = spec["path"]
    reason = "has changed"
    try:
        status = os.stat(path)
    except OSError as error:
        reason = f"cannot be read ({error.strerror})"
    else:
        if status.st_size == spec["size_bytes"] and (
            status.st_mtime_ns == spec["mtime_ns"] or _has_digest(path)
        ):
            return
    msg = (
        f"the file with the values of {spec['name']}, {path}, {reason} since the run was submitted: "
        "a resume would mix results of two versions. Start a new run."
    )
    raise InputError(msg)


def _has_digest(path: str) -> bool:
    """Return whether a file has the recorded digest; also if none is recorded."""
    recorded = ""
    with suppress(OSError):  # the run ended before it was computed
        recorded = digest_path(path).read_text(encoding="ascii")
    return not recorded or recorded == _digest(path)


def _digest(path: str | Path, is_over: Callable[[], bool] = lambda: False) -> str:
    """Return the SHA-256 of a file, or an empty text if it is over before the end."""
    digest = hashlib.sha256()
    with open(path, "rb", buffering=0) as file:
        while piece := file.read(_PIECE_BYTES):
            if is_over():
                return ""
            digest.update(piece)
    return digest.hexdigest()
