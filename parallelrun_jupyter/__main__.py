"""``python -m parallelrun_jupyter``: the terminal's commands, and the entry point of drivers."""

from __future__ import annotations

import sys
from pathlib import Path


def main() -> int:
    """Run a command; return its exit status."""
    if sys.argv[1:2] == ["drive"]:
        from .client.launcher import detach

        detach()
        _drive(*sys.argv[2:4])
        return 0
    from .commands.cli import console

    return console()


def _drive(path: str, channel: str = "-1") -> None:
    """Act as the driver of the run or the pipeline in a folder."""
    if (Path(path) / "pipeline.json").exists():
        from .pipelines.driver import drive_pipeline

        drive_pipeline(path)
    else:
        from .client.launcher import drive

        drive(path, int(channel))


if __name__ == "__main__":
    sys.exit(main())
