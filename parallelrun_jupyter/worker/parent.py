"""A worker does not outlive the process that started it."""

from __future__ import annotations

import _thread
import os
import signal
import sys
import time


def die_with_parent(parent: int) -> None:
    """End this process, and what it started, when process ``parent`` is gone.

    On Linux the kernel does it at once, whatever the script is doing. A thread that looks once a
    second does it elsewhere, and for the rest of the process group.
    """
    if sys.platform == "linux":
        set_death_signal()
    if os.getppid() != parent:  # it died before the signal was set
        _end_group()
    _thread.start_new_thread(_watch, (parent,))


def set_death_signal() -> None:
    """Let the kernel end this process with the thread that started it, where it can (Linux)."""
    try:
        import ctypes

        pr_set_pdeathsig = 1
        ctypes.CDLL(None).prctl(pr_set_pdeathsig, signal.SIGKILL, 0, 0, 0)
    except (ImportError, OSError, AttributeError):
        pass  # a Python without ctypes, or no prctl in its C library: the thread still watches


def _watch(parent: int) -> None:
    while os.getppid() == parent:
        time.sleep(1)
    _end_group()


def _end_group() -> None:
    os.killpg(os.getpgrp(), signal.SIGKILL)
