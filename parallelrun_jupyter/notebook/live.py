"""Watching a run in whatever front end there is: a notebook, a terminal, or a plain stream."""

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
from .run_details import RunDetails


class Show(Protocol):
    """Shows a snapshot."""

    def __call__(self, snapshot: Snapshot) -> None:
        """Show it, in place of the one before."""


@contextmanager
def stream_show(stream: IO[str]) -> Iterator[Show]:
    """Give what draws snapshots on a stream: in place on a terminal, else line by line."""
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

        def say(snapshot: Snapshot) -> None:
            for line in printer.lines(snapshot):
                print(line, file=stream, flush=True)

        yield say


def watch_json(follower: Follower, stream: IO[str]) -> Snapshot:
    """Write a snapshot as a line of JSON whenever there is news, until the run has ended."""
    told = ""

    def say(snapshot: Snapshot) -> None:
        nonlocal told
        new = news(snapshot)
        if new != told:
            told = new
            print(json.dumps(snapshot, separators=(",", ":")), file=stream, flush=True)

    return watch(follower, say)


def in_notebook() -> bool:
    """Say whether this process is a notebook's kernel."""
    ipython = sys.modules.get("IPython")
    shell = ipython.get_ipython() if ipython is not None else None
    return shell is not None and hasattr(shell, "kernel")


def watch_here(follower: Follower, timeout_s: float | None = None) -> Snapshot:
    """Watch a run to its end in the front end that there is; return the last snapshot."""
    if in_notebook():
        RunDetails(follower).show()
        return watch(follower, lambda _: None, timeout_s=timeout_s)
    with stream_show(sys.stdout) as show:
        return watch(follower, show, timeout_s=timeout_s)
