"""The nodes and workers of the current driver, folded from the journal's events about them."""

from __future__ import annotations

from dataclasses import dataclass, field

from .events import NodeSampled, WorkerStarted
from .worker_state import WorkerState


@dataclass(slots=True)
class Crew:
    """The nodes that joined and their workers, as last reported."""

    workers: dict[str, WorkerState] = field(default_factory=dict)
    workers_lost: int = 0
    #: locations of the nodes, by name
    nodes: dict[str, str] = field(default_factory=dict)
    nodes_lost: int = 0
    #: restart counts of ended workers that are not replaced yet, by node
    vacant: dict[str, list[int]] = field(default_factory=dict)

    def start_over(self) -> None:
        """Forget the nodes and workers of an earlier driver; the counts of lost ones stay."""
        for gone in (self.workers, self.nodes, self.vacant):
            gone.clear()

    def start_worker(self, event: WorkerStarted) -> None:
        """Add a worker, which may replace one that has ended."""
        if event.worker in self.workers:
            self.workers[event.worker].pid = event.pid  # requested earlier, running now
            return
        before = self.vacant.get(event.node)
        restarts = before.pop(0) + 1 if before else 0
        self.workers[event.worker] = WorkerState(
            event.worker, event.node, event.pid, since_ms=event.at_ms, restarts=restarts
        )

    def remove_worker(self, name: str) -> None:
        """Remove a worker; the next one on its node replaces it."""
        worker = self.workers.pop(name, None)
        if worker is not None:
            self.vacant.setdefault(worker.node, []).append(worker.restarts)

    def remove_node(self, node: str) -> None:
        """Remove a lost node and its workers."""
        self.nodes_lost += 1
        self.nodes.pop(node, None)
        self.vacant.pop(node, None)
        self.workers = {k: worker for k, worker in self.workers.items() if worker.node != node}

    def sample(self, event: NodeSampled) -> bool:
        """Note what workers do; return whether one has begun a call, or got on with one."""
        has_progress = False
        for name, phase, mini_batch, since_ms, *used in event.workers:
            worker = self.workers.get(name)
            if worker is not None:
                has_progress |= worker.enter(phase, mini_batch, since_ms)
                if used:
                    cpu, memory, gpu, gpu_memory = used
                    worker.add_use((event.at_ms, cpu, memory, gpu, gpu_memory))
        for name, done, of, counts_items in event.progress:
            worker = self.workers.get(name)
            if worker is not None:
                worker.progress = (done, of, counts_items)
                has_progress = True
        for name, in_flight, waiting in event.calls:
            worker = self.workers.get(name)
            if worker is not None:
                worker.calls = (in_flight, waiting)
        return has_progress

    def end(self) -> None:
        """Mark all workers as ended, since the run has."""
        for worker in self.workers.values():
            worker.phase, worker.mini_batch = "ended", -1
