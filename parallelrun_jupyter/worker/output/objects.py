"""Encodes results of any type: blocks of values, each with a short text of every value.

A block is::

    mark, kind, number of values, length of the texts, length of the data
    the texts, as a JSON array
    the data

The texts are for views, which read no pickles. The kinds of data are `ARRAY` (one array, ``.npy``: its
elements are the values), `STACK` (arrays of one shape, as one array of them), `FRAME` (a DataFrame or a
Series, as an Arrow stream) and `PICKLE` (a list of the values, or any other container of them).
"""

from __future__ import annotations

import io
import json
import pickle
import struct

from ..failures import BadResult, cut, visible
from .values import is_frame

TYPE_CHECKING = False
if TYPE_CHECKING:  # typing is not worth its import in a worker
    from typing import Any, Iterator

MARK = b"\x93vals1"
ARRAY, STACK, FRAME, SERIES, PICKLE = range(5)
_HEAD = struct.Struct(">6sBIIQ")

TEXT_CHARS = 120
"""Characters of the text of a value."""

_PLAIN = {str, int, float, bool, type(None)}
_NUMBERS = "biufcmM"  # kinds of numpy's dtypes that .npy files store without pickle


def encode_objects(result: Any) -> bytes:
    """Return the block of a result.

    Parameters
    ----------
    result
        A list, an array, a Series or a DataFrame; or an object with ``is_whole``, whose ``value`` is
        a table that stands for ``len(result)`` items, although it may have more or fewer rows.

    Raises
    ------
    NotStored
        A value cannot be pickled.
    """
    whole = result.value if getattr(result, "is_whole", False) else result
    kind, data = _data_of(whole)
    texts = json.dumps(list(_texts(whole)), separators=(",", ":")).encode("ascii")
    head = _HEAD.pack(MARK, kind, len(whole), len(texts), len(data))
    return b"".join((head, texts, data))


def _data_of(result: Any) -> tuple[int, bytes]:
    if is_frame(type(result)) or hasattr(result, "iloc"):
        data = _arrow(result)
        if data is not None:
            return FRAME if is_frame(type(result)) else SERIES, data
    elif _is_plain_array(result):
        return ARRAY, _npy(result)
    elif type(result) is list:
        stacked = _stacked(result)
        if stacked is not None:
            return STACK, _npy(stacked)
    return PICKLE, _pickled(result)


def _is_plain_array(value: Any) -> bool:
    return type(value).__name__ == "ndarray" and value.dtype.kind in _NUMBERS and value.ndim > 0


def _npy(array: Any) -> bytes:
    import numpy as np

    file = io.BytesIO()
    np.save(file, array, allow_pickle=False)
    return file.getvalue()


def _stacked(values: list[Any]) -> Any:
    """Return arrays of one shape and one type as one array; None for other values."""
    first = values[0] if values else None
    if not _is_plain_array(first):
        return None
    for value in values:
        if type(value) is not type(first) or value.dtype != first.dtype or value.shape != first.shape:  # fmt: skip
            return None
    import numpy as np

    return np.stack(values)


def _arrow(table: Any) -> bytes | None:
    """Return a table as an Arrow stream; None if Arrow cannot hold it without a change."""
    try:
        import pyarrow as pa
    except ImportError:
        return None
    frame = table
    if not is_frame(type(table)):
        if not (table.name is None or (isinstance(table.name, str) and table.name)):
            return None  # the name is that of the column, or empty
        frame = table.to_frame(table.name or "")
    try:
        batch = pa.RecordBatch.from_pandas(frame, preserve_index=None)
        if not is_same_table(pa.Table.from_batches([batch]).to_pandas(), frame):
            return None
        sink = pa.BufferOutputStream()
        with pa.RecordBatchStreamWriter(sink, batch.schema) as writer:
            writer.write_batch(batch)
    except (pa.ArrowException, TypeError, ValueError, OverflowError):
        return None
    return bytes(sink.getvalue().to_pybytes())


def is_same_table(one: Any, other: Any) -> bool:
    """Return whether two DataFrames are equal, with their dtypes, indexes and the types of objects."""
    if list(one.dtypes) != list(other.dtypes) or type(one.columns) is not type(other.columns):
        return False
    if type(one.index) is not type(other.index) or one.index.names != other.index.names:
        return False
    if not (one.columns.equals(other.columns) and one.columns.names == other.columns.names):
        return False
    if not one.index.equals(other.index) or not one.equals(other):
        return False
    return all(
        list(map(type, one.iloc[:, k])) == list(map(type, other.iloc[:, k]))
        for k, dtype in enumerate(other.dtypes)
        if str(dtype) == "object"
    )


class NotStored(BadResult):
    """A result has values that cannot be pickled; `not_stored` finds them."""


def _pickled(result: Any) -> bytes:
    try:
        return _dumps(result)
    except Exception as error:  # of the value's own methods
        raise NotStored("wrong_result", _reason(result, error)) from None


def not_stored(result: Any) -> dict[int, tuple[BadResult, str]]:
    """Return the errors of the values that cannot be pickled, by position, as `context.fail` keeps them."""
    errors = {}
    for position, value in enumerate(result):
        try:
            _dumps(value)
        except Exception as error:  # of the value's own methods
            errors[position] = (BadResult("wrong_result", _reason(value, error)), "")
    return errors


def _dumps(value: Any) -> bytes:
    if type(value) is list and set(map(type, value)) <= _PLAIN:
        return pickle.dumps(value, 4)
    try:
        import cloudpickle
    except ImportError:
        return pickle.dumps(value, 4)
    data: bytes = cloudpickle.dumps(value, 4)
    return data


def _reason(value: Any, error: Exception) -> str:
    return (
        "the result, a %s, cannot be stored (%s: %s); return the parts of it that you need, such as "
        "numbers, text, arrays or dicts"
        % (type(value).__name__, type(error).__name__, cut(str(error), 300))
    )


def _texts(result: Any) -> Iterator[str]:
    if is_frame(type(result)):
        rows = result.itertuples(index=False, name=None)
        names = [str(name) for name in result.columns]
        for row in rows:
            yield _cut(", ".join("%s: %s" % pair for pair in zip(names, row)))
        return
    for value in result:
        yield text_of(value)


def text_of(value: Any) -> str:
    """Return a short text of a value: of long ones the beginning."""
    kind = type(value)
    if kind is str:
        return _cut(repr(value[:TEXT_CHARS]))
    if kind in (int, float, bool) or value is None:
        return _cut(repr(value))
    if kind.__name__ == "ndarray" and getattr(value, "size", 0) > 8:
        head = ", ".join(map(str, value.ravel()[:6].tolist()))
        return _cut("array of shape %s: %s, ..." % (value.shape, head))
    try:
        import reprlib

        return _cut(reprlib.repr(value))
    except Exception as error:  # the user's own __repr__
        return "<%s: its __repr__ raised %s>" % (kind.__name__, type(error).__name__)


def _cut(text: str) -> str:
    if len(text) > TEXT_CHARS:
        text = text[: TEXT_CHARS - 3] + "..."
    return visible(text)


class Block:
    """A block of values.

    Attributes
    ----------
    kind
        One of the kinds.
    rows
        Number of values.
    texts
        The short text of each.
    data
        Their encoded values.
    """

    def __init__(self, kind: int, rows: int, texts: list[str], data: bytes) -> None:
        self.kind = kind
        self.rows = rows
        self.texts = texts
        self.data = data

    def values(self) -> Any:
        """Return the values: a list, an array, a Series or a DataFrame.

        This runs code of the pickles; read only blocks of a run folder of this user.
        """
        if self.kind == PICKLE:
            return pickle.loads(self.data)  # noqa: S301 - the run's own worker wrote it
        if self.kind in (ARRAY, STACK):
            import numpy as np

            array = np.load(io.BytesIO(self.data), allow_pickle=False)
            return array if self.kind == ARRAY else list(array)
        import pyarrow as pa

        frame = pa.ipc.open_stream(self.data).read_all().to_pandas()
        if self.kind == FRAME:
            return frame
        return frame.iloc[:, 0].rename(frame.columns[0] or None)


def blocks_of(data: bytes) -> Iterator[Block]:
    """Yield the blocks of bytes that were encoded by `encode_objects`, one after the other.

    Raises
    ------
    ValueError
        The bytes are not blocks.
    """
    at = 0
    while at < len(data):
        block, at = block_at(data, at)
        yield block


def block_at(data: bytes, at: int) -> tuple[Block, int]:
    """Return the block at an offset, and the offset after it."""
    if len(data) - at < _HEAD.size:
        raise ValueError("the block at byte %d is incomplete" % at)
    mark, kind, rows, text_bytes, size = _HEAD.unpack_from(data, at)
    start = at + _HEAD.size + text_bytes
    if mark != MARK or start + size > len(data):
        raise ValueError("there is no block of results at byte %d" % at)
    texts = json.loads(data[at + _HEAD.size : start].decode("ascii"))
    return Block(kind, rows, texts, data[start : start + size]), start + size
