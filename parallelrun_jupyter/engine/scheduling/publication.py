"""The publication of the output at the end of a run."""

from __future__ import annotations

from .actions import Action, Publish
from .limits import Limits
from .parts import Parts
from .signals import OutputPublished


class Publication:
    """Asks for the publication of the output of a completed run, and knows its place.

    Parameters
    ----------
    limits
        Of the run: whether it has an output, and whether that is in a store.
    parts
        The parts of the output that lost nodes may still upload.
    """

    def __init__(self, limits: Limits, parts: Parts) -> None:
        self._limits = limits
        self._parts = parts
        #: whether the output is published after the nodes have stopped
        self._is_late = False
        #: path and bytes of the output
        self.output: tuple[str, int] | None = None

    def begin(self) -> list[Action]:
        """Return the action of a run whose mini-batches are done."""
        if self._limits.output_in_store:
            self._is_late = True  # together with the files that shutdown() writes
        elif self._limits.append_rows:
            return [Publish()]
        else:
            self.output = "", 0
        return []

    def go_on(self, now_ms: int) -> list[Action]:
        """Return the action that is due once all nodes have stopped."""
        if self._is_late and not self._parts.wait_for_lost_nodes(now_ms):
            self._is_late = False
            return [Publish()]
        return []

    def end(self, signal: OutputPublished | None) -> None:
        """Note where the output is; None if it could not be published."""
        self.output = (signal.path, signal.size_bytes) if signal else ("", 0)
