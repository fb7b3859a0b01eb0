"""Workers that are late or lost: others run the mini-batches that they held, and a spare process takes their place."""

from __future__ import annotations

import os
import selectors
import signal
import sys
from pathlib import Path
from typing import Any

from parallelrun_jupyter.engine.node.worker_process import WorkerSpec
from parallelrun_jupyter.engine.node.worker_starts import WorkerStarts
from parallelrun_jupyter.engine.scheduling import signals
from parallelrun_jupyter.worker.plan_line import PlanLine
from tests.node_runner import NodeRunner
from tests.pandas_environments import environments

LONG = """
import os, sys, time

def run(mini_batch):
    folder, (name,) = {folder!r}, mini_batch
    with open(os.path.join(folder, "starts"), "a") as file:
        file.write(name + "\\n")
    if name == "30":  # goes on when all others are done
        while len(os.listdir(os.path.join(folder, "done"))) < 59:
            time.sleep(0.01)
    else:
        time.sleep(0.003)
        open(os.path.join(folder, "done", name), "w").close()
    {end}
    return mini_batch
"""


def lines(count: int) -> list[bytes]:
    return [PlanLine(0, [str(number)], [], []).encode() for number in range(count)]


def _run_long(folder: Path, end: str, **options: Any) -> tuple[list[Any], list[str], list[Any]]:
    """Run 60 mini-batches of which one waits for all others; return answers, starts and later answers."""
    (folder / "done").mkdir()
    script = LONG.format(folder=str(folder), end=end)
    with NodeRunner(folder, script, workers=2, **options) as runner:
        answers = runner.run(lines(60))
        starts = (folder / "starts").read_text().split()
        later = runner.run(lines(20), first=60)
    return answers, starts, later


def test_no_mini_batch_waits_for_a_long_one(tmp_path: Path) -> None:
    answers, starts, later = _run_long(tmp_path, "")
    assert [answer.mini_batch for answer in answers] == list(range(60))
    assert sorted(map(int, starts)) == list(range(60)), "each has run once"
    assert len({answer.mini_batch for answer in later}) == 20, "the late worker goes on"


def test_no_mini_batch_waits_for_a_long_one_that_fails(tmp_path: Path) -> None:
    old = environments()  # scripts of their time, where there is one
    python = str(old[0].executable) if old else sys.executable
    end = "if name == '30': raise ValueError(name)"
    answers, starts, later = _run_long(tmp_path, end, python=python)
    failed = [a.mini_batch for a in answers if isinstance(a, signals.AttemptErrored)]
    assert failed == [30]
    assert sorted(map(int, starts)) == list(range(60))
    assert len(later) == 20


def test_a_hung_mini_batch_costs_the_others_of_its_worker_nothing(tmp_path: Path) -> None:
    script = f"""
import time
def run(mini_batch):
    with open({str(tmp_path / "starts")!r}, "a") as file:
        file.write(mini_batch[0] + "\\n")
    time.sleep(3600 if mini_batch == ["30"] else 0.003)
    return mini_batch
"""
    with NodeRunner(tmp_path, script, workers=2, run_s=2.0) as runner:
        runner.run(lines(60))
        emitted = runner.emitted
    timeout = next(k for k, s in enumerate(emitted) if isinstance(s, signals.AttemptErrored))
    done = [s for s in emitted[:timeout] if isinstance(s, signals.AttemptsSucceeded)]
    before = {row.mini_batch for s in done for row in s.successes}
    assert before == {*range(60)} - {30}, "those behind it and before it"
    starts = (tmp_path / "starts").read_text().split()
    assert sorted(map(int, starts)) == list(range(60)), "each has run once"


def test_a_lost_worker_is_replaced_by_a_process_that_has_started_already(tmp_path: Path) -> None:
    script = """
import os
def run(mini_batch):
    if mini_batch == ["die"]:
        os._exit(3)
    return mini_batch
"""
    die, live = (PlanLine(0, [word], [], []).encode() for word in ("die", "live"))
    with NodeRunner(tmp_path, script) as runner:
        for number in range(4):
            runner.run([live, die], first=2 * number)
            runner.run([live], first=100 + number)  # the spare process has started
        spawned = [s for s in runner.emitted if isinstance(s, signals.WorkerSpawned)]
    assert [s.worker for s in spawned][:5] == [f"n0w{number}" for number in range(5)]
    logs = {path.name for path in tmp_path.glob("n0w*.log")}
    assert logs == {f"{s.worker}.log" for s in spawned}, "the last spare process has left no log"


def _starts(folder: Path, **options: Any) -> tuple[WorkerStarts, WorkerSpec, Any]:
    selector = selectors.DefaultSelector()
    spec = WorkerSpec(sys.executable, dict(os.environ), folder, {}, **options)
    return WorkerStarts("n0", selector), spec, selector


def test_a_spare_process_is_used_once_unless_it_has_ended(tmp_path: Path) -> None:
    starts, spec, selector = _starts(tmp_path)
    starts.prepare(spec)
    first = starts.start(spec, 0, kills_before=0)
    assert first.name == "n0w0", "none was wanted"
    starts.wants_spare = True
    starts.prepare(spec)
    starts.prepare(spec)
    assert not (tmp_path / "n0w1.log").exists()
    assert len(selector.get_map()) == 4, "only the worker is heard"
    second = starts.start(spec, 3, kills_before=0)
    assert (second.name, second.slot) == ("n0w1", 3)
    starts.prepare(spec)
    starts.close()
    starts.prepare(spec)
    third = starts.start(spec, 0, kills_before=0)
    assert third.name == "n0w3", "the one before was closed"
    for worker in (first, second, third):
        os.kill(worker.pid, signal.SIGKILL)
        worker.close()
    assert not selector.get_map()


def test_a_spare_process_that_has_ended_is_not_used(tmp_path: Path) -> None:
    starts, spec, selector = _starts(tmp_path)
    starts.wants_spare = True
    starts.prepare(spec)
    spare = starts._spare
    assert spare is not None
    os.kill(spare.pid, signal.SIGKILL)
    os.waitid(os.P_PID, spare.pid, os.WEXITED | os.WNOWAIT)
    worker = starts.start(spec, 0, kills_before=0)
    assert worker.pid != spare.pid
    assert not worker.has_ended()
    worker.kill("")
    worker.close()
    assert not selector.get_map()


def test_there_is_no_spare_process_where_slots_have_their_own_gpu(tmp_path: Path) -> None:
    starts, spec, _ = _starts(tmp_path, gpus=("0", "1"))
    starts.wants_spare = True
    starts.prepare(spec)
    assert starts._spare is None
