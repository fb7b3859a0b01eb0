"""A worker process, as the journal last reported it."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TypeAlias

KEPT_USES = 32

Use: TypeAlias = tuple[int, int, int, int, int]
"""Time (ms), CPU (percent of a core), memory (MiB), GPU (percent), GPU memory (MiB); -1: no GPU."""


@dataclass(slots=True)
class WorkerState:
    """A worker process as last reported; ``restarts`` counts the workers that it has replaced."""

    worker: str
    node: str
    pid: int
    phase: str = "starting"
    mini_batch: int = -1
    since_ms: int = 0
    succeeded: int = 0
    failed: int = 0
    restarts: int = 0
    uses: list[Use] = field(default_factory=list)
    #: how much of a call of run() is done, of how much, and whether these are items, as in
    #: `WorkerProgress`
    progress: tuple[int, int, int] | None = None
    #: its calls in flight, and those that it holds and has not started; None if it makes one at a time
    calls: tuple[int, int] | None = None

    def enter(self, phase: str, mini_batch: int, since_ms: int) -> bool:
        """Set the present activity; return whether it shows that another call has started."""
        before = self.mini_batch, self.since_ms
        # The previous attempt has ended, although its event may wait for a part; or it is the next
        # call of an attempt that isolates items.
        is_new_call = mini_batch != -1 and (mini_batch, since_ms) != before
        if (phase, mini_batch, since_ms) != (self.phase, *before):
            self.progress = None  # its call has ended
        self.phase, self.mini_batch, self.since_ms = phase, mini_batch, since_ms
        return is_new_call

    def add_use(self, use: Use) -> None:
        """Add a sample of CPU, memory and GPU; the last `KEPT_USES` are kept."""
        self.uses.append(use)
        del self.uses[:-KEPT_USES]
