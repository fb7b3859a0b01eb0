"""Which views of this process follow a pipeline: waiting for its end waits for them to draw it."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from contextlib import contextmanager

from ...errors import ParallelRunError
from ...notebook.feed import settle
from ...pipelines.journal import FINAL_STEP_STATES, PipelineState
from ...runs.run_folder import find

_SETTLED_S = 2.0

_LOCK = threading.Lock()
_VIEWS: dict[str, list[threading.Event]] = {}


@contextmanager
def followed(run_id: str) -> Iterator[None]:
    """Say that a view follows a pipeline, until it has drawn its end."""
    drawn = threading.Event()
    with _LOCK:
        _VIEWS.setdefault(run_id, []).append(drawn)
    try:
        yield
    finally:
        drawn.set()
        with _LOCK:
            _VIEWS[run_id].remove(drawn)
            if not _VIEWS[run_id]:
                del _VIEWS[run_id]


def settle_pipeline(run_id: str, state: PipelineState) -> None:
    """Wait, for a moment at most, until what has ended is drawn: a notebook may end with it."""
    if state.is_final:
        with _LOCK:
            views = list(_VIEWS.get(run_id, ()))
        for drawn in views:
            drawn.wait(_SETTLED_S)
    for step in state.steps.values():
        if step.run_id and step.state in FINAL_STEP_STATES:
            try:
                settle(find(step.run_id))
            except ParallelRunError:
                continue  # its folder is gone: there is nothing to draw
