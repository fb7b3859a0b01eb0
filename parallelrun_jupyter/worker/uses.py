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
PATHS = "sys_path.json"
"""File with the folders that the notebook imports modules from."""

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
    _add_paths(os.path.join(folder, PATHS))
    if any(uses.values()):
        _check_interpreter(uses)
        register_sources(folder)
    return {name: _load(folder, name) for name in uses}


def _add_paths(path: str) -> None:
    """Let modules be imported from the notebook's folders too, after those of this process."""
    import json

    if os.path.exists(path):  # not of a run of an earlier version
        with open(path, encoding="utf-8") as file:
            sys.path += [folder for folder in json.load(file) if folder not in sys.path]


def name_in_main(values: dict[str, Any]) -> None:
    """Make the classes and functions of the notebook attributes of the worker's ``__main__``.

    Pickles refer to them as ``__main__.NAME``.
    """
    main = sys.modules["__main__"]
    of_notebook = [(value.__name__, value) for value in _made if _is_at_top(value)]
    for name, value in [*values.items(), *of_notebook]:
        has_name = isinstance(value, (type, type(name_in_main)))
        if has_name and value.__module__ == "__main__" and not hasattr(main, name):
            setattr(main, name, value)
    del _made[:]


_made: list[Any] = []
"""Classes and functions of the notebook that loaded pickles have made."""

_MAKERS = ("_make_skeleton_class", "_make_skeleton_enum", "_make_function")


def _is_at_top(made: Any) -> bool:
    """Return whether a class, or a function that is no lambda, was defined outside of others."""
    is_class = isinstance(made, type)
    return is_class or (made.__qualname__ == made.__name__ and made.__name__.isidentifier())


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
        """Notes the classes that it makes, and finds what was in other modules before numpy 2."""

        def find_class(self, module: str, attribute: str) -> Any:
            try:
                found = super(Unpickler, self).find_class(module, attribute)
                return _noting(found) if attribute in _MAKERS else found
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


def _noting(make: Any) -> Any:
    """Return a function of cloudpickle that makes a class, such that the class is noted."""

    def noting(*arguments: Any) -> Any:
        made = make(*arguments)
        _made.append(made)
        return made

    return noting


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
