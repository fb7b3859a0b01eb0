"""pebble: a pool in which every call has its timeout. It has no retries."""

from __future__ import annotations

from concurrent.futures import TimeoutError as TookTooLong

from pebble import ProcessExpired, ProcessPool

from ..results import Results
from ..workload import Workload
from .executor import collect, few_at_a_time


def run(workload: Workload, results: Results) -> None:
    """Schedule one call for each mini-batch."""
    script = workload.load()
    with ProcessPool(workload.workers, initializer=script.init) as pool:
        if workload.is_table:
            frames = (pool.schedule(script.run, args=[frame]) for frame in workload.frames())
            for future in few_at_a_time(frames, 4 * workload.workers):
                results.done(future.result())
        else:
            futures = {
                pool.schedule(script.run, args=[batch], timeout=workload.timeout_s): number
                for number, batch in enumerate(workload.mini_batches())
            }
            collect(futures, results, {TookTooLong: "timeout", ProcessExpired: "crash"})
        results.finish()
