"""A cluster whose jobs cannot start or end: what is started again, and when."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from enum import Enum
from typing import Any

import pytest

from parallelrun_jupyter.backends.dask.upkeep import Upkeep, in_words


class Status(Enum):
    created = 1
    running = 2
    failed = 3


class Job:
    """A job of a queue, as dask-jobqueue has it."""

    numbers = iter(range(100, 1000))

    def __init__(self, error: str = "") -> None:
        self.error = error
        self.status = Status.created
        self.job_id: str | None = None
        self.is_closed = False

    def __await__(self) -> Any:
        return self._start().__await__()

    async def _start(self) -> None:
        if self.error:
            raise RuntimeError(self.error)
        if self.status is Status.created:
            self.job_id = str(next(self.numbers))
            self.status = Status.running

    async def close(self) -> None:
        self.is_closed = True


class Queue:
    """The parts of a ``SpecCluster``: await it, and it starts what it lacks."""

    def __init__(self, size: int) -> None:
        self.worker_spec: dict[str, object] = {f"q-{number}": {} for number in range(size)}
        self.workers: dict[str, Job] = {}
        self.error = ""

    def sync(self, function: Callable[..., Any], *arguments: Any) -> Any:
        return asyncio.run(function(*arguments))

    def __await__(self) -> Any:
        return self._correct().__await__()

    async def _correct(self) -> None:
        for name in set(self.worker_spec) - set(self.workers):
            self.workers[name] = Job(self.error)
            await self.workers[name]


class Clock:
    now = 1000.0

    def __call__(self) -> float:
        return self.now


def test_a_job_that_has_ended_is_named_and_started_again_once() -> None:
    queue, clock = Queue(2), Clock()
    queue.sync(queue._correct)
    upkeep = Upkeep(queue, clock)
    first = queue.workers["q-0"]

    def poll(*workers: str) -> tuple[str, ...]:
        return asyncio.run(upkeep.keep_up(workers)).started

    assert poll("q-1") == (), "q-0 has not registered: it may wait in the queue for hours"
    clock.now += 3600
    assert poll("q-0-0", "q-0-1", "q-1") == (), "a job of two processes"
    clock.now += 10
    assert poll("q-1") == ()
    assert upkeep.job_of("q-0-1") == f" (job {first.job_id})"
    assert [upkeep.group_of(name) for name in ("q-0-1", "q-1", "7")] == ["q-0", "q-1", "7"]
    clock.now += 10
    assert poll("q-1") == (f"q-0 (job {first.job_id})",)
    assert first.is_closed
    assert queue.workers["q-0"] is not first
    assert queue.workers["q-0"].status.name == "running"
    clock.now += 60
    assert poll("q-1") == (), "the new one has not registered either"
    del queue.workers["q-1"]  # as Dask does to a worker that it has given up
    assert poll() == ("q-1",)
    assert set(queue.workers) == {"q-0", "q-1"}


def test_what_cannot_start_is_tried_again_after_half_a_minute() -> None:
    queue, clock = Queue(1), Clock()
    queue.workers["q-0"] = Job("no such partition")
    upkeep = Upkeep(queue, clock)

    def poll() -> str:
        try:
            asyncio.run(upkeep.keep_up(()))
        except RuntimeError as error:
            return str(error)
        return ""

    assert poll() == "no such partition"
    assert poll() == "", "not at once"
    clock.now += 31
    assert poll() == "no such partition"
    upkeep.give_up()
    assert queue.workers["q-0"].status.name == "failed"
    queue.workers["q-0"] = Job()
    clock.now += 31
    assert poll() == ""
    assert queue.workers["q-0"].status.name == "running"
    assert f"1 job ({queue.workers['q-0'].job_id})" in upkeep.hint()


def test_what_ends_between_two_tries_is_not_forgotten() -> None:
    queue, clock = Queue(1), Clock()
    queue.sync(queue._correct)
    queue.worker_spec["q-1"] = {}
    queue.workers["q-1"] = Job("no more nodes")
    upkeep = Upkeep(queue, clock)
    with pytest.raises(RuntimeError, match="no more nodes"):
        asyncio.run(upkeep.keep_up(("q-0",)))
    first = queue.workers["q-0"]
    clock.now += 20
    assert asyncio.run(upkeep.keep_up(())) == ((), ""), "it is too early for another try"
    clock.now += 11
    with pytest.raises(RuntimeError, match="no more nodes"):
        asyncio.run(upkeep.keep_up(()))
    assert first.is_closed
    assert queue.workers["q-0"].status.name == "running"


def test_other_clusters_are_left_alone() -> None:
    upkeep = Upkeep(object())
    assert asyncio.run(upkeep.keep_up(("a",))) == ((), "")
    assert (upkeep.hint(), upkeep.job_of("a")) == ("", "")
    upkeep.give_up()


def test_an_error_of_a_command_is_what_it_wrote() -> None:
    error = RuntimeError(
        "Command exited with non-zero exit code.\nExit code: 1\nCommand:\nsbatch /tmp/x.sh\nstdout:\n\n"
        "stderr:\nsbatch: error: invalid partition specified: nope\n\n"
    )
    assert in_words(error) == "RuntimeError: sbatch: error: invalid partition specified: nope"
    assert in_words(OSError(2, "No such file", "sbatch")) == (
        "FileNotFoundError: [Errno 2] No such file: 'sbatch'"
    )
