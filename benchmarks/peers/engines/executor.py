"""``concurrent.futures.ProcessPoolExecutor``: one future a mini-batch, or ``map`` in chunks."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from concurrent.futures import FIRST_COMPLETED, Future, ProcessPoolExecutor, as_completed, wait
from concurrent.futures.process import BrokenProcessPool
from typing import Any

from ..results import Results
from ..workload import Workload


def run(workload: Workload, results: Results, chunks_a_worker: int = 0) -> None:
    """Run the script in the pool; the parent reads tables and hands out frames."""
    script = workload.load()
    with ProcessPoolExecutor(workload.workers, initializer=script.init) as pool:
        if workload.is_table:
            frames = (pool.submit(script.run, frame) for frame in workload.frames())
            for future in few_at_a_time(frames, 4 * workload.workers):
                results.done(future.result())
        elif chunks_a_worker:
            batches = workload.mini_batches()
            size = max(1, len(batches) // (chunks_a_worker * workload.workers))
            for rows in pool.map(script.run, batches, chunksize=size):
                results.done(rows)
        else:
            batches = workload.mini_batches()
            futures = {pool.submit(script.run, batch): k for k, batch in enumerate(batches)}
            collect(futures, results, {BrokenProcessPool: "lost"})
        results.finish()


def few_at_a_time(futures: Iterator[Future[Any]], most: int) -> Iterator[Future[Any]]:
    """Yield futures as they are done; no more are made than that: frames are large."""
    pending: set[Future[Any]] = set()
    for future in futures:
        pending.add(future)
        while len(pending) >= most:
            done, pending = wait(pending, return_when=FIRST_COMPLETED)
            yield from done
    yield from as_completed(pending)


def collect(
    futures: Mapping[Any, int], results: Results, ends: Mapping[type[BaseException], str]
) -> None:
    """Report each future as it is done; ``ends`` maps an engine's own exceptions to outcomes."""
    for future in as_completed(futures):
        try:
            results.done(future.result())
        except Exception as error:  # the script's own, or the engine's
            how = next((ends[kind] for kind in type(error).__mro__ if kind in ends), "exception")
            results.failed(futures[future], how)
            if how == "lost":
                results.note = f"{type(error).__name__}: {error}"
