"""Describes calls that took too long."""

from __future__ import annotations

from ..failures import Timeout, describe_place

TYPE_CHECKING = False
if TYPE_CHECKING:  # typing is not worth its import in a worker
    from typing import Any

PATIENCE_S = 2.0
"""A call that was canceled and goes on for longer than this is given up."""

RESTART_STATUS = 75
"""The exit status of a worker in which too many calls hang that were given up: EX_TEMPFAIL."""


def timeout_text(limit_s: float) -> str:
    """Return the message for a call that took longer than its limit."""
    return "run() took longer than run_invocation_timeout = %g s" % limit_s


def timeout_of(failure: dict[str, Any], limit_s: float) -> dict[str, Any]:
    """Return the failure of a call that took too long, from that of its last line."""
    place = failure["group"].partition(" at ")[2] or "run()"
    changed = {
        "kind": "timeout",
        "error": Timeout.__name__,
        "message": timeout_text(limit_s),
        "group": "Timeout at %s" % place,
        "bases": ["Timeout"],
    }
    return dict(failure, **changed)


def failure_of_stack(frame: Any, roots: list[str]) -> dict[str, Any]:
    """Return a failure with the stack of a thread, as that of an exception there."""
    import traceback

    return _failure_at([] if frame is None else list(traceback.extract_stack(frame)), roots)


def failure_of_call(coroutine: Any, roots: list[str]) -> dict[str, Any]:
    """Return a failure with the lines where a coroutine waits, as that of an exception there."""
    import traceback

    frames = []
    while coroutine is not None:
        found = [getattr(coroutine, name, None) for name in ("cr_frame", "ag_frame", "gi_frame")]
        frames += [(frame, frame.f_lineno) for frame in found if frame is not None]
        names = ("cr_await", "ag_await", "gi_yieldfrom")
        coroutine = next((c for c in (getattr(coroutine, n, None) for n in names) if c), None)
    return _failure_at(list(traceback.StackSummary.extract(iter(frames))), roots)


def _failure_at(frames: list[Any], roots: list[str]) -> dict[str, Any]:
    import traceback

    place, shown = describe_place(frames, roots)
    lines = ["Stack (most recent call last):\n", *traceback.format_list(shown)] if shown else []
    return {"group": "Timeout at %s" % (place or "run()"), "traceback": "".join(lines)}
