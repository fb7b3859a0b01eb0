"""Calls that do what they should not: the run ends, and the other calls are asked once."""

from __future__ import annotations

import asyncio
import os
import time
from collections import Counter
from pathlib import Path
from typing import Any

import psutil
import pytest

import parallelrun_jupyter as parallelrun
from parallelrun_jupyter import ParallelRunConfig, Run, submit
from parallelrun_jupyter.runs.journal.events import WorkerLost
from tests.real.conftest import rows_of
from tests.real.test_calls import TIMEOUT_S, attempts_of
from tests.real.test_resume import driver_pid


def workers_lost(run: Run) -> list[str]:
    return [event.reason for event in run.events(follow=False) if isinstance(event, WorkerLost)]


def test_calls_that_ignore_their_cancellation_are_given_up_and_the_others_are_asked_once() -> None:
    async def ask(item: int) -> int:
        while item in {3, 9}:
            try:
                await asyncio.sleep(600)
            except asyncio.CancelledError:
                pass
        await asyncio.sleep(0.02 if item < 20 else 3.5)  # in flight when those are given up
        return item

    run = parallelrun.map(
        ask, range(28), concurrency=10, run_invocation_timeout=4, run_max_try=1, error_threshold=-1
    )
    answers = run.results(missing=None, timeout_s=TIMEOUT_S)
    assert [k for k, answer in enumerate(answers) if answer != k] == [3, 9]
    assert len(attempts_of(run)) == 28
    assert workers_lost(run) == []
    failures = run.failures()
    assert set(failures["mini_batch"]) == {3, 9}
    assert set(failures["kind"]) == {"timeout"}
    assert "test_hostile_calls.py" in failures["group"][0]
    assert "await asyncio.sleep(600)" in failures["traceback"][0]


def test_a_worker_whose_calls_all_ignore_their_cancellation_is_replaced() -> None:
    async def ask(item: int) -> int:
        while item < 2:
            try:
                await asyncio.sleep(600)
            except asyncio.CancelledError:
                pass
        return item

    run = parallelrun.map(
        ask, range(6), concurrency=2, run_invocation_timeout=1, run_max_try=1, error_threshold=-1
    )
    assert run.results(missing=None, timeout_s=TIMEOUT_S) == [None, None, 2, 3, 4, 5]
    assert len(attempts_of(run)) == 6
    assert workers_lost(run) == ["exit code 75"]


@pytest.mark.parametrize("error", [SystemExit, KeyboardInterrupt])
def test_an_exit_in_a_task_of_a_call_fails_that_call_alone(error: type[BaseException]) -> None:
    async def part(item: int) -> int:
        await asyncio.sleep(0.01)
        if item == 5:
            raise error("no model")
        return item

    async def ask(item: int) -> int:
        answers = await asyncio.gather(part(item), asyncio.sleep(0.02))
        return answers[0]

    run = parallelrun.map(ask, range(20), concurrency=10, run_max_try=1, error_threshold=-1)
    answers = run.results(missing=None, timeout_s=TIMEOUT_S)
    assert [k for k, answer in enumerate(answers) if answer != k] == [5]
    assert workers_lost(run) == []
    assert error.__name__ in run.failures()["group"][0]


def test_a_call_that_stops_the_event_loop_harms_no_call() -> None:
    async def ask(item: int) -> int:
        if item == 5:
            asyncio.get_running_loop().stop()
        await asyncio.sleep(0.02)
        return item

    run = parallelrun.map(ask, range(20), concurrency=10, run_max_try=1)
    assert run.results(timeout_s=TIMEOUT_S) == list(range(20))
    assert workers_lost(run) == []


def submitted(folder: Path, text: str, **settings: Any) -> Run:
    """Return a run over 32 files of a script that gets 8 of them at a time."""
    script = folder / "ask.py"
    script.write_text("import asyncio, os, time\nname = os.path.basename\n" + text)
    for k in range(32):
        (folder / f"{k:02d}.txt").write_text("")
    config = ParallelRunConfig(
        entry_script=str(script), mini_batch_size=8, run_max_try=1, error_threshold=-1, concurrency=16,
        **settings,
    )  # fmt: skip
    run = submit(config, inputs=f"{folder}/*.txt")
    run.wait_for_completion(timeout_s=TIMEOUT_S)
    return run


def test_parts_leave_the_threads_of_the_loop_to_the_calls(tmp_path: Path) -> None:
    text = (
        "from concurrent.futures import ThreadPoolExecutor\n"
        "async def init():\n"
        "    asyncio.get_running_loop().set_default_executor(ThreadPoolExecutor(2))\n"
        "async def run(mini_batch):\n"
        "    loop = asyncio.get_running_loop()\n"
        "    names = [await loop.run_in_executor(None, name, path) for path in mini_batch]\n"
        "    if any(n.endswith('3.txt') for n in names):\n"
        "        raise ValueError('three')\n"
        "    return names\n"
    )
    run = submitted(tmp_path, text)
    assert rows_of(run) == [f"{k:02d}.txt" for k in range(32) if k % 10 != 3]


def test_a_part_that_ignores_its_cancellation_fails_its_items(tmp_path: Path) -> None:
    text = (
        "async def run(mini_batch):\n"
        "    names = [name(path) for path in mini_batch]\n"
        "    if '13.txt' in names and len(names) > 1:\n"
        "        raise ValueError('thirteen')\n"
        "    while '13.txt' in names:\n"
        "        try:\n"
        "            await asyncio.sleep(600)\n"
        "        except asyncio.CancelledError:\n"
        "            pass\n"
        "    return names\n"
    )
    run = submitted(tmp_path, text, run_invocation_timeout=1)
    assert rows_of(run) == [f"{k:02d}.txt" for k in range(32) if k != 13]
    (failed,) = run.failed_items().to_dict("records")
    assert (failed["kind"], failed["error"]) == ("timeout", "Timeout")
    assert failed["message"] == "run() took longer than run_invocation_timeout = 1 s"


def test_a_part_that_exits_fails_its_item(tmp_path: Path) -> None:
    text = (
        "async def run(mini_batch):\n"
        "    await asyncio.sleep(0)\n"
        "    if any(path.endswith('13.txt') for path in mini_batch):\n"
        "        raise SystemExit('thirteen')\n"
        "    return [name(path) for path in mini_batch]\n"
    )
    run = submitted(tmp_path, text)
    assert rows_of(run) == [f"{k:02d}.txt" for k in range(32) if k != 13]
    assert workers_lost(run) == []


def test_after_a_kill_from_outside_calls_run_again_in_few_rounds(tmp_path: Path) -> None:
    asked = tmp_path / "asked"

    async def ask(item: int) -> int:
        with asked.open("a") as file:
            file.write(f"{item}\n")
        await asyncio.sleep(1)
        return item

    run = parallelrun.map(ask, range(80), concurrency=80)
    until = time.monotonic() + TIMEOUT_S
    while not asked.exists() or len(asked.read_text().split()) < 80:
        assert time.monotonic() < until
        time.sleep(0.02)
    time.sleep(0.4)
    killed = time.monotonic()
    workers = psutil.Process(driver_pid(run)).children(recursive=True)
    for process in workers:
        if not process.children():
            os.kill(process.pid, 9)
    assert run.results(timeout_s=TIMEOUT_S) == list(range(80))
    assert time.monotonic() - killed < 40  # one after another they would take 80 s
    assert set(Counter(asked.read_text().split()).values()) == {2}
    assert sorted(attempts_of(run)) == [(k, 1, "succeeded") for k in range(80)]
