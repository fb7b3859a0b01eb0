"""``python -m parallelrun_jupyter``: the terminal's commands, and the entry point of drivers."""

from __future__ import annotations

import sys
from pathlib import Path


def main() -> int:
    """Run a command; return its exit status."""
    if sys.argv[1:2] == ["drive"]:
        _drive(*sys.argv[2:5])
        return 0
    from .commands.cli import console

    return console()


def _drive(path: str, channel: str = "-1", begin: str = "") -> None:
    """Act as the driver of the run or the pipeline in a folder; without a path, of the next run."""
    from .client import driving

    if not path:
        driving.detach()
        driving.stand_by(int(channel), begin)
        return
    if (Path(path) / "pipeline.json").exists():
        driving.import_driver()
        driving.detach()
        from .pipelines.driver import drive_pipeline

        drive_pipeline(path)
    else:
        driving.drive(path, int(channel))


if __name__ == "__main__":
    sys.exit(main())
