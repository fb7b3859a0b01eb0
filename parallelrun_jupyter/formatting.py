"""Small formats: sizes, filters, names that look secret, and quantities for display."""

from __future__ import annotations

import difflib
import re
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from typing import Any

from .errors import ConfigError

_SIZE = re.compile(r"(\d+)\s*([kKmMgG][bB])?", re.ASCII)
_SECRET = re.compile(
    r"key|secret|token|passw|credential|sas\b|connection_string|auth", re.IGNORECASE
)
_SECRET_OPTION = re.compile(r"headers|signature", re.IGNORECASE)
_UNITS = {"b": 1, "kb": 1024, "mb": 1024**2, "gb": 1024**3, "tb": 1024**4}
_BYTES = re.compile(r"(\d+(?:\.\d+)?)\s*([kmgt]?b)?", re.ASCII)
_AGES = {"m": 60, "h": 3600, "d": 86400, "w": 7 * 86400}
_AGE = re.compile(r"(\d+(?:\.\d+)?)\s*([mhdw])", re.ASCII)


@dataclass(frozen=True, slots=True)
class MiniBatchSize:
    """A parsed mini-batch size.

    Parameters
    ----------
    count
        Number of files, or of bytes.
    has_unit
        Whether a unit was written, which makes ``count`` bytes.
    """

    count: int
    has_unit: bool


def parse_mini_batch_size(value: int | str) -> MiniBatchSize:
    """Parse a mini-batch size in Azure's format.

    Parameters
    ----------
    value
        A whole number from 1, or text such as ``"5"``, ``"10KB"``, ``"1 MB"`` or ``"2gb"``
        (1 KB is 1024 bytes). A bare number counts files for file inputs and bytes for tables.

    Raises
    ------
    ConfigError
        The value is invalid; the message shows a valid one.
    """
    match = None if isinstance(value, bool) else _SIZE.fullmatch(str(value).strip())
    count = int(match[1]) if match else 0
    if match is None or count < 1:
        msg = (
            f"mini_batch_size is {value!r}; expected a whole number from 1, or a number with "
            "KB, MB or GB. Write, for example, 5 (files) or '1MB' (bytes of a table)."
        )
        raise ConfigError(msg)
    unit = match[2]
    return MiniBatchSize(count * (_UNITS[unit.lower()] if unit else 1), unit is not None)


def parse_size(value: int | str, name: str) -> int:
    """Return a number of bytes.

    Parameters
    ----------
    value
        Bytes, or text such as ``"500MB"``, ``"1.5 GB"`` or ``"2tb"`` (1 KB is 1024 bytes).
    name
        Name of the setting, for the error.

    Raises
    ------
    ConfigError
        The value is not a size.
    """
    match = None if isinstance(value, bool) else _BYTES.fullmatch(str(value).strip().lower())
    if match is None:
        msg = f"{name} is {value!r}; expected a size such as 500MB, 5GB or 1.5TB."
        raise ConfigError(msg)
    return int(float(match[1]) * _UNITS[match[2] or "b"])


def parse_age(value: float | str, name: str) -> float:
    """Return a number of seconds.

    Parameters
    ----------
    value
        Seconds, or text such as ``"90m"``, ``"12h"``, ``"30d"`` or ``"2w"``.
    name
        Name of the setting, for the error.

    Raises
    ------
    ConfigError
        The value is not an age.
    """
    if not isinstance(value, bool | str) and value >= 0:
        return float(value)
    match = _AGE.fullmatch(str(value).strip().lower())
    if match is None:
        msg = f"{name} is {value!r}; expected an age such as 12h, 30d or 2w."
        raise ConfigError(msg)
    return float(match[1]) * _AGES[match[2]]


def looks_secret(name: str, value: Any = None) -> bool:
    """Return whether a setting looks like a credential, by its name or by the names in its value.

    ``value`` is that of an option of a store: its headers and signatures are credentials too.
    """
    if _SECRET.search(name) or (value is not None and _SECRET_OPTION.search(name)):
        return True
    return isinstance(value, dict) and any(looks_secret(str(k), v) for k, v in value.items())


def nearest_hint(name: str, valid: Iterable[str]) -> str:
    """Return ``" Did you mean 'x'?"`` with the valid name most similar to ``name``, or ``""``."""
    near = difflib.get_close_matches(name, list(valid), n=1, cutoff=0.6)
    return f" Did you mean {near[0]!r}?" if near else ""


def text_filter(wanted: str) -> Callable[[str], bool]:
    r"""Return a predicate that accepts texts containing ``wanted``.

    Case is ignored. ``*`` matches any characters, ``\*`` matches a star. Without regular
    expressions the time is linear in the lengths of the text and of ``wanted``: no filter can block
    a server.
    """
    star = "\0"
    pieces = wanted.casefold().replace("\\*", star).split("*")
    parts = [piece.replace(star, "*") for piece in pieces if piece]

    def has(text: str) -> bool:
        folded = text.casefold()
        at = 0
        for part in parts:
            at = folded.find(part, at)
            if at < 0:
                return False
            at += len(part)
        return True

    return has


def format_duration(seconds: float) -> str:
    """Return a duration for display: ``0.4 s``, ``12 s``, ``3:05`` or ``2:03:05``."""
    if seconds < 9.95:
        return f"{max(seconds, 0):.1f} s"
    whole = round(seconds)
    if whole < 60:
        return f"{whole} s"
    minutes, rest = divmod(whole, 60)
    if minutes < 60:
        return f"{minutes}:{rest:02d}"
    hours, minutes = divmod(minutes, 60)
    return f"{hours}:{minutes:02d}:{rest:02d}"


def format_bytes(size_bytes: int) -> str:
    """Return a size for display, in units of 1024: ``712 bytes``, ``4.0 kB``, ``3.4 MB``, ``12 GB``."""
    size = float(size_bytes)
    if size < 1024:
        return plural(size_bytes, "byte")
    units = ["kB", "MB", "GB", "TB"]
    size /= 1024
    while size >= 1023.5 and len(units) > 1:
        size /= 1024
        del units[0]
    unit = units[0]
    return f"{size:.1f} {unit}" if size < 9.95 else f"{size:,.0f} {unit}"


def plural(count: int, noun: str) -> str:
    """Return ``"1 file"``, ``"2,000 files"`` or ``"3 mini-batches"``."""
    ending = "" if count == 1 else "es" if noun.endswith(("s", "ch")) else "s"
    return f"{count:,} {noun}{ending}"
