"""Describes calls that took too long."""

from __future__ import annotations

from ..failures import describe_place

TYPE_CHECKING = False
if TYPE_CHECKING:  # typing is not worth its import in a worker
    from typing import Any


def timeout_of(failure: dict[str, Any], limit_s: float) -> dict[str, Any]:
    """Return the failure of a call that took too long, from that of its last line."""
    place = failure["group"].partition(" at ")[2] or "run()"
    changed = {
        "kind": "timeout",
        "error": "Timeout",
        "message": "run() took longer than run_invocation_timeout = %g s" % limit_s,
        "group": "Timeout at %s" % place,
        "bases": ["Timeout"],
    }
    return dict(failure, **changed)


def failure_of_stack(frame: Any, roots: list[str]) -> dict[str, Any]:
    """Return a failure with the stack of a thread, as that of an exception there."""
    import traceback

    frames = [] if frame is None else list(traceback.extract_stack(frame))
    place, shown = describe_place(frames, roots)
    lines = ["Stack (most recent call last):\n", *traceback.format_list(shown)] if shown else []
    return {"group": "Timeout at %s" % (place or "run()"), "traceback": "".join(lines)}
