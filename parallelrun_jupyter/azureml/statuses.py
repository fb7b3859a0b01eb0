"""States of runs by Azure's words."""

from __future__ import annotations


class Status(str):
    """A state; ``Finished``, as pipelines say, equals ``Completed``, as runs say."""

    __slots__ = ()

    def __eq__(self, other: object) -> bool:
        if isinstance(other, str):
            return _plain(self) == _plain(other)
        return NotImplemented

    def __ne__(self, other: object) -> bool:
        return not self == other

    def __hash__(self) -> int:
        return hash(_plain(self))


def _plain(text: str) -> str:
    word = str.__str__(text)
    return "Completed" if word == "Finished" else word


def run_status(state: str) -> Status:
    """Return the state of a pipeline, or of a step of one, as Azure says it."""
    return Status(
        {"Completed": "Finished", "Preparing": "Queued", "Skipped": "NotStarted"}.get(state, state)
    )
