"""A node: one machine's share of a run. It starts workers, feeds them, and ends them after timeouts."""

from __future__ import annotations

import selectors
import time
from collections.abc import Callable, Sequence
from dataclasses import replace

from ...data.datasets.inputs import count_items
from ...worker.status_page import LOADING, RUNNING
from ..scheduling import signals
from ..scheduling.limits import NodeLimits
from ..scheduling.signals import Failure, ItemFailures, RangeResult, Signal, Success
from .feeder import Feeder
from .memory_kills import MemoryKills
from .metrics import Sampler
from .stager import StagerClient, StagingResult
from .worker_failure import attempt_failure, died_of_reading, failure_of, read_stack, worker_failure
from .worker_process import (
    CAN_WATCH_PIDS,
    INIT_FAILED,
    STOPPED,
    Assignment,
    Reply,
    WorkerProcess,
    WorkerSpec,
)
from .worker_starts import SPARE_AHEAD_S, RestartBackoff, WorkerStarts

_SAMPLE_S = 1.0
_FIRST_SAMPLE_S = 0.2
_POLL_S = 0.02
_FAILURE_S = 0.001
"""Seconds that the description of a failure takes at least."""


class Node:
    """The workers of one machine.

    The owner of its selector drives it: it calls `handle` for a ready descriptor, and `step` at the
    time that `next_step_at` returns. Both return signals for the scheduler.

    Parameters
    ----------
    name
        The node's name; its workers are ``<name>w0``, ``<name>w1`` and so on.
    slots
        Number of workers.
    spec
        How workers are started.
    limits
        The time limits.
    selector
        Reports ready descriptors; their data is a worker or the stager.
    keep_rows
        Stores the rows of finished mini-batches; returns their part and offset.
    origin
        ``time.monotonic()`` at the run's creation.
    stager
        Stages remote inputs. Default: all inputs are local.
    workers
        Workers that were started already, in the first slots. Default: none.
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
        stager: StagerClient | None = None,
        workers: Sequence[WorkerProcess] = (),
    ) -> None:
        self.name = name
        self._slots = slots
        self._spec = spec
        self._limits = limits
        self._selector = selector
        self._keep_rows = keep_rows
        self._stager = stager
        self._workers = list(workers)
        self._starts = WorkerStarts(name, selector, started=len(self._workers))
        self._restarts = RestartBackoff(slots)
        self.feeder = Feeder(self._workers)
        self._sampled_at = 0.0
        self._sampler = Sampler(spec.gpus, origin)
        self._kills = MemoryKills()
        self._is_stopping = False
        self._has_stopped = False

    # Commands

    def assign(
        self,
        first: int,
        attempt: int,
        lines: list[bytes],
        *,
        after_ms: float = 0.0,
        every_ms: float = 0.0,
    ) -> None:
        """Accept mini-batches from ``first`` on, by their plan lines.

        Parameters
        ----------
        first, attempt, lines
            The mini-batches, and the number of their attempt.
        after_ms, every_ms
            Milliseconds until the first of them may start, and between two of them; 0 for no limit.
        """
        if self._is_stopping:
            return
        assignments = [
            (number, Assignment(attempt, line)) for number, line in enumerate(lines, first)
        ]
        if every_ms:
            starts_at = time.monotonic() + after_ms / 1000
            for k, (_, assignment) in enumerate(assignments):
                assignment.start_at = starts_at + k * every_ms / 1000
                assignment.every_s = every_ms / 1000
        if self._stager is not None:
            stage = self._stager.stage
            assignments = [assignment for assignment in assignments if not stage(*assignment)]
        self.feeder.add(assignments)

    def pause(self) -> list[Signal]:
        """Accept no more mini-batches, and return the mini-batches not yet sent to a worker."""
        self.feeder.is_paused = True
        backlog = self.feeder.clear()
        if self._stager is not None:
            backlog += self._stager.take_pending()
        self._release(*(number for number, _ in backlog))
        emitted = self._offer()
        if backlog:
            returned = tuple((number, assignment.attempt) for number, assignment in backlog)
            emitted.append(signals.MiniBatchesReturned(self.name, returned))
        return emitted

    def unpause(self) -> list[Signal]:
        """Accept mini-batches again."""
        self.feeder.is_paused = False
        return self._offer()

    @property
    def is_idle(self) -> bool:
        """Whether the workers have nothing to do."""
        return self.feeder.is_empty and not any(worker.assigned for worker in self._workers)

    def stop(self, *, drain: bool) -> None:
        """End the workers: immediately, or after their assigned mini-batches (drain)."""
        self._is_stopping = True
        self._starts.close()
        self._sampler.close()
        self.feeder.clear()
        if self._stager is not None:
            self._stager.stop()
        for worker in self._workers:
            if worker.has_stopped:
                continue
            if not drain or not worker.is_ready:
                worker.kill(STOPPED)
            elif not worker.stop_requested_at:
                worker.send(["stop"])
            worker.stop_requested_at = worker.stop_requested_at or time.monotonic()

    # Events

    def next_step_at(self) -> float:
        """Return the ``time.monotonic()`` at which to call `step`."""
        if self._is_stopping and not self._workers:
            return 0.0 if not self._has_stopped or self._stager else float("inf")
        times = [self._sampled_at + _SAMPLE_S]
        if self._stager is not None:
            times.append(self._stager.deadline())
        if not CAN_WATCH_PIDS:
            times.append(time.monotonic() + _POLL_S)
        if len(self._workers) < self._slots and not self._is_stopping:
            times.append(self._restarts.due_at)
        for worker in self._workers:
            timeout_at = worker.timeout(self._limits).at
            times.append(timeout_at)
            if not self._is_stopping:  # `step` withdraws nothing then
                times.append(worker.withdraws_at())
            if not self._starts.wants_spare:
                times.append(timeout_at - SPARE_AHEAD_S)
        return min(times)

    def step(self) -> list[Signal]:
        """Reap workers that ended, enforce timeouts, start missing workers, and sample all of them."""
        now = time.monotonic()
        emitted: list[Signal] = []
        for worker in list(self._workers):
            timeout = worker.timeout(self._limits)
            self._starts.wants_spare |= now >= timeout.at - SPARE_AHEAD_S
            if worker.has_ended():
                emitted += self._reap(worker)
            elif now >= timeout.at:
                if timeout.reason and not worker.kill_reason:
                    worker.terminate(timeout)
                else:
                    worker.kill(timeout.reason)
        if self._stager is not None:
            if self._is_stopping and not self._workers:
                self._stager.close()
                self._stager = None
            else:
                self._stager.enforce_deadline()
        if not self._is_stopping:
            self.feeder.withdraw_late(now)
            if now >= self._restarts.due_at:
                emitted += self._start_missing()
            self._prepare_spare()
        return emitted + self._sample(now) + self._offer() + self._report_stopped()

    def handle(self, owner: WorkerProcess | StagerClient, fd: int) -> list[Signal]:
        """Serve a ready descriptor of a worker or of the stager."""
        if isinstance(owner, StagerClient):
            return self._on_staged(owner.handle(fd)) if owner is self._stager else []
        if owner not in self._workers:
            return []
        emitted: list[Signal] = []
        for reply in owner.handle(fd):
            emitted += self._handle_reply(owner, reply)
        if fd == owner.pidfd or owner.is_lost:
            emitted += self._reap(owner)
        return emitted + self._offer() + self._report_stopped()

    def _offer(self) -> list[Signal]:
        """Report the node's capacity in mini-batches, if it has changed."""
        if self._is_stopping:
            return []
        staged_ahead = self._stager.read_ahead(self._slots) if self._stager is not None else 0
        capacity = self.feeder.new_capacity(staged_ahead)
        return [] if capacity is None else [signals.NodeOffered(self.name, self._slots, capacity)]

    def _report_stopped(self) -> list[Signal]:
        if not self._is_stopping or self._has_stopped:
            return []
        if not all(worker.has_stopped for worker in self._workers):
            return []
        self._has_stopped = True
        return [signals.NodeStopped(self.name)]

    def _sample(self, now: float) -> list[Signal]:
        """Sample the workers once a second, and report the changes."""
        if now < self._sampled_at + _SAMPLE_S:
            return []
        self._sampled_at = now
        changed, progress = self._sampler.changes(self._workers)
        calls = self._sampler.calls(self._workers) if self._spec.concurrency > 1 else ()
        if not (changed or progress or calls):
            return []
        return [signals.WorkersSampled(self.name, changed, progress, calls)]

    # Replies of workers

    def _handle_reply(self, worker: WorkerProcess, reply: Reply) -> list[Signal]:
        match reply.message:
            case ["done", elapsed_us, _, rows, load_us]:
                worker.has_reported = True
                return [self._on_done(worker, elapsed_us, load_us, rows, reply.payload)]
            case ["answered", *_]:
                worker.has_reported = True
                return [self._on_answered(worker, reply)]
            case ["failed", mini_batch, attempt, items, duration_us, failure]:
                worker.has_reported = True
                worker.assigned.pop(mini_batch, None)
                self._release(mini_batch)
                seconds = max(duration_us / 1e6, _FAILURE_S)
                self.feeder.on_done(worker, seconds, seconds, 1)
                cause = attempt_failure(worker, failure_of(failure), mini_batch, self._kills)
                return [
                    signals.AttemptErrored(
                        self.name, worker.name, mini_batch, attempt, items, duration_us, cause
                    )
                ]
            case ["ready", init_ms, run_line]:
                worker.is_ready = True
                worker.can_withdraw = worker.page.allows_withdrawal
                worker.ends_calls |= bool(worker.page.read_beat()[1])
                # The first sample is early: the worker is not shown as waiting for a second.
                first_sample_at = time.monotonic() + _FIRST_SAMPLE_S
                self._sampled_at = min(self._sampled_at, first_sample_at - _SAMPLE_S)
                self.feeder.feed(worker)
                self._prepare_spare()
                return [signals.WorkerInitialized(self.name, worker.name, init_ms, run_line)]
            case ["spent", spends]:
                return [signals.CallsSpentReported(tuple(map(tuple, spends)))]
            case ["returned", bundle, mini_batches]:
                self._take_back(worker.take_returned(bundle, mini_batches))
                return []
            case ["warning", text]:
                return [signals.Warned(text)]
            case ["stopped", *failures]:
                worker.has_stopped = True
                return [_shutdown_warning(worker, failure) for failure in failures]
            case ["init_failed", failure]:
                worker.kill(INIT_FAILED)
                return [self._on_start_failed(worker.name, failure_of(failure))]
            case _:
                msg = f"worker {worker.name} sent an unknown message: {reply.message[:1]}"
                raise ValueError(msg)

    def _on_done(
        self,
        worker: WorkerProcess,
        elapsed_us: int,
        load_us: int,
        rows: list[list[int]],
        payload: bytes,
    ) -> Signal:
        for row in rows:
            worker.assigned.pop(row[0], None)
        mean_s = elapsed_us / len(rows) / 1e6
        if self._stager is not None:
            self._stager.release(*(row[0] for row in rows))
            self._stager.record_run_time(mean_s)
        longest_s = max(row[4] for row in rows) / 1e6
        load_s = load_us / len(rows) / 1e6
        self.feeder.on_done(worker, mean_s, longest_s, len(rows), load_s)
        part, offset = self._keep_rows(payload) if payload else (0, 0)
        successes = tuple(map(Success._make, rows))
        return signals.AttemptsSucceeded(self.name, worker.name, successes, part, offset)

    def _on_answered(self, worker: WorkerProcess, reply: Reply) -> Signal:
        _, mini_batch, _, attempt, items, duration_us, results, groups = reply.message
        worker.assigned.pop(mini_batch, None)
        run_s = duration_us / 1e6
        if self._stager is not None:
            self._stager.release(mini_batch)
            self._stager.record_run_time(run_s)
        self.feeder.on_done(worker, run_s, run_s, 1)
        part, offset = self._keep_rows(reply.payload) if reply.payload else (0, 0)
        failures = tuple(
            ItemFailures(tuple(map(tuple, ranges)), tuple(messages), failure_of(failure))
            for ranges, messages, failure in groups
        )
        return signals.ItemsAnswered(
            self.name,
            worker.name,
            mini_batch,
            attempt,
            items,
            duration_us,
            tuple(map(RangeResult._make, results)),
            failures,
            part,
            offset,
        )

    def _take_back(self, mini_batches: list[tuple[int, Assignment]]) -> None:
        if not self._is_stopping:
            self.feeder.requeue(mini_batches)
            self.feeder.feed_all()

    # Staging

    def _release(self, *mini_batches: int) -> None:
        if self._stager is not None:
            self._stager.release(*mini_batches)

    def _on_staged(self, result: StagingResult) -> list[Signal]:
        if self._is_stopping:
            return []
        self.feeder.add(result.staged)
        emitted = [*result.failures(self.name), *result.warnings]
        if self._stager is not None and self._stager.side_failure is not None:
            emitted.append(self._on_start_failed(self.name, self._stager.retry_side_inputs()))
        elif self._restarts.due_at == float("inf"):
            self._restarts.due_at = 0.0
        return emitted + self._offer()

    # Start and end of workers

    def _start_missing(self) -> list[Signal]:
        spec = self._stager.with_side_inputs(self._spec) if self._stager else self._spec
        if spec is None:  # the stager is still downloading the side inputs
            self._restarts.due_at = float("inf")
            return []
        emitted: list[Signal] = []
        while len(self._workers) < self._slots:
            slot = min(set(range(self._slots)) - {w.slot for w in self._workers})
            worker = self._starts.start(spec, slot, kills_before=self._kills.count())
            self._workers.append(worker)
            emitted.append(signals.WorkerSpawned(self.name, worker.name, worker.pid))
        return emitted

    def _prepare_spare(self) -> None:
        """Start a spare process, once all workers are ready: it does not delay theirs."""
        spec = self._stager.with_side_inputs(self._spec) if self._stager else self._spec
        are_ready = len(self._workers) == self._slots and all(w.is_ready for w in self._workers)
        if spec is not None and are_ready and not self._is_stopping:
            self._starts.prepare(spec)

    def _on_start_failed(self, worker: str, failure: Failure) -> Signal:
        self._restarts.record_end(had_result=False)
        return signals.WorkerNotReady(self.name, worker, failure)

    def _reap(self, worker: WorkerProcess) -> list[Signal]:
        """Reap a worker that has ended; its other mini-batches return to the backlog."""
        if worker.is_lost:
            return self._remove_lost(worker)
        emitted: list[Signal] = []
        for reply in worker.drain_pipes():
            emitted += self._handle_reply(worker, reply)
        mini_batch = self._blamed_of(worker)
        since, progress = worker.page.read()[2], worker.page.read_progress()
        blamed = worker.assigned.pop(mini_batch, None)
        if blamed is not None:
            self._release(mini_batch)
        duration_us = int((time.monotonic() - since) * 1e6)
        if not self._is_stopping:
            self.feeder.requeue(worker.assigned.items())
        worker.assigned.clear()
        self._workers.remove(worker)
        location, stack = read_stack(worker.read_dump(), self._spec.start["roots"])
        if stack and worker.kill_reason != STOPPED:
            worker.log_text(b"ERROR", mini_batch, stack.encode("utf-8", "backslashreplace"))
        status = worker.close()
        blamed_for = mini_batch if blamed else -1
        failure = worker_failure(worker, status, location, stack, blamed_for, kills=self._kills)
        if progress is not None:
            failure = replace(failure, suspect=progress[3])
        if blamed is not None and worker.kill_reason != STOPPED:
            attempt, items = blamed.attempt, count_items(blamed.line)
            emitted.append(
                signals.AttemptErrored(
                    self.name, worker.name, mini_batch, attempt, items, duration_us, failure
                )
            )
        if not self._is_stopping:
            emitted += self._replace(worker, status, failure)
        self.feeder.feed_all()
        return emitted

    def _blamed_of(self, worker: WorkerProcess) -> int:
        """Return the mini-batch whose attempt has ended with its worker, or -1."""
        phase, mini_batch, _ = worker.page.read()
        if worker.concurrency > 1 and worker.page.read_calls()[0]:
            return self._blamed_call(worker, mini_batch)
        if phase in {LOADING, RUNNING} and worker.concurrency == 1:
            ahead = died_of_reading(worker)
            if ahead in (-1, mini_batch):
                return mini_batch
            # What was read ahead may have been withdrawn, and be held by another worker.
            suspects = [k for k in (mini_batch, ahead) if k in worker.assigned]
            self.feeder.suspect((k, worker.assigned.pop(k)) for k in suspects)
            return -1
        if worker.assigned and not (worker.has_reported or worker.kill_reason):
            # It never reported anything: its first mini-batch fails, or this would repeat forever.
            return next(iter(worker.assigned))
        return -1

    def _blamed_call(self, worker: WorkerProcess, oldest: int) -> int:
        """Return the call that has ended its worker, or -1 if it is not known: the others are suspects.

        Calls in flight that are neither return to the backlog. A worker starts calls in the order in
        which it gets them.
        """
        in_flight = list(worker.assigned)[: worker.page.read_calls()[0]]
        current = worker.page.read_beat()[0]
        is_late = worker.kill_reason.startswith("run() took longer")
        blamed = oldest if is_late else current
        if blamed not in worker.assigned and len(in_flight) == 1:
            blamed = in_flight[0]
        if blamed in worker.assigned or worker.kill_reason == STOPPED:
            return blamed
        self.feeder.suspect((k, worker.assigned.pop(k)) for k in in_flight)
        return -1

    def _replace(self, worker: WorkerProcess, status: int, failure: Failure) -> list[Signal]:
        """Report the end of a worker, and start another one, unless that is delayed."""
        emitted: list[Signal] = []
        if worker.is_ready:
            self._restarts.record_end(had_result=worker.has_reported)
            self._starts.wants_spare = True
            reason = worker.end_reason(status)
            emitted.append(signals.WorkerEnded(self.name, worker.name, reason))
        elif worker.kill_reason != INIT_FAILED:
            emitted.append(self._on_start_failed(worker.name, failure))
        if time.monotonic() >= self._restarts.due_at:
            emitted += self._start_missing()
        return emitted

    def _remove_lost(self, worker: WorkerProcess) -> list[Signal]:
        """Replace a worker that the fork server has not forked."""
        self._workers.remove(worker)
        worker.close()
        return [] if self._is_stopping else self._start_missing()


def _shutdown_warning(worker: WorkerProcess, failure: dict[str, str]) -> Signal:
    text = f"shutdown() of {worker.name} failed: {failure['group']}: {failure['message']}"
    return signals.Warned(text.removesuffix(": "))
