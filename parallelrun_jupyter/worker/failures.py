"""Describes what went wrong in the user's code, so that the user finds the line."""

from __future__ import annotations

import os

TYPE_CHECKING = False
if TYPE_CHECKING:  # typing is not worth its import in a worker
    from typing import Any, Iterator

_HERE = os.path.dirname(os.path.abspath(__file__))
_LIBRARIES = (
    "/site-packages/",
    "/dist-packages/",
    "/lib/python3.",
    "/lib64/python3.",
    "/lib/pypy3.",
)
"""Below one of the user's folders, these are folders of an interpreter and its packages."""

SHORT_RESULT = "ShortResult"
MESSAGE_CHARS = 2000
TRACEBACK_CHARS = 16000
_ONE_PART_CHARS = 6000
_MOST_LINKS = 50
_SHOWN_MEMBERS = 3


class BadResult(Exception):
    """``run()`` returned something that is no result; ``kind`` says which way."""

    def __init__(self, kind: str, message: str) -> None:
        super(BadResult, self).__init__(message)
        self.kind = kind


class BadInput(Exception):
    """A mini-batch cannot be loaded: its file is gone, was changed or cannot be understood."""


class BadSettings(Exception):
    """The worker cannot start as it was asked to; the message says what to change."""


def describe(error: BaseException, roots: list[str], function: str) -> dict[str, Any]:
    """Return the failure object of an exception that the user's code raised.

    It never raises, whatever the exception object does when it is asked for its text. Its texts
    are bounded, and can be written as UTF-8: a lone surrogate is shown as an escape.

    Parameters
    ----------
    error
        The exception, with its traceback.
    roots
        Folders of the user's own code: the innermost frame in one of them is where it was raised.
    function
        The function of the script that was called, for failures without a frame.
    """
    try:
        return _describe(error, roots, function)
    except BaseException as inner:  # the user's own exception object
        text = "it could not be described (%s)" % type(inner).__name__
        name = type(error).__name__
        return _failure("exception", name, text, _named(function), "")


def _describe(error: BaseException, roots: list[str], function: str) -> dict[str, Any]:
    import traceback

    if isinstance(error, BadResult):
        return _failure(error.kind, "BadResult", str(error), _named(function), "")
    if isinstance(error, BadInput):
        cause = error.__cause__
        text = "" if cause is None else _format(cause, _message(cause), traceback)
        return _failure("bad_input", "BadInput", str(error), "loading", text)
    if isinstance(error, BadSettings):
        return _failure("exception", "BadSettings", str(error), _named(function), "")
    name = type(error).__name__
    where = _place(error, roots, traceback) or _named(function)
    message = _message(error)
    if isinstance(error, SystemExit):
        message = _exit_message(error, message, function)
    return _failure("exception", name, message, where, _format(error, message, traceback))


def _named(function: str) -> str:
    """Return what a failure without a line is said to be at."""
    steps = {"start": "the start of the worker", "import": "the import of the script"}
    return steps.get(function, "%s()" % function)


def _failure(kind: str, error: str, message: str, where: str, text: str) -> dict[str, Any]:
    return {
        "kind": kind,
        "error": visible(error),
        "message": visible(cut(message, MESSAGE_CHARS)),
        "group": visible("%s at %s" % (error, where)),
        "traceback": visible(cut(text, TRACEBACK_CHARS)),
    }


def visible(text: str) -> str:
    r"""Return text that UTF-8 can hold, with escapes in the place of lone surrogates.

    A file name whose bytes are not UTF-8 has such surrogates: it is shown as ``caf\udce9.txt``.
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
    """Return the line of the user's code that an exception comes from, as ``file.py:12 in run``.

    That is the innermost one of the user's. Where a library raised the exception and names
    another one as its reason (``raise ... from``, or a group), it is that of the reason: what
    failed in the user's function that the library had called.
    """
    if isinstance(error, SyntaxError) and error.filename and is_under(error.filename, roots):
        return "%s:%d" % (os.path.basename(error.filename), error.lineno or 0)
    own = None
    for link in _links(error, follow_context=False):
        frames = _frames(link, traceback)
        mine = [f for f in frames if is_under(f.filename, roots)]
        own = mine[-1] if mine else own
        if mine and mine[-1] is frames[-1]:
            break
    for link in _links(error, follow_context=True) if own is None else ():
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


def _links(error: BaseException, *, follow_context: bool) -> Iterator[BaseException]:
    """Yield an exception and those it names as its reasons, each once."""
    waiting = [error]
    seen: set[int] = set()
    while waiting and len(seen) < _MOST_LINKS:
        link = waiting.pop()
        if id(link) in seen:
            continue
        seen.add(id(link))
        yield link
        reasons = list(_members(link))
        if link.__cause__ is not None:
            reasons.insert(0, link.__cause__)
        elif follow_context and link.__context__ is not None:
            reasons.insert(0, link.__context__)
        waiting.extend(reversed(reasons))


def _members(error: BaseException) -> list[BaseException]:
    """Return the exceptions of an exception group, Python's own or that of the backport."""
    members = getattr(error, "exceptions", ()) if "Group" in type(error).__name__ else ()
    if not isinstance(members, (tuple, list)):
        return []
    return [member for member in members if isinstance(member, BaseException)]


def _is_ours(filename: str) -> bool:
    return os.path.dirname(os.path.abspath(filename)) == _HERE or filename.startswith("<frozen imp")


def is_under(filename: str, roots: list[str]) -> bool:
    """Return whether a file is one of the user's own.

    Parameters
    ----------
    filename
        As a frame has it. Code that is in no file (``<string>``, ``<frozen os>``) is not the
        user's, and neither is what an interpreter inside of the project brings along.
    roots
        The folders of the user's code.
    """
    if filename.startswith("<"):
        return False
    path = os.path.abspath(filename)
    if path != filename and not os.path.exists(path):
        return False  # the frames of compiled packages have the paths of where they were built
    for folder in roots:
        root = folder.rstrip(os.sep)
        if path.startswith(root + os.sep):
            inside = path[len(root) :]
            if not any(library in inside for library in _LIBRARIES):
                return True
    return False


def line_of(function: Any) -> str:
    """Return where a function begins, as ``score.py:12 in run``; nothing where that is not known."""
    for _ in range(_MOST_LINKS):
        inner = getattr(function, "__wrapped__", None) or getattr(function, "func", None)
        if inner is None:
            break
        function = inner
    code = getattr(function, "__code__", None)
    if code is None:  # an object with a __call__ of its own
        code = getattr(vars(type(function)).get("__call__"), "__code__", None)
    if code is None:
        return ""
    return visible(
        "%s:%d in %s" % (os.path.basename(code.co_filename), code.co_firstlineno, code.co_name)
    )


# The words


def short_result(results: int, items: int, line: str) -> str:
    """Return what to say of a result that has fewer elements than the mini-batch has items.

    Parameters
    ----------
    results, items
        How many there are of each.
    line
        Where ``run`` begins, as `line_of` returns it.
    """
    words = ("" if results == 1 else "s", "" if items == 1 else "s")
    at = " at %s" % line.partition(" in ")[0] if line else ""
    return "run() returned %d result%s for %d item%s%s" % (results, words[0], items, words[1], at)


def _message(error: BaseException) -> str:
    try:
        text = str(error)
    except BaseException as inner:  # the user's own __str__
        return "<its __str__ raised %s>" % type(inner).__name__
    members = ["%s: %s" % (type(m).__name__, _message(m)) for m in _members(error)[:_SHOWN_MEMBERS]]
    return "%s: %s" % (text, "; ".join(members)) if members else text


def _exit_message(error: SystemExit, text: str, function: str) -> str:
    """Return why a script ended itself: argparse's own sentence, or what it was about to say."""
    if isinstance(error.code, str):
        return text  # sys.exit("no model")
    call = "sys.exit(%s)" % ("" if error.code is None else text)
    sentence = _parser_sentence(error)
    if sentence:
        return "%s (%s was called)" % (sentence, call)
    reason = error.__cause__ or (None if error.__suppress_context__ else error.__context__)
    if reason is not None:
        return "%s was called after %s: %s" % (call, type(reason).__name__, _message(reason))
    at = "while the script was imported" if function == "import" else "in %s()" % function
    return "%s was called %s; expected it to return, or to raise an exception that says why" % (
        call,
        at,
    )


def _parser_sentence(error: BaseException) -> str:
    """Return what argparse or optparse said before it ended the script; nothing if neither did."""
    tb = error.__traceback__
    sentence = ""
    while tb is not None:
        code, names = tb.tb_frame.f_code, tb.tb_frame.f_locals
        if os.path.basename(code.co_filename) in ("argparse.py", "optparse.py"):
            said = names.get("message") or names.get("msg")
            if code.co_name == "exit" and isinstance(said, str):
                sentence = said.strip()
        tb = tb.tb_next
    return sentence


def _format(error: BaseException, message: str, traceback: Any) -> str:
    """Format the exception without the frames of this package above the user's.

    Each part is shortened by itself, so that an enormous message leaves the frames in place.
    """
    tb = error.__traceback__
    while tb is not None and _is_ours(tb.tb_frame.f_code.co_filename):
        tb = tb.tb_next
    if tb is None:  # it is this package's own: then its frames are what helps
        tb = error.__traceback__
    said = "%s: %s\n" % (type(error).__name__, message)
    try:
        lines = list(traceback.format_exception(type(error), error, tb))
    except BaseException:  # an exception object that cannot be printed
        lines = ["Traceback (most recent call last):\n", *traceback.format_tb(tb), said]
    if isinstance(error, SystemExit) and lines:
        lines[-1] = said
    return "".join(
        line if len(line) <= _ONE_PART_CHARS else cut(line, _ONE_PART_CHARS).rstrip("\n") + "\n"
        for line in lines
    )
