"""Runs a program of a pipeline's step, and ends it and all of its processes with the driver."""

from __future__ import annotations

import subprocess

from .child_loop import end_group_with_parent


def main(words: list[str]) -> int:
    """Run a program; ``words`` are its parent's process id, its name and its arguments."""
    end_group_with_parent(int(words[0]))
    status = subprocess.call(words[1:])
    return status if status >= 0 else 128 - status  # as a shell reports a signal
