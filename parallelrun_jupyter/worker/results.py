"""Turns what ``run()`` returned into rows, by Azure's contract (a list, tuple, array or frame)."""

from __future__ import annotations

import json
import os

from .failures import BadResult

TYPE_CHECKING = False
if TYPE_CHECKING:  # typing is not worth its import in a worker
    from typing import Any

EXPECTED = "return a list, tuple, array, Series or DataFrame with one element for each item"
MOST_BYTES = 1 << 32
"""The rows of one mini-batch are shorter: their length is kept in four bytes."""


FRAME_OPTIONS = {"sep": " ", "header": False, "index": False}
"""How Azure writes a DataFrame."""

SETTINGS_FILE = "parallel_run_step.settings.json"


def read_frame_options(folder: str) -> dict[str, Any]:
    """Return how DataFrames are written: as Azure does, with what the script's folder overrides.

    The override is Azure's file ``parallel_run_step.settings.json``, an object ``append_row`` with
    an object ``pandas.DataFrame.to_csv`` of keyword arguments.
    """
    try:
        with open(os.path.join(folder, SETTINGS_FILE), encoding="utf-8") as file:
            settings = json.load(file)
    except FileNotFoundError:
        return FRAME_OPTIONS
    return dict(FRAME_OPTIONS, **settings["append_row"]["pandas.DataFrame.to_csv"])


def encode_result(
    result: Any, *, append_rows: bool, frame_options: dict[str, Any] = FRAME_OPTIONS
) -> tuple[int, bytes]:
    """Return (rows, text): the number of elements, and their lines as UTF-8 bytes.

    A list, tuple, array or Series gives one line per element, ``str(element)``, without quoting.
    A DataFrame gives the lines of its ``to_csv`` with ``frame_options``.

    Raises
    ------
    BadResult
        ``None``, or a value that has no elements to count, or text that is not Unicode.
    """
    if result is None:
        raise BadResult("no_result", "run() returned None; %s (an empty list if none)" % EXPECTED)
    if isinstance(result, (str, bytes, bytearray, dict, set, frozenset)):
        raise BadResult("wrong_result", "run() returned a %s; %s" % (_kind(result), EXPECTED))
    try:
        rows = len(result)
    except TypeError:
        message = "run() returned a %s, which has no length; %s" % (_kind(result), EXPECTED)
        raise BadResult("wrong_result", message)
    if not append_rows or rows == 0:
        return rows, b""
    if hasattr(result, "to_csv") and hasattr(result, "columns"):
        text = result.to_csv(**frame_options)
    else:
        text = "\n".join(map(str, result)) + "\n"
    try:
        data = text.encode("utf-8")
    except UnicodeEncodeError as error:
        message = "a returned row is not valid Unicode (%s); encode or escape it in run()" % error
        raise BadResult("wrong_result", message)
    if len(data) >= MOST_BYTES:
        message = "run() returned %d bytes of rows, more than 4 GB; use smaller mini-batches"
        raise BadResult("wrong_result", message % len(data))
    return rows, data


def _kind(value: Any) -> str:
    return type(value).__name__
