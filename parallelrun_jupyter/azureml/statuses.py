"""Run states under Azure's names."""

from __future__ import annotations


class Status(str):
    """A state of a run: ``Finished`` (pipelines) and ``Completed`` (other runs) are equal."""

    __slots__ = ()

    def __eq__(self, other: object) -> bool:
        if isinstance(other, str):
            return _plain(self) == _plain(other)
        return NotImplemented

    def __ne__(self, other: object) -> bool:
        return not self == other

    def __hash__(self) -> int:
        return str.__hash__(self)


def _plain(text: str) -> str:
    return "Completed" if str.__str__(text) == "Finished" else str.__str__(text)


def run_status(state: str) -> Status:
    """Return Azure's name for the state of a pipeline or step."""
    return Status(
        {"Completed": "Finished", "Preparing": "Queued", "Skipped": "NotStarted"}.get(state, state)
    )
