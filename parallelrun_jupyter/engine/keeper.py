"""Leaves the rest of a driver's work to a copy of its process, so that it can drive the next run."""

from __future__ import annotations

import logging
import os
from collections.abc import Callable, Sequence

_log = logging.getLogger(__name__)
_STANDARD = (0, 1, 2)


def leave_to_copy(work: Callable[[], None], files: Sequence[int]) -> None:
    """Do some work in a detached copy of this process, which has one thread.

    If there can be no copy, because of too many processes, the work is done here.

    Parameters
    ----------
    work
        Called in the copy, which then ends.
    files
        The descriptors that the copy keeps; all others are closed in it, so that other processes see that
        this one has closed them.
    """
    try:
        pid = os.fork()
    except OSError:
        work()
        return
    if pid:
        os.waitpid(pid, 0)
        return
    status = 1
    try:
        os.setsid()
        if os.fork() == 0:  # the parent has ended: no zombie is left in the driver
            _close_others(files)
            work()
        status = 0
    except OSError:
        _log.exception("the driver's copy failed")
    finally:
        os._exit(status)


def _close_others(files: Sequence[int]) -> None:
    kept = {*_STANDARD, *files}
    for fd in map(int, os.listdir("/dev/fd")):
        if fd not in kept:
            try:
                os.close(fd)
            except OSError:
                pass  # that of the listing itself
