"""A node's side of its stager: the process that downloads remote files ahead of the workers.

The other side is ``data/staging/stager_process.py``.
"""

from __future__ import annotations

import selectors
import time
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from math import ceil
from typing import Any

from ...data.datasets.inputs import count_items
from ...runs.run_record import RunRecord
from ...worker.plan_line import PlanLine
from ..child_process import LOST, ChildEnd, ChildProcess
from ..scheduling.signals import AttemptErrored, Failure, Signal, Warned
from .worker_failure import failure_of
from .worker_process import Assignment, WorkerSpec

READ_AHEAD_S = 2.0
"""Seconds of work that are staged ahead of the workers, whether mini-batches are short or long."""

MAX_READ_AHEAD = 1024
"""Upper bound of mini-batches staged ahead."""

_SILENCE_S = 60.0
"""The stager reports once a second; after this long without a report it is replaced."""

_MAX_DEATHS = 3
_PATIENCE_S = 1.0


@dataclass(frozen=True, slots=True)
class StagingSpec:
    """Settings of a node's stager.

    Parameters
    ----------
    node
        The name of the node.
    start
        Its first message, with the keys ``START_KEYS`` of the stager process.
    remote_inputs
        The numbers of the inputs in stores.
    record
        The run. Its side inputs in stores are downloaded before workers start.
    cwd
        Its working directory. Python searches it for modules, so it must not be a folder of the
        user.
    """

    node: str
    start: Mapping[str, Any]
    remote_inputs: frozenset[int]
    record: RunRecord
    cwd: str

    @property
    def side_inputs(self) -> dict[int, Mapping[str, Any]]:
        """The side inputs in stores, by number."""
        return {
            k: spec for k, spec in enumerate(self.record.inputs.side_inputs) if spec.get("storage")
        }


def staging_spec(record: RunRecord, node: str, environ: Mapping[str, str]) -> StagingSpec | None:
    """Return the settings of a node's stager; None if all inputs are local."""
    storages = [spec.get("storage") for spec in record.inputs.datasets]
    if not any(storages) and not any(spec.get("storage") for spec in record.inputs.side_inputs):
        return None
    from ...data.staging.cache import open_cache

    cache = open_cache(environ)
    start = {
        "cache": str(cache.folder),
        "limit_bytes": cache.limit_bytes,
        "view": f"{record.run_id}-{node}",
        "run": record.run_id,
        "storages": storages,
        "load_s": record.limits.task_overhead_timeout,
    }
    remote = frozenset(number for number, storage in enumerate(storages) if storage)
    return StagingSpec(node, start, remote, record, str(cache.folder))


@dataclass(slots=True)
class StagingResult:
    """Mini-batches that are staged or have failed, and warnings about the stager."""

    staged: list[tuple[int, Assignment]] = field(default_factory=list)
    failed: list[tuple[int, Assignment, float, Failure]] = field(default_factory=list)
    warnings: list[Signal] = field(default_factory=list)

    def failures(self, node: str) -> list[Signal]:
        """Return the failed attempts; they have no worker."""
        return [
            AttemptErrored(
                node, "", number, task.attempt, count_items(task.line), int(seconds * 1e6), failure
            )
            for number, task, seconds, failure in self.failed
        ]


def read_ahead(workers: int, fetch_s: float, mean_run_s: float) -> int:
    """Return how many mini-batches to stage ahead of the workers.

    The number covers the work of `READ_AHEAD_S` seconds and of the time that one download takes,
    and is at least one for each worker. It is a power of two, so that small changes of the times do
    not change it.

    Parameters
    ----------
    workers
        Number of workers.
    fetch_s, mean_run_s
        Seconds to download a mini-batch, and to run it; 0 if unknown.
    """
    if not mean_run_s:
        return 2 * workers
    needed = max(workers, ceil(workers * (fetch_s + READ_AHEAD_S) / mean_run_s))
    power_of_two: int = 1 << (needed - 1).bit_length()
    return min(power_of_two, MAX_READ_AHEAD)


def _stager_lost(end: ChildEnd) -> Failure:
    """Return the failure of mini-batches whose stager has died `_MAX_DEATHS` times."""
    name = "StagerLost" if end.error == LOST else end.error
    message = (
        f"the process that stages the inputs ended {_MAX_DEATHS} times in a row, most recently: "
        f"{end.reason}"
    )
    return Failure("worker_lost", name, message, f"{name} while staging", end.traceback)


class StagerClient:
    """Sends plan lines to the stager, and receives them with local paths.

    Parameters
    ----------
    spec
        Its settings.
    environ
        Its environment variables.
    selector
        Reports ready descriptors, with this object as their data, for `handle`.
    """

    def __init__(
        self, spec: StagingSpec, environ: Mapping[str, str], selector: selectors.BaseSelector
    ) -> None:
        self.node = spec.node
        self._spec = spec
        self._environ = dict(environ)
        self._selector = selector
        self._pending: dict[int, tuple[Assignment, PlanLine]] = {}
        self._held: set[int] = set()
        self._side_paths: dict[int, str] = {}
        self.side_failure: Failure | None = None
        self._deaths = 0
        self._has_warned = False
        self._fetch_s = 0.05
        self._mean_run_s = 0.0
        self._spawn()

    def _spawn(self) -> None:
        module = "parallelrun_jupyter.data.staging.stager_process"
        self._child = ChildProcess.start(module, self._spec.cwd, self._environ)
        self._child.listen(self._selector, self)
        self._child.deadline = time.monotonic() + _SILENCE_S
        # A replacement uses the files of its predecessor; the first stager of a driver deletes them.
        self._child.send(["start", {**self._spec.start, "keeps": self._deaths > 0}])
        self._request_side_inputs()

    def _request_side_inputs(self) -> None:
        for number, side in self._spec.side_inputs.items():
            if number not in self._side_paths:
                self._child.send(["side", -1 - number, side])

    # For the node

    def stage(self, mini_batch: int, assignment: Assignment) -> bool:
        """Stage a mini-batch if its files are in a store; return whether they are."""
        line = PlanLine.decode(assignment.line)
        if line.input_number not in self._spec.remote_inputs:
            return False
        self._pending[mini_batch] = (assignment, line)
        self._held.add(mini_batch)
        self._request(mini_batch, line)
        return True

    def _request(self, mini_batch: int, line: PlanLine) -> None:
        files = [[line.input_number, *file] for file in line.files]
        self._child.send(["stage", mini_batch, files])

    def release(self, *mini_batches: int) -> None:
        """Allow the stager to delete the files of mini-batches."""
        released = [mini_batch for mini_batch in mini_batches if mini_batch in self._held]
        if released:
            self._held.difference_update(released)
            self._child.send(["release", released])

    def stop(self) -> None:
        """Cancel pending mini-batches; files that are staged stay for the workers that read them."""
        self.release(*(mini_batch for mini_batch, _ in self.take_pending()))

    def take_pending(self) -> list[tuple[int, Assignment]]:
        """Remove and return the mini-batches that are not staged yet; the caller releases them."""
        pending = [(number, assignment) for number, (assignment, _) in self._pending.items()]
        self._pending.clear()
        return pending

    def record_run_time(self, run_s: float) -> None:
        """Record how many seconds a mini-batch occupied a worker."""
        self._mean_run_s += (run_s - self._mean_run_s) / (4 if self._mean_run_s else 1)

    def read_ahead(self, workers: int) -> int:
        """Return how many mini-batches to stage in addition to those that the workers hold."""
        return read_ahead(workers, self._fetch_s, self._mean_run_s)

    def with_side_inputs(self, spec: WorkerSpec) -> WorkerSpec | None:
        """Return how workers are started, with the paths of side inputs; None until these are staged."""
        if len(self._side_paths) < len(self._spec.side_inputs):
            return None
        record = self._spec.record
        arguments = record.script.argv(self._side_paths, spec.start["output_dir"])
        variables = record.inputs.side_variables(self._side_paths)
        start = {**spec.start, "argv": [spec.start["argv"][0], *arguments]}
        return replace(spec, start=start, environ={**spec.environ, **variables})

    def retry_side_inputs(self) -> Failure:
        """Return why side inputs could not be staged, and request them again."""
        failure = self.side_failure
        assert failure is not None
        self.side_failure = None
        self._request_side_inputs()
        return failure

    # From the stager

    def handle(self, fd: int) -> StagingResult:
        """Serve a ready descriptor."""
        replies = self._child.handle(fd)
        if replies is None:
            return self._replace()
        self._child.deadline = time.monotonic() + _SILENCE_S
        result = StagingResult()
        for reply in replies:
            self._handle_reply(reply, result)
        return result

    def _handle_reply(self, reply: list[Any], result: StagingResult) -> None:
        match reply:
            case ["staged", mini_batch, paths, seconds] if mini_batch in self._pending:
                assignment, line = self._pending.pop(mini_batch)
                line.paths = paths
                result.staged.append((mini_batch, Assignment(assignment.attempt, line.encode())))
                self._fetch_s += (seconds - self._fetch_s) / 8
                self._deaths = 0
            case ["failed", mini_batch, failure, seconds] if mini_batch in self._pending:
                assignment, _ = self._pending.pop(mini_batch)
                self._held.discard(mini_batch)
                result.failed.append((mini_batch, assignment, seconds, failure_of(failure)))
                self._deaths = 0
            case ["failed", key, failure, _] if key < 0:
                self.side_failure = failure_of(failure)
            case ["side", key, path]:
                self._side_paths[-1 - key] = path

    def deadline(self) -> float:
        """Return the ``time.monotonic()`` at which a silent stager is killed."""
        return self._child.deadline

    def enforce_deadline(self) -> None:
        """Kill a stager that hangs; `handle` then replaces it."""
        self._child.enforce_deadline()

    def _replace(self) -> StagingResult:
        """Replace a stager that has died; request its mini-batches again, or finally fail them."""
        end = self._child.died()
        if self._child.is_overdue:
            end = ChildEnd(LOST, f"it did not report for {_SILENCE_S:g} s", end.traceback)
        self._deaths += 1
        result = StagingResult()
        if self._deaths >= _MAX_DEATHS:
            failure = _stager_lost(end)
            for mini_batch, (assignment, _) in self._pending.items():
                result.failed.append((mini_batch, assignment, 0.0, failure))
                self._held.discard(mini_batch)
            self._pending.clear()
            if len(self._side_paths) < len(self._spec.side_inputs):
                self.side_failure = failure
        elif not self._has_warned:
            self._has_warned = True
            text = f"the process that stages the inputs was restarted: {end.sentence}"
            result.warnings.append(Warned(text, end.traceback))
        self._spawn()
        for mini_batch, (_, line) in self._pending.items():
            self._request(mini_batch, line)
        return result

    def close(self) -> None:
        """End the stager, which deletes the run's view of the cache."""
        self._pending.clear()
        self._child.unlisten()
        self._child.close_commands()
        self._child.end(patience_s=_PATIENCE_S)  # the next stager deletes the rest
