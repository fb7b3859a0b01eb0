"""Encodes the result of ``run()`` as rows, by Azure's contract (a list, tuple, array or frame)."""

from __future__ import annotations

import json
import os

from ..failures import BadResult, BadSettings
from .formats import CSV, OBJECTS, TEXT, encode_table, frame_text, joined_frames, text_rows
from .values import is_frame, shown, text_lines

TYPE_CHECKING = False
if TYPE_CHECKING:  # typing is not worth its import in a worker
    from typing import Any

EXPECTED = "return a list, tuple, array, Series or DataFrame with one element for each item"
MOST_BYTES = 1 << 32
"""The rows of one mini-batch are shorter: their length is stored in four bytes."""

FRAME_OPTIONS = {"sep": " ", "header": False, "index": False}
"""Azure's default options of ``to_csv``."""

SETTINGS_FILE = "parallel_run_step.settings.json"
_SETTINGS_FORM = '{"append_row": {"pandas.DataFrame.to_csv": {"sep": ","}}}'

CSV_OPTIONS = {"sep": ",", "header": True, "index": False}
"""The default options of ``to_csv`` if ``output_format`` is CSV."""

_PLAIN = {str, int, float, bool, type(None)}
"""The most common types of elements, which contain no arrays."""

HEADER_ARGUMENT = "--append_row_dataframe_header"


class HoldsErrors(Exception):
    """A result has elements that are exceptions, so that its items answer one by one."""


def read_frame_options(folder: str, argv: list[str], form: str = TEXT) -> dict[str, Any]:
    """Return the options of ``to_csv``: the defaults, and the overrides of the run.

    The overrides are Azure's: the argument ``--append_row_dataframe_header True``, and the file
    ``parallel_run_step.settings.json`` beside the script, an object ``append_row`` with an object
    ``pandas.DataFrame.to_csv`` of keyword arguments.

    Raises
    ------
    BadSettings
        The file exists and does not contain such an object.
    """
    options: dict[str, Any] = dict(CSV_OPTIONS if form == CSV else FRAME_OPTIONS)
    words = " ".join(argv).replace("=", " ").split()
    if HEADER_ARGUMENT in words[:-1]:
        options["header"] = words[words.index(HEADER_ARGUMENT) + 1].lower() == "true"
    try:
        with open(os.path.join(folder, SETTINGS_FILE), encoding="utf-8") as file:
            settings = json.load(file)
    except FileNotFoundError:
        return options
    except (OSError, ValueError) as error:
        raise BadSettings(
            "%s could not be read (%s); expected JSON such as %s"
            % (SETTINGS_FILE, error, _SETTINGS_FORM)
        )
    for name in ("append_row", "pandas.DataFrame.to_csv"):
        settings = settings.get(name) if isinstance(settings, dict) else None
        if not isinstance(settings, dict):
            raise BadSettings(
                "%s has no object %r; expected %s. Write that, or remove the file"
                % (SETTINGS_FILE, name, _SETTINGS_FORM)
            )
    return dict(options, **settings)


def encode_result(
    result: Any,
    *,
    append_rows: bool,
    frame_options: dict[str, Any] = FRAME_OPTIONS,
    form: str = TEXT,
    seeks_errors: bool = False,
) -> tuple[int, bytes]:
    """Return the number of elements of a result, and the encoded rows.

    A generator or another iterator is consumed first. As text, a list, tuple, array or Series gives a
    line for each element, ``str(element)`` without quoting, with arrays written as lists. A DataFrame
    gives the lines of its ``to_csv``. Elements that are Series, or DataFrames of one row, are the rows
    of a table.

    Parameters
    ----------
    result
        The value that ``run()`` returned.
    append_rows
        Whether the rows are needed; if not, they are empty.
    frame_options
        Options of ``to_csv``.
    form
        ``TEXT``, or one of the formats of tables (`encode_table`).
    seeks_errors
        Whether elements may be exceptions that fail their items; if not, these are values as others.

    Raises
    ------
    BadResult
        The result is None or has no elements to count, or an element cannot be encoded.
    HoldsErrors
        Elements are exceptions, and ``seeks_errors`` is true.
    """
    if type(result) is not list:  # the most common type, of short mini-batches too
        result = counted(result)
    rows = len(result)
    is_text = append_rows and form == TEXT
    if seeks_errors and not is_text and holds_errors(result):
        raise HoldsErrors
    if not append_rows or rows == 0:
        return rows, b""
    try:
        if is_text:
            data = _text(result, frame_options, seeks_errors=seeks_errors)
        elif form == OBJECTS:
            from .objects import encode_objects  # only for functions of a notebook

            data = encode_objects(result)
        else:
            data = encode_table(result, form, frame_options)
    except UnicodeEncodeError as error:
        raise BadResult("wrong_result", _not_unicode(error))
    if len(data) >= MOST_BYTES:
        message = "run() returned %d bytes of rows, more than 4 GB; use smaller mini-batches"
        raise BadResult("wrong_result", message % len(data))
    return rows, data


def counted(result: Any) -> Any:
    """Return a result that has a length; an iterator is consumed.

    Raises
    ------
    BadResult
        The result is None, or has no elements to count.
    """
    if result is None:
        raise BadResult("no_result", "run() returned None; %s (an empty list if none)" % EXPECTED)
    if isinstance(result, (str, bytes, bytearray, dict, set, frozenset)):
        raise BadResult("wrong_result", "run() returned %s; %s" % (_a(_kind(result)), EXPECTED))
    try:
        rows = len(result)
    except TypeError:
        rows = -1
    # Not in the except block: an error of a generator is not caused by the TypeError.
    return _consumed(result) if rows < 0 else result


def holds_errors(result: Any) -> bool:
    """Return whether elements of a result are exceptions, or perhaps classes of them."""
    if is_frame(type(result)) or str(getattr(result, "dtype", "object")) != "object":
        return False
    return _are_errors(set(map(type, result)))


def _are_errors(kinds: set[type]) -> bool:
    return any(issubclass(kind, (BaseException, type)) for kind in kinds)


def materialized(result: Any) -> Any:
    """Return a list of the elements if the result is an iterator; else the result itself."""
    return list(result) if hasattr(type(result), "__next__") else result


def _consumed(result: Any) -> Any:
    """Return a list of the elements of an iterator.

    Raises
    ------
    BadResult
        The result is not an iterator; the message explains ``async`` functions.
    """
    if is_coroutine(result) or hasattr(type(result), "__await__"):
        raise BadResult(
            "wrong_result",
            "run() returned a %s, which nothing awaits. Write async def run(mini_batch), and await "
            "what it calls" % _kind(result),
        )
    if isinstance(result, BaseException):
        raise BadResult(
            "wrong_result",
            "run() returned an exception, %s; raise it to fail the whole mini-batch, or %s"
            % (shown(result), EXPECTED),
        )
    elements = materialized(result)
    if elements is result:
        message = "run() returned %s, which has no length; %s" % (_a(_kind(result)), EXPECTED)
        raise BadResult("wrong_result", message)
    return elements


def is_coroutine(value: Any) -> bool:
    """Return whether a value is the result of calling an async function; close a coroutine."""
    kind = type(value).__name__
    if kind == "coroutine":
        value.close()  # or Python warns later that it was never awaited
    return kind in ("coroutine", "async_generator")


def _text(result: Any, frame_options: dict[str, Any], *, seeks_errors: bool) -> bytes:
    kinds = set(map(type, result)) if type(result) is list else set()
    if kinds == {str}:  # most often
        return text_rows(result)
    if is_frame(type(result)):
        return frame_text(result, frame_options)
    kinds = kinds or set(map(type, result))
    if kinds <= _PLAIN:
        return text_rows(list(map(str, result)))
    if seeks_errors and _are_errors(kinds):
        raise HoldsErrors
    frame = joined_frames(result)
    return text_rows(text_lines(result)) if frame is None else frame_text(frame, frame_options)


def _not_unicode(error: UnicodeEncodeError) -> str:
    """Return the message for text that UTF-8 cannot encode, such as an undecodable file name."""
    text = error.object[max(error.start - 40, 0) : error.end + 20]
    return (
        "a returned row is not valid Unicode (%r, near %r); encode or escape it in run(), such as "
        "text.encode('utf-8', 'backslashreplace').decode()" % (error.object[error.start], text)
    )


def _kind(value: Any) -> str:
    return type(value).__name__


def _a(name: str) -> str:
    return "%s %s" % ("an" if name[:1].lower() in "aeiou" else "a", name)
