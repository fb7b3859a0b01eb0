"""Watching a run in a notebook, in a terminal, or on a plain stream."""

from __future__ import annotations

import json
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from typing import IO, Protocol

from ..runs.snapshot.follower import Follower, watch
from ..runs.snapshot.snapshot import Snapshot
from ..views.mime_bundle import news
from ..views.text import LinePrinter, text_view
from . import marimo_cells
from .run_details import RunDetails


class Show(Protocol):
    """Draws snapshots."""

    def __call__(self, snapshot: Snapshot) -> None:
        """Draw a snapshot in place of the previous one."""


@contextmanager
def stream_show(stream: IO[str]) -> Iterator[Show]:
    """Yield a function that draws snapshots on a stream: in place on a terminal, else as lines."""
    if stream.isatty():
        from rich.console import Console
        from rich.live import Live
        from rich.text import Text

        console = Console(file=stream)
        with Live(console=console, refresh_per_second=8) as live:

            def draw(snapshot: Snapshot) -> None:
                live.update(Text(text_view(snapshot), overflow="ellipsis"))

            yield draw
    else:
        printer = LinePrinter()

        def print_lines(snapshot: Snapshot) -> None:
            for line in printer.lines(snapshot):
                print(line, file=stream, flush=True)

        yield print_lines


def watch_json(follower: Follower, stream: IO[str]) -> Snapshot:
    """Write each new snapshot as a line of JSON until the run has ended; return the last one."""
    written = ""

    def write(snapshot: Snapshot) -> None:
        nonlocal written
        digest = news(snapshot)
        if digest != written:
            written = digest
            print(json.dumps(snapshot, separators=(",", ":")), file=stream, flush=True)

    return watch(follower, write)


def in_notebook() -> bool:
    """Return whether this process is the kernel of a notebook."""
    ipython = sys.modules.get("IPython")
    shell = ipython.get_ipython() if ipython is not None else None
    return shell is not None and hasattr(shell, "kernel")


def watch_here(follower: Follower, timeout_s: float | None = None) -> Snapshot:
    """Watch a run to its end in the current front end; return the last snapshot."""
    if in_notebook() or marimo_cells.is_shown():
        RunDetails(follower).show()
        return watch(follower, lambda _: None, timeout_s=timeout_s)
    with stream_show(sys.stdout) as show:
        return watch(follower, show, timeout_s=timeout_s)
