"""Encodes results as tables: CSV, JSON lines or Parquet.

The encoded rows of a mini-batch are::

    [note frame] [header frame] rows

The header frame holds the header of a CSV; merging keeps the first one. The note frame holds, as JSON,
the properties that the text of the rows cannot express: column types, and the lengths of rows that
contain line ends. Parquet is encoded as an Arrow stream.
"""

from __future__ import annotations

import json
import struct

from ..failures import BadResult
from .values import (
    ONLY_COLUMN,
    arrays_as_lists,
    is_array,
    is_frame,
    json_lines,
    may_hold_arrays,
    records_of,
    shown,
)

TYPE_CHECKING = False
if TYPE_CHECKING:  # typing is not worth its import in a worker
    from typing import Any

HEADER_MARK = b"\x00\x93header\x1a\n"
"""The start of a header frame: this mark, the length in four bytes, the header."""

NOTE_MARK = b"\x00\x93note\x1a\n"
"""The start of a note frame: this mark, the length in four bytes, the JSON."""

TEXT, CSV, JSONL, PARQUET, OBJECTS = "text", "csv", "jsonl", "parquet", "objects"
FORMATS = (CSV, JSONL, PARQUET)


def with_header(header: str, rows: str) -> bytes:
    """Return rows with a header frame before them."""
    return after_header(header.encode("utf-8"), rows.encode("utf-8"))


def after_header(header: bytes, rows: bytes) -> bytes:
    """Return encoded rows with a header frame before them."""
    return _frame(HEADER_MARK, header) + rows


def with_note(note: dict[str, Any], data: bytes) -> bytes:
    """Return encoded rows with a note frame before them."""
    return _frame(NOTE_MARK, json.dumps(note, separators=(",", ":")).encode("ascii")) + data


def _frame(mark: bytes, data: bytes) -> bytes:
    return mark + struct.pack(">I", len(data)) + data


def split_note(data: bytes) -> tuple[dict[str, Any] | None, int]:
    """Return the note of encoded rows, or None, and the offset after its frame."""
    if not data.startswith(NOTE_MARK):
        return None, 0
    start = len(NOTE_MARK) + 4
    end = start + struct.unpack_from(">I", data, start - 4)[0]
    return json.loads(data[start:end].decode("ascii")), end


def split_header(data: bytes, at: int = 0) -> tuple[bytes, int]:
    """Return the header framed at an offset (empty without a frame), and the offset of the rows."""
    if not data.startswith(HEADER_MARK, at):
        return b"", at
    start = at + len(HEADER_MARK) + 4
    length = struct.unpack_from(">I", data, start - 4)[0]
    return data[start : start + length], start + length


def without_header(rows: bytes) -> bytes:
    """Return rows without a header; if they begin like a frame, with an empty frame before them."""
    return _frame(HEADER_MARK, b"") + rows if rows.startswith((HEADER_MARK, NOTE_MARK)) else rows


def text_rows(rows: list[str]) -> bytes:
    """Encode rows of text; a note has their lengths if a row contains a line end."""
    data = ("\n".join(rows) + "\n").encode("utf-8")
    if data.count(b"\n") == len(rows):
        return without_header(data)
    return with_note(
        {"lengths": [len(row.encode("utf-8")) + 1 for row in rows]}, without_header(data)
    )


def frame_text(frame: Any, options: dict[str, Any], form: str = TEXT) -> bytes:
    """Encode a DataFrame by ``to_csv``, with a header frame if the options ask for a header."""
    if form == TEXT:
        frame = _with_arrays_as_lists(frame)
    rows = _csv_rows(frame, dict(options, header=False), form)
    if options.get("header"):
        data = with_header(_csv_rows(frame.head(0), options, form), rows)
    else:
        data = without_header(rows.encode("utf-8"))
    if form == TEXT and rows.count("\n") != len(frame):
        lengths = _row_lengths(rows, str(options.get("quotechar", '"')))
        if len(lengths) == len(frame):
            return with_note({"lengths": lengths}, data)
    return data


def _with_arrays_as_lists(frame: Any) -> Any:
    """Return a frame with arrays in cells as lists: the text of an array omits numbers."""
    changed = {}
    for position, dtype in enumerate(frame.dtypes):
        if str(dtype) == "object":
            column = frame.iloc[:, position]
            if any(map(may_hold_arrays, set(map(type, column)))):
                changed[position] = [arrays_as_lists(value) for value in column]
    if not changed:
        return frame
    from .column_notes import with_columns

    return with_columns(frame, changed)


def _row_lengths(rows: str, quote: str) -> list[int]:
    """Return the length of each row in bytes; a row ends at the first line end outside quotes."""
    lengths = []
    length = quotes = 0
    for line in rows.split("\n")[:-1]:
        length += len(line.encode("utf-8")) + 1
        quotes += line.count(quote)
        if quotes % 2 == 0:
            lengths.append(length)
            length = quotes = 0
    return lengths


def _csv_rows(frame: Any, options: dict[str, Any], form: str) -> str:
    text: str = frame.to_csv(**options)
    own = {"quoting", "lineterminator", "line_terminator"} & set(options)
    if form == CSV and "\r" in text and not own:
        # pandas does not quote lone carriage returns, which would end the row.
        text = _with_quoted_returns(frame, options)
    return text


def _with_quoted_returns(frame: Any, options: dict[str, Any]) -> str:
    """Return the CSV of a frame in which everything but numbers is quoted in rows with a return.

    Other rows are written as usual, so that the text of a row does not depend on its mini-batch.
    """
    quoted = dict(options, quoting=2)
    with_return = [False] * len(frame)
    for position in range(frame.shape[1]):
        for row, value in enumerate(frame.iloc[:, position]):
            if isinstance(value, str) and "\r" in value:
                with_return[row] = True
    if not any(with_return):  # it is in the header or in the index
        text: str = frame.to_csv(**quoted)
        return text
    pieces = []
    start = 0
    for end in range(1, len(frame) + 1):
        if end == len(frame) or with_return[end] != with_return[start]:
            piece = frame.iloc[start:end]
            pieces.append(piece.to_csv(**(quoted if with_return[start] else options)))
            start = end
    return "".join(pieces)


def encode_table(result: Any, form: str, options: dict[str, Any]) -> bytes:
    """Encode a result as a table.

    Parameters
    ----------
    result
        A DataFrame, a Series, an array, or a list of values, tuples or dicts.
    form
        One of ``FORMATS``.
    options
        Keyword arguments of ``to_csv``, for CSV.

    Raises
    ------
    BadResult
        The result is not a table, the text of a value could not be read back, or a package that
        writes the format is missing.
    """
    if _is_of_records(result, form):
        return json_lines(result)
    from .column_notes import with_index  # needed only for such an output

    try:
        frame, names, columns = with_index(as_frame(result))
        frame = _with_text_names(frame)
    except ImportError as error:
        raise BadResult("wrong_result", _missing_package(form, "pandas", error))
    except UnicodeEncodeError:
        raise
    except (AttributeError, TypeError, ValueError) as error:
        raise BadResult("wrong_result", "run() returned a value that is not a table: %s" % error)
    if form == CSV:
        return _csv(frame, options, names)
    if form == JSONL:
        return _json(frame, names)
    from .arrow_tables import arrow_stream

    try:
        return arrow_stream(frame, [list(pair) for pair in zip(columns, names)])
    except ImportError as error:
        raise BadResult("wrong_result", _missing_package(form, "pyarrow", error))


def _is_of_records(result: Any, form: str) -> bool:
    """Return whether each element is a JSON line of its own."""
    return form == JSONL and isinstance(result, (list, tuple)) and not _is_of_pandas(result)


def with_one_form(result: Any, form: str) -> Any:
    """Return a result of which all parts are encoded with the same columns.

    Dicts or Series of which some lack a key, or have the keys in another order, are a table of all the
    keys; parts of the list would be tables with different columns.
    """
    if form == OBJECTS or _is_of_records(result, form):
        return result
    try:
        if form == TEXT:
            frame = joined_frames(result)
            return result if frame is None else frame
        return as_frame(result)
    except ImportError as error:
        raise BadResult("wrong_result", _missing_package(form, "pandas", error))
    except (AttributeError, TypeError, ValueError) as error:
        raise BadResult("wrong_result", "run() returned a value that is not a table: %s" % error)


def _missing_package(form: str, package: str, error: Exception) -> str:
    what = (form, package, error)
    return "output_format is %r, for which the run's interpreter needs %s (%s)" % what


def _is_of_pandas(values: Any) -> bool:
    """Return whether elements are DataFrames or Series."""
    return any(str(kind.__module__).startswith("pandas") for kind in set(map(type, values)) if is_array(kind))  # fmt: skip


def joined_frames(values: Any) -> Any:
    """Return elements that are DataFrames of one row, or Series, as one table; None for others.

    Raises
    ------
    BadResult
        A DataFrame does not have exactly one row, or other elements have other types.
    """
    if not _is_of_pandas(values):
        return None
    import pandas as pd

    are_series = all(isinstance(value, pd.Series) for value in values)
    for number, value in enumerate(values):
        is_row = isinstance(value, pd.DataFrame) and len(value) == 1
        if not is_row and not are_series:
            problem = "is %s, but others are DataFrames or Series" % shown(value)
            if is_frame(type(value)):
                problem = "is a DataFrame of %d rows" % len(value)
            raise BadResult(
                "wrong_result",
                "element %d of the result of run() %s; one element is one row: return one "
                "DataFrame, pandas.concat(frames, ignore_index=True)" % (number, problem),
            )
    if are_series:
        return pd.DataFrame(list(values)).reset_index(drop=True)
    return pd.concat(list(values), ignore_index=True)


def as_frame(result: Any) -> Any:
    """Return a result as a DataFrame."""
    import pandas as pd

    if isinstance(result, pd.DataFrame):
        return result
    if isinstance(result, pd.Series):
        return result.to_frame(ONLY_COLUMN if result.name is None else result.name)
    if isinstance(result, (list, tuple)):
        frame = joined_frames(result)
        if frame is not None:
            return frame
    elif getattr(getattr(result, "dtype", None), "names", None):
        return pd.DataFrame(result)
    elif getattr(result, "ndim", 1) == 2:
        return pd.DataFrame(list(result))
    return _frame_of_elements(list(result))


def _frame_of_elements(values: list[Any]) -> Any:
    """Return the table of dicts, of lists or tuples, or of single values (one column)."""
    import pandas as pd

    kind = type(values[0])
    if not issubclass(kind, (dict, list, tuple)):
        frame = pd.DataFrame({ONLY_COLUMN: pd.Series(values, dtype=_dtype_of(values))})
        return with_whole_numbers(frame, [{ONLY_COLUMN: value} for value in values])
    for number, value in enumerate(values):
        if issubclass(kind, dict) != isinstance(value, dict):
            message = "element %d is %s, but element 0 a %s" % (number, shown(value), kind.__name__)
            raise TypeError(message)
    if issubclass(kind, dict):
        return with_whole_numbers(pd.DataFrame(values), values)
    return with_whole_numbers(pd.DataFrame(values), [dict(enumerate(row)) for row in values])


def with_whole_numbers(frame: Any, records: Any) -> Any:
    """Return the frame of records with the whole numbers that pandas made floats restored.

    pandas does so with whole numbers beside None or beside fractions, and floats are exact up to 2^53
    only. Beside None, they become a whole number type with gaps. Beside fractions, they stay Python
    objects if a float cannot represent one of them.
    """
    import pandas as pd

    names = list(frame.columns)
    for position, dtype in enumerate(frame.dtypes):
        if str(dtype) != "float64":
            continue
        column = frame.iloc[:, position]
        is_large = bool((column.abs() >= _FLOAT_HOLDS).any())
        if not is_large and not column.isna().any():
            continue
        values = [record.get(names[position]) for record in records]
        kinds = set(map(type, values))
        whole = kinds - {type(None)}
        if whole and whole < kinds and all(map(_is_whole, whole)):
            frame[names[position]] = pd.array(values, dtype=_nullable_type(values))
        elif is_large and any(_is_whole(type(v)) and int(float(v)) != int(v) for v in values):
            frame[names[position]] = pd.Series(values, index=frame.index, dtype=object)
    return frame


_FLOAT_HOLDS = 1 << 53
"""A ``float64`` represents every whole number up to this."""


def _nullable_type(values: Any) -> Any:
    """Return pandas' type for whole numbers and None: the signed one if it holds them all."""
    return "UInt64" if any(value is not None and value >= 1 << 63 for value in values) else "Int64"


def _is_whole(kind: type) -> bool:
    return hasattr(kind, "__index__") and kind is not bool and not is_array(kind)


def _dtype_of(values: Any) -> Any:
    """Return the dtype of a column of single values; None lets pandas decide."""
    return object if any(is_array(kind) for kind in set(map(type, values))) else None


def _with_text_names(frame: Any) -> Any:
    names = [str(name) for name in frame.columns]
    if len(set(names)) < len(names):
        raise ValueError("two of its columns have the same name, of %s" % ", ".join(names[:20]))
    if not names:
        raise ValueError("a DataFrame without columns has no rows in a file")
    if list(frame.columns) != names:
        frame = frame.copy(deep=False)
        frame.columns = names
    return frame


def _note(frame: Any, columns: list[list[Any]], names: list[Any]) -> dict[str, Any]:
    note: dict[str, Any] = {"rows": len(frame), "columns": columns}
    if names:
        note["index"] = names
    return note


def _csv(frame: Any, options: dict[str, Any], names: list[Any]) -> bytes:
    from .column_notes import note_columns

    frame, columns = note_columns(frame, as_csv=True)
    data = frame_text(frame, options, CSV)
    if set(options) - {"sep", "header", "index"} or options.get("index"):
        return data  # the user's own format: without a note, pandas.read_csv infers the types
    note = _note(frame, columns, names)
    note["sep"], note["header"] = options.get("sep", ","), bool(options.get("header"))
    return with_note(note, data)


def _json(frame: Any, names: list[Any]) -> bytes:
    from .column_notes import note_columns

    frame, columns = note_columns(frame, as_csv=False)
    return with_note(_note(frame, columns, names), json_lines(records_of(frame)))
