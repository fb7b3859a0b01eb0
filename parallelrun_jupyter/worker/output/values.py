"""Values as text and as JSON: arrays with every number, on one line; missing values as null."""

from __future__ import annotations

import json
import sys
from itertools import chain

from ..failures import BadResult

TYPE_CHECKING = False
if TYPE_CHECKING:  # typing is not worth its import in a worker
    from typing import Any

ONLY_COLUMN = "result"
"""The column of results that are single values."""

_SHOWN = 100
"""Characters of a value in an error message."""


def shown(value: Any) -> str:
    """Return a value for an error message: its type, and the beginning of its look."""
    look = repr(value)
    look = look if len(look) <= _SHOWN else look[:_SHOWN] + "..."
    return "%s (%s)" % (look, type(value).__name__)


def bad_value(where: str, value: Any, why: str) -> BadResult:
    """Return the error for a value that cannot be written."""
    return BadResult("wrong_result", "run() returned %s %s: %s" % (shown(value), where, why))


def is_array(kind: type) -> bool:
    """Return whether a type's values are arrays: of numpy, pandas, torch, TensorFlow or scipy."""
    if issubclass(kind, (str, bytes)):
        return False
    return hasattr(kind, "__len__") and (hasattr(kind, "__array__") or hasattr(kind, "toarray"))


def is_frame(kind: type) -> bool:
    """Return whether a type is a DataFrame."""
    return hasattr(kind, "to_csv") and hasattr(kind, "columns")


def is_rich(kind: type) -> bool:
    """Return whether a type's values are arrays, or may hold some."""
    return issubclass(kind, (list, tuple, dict)) or is_array(kind)


def array_as_list(array: Any) -> Any:
    """Return the values of an array as nested lists; dates in it as text."""
    if hasattr(array, "toarray"):
        array = array.toarray()
    if hasattr(array, "numpy") and not hasattr(array, "tolist"):
        array = array.numpy()
    if getattr(getattr(array, "dtype", None), "kind", "") in ("m", "M") and hasattr(array, "ndim"):
        array = array.astype(str)  # as nanoseconds, tolist() gives whole numbers
    if not hasattr(array, "tolist"):
        raise bad_value("as an array", array, "it has no tolist(); return array.tolist()")
    return array.tolist()


def listed(value: Any) -> Any:
    """Return a value in which every array is a list; the value itself where it holds none.

    Raises
    ------
    BadResult
        It holds a DataFrame.
    """
    kind = type(value)
    if is_frame(kind):
        raise bad_value(
            "inside an element", value, "one element is one row; return frame.to_dict() for it"
        )
    if is_array(kind):
        return listed(array_as_list(value)) if getattr(value, "ndim", 1) else value
    if isinstance(value, dict):
        if any(map(is_rich, set(map(type, value.values())))):
            return {name: listed(inner) for name, inner in value.items()}
        return value
    if isinstance(value, (list, tuple)) and any(map(is_rich, set(map(type, value)))):
        inner_values = [listed(inner) for inner in value]
        if isinstance(value, list):
            return inner_values
        return kind(*inner_values) if hasattr(kind, "_fields") else tuple(inner_values)
    return value


def text_lines(values: Any) -> list[str]:
    """Return the text of elements, each as ``str(element)``.

    An array, also one inside a list, tuple or dict, is written as a list, ``[0.5, 1.5]``: its own
    ``str`` leaves out numbers and digits, and goes over several lines.
    """
    if not _may_show_arrays(values):
        return list(map(str, values))
    numpy = sys.modules.get("numpy")
    if numpy is None:
        return [str(listed(value)) for value in values]
    # For objects that show arrays of their own, such as dataclasses.
    with numpy.printoptions(threshold=sys.maxsize, linewidth=sys.maxsize):
        return [str(listed(value)) for value in values]


def _may_show_arrays(values: Any) -> bool:
    """Return whether the ``str`` of an element may be that of an array; seen in one pass."""
    kinds = set(map(type, values))
    if kinds <= {list, tuple}:
        kinds = set(map(type, chain.from_iterable(values)))
    elif kinds == {dict}:
        kinds = set(map(type, chain.from_iterable(map(dict.values, values))))
    return any(is_rich(kind) or _is_foreign(kind) for kind in kinds)


def _is_foreign(kind: type) -> bool:
    """Return whether a type is a class whose ``str`` may show arrays."""
    return kind.__module__ not in ("builtins", "numpy")


def json_lines(records: Any) -> bytes:
    """Return the lines of records, dicts or single values; a missing value is null.

    Raises
    ------
    BadResult
        A record holds what is neither null, a number, text, a date nor made of these.
    """
    lines = []
    is_plain = True
    encode = json.JSONEncoder(ensure_ascii=False, allow_nan=False, default=_refuse).encode
    for number, record in enumerate(records):
        row = record if isinstance(record, dict) else {ONLY_COLUMN: record}
        if is_plain and _has_plain_keys(
            row
        ):  # until the first that is not: what json writes by itself is written by it
            try:
                lines.append(encode(row))
                continue
            except (TypeError, ValueError):
                pass
        is_plain = False
        lines.append(encode(json_value(row, "for row %d" % number)))
    return ("\n".join(lines) + "\n").encode("utf-8")


def _has_plain_keys(record: dict[Any, Any]) -> bool:
    """Return whether all keys are text, so that no two become the same in JSON."""
    if not set(map(type, record)) <= {str}:
        return False
    if dict not in set(map(type, record.values())):
        return True
    return all(_has_plain_keys(inner) for inner in record.values() if isinstance(inner, dict))


def _refuse(_: Any) -> Any:
    raise TypeError


def json_value(value: Any, where: str) -> Any:
    """Return a value as JSON has it.

    Parameters
    ----------
    value
        Any value.
    where
        Which one it is, for the error.

    Raises
    ------
    BadResult
        JSON has no such value, and its text would not say what it is.
    """
    if value is None or isinstance(value, (bool, str)):
        return value
    if isinstance(value, float):
        return _number(float(value), where)
    if isinstance(value, int):
        return int(value)
    if isinstance(value, dict):
        return _json_object(value, where)
    if isinstance(value, (list, tuple)):
        return value if _is_json(value) else [json_value(inner, where) for inner in value]
    return _json_of_other(value, where)


def _is_json(values: Any) -> bool:
    """Return whether JSON has all values as they are; looked at as fast as vectors need it."""
    kinds = set(map(type, values))
    if kinds == {float}:
        total = sum(values)
        return bool(total - total == 0)  # neither NaN nor an infinity is among them
    return kinds <= {int, str, bool, type(None)}


def _number(value: float, where: str) -> float | None:
    if value != value:  # noqa: PLR0124 - is it NaN?
        return None
    if value in (float("inf"), float("-inf")):
        raise bad_value(where, value, "JSON has no infinite number; replace it in run()")
    return value


def _json_object(value: dict[Any, Any], where: str) -> dict[str, Any]:
    """Return a dict with keys of text, as json writes those of Python: 3, true, null."""
    record: dict[str, Any] = {}
    for key, inner in value.items():
        name = key
        if not isinstance(name, str):
            plain = name.item() if hasattr(name, "item") else name
            if plain is not None and not isinstance(plain, (bool, int, float)):
                if not hasattr(plain, "isoformat"):
                    raise bad_value("as a key " + where, key, "JSON's keys are text; use str(key)")
                plain = plain.isoformat()
            name = plain if isinstance(plain, str) else json.dumps(plain)
        if name in record:
            raise bad_value("as a key " + where, key, "JSON writes another key the same")
        record[name] = json_value(inner, "%s in %r" % (where, name))
    return record


def _json_of_other(value: Any, where: str) -> Any:
    kind = type(value)
    if is_frame(kind):
        raise bad_value(where, value, "a DataFrame is no value; use frame.to_dict('records')")
    if is_missing(value):
        return None
    if hasattr(value, "isoformat"):
        return value.isoformat()
    if getattr(getattr(value, "dtype", None), "kind", "") in ("m", "M") and not is_array(kind):
        return str(value)  # numpy's own dates: as nanoseconds, tolist() gives whole numbers
    if is_array(kind):
        return json_value(array_as_list(value), where)
    if hasattr(value, "tolist"):  # numpy's single values
        plain = value.tolist()
        if type(plain) is not kind:
            return json_value(plain, where)
    if hasattr(value, "__fspath__"):
        return value.__fspath__()
    if kind.__name__ in _AS_TEXT:
        return str(value)
    raise bad_value(where, value, "JSON has no such value; return str(value), or its parts")


_AS_TEXT = ("Decimal", "UUID", "timedelta", "Timedelta", "Period", "PurePosixPath", "Fraction")
"""Values that are what their text says."""


def is_missing(value: Any) -> bool:
    """Return whether a single value is None, NaN, NaT or pandas.NA."""
    if value is None or type(value).__name__ in ("NaTType", "NAType"):
        return True
    if hasattr(value, "__len__"):
        return False
    try:
        return bool(value != value)  # noqa: PLR0124 - it is NaN, or numpy's NaT
    except (TypeError, ValueError):
        return False
