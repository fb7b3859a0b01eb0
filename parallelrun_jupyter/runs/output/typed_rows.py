"""Reads rows back with the types that ``run()`` returned."""

from __future__ import annotations

import ast
import datetime as dt
import io
import json
import re
from collections.abc import Callable
from decimal import Decimal
from typing import TYPE_CHECKING, Any

from ...worker.output import column_notes as letters
from ...worker.output.formats import with_whole_numbers
from .row_notes import Kind, RowNotes

if TYPE_CHECKING:
    import pandas as pd

_READ_BY_PANDAS = frozenset(
    [
        "bool",
        "int8",
        "int16",
        "int32",
        "int64",
        "uint8",
        "uint16",
        "uint32",
        "uint64",
        "float32",
        "float64",
    ]
)
"""Kinds of columns that ``read_csv`` reads exactly, and faster."""

Piece = tuple[list[Any], list[Any], str]
"""Values of a column in a range of rows, as in the file; their note and letters."""


def lines_of(data: bytes, notes: RowNotes) -> list[str]:
    """Return the rows of a text output, without their line ends.

    Raises
    ------
    ValueError
        The text does not fit the notes.
    """
    rows: list[str] = []
    position = 0
    for offset, lengths in notes.row_lengths:
        rows += data[position:offset].decode("utf-8").split("\n")[:-1]
        position = offset
        for length in lengths:
            end = position + length
            if data[end - 1 : end] != b"\n":
                msg = f"no row ends at byte {end}"
                raise ValueError(msg)
            rows.append(data[position : end - 1].decode("utf-8"))
            position = end
    return rows + data[position:].decode("utf-8").split("\n")[:-1]


def csv_table(data: bytes, notes: RowNotes) -> pd.DataFrame:
    """Return the table of a CSV; pandas infers the types if those of some rows are unknown.

    Raises
    ------
    ValueError
        The file does not fit the notes.
    """
    import pandas as pd

    kinds = [kind for _, kind, _ in notes.ranges]
    if None in kinds or not kinds or kinds[0] is None:
        return pd.read_csv(io.BytesIO(data))
    first = kinds[0]
    names = [name for name, *_ in first["columns"]]
    dtypes = {name: _dtype_for_reading([k["columns"][c] for k in kinds if k]) for c, name in enumerate(names)}  # fmt: skip
    options: dict[str, Any] = {
        "sep": first["sep"],
        "header": 0 if first["header"] else None,
        "names": names,
        "index_col": False,
        "dtype": dtypes,
        "keep_default_na": False,
        "na_values": {name: [""] for name, dtype in dtypes.items() if dtype.startswith("float")},
        "skip_blank_lines": False,
    }
    if not _is_pandas_3():
        options["float_precision"] = "round_trip"
    raw = pd.read_csv(io.BytesIO(data), **options)
    _check_rows(len(raw), notes)
    columns = {
        name: raw[name]
        if dtypes[name] != "object"
        else _column(_pieces(raw[name].tolist(), name, c, notes))
        for c, name in enumerate(names)
    }
    return restore_index(pd.DataFrame(columns), kinds)


def _is_pandas_3() -> bool:
    """Return whether pandas has a type for text, and reads numbers exactly by default."""
    import pandas as pd

    return int(pd.__version__.split(".")[0]) >= 3


def _dtype_for_reading(columns: list[list[Any]]) -> str:
    kind = columns[0][1]
    is_same = all(column[1] == kind for column in columns)
    return kind if is_same and kind in _READ_BY_PANDAS else "object"


def _check_rows(rows: int, notes: RowNotes) -> None:
    expected = sum(count for count, _, _ in notes.ranges)
    if rows != expected:
        msg = f"it has {rows:,} rows, not {expected:,}"
        raise ValueError(msg)


def _pieces(values: list[Any], name: str, column: int, notes: RowNotes) -> list[Piece]:
    """Return the values of a column by ranges of rows; ranges with equal notes are merged."""
    pieces: list[Piece] = []
    start = 0
    for rows, kind, codes in notes.ranges:
        assert kind is not None
        note = kind["columns"][column]
        piece = values[start : start + rows]
        start += rows
        letters_of_piece = codes.get(name, "")
        if pieces and not letters_of_piece and (pieces[-1][1], pieces[-1][2]) == (note, ""):
            pieces[-1][0].extend(piece)
        else:
            pieces.append((piece, note, letters_of_piece))
    return pieces


def frame_of_records(records: list[dict[str, Any]]) -> pd.DataFrame:
    """Return the table of records; whole numbers stay exact, even with gaps or fractions."""
    import pandas as pd

    frame: pd.DataFrame = with_whole_numbers(pd.DataFrame(records), records)
    return frame


def json_table(data: bytes, notes: RowNotes) -> pd.DataFrame:
    """Return the table of JSON lines; rows without notes have JSON types.

    Raises
    ------
    ValueError
        The file does not fit the notes.
    """
    import pandas as pd

    records = [json.loads(line) for line in data.split(b"\n")[:-1]]
    _check_rows(len(records), notes)
    kinds = [kind for _, kind, _ in notes.ranges]
    first = kinds[0]
    names = None if first is None else [name for name, *_ in first["columns"]]
    if names is not None and all(kind and [name for name, *_ in kind["columns"]] == names for kind in kinds):  # fmt: skip
        columns = {
            name: _column(_pieces([record[name] for record in records], name, number, notes))
            for number, name in enumerate(names)
        }
        return restore_index(pd.DataFrame(columns), kinds)
    frames = []
    start = 0
    for rows, kind, codes in notes.ranges:
        part = records[start : start + rows]
        start += rows
        frame = frame_of_records(part)
        for name, *note in [] if kind is None else kind["columns"]:
            values = [record[name] for record in part]
            frame[name] = _column([(values, [name, *note], codes.get(name, ""))])
        frames.append(frame)
    table: pd.DataFrame = pd.concat(frames, ignore_index=True)
    return table


def restore_index(frame: pd.DataFrame, kinds: list[Kind]) -> pd.DataFrame:
    """Return a table with its first columns as the index, if the notes have one."""
    indexes = [(kind or {}).get("index") for kind in kinds]
    names = indexes[0]
    if not names or any(index != names for index in indexes):
        return frame
    columns = list(frame.columns[: len(names)])
    indexed: pd.DataFrame = frame.set_index(columns).rename_axis(index=names)
    return indexed


def _column(pieces: list[Piece]) -> Any:
    """Return a column from its pieces, concatenated as pandas does.

    A piece without values gets the type of the others.
    """
    kinds = [note[1] for values, note, codes in pieces if codes or not all(map(_is_gap, values))]
    kind = kind_with_gaps(kinds[0]) if kinds else ""
    columns = []
    for values, note, codes in pieces:
        if kind and not codes and note[1] not in kinds and all(map(_is_gap, values)):
            columns.append(restored([None] * len(values), [note[0], kind]))
        else:
            columns.append(restored(values, note, codes))
    return columns[0] if len(columns) == 1 else concatenated(columns)


def concatenated(columns: list[Any]) -> Any:
    """Concatenate columns as pandas does, but keep whole numbers exact."""
    import pandas as pd

    joined = pd.concat(columns, ignore_index=True)
    whole = [column for column in columns if getattr(column.dtype, "kind", "O") in ("i", "u")]
    if str(joined.dtype).lower() != "float64" or not any(map(_is_beyond_floats, whole)):
        return joined
    values = pd.concat([column.astype(object) for column in columns], ignore_index=True)
    if len(whole) < len(columns) or any(bool((column < 0).any()) for column in whole):
        return values  # no type represents both
    return values.astype("UInt64" if values.isna().any() else "uint64")


def _is_beyond_floats(column: Any) -> bool:
    """Return whether a column has a whole number that a float cannot represent."""
    large = column[(column > _EXACT_IN_FLOATS) | (column < -_EXACT_IN_FLOATS)].dropna()
    return any(int(float(number)) != number for number in large)


_EXACT_IN_FLOATS = 1 << 53
"""Floats represent every whole number up to this."""


def kind_with_gaps(kind: str) -> str:
    """Return the kind for values of a kind and gaps; empty if pandas may choose."""
    if kind.startswith(("int", "uint")):
        return "UInt64" if kind == "uint64" else "Int64"
    if kind in {letters.OBJECTS_KIND, letters.TEXT_KIND, "bool"} or kind.startswith("float"):
        return ""
    return kind


def restored(values: list[Any], note: list[Any], codes: str = "") -> Any:
    """Return a column with the type that ``run()`` returned.

    Parameters
    ----------
    values
        Texts of a CSV, or values of JSON.
    note
        ``[name, kind, extra]``, written by the worker.
    codes
        A letter for each value, if the note has letters.

    Raises
    ------
    ValueError
        A value does not fit its type.
    """
    import numpy as np
    import pandas as pd

    kind, extra = note[1], note[2] if len(note) > 2 else {}
    if codes:
        if len(codes) != len(values):
            msg = f"{len(codes)} letters for {len(values)} values"
            raise ValueError(msg)
        values = [_value(letter, value, extra) for letter, value in zip(codes, values, strict=True)]
    elif "gap" in extra:
        gap = _MISSING[extra["gap"]]()
        values = [gap if _is_gap(value) else value for value in values]
    if kind == letters.OBJECTS_KIND:
        return pd.Series(values, dtype=object)
    if kind in {letters.TEXT_KIND, "str"} or kind.startswith("string"):
        return _texts(values, kind)
    if kind == "bool":
        return pd.Series([value in (True, "True") for value in values], dtype=bool)
    numpy_kind = kind.rstrip("0123456789")
    if numpy_kind in {"int", "uint", "float", "complex"}:
        number = _NUMBERS[numpy_kind]
        gap = np.nan if numpy_kind in {"float", "complex"} else None
        cells = [gap if _is_gap(value) else number(value) for value in values]
        return pd.Series(np.array(cells, dtype=kind))
    return _of_extension(values, kind)


_NUMBERS: dict[str, Callable[[Any], Any]] = {
    "int": int, "uint": int, "float": float, "complex": complex,
    "Int": int, "UInt": int, "Float": float,
}  # fmt: skip


def _is_gap(value: Any) -> bool:
    return value is None or value == ""


def _texts(values: list[Any], kind: str) -> Any:
    import pandas as pd

    if kind.startswith("string"):
        return pd.Series(values, dtype="string")
    if kind == "str" and _is_pandas_3():
        return pd.Series(values, dtype="str")
    holds_text = any(isinstance(value, str) for value in values)
    return pd.Series(values, dtype=None if holds_text else object)


def _of_extension(values: list[Any], kind: str) -> Any:
    """Return a column of dates, durations, or a pandas extension type."""
    import numpy as np
    import pandas as pd

    missing = [_is_gap(value) for value in values]
    texts = [None if gap else value for gap, value in zip(missing, values, strict=True)]
    if kind.startswith("datetime64") and "," not in kind:
        return pd.Series(np.array([text or "NaT" for text in texts], dtype=kind))
    if kind.startswith("datetime64"):
        return _zoned(texts, kind)
    if kind.startswith("timedelta64"):
        return pd.Series(pd.to_timedelta(pd.Series(texts, dtype=object))).astype(kind)
    if kind == "boolean":
        texts = [None if text is None else text in (True, "True") for text in texts]
    elif kind.rstrip("0123456789") in _NUMBERS:
        number = _NUMBERS[kind.rstrip("0123456789")]
        texts = [None if text is None else number(text) for text in texts]
    return pd.Series(texts, dtype=kind)


_OFFSET = re.compile(r"([+-])(\d\d):(\d\d)(?::(\d\d))?$")


def _zoned(texts: list[Any], kind: str) -> Any:
    """Return a column of times with a zone; pandas cannot read offsets with seconds."""
    import numpy as np
    import pandas as pd

    naive, seconds = [], []
    for text in texts:
        match = _OFFSET.search(text or "")
        if text and match is None:
            msg = f"{text!r} has no offset from UTC"
            raise ValueError(msg)
        naive.append(text[: match.start()] if match else "NaT")
        sign, hours, minutes, rest = match.groups() if match else ("+", 0, 0, 0)
        offset = int(hours) * 3600 + int(minutes) * 60 + int(rest or 0)
        seconds.append(-offset if sign == "-" else offset)
    dtype = f"{kind.partition(',')[0]}]"
    utc = np.array(naive, dtype=dtype) - np.array(seconds, dtype="timedelta64[s]")
    return pd.Series(utc.astype(dtype)).dt.tz_localize("UTC").astype(kind)


def _pandas_na() -> Any:
    import pandas as pd

    return pd.NA


def _pandas_nat() -> Any:
    import pandas as pd

    return pd.NaT


_MISSING: dict[str, Callable[[], Any]] = {
    letters.NONE: lambda: None,
    letters.NAN: lambda: float("nan"),
    letters.NAT: _pandas_nat,
    letters.NA: _pandas_na,
}


def _value(letter: str, value: Any, extra: dict[str, Any]) -> Any:
    if letter in _MISSING:
        return _MISSING[letter]()
    if letter == letters.ARRAY:
        import numpy as np

        return np.array(_parsed(value), dtype=extra.get("array") or None)
    return _DECODERS[letter](value)


def _parsed(value: Any) -> Any:
    return json.loads(value) if isinstance(value, str) else value


def _timestamp(value: str) -> Any:
    import pandas as pd

    return pd.Timestamp(value)


def _duration(value: str) -> Any:
    import pandas as pd

    return pd.Timedelta(value)


_DECODERS: dict[str, Callable[[Any], Any]] = {
    letters.STRING: str,
    letters.BOOL: lambda value: value in (True, "True"),
    letters.INT: int,
    letters.FLOAT: float,
    letters.BYTES: ast.literal_eval,
    letters.DECIMAL: Decimal,
    letters.DATE: dt.date.fromisoformat,
    letters.DATETIME: _timestamp,
    letters.DURATION: _duration,
    letters.JSON: _parsed,
    letters.TUPLE: lambda value: tuple(_parsed(value)),
}
