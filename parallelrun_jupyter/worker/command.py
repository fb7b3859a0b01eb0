"""Runs a program of a pipeline's step, and ends it and all of its processes with the driver."""

from __future__ import annotations

import os

from .child_loop import end_group_with_parent


def main(words: list[str]) -> int:
    """Run a program; ``words`` are its parent's process id, its name and its arguments."""
    end_group_with_parent(int(words[0]))
    status = os.spawnvp(os.P_WAIT, words[1], words[1:])  # noqa: S606 - the program is a shell
    return status if status >= 0 else 128 - status  # as a shell reports a signal
