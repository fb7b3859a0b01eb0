"""A node's staging: the process that brings remote files here, and how far ahead it goes."""

from __future__ import annotations

import json
import os
import selectors
import time
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from math import ceil
from typing import Any

from ...data.datasets.inputs import count_items
from ...runs.run_record import RunRecord
from ...worker.plan_line import PlanLine
from ..child_process import LOST, ChildProcess, HelperEnd
from ..scheduling.signals import AttemptErrored, Failure, Signal, Warned
from .worker_process import Given, WorkerSpec

READ_AHEAD_S = 2.0
"""Workers find about this much work staged, however short or long mini-batches are."""

MOST_AHEAD = 1024
_SILENT_S = 60.0
"""The stager speaks once a second; one that is silent for so long hangs, and is replaced."""

_MOST_DEATHS = 3
_ENDS_S = 1.0


@dataclass(frozen=True, slots=True)
class StagingSpec:
    """What a node's stager is started with.

    Parameters
    ----------
    start
        ``data.stager.START_KEYS``.
    remote
        The numbers of the inputs that are in stores.
    record
        The run; its side inputs that are in stores are brought here before workers start.
    cwd
        Where it works: no place of the user's, since Python looks for modules there.
    """

    start: Mapping[str, Any]
    remote: frozenset[int]
    record: RunRecord
    cwd: str

    @property
    def sides(self) -> dict[int, Mapping[str, Any]]:
        """The side inputs in stores, by number."""
        return {k: spec for k, spec in enumerate(self.record.side_inputs) if spec.get("storage")}


@dataclass(slots=True)
class Staged:
    """What has come of the stager's replies."""

    ready: list[tuple[int, Given]] = field(default_factory=list)
    failed: list[tuple[int, Given, float, Failure]] = field(default_factory=list)
    noticed: list[Signal] = field(default_factory=list)

    def failures(self, node: str) -> list[Signal]:
        """Return the failed attempts, which no worker has seen."""
        return [
            AttemptErrored(
                node,
                "",
                number,
                given.attempt,
                count_items(given.line),
                int(seconds * 1e6),
                failure,
            )
            for number, given, seconds, failure in self.failed
        ]


def staging_spec(record: RunRecord, node: str, environ: Mapping[str, str]) -> StagingSpec | None:
    """Return what a node of a run needs for staging; None where everything is local."""
    storages = [spec.get("storage") for spec in record.inputs]
    if not any(storages) and not any(spec.get("storage") for spec in record.side_inputs):
        return None
    from ...data.staging.cache import open_cache

    cache = open_cache(environ)
    start = {
        "cache": str(cache.folder),
        "limit_bytes": cache.limit_bytes,
        "view": f"{record.run_id}-{node}",
        "run": record.run_id,
        "storages": storages,
        "load_s": record.task_overhead_timeout_s,
    }
    remote = frozenset(number for number, storage in enumerate(storages) if storage)
    return StagingSpec(start, remote, record, str(cache.folder))


def read_ahead(workers: int, fetch_s: float, each_s: float) -> int:
    """Return how many mini-batches to fetch ahead of the workers: by time, within bounds.

    As many as they get through while one is fetched, and in `READ_AHEAD_S` more; at least one for
    each worker. In powers of two, so that the scheduler is not told of every small change.

    Parameters
    ----------
    workers
        Their number.
    fetch_s, each_s
        Seconds for a mini-batch to come here, and for a worker to run it; 0 where nothing is known.
    """
    if not each_s:
        return 2 * workers
    wanted = max(workers, ceil(workers * (fetch_s + READ_AHEAD_S) / each_s))
    steps: int = 1 << (wanted - 1).bit_length()
    return min(steps, MOST_AHEAD)


def _stager_lost(end: HelperEnd) -> Failure:
    """Return the failure of what could not be staged, since the stager ended again and again."""
    name = "StagerLost" if end.error == LOST else end.error
    message = (
        f"the process that stages the inputs ended {_MOST_DEATHS} times in a row, at last: "
        f"{end.reason}"
    )
    return Failure("worker_lost", name, message, f"{name} while staging", end.traceback)


class StagerClient:
    """The stager of a node: fed with plan lines, it gives them back with local paths.

    Like a worker it is talked to through pipes that never block, by the node's selector.
    """

    def __init__(
        self, spec: StagingSpec, environ: Mapping[str, str], selector: selectors.BaseSelector
    ) -> None:
        self._spec = spec
        self._environ = dict(environ)
        self._selector = selector
        self._waiting: dict[int, tuple[Given, PlanLine]] = {}
        self._held: set[int] = set()
        self._sides: dict[int, str] = {}
        self.side_failure: Failure | None = None
        self._deaths = 0
        self._is_silent = False
        self._has_noticed = False
        self._files = 1.0
        self._fetch_s = 0.05
        self._each_s = 0.0
        self._spawn()

    def _spawn(self) -> None:
        self._outbox = bytearray()
        self._writing = False
        self._helper = ChildProcess(
            "parallelrun_jupyter.data.staging.stager_process", self._spec.cwd, self._environ
        )
        self._commands, self._replies = self._helper.commands, self._helper.replies
        for fd in (self._commands, self._replies):
            os.set_blocking(fd, False)
        self._selector.register(self._replies, selectors.EVENT_READ, self)
        self._heard_at = time.monotonic()
        # The second stager of a node finds what the first had staged; a resume begins with nothing.
        self._send(["start", {**self._spec.start, "keeps": self._deaths > 0}])
        self._ask_for_sides()

    def _ask_for_sides(self) -> None:
        for key, side in self._spec.sides.items():
            if key not in self._sides:
                self._send(["side", -1 - key, side])

    # What the node says

    def takes(self, number: int, given: Given) -> bool:
        """Stage a mini-batch, if its files are in a store."""
        line = PlanLine.decode(given.line)
        if line.input_number not in self._spec.remote:
            return False
        self._waiting[number] = (given, line)
        self._held.add(number)
        self._files += (len(line.paths) - self._files) / 8
        self._ask(number, line)
        return True

    def _ask(self, number: int, line: PlanLine) -> None:
        files = [[line.input_number, *file] for file in line.files]
        self._send(["stage", number, files])

    def release(self, *numbers: int) -> None:
        """Say that nobody needs the files of these any more."""
        mine = [number for number in numbers if number in self._held]
        if mine:
            self._held.difference_update(mine)
            self._send(["release", mine])

    def stop(self) -> None:
        """Bring nothing more; what is here stays for those who read it."""
        self.release(*(number for number, _ in self.give_back()))

    def give_back(self) -> list[tuple[int, Given]]:
        """Return the mini-batches that are on their way here, and wait for them no longer."""
        waiting = [(number, given) for number, (given, _) in self._waiting.items()]
        self._waiting.clear()
        return waiting

    def took(self, each_s: float) -> None:
        """Learn how long a mini-batch keeps a worker."""
        self._each_s += (each_s - self._each_s) / (4 if self._each_s else 1)

    def ahead(self, workers: int) -> int:
        """Return how many mini-batches to have here beside those that the workers hold."""
        return read_ahead(workers, self._fetch_s, self._each_s)

    def fill(self, spec: WorkerSpec) -> WorkerSpec | None:
        """Return how workers are started, with the paths of the side inputs; None until they are here."""
        if len(self._sides) < len(self._spec.sides):
            return None
        record = self._spec.record
        words = record.script_arguments(self._sides, spec.start["output_dir"])
        names = record.side_variables(self._sides)
        start = {**spec.start, "argv": [spec.start["argv"][0], *words]}
        return replace(spec, start=start, environ={**spec.environ, **names})

    # What the stager says

    def handle(self, fd: int) -> Staged:
        """Deal with a descriptor that is ready."""
        if fd == self._commands:
            self._write()
            return Staged()
        messages = self._helper.read()
        if messages is None:
            return self._died()
        self._heard_at = time.monotonic()
        staged = Staged()
        for message in messages:
            self._take(message, staged)
        return staged

    def _take(self, message: list[Any], staged: Staged) -> None:
        match message:
            case ["staged", number, paths, seconds] if number in self._waiting:
                given, line = self._waiting.pop(number)
                line.paths = paths
                staged.ready.append((number, Given(given.attempt, line.encode())))
                self._fetch_s += (seconds - self._fetch_s) / 8
                self._deaths = 0
            case ["failed", number, failure, seconds] if number in self._waiting:
                given, _ = self._waiting.pop(number)
                self._held.discard(number)
                staged.failed.append((number, given, seconds, Failure(**failure)))
                self._deaths = 0
            case ["failed", number, failure, _] if number < 0:
                self.side_failure = Failure(**failure)
            case ["side", number, path]:
                self._sides[-1 - number] = path

    def deadline(self) -> float:
        """Return the ``time.monotonic()`` at which a silent stager is given up."""
        return self._heard_at + _SILENT_S

    def step(self, now: float, *, is_over: bool) -> bool:
        """End a stager that hangs, whose end is then seen in ``handle``, and one that is not needed.

        Returns
        -------
        bool
            Whether there still is one.
        """
        if is_over:
            self.close()
            return False
        if now >= self.deadline():
            self._heard_at = now
            self._is_silent = True
            self._helper.kill()
        return True

    def take_side_failure(self) -> Failure:
        """Return why side inputs did not come, and ask for them again."""
        failure = self.side_failure
        assert failure is not None
        self.side_failure = None
        self._ask_for_sides()
        return failure

    def _died(self) -> Staged:
        """Replace a stager that has died; what it had is asked for again, and in the end fails."""
        self._unregister()
        end = self._helper.died()
        if self._is_silent:
            text = f"it said nothing for {_SILENT_S:g} s, and was ended"
            end = HelperEnd(LOST, text, end.traceback)
        self._is_silent = False
        self._deaths += 1
        staged = Staged()
        if self._deaths >= _MOST_DEATHS:
            failure = _stager_lost(end)
            for number, (given, _) in self._waiting.items():
                staged.failed.append((number, given, 0.0, failure))
                self._held.discard(number)
            self._waiting.clear()
            if len(self._sides) < len(self._spec.sides):
                self.side_failure = failure
        elif not self._has_noticed:
            self._has_noticed = True
            text = f"the process that stages the inputs was started again: {end.sentence}"
            staged.noticed.append(Warned(text, end.traceback))
        self._spawn()
        for number, (_, line) in self._waiting.items():
            self._ask(number, line)
        return staged

    def close(self) -> None:
        """End the stager, and with it the run's view of the cache."""
        self._waiting.clear()
        self._unregister()
        self._helper.close_commands()  # it takes its view away, and ends
        self._helper.end(patience_s=_ENDS_S)  # what it leaves is swept by the next one

    def _unregister(self) -> None:
        for fd in (self._commands, self._replies):
            try:
                self._selector.unregister(fd)
            except (KeyError, ValueError):
                pass  # the commands are registered only while their pipe is full
        self._writing = False

    def _send(self, message: list[Any]) -> None:
        self._outbox += json.dumps(message).encode("ascii") + b"\n"
        self._write()

    def _write(self) -> None:
        while self._outbox:
            try:
                written = os.write(self._commands, self._outbox)
            except BlockingIOError:
                break
            except BrokenPipeError:
                self._outbox.clear()  # it is dead: seen where its replies end
                break
            del self._outbox[:written]
        if bool(self._outbox) != self._writing:
            self._writing = bool(self._outbox)
            if self._writing:
                self._selector.register(self._commands, selectors.EVENT_WRITE, self)
            else:
                self._selector.unregister(self._commands)
