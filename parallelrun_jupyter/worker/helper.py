"""A helper process's own side: it sends messages, and reports the exception that ends it.

A helper works beside the driver or a node: it lists, stages or uploads. Messages are JSON lines. An
unexpected exception is the last message, ``["crashed", error, message, traceback]``. The other side is
``engine/helper_process.py``.
"""

from __future__ import annotations

import json
import os
import sys

from .parent import die_with_parent

TYPE_CHECKING = False
if TYPE_CHECKING:  # typing is not worth its import in a worker
    from typing import Any, Callable

_MESSAGE_CHARACTERS = 4000
_TRACEBACK_CHARACTERS = 16000
_RAISED = 1


def serve(work: Callable[[Callable[[list[Any]], None]], None]) -> None:
    """Do the work of a helper process, report what it raises, and end the process.

    The process was started as ``python -m MODULE PARENT``, where PARENT is the process id of the
    process that started it. Standard output carries the messages; text that libraries print there
    goes to standard error.

    Parameters
    ----------
    work
        Called with a function that sends one message.
    """
    replies = os.dup(1)
    os.dup2(2, 1)  # libraries print to standard error from here on
    die_with_parent(int(sys.argv[1]))
    run_and_exit(lambda: work(lambda message: send(replies, message)), replies)


def run_and_exit(work: Callable[[], None], replies: int) -> None:
    """Do some work and end this process; an exception of the work is sent first.

    Parameters
    ----------
    work
        What to do.
    replies
        The descriptor for messages.
    """
    status = 0
    try:
        work()
    except BaseException as error:  # the top of a process: a plugin's SystemExit is an error too
        status = _RAISED
        _report(error, replies)
    finally:
        os._exit(status)  # without waiting for threads: a stalled store must not keep the process


def _report(error: BaseException, replies: int) -> None:
    """Send an exception as the last message, and write its traceback to standard error."""
    message = crash_message(error)
    try:
        sys.stderr.write(message[3])
        sys.stderr.flush()
    except (OSError, ValueError, AttributeError):
        pass  # no standard error: the message has the traceback as well
    try:
        send(replies, message)
    except OSError:
        pass  # nobody listens any more


def crash_message(error: BaseException) -> list[Any]:
    """Return the message that describes an exception: its type, its text and its traceback."""
    try:
        said = str(error)
    except Exception as broken:  # the text of somebody else's exception
        said = "its text cannot be made: %s" % type(broken).__name__
    return ["crashed", type(error).__name__, said[:_MESSAGE_CHARACTERS], text_of(error)]


def text_of(error: BaseException) -> str:
    """Return the traceback of an exception, with its causes; of a very long one the end."""
    import traceback

    lines = traceback.format_exception(type(error), error, error.__traceback__)
    return "".join(lines)[-_TRACEBACK_CHARACTERS:]


def send(replies: int, message: list[Any]) -> None:
    """Send one message, whole."""
    data = memoryview(json.dumps(message).encode("ascii") + b"\n")
    while data:
        data = data[os.write(replies, data) :]
