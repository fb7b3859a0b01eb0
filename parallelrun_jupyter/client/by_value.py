"""Packs variables of the notebook, so that workers get them by value.

``worker/uses.py`` is the other side. Functions and classes of the notebook travel with their code, those of
modules by reference.
"""

from __future__ import annotations

import functools
import hashlib
import io
import json
import os
import pickle
import struct
import sys
import types
import warnings
from collections import ChainMap
from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import Any

import cloudpickle

from ..errors import ConfigError
from ..files import PIECE_BYTES
from ..formatting import format_bytes
from ..worker.uses import ALIGNMENT, MAGIC, NOTEBOOK_ROOT, PATHS, SOURCE_SUFFIX
from .cannot_travel import reason_of, variables_of
from .cells import blank_lines_above, notebook_name, text_of
from .script import FUNCTIONS

LARGE_BYTES = 50 << 20
"""Values of more bytes than this together are named in a warning."""

_MAX_SIZES = 5
_OUT_OF_BAND_BYTES = 64 << 10
_PLAIN_PROTOCOL = 4
"""Of another interpreter, which may be Python 3.7."""

_REPLACED = "<dynamic-code>"
"""File name that cloudpickle gives to code."""


@dataclass(slots=True)
class Packed:
    """A value as bytes.

    Parameters
    ----------
    stream
        The pickle.
    buffers
        The large buffers that belong to it, such as the data of arrays. They refer to the memory of
        the value until they are written.
    has_code
        Whether it contains functions or classes of the notebook.
    sources
        Source texts of the cells that this code is from, by file name.
    """

    stream: bytes
    buffers: list[pickle.PickleBuffer] = field(default_factory=list)
    has_code: bool = False
    sources: dict[str, str] = field(default_factory=dict)

    @property
    def size_bytes(self) -> int:
        """The number of bytes."""
        return len(self.stream) + sum(buffer.raw().nbytes for buffer in self.buffers)

    @property
    def python(self) -> str:
        """The Python version that can load it, such as ``3.11``; empty for any version."""
        return "{}.{}".format(*sys.version_info) if self.has_code else ""


class _Pickler(cloudpickle.Pickler):  # type: ignore[misc] # it has no types
    """A pickler that keeps the lines of code: cells get file names that say where they are from."""

    def __init__(self, packed: Packed, file: io.BytesIO, protocol: int) -> None:
        keep = packed.buffers.append

        def keep_if_large(buffer: pickle.PickleBuffer) -> bool:
            is_small = buffer.raw().nbytes < _OUT_OF_BAND_BYTES
            if not is_small:
                keep(buffer)
            return is_small

        # Without a reference to the pickler: its memo would keep the values alive.
        self.dispatch_table = ChainMap(
            {types.CodeType: partial(_reduce_code, packed, {}), io.TextIOWrapper: _reduce_file},
            cloudpickle.Pickler.dispatch_table,
        )
        is_new = protocol > _PLAIN_PROTOCOL
        super().__init__(file, protocol, keep_if_large if is_new else None)

    def reducer_override(self, value: Any) -> Any:
        """Pass what cloudpickle does not: slots of classes, functions with a cache, cached properties."""
        if type(value) is _CACHED and _is_by_value(value.__module__):
            sizes = value.cache_parameters()
            arguments = value.__wrapped__, sizes["maxsize"], sizes["typed"], _CACHE_INFO
            return _CACHED, arguments, vars(value)
        if type(value) is functools.cached_property:  # before Python 3.12 it has a lock
            return functools.cached_property, (value.func,), {"attrname": value.attrname}
        reduced = super().reducer_override(value)
        if isinstance(value, type) and "__slots__" in vars(value) and isinstance(reduced, tuple):
            arguments = reduced[1]
            if reduced[0].__name__ == "_make_skeleton_class":
                arguments[3]["__slots__"] = value.__slots__  # type: ignore[attr-defined]
        return reduced


_CACHED: Any = type(functools.lru_cache(len))
_CACHE_INFO: Any = type(functools.lru_cache(len).cache_info())


def _is_by_value(module: str | None) -> bool:
    """Return whether code of a module is that of the notebook, which workers cannot import."""
    return module == "__main__" or module in cloudpickle.list_registry_pickle_by_value()


def _reduce_code(packed: Packed, names: dict[str, str], code: types.CodeType) -> Any:
    """Reduce code with its file name and lines; ``names`` has the file names found so far."""
    packed.has_code = True
    filename = code.co_filename
    if filename not in names:
        names[filename] = _shown(packed, filename)
    shown = names[filename]
    blank = 0 if shown == filename else blank_lines_above(filename)
    moved = code.replace(co_firstlineno=code.co_firstlineno + blank) if blank else code
    make, arguments = cloudpickle.Pickler.dispatch_table[types.CodeType](moved)
    return make, tuple(
        shown if isinstance(value, str) and value in {_REPLACED, filename} else value
        for value in arguments
    )


def _shown(packed: Packed, filename: str) -> str:
    """Return the file name of code for workers, and keep the text of a cell.

    It does not change if the cell runs again and gets another number.
    """
    text = text_of(filename)
    if not text:
        return filename
    digest = hashlib.sha256(text.encode("utf-8", "surrogatepass")).hexdigest()[:8]
    inside = f"{digest}/{notebook_name()}"
    packed.sources[inside] = text
    return f"{NOTEBOOK_ROOT}/{inside}"


def _reduce_file(file: Any) -> Any:
    """Refuse an open file: cloudpickle would pass the rest of its text."""
    if file is not sys.stdout and file is not sys.stderr:
        msg = "cannot pickle an open file"
        raise TypeError(msg)
    return cloudpickle.Pickler.dispatch_table[io.TextIOWrapper](file)


def pack(value: Any, name: str, *, is_plain: bool = False) -> Packed:
    """Pack a value for workers.

    Parameters
    ----------
    value
        Any value that can be pickled; functions and classes of the notebook too.
    name
        Its name in messages.
    is_plain
        Whether the workers have another interpreter: Python 3.7 can load the result.

    Raises
    ------
    ConfigError
        The value cannot be pickled. The message names the part that cannot, and the line of a function
        that uses it.
    """
    packed = Packed(b"")
    file = io.BytesIO()
    try:
        protocol = _PLAIN_PROTOCOL if is_plain else pickle.HIGHEST_PROTOCOL
        _Pickler(packed, file, min(protocol, 5)).dump(value)
    except Exception as error:  # the user's objects may raise anything when they are pickled
        raise ConfigError(reason_of(value, name, error, _can_travel)) from error
    packed.stream = file.getvalue()
    packed.has_code = packed.has_code or b"cloudpickle.cloudpickle" in packed.stream
    return packed


def dump(value: Any, name: str) -> bytes:
    """Return a value as the bytes of one pickle, which ``pickle.loads`` reads.

    Raises
    ------
    ConfigError
        As `pack`.
    """
    packed = pack(value, name, is_plain=True)
    return packed.stream


def _can_travel(value: Any) -> bool:
    """Return whether a value can be pickled."""
    try:
        _Pickler(Packed(b""), io.BytesIO(), 5).dump(value)
    except Exception:  # the user's objects may raise anything when they are pickled
        return False
    return True


def pack_all(values: Mapping[str, Any], *, is_plain: bool = False) -> dict[str, Packed]:
    """Pack variables by name; warn if they are large.

    Raises
    ------
    ConfigError
        A name is not an identifier, or a value cannot be pickled.
    """
    for name in values:
        if not isinstance(name, str) or not name.isidentifier():
            msg = f"use has the name {name!r}; expected the name of a variable, such as 'weights'."
            raise ConfigError(msg)
    packed = {name: pack(value, name, is_plain=is_plain) for name, value in values.items()}
    total = sum(one.size_bytes for one in packed.values())
    if total > LARGE_BYTES:
        sizes = {name: one.size_bytes for name, one in packed.items() if name != FUNCTIONS}
        sizes |= _sizes_of_parts(values.get(FUNCTIONS, {}), is_plain=is_plain)
        by_size = sorted(sizes.items(), key=lambda pair: -pair[1])[:_MAX_SIZES]
        listed = ", ".join(f"{name} {format_bytes(size)}" for name, size in by_size)
        shared = "" if is_plain else " The workers of a machine share the data of arrays."
        text = (
            f"the variables given by value have {format_bytes(total)} ({listed}): they are written to the "
            f"run's folder, and sent once to every other machine.{shared} A file that init() reads, or "
            "a dataset as input, needs no such copy."
        )
        warnings.warn(text, stacklevel=_level_of_caller())
    return packed


def _sizes_of_parts(functions: Mapping[str, Any], *, is_plain: bool) -> dict[str, int]:
    """Return the sizes of the variables that functions use, in bytes, by name."""
    return {
        name: pack(value, name, is_plain=is_plain).size_bytes
        for name, value in variables_of(functions.values()).items()
    }


def _level_of_caller() -> int:
    """Return the level of the first frame outside of this package, for `warnings.warn` of the caller."""
    package = __name__.partition(".")[0]
    level, frame = 1, sys._getframe(1)  # noqa: SLF001 - as the warnings module does
    while frame.f_back and frame.f_globals.get("__name__", "").partition(".")[0] == package:
        level, frame = level + 1, frame.f_back
    return level


def write(folder: Path, packed: Mapping[str, Packed]) -> None:
    """Write packed variables to a folder, readable by their owner only.

    Raises
    ------
    OSError
        The folder cannot be written.
    """
    if not packed:
        return
    folder.mkdir(mode=0o700, exist_ok=True)
    with open(folder / PATHS, "w", encoding="utf-8", opener=_private) as paths:
        json.dump(_own_paths(), paths)
    for name, one in packed.items():
        with open(folder / f"{name}.pickle", "wb", opener=_private) as file:
            file.write(one.stream)
        if one.buffers:
            with open(folder / f"{name}.buffers", "wb", opener=_private) as file:
                _write_buffers(file, one.buffers)
        for inside, text in one.sources.items():
            path = folder / f"{inside}{SOURCE_SUFFIX}"
            path.parent.mkdir(mode=0o700, exist_ok=True)
            with open(path, "w", encoding="utf-8", newline="", opener=_private) as source:
                source.write(text)


def _own_paths() -> list[str]:
    """Return the folders that the notebook imports modules from, without those of installed packages."""
    roots = tuple(os.path.join(root, "") for root in (sys.prefix, sys.base_prefix))
    return [
        path
        for path in sys.path
        if os.path.isabs(path)
        and os.path.isdir(path)
        and not path.startswith(roots)
        and not path.endswith("-packages")
    ]


def _private(path: str, flags: int) -> int:
    return os.open(path, flags, 0o600)


def _write_buffers(file: Any, buffers: list[pickle.PickleBuffer]) -> None:
    """Write buffers after a table of their places."""
    views = [buffer.raw() for buffer in buffers]
    end = len(MAGIC) + 8 + 16 * len(views)
    places = []
    for view in views:
        start = -(-end // ALIGNMENT) * ALIGNMENT
        places.append((start, view.nbytes))
        end = start + view.nbytes
    file.write(MAGIC + struct.pack("<q", len(views)))
    for place in places:
        file.write(struct.pack("<qq", *place))
    for (start, _), view in zip(places, views, strict=True):
        file.write(b"\0" * (start - file.tell()))
        for at in range(0, view.nbytes, PIECE_BYTES):
            file.write(view[at : at + PIECE_BYTES])
