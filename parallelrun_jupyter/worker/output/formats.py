"""Writes what ``run()`` returned as a table: CSV with one header, JSON lines or Parquet.

The rows of a mini-batch stand alone: a CSV's header travels before them, framed, and whoever joins
the mini-batches keeps the first one. Before that, also framed, travels a note of what the rows
themselves cannot say: types of columns, lengths of rows that hold line ends. Parquet travels as an
Arrow stream.
"""

from __future__ import annotations

import json
import struct

from ..failures import BadResult
from .values import ONLY_COLUMN, is_array, is_frame, is_rich, json_lines, listed, shown

TYPE_CHECKING = False
if TYPE_CHECKING:  # typing is not worth its import in a worker
    from typing import Any

HEADER_MARK = b"\x00\x93header\x1a\n"
"""What a framed header begins with: this, its length in four bytes, the header, then the rows."""

NOTE_MARK = b"\x00\x93note\x1a\n"
"""What a framed note begins with: this, its length in four bytes, JSON, then a header or rows."""

TEXT, CSV, JSONL, PARQUET = "text", "csv", "jsonl", "parquet"
FORMATS = (CSV, JSONL, PARQUET)


def framed(header: str, rows: str) -> bytes:
    """Return rows behind their header."""
    return _frame(HEADER_MARK, header.encode("utf-8")) + rows.encode("utf-8")


def noted(note: dict[str, Any], data: bytes) -> bytes:
    """Return rows, framed or not, behind a note of them."""
    return _frame(NOTE_MARK, json.dumps(note, separators=(",", ":")).encode("ascii")) + data


def _frame(mark: bytes, data: bytes) -> bytes:
    return mark + struct.pack(">I", len(data)) + data


def split_note(data: bytes) -> tuple[dict[str, Any] | None, int]:
    """Return the note of rows, or None, and the offset of what is behind it."""
    if not data.startswith(NOTE_MARK):
        return None, 0
    start = len(NOTE_MARK) + 4
    end = start + struct.unpack_from(">I", data, start - 4)[0]
    return json.loads(data[start:end].decode("ascii")), end


def split_frame(data: bytes, at: int = 0) -> tuple[bytes, int]:
    """Return the header at an offset, empty where there is none, and the offset of the rows."""
    if not data.startswith(HEADER_MARK, at):
        return b"", at
    start = at + len(HEADER_MARK) + 4
    length = struct.unpack_from(">I", data, start - 4)[0]
    return data[start : start + length], start + length


def unframed(rows: bytes) -> bytes:
    """Return rows that have no header, so that nobody takes their beginning for a frame."""
    return _frame(HEADER_MARK, b"") + rows if rows.startswith((HEADER_MARK, NOTE_MARK)) else rows


def text_rows(rows: list[str]) -> bytes:
    """Return lines of text, with the lengths of rows where a line end is inside of one."""
    data = ("\n".join(rows) + "\n").encode("utf-8")
    if data.count(b"\n") == len(rows):
        return unframed(data)
    return noted({"lengths": [len(row.encode("utf-8")) + 1 for row in rows]}, unframed(data))


def frame_text(frame: Any, options: dict[str, Any], form: str = TEXT) -> bytes:
    """Return the ``to_csv`` of a DataFrame; where a header is asked for, it is framed."""
    if form == TEXT:
        frame = _with_listed_cells(frame)
    rows = _csv_rows(frame, dict(options, header=False), form)
    if options.get("header"):
        data = framed(_csv_rows(frame.head(0), options, form), rows)
    else:
        data = unframed(rows.encode("utf-8"))
    if form == TEXT and rows.count("\n") != len(frame):
        lengths = _row_lengths(rows, str(options.get("quotechar", '"')))
        if len(lengths) == len(frame):
            return noted({"lengths": lengths}, data)
    return data


def _with_listed_cells(frame: Any) -> Any:
    """Return a frame in whose cells arrays are lists: as themselves they leave out numbers."""
    changed = {}
    for position, dtype in enumerate(frame.dtypes):
        if str(dtype) == "object":
            column = frame.iloc[:, position]
            if any(map(is_rich, set(map(type, column)))):
                changed[position] = [listed(value) for value in column]
    if not changed:
        return frame
    from .column_notes import with_columns

    return with_columns(frame, changed)


def _row_lengths(rows: str, quote: str) -> list[int]:
    """Return the bytes of each row: one ends at a line end that is not inside of quotes."""
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
        # pandas leaves lone carriage returns bare, where they would end a row.
        text = frame.to_csv(**dict(options, quoting=2))  # all that is no number
    return text


def encode_table(result: Any, form: str, options: dict[str, Any]) -> bytes:
    """Return a result as a table of a format.

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
        The result makes no table, a value of it cannot be written so that it can be read back, or
        what writes the format is missing.
    """
    if form == JSONL and isinstance(result, (list, tuple)) and not _is_of_pandas(result):
        return json_lines(result)
    from .column_notes import with_index  # only a run with such an output needs it

    try:
        frame, names, columns = with_index(as_frame(result))
        frame = _with_names_of_text(frame)
    except ImportError as error:
        raise BadResult("wrong_result", _missing(form, "pandas", error))
    except UnicodeEncodeError:
        raise
    except (AttributeError, TypeError, ValueError) as error:
        raise BadResult("wrong_result", "run() returned what makes no table: %s" % error)
    if form == CSV:
        return _csv(frame, options, names)
    if form == JSONL:
        return _json(frame, names)
    from .arrow_tables import arrow_stream

    try:
        return arrow_stream(frame, [list(pair) for pair in zip(columns, names)])
    except ImportError as error:
        raise BadResult("wrong_result", _missing(form, "pyarrow", error))


def _missing(form: str, package: str, error: Exception) -> str:
    return "output_format is %r, for which the run's interpreter needs %s (%s)" % (
        form,
        package,
        error,
    )


def _is_of_pandas(values: Any) -> bool:
    """Return whether elements are DataFrames or Series."""
    return any(str(kind.__module__).startswith("pandas") for kind in set(map(type, values)) if is_array(kind))  # fmt: skip


def joined_frames(values: Any) -> Any:
    """Return the table of elements that are DataFrames of one row, or Series; None for others.

    Raises
    ------
    BadResult
        A DataFrame has more rows or none, or is among elements of other types.
    """
    if not _is_of_pandas(values):
        return None
    import pandas as pd

    are_series = all(isinstance(value, pd.Series) for value in values)
    for number, value in enumerate(values):
        is_row = isinstance(value, pd.DataFrame) and len(value) == 1
        if not is_row and not are_series:
            what = "is a DataFrame of %d rows" % len(value) if is_frame(type(value)) else ""
            what = what or "is %s, beside a DataFrame or Series" % shown(value)
            raise BadResult(
                "wrong_result",
                "element %d of what run() returned %s; one element is one row: return one "
                "DataFrame, pandas.concat(frames, ignore_index=True)" % (number, what),
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
    """Return the table of dicts, of lists or tuples, or of single values in one column."""
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
    """Return the frame of records in which whole numbers are exact, and not floats.

    Floats are what pandas makes of Python's numbers beside None or beside fractions, which ends at
    2^53. Beside None they are a type of whole numbers with gaps; beside fractions, where one of them
    has no place in a float, they stay Python's own.
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
"""A float holds every whole number up to this."""


def _nullable_type(values: Any) -> Any:
    """Return the type of pandas for whole numbers and None: the signed one where it holds all."""
    return "UInt64" if any(value is not None and value >= 1 << 63 for value in values) else "Int64"


def _is_whole(kind: type) -> bool:
    return hasattr(kind, "__index__") and kind is not bool and not is_array(kind)


def _dtype_of(values: Any) -> Any:
    """Return the dtype of a column of single values, None where pandas decides."""
    return object if any(is_array(kind) for kind in set(map(type, values))) else None


def _with_names_of_text(frame: Any) -> Any:
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
        return data  # the user's own look, which pandas.read_csv reads as well as it can
    note = _note(frame, columns, names)
    note["sep"], note["header"] = options.get("sep", ","), bool(options.get("header"))
    return noted(note, data)


def _json(frame: Any, names: list[Any]) -> bytes:
    from .column_notes import note_columns

    frame, columns = note_columns(frame, as_csv=False)
    return noted(_note(frame, columns, names), json_lines(_records(frame)))


def _records(frame: Any) -> Any:
    """Yield the rows of a DataFrame as dicts; a missing value is None."""
    columns = []
    for name in frame.columns:
        column = frame[name]
        values = column.tolist()
        if column.isna().any():
            values = [None if gap else v for v, gap in zip(values, column.isna().tolist())]
        columns.append(values)
    names = list(frame.columns)
    return (dict(zip(names, row)) for row in zip(*columns))
