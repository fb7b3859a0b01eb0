"""Finds the part of a value that cannot be pickled, and the line of a function that uses it."""

from __future__ import annotations

import functools
import io
import linecache
import time
import types
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

from .cells import blank_lines_above
from .script import FUNCTIONS, codes_of

_MAX_DEPTH = 20
_MAX_TRIES = 500
_MAX_S = 5.0
_MAX_ITEMS = 50
_MESSAGE_CHARS = 200

_MAKE_IN_INIT = "Make it in init(), or pass the data that it is made from"
_REMEDIES = (
    (("lock", "RLock", "Condition", "Semaphore", "BoundedSemaphore", "Event"),
     "Make it in init(), or pass the data that it protects"),
    (("generator", "async_generator", "coroutine"), "Pass a list of its values instead"),
    (("socket", "SSLSocket", "Connection", "Engine", "Session", "cursor", "Cursor"),
     "Connect in init(), and pass the address instead"),
    (("Thread", "Process", "Pool", "ThreadPoolExecutor", "ProcessPoolExecutor"), "Start it in init()"),
)  # fmt: skip


@dataclass(frozen=True, slots=True)
class _Part:
    """A part of a value: its expression, such as ``model.lock``, and how it belongs to the value."""

    value: Any
    expression: str
    #: how a function refers to it, with the line; empty for an attribute or an item
    use: str = ""


def reason_of(
    value: Any, name: str, error: BaseException, can_travel: Callable[[Any], bool]
) -> str:
    """Return why a value cannot be given to workers, and the remedy.

    Parameters
    ----------
    value, name
        The value, and its name in the notebook.
    error
        The exception of the attempt to pickle it.
    can_travel
        Returns whether a value can be pickled.
    """
    path = _path_to_culprit(_Part(value, name), can_travel)
    if name == FUNCTIONS and len(path) > 1:  # the reader knows the function, not the dict around it
        path = path[1:]
        name = getattr(path[0].value, "__name__", name)
        path[0] = replace(path[0], expression=name)
    culprit = path[-1]
    kind = _kind_of(culprit.value)
    uses = [part for part in path[1:] if part.use]
    text = f"it {', which '.join(part.use for part in uses)}"
    if not uses and culprit.expression == name:
        text = f"it is {kind}"
    elif not uses:
        text = f"`{culprit.expression}` is {kind}"
    elif uses[-1] is culprit:
        text += f", {kind}"
    else:
        text += f", and `{culprit.expression}` is {kind}"
    detail = " ".join(str(error).split())[:_MESSAGE_CHARS] if _is_telling(culprit.value) else ""
    shown = f" ({detail})" if detail else ""
    return (
        f"`{name}` cannot travel to the workers: {text}, which cannot be pickled{shown}. "
        f"{_remedy(culprit.value)}."
    )


def _path_to_culprit(top: _Part, can_travel: Callable[[Any], bool]) -> list[_Part]:
    """Return the parts from a value to the innermost one that cannot be pickled."""
    path = [top]
    seen = {id(top.value)}
    tries = 0
    until = time.monotonic() + _MAX_S
    while len(path) < _MAX_DEPTH:
        for part in _parts_of(path[-1].value, path[-1].expression):
            tries += 1
            if tries > _MAX_TRIES or time.monotonic() > until:
                return path
            if id(part.value) not in seen and not can_travel(part.value):
                seen.add(id(part.value))
                path.append(part)
                break
        else:
            return path
    return path


def _parts_of(value: Any, name: str) -> Iterator[_Part]:
    """Yield the parts of a value that are pickled with it."""
    if isinstance(value, types.FunctionType):
        yield from _parts_of_function(value)
    elif isinstance(value, types.MethodType):
        yield _Part(value.__self__, f"{name}.__self__")
        yield _Part(value.__func__, name)
    elif isinstance(value, functools.partial):
        for key in ("func", "args", "keywords"):
            yield _Part(getattr(value, key), f"{name}.{key}")
    elif isinstance(value, type):
        yield from _parts_of_class(value, name)
    elif isinstance(value, Mapping | list | tuple | set | frozenset):
        yield from _parts_of_container(value, name)
    elif not isinstance(value, types.ModuleType):
        yield from _parts_of_instance(value, name)


def _parts_of_container(value: Any, name: str) -> Iterator[_Part]:
    if not isinstance(value, Mapping):
        for number, part in enumerate(_first(value)):
            yield _Part(part, f"{name}[{number}]")
        return
    for key, part in _first(value.items()):
        yield _Part(key, f"{key!r:.60}")
        yield _Part(part, f"{name}[{key!r:.60}]")


def _parts_of_class(value: type, name: str) -> Iterator[_Part]:
    for key, part in list(vars(value).items()):
        if not key.startswith("__") or isinstance(part, types.FunctionType):
            inner = getattr(part, "__func__", None) or getattr(part, "fget", None) or part
            yield _Part(inner, f"{name}.{key}")


def _first(values: Any) -> list[Any]:
    """Return some items: the first ones, and some of those after them."""
    items = list(values)
    step = max(1, len(items) // _MAX_ITEMS)
    return items[:_MAX_ITEMS] + items[_MAX_ITEMS::step]


def _parts_of_instance(value: Any, name: str) -> Iterator[_Part]:
    for key, part in _first(getattr(value, "__dict__", {}).items()):
        yield _Part(part, f"{name}.{key}")
    for kind in type(value).__mro__:
        slots = vars(kind).get("__slots__", ())
        for key in [slots] if isinstance(slots, str) else slots:
            if hasattr(value, key):
                yield _Part(getattr(value, key), f"{name}.{key}")
    if type(value).__module__ == "__main__":
        yield _Part(type(value), type(value).__name__)


def _parts_of_function(function: types.FunctionType) -> Iterator[_Part]:
    codes = list(codes_of(function.__code__))
    names = dict.fromkeys(name for code in codes for name in code.co_names)
    for name in names:
        if name in function.__globals__:
            yield _Part(function.__globals__[name], name, f"uses {_used_at(codes, name)}")
    cells = zip(function.__code__.co_freevars, function.__closure__ or (), strict=True)
    for name, cell in cells:
        try:
            value = cell.cell_contents
        except ValueError:
            continue  # not assigned yet
        yield _Part(value, name, f"uses {_used_at(codes, name)}")
    defaults: Sequence[Any] = function.__defaults__ or ()
    code = function.__code__
    arguments = code.co_varnames[: code.co_argcount]
    for name, value in zip(arguments[len(arguments) - len(defaults) :], defaults, strict=True):
        yield _Part(value, name, f"has the default value of `{name}`")
    for name, value in (function.__kwdefaults__ or {}).items():
        yield _Part(value, name, f"has the default value of `{name}`")
    for name, value in vars(function).items():
        yield _Part(value, f"{function.__name__}.{name}", f"has the attribute `{name}`")


def _used_at(codes: Sequence[types.CodeType], name: str) -> str:
    """Return a name with the first line that uses it: lock (line 3: with lock:)."""
    import dis

    lines = []
    for code in codes:
        starts = list(code.co_lines())
        for instruction in dis.get_instructions(code):
            is_loaded = instruction.opname.startswith(("LOAD_GLOBAL", "LOAD_NAME", "LOAD_DEREF"))
            if instruction.argval == name and is_loaded:
                at = instruction.offset
                found = [line for start, end, line in starts if start <= at < end and line]
                lines += [(line, code.co_filename) for line in found]
    if not lines:
        return f"`{name}`"
    line, filename = min(lines)
    text = linecache.getline(filename, line).strip()
    line += blank_lines_above(filename)
    return f"`{name}` (line {line}{f': `{text}`' if text else ''})"


def _kind_of(value: Any) -> str:
    """Return the type of a value with an article, such as ``a _thread.lock``."""
    if isinstance(value, io.IOBase):
        return f"an open file ({type(value).__name__})"
    if isinstance(value, types.GeneratorType):
        return "a generator"
    if isinstance(value, types.FunctionType):
        return "a function"
    kind = type(value)
    module = kind.__module__
    shown = (
        kind.__qualname__ if module in {"builtins", "__main__"} else f"{module}.{kind.__qualname__}"
    )
    return f"{'an' if shown[0].lower() in 'aeiou' else 'a'} {shown}"


def _is_telling(value: Any) -> bool:
    """Return whether the message of the pickle module says more than the type of the value."""
    return not (isinstance(value, io.IOBase | types.GeneratorType) or _named_remedy(value))


def _named_remedy(value: Any) -> str:
    names = {kind.__name__ for kind in type(value).__mro__}
    return next((text for kinds, text in _REMEDIES if names & set(kinds)), "")


def _remedy(value: Any) -> str:
    if isinstance(value, io.IOBase):
        return "Open it in init(), and pass its path instead"
    return _named_remedy(value) or _MAKE_IN_INIT
