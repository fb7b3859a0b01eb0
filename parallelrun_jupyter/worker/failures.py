"""Describes failures of the user's code, so that the user finds the line."""

from __future__ import annotations

import os

from .error_types import (
    OUT_OF_MEMORY,
    asked_delay_s,
    base_names,
    is_out_of_memory,
    links,
    members,
)

TYPE_CHECKING = False
if TYPE_CHECKING:  # typing is not worth its import in a worker
    from typing import Any

_HERE = os.path.dirname(os.path.abspath(__file__))
_LIBRARIES = (
    "/site-packages/",
    "/dist-packages/",
    "/lib/python3.",
    "/lib64/python3.",
    "/lib/pypy3.",
)
"""Folders of an interpreter and its packages, even inside a folder of the user."""

SHORT_RESULT = "ShortResult"
BAD_INPUT = "bad_input"
"""The kind of a failure to read a mini-batch."""
TYPES_DIFFER = "types_differ"
"""The kind of a failure after which the driver decides the types, and runs the mini-batch again."""

MESSAGE_CHARS = 2000
TRACEBACK_CHARS = 16000
_PIECE_CHARS = 6000
_MAX_LINKS = 50
_SHOWN_MEMBERS = 3


class BadResult(Exception):
    """``run()`` returned an invalid result; ``kind`` classifies it.

    ``place`` is the line of the function that returned it, if that is not ``run()``.
    """

    def __init__(self, kind: str, message: str, place: str = "") -> None:
        super(BadResult, self).__init__(message)
        self.kind = kind
        self.place = place


class BadInput(Exception):
    """A mini-batch cannot be loaded: its file is missing, was changed or cannot be parsed."""


class TypesDiffer(BadInput):
    """The rows of a mini-batch may not have the column types that planning assumed."""


class ItemFailed(Exception):
    """An item failed for a reason that the script gave as a text."""


class Timeout(Exception):
    """A part of a mini-batch took too long."""


class FaultOfAll(Exception):
    """A fault that seems to hit all items of a mini-batch; ``failure`` describes it."""

    def __init__(self, failure: dict[str, Any]) -> None:
        super(FaultOfAll, self).__init__(failure["message"])
        self.failure = failure


class BadSettings(Exception):
    """The worker cannot start with these settings; the message names the remedy."""


def describe(
    error: BaseException, roots: list[str], function: str, place: str = ""
) -> dict[str, Any]:
    """Return the failure object of an exception of the user's code.

    It never raises, even if the exception object raises on ``str()``. Its texts are bounded and valid
    UTF-8: a lone surrogate is shown as an escape.

    Parameters
    ----------
    error
        The exception, with its traceback.
    roots
        Folders of the user's code; the innermost frame in them is the place of the failure.
    function
        The called function of the script, for failures without a frame.
    place
        The place of a failure without a frame, if it is not the function.
    """
    place = place or _named(function)
    try:
        failure = _describe(error, roots, function, place)
        failure["bases"] = [visible(name) for name in base_names(error)]
        _add_delay(failure, error)
    except BaseException as inner:  # the user's own exception object, or a lack of memory
        text = "it could not be described (%s)" % type(inner).__name__
        name = type(error).__name__
        kind = OUT_OF_MEMORY if isinstance(error, MemoryError) else "exception"
        failure = _failure(kind, name, text, place, "")
        failure["bases"] = [visible(name)]
    return failure


def _add_delay(failure: dict[str, Any], error: BaseException) -> None:
    """Add the delay that the script or a server asks for, and whether it asks for fewer calls."""
    delay_s = asked_delay_s(error)
    if not isinstance(error, (BadResult, BadInput, BadSettings)):
        from .server_errors import asked_by_server  # only after a failure

        is_throttled, server_delay_s = asked_by_server(error)
        delay_s = server_delay_s if delay_s is None else delay_s
        if is_throttled:
            failure["is_throttled"] = True
    if delay_s is not None:
        failure["retry_after_s"] = delay_s


def _describe(error: BaseException, roots: list[str], function: str, place: str) -> dict[str, Any]:
    import traceback

    if isinstance(error, BadResult):
        return _failure(error.kind, "BadResult", str(error), error.place or place, "")
    kind = kind_of(error)
    if isinstance(error, BadInput):
        cause = error.__cause__
        text = "" if cause is None else _format(cause, message_of(cause), traceback)
        return _failure(kind, "BadInput", str(error), "loading", text)
    if isinstance(error, BadSettings):
        return _failure(kind, "BadSettings", str(error), place, "")
    name = type(error).__name__
    place = _place(error, roots, traceback) or place
    message = message_of(error)
    if isinstance(error, SystemExit):
        message = _exit_message(error, message, function)
    return _failure(kind, name, message, place, _format(error, message, traceback))


def kind_of(error: BaseException) -> str:
    """Return the kind of a failure by an exception of the user's code or of loading."""
    if is_out_of_memory(error):
        return OUT_OF_MEMORY
    if isinstance(error, Timeout):
        return "timeout"
    if isinstance(error, TypesDiffer):
        return TYPES_DIFFER
    return BAD_INPUT if isinstance(error, BadInput) else "exception"


def _named(function: str) -> str:
    """Return the place of a failure without a line."""
    steps = {"start": "the start of the worker", "import": "the import of the script"}
    return steps.get(function, "%s()" % function)


def _failure(kind: str, error: str, message: str, place: str, text: str) -> dict[str, Any]:
    return {
        "kind": kind,
        "error": visible(error),
        "message": visible(cut(message, MESSAGE_CHARS)),
        "group": visible("%s at %s" % (error, place)),
        "traceback": visible(cut(text, TRACEBACK_CHARS)),
    }


def visible(text: str) -> str:
    r"""Return valid UTF-8 text, with escapes for lone surrogates.

    A file name that is not UTF-8 contains surrogates, and is shown as ``caf\udce9.txt``.
    """
    return text.encode("utf-8", "backslashreplace").decode("utf-8")


def cut(text: str, limit: int) -> str:
    """Return text of about ``limit`` characters, shortened in its middle."""
    if len(text) <= limit:
        return text
    head, tail = limit * 2 // 3, limit // 3
    left_out = len(text) - head - tail
    return "%s ... (%d characters left out) ... %s" % (text[:head], left_out, text[-tail:])


# The line


def _place(error: BaseException, roots: list[str], traceback: Any) -> str:
    """Return the line of the user's code that raised, as ``file.py:12 in run``.

    It is the innermost line of the user. If a library wraps an exception of the user's function in
    its own (``raise ... from``, or a group), it is the line of the wrapped exception.
    """
    if isinstance(error, SyntaxError) and error.filename and is_under(error.filename, roots):
        return "%s:%d" % (os.path.basename(error.filename), error.lineno or 0)
    own = None
    for link in links(error, follow_context=False):
        frames = _frames(link, traceback)
        mine = [f for f in frames if is_under(f.filename, roots)]
        own = mine[-1] if mine else own
        if mine and mine[-1] is frames[-1]:
            break
    for link in links(error, follow_context=True) if own is None else ():
        mine = [f for f in _frames(link, traceback) if is_under(f.filename, roots)]
        if mine:
            own = mine[-1]
            break
    if own is None and isinstance(error, SyntaxError) and error.filename:
        return "%s:%d" % (os.path.basename(error.filename), error.lineno or 0)
    frames = [own] if own is not None else _frames(error, traceback)
    if not frames:
        return ""
    frame = frames[-1]
    return "%s:%d in %s" % (os.path.basename(frame.filename), frame.lineno or 0, frame.name)


def _frames(error: BaseException, traceback: Any) -> list[Any]:
    """Return the frames of an exception that are in files, without those of this package."""
    frames = traceback.extract_tb(error.__traceback__)
    return [f for f in frames if not (f.filename.startswith("<") or _is_ours(f.filename))]


def describe_place(frames: list[Any], roots: list[str]) -> tuple[str, list[Any]]:
    """Return the innermost line of the user's code in a stack, and the frames that are not ours."""
    shown = [f for f in frames if not (f.filename.startswith("<frozen ") or _is_ours(f.filename))]
    mine = [f for f in shown if is_under(f.filename, roots)]
    if not mine:
        return "", shown
    first = shown.index(mine[0])
    own = mine[-1]
    place = "%s:%d in %s" % (os.path.basename(own.filename), own.lineno or 0, own.name)
    return place, shown[first:]


def _is_ours(filename: str) -> bool:
    return os.path.abspath(filename).startswith(_HERE + os.sep) or filename.startswith(
        "<frozen imp"
    )


def is_of_user(filename: str, roots: list[str]) -> bool:
    """Return whether a line of a file is one of the user, in their folders or elsewhere."""
    if filename.startswith("<") or _is_ours(filename):
        return False
    return is_under(filename, roots) or not any(part in filename for part in _LIBRARIES)


def is_under(filename: str, roots: list[str]) -> bool:
    """Return whether a file belongs to the user.

    Parameters
    ----------
    filename
        The file of a frame. Code without a file (``<string>``, ``<frozen os>``) and the packages of
        an interpreter inside the project do not belong to the user.
    roots
        The folders of the user's code.
    """
    if filename.startswith("<"):
        return False
    path = os.path.abspath(filename)
    if path != filename and not os.path.exists(path):
        return False  # frames of compiled packages have the paths of their build
    for folder in roots:
        root = folder.rstrip(os.sep)
        if path.startswith(root + os.sep):
            inside = path[len(root) :]
            if not any(library in inside for library in _LIBRARIES):
                return True
    return False


def line_of(function: Any) -> str:
    """Return the first line of a function, as ``score.py:12 in run``; empty if unknown."""
    for _ in range(_MAX_LINKS):
        inner = getattr(function, "__wrapped__", None) or getattr(function, "func", None)
        if inner is None:
            break
        function = inner
    code = getattr(function, "__code__", None)
    if code is None:  # an object with a __call__ method
        code = getattr(vars(type(function)).get("__call__"), "__code__", None)
    if code is None:
        return ""
    return visible(
        "%s:%d in %s" % (os.path.basename(code.co_filename), code.co_firstlineno, code.co_name)
    )


# The messages


def short_result(results: int, items: int, line: str) -> str:
    """Return the message for a result with fewer elements than the mini-batch has items.

    Parameters
    ----------
    results, items
        The numbers of each.
    line
        The first line of ``run``, from `line_of`.
    """
    words = ("" if results == 1 else "s", "" if items == 1 else "s")
    at = " at %s" % line.partition(" in ")[0] if line else ""
    return "run() returned %d result%s for %d item%s%s" % (results, words[0], items, words[1], at)


def message_of(error: BaseException) -> str:
    """Return the text of an exception, with the first members of a group."""
    try:
        text = str(error)
    except BaseException as inner:  # the user's own __str__
        return "<its __str__ raised %s>" % type(inner).__name__
    shown = ["%s: %s" % (type(m).__name__, message_of(m)) for m in members(error)[:_SHOWN_MEMBERS]]
    return "%s: %s" % (text, "; ".join(shown)) if shown else text


def _exit_message(error: SystemExit, text: str, function: str) -> str:
    """Return the reason why a script exited: argparse's message, or the exception before the exit."""
    if isinstance(error.code, str):
        return text  # sys.exit("no model")
    call = "sys.exit(%s)" % ("" if error.code is None else text)
    sentence = _parser_sentence(error)
    if sentence:
        return "%s (%s was called)" % (sentence, call)
    reason = error.__cause__ or (None if error.__suppress_context__ else error.__context__)
    if reason is not None:
        return "%s was called after %s: %s" % (call, type(reason).__name__, message_of(reason))
    at = "while the script was imported" if function == "import" else "in %s()" % function
    return "%s was called %s; expected it to return, or to raise an exception with the reason" % (
        call,
        at,
    )


def _parser_sentence(error: BaseException) -> str:
    """Return the message of argparse or optparse before it exited; empty if neither did."""
    tb = error.__traceback__
    sentence = ""
    while tb is not None:
        code, names = tb.tb_frame.f_code, tb.tb_frame.f_locals
        if os.path.basename(code.co_filename) in ("argparse.py", "optparse.py"):
            message = names.get("message") or names.get("msg")
            if code.co_name == "exit" and isinstance(message, str):
                sentence = message.strip()
        tb = tb.tb_next
    return sentence


def _format(error: BaseException, message: str, traceback: Any) -> str:
    """Format the exception without this package's frames above the user's.

    Each piece is shortened separately, so that a huge message leaves the frames intact.
    """
    tb = error.__traceback__
    while tb is not None and _is_ours(tb.tb_frame.f_code.co_filename):
        tb = tb.tb_next
    if tb is None:  # raised by this package: its frames help
        tb = error.__traceback__
    last = "%s: %s\n" % (type(error).__name__, message)
    try:
        lines = list(traceback.format_exception(type(error), error, tb))
    except BaseException:  # an exception object that cannot be printed
        lines = ["Traceback (most recent call last):\n", *traceback.format_tb(tb), last]
    if isinstance(error, SystemExit) and lines:
        lines[-1] = last
    return "".join(
        line if len(line) <= _PIECE_CHARS else cut(line, _PIECE_CHARS).rstrip("\n") + "\n"
        for line in lines
    )
