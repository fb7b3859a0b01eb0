"""``python -m parallelrun_jupyter``: the terminal's commands, and the driver's own start."""

from __future__ import annotations

import sys


def main() -> int:
    """Run a command; return its exit status."""
    if sys.argv[1:2] == ["drive"]:
        from .launch import detach, drive

        detach()
        drive(sys.argv[2])
        return 0
    from .cli import main as command

    return command(sys.argv[1:])


if __name__ == "__main__":
    sys.exit(main())
