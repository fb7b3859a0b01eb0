"""Describes what went wrong in the user's code, so that the user finds the line."""

from __future__ import annotations

import os
import sys

TYPE_CHECKING = False
if TYPE_CHECKING:  # typing is not worth its import in a worker
    from typing import Any

_HERE = os.path.dirname(os.path.abspath(__file__))


class BadResult(Exception):
    """``run()`` returned something that is no result; ``kind`` says which way."""

    def __init__(self, kind: str, message: str) -> None:
        super(BadResult, self).__init__(message)
        self.kind = kind


class BadInput(Exception):
    """A mini-batch cannot be loaded: its file is gone, was changed or cannot be understood."""


def describe(error: BaseException, roots: list[str], function: str) -> dict[str, Any]:
    """Return the failure object of an exception that the user's code raised.

    Parameters
    ----------
    error
        The exception, with its traceback.
    roots
        Folders of the user's own code: the innermost frame in one of them is where it was raised.
    function
        The function of the script that was called, for failures without a frame.
    """
    import traceback

    if isinstance(error, BadResult):
        where = "%s()" % function
        return _failure(error.kind, "BadResult", str(error), where, "")
    if isinstance(error, BadInput):
        return _failure("bad_input", "BadInput", str(error), "loading", "")
    name = type(error).__name__
    frames = [f for f in traceback.extract_tb(error.__traceback__) if not _is_ours(f.filename)]
    own = [f for f in frames if is_under(f.filename, roots)] or frames
    if isinstance(error, SyntaxError) and error.filename:
        where = "%s:%d" % (os.path.basename(error.filename), error.lineno or 0)
    elif own:
        where = "%s:%d in %s" % (
            os.path.basename(own[-1].filename),
            own[-1].lineno or 0,
            own[-1].name,
        )
    else:
        where = "%s()" % function
    text = "".join(_format(error, traceback))
    return _failure("exception", name, _message(error), where, text)


def _failure(kind: str, error: str, message: str, where: str, text: str) -> dict[str, Any]:
    return {
        "kind": kind,
        "error": error,
        "message": message[:2000],
        "group": "%s at %s" % (error, where),
        "traceback": text[-16000:],
    }


def _message(error: BaseException) -> str:
    try:
        return str(error)
    except Exception as inner:  # the user's own __str__
        return "<its __str__ raised %s>" % type(inner).__name__


def _format(error: BaseException, traceback: Any) -> list[str]:
    """Format the exception without the frames of this package above the user's."""
    tb = error.__traceback__
    while tb is not None and _is_ours(tb.tb_frame.f_code.co_filename):
        tb = tb.tb_next
    try:
        lines = traceback.format_exception(type(error), error, tb)
    except Exception:  # an exception object that cannot be printed
        lines = ["%s: %s\n" % (type(error).__name__, _message(error))]
    return list(lines)


def _is_ours(filename: str) -> bool:
    return os.path.dirname(os.path.abspath(filename)) == _HERE or filename.startswith("<frozen imp")


def is_under(filename: str, roots: list[str]) -> bool:
    """Say whether a file is one of the user's own, whose folders are ``roots``."""
    path = os.path.abspath(filename)
    if path.startswith(sys.prefix + os.sep):
        return False  # a virtual environment inside the project is not the project
    return any(path.startswith(root.rstrip(os.sep) + os.sep) for root in roots)
