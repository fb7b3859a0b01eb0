"""Reads the values of a block of which some pickles cannot be loaded: the others come back."""

from __future__ import annotations

import gc
import pickle
import types
from collections.abc import Callable
from typing import Any, ClassVar, NamedTuple

from ...errors import OutputError
from ...worker.output.objects import PICKLE, Block, FindsClasses

_REASON_CHARS = 300
_MOST_PARTS = 100_000
"""Parts of a value that are searched for one that was not loaded."""

_NEVER_SEARCHED = type | types.ModuleType | types.FunctionType | types.BuiltinFunctionType


class Values(NamedTuple):
    """The values of a block: all of them in their container, or a list if some are ``unread``.

    ``unread`` has the reasons by position. A container that cannot be loaded has no values: then it has
    the position -1 alone.
    """

    values: Any
    unread: dict[int, str]


def values_of(block: Block, find_class: Callable[[str], Any], *, are_views: bool = False) -> Values:
    """Return the values of a block; read only blocks of a run folder of this user.

    Parameters
    ----------
    block
        The block.
    find_class, are_views
        As for `Block.values`.

    Raises
    ------
    OutputError
        The class of a value is nowhere.
    """
    try:
        return Values(block.values(find_class, are_views=are_views), {})
    except OutputError:
        raise
    except Exception as error:  # the code of the values' own classes
        if block.kind != PICKLE:
            return Values([], {-1: _reason(error)})
        return _values_one_by_one(block, find_class, error)


def _values_one_by_one(block: Block, find_class: Callable[[str], Any], error: Exception) -> Values:
    loader = _Loader(bytes(block.data), find_class)
    try:
        values = loader.load()
    except Exception:  # as above, or what is damaged is more than a value
        values = None
    if type(values) is not list or len(values) != block.rows:
        return Values([], {-1: _reason(error)})
    places = {k: _first_unloaded(value) for k, value in enumerate(values)}
    unread = {k: found.reason for k, found in places.items() if found is not None}
    if not unread:  # its place in the values is lost
        return Values([], {-1: _reason(error)})
    return Values(values, unread)


class _Unloaded:
    """Stands for an object that could not be loaded, while the pickle is read on."""

    def __init__(self, reason: str) -> None:
        self.reason = reason

    def _ignore(self, *_: Any) -> None:
        """Take the items of the object."""

    append = extend = add = update = __setitem__ = _ignore


def _step(takes: int, base: Callable[[Any], None]) -> Callable[[Any], None]:
    return lambda loader: loader._make(takes, base)


class _Loader(FindsClasses, pickle._Unpickler):  # noqa: SLF001 - the one in Python
    """Loads a pickle in which `_Unloaded` stands for each object that cannot be made."""

    dispatch: ClassVar[dict[int, Callable[[Any], None]]] = dict(pickle._Unpickler.dispatch)  # noqa: SLF001 - as above
    stack: list[Any]
    memo: dict[int, Any]

    def find_class(self, module: str, name: str) -> Any:
        try:
            return super().find_class(module, name)
        except OutputError:
            raise
        except Exception as error:  # such as of a module that is gone
            return _Unloaded(_reason(error))

    def _make(self, takes: int, base: Callable[[Any], None]) -> None:
        """Do a step that makes an object of the last ``takes`` elements of the stack."""
        depth = len(self.stack) - takes
        unloaded = next(filter(None, map(_first_unloaded, self.stack[depth:])), None)
        if unloaded is None:
            try:
                return base(self)
            except Exception as error:  # the code of the object's class
                unloaded = _Unloaded(_reason(error))
        del self.stack[depth:]
        self.stack.append(unloaded)
        return None

    def load_build(self) -> None:
        made = self.stack[-2]
        self._make(2, pickle._Unpickler.load_build)  # type: ignore[attr-defined] # noqa: SLF001 - its base
        if self.stack[-1] is not made:
            self.memo.update({k: self.stack[-1] for k, known in self.memo.items() if known is made})

    dispatch[pickle.BUILD[0]] = load_build
    for _code, _takes in ((pickle.REDUCE, 2), (pickle.NEWOBJ, 2), (pickle.NEWOBJ_EX, 3)):
        dispatch[_code[0]] = _step(_takes, dispatch[_code[0]])


def _first_unloaded(value: Any) -> _Unloaded | None:
    """Return an object that was not loaded within a value; None if all of it was."""
    seen: set[int] = set()
    waiting = [value]
    while waiting and len(seen) < _MOST_PARTS:
        part = waiting.pop()
        if isinstance(part, _Unloaded):
            return part
        if id(part) in seen or isinstance(part, _NEVER_SEARCHED):
            continue
        seen.add(id(part))
        waiting += gc.get_referents(part)
    return None


def _reason(error: Exception) -> str:
    return f"{type(error).__name__}: {' '.join(str(error).split())[:_REASON_CHARS]}"
