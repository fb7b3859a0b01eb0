"""The child's side of the processes that the driver and its nodes start.

A child serves JSON lines: it reads messages from standard input and sends its replies to standard
output, one JSON value on a line. It ends when its parent ends. An unexpected exception is its last
message, ``["crashed", error, message, traceback]``. The parent's side is ``engine/child_process.py``.
"""

from __future__ import annotations

import _thread
import json
import os
import signal
import sys
import time

from .protocol import encode, write_all

TYPE_CHECKING = False
if TYPE_CHECKING:  # typing is not worth its import in a worker
    from typing import Any, Callable, Iterator

    Send = Callable[[list[Any]], None]

_MESSAGE_CHARACTERS = 4000
_TRACEBACK_CHARACTERS = 16000
_RAISED = 1


def serve_json_lines(work: Callable[[Iterator[Any], Send], None]) -> None:
    """Run the work of a child process that was started as ``python -m MODULE PARENT``, then end it.

    PARENT is the process id of the parent. Text that libraries print to standard output goes to
    standard error.

    Parameters
    ----------
    work
        Called with an iterator over the messages and a function that sends a reply.
    """
    replies = os.dup(1)
    os.dup2(2, 1)
    die_with_parent(int(sys.argv[1]))
    _work_and_exit(lambda: work(map(json.loads, sys.stdin), _sender(replies)), replies)


def serve_forked(work: Callable[[Send], None], parent: int, replies: int, stderr: int) -> None:
    """Run the work of a child process that was forked from ``parent``, then end it.

    Parameters
    ----------
    work
        Called with a function that sends a message.
    replies, stderr
        Descriptors for messages and for standard error.
    """
    import faulthandler

    def begin() -> None:
        os.setsid()
        os.dup2(stderr, 2)
        faulthandler.enable(2)
        die_with_parent(parent)
        work(_sender(replies))

    _work_and_exit(begin, replies)


def _work_and_exit(work: Callable[[], None], replies: int) -> None:
    """Run some work and end this process; an exception of the work is sent first."""
    status = 0
    try:
        work()
    except BaseException as error:  # the top of a process: a plugin's SystemExit is also an error
        status = _RAISED
        _report(error, replies)
    finally:
        os._exit(status)  # without waiting for threads: a stalled store must not hold the process


def _sender(replies: int) -> Send:
    return lambda message: write_all(replies, encode(message))


def _report(error: BaseException, replies: int) -> None:
    """Send an exception as the last message, and write its traceback to standard error."""
    message = crash_message(error)
    try:
        sys.stderr.write(message[3])
        sys.stderr.flush()
    except (OSError, ValueError, AttributeError):
        pass  # no standard error: the message has the traceback as well
    try:
        write_all(replies, encode(message))
    except OSError:
        pass  # the parent has ended


def crash_message(error: BaseException) -> list[Any]:
    """Return the message that describes an exception: its type, its text and its traceback."""
    try:
        text = str(error)
    except Exception as broken:  # __str__ of another package's class
        text = "its text could not be created: %s" % type(broken).__name__
    return ["crashed", type(error).__name__, text[:_MESSAGE_CHARACTERS], traceback_text(error)]


def traceback_text(error: BaseException) -> str:
    """Return the traceback of an exception, with its causes; only the end of a very long one."""
    import traceback

    lines = traceback.format_exception(type(error), error, error.__traceback__)
    return "".join(lines)[-_TRACEBACK_CHARACTERS:]


def die_with_parent(parent: int) -> None:
    """End this process and its group when process ``parent`` ends.

    On Linux the kernel ends this process immediately, whatever the script is doing. A thread that
    waits for the parent ends the rest of the group, and everything on other systems. Where it cannot
    wait, it checks once a second.
    """
    if sys.platform == "linux":
        set_death_signal()
    if os.getppid() != parent:  # it died before the signal was set
        _kill_own_group()
    _thread.start_new_thread(_watch, (parent,))


def end_group_with_parent(parent: int) -> None:
    """End this process and its group, within a second, when process ``parent`` has ended.

    Unlike `die_with_parent` the kernel does not kill this process alone: then nothing would end the
    other processes of its group.
    """
    _thread.start_new_thread(_watch, (parent,))


def set_death_signal() -> None:
    """Let the kernel kill this process when the thread that started it ends (Linux)."""
    try:
        import ctypes

        pr_set_pdeathsig = 1
        ctypes.CDLL(None).prctl(pr_set_pdeathsig, signal.SIGKILL, 0, 0, 0)
    except (ImportError, OSError, AttributeError):
        pass  # a Python without ctypes, or no prctl in its C library: the thread still watches


def leave_signals_to_main_thread() -> None:
    """Let the calling thread get no signals of the process.

    The stack of the main thread is dumped, the script's handlers run there, and a signal that the script
    blocks for a while waits, rather than end the process in another thread.
    """
    of_faults = {signal.SIGSEGV, signal.SIGBUS, signal.SIGFPE, signal.SIGILL, signal.SIGABRT}
    # From Python 3.8 on, numbers without a signal cause a warning, which the script may have made an error.
    valid_signals = getattr(signal, "valid_signals", lambda: range(1, signal.NSIG))
    signal.pthread_sigmask(signal.SIG_BLOCK, set(valid_signals()) - of_faults)


def _watch(parent: int) -> None:
    leave_signals_to_main_thread()
    _wait_for_end(parent)
    while os.getppid() == parent:
        time.sleep(1)
    _kill_own_group()


def _wait_for_end(parent: int) -> None:
    """Wait until the parent has ended, without waking up; return at once where that is impossible."""
    pidfd_open = getattr(os, "pidfd_open", None)  # Linux, from Python 3.9 on
    if pidfd_open is None:
        return
    import select

    try:
        descriptor = pidfd_open(parent)
    except OSError:  # the parent has ended, or the kernel is too old
        return
    ends = select.poll()
    ends.register(descriptor, select.POLLIN)
    if os.getppid() == parent:  # else the number may belong to another process
        ends.poll()
    os.close(descriptor)


def _kill_own_group() -> None:
    os.killpg(os.getpgrp(), signal.SIGKILL)
