"""Turns columns of text into dates, alike under any pandas."""

from __future__ import annotations

from datetime import datetime, timezone

TYPE_CHECKING = False
if TYPE_CHECKING:  # typing is not worth its import in a worker
    from typing import Any

_ISO_8601 = (
    r"\s*\d{4}(([-/. \\]?)(0?[1-9]|1[0-2])(\2(0?[1-9]|[12]\d|3[01])"
    r"([ T]\d{1,2}(:?\d{2}(:?\d{2}(\.\d+)?)?)?\s*(Z|[+-]\d{2}(:?\d{2})?)?)?)?)?$"
)
"""What older pandas may read without a form: it would guess at anything else."""

_OFFSET = r":?\d{2}(?:\.\d+)?\s*(?:Z|[+-]\d{2}(?::?\d{2})?)$"
"""The end of a time that has an offset."""

_CLOCK = ("now", "today")
"""What pandas takes for the time at which it reads."""


class DateError(ValueError):
    """A value is no date; ``row`` is its position in the column."""

    def __init__(self, row: int, what: str) -> None:
        super(DateError, self).__init__(what)
        self.row = row


def date_unit(decided: str) -> str:
    """Return the unit that a type of dates is kept in, ``"ns"`` or ``"us"``."""
    return "us" if decided == "datetime64[us]" else "ns"


def dates_of(pd: Any, column: Any, decided: str) -> Any:
    """Return text as dates without a zone: a time with an offset is turned into UTC.

    Parameters
    ----------
    pd
        pandas.
    column
        A Series of text, missing where there is no date.
    decided
        ``"datetime"`` or ``"datetime64[us]"``, both for ISO 8601, or ``"datetime:"`` and a form.

    Raises
    ------
    DateError
        A value is no date of the form, or is one that the type cannot hold.
    """
    version = int(pd.__version__.split(".")[0])
    form = decided.partition(":")[2] or None
    unit = date_unit(decided)
    if unit != "ns" and version < 2:
        raise DateError(0, "is to be a %s, which needs pandas 2 or newer" % decided)
    dates = _parsed(pd, column, form, version)
    wrong = dates.isna() & column.notna()
    if unit != "ns":
        wrong |= dates.dt.year < 1  # pandas 3 reads them, and can hardly show them
    if form is None:
        wrong |= column.isin(_CLOCK)
        if version < 2:
            wrong |= column.notna() & ~column.astype(object).str.match(_ISO_8601, na=False)
    repaired = {}
    for row in wrong.to_numpy().nonzero()[0]:
        text = column.iloc[row].strip()
        if text not in ("NaT", ""):
            repaired[int(row)] = _moment(text, form, unit, int(row))
    return _in_unit(pd, dates, unit, repaired)


def _parsed(pd: Any, column: Any, form: str | None, version: int) -> Any:
    """Return dates in UTC, without a zone; none where pandas reads none."""
    if form is None and version == 2:
        # It gives times without an offset the offset of the time before them.
        has_offset = column.astype(object).str.contains(_OFFSET, na=False)
        if has_offset.any() and not has_offset.all():
            parts = [_parsed(pd, column[part], form, 0) for part in (has_offset, ~has_offset)]
            return pd.concat(parts).reindex(column.index)
    named = "ISO8601" if form is None and int(pd.__version__.split(".")[0]) >= 2 else form
    return pd.to_datetime(column, format=named, errors="coerce", utc=True).dt.tz_localize(None)


def _moment(text: str, form: str | None, unit: str, row: int) -> datetime:
    """Return a date that pandas does not read, most often because it is beyond what it holds."""
    moment = None
    try:
        if form is None:
            moment = datetime.fromisoformat(text[:-1] + "+00:00" if text[-1:] == "Z" else text)
        else:
            moment = datetime.strptime(text, form)  # noqa: DTZ007 - a form may have no zone
        if moment.tzinfo is not None:
            moment = moment.astimezone(timezone.utc).replace(tzinfo=None)
    except (ValueError, OverflowError):
        pass
    is_beyond = moment is not None and not 1678 <= moment.year <= 2261
    if is_beyond and unit == "ns":
        raise _beyond(row)
    if moment is None or not (is_beyond or form):
        raise DateError(
            row,
            "is no date of the form %s; write the form in column_types=, such as 'datetime:%%d.%%m.%%Y'"
            % (form or "ISO 8601"),
        )
    return moment


def _beyond(row: int) -> DateError:
    return DateError(
        row,
        "is beyond the years 1677 to 2262 of datetime64[ns]; give the column the type "
        "'datetime64[us]' (pandas 2 or newer) or 'str' in column_types=",
    )


def _in_unit(pd: Any, dates: Any, unit: str, repaired: dict[int, datetime]) -> Any:
    try:
        column = dates.astype("datetime64[%s]" % unit)
    except pd.errors.OutOfBoundsDatetime:
        for row in dates.notna().to_numpy().nonzero()[0]:
            try:
                dates.iloc[row : row + 1].astype("datetime64[%s]" % unit)
            except pd.errors.OutOfBoundsDatetime:
                raise _beyond(int(row))
        raise
    if repaired:
        values = column.to_numpy().copy()
        for row, moment in repaired.items():
            values[row] = moment
        column = pd.Series(values, index=column.index)
    return column
