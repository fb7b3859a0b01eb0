"""Values of any type as bytes that are equal for equal values, to compare the results of functions.

Pickles do not serve for this: they depend on the order of sets and dicts, and on which parts are the same
object. The types of numbers, and of arrays, belong to a value; an array or table of a whole mini-batch is
taken apart, and then its whole numbers are equal as integers and fractions: its dtype may come from other
items of the mini-batch.
"""

from __future__ import annotations

import copyreg
import hashlib
import math
import types
from collections.abc import Callable, Iterable
from functools import cache
from typing import Any

_SHORT_BYTES = 32
_PLAIN = {type(None), bool, int, float, complex, str, bytes}


class NoKeyError(Exception):
    """A value, such as a lambda, has nothing by which it can be compared."""


def keys_of(values: Any) -> list[bytes | None]:
    """Return a key for each value of a block, or each row of its table; None where there is none.

    Parameters
    ----------
    values
        A list, array, Series, DataFrame or Arrow table.
    """
    kind = type(values)
    if kind is list:
        return [_key_or_none(value) for value in values]
    if hasattr(values, "to_pylist") and hasattr(values, "schema"):
        columns = [column.to_pylist() for column in values.columns]
        return _row_keys(values.schema.names, columns, values.num_rows)
    if hasattr(values, "iloc"):
        return _pandas_keys(values)
    if kind.__name__ == "ndarray" and kind.__module__ == "numpy":
        return [_loose_key(row) for row in _loose(values)]
    return [_key_or_none(value) for value in values]


def _pandas_keys(table: Any) -> list[bytes | None]:
    """Return a key for each row of a DataFrame or Series, with its label.

    Labels of a RangeIndex are numbers within the mini-batch or within the input.
    """
    import pandas as pd

    frame = table if hasattr(table, "columns") else table.to_frame("value")
    names = list(table.columns) if hasattr(table, "columns") else ["Series", table.name]
    columns = [frame.iloc[:, k].tolist() for k in range(frame.shape[1])]
    if not isinstance(frame.index, pd.RangeIndex):
        columns.append(frame.index.tolist())
    return _row_keys(names, columns, len(frame))


def _row_keys(names: list[Any], columns: list[list[Any]], rows: int) -> list[bytes | None]:
    head = _loose_key(names)
    if head is None:
        return [None] * rows
    keys = []
    for row in zip(*columns, strict=True) if columns else [()] * rows:
        key = _loose_key(row)
        keys.append(None if key is None else head + key)
    return keys


def _loose_key(value: Any) -> bytes | None:
    return _key_or_none(value, _plain)


def _loose(array: Any) -> Any:
    """Return the rows of an array for `_loose_key`: numbers as fractions if that keeps all of them."""
    if array.ndim == 1 or array.dtype.kind not in "iuf" or array.dtype.itemsize > 8:
        return array.tolist() if array.ndim == 1 or array.dtype.kind in "USO" else array
    floats = array.astype("f8")
    is_kept = array.dtype.kind == "f" or not array.size or abs(floats).max() <= 2**53
    return floats + 0.0 if is_kept else array


def _plain(value: Any) -> Any:
    """Return a value in which whole numbers are integers, and missing ones are None."""
    kind = type(value)
    if kind in {list, tuple}:
        return kind(_plain(each) for each in value)
    if kind is dict:
        return {key: _plain(each) for key, each in value.items()}
    if kind is float:
        if math.isnan(value):
            return None
        return int(value) if value.is_integer() else value
    return None if kind.__name__ in {"NAType", "NaTType"} else value


def _key_or_none(value: Any, form: Callable[[Any], Any] = lambda same: same) -> bytes | None:
    try:
        return key_of(form(value))
    except Exception:  # the code of the value's own class may raise anything
        return None


def key_of(value: Any) -> bytes:
    """Return bytes that are equal for equal values of the same types.

    Raises
    ------
    NoKeyError
        It contains a function that has no name of its own.
    """
    kind = type(value)
    if kind in _PLAIN:
        if kind is float and value == 0:
            value = 0.0  # not -0.0, which is equal
        return _joined(kind.__name__, [repr(value).encode("utf-8", "surrogatepass")])
    if kind in {list, tuple}:
        if _PLAIN.issuperset(map(type, value)):  # the usual rows and items, in a third of the time
            return _text_of_plain(value)
        return _joined(kind.__name__, [key_of(each) for each in value])
    if kind is dict:
        if _PLAIN.issuperset(map(type, value.values())) and set(map(type, value)) == {str}:
            return b"dict" + _text_of_plain([x for pair in sorted(value.items()) for x in pair])
        pairs = [_joined("", [key_of(k), key_of(each)]) for k, each in value.items()]
        return _joined("dict", sorted(pairs))
    if kind in {set, frozenset}:
        return _joined(kind.__name__, sorted(key_of(each) for each in value))
    if isinstance(value, type | types.FunctionType | types.BuiltinFunctionType | types.ModuleType):
        return _key_of_name(value)
    return _key_of_other(value)


def _text_of_plain(values: Any) -> bytes:
    text = repr(values)
    if "-0.0" in text:  # equal to 0.0
        text = repr(type(values)(x + 0.0 if type(x) is float else x for x in values))
    return text.encode()


def _key_of_name(value: Any) -> bytes:
    name = getattr(value, "__qualname__", value.__name__)
    is_own = isinstance(value, types.FunctionType) and value.__module__ in {"__main__", None}
    if is_own or (not isinstance(value, type) and "<" in name):
        raise NoKeyError(name)
    owner = getattr(value, "__self__", None)
    bound = [] if owner is None or isinstance(owner, types.ModuleType) else [key_of(owner)]
    module = getattr(value, "__module__", None) or ""
    return _joined("name", [module.encode(), name.encode(), *bound])


def _key_of_other(value: Any) -> bytes:
    kind = type(value)
    package = kind.__module__.partition(".")[0]
    name = f"{kind.__module__}.{kind.__qualname__}"
    if package == "pandas" and hasattr(value, "iloc"):
        dtypes = [value.dtype] if hasattr(value, "dtype") else list(value.dtypes)
        keys = _pandas_keys(value)
        if None in keys:
            raise NoKeyError(name)
        return _joined(name, [repr(dtypes).encode(), *filter(None, keys)])
    if package == "numpy" and kind.__name__ != "dtype" and hasattr(value, "tobytes"):
        about = f"{_dtype_text(value.dtype)}{value.shape}".encode()
        if value.dtype.hasobject or kind.__name__ == "MaskedArray":
            return _joined(name, [about, key_of(value.tolist())])
        if kind.__name__ in {"ndarray", value.dtype.type.__name__}:
            return _joined("numpy", [about, value.tobytes()])
    if package not in {"numpy", "pandas"} and hasattr(value, "__array__"):  # such as a tensor
        import numpy as np

        return _joined(name, [key_of(np.asarray(value))])
    return _joined(name, [_key_of_state(value)])


@cache
def _dtype_text(dtype: Any) -> str:
    return repr(dtype)  # takes longer than all else for a short array


def _key_of_state(value: Any) -> bytes:
    """Return the key of the parts from which copies and pickles make an object again."""
    reduce = copyreg.dispatch_table.get(type(value))
    parts = value.__reduce_ex__(4) if reduce is None else reduce(value)
    if isinstance(parts, str):
        return _joined("global", [parts.encode()])
    made, arguments, state, items, pairs = (*parts, None, None, None)[:5]
    if isinstance(state, dict) and not state:
        state = None  # an exception has an empty one as soon as somebody has looked at its __dict__
    return _joined(
        "object",
        [key_of(made), key_of(arguments), key_of(state), key_of(list(items or ())), key_of(list(pairs or ()))],
    )  # fmt: skip


def _joined(tag: str, parts: Iterable[bytes]) -> bytes:
    """Return parts as one, of limited length, that tells where each begins."""
    shortened = [
        part if len(part) <= _SHORT_BYTES else b"#" + hashlib.blake2b(part, digest_size=16).digest()
        for part in parts
    ]
    head = ",".join([tag, *(str(len(part)) for part in shortened)])
    return b";".join([head.encode(), *shortened])
