"""Single values as text, JSON and Python objects: arrays with every number, missing values as null."""

from __future__ import annotations

import json
import sys
from itertools import chain

from ..failures import BadResult

TYPE_CHECKING = False
if TYPE_CHECKING:  # typing is not worth its import in a worker
    from typing import Any, Iterator

ONLY_COLUMN = "result"
"""The column name of results that are single values."""

_SHOWN_CHARS = 100
"""Characters of a value in an error message."""


def shown(value: Any) -> str:
    """Return a value for an error message: the beginning of its ``repr``, and its type."""
    text = repr(value)
    text = text if len(text) <= _SHOWN_CHARS else text[:_SHOWN_CHARS] + "..."
    return "%s (%s)" % (text, type(value).__name__)


def bad_value(where: str, value: Any, why: str) -> BadResult:
    """Return the error for a value that cannot be written."""
    return BadResult("wrong_result", "run() returned %s %s: %s" % (shown(value), where, why))


def bad_frame(where: str, frame: Any) -> BadResult:
    """Return the error for a DataFrame in place of a single value."""
    advice = "a DataFrame cannot be a single value; use frame.to_dict('records')"
    return bad_value(where, frame, advice)


def is_array(kind: type) -> bool:
    """Return whether a type is an array of numpy, pandas, torch, TensorFlow or scipy."""
    if issubclass(kind, (str, bytes)):
        return False
    return hasattr(kind, "__len__") and (hasattr(kind, "__array__") or hasattr(kind, "toarray"))


def is_frame(kind: type) -> bool:
    """Return whether a type is a DataFrame."""
    return hasattr(kind, "to_csv") and hasattr(kind, "columns")


def may_hold_arrays(kind: type) -> bool:
    """Return whether a type is an array, or may contain arrays."""
    return issubclass(kind, (list, tuple, dict)) or is_array(kind)


def array_as_list(array: Any) -> Any:
    """Return the values of an array as nested lists, with dates as text."""
    if hasattr(array, "toarray"):
        array = array.toarray()
    if hasattr(array, "numpy") and not hasattr(array, "tolist"):
        array = array.numpy()
    if getattr(getattr(array, "dtype", None), "kind", "") in ("m", "M") and hasattr(array, "ndim"):
        array = array.astype(str)  # tolist() returns integers for nanoseconds
    if not hasattr(array, "tolist"):
        raise bad_value("as an array", array, "it has no tolist(); return array.tolist()")
    return array.tolist()


def arrays_as_lists(value: Any) -> Any:
    """Return a value with every array in it replaced by a list; the same object if it has none.

    Raises
    ------
    BadResult
        It contains a DataFrame.
    """
    kind = type(value)
    if is_frame(kind):
        raise bad_frame("inside an element", value)
    if is_array(kind):
        return arrays_as_lists(array_as_list(value)) if getattr(value, "ndim", 1) else value
    if isinstance(value, dict):
        if any(map(may_hold_arrays, set(map(type, value.values())))):
            return {name: arrays_as_lists(inner) for name, inner in value.items()}
        return value
    if isinstance(value, (list, tuple)) and any(map(may_hold_arrays, set(map(type, value)))):
        inner_values = [arrays_as_lists(inner) for inner in value]
        if isinstance(value, list):
            return inner_values
        return kind(*inner_values) if hasattr(kind, "_fields") else tuple(inner_values)
    return value


def text_lines(values: Any) -> list[str]:
    """Return ``str(element)`` for each element.

    An array, even inside a list, tuple or dict, is written as a list, ``[0.5, 1.5]``: its own ``str``
    omits numbers and digits, and has several lines.
    """
    if not _may_print_arrays(values):
        return list(map(str, values))
    numpy = sys.modules.get("numpy")
    if numpy is None:
        return [str(arrays_as_lists(value)) for value in values]
    # The options apply to objects that print their own arrays, such as dataclasses.
    with numpy.printoptions(threshold=sys.maxsize, linewidth=sys.maxsize):
        return [str(arrays_as_lists(value)) for value in values]


def _may_print_arrays(values: Any) -> bool:
    """Return whether the ``str`` of an element may print an array; found in one pass over types."""
    kinds = set(map(type, values))
    if kinds <= {list, tuple}:
        kinds = set(map(type, chain.from_iterable(values)))
    elif kinds == {dict}:
        kinds = set(map(type, chain.from_iterable(map(dict.values, values))))
    return any(
        may_hold_arrays(kind) or kind.__module__ not in ("builtins", "numpy") for kind in kinds
    )


def json_lines(records: Any) -> bytes:
    """Return the JSON lines of records, which are dicts or single values; a missing value is null.

    Raises
    ------
    BadResult
        A record contains a value that JSON cannot represent.
    """
    lines = []
    is_plain = True
    encode = json.JSONEncoder(ensure_ascii=False, allow_nan=False, default=_refuse).encode
    for number, record in enumerate(records):
        row = record if isinstance(record, dict) else {ONLY_COLUMN: record}
        # The first record that json cannot encode unaided turns this fast path off.
        if is_plain and _has_plain_keys(row):
            try:
                lines.append(encode(row))
                continue
            except (TypeError, ValueError):
                pass
        is_plain = False
        lines.append(encode(json_value(row, "for row %d" % number)))
    return ("\n".join(lines) + "\n").encode("utf-8")


def _has_plain_keys(record: dict[Any, Any]) -> bool:
    """Return whether all keys are text, so that no two of them are the same in JSON."""
    if not set(map(type, record)) <= {str}:
        return False
    if dict not in set(map(type, record.values())):
        return True
    return all(_has_plain_keys(inner) for inner in record.values() if isinstance(inner, dict))


def _refuse(_: Any) -> Any:
    raise TypeError


def json_value(value: Any, where: str) -> Any:
    """Convert a value to one that ``json`` encodes.

    Parameters
    ----------
    value
        Any value.
    where
        Its location, for the error.

    Raises
    ------
    BadResult
        JSON cannot represent the value.
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
    """Return whether ``json`` encodes all values unchanged; fast enough for long vectors."""
    kinds = set(map(type, values))
    if kinds == {float}:
        total = sum(values)
        return bool(total - total == 0)  # False if NaN or an infinity is among them
    return kinds <= {int, str, bool, type(None)}


def _number(value: float, where: str) -> float | None:
    if value != value:  # noqa: PLR0124 - is it NaN?
        return None
    if value in (float("inf"), float("-inf")):
        raise bad_value(where, value, "JSON has no infinite number; replace it in run()")
    return value


def _json_object(value: dict[Any, Any], where: str) -> dict[str, Any]:
    """Convert a dict; keys become text as ``json`` writes them: 3, true, null."""
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
            raise bad_value("as a key " + where, key, "another key is the same in JSON")
        record[name] = json_value(inner, "%s in %r" % (where, name))
    return record


def _json_of_other(value: Any, where: str) -> Any:
    kind = type(value)
    if is_frame(kind):
        raise bad_frame(where, value)
    if is_missing(value):
        return None
    if hasattr(value, "isoformat"):
        return value.isoformat()
    if getattr(getattr(value, "dtype", None), "kind", "") in ("m", "M") and not is_array(kind):
        return str(value)  # numpy's dates: tolist() returns integers for nanoseconds
    if is_array(kind):
        return json_value(array_as_list(value), where)
    if hasattr(value, "tolist"):  # a numpy scalar
        plain = value.tolist()
        if type(plain) is not kind:
            return json_value(plain, where)
    if hasattr(value, "__fspath__"):
        return value.__fspath__()
    if kind.__name__ in _AS_TEXT:
        return str(value)
    raise bad_value(where, value, "JSON cannot represent it; return str(value), or its parts")


_AS_TEXT = ("Decimal", "UUID", "timedelta", "Timedelta", "Period", "PurePosixPath", "Fraction")
"""Types that are written as their ``str``."""


def is_missing(value: Any) -> bool:
    """Return whether a single value is None, NaN, NaT or pandas.NA."""
    if value is None or type(value).__name__ in ("NaTType", "NAType"):
        return True
    if hasattr(value, "__len__"):
        return False
    try:
        return bool(value != value)  # noqa: PLR0124 - NaN, or numpy's NaT
    except (TypeError, ValueError):
        return False


def records_of(frame: Any) -> Iterator[dict[Any, Any]]:
    """Yield a dict for each row of a DataFrame, from column names to Python values.

    Each column keeps its own type: an integer stays an ``int`` beside floats, whereas a row as a
    Series (``frame.iloc[0]``) makes floats of both. A missing value is None.
    """
    names = list(frame.columns)
    columns = [_python_values(frame.iloc[:, position]) for position in range(len(names))]
    if not columns:
        return iter([{} for _ in range(len(frame))])
    return (dict(zip(names, row)) for row in zip(*columns))


def _python_values(column: Any) -> list[Any]:
    values: list[Any] = column.tolist()
    # Columns of objects, and Int64 columns of old pandas, may return numpy's scalars.
    is_plain = column.dtype != object and hasattr(column.dtype, "newbyteorder")
    if not is_plain and any(kind.__module__ == "numpy" for kind in set(map(type, values))):
        values = [_python_value(value) for value in values]
    missing = column.isna()
    if missing.any():
        values = [None if gap else value for value, gap in zip(values, missing.tolist())]
    return values


def _python_value(value: Any) -> Any:
    is_scalar = type(value).__module__ == "numpy" and getattr(value, "ndim", 1) == 0
    return value.item() if is_scalar else value
