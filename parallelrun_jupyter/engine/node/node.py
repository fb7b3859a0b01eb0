"""A node: one machine's share of a run. It owns the workers, feeds them, and ends them on time."""

from __future__ import annotations

import selectors
import time
from collections import deque
from collections.abc import Callable
from math import ceil

from ...data.datasets.inputs import count_items
from ...worker.status_page import LOADING, RUNNING
from ..scheduling import signals
from ..scheduling.limits import NodeLimits
from ..scheduling.signals import Failure, Signal, Success
from .crash_stack import read_stack
from .prefetch import latency_allowance, prefetch_depth
from .restart_backoff import RestartBackoff
from .sampling import Sampler
from .stager import Staged, StagerClient
from .timeouts import deadline_of
from .worker_process import CAN_WATCH_PIDS, Given, Reply, WorkerProcess, WorkerSpec

SAMPLE_S = 1.0
_FIRST_LOOK_S = 0.2
_LOOK_S = 0.02
_SMOOTHING = 0.2


class Node:
    """The workers of one machine.

    It is driven by whoever owns its selector: ``handle`` when a descriptor is ready, ``step`` at
    the time that ``next_step_at`` says. Both return signals for the scheduler.

    Parameters
    ----------
    name
        The node's name; its workers are ``<name>w0``, ``<name>w1`` and so on.
    slots
        Number of workers.
    spec
        What a worker is started with.
    limits
        The time limits.
    selector
        Where the workers' descriptors are registered, with the worker as their data.
    keep_rows
        Stores the rows of finished mini-batches; returns their part and offset.
    origin
        ``time.monotonic()`` at the run's creation.
    staging
        What brings remote inputs here; None where there are none.
    """

    def __init__(
        self,
        name: str,
        slots: int,
        spec: WorkerSpec,
        limits: NodeLimits,
        *,
        selector: selectors.BaseSelector,
        keep_rows: Callable[[bytes], tuple[int, int]],
        origin: float,
        staging: StagerClient | None = None,
    ) -> None:
        self.name = name
        self._staging = staging
        self._slots = slots
        self._spec = spec
        self._limits = limits
        self._selector = selector
        self._keep_rows = keep_rows
        self._workers: list[WorkerProcess] = []
        self._backlog: deque[tuple[int, Given]] = deque()
        self._starts = RestartBackoff(name, slots)
        self._offered = -1
        self._sampled_at = 0.0
        self._sampler = Sampler(spec.gpus, origin)
        self._paused = False
        self._stopping = False
        self._stopped = False
        #: how long a mini-batch takes here, of late
        self.each_s = 0.0
        #: seconds until the driver has heard of something and its answer is here
        self.latency_s = 0.0

    # What it is told

    def assign(self, first: int, attempt: int, lines: list[bytes]) -> None:
        """Take mini-batches from ``first`` on, a plan line each."""
        if self._stopping:
            return
        staging = self._staging
        for index, line in enumerate(lines, first):
            given = Given(attempt, line)
            if staging is None or not staging.takes(index, given):
                self._backlog.append((index, given))
        self._feed()

    def pause(self) -> list[Signal]:
        """Take nothing more, and give back what no worker has yet: the machine is wanted."""
        self._paused = True
        held = [*self._backlog, *(self._staging.give_back() if self._staging else ())]
        returned = tuple((index, given.attempt) for index, given in held)
        self._release(*(index for index, _ in held))
        self._backlog.clear()
        back: list[Signal] = [signals.MiniBatchesReturned(self.name, returned)] if returned else []
        return self._offer() + back

    def unpause(self) -> list[Signal]:
        """Take mini-batches again."""
        self._paused = False
        return self._offer()

    @property
    def is_idle(self) -> bool:
        """Whether no worker has anything to do."""
        return not self._backlog and not any(worker.given for worker in self._workers)

    def stop(self, *, drain: bool) -> None:
        """End the workers: after the mini-batches they have (drain), or at once."""
        self._stopping = True
        self._sampler.close()
        self._backlog.clear()
        if self._staging is not None:
            self._staging.stop()
        for worker in self._workers:
            if worker.has_stopped:
                continue
            if not drain or not worker.is_ready:
                worker.kill("stopped")
            elif not worker.stop_asked_at:
                worker.send(["stop"])
            worker.stop_asked_at = worker.stop_asked_at or time.monotonic()

    # Its course

    def next_step_at(self) -> float:
        """Return the ``time.monotonic()`` by which ``step`` is wanted."""
        if self._stopping and not self._workers:
            return 0.0 if not self._stopped or self._staging else float("inf")
        times = [self._sampled_at + SAMPLE_S]
        if self._staging is not None:
            times.append(self._staging.deadline())
        if not CAN_WATCH_PIDS:
            times.append(time.monotonic() + _LOOK_S)
        if len(self._workers) < self._slots and not self._stopping:
            times.append(self._starts.due_at)
        times += [deadline_of(worker, self._limits)[0] for worker in self._workers]
        return min(times)

    def step(self) -> list[Signal]:
        """Start missing workers, end those that are over their time, look at all of them."""
        now = time.monotonic()
        found: list[Signal] = []
        for worker in list(self._workers):
            deadline, reason = deadline_of(worker, self._limits)
            if worker.has_ended():
                found += self._reap(worker)
            elif now >= deadline:
                if reason and not worker.kill_reason:
                    worker.terminate(reason, now)
                else:
                    worker.kill(reason)
        if self._staging is not None and not self._staging.step(
            now, is_over=self._stopping and not self._workers
        ):
            self._staging = None
        if not self._stopping and now >= self._starts.due_at:
            found += self._spawn_missing()
        return found + self._sample(now) + self._offer() + self._say_stopped()

    def handle(self, worker: WorkerProcess | StagerClient, fd: int) -> list[Signal]:
        """Deal with a ready descriptor of one of the workers, or of the stager."""
        if isinstance(worker, StagerClient):
            return self._take_staged(worker.handle(fd)) if worker is self._staging else []
        if worker not in self._workers:
            return []
        found: list[Signal] = []
        for reply in worker.handle(fd):
            found += self._take(worker, reply)
        if fd == worker.pidfd or worker.has_vanished:
            found += self._reap(worker)
        return found + self._offer() + self._say_stopped()

    def _say_stopped(self) -> list[Signal]:
        if not self._stopping or self._stopped:
            return []
        if not all(worker.has_stopped for worker in self._workers):
            return []
        self._stopped = True
        return [signals.NodeStopped(self.name)]

    def _spawn_missing(self) -> list[Signal]:
        found: list[Signal] = []
        spec = self._staging.fill(self._spec) if self._staging else self._spec
        if spec is None:  # side inputs are on their way
            self._starts.due_at = float("inf")
            return []
        while len(self._workers) < self._slots:
            name = self._starts.next_name()
            slot = min(set(range(self._slots)) - {w.slot for w in self._workers})
            worker = WorkerProcess(name, spec, self._selector, slot)
            self._workers.append(worker)
            found.append(signals.WorkerSpawned(self.name, name, worker.pid))
        return found

    # What workers say

    def _take(self, worker: WorkerProcess, reply: Reply) -> list[Signal]:
        worker.has_reported = worker.has_reported or reply.message[0] in {"done", "failed"}
        match reply.message:
            case ["done", elapsed_us, _, rows]:
                return [self._done(worker, elapsed_us, rows, reply.payload)]
            case ["failed", mini_batch, attempt, items, duration_us, failure]:
                worker.given.pop(mini_batch, None)
                self._release(mini_batch)
                worker.depth = 1
                self._feed_one(worker)
                return [
                    signals.AttemptErrored(
                        self.name,
                        worker.name,
                        mini_batch,
                        attempt,
                        items,
                        duration_us,
                        worker.blamed_for(Failure(**failure), mini_batch),
                    )
                ]
            case ["ready", init_ms, run_line]:
                worker.is_ready = True
                # Soon after it has begun, it is seen to: not "waiting" for the rest of the second.
                self._sampled_at = min(
                    self._sampled_at, time.monotonic() - SAMPLE_S + _FIRST_LOOK_S
                )
                self._feed_one(worker)
                return [signals.WorkerInitialized(self.name, worker.name, init_ms, run_line)]
            case ["stopped", *failures]:
                worker.has_stopped = True
                return [self._notice_shutdown(worker, failure) for failure in failures]
            case ["init_failed", failure]:
                worker.kill("init failed")
                return [self._not_ready(worker.name, Failure(**failure))]
            case _:
                msg = f"worker {worker.name} sent an unknown message: {reply.message[:1]}"
                raise ValueError(msg)

    def _notice_shutdown(self, worker: WorkerProcess, failure: dict[str, str]) -> Signal:
        text = f"shutdown() of {worker.name} failed: {failure['group']}: {failure['message']}"
        return signals.Warned(text.removesuffix(": "))

    def _done(
        self, worker: WorkerProcess, elapsed_us: int, rows: list[list[int]], payload: bytes
    ) -> Signal:
        for row in rows:
            worker.given.pop(row[0], None)
        self._release(*(row[0] for row in rows))
        longest_us = max(row[4] for row in rows)
        each_s = max(elapsed_us / len(rows), longest_us / 2, 1) / 1e6
        if self._staging is not None:
            self._staging.took(elapsed_us / len(rows) / 1e6)
        self.each_s += (each_s - self.each_s) * (_SMOOTHING if self.each_s else 1)
        worker.depth = prefetch_depth(worker.depth, each_s, len(rows))
        self._feed_one(worker)
        part, offset = self._keep_rows(payload) if payload else (0, 0)
        successes = tuple(map(Success._make, rows))
        return signals.AttemptsSucceeded(self.name, worker.name, successes, part, offset)

    def _not_ready(self, worker: str, failure: Failure) -> Signal:
        self._starts.put_off(barren=True)
        return signals.WorkerNotReady(self.name, worker, failure)

    # Feeding

    def _offer(self) -> list[Signal]:
        """Tell how many mini-batches the node can hold, when that has changed."""
        if self._stopping:
            return []
        # Twice what the workers hold: one share in their pipes, one here to refill them from.
        capacity = sum(w.depth if w.depth == 1 else 2 * w.depth for w in self._ready())
        if self._staging is not None:
            capacity += self._staging.ahead(self._slots)
        capacity += latency_allowance(len(self._ready()), self.each_s, self.latency_s)
        capacity = 0 if self._paused else capacity
        if capacity == self._offered:
            return []
        self._offered = capacity
        return [signals.NodeOffered(self.name, self._slots, capacity)]

    def _ready(self) -> list[WorkerProcess]:
        return [w for w in self._workers if w.is_ready and not w.kill_reason]

    def _feed(self) -> None:
        for worker in self._ready():
            if not self._backlog:
                return
            self._feed_one(worker)

    def _feed_one(self, worker: WorkerProcess) -> None:
        """Fill a worker up, once it has worked off half of what it may hold."""
        held = len(worker.given)
        if not self._backlog or worker.kill_reason or held > worker.depth // 2:
            return
        # Near the end nobody takes more than a share: all workers finish together.
        share = ceil(len(self._backlog) / max(1, len(self._ready())))
        count = min(worker.depth - held, share)
        if count > 0:
            worker.give([self._backlog.popleft() for _ in range(count)])

    # Staging

    def _release(self, *mini_batches: int) -> None:
        if self._staging is not None:
            self._staging.release(*mini_batches)

    def _take_staged(self, staged: Staged) -> list[Signal]:
        """Take what has been brought here, and what could not be."""
        if self._stopping:
            return []
        self._backlog.extend(staged.ready)
        self._feed()
        found = [*staged.failures(self.name), *staged.noticed]
        if self._staging is not None and self._staging.side_failure is not None:
            found.append(self._not_ready(self.name, self._staging.take_side_failure()))
        elif self._starts.due_at == float("inf"):
            self._starts.due_at = 0.0
        return found + self._offer()

    # Their end

    def _reap(self, worker: WorkerProcess) -> list[Signal]:
        """Take leave of a process that has ended: nothing it was given gets lost."""
        if worker.has_vanished:
            return self._forget(worker)
        found: list[Signal] = []
        for reply in worker.drain_pipes():
            found += self._take(worker, reply)
        phase, mini_batch, since = worker.page.read()
        is_busy = phase in {LOADING, RUNNING}
        if not is_busy and worker.given and not (worker.has_reported or worker.kill_reason):
            # It has never reported anything: somebody has to pay, or this would go on for ever.
            is_busy, mini_batch = True, next(iter(worker.given))
        blamed = worker.given.pop(mini_batch, None) if is_busy else None
        self._release(*([mini_batch] if blamed else []))
        duration_us = int((time.monotonic() - since) * 1e6)
        if not self._stopping:
            self._backlog.extendleft(reversed(worker.given.items()))
        worker.given.clear()
        self._workers.remove(worker)
        where, stack = read_stack(worker.read_dump(), self._spec.start["roots"])
        if stack and worker.kill_reason != "stopped":
            worker.log_text(b"ERROR", mini_batch, stack.encode("utf-8", "backslashreplace"))
        ending = worker.close()
        failure = worker.failure(ending, where, stack, mini_batch if blamed else -1)
        if blamed is not None and worker.kill_reason != "stopped":
            found.append(
                signals.AttemptErrored(
                    self.name,
                    worker.name,
                    mini_batch,
                    blamed.attempt,
                    count_items(blamed.line),
                    duration_us,
                    failure,
                )
            )
        if not self._stopping:
            found += self._replace(worker, ending, failure)
        self._feed()
        return found

    def _replace(self, worker: WorkerProcess, ending: str, failure: Failure) -> list[Signal]:
        found: list[Signal] = []
        if worker.is_ready:
            self._starts.put_off(barren=not worker.has_reported)
            reason = worker.kill_reason or ending
            found.append(signals.WorkerEnded(self.name, worker.name, reason))
        elif worker.kill_reason != "init failed":
            found.append(self._not_ready(worker.name, failure))
        return found + (self._spawn_missing() if time.monotonic() >= self._starts.due_at else [])

    def _forget(self, worker: WorkerProcess) -> list[Signal]:
        """Take leave of a worker that never was; another one is started in its place."""
        self._workers.remove(worker)
        worker.close()
        return [] if self._stopping else self._spawn_missing()

    def _sample(self, now: float) -> list[Signal]:
        """Look at what the workers are doing, once a second, and tell where it has changed."""
        if now < self._sampled_at + SAMPLE_S:
            return []
        self._sampled_at = now
        changed = self._sampler.changes(self._workers)
        return [signals.WorkersSampled(self.name, changed)] if changed else []
