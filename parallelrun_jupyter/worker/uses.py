"""Loads the variables of the notebook that a run was given by value.

``client/by_value.py`` writes them, each to files of its own in one folder: ``NAME.pickle``; for large
arrays ``NAME.buffers``, which all workers of a machine map into their memory; and the source text of
the notebook's cells, for tracebacks.
"""

from __future__ import annotations

import os
import sys

from .failures import BadSettings

TYPE_CHECKING = False
if TYPE_CHECKING:  # typing is not worth its import in a worker
    from typing import Any

NOTEBOOK_ROOT = "/notebook"
"""The folder that the code of notebook cells seems to be in: no such folder needs to exist."""

SOURCE_SUFFIX = ".source"
MAGIC = b"parallelrun buffers 1\n"
ALIGNMENT = 64
"""Buffers begin at multiples of this many bytes."""

_HEAD_BYTES = 8


def load_uses(folder: str, uses: dict[str, str]) -> dict[str, Any]:
    """Load variables by name.

    Parameters
    ----------
    folder
        The folder with their files.
    uses
        Their names; for each with code (functions, classes) the Python version of the notebook, such
        as ``3.11``, else an empty text.

    Returns
    -------
    dict
        The values. Arrays may be changed: each worker then gets its own copy of the changed pages.

    Raises
    ------
    BadSettings
        This interpreter cannot load a variable; the message names it and the remedy.
    """
    if not uses:
        return {}
    if any(uses.values()):
        _check_interpreter(uses)
        register_sources(folder)
    values = {name: _load(folder, name) for name in uses}
    main = sys.modules.get("__main__")
    for name, value in values.items():
        # Pickled objects of a class of the notebook name it as __main__.NAME.
        if getattr(value, "__module__", None) == "__main__" and not hasattr(main, name):
            setattr(main, name, value)
    return values


def _check_interpreter(uses: dict[str, str]) -> None:
    name, wanted = next(pair for pair in uses.items() if pair[1])
    ours = "%d.%d" % sys.version_info[:2]
    if ours != wanted:
        raise BadSettings(
            "%r is code of the notebook's Python %s, and the workers' interpreter %s is Python %s: "
            "functions and classes cannot be passed to another version. Leave environment out, name "
            "an interpreter of Python %s, or define %r in the script."
            % (name, wanted, sys.executable, ours, wanted, name)
        )
    import importlib.util

    if importlib.util.find_spec("cloudpickle") is None:
        raise BadSettings(
            "%r is a function or a class of the notebook, and the workers' interpreter lacks the "
            "package cloudpickle, which loads it. Install it there: %s -m pip install cloudpickle. "
            "Or leave environment out, or define %r in the script." % (name, sys.executable, name)
        )


def register_sources(folder: str) -> None:
    """Register the source text of the notebook's cells, so that tracebacks show their lines."""
    import linecache

    for at, _, names in os.walk(folder):
        for name in names:
            if name.endswith(SOURCE_SUFFIX):
                path = os.path.join(at, name)
                with open(path, encoding="utf-8", newline="") as file:
                    text = file.read()
                inside = os.path.relpath(path, folder)[: -len(SOURCE_SUFFIX)]
                shown = "%s/%s" % (NOTEBOOK_ROOT, inside.replace(os.sep, "/"))
                linecache.cache[shown] = (len(text), None, text.splitlines(keepends=True), shown)


def _load(folder: str, name: str) -> Any:
    import pickle

    class Unpickler(pickle.Unpickler):
        """Finds the modules that numpy 2 has renamed, in both directions."""

        def find_class(self, module: str, attribute: str) -> Any:
            try:
                return super(Unpickler, self).find_class(module, attribute)
            except ImportError:
                if not module.startswith("numpy._core"):
                    raise
                return super(Unpickler, self).find_class(
                    module.replace("numpy._core", "numpy.core", 1), attribute
                )

    path = os.path.join(folder, name + ".pickle")
    arguments: dict[str, Any] = {}
    if os.path.exists(os.path.join(folder, name + ".buffers")):
        arguments["buffers"] = map_buffers(os.path.join(folder, name + ".buffers"))
    try:
        with open(path, "rb") as file:
            return Unpickler(file, **arguments).load()
    except BaseException as error:  # the user's own classes may raise anything
        message = (
            "%r, which the notebook gave to the script by value, could not be loaded: %s: %s."
            % (
                name,
                type(error).__name__,
                error,
            )
        )
        if isinstance(error, ImportError):
            message += " Install that module for the workers' interpreter, %s." % sys.executable
        raise BadSettings(message) from error


def map_buffers(path: str) -> list[Any]:
    """Map the buffers of a file into memory; processes share what none of them changes."""
    import mmap
    import struct

    with open(path, "rb") as file:
        mapped = memoryview(mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_COPY))
    at = len(MAGIC)
    (count,) = struct.unpack_from("<q", mapped, at)
    buffers = []
    for number in range(count):
        place = at + _HEAD_BYTES * (1 + 2 * number)
        start, size = struct.unpack_from("<qq", mapped, place)
        buffers.append(mapped[start : start + size])
    return buffers
