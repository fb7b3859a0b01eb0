"""Infers column types from a block of delimited text, for `Inference` to decide on.

pandas does most of the work, on the block alone. Its inference is exact except in a few cases, which
are recognized here and decided from the text of the column: numbers with leading zeros (codes), whole
numbers above 2^53 that became floats, and columns in which every field is missing.
"""

from __future__ import annotations

import io
import re
import warnings
from dataclasses import dataclass
from typing import Any

from ...worker.tables.delimited import WIDE, csv_options
from ...worker.tables.field_grid import field_grid
from ...worker.tables.number_forms import (
    FLOAT_HOLDS,
    columns_at,
    has_long_number,
    with_leading_zeros,
)
from ...worker.tables.row_splitter import Marks, with_line_feeds, without_escapes
from ...worker.tables.table_columns import MISSING, with_empty
from .column_types import Inference
from .wide_inference import certain_inferences

_OPEN_ROW = re.compile(r"EOF inside string starting at row (\d+)")
"""pandas' message about a quote that is never closed; rows count from 0."""

_WHOLE_NUMBER = re.compile(r"\s*[+-]?\d+\s*")
_NUMBERS = ("int64", "uint64", "float64")


@dataclass(frozen=True, slots=True)
class Rules:
    """How fields are interpreted.

    Parameters
    ----------
    missing
        The missing values; None for the defaults of pandas. An empty field is always missing,
        except in columns of text.
    is_exact
        Whether numbers with leading zeros are text, whole numbers above 2^53 stay exact, and words
        such as ``NA`` are text in columns of text. If False, pandas decides the types.
    empty_is_text
        Whether an empty field in a column of text is empty text, not missing.
    """

    missing: tuple[str, ...] | None = None
    is_exact: bool = False
    empty_is_text: bool = False

    @classmethod
    def of(cls, options: dict[str, Any]) -> Rules:
        """Return the rules from a dataset's options; records of older versions lack them."""
        missing = options.get("missing")
        empty_is_text = options.get("empty_is_text", missing is not None and "" not in missing)
        return cls(
            None if missing is None else tuple(missing),
            is_exact=options.get("inference") == "exact",
            empty_is_text=empty_is_text,
        )


@dataclass(frozen=True, slots=True)
class Reading:
    """How to read a block of text: its dialect, and the rules for its fields."""

    marks: Marks
    encoding: str
    rules: Rules

    @property
    def missing(self) -> list[str]:
        """The missing values of columns other than text."""
        missing = self.rules.missing
        return with_empty(list(MISSING if missing is None else missing))

    def frame(self, text: bytes, width: int, **more: Any) -> Any:
        """Return text as a DataFrame with ``width`` columns, named by numbers."""
        import pandas as pd

        options = csv_options(self.marks, self.encoding, width, self.missing)
        return pd.read_csv(io.BytesIO(text), encoding_errors="replace", **options, **more)


def infer_block(data: bytes, width: int, wanted: list[int], reading: Reading) -> list[Inference]:
    """Infer some columns of a block of whole lines.

    Rows that cannot be read are skipped: the mini-batch that reads them reports the error.

    Parameters
    ----------
    data
        The lines.
    width
        The number of columns of the file.
    wanted
        The numbers of the columns to infer, ascending.
    reading
        How the text is read.
    """
    if width < WIDE:
        return _infer_apart(data, width, wanted, reading)
    return _infer_wide(data, width, wanted, reading)


def _infer_wide(data: bytes, width: int, wanted: list[int], reading: Reading) -> list[Inference]:
    """Infer some of very many columns: those that are not certain by their bytes are inferred apart."""
    import numpy as np

    grid = field_grid(data, reading.marks, width)
    if grid is None or reading.marks.escape:
        return _infer_apart(data, width, wanted, reading)

    def floats(text: bytes) -> Any:
        return reading.frame(text, 1, dtype="float64", skip_blank_lines=False)[0]

    is_exact = reading.rules.is_exact
    found = certain_inferences(grid, wanted, reading.missing, floats, is_exact=is_exact)
    others = [position for position in wanted if position not in found]
    if others:
        # A row of one empty field would be a blank line, so there are two columns at least.
        taken = sorted({*others, *range(min(2, width))})
        is_taken = np.zeros(width, bool)
        is_taken[taken] = True
        numbers = np.searchsorted(taken, others).tolist()
        text = data if width == 1 else grid.table_of(is_taken)
        own = _infer_apart(text, len(taken), numbers, reading)
        found.update(zip(others, own, strict=True))
    return [found[position] for position in wanted]


def _infer_apart(data: bytes, width: int, wanted: list[int], reading: Reading) -> list[Inference]:
    """Infer some columns, each of them apart."""
    import pandas as pd

    inferences = [Inference() for _ in wanted]
    text = with_line_feeds(data, reading.marks)
    rows: dict[str, Any] = {}
    try:
        frame = reading.frame(text, width, usecols=wanted)
    except pd.errors.EmptyDataError:
        return inferences
    except pd.errors.ParserError as error:
        # No usecols here: pandas rejects columns beyond the fields of every row.
        open_row = _OPEN_ROW.search(str(error))
        rows = {"on_bad_lines": "skip", **({"nrows": int(open_row[1])} if open_row else {})}
        # pandas does not skip a first row that is too long, but warns.
        warnings.filterwarnings("ignore", "Length of header or names", pd.errors.ParserWarning)
        try:
            frame = reading.frame(text, width, **rows)[wanted]
        except pd.errors.ParserError:
            return inferences
    if not reading.rules.is_exact:
        for position, inference in zip(wanted, inferences, strict=True):
            _add_inferred(inference, frame[position])
        return inferences
    doubtful = _add_certain(frame, text, dict(zip(wanted, inferences, strict=True)), reading)
    if doubtful:
        options = rows or {"usecols": doubtful}
        texts = reading.frame(text, width, dtype=dict.fromkeys(doubtful, "str"), **options)
        by_position = dict(zip(wanted, inferences, strict=True))
        for position in doubtful:
            _add_texts(by_position[position], texts[position])
    return inferences


def _add_certain(
    frame: Any, text: bytes, inferences: dict[int, Inference], reading: Reading
) -> list[int]:
    """Add the columns whose inferred type is exact; return the others, to be decided from their text."""
    doubtful = set()
    worded = _all_missing_with_words(frame, text, reading)
    numbers = [k for k in inferences if frame[k].dtype.name in _NUMBERS]
    padded = with_leading_zeros(text, reading.marks) if numbers else frozenset()
    for position, inference in inferences.items():
        column = frame[position]
        if position not in numbers:
            if _may_be_numbers(column, reading):
                doubtful.add(position)
            else:
                _add_inferred(inference, column)
        elif position in worded:
            inference.add("empty", has_gap=True, has_word=True)
        elif position in padded:
            doubtful.add(position)
        elif not _add_numbers(inference, column):
            if has_long_number(text):
                doubtful.add(position)
            else:
                inference.add("float64", has_gap=bool(column.isna().any()), has_fraction=True)
    return sorted(doubtful)


def _may_be_numbers(column: Any, reading: Reading) -> bool:
    """Return whether a column of text may hold whole numbers: pandas does so for large ones with gaps."""
    if column.dtype.name == "bool":
        return False
    first = column.head(20).tolist()
    filled = [str(value) for value in first if value == value and value not in reading.missing]  # noqa: PLR0124 - a gap is not equal to itself
    return not filled or _WHOLE_NUMBER.fullmatch(filled[0]) is not None


def _add_inferred(inference: Inference, column: Any) -> None:
    """Add a column with the type that pandas inferred."""
    kind = column.dtype.name
    if kind == "float64":
        inference.add("empty" if column.isna().all() else "float64", has_gap=True)
    elif kind == "int64":
        inference.add("int64", has_negative=bool(len(column)) and bool(column.min() < 0))
    elif kind in {"bool", "uint64"}:
        inference.add(kind)
    else:
        inference.add("str")


def _add_numbers(inference: Inference, column: Any) -> bool:
    """Add a column of numbers that pandas inferred.

    Returns
    -------
    bool
        False, with nothing added, if a float may stand for a whole number that it cannot represent.
    """
    import numpy as np

    values = column.to_numpy()
    if not len(values):
        return True
    if values.dtype.kind == "f":
        gaps = np.isnan(values)
        if gaps.all():
            inference.add("empty", has_gap=True)
            return True
        if np.fmax.reduce(np.abs(values)) >= FLOAT_HOLDS:
            return False
        has_fraction = bool(((values != np.rint(values)) & ~gaps).any())
        has_negative = bool((values < 0).any())
        has_gap = bool(gaps.any())
        inference.add(
            "float64", has_negative=has_negative, has_gap=has_gap, has_fraction=has_fraction
        )
        return True
    low, high = int(values.min()), int(values.max())
    if max(high, -low) <= FLOAT_HOLDS:
        inference.add(values.dtype.name, has_negative=low < 0)
        return True
    floats = values.astype(np.float64)
    limit = 2.0 ** (64 if values.dtype.kind == "u" else 63)
    inside = floats < limit
    is_inexact = not inside.all() or bool((floats.astype(values.dtype) != values).any())
    inference.add(values.dtype.name, has_negative=low < 0, has_large=True, has_inexact=is_inexact)
    return True


def _add_texts(inference: Inference, texts: Any) -> None:
    """Add a column of text with gaps, which is numbers if every text is one."""
    import pandas as pd

    filled = texts.dropna().astype(str)
    has_gap = len(filled) < len(texts)
    if not len(filled):
        inference.add("empty", has_gap=has_gap)
        return
    if filled.str.match(r"\s*[+-]?0\d").any():
        inference.add("str", has_gap=has_gap)
        return
    is_whole = filled.str.fullmatch(r"\s*[+-]?[0-9]+\s*")
    whole = [int(text) for text in filled[is_whole]]
    try:
        others = pd.to_numeric(filled[~is_whole]).astype("float64")
    except (ValueError, TypeError):
        inference.add("str", has_gap=has_gap)
        return
    if len(others):
        is_exact = (others.abs() <= FLOAT_HOLDS) & (others % 1 == 0)
        has_negative = bool((others < 0).any())
        has_fraction = not is_exact.all()
        inference.add(
            "float64", has_negative=has_negative, has_gap=has_gap, has_fraction=has_fraction
        )
    if not whole:
        return
    low, high = min(whole), max(whole)
    if low < -(1 << 63) or high >= 1 << 64:
        inference.add("str", has_gap=has_gap)
        return
    inference.add(
        "uint64" if high >= 1 << 63 else "int64",
        has_gap=has_gap,
        has_negative=low < 0,
        has_large=max(high, -low) > FLOAT_HOLDS,
        has_inexact=any(int(float(number)) != number for number in whole),
    )


# Doubtful columns, found in the bytes of a block at memory speed


def _all_missing_with_words(frame: Any, text: bytes, reading: Reading) -> frozenset[int]:
    """Return the columns in which every field is missing, and some are words such as ``NA``.

    In a column of numbers such words are missing values, but in a column of text they are text.
    """
    if reading.rules.missing is not None:
        return frozenset()
    floats = [k for k in frame.columns if frame[k].dtype.name == "float64" and len(frame)]
    empty = [k for k in floats if frame[k].isna().iloc[0] and frame[k].isna().all()]
    if not empty:
        return frozenset()
    marks = reading.marks
    plain = without_escapes(text, marks)
    ends = re.escape(f"{marks.separator}{marks.quote}\n\r".encode("ascii"))
    words = b"|".join(re.escape(word.encode("ascii")) for word in MISSING if word)
    field = re.compile(rb"(?<![^%s])(?:%s)(?![^%s])" % (ends, words, ends))
    offsets = [match.start() for match in field.finditer(plain)]
    return frozenset(columns_at(plain, offsets, marks) if offsets else ()).intersection(empty)
