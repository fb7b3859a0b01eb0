"""Short texts of values of any type, for views that must not load pickles."""

from __future__ import annotations

from ..failures import visible
from .values import is_frame

TYPE_CHECKING = False
if TYPE_CHECKING:  # typing is not worth its import in a worker
    from typing import Any, Iterator

TEXT_CHARS = 120
"""Characters of the text of a value."""

_SHOWN_NUMBERS = 6
_SHOWN_FIELDS = 8
_SCALARS = {str, int, float, bool, type(None)}
_NUMBERS = {float, bool, type(None)}
_LARGE = 1 << 64


def texts_of(result: Any) -> Iterator[str]:
    """Yield a short text of each value of a list, array, Series or DataFrame (of its rows)."""
    if is_frame(type(result)):
        names = [str(name) for name in result.columns]
        rows = result.itertuples(index=False, name=None) if names else [()] * len(result)
        for row in rows:
            yield _cut(
                ", ".join("%s: %s" % (name, _plain(value)) for name, value in zip(names, row))
            )
        return
    for value in result:
        yield text_of(value)


def text_of(value: Any) -> str:
    """Return a short text of a value: of long ones the beginning. It never raises."""
    kind = type(value)
    if kind is str:
        return _cut(repr(value[:TEXT_CHARS]) + ("..." if len(value) > TEXT_CHARS else ""))
    if kind in _NUMBERS or (kind is int and -_LARGE < value < _LARGE):
        return repr(value)
    try:
        return _cut(_text_of_other(value))
    except Exception as error:  # the value's own methods
        return "<%s: its __repr__ raised %s>" % (visible(kind.__name__), type(error).__name__)


def _text_of_other(value: Any) -> str:
    kind = type(value)
    if kind is int:
        bits = value.bit_length()
        return repr(value) if bits < 8 * TEXT_CHARS else "int of %d bits" % bits
    if kind is dict:
        return _text_of_dict(value)
    shape = getattr(value, "shape", None)
    if isinstance(shape, tuple) and shape:  # an array, a tensor or a table
        return _text_of_array(value, shape)
    if hasattr(kind, "__dataclass_fields__") and hasattr(kind.__repr__, "__wrapped__"):
        return _text_of_fields(value)
    import reprlib

    return reprlib.repr(value)


def _text_inside(value: Any) -> str:
    """Return the text of a value inside another one; ``reprlib`` bounds the depth, also of cycles."""
    kind = type(value)
    if kind in _SCALARS or isinstance(getattr(value, "shape", None), tuple):
        return text_of(value)
    import reprlib

    return reprlib.repr(value)


def _text_of_array(value: Any, shape: tuple[int, ...]) -> str:
    """Return the shape of an array and its first numbers; the ``repr`` of a large one is slow."""
    size = 1
    for length in shape:
        size *= length
    if type(value).__name__ != "ndarray":
        return "%s of shape %s" % (type(value).__name__, shape)
    if size <= _SHOWN_NUMBERS:
        return "array(%s)" % (value.tolist(),)
    head = ", ".join(map(_plain, value.flat[:_SHOWN_NUMBERS].tolist()))
    return "array of shape %s: %s, ..." % (shape, head)


def _text_of_fields(value: Any) -> str:
    names = list(type(value).__dataclass_fields__)[:_SHOWN_FIELDS]
    shown = ", ".join("%s=%s" % (name, _text_inside(getattr(value, name))) for name in names)
    return "%s(%s)" % (type(value).__qualname__, shown)


def _text_of_dict(value: dict[Any, Any]) -> str:
    """Return a dict in its own order, with its first keys; ``reprlib`` sorts them."""
    parts: list[str] = []
    for key, inner in value.items():
        if len(parts) == _SHOWN_FIELDS:
            parts.append("...")
            break
        parts.append("%s: %s" % (_text_inside(key), _text_inside(inner)))
    return "{%s}" % ", ".join(parts)


def _plain(value: Any) -> str:
    """Return a cell of a row: text without quotes."""
    return value[:TEXT_CHARS] if type(value) is str else text_of(value)


def _cut(text: str) -> str:
    if len(text) > TEXT_CHARS:
        text = text[: TEXT_CHARS - 3] + "..."
    return visible(text)
