"""Column types under any version of pandas: their dtypes, and exact conversion from text.

``read_csv`` of old versions loses digits and guesses at dates. So some types are read as text, or as
a wider type (`parsed_as`), and converted here, with the same result under every version.
"""

from __future__ import annotations

import re
from datetime import datetime, timezone

TYPE_CHECKING = False
if TYPE_CHECKING:  # typing is not worth its import in a worker
    from typing import Any

_ISO_8601 = (
    r"\s*\d{4}(([-/. \\]?)(0?[1-9]|1[0-2])(\2(0?[1-9]|[12]\d|3[01])"
    r"([ T]\d{1,2}(:?\d{2}(:?\d{2}(\.\d+)?)?)?\s*(Z|[+-]\d{2}(:?\d{2})?)?)?)?)?$"
)
"""The dates without a format that pandas before 2 may parse: it would guess at anything else."""

_OFFSET = r":?\d{2}(?:\.\d+)?\s*(?:Z|[+-]\d{2}(?::?\d{2})?)$"
"""The end of a time that has an offset from UTC."""

_CLOCK_WORDS = ("now", "today")
"""Words that pandas replaces by the current time."""

_NARROW = ("int8", "int16", "int32", "uint8", "uint16", "uint32")
_DIGITS = re.compile(r"[+-]?[0-9]+")


class ConversionError(ValueError):
    """A value does not fit its column's type; ``row`` is its position. The text begins with "is"."""

    def __init__(self, row: int, reason: str) -> None:
        super(ConversionError, self).__init__(reason)
        self.row = row


def misfit(decided: str) -> str:
    """Return the reason and advice for a value that is not of a type."""
    return "is not a valid %s; give the column another type in column_types=" % decided


def version_of(package: Any) -> tuple[int, ...]:
    """Return the major and minor version of a package."""
    return tuple(map(int, package.__version__.split(".")[:2]))


def text_dtype(pd: Any) -> Any:
    """Return the dtype of text that ``read_csv`` infers: ``object`` before pandas 3."""
    return "str" if version_of(pd) >= (3, 0) else object


def dtype_of(pd: Any, decided: str) -> Any:
    """Return the pandas dtype of a decided type."""
    if decided.startswith("datetime"):
        return "datetime64[%s]" % (date_unit(decided) if version_of(pd) >= (2, 0) else "ns")
    return text_dtype(pd) if decided == "str" else decided


def date_unit(decided: str) -> str:
    """Return the resolution of a date type, ``"ns"`` or ``"us"``."""
    return "us" if decided == "datetime64[us]" else "ns"


def parsed_as(decided: str) -> str:
    """Return the type that a column is parsed as before `converted` gives it its decided type.

    - Dates are parsed as text.
    - So are whole numbers with gaps, which older pandas reads through floats, and ``uint64``, which
      refuses some valid texts (``-0``).
    - Narrow whole numbers are parsed as ``int64``: pandas before 3 wraps values that do not fit.
    - ``Float64`` is parsed as ``float64``: older pandas parses it from text, and less exactly.
    """
    if decided in _NARROW:
        return "int64"
    if decided == "Float64":
        return "float64"
    return "str" if decided.startswith(("datetime", "Int", "UInt", "uint64")) else decided


def converted(pd: Any, column: Any, decided: str) -> Any:
    """Return a column that was parsed as `parsed_as` requires, as its decided type.

    Raises
    ------
    ConversionError
        A value is not of the type.
    """
    if decided in _NARROW or decided == "int64":
        return _narrowed(column, decided)
    if decided == "Float64":
        return column.astype(decided)
    if decided.startswith("datetime"):
        return dates_of(pd, column, decided)
    return _whole_numbers(pd, column, decided)


# Whole numbers


def _narrowed(column: Any, decided: str) -> Any:
    import numpy as np

    limits = np.iinfo(decided)
    if len(column) and not limits.min <= int(column.min()) <= int(column.max()) <= limits.max:
        for row, value in enumerate(column.tolist()):
            if not limits.min <= value <= limits.max:
                raise ConversionError(row, misfit(decided))
    return column.astype(decided)


def _whole_numbers(pd: Any, column: Any, decided: str) -> Any:
    """Convert text to ``Int64``, ``Int32``, ``UInt64`` or ``uint64``, the last without gaps."""
    import numpy as np

    missing = column.isna().to_numpy()
    has_no_gaps = decided == "uint64"
    if has_no_gaps and missing.any():
        raise ConversionError(int(missing.argmax()), misfit(decided))
    places = np.flatnonzero(~missing)
    texts = column.to_numpy()[places]
    limits = np.iinfo(decided.lower())
    values = _parsed_at_once(pd, texts)
    if values is None or not limits.min <= int(values.min()) <= int(values.max()) <= limits.max:
        values = [_whole_number(text) for text in texts]
        for place, value in zip(places, values):
            if value is None or not limits.min <= value <= limits.max:
                raise ConversionError(int(place), misfit(decided))
    data = np.zeros(len(column), decided.lower())
    data[places] = values
    if has_no_gaps:
        return pd.Series(data, index=column.index)
    return pd.Series(pd.arrays.IntegerArray(data, missing), index=column.index)


def _parsed_at_once(pd: Any, texts: Any) -> Any:
    """Return the integers that pandas parses from texts, or None if it makes anything else of them."""
    try:
        values = pd.to_numeric(texts)
    except (ValueError, TypeError, OverflowError):
        return None
    return values if len(values) and values.dtype.kind in "iu" else None


def _whole_number(text: str) -> int | None:
    """Return a text as a whole number; ``"3.0"`` is one."""
    text = text.strip()
    if _DIGITS.fullmatch(text):
        return int(text)
    try:
        value = float(text) if "_" not in text else 0.5
    except ValueError:
        return None
    return int(value) if value.is_integer() else None


# Dates


def dates_of(pd: Any, column: Any, decided: str) -> Any:
    """Convert text to dates without a time zone; times with an offset are converted to UTC.

    Parameters
    ----------
    pd
        pandas.
    column
        A Series of text, with gaps.
    decided
        ``"datetime"`` or ``"datetime64[us]"``, both for ISO 8601, or ``"datetime:"`` and a
        ``strptime`` format.

    Raises
    ------
    ConversionError
        A text does not match the format, or the type cannot hold the date.
    """
    version = version_of(pd)
    form = decided.partition(":")[2] or None
    unit = date_unit(decided)
    if unit != "ns" and version < (2, 0):
        raise ConversionError(0, "is to be a %s, which needs pandas 2 or newer" % decided)
    dates = _parsed_dates(pd, column, form, version)
    wrong = dates.isna() & column.notna()
    if unit != "ns":
        wrong |= dates.dt.year < 1  # pandas 3 reads these, but fails to print many of them
    if form is None:
        wrong |= column.isin(_CLOCK_WORDS)
        if version < (2, 0):
            wrong |= column.notna() & ~column.astype(object).str.match(_ISO_8601, na=False)
    repaired = {}
    for row in wrong.to_numpy().nonzero()[0]:
        text = column.iloc[row].strip()
        if text not in ("NaT", ""):
            repaired[int(row)] = _date_beyond_pandas(text, form, unit, int(row))
    return _in_unit(pd, dates, unit, repaired)


def _parsed_dates(pd: Any, column: Any, form: str | None, version: tuple[int, ...]) -> Any:
    """Return dates in UTC without a time zone, NaT for each text that pandas cannot parse."""
    if form is None and (2, 0) <= version < (3, 0):
        # pandas 2 applies an offset to the times without one that follow it: parse them apart.
        text = column.astype(object)
        has_offset = text.str.contains(_OFFSET, na=False)
        if has_offset.any() and not has_offset.all():
            parts = [
                _to_datetime(pd, column[rows], "ISO8601") for rows in (has_offset, ~has_offset)
            ]
            return pd.concat(parts).reindex(column.index)
    return _to_datetime(pd, column, "ISO8601" if form is None and version >= (2, 0) else form)


def _to_datetime(pd: Any, column: Any, form: str | None) -> Any:
    return pd.to_datetime(column, format=form, errors="coerce", utc=True).dt.tz_localize(None)


def _date_beyond_pandas(text: str, form: str | None, unit: str, row: int) -> datetime:
    """Return a date that pandas does not parse, usually because it is outside its range."""
    date = None
    try:
        if form is None:
            date = datetime.fromisoformat(text[:-1] + "+00:00" if text[-1:] == "Z" else text)
        else:
            date = datetime.strptime(text, form)  # noqa: DTZ007 - a format may have no zone
        if date.tzinfo is not None:
            date = date.astimezone(timezone.utc).replace(tzinfo=None)
    except (ValueError, OverflowError):
        pass
    is_beyond = date is not None and not 1678 <= date.year <= 2261
    if is_beyond and unit == "ns":
        raise _beyond_nanoseconds(row)
    if date is None or not (is_beyond or form):
        raise ConversionError(
            row,
            "is not a date in the format %s; give the format in column_types=, such as "
            "'datetime:%%d.%%m.%%Y'" % (form or "ISO 8601"),
        )
    return date


def _beyond_nanoseconds(row: int) -> ConversionError:
    return ConversionError(
        row,
        "is beyond the years 1677 to 2262 of datetime64[ns]; give the column the type "
        "'datetime64[us]' (pandas 2 or newer) or 'str' in column_types=",
    )


def _in_unit(pd: Any, dates: Any, unit: str, repaired: dict[int, datetime]) -> Any:
    """Return dates in a resolution, with the repaired ones filled in by row."""
    try:
        column = dates.astype("datetime64[%s]" % unit)
    except pd.errors.OutOfBoundsDatetime:
        for row in dates.notna().to_numpy().nonzero()[0]:
            try:
                dates.iloc[row : row + 1].astype("datetime64[%s]" % unit)
            except pd.errors.OutOfBoundsDatetime:
                raise _beyond_nanoseconds(int(row))
        raise
    if repaired:
        values = column.to_numpy().copy()
        for row, date in repaired.items():
            values[row] = date
        column = pd.Series(values, index=column.index)
    return column
