"""Results of any type as bytes: blocks of values.

A block is::

    mark, kind, number of values, length of the texts, length of the data
    the texts, as a JSON array
    the data

The kinds of data are `ARRAY` (one array, ``.npy``: its elements are the values), `STACK` (arrays of one
shape, as one array of them), `FRAME` and `SERIES` (of pandas, as an Arrow stream), `TABLE` (an Arrow
stream) and `PICKLE` (a list of the values, or another container of them). Only pickles have texts: a
short one of each value for views, which never load pickles.
"""

from __future__ import annotations

import io
import json
import pickle
import struct
import sys

from ..failures import BadResult, cut, message_of
from .values import is_frame

TYPE_CHECKING = False
if TYPE_CHECKING:  # typing is not worth its import in a worker
    from typing import Any, Callable, Iterator

MARK = b"\x93vals1"
ARRAY, STACK, FRAME, SERIES, TABLE, PICKLE = range(6)
_HEAD = struct.Struct(">6sBIIQ")

_WORKER = "_parallelrun_worker."
"""The package of this module in a worker."""

_OWN = __name__[: -len("output.objects")]

_PLAIN = {str, int, float, bool, bytes, type(None)}
_NUMBERS = "biufcmM"  # kinds of numpy's dtypes that .npy files store without pickle
_PROTOCOL = min(pickle.HIGHEST_PROTOCOL, 5)
_REASON_CHARS = 300

_needs_code: list[bool] = []
"""Not empty after a value of this worker needed cloudpickle."""

_CHECKED_BYTES = 1 << 20
"""Pickles of more bytes are not read back."""

_readable: set[type] = _PLAIN | {tuple, list, dict, set, frozenset}
"""The types of which this worker need not read a value back."""

_pickler_types: list[Any] = []
"""The type of pickler, once cloudpickle is imported."""


def encode_objects(result: Any) -> bytes:
    """Return the block of a result.

    Parameters
    ----------
    result
        A list, an array, a Series, a DataFrame or an Arrow table; or an object with ``is_whole``, whose
        ``value`` is a table that stands for ``len(result)`` items.

    Raises
    ------
    NotStored
        A value cannot be pickled.
    """
    whole = result.value if getattr(result, "is_whole", False) else result
    kind, data = _data_of(whole)
    texts = b"[]"
    if kind == PICKLE:
        from .short_texts import texts_of

        texts = json.dumps(list(texts_of(whole)), separators=(",", ":")).encode("ascii")
    head = _HEAD.pack(MARK, kind, len(whole), len(texts), len(data))
    return b"".join((head, texts, data))


def _data_of(result: Any) -> tuple[int, Any]:
    if type(result) is list:
        stacked = _stacked(result)
        return (STACK, _npy(stacked)) if stacked is not None else (PICKLE, _pickled(result))
    if is_frame(type(result)) or hasattr(result, "iloc"):
        data = _arrow_of_pandas(result)
        if data is not None:
            return FRAME if is_frame(type(result)) else SERIES, data
    elif _is_plain_array(result):
        return ARRAY, _npy(result)
    elif is_arrow(result):
        return TABLE, _arrow_stream(result)
    return PICKLE, _pickled(result)


def is_arrow(value: Any) -> bool:
    """Return whether a value is an Arrow table or record batch."""
    return hasattr(value, "to_pylist") and hasattr(value, "schema")


def _is_plain_array(value: Any) -> bool:
    numpy = sys.modules.get("numpy")
    is_exact = numpy is not None and type(value) is numpy.ndarray
    return is_exact and value.dtype.kind in _NUMBERS and value.ndim > 0


def _npy(array: Any) -> Any:
    import numpy as np

    file = io.BytesIO()
    np.save(file, array, allow_pickle=False)
    return file.getbuffer()


def _stacked(values: list[Any]) -> Any:
    """Return arrays of one shape and one type as one array; None for other values."""
    first: Any = values[0] if values else None
    if not _is_plain_array(first):
        return None
    for value in values:
        if type(value) is not type(first) or value.dtype != first.dtype or value.shape != first.shape:  # fmt: skip
            return None
    import numpy as np

    return np.stack(values)


def _arrow_of_pandas(table: Any) -> Any:
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
    is_named = set(map(type, frame.columns)) <= {str}
    if type(frame).__module__.partition(".")[0] != "pandas" or not is_named:
        return None  # a subclass, or names that Arrow would change
    try:
        batch = pa.RecordBatch.from_pandas(frame, preserve_index=None)
        if not _is_numeric(frame):
            back = pa.Table.from_batches([batch]).to_pandas()
            if not is_same_table(back, frame):
                return None
        return _arrow_stream(batch)
    except (pa.ArrowException, TypeError, ValueError, OverflowError, NotImplementedError):
        return None


def _is_numeric(frame: Any) -> bool:
    """Return whether a DataFrame has only what Arrow certainly keeps: plain numbers and names."""
    return (
        all(getattr(dtype, "str", "")[:2] in ("<f", "<i", "<u") for dtype in frame.dtypes)
        and all(dtype.itemsize > 2 or dtype.kind != "f" for dtype in frame.dtypes)
        and type(frame.index).__name__ == "RangeIndex"
        and isinstance(frame.index.name, (str, type(None)))
        and frame.columns.name is None
        and frame.columns.is_unique
        and not frame.attrs
    )


def _arrow_stream(table: Any) -> Any:
    import pyarrow as pa

    sink = pa.BufferOutputStream()
    with pa.RecordBatchStreamWriter(sink, table.schema) as writer:
        writer.write(table)
    return memoryview(sink.getvalue())


def is_same_table(one: Any, other: Any) -> bool:
    """Return whether two DataFrames are equal, with their dtypes, indexes and the types of objects."""
    if list(one.dtypes) != list(other.dtypes) or type(one.columns) is not type(other.columns):
        return False
    if type(one.index) is not type(other.index) or one.index.names != other.index.names:
        return False
    if not (one.columns.equals(other.columns) and one.columns.names == other.columns.names):
        return False
    if one.attrs != other.attrs:
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
        data = _dumps(result)
        if type(result) is list:
            _check_kinds(result)
        return data
    except Exception as error:  # of the value's own methods
        for bad, _ in not_stored(result).values():
            raise NotStored(bad.kind, str(bad)) from None
        raise NotStored("wrong_result", _reason(result, error)) from None


def _check_kinds(values: list[Any]) -> None:
    """Read one value of each type back that this worker has not seen before; raise what that raises."""
    new = set(map(type, values)) - _readable
    if not new:
        return
    for value in values:
        if type(value) in new:
            _check_readable(value)
            new.discard(type(value))


def _check_readable(value: Any) -> None:
    """Read a value back, if its type is new here and it is not large; raise what that raises."""
    kind = type(value)
    if kind in _readable:
        return
    data = _dumps(value)

    def find(name: str) -> Any:
        if name == kind.__qualname__:
            return kind
        raise _NotHere

    if len(data) <= _CHECKED_BYTES:
        try:
            _Unpickler(data, find).load()
        except _NotHere:
            pass  # another class of the notebook, which only the notebook can find
        except Exception as error:
            raise _NotReadable(error) from None
    _readable.add(kind)


class _NotHere(Exception):
    """A class of the notebook is needed, which the worker does not find by its name."""


class _NotReadable(Exception):
    """A value was pickled, and its pickle cannot be loaded: ``args`` has the exception."""


def not_stored(result: Any) -> dict[int, tuple[BadResult, str]]:
    """Return the errors of the values that cannot be pickled, by position, as `context.fail` keeps them.

    Parameters
    ----------
    result
        A list or an array of objects. Of other results no single values are tried.
    """
    errors: dict[int, tuple[BadResult, str]] = {}
    if not isinstance(result, (list, tuple)) and type(result).__name__ != "ndarray":
        return errors
    for position, value in enumerate(result):
        if isinstance(value, BaseException):
            continue  # it fails its item with its own message
        try:
            _dumps(value)
            _check_readable(value)
        except Exception as error:  # of the value's own methods
            errors[position] = (BadResult("wrong_result", _reason(value, error)), "")
    return errors


def _dumps(value: Any) -> bytes:
    if not _needs_code:
        try:
            return pickle.dumps(value, _PROTOCOL)
        except Exception:  # such as an object of a class of the notebook
            if type(value) is list and set(map(type, value)) <= _PLAIN:
                raise
            _needs_code.append(True)
    pickler_type = _pickler_type()
    if pickler_type is None:
        return pickle.dumps(value, _PROTOCOL)
    file = io.BytesIO()
    pickler_type(file, _PROTOCOL).dump(value)
    return file.getvalue()


def _pickler_type() -> Any:
    """Return the type of pickler for values with code of the notebook; None without cloudpickle."""
    if not _pickler_types:
        try:
            import cloudpickle
        except ImportError:
            return None

        class Pickler(cloudpickle.Pickler):  # type: ignore[misc] # it has no types
            """Names the classes of the notebook, so that the notebook gets objects of its own class."""

            def reducer_override(self, value: Any) -> Any:
                is_named = isinstance(value, type) and value.__module__ == "__main__"
                if is_named and "<locals>" not in value.__qualname__:
                    return class_of_notebook, (value.__qualname__,)
                if isinstance(value, (io.TextIOBase, io.RawIOBase)) and hasattr(value, "name"):
                    raise TypeError("it is an open file")  # cloudpickle would store its content
                return super(Pickler, self).reducer_override(value)

        _pickler_types.append(Pickler)
    return _pickler_types[0]


def _reason(value: Any, error: Exception) -> str:
    kind = type(value).__name__
    if kind in ("coroutine", "async_generator"):
        getattr(value, "close", int)()  # or Python warns later that it was never awaited
        return (
            "the result is a %s, which nothing awaits: write a plain function that returns "
            "asyncio.run(...)" % kind
        )
    stored = "cannot be stored"
    if isinstance(error, _NotReadable):
        stored, error = "can be stored, but not read back", error.args[0]
    return (
        "the result, a %s, %s (%s: %s); return the parts of it that you need, such as "
        "numbers, text, arrays or dicts"
        % (kind, stored, type(error).__name__, cut(message_of(error), _REASON_CHARS))
    )


_MOST_VIEWS = 50
"""Columns that are read without a copy: each is then a block of its own in pandas."""


class Block:
    """A block of values.

    Attributes
    ----------
    kind
        One of the kinds.
    rows
        Number of values.
    data
        The encoded values.
    """

    def __init__(self, kind: int, rows: int, texts: Any, data: Any) -> None:
        self.kind = kind
        self.rows = rows
        self._texts = texts
        self.data = data

    @property
    def texts(self) -> list[str]:
        """The short text of each value; no pickle is loaded for it."""
        if self.kind == PICKLE:
            texts: list[str] = json.loads(bytes(self._texts).decode("ascii"))
            return texts
        from .short_texts import texts_of

        values = self.values()
        return list(texts_of(values.to_pandas() if self.kind == TABLE else values))

    def values(
        self, find_class: Callable[[str], Any] | None = None, *, are_views: bool = False
    ) -> Any:
        """Return the values: a list, an array, a Series, a DataFrame, an Arrow table.

        This runs code of the pickles; read only blocks of a run folder of this user. Arrays may be
        views of the block's bytes, which are read-only.

        Parameters
        ----------
        find_class
            Returns a class of the notebook by its qualified name. Default: ``__main__`` must have it.
        are_views
            Whether columns of a DataFrame or Series may be views, too, of a caller that copies them.
        """
        if self.kind == PICKLE:
            return _Unpickler(self.data, find_class or class_of_notebook).load()
        if self.kind in (ARRAY, STACK):
            array = _array_of(self.data)
            return array if self.kind == ARRAY else [row.copy() for row in array]
        import pyarrow as pa

        stream = pa.ipc.open_stream(pa.py_buffer(self.data))
        if _has_types_of_pandas(stream.schema):
            import pandas as pd

            pa.array(
                pd.interval_range(0, 1)
            )  # now pyarrow knows them: pandas registers them lazily
            stream = pa.ipc.open_stream(pa.py_buffer(self.data))
        table = stream.read_all()
        if self.kind == TABLE:
            return table
        frame = table.to_pandas(split_blocks=are_views and table.num_columns <= _MOST_VIEWS)
        if self.kind == FRAME:
            return frame
        return frame.iloc[:, 0].rename(frame.columns[0] or None)


def _has_types_of_pandas(schema: Any) -> bool:
    """Return whether columns have types of pandas that this process does not know yet."""
    names = ((field.metadata or {}).get(b"ARROW:extension:name", b"") for field in schema)
    return any(name.startswith(b"pandas.") for name in names)


def _array_of(data: Any) -> Any:
    """Return the array in the bytes of a ``.npy`` file, without a copy."""
    import numpy as np

    file = io.BytesIO(data[: 1 << 16])
    version = np.lib.format.read_magic(file)
    read_header = {(1, 0): "read_array_header_1_0", (2, 0): "read_array_header_2_0"}[version]
    shape, is_fortran, dtype = getattr(np.lib.format, read_header)(file)
    array = np.frombuffer(data, dtype, offset=file.tell())
    return array.reshape(shape, order="F" if is_fortran else "C")


def class_of_notebook(name: str) -> Any:
    """Return a class of ``__main__`` by its qualified name; pickles contain calls of this function.

    Raises
    ------
    AttributeError
        There is none.
    """
    value: Any = sys.modules["__main__"]
    for part in name.split("."):
        value = getattr(value, part)
    return value


class FindsClasses:
    """The part of an unpickler that finds classes: a worker's own package has another name there."""

    def __init__(self, data: Any, find_class: Callable[[str], Any]) -> None:
        super(FindsClasses, self).__init__(io.BytesIO(data))  # type: ignore[call-arg] # an unpickler's
        self._find = find_class

    def find_class(self, module: str, name: str) -> Any:
        if module.startswith(_WORKER):
            module = _OWN + module[len(_WORKER) :]
        if (module, name) == (__name__, class_of_notebook.__name__):
            return self._find
        if module == "__main__":
            return self._find(name)
        try:
            return super(FindsClasses, self).find_class(module, name)  # type: ignore[misc] # as above
        except ImportError:
            if not module.startswith("numpy.core"):
                raise
            module = "numpy._core" + module[10:]
            return super(FindsClasses, self).find_class(module, name)  # type: ignore[misc] # as above


class _Unpickler(FindsClasses, pickle.Unpickler):
    """Loads a pickle of a worker."""


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
    view = memoryview(data)
    return Block(
        kind, rows, view[at + _HEAD.size : start], view[start : start + size]
    ), start + size
