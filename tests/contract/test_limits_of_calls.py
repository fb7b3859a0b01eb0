"""The limits of calls on each backend: one rate for all nodes, one budget for all drivers."""

from __future__ import annotations

import time
from bisect import bisect_right
from itertools import pairwise
from pathlib import Path

import pytest

from parallelrun_jupyter import ParallelRunConfig, Run, submit
from parallelrun_jupyter.errors import ConfigError, RunFolderError
from parallelrun_jupyter.runs.journal.call_events import CallsHeld, CallsLimited
from parallelrun_jupyter.runs.journal.events import AttemptFailed
from tests.contract.test_backends import BACKENDS, place_of
from tests.real.conftest import end_of

PLAIN = """\
import os, time

def run(mini_batch):
    begun = time.time()
    with open(os.path.join({folder!r}, str(os.getpid())), "a") as file:
        file.write("%.6f\\n" % begun)
    time.sleep(0.02)
    return list(mini_batch)
"""

ASYNC = """\
import asyncio, os, time

async def run(item):
    begun = time.time()
    with open(os.path.join({folder!r}, str(os.getpid())), "a") as file:
        file.write("%.6f\\n" % begun)
    await asyncio.sleep(0.3)
    return item
"""

PAYS = """\
import asyncio

async def run(item, context):
    await asyncio.sleep(0.02)
    context.spend(usd=0.004)
    context.spend(usd=0.006)
    return item
"""

REFUSED = """\
import os, time

class TooMany(Exception):
    status_code = 429
    headers = {{"Retry-After": "1.5"}}

def run(mini_batch):
    begun = time.time()
    with open(os.path.join({folder!r}, str(os.getpid())), "a") as file:
        file.write("%.6f\\n" % begun)
    try:
        os.mkdir({folder!r} + ".refused")  # by the first call of all
    except FileExistsError:
        return list(mini_batch)
    raise TooMany("429 Too Many Requests")
"""


@pytest.fixture(params=BACKENDS)
def compute(request: pytest.FixtureRequest) -> str:
    """Return the compute of each backend."""
    return place_of(request.param, request)


@pytest.fixture
def calls(tmp_path: Path) -> Path:
    """Return a folder in which each worker writes the times of its calls."""
    folder = tmp_path / "calls"
    folder.mkdir()
    return folder


def script_of(text: str, folder: Path, tmp_path: Path) -> str:
    path = tmp_path / "script.py"
    path.write_text(text.format(folder=str(folder)))
    return str(path)


def starts_of(folder: Path) -> list[float]:
    """Return the times at which calls have started, in seconds since the epoch."""
    return sorted(float(line) for path in folder.iterdir() for line in path.read_text().split())


LATE_S = 0.15
"""How late the operating system of a busy machine may begin a call whose time has come.

The rate holds for the times that the scheduler assigns. The tests see the times at which calls really
began: a late one moves towards those that follow it. So a window may show the calls of `LATE_S` more.
"""


def most_within(starts: list[float], window_s: float) -> int:
    return max(bisect_right(starts, at + window_s) - k for k, at in enumerate(starts))


@pytest.mark.parametrize("nodes", [1, 2])
@pytest.mark.parametrize("text", [PLAIN, ASYNC], ids=["plain", "async"])
def test_the_rate_is_that_of_the_whole_run(
    text: str, nodes: int, compute: str, numbers: Path, calls: Path, tmp_path: Path
) -> None:
    for number in range(60, 240):
        (numbers / f"{number:03d}.txt").touch()
    config = ParallelRunConfig(
        entry_script=script_of(text, calls, tmp_path),
        mini_batch_size=1,
        node_count=nodes,
        process_count_per_node=2 if text == PLAIN else None,
        rate_limit="1800/min",
    )
    run = submit(config, inputs=numbers, compute=compute)
    assert end_of(run) == "Completed"
    starts = starts_of(calls)
    assert len(starts) == 240
    # The first second is that of the workers' start: some are ready before others.
    steady = [at for at in starts if at > starts[0] + 1]
    span_s = steady[-1] - steady[0]
    assert 0.95 * 30 * span_s <= len(steady) - 1 <= 30 * (span_s + LATE_S)
    for window_s in (1, 3):
        assert most_within(starts, window_s) <= 30 * (window_s + LATE_S) + 1
    assert len(list(calls.iterdir())) >= nodes, "each node has its share"
    [limits] = [event for event in run.events(follow=False) if isinstance(event, CallsLimited)]
    assert limits.rate_per_s == 30


def test_all_nodes_wait_when_a_server_refuses_one(
    compute: str, numbers: Path, calls: Path, tmp_path: Path
) -> None:
    config = ParallelRunConfig(
        entry_script=script_of(REFUSED, calls, tmp_path),
        mini_batch_size=1,
        node_count=2,
        process_count_per_node=1,
        rate_limit="50/s",
        run_max_try=1,
    )
    run = submit(config, inputs=numbers, compute=compute)
    assert end_of(run) == "Completed", "a refused call uses up no try"
    starts = starts_of(calls)
    assert len(starts) == 61
    events = list(run.events(follow=False))
    [failed] = [event for event in events if isinstance(event, AttemptFailed)]
    assert (failed.kind, failed.is_last) == ("throttled", False)
    # Those that were assigned before still start.
    assert max(b - a for a, b in pairwise(starts)) >= 0.9
    assert starts[-1] - starts[0] >= 1.5
    assert "server" in {event.held_by for event in events if isinstance(event, CallsHeld)}


def spent_of(run: Run) -> tuple[int, int]:
    calls = run._follower.state.calls
    assert calls is not None
    return calls.calls_spent, calls.nano_usd


def test_a_budget_ends_the_run_and_a_larger_one_continues_it(
    compute: str, numbers: Path, calls: Path, tmp_path: Path
) -> None:
    config = ParallelRunConfig(
        entry_script=script_of(PAYS, calls, tmp_path), budget="0.25 USD", concurrency=10
    )
    run = submit(config, inputs=numbers, compute=compute)
    assert end_of(run) == "Canceled"
    assert run.snapshot()["reason"] == (
        "its budget of 0.25 USD is spent: 0.25 USD for 25 calls; 35 items are left. Resume it with a "
        "larger budget: run.resume(budget='0.66 USD')"
    )
    with pytest.raises(RunFolderError) as error:
        run.resume()
    assert str(error.value).startswith(
        f"run {run.run_id} cannot be resumed: its budget is 0.25 USD, and it has spent 0.2500 USD for 25 "
        "calls, 0.01 USD for each. Give a larger budget: run.resume(budget='0.5 USD')."
    )
    with pytest.raises(
        RunFolderError, match=r"spent 0.2500 USD .*: run.resume\(budget='0.5 USD'\)"
    ):
        run.resume(budget="0.1 USD")  # twice this would not do
    with pytest.raises(ConfigError, match="budget is 'much'; expected an amount above 0"):
        run.resume(budget="much")
    assert end_of(run.resume(budget="0.5 USD")) == "Canceled"
    assert spent_of(run) == (50, 500_000_000)
    assert end_of(run.resume(budget=20, rate_limit="20/s", concurrency=3)) == "Completed"
    assert spent_of(run) == (60, 600_000_000)
    limits = [event for event in run.events(follow=False) if isinstance(event, CallsLimited)]
    assert [(event.concurrency, event.rate_per_s, event.budget_nano_usd) for event in limits] == [
        (10, 0, 250_000_000),
        (10, 0, 500_000_000),
        (3, 20, 20_000_000_000),
    ]
    rows = Path(run.snapshot()["output"]).read_text().splitlines()
    assert [Path(row).name for row in rows] == [f"{k:03d}.txt" for k in range(60)]


def test_a_run_with_one_call_at_a_time_does_not_get_several(
    numbers: Path, calls: Path, tmp_path: Path
) -> None:
    config = ParallelRunConfig(
        entry_script=script_of(PLAIN, calls, tmp_path), mini_batch_size=30, rate_limit="1/h"
    )
    run = submit(config, inputs=numbers)
    while not starts_of(calls):
        time.sleep(0.05)
    run.cancel()
    assert end_of(run) == "Canceled"
    assert len(starts_of(calls)) == 1, "the second one would start in an hour"
    with pytest.raises(RunFolderError, match="makes one call at a time in each worker"):
        run.resume(concurrency=5)
    assert end_of(run.resume(rate_limit="100/s")) == "Completed"
