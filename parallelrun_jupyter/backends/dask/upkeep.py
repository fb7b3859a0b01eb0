"""The workers of a cluster that the run created: those that cannot start or have ended are started again.

Dask starts the workers of a cluster in the background, where an error is only logged, and does not replace
a lost one unless the cluster's size changes. A run would wait for them in silence.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable, Iterable
from typing import Any, NamedTuple

from ...formatting import plural

LOST_S = 15.0
"""Seconds without a worker after which what has started it is started again; Dask itself waits as long."""

_AGAIN_S = 30.0
"""Seconds between two tries to start what could not be started."""


class Repair(NamedTuple):
    """What was done: the names of jobs that have ended and were started again, and an error in words."""

    started: tuple[str, ...] = ()
    error: str = ""


class Upkeep:
    """Keeps up the workers of one cluster; one that is not a ``SpecCluster`` keeps up its own.

    Parameters
    ----------
    made
        The cluster.
    clock
        A monotonic clock, in seconds.
    lost_s
        Seconds without any of its workers after which a job counts as ended.
    """

    def __init__(
        self, made: Any, clock: Callable[[], float] = time.monotonic, lost_s: float = LOST_S
    ) -> None:
        self._made = made
        self._clock = clock
        self._lost_s = lost_s
        #: job -> when the scheduler had a worker of it for the last time
        self._seen_at: dict[str, float] = {}
        self._try_at = 0.0

    @property
    def _has_jobs(self) -> bool:
        return all(hasattr(self._made, name) for name in ("worker_spec", "workers", "sync"))

    async def keep_up(self, workers: Iterable[str]) -> Repair:
        """Start again what failed to start or has ended.

        Parameters
        ----------
        workers
            The names of the workers that the scheduler has now.

        Raises
        ------
        Exception
            Something cannot be started: whatever the cluster's own package raises. The next try is
            half a minute later.
        """
        if not self._has_jobs:
            return Repair()
        ended = self._ended_jobs([str(name) for name in workers])
        failed = [name for name, job in self._made.workers.items() if _has_failed(job)]
        missing = set(self._made.worker_spec) - set(self._made.workers)
        if not (ended or failed or missing) or self._clock() < self._try_at:
            return Repair()
        names = [f"{name}{self.job_of(str(name))}" for name in ended]
        for name in ended:
            del self._seen_at[str(name)]
        # Those that Dask itself has given up, after the same time.
        names += [str(name) for name in missing if self._seen_at.pop(str(name), None)]
        self._try_at = self._clock() + _AGAIN_S
        await asyncio.to_thread(self._made.sync, _start_again, self._made, ended, failed)
        self._try_at = 0.0
        return Repair(tuple(names))

    def job_of(self, worker: str) -> str:
        """Return the job of a queue that runs a Dask worker, as in ``" (job 12)"``, or ""."""
        for name, job in getattr(self._made, "workers", {}).items():
            number = getattr(job, "job_id", None)
            if number and _is_of(worker, str(name)):
                return f" (job {number})"
        return ""

    def give_up(self) -> None:
        """Mark what could not be started as failed: Dask asserts that each job of a closed cluster has ended."""
        for job in getattr(self._made, "workers", {}).values():
            if _has_failed(job):
                job.status = type(job.status).failed

    def _ended_jobs(self, workers: list[str]) -> list[Any]:
        """Return the jobs that had a worker, and have none any more for some time."""
        now = self._clock()
        ended = []
        for job in self._made.workers:
            if any(_is_of(name, str(job)) for name in workers):
                self._seen_at[str(job)] = now
            elif str(job) in self._seen_at and now > self._seen_at[str(job)] + self._lost_s:
                ended.append(job)
        return ended

    def group_of(self, worker: str) -> str:
        """Return the job whose end is the end of a Dask worker: the worker itself, if it has none."""
        jobs = map(str, getattr(self._made, "worker_spec", ()))
        return next((job for job in jobs if _is_of(worker, job)), worker)

    def hint(self) -> str:
        """Return what to look at if the cluster has no workers: the jobs of a queue, or ""."""
        jobs = [getattr(job, "job_id", None) for job in getattr(self._made, "workers", {}).values()]
        names = [str(job) for job in jobs if job]
        if not names:
            return ""
        return (
            f". It has submitted {plural(len(names), 'job')} ({', '.join(names[:5])}): the queue says whether they "
            "wait, and their logs (log_directory among the arguments) why they ended"
        )


async def _start_again(made: Any, ended: list[Any], failed: list[Any]) -> None:
    """Start jobs again, in the cluster's own event loop; the first error is raised."""
    for name in ended:
        if name in made.workers:
            await made.workers.pop(name).close()
    tries = [_again(made.workers[name]) for name in failed if name in made.workers]
    results = await asyncio.gather(*tries, return_exceptions=True)
    await made  # starts what it should have and has not
    for result in results:
        if isinstance(result, BaseException):
            raise result


async def _again(job: Any) -> None:
    await job


def _is_of(worker: str, job: str) -> bool:
    """Return whether a Dask worker is of a job; one of several processes is named job-0, job-1."""
    return worker == job or worker.rpartition("-")[0] == job


def _has_failed(job: Any) -> bool:
    """Return whether a job could not be started: then Dask leaves it as it was created."""
    return str(getattr(getattr(job, "status", None), "name", "")) == "created"


def in_words(error: Exception) -> str:
    """Return an error of a cluster in one line: what a command wrote to stderr comes first."""
    text = str(error)
    _, found, written = text.partition("stderr:")
    lines = [line.strip() for line in (written if found else text).splitlines()]
    return f"{type(error).__name__}: {' '.join(line for line in lines if line)}".rstrip(": ")
