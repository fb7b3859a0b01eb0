"""A worker reads the rows of the next mini-batch in a thread, while run() has those of this one."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from parallelrun_jupyter import TabularDataset
from parallelrun_jupyter.data.batching import BatchSpec
from parallelrun_jupyter.engine.scheduling.signals import AttemptErrored
from parallelrun_jupyter.worker.plan_line import PlanLine

from ..node_runner import NodeRunner

ROWS = 12
READ_AHEAD = range(2, 9)
"""Those that are certainly read ahead: two tell the time, and the last ones go to a free worker."""

OPTIONS = """
import time, pandas as pd
read_csv = pd.read_csv

def slow(*args, **kwargs):
    time.sleep(0.03)  # long enough to be read ahead
    return read_csv(*args, **kwargs)

pd.read_csv = slow

def run(frame):
    with pd.option_context("future.infer_string", False, "mode.string_storage", "python"):
        time.sleep(0.08)
    return ["%d %s" % (frame["n"].iloc[0], frame["s"].dtype)]
"""

SCRIPT = """
import gc, os, signal, threading, time
import pandas as pd

read_csv = pd.read_csv
read, begun, behind = threading.Event(), threading.Event(), []
is_reading = False

def reads(text, *args, **kwargs):
    global is_reading
    if threading.current_thread() is threading.main_thread():
        time.sleep(0.05)  # long enough to be read ahead
        return read_csv(text, *args, **kwargs)
    is_reading = True
    begun.set()
    try:
        if text.getvalue()[:2] == b"5,":
            time.sleep(PATIENCE_S)
        frame = read_csv(text, *args, **kwargs)
        behind.append(int(frame.iloc[0, 0]))
        return frame
    finally:
        is_reading = False
        read.set()

pd.read_csv = reads
PATIENCE_S = 0  # of reading the sixth

def run(frame):
    n = int(frame["n"][0])
    is_behind = n in behind
    if 1 <= n < 8 and not os.path.exists("died"):
        assert (WAIT_FOR if n == 4 else read).wait(20), n
    read.clear(), begun.clear()
    if n == 4:
        act()
    return ["%d %s" % (n, is_behind)]

WAIT_FOR = read
def act(): pass
"""


def lines_of(folder: Path, *, bad: int = -1) -> list[bytes]:
    """Return the plan of a table with one row in each mini-batch; one may not be readable."""
    path = folder / "a.csv"
    rows = (f"{k},{'oops' if k == bad else '0.5'}\n" for k in range(ROWS))
    path.write_text("n,x\n" + "".join(rows))
    dataset = TabularDataset.from_delimited_files(path, column_types={"n": "int64", "x": "float64"})
    lines = (line for line, _ in dataset.mini_batches(0, BatchSpec(1, rows=1)) if line)
    return [PlanLine.decode(line).encode() for line in lines]


def answers_of(folder: Path, more: str = "", bad: int = -1) -> tuple[list[Any], list[str]]:
    with NodeRunner(folder, SCRIPT + more) as runner:
        answers = runner.run(lines_of(folder, bad=bad))
        assert "Warning" not in runner.log.read_text()
        return answers, bytes(runner._rows).decode().splitlines()


def test_the_next_rows_are_read_while_run_has_these(tmp_path: Path) -> None:
    answers, rows = answers_of(tmp_path)
    assert not [a for a in answers if isinstance(a, AttemptErrored)]
    assert [int(row.split()[0]) for row in rows] == list(range(ROWS))
    assert {k for k in range(ROWS) if f"{k} True" in rows} >= set(READ_AHEAD)


def test_rows_that_cannot_be_read_fail_their_own_mini_batch(tmp_path: Path) -> None:
    answers, rows = answers_of(tmp_path, bad=5)
    failed = [a for a in answers if isinstance(a, AttemptErrored)]
    assert [a.mini_batch for a in failed] == [5]
    assert "'oops'" in failed[0].failure.message
    assert [int(row.split()[0]) for row in rows] == [k for k in range(ROWS) if k != 5]


DEATH = """
PATIENCE_S, WAIT_FOR = {patience_s}, {wait_for}
def act():
    global PATIENCE_S
    PATIENCE_S = 0
    if not os.path.exists("died"):
        open("died", "w").close()
        ahead = next(each for each in gc.get_objects() if type(each).__name__ == "ReadAhead")
        while WAIT_FOR is read and ahead._loaded.empty():
            time.sleep(0.01)
        os.kill(os.getpid(), signal.{signal})
"""


@pytest.mark.parametrize(
    ("wait_for", "name", "charged"),
    [("begun", "SIGKILL", []), ("begun", "SIGSEGV", []), ("read", "SIGSEGV", [4])],
)
def test_a_death_is_charged_to_the_call_that_has_caused_it(
    tmp_path: Path, wait_for: str, name: str, charged: list[int]
) -> None:
    patience_s = 20 if wait_for == "begun" else 0  # the death interrupts the reading
    body = DEATH.format(patience_s=patience_s, wait_for=wait_for, signal=name)
    answers, rows = answers_of(tmp_path, body)
    assert [a.mini_batch for a in answers if isinstance(a, AttemptErrored)] == charged
    done = sorted(int(row.split()[0]) for row in rows)
    assert done == [k for k in range(ROWS) if k not in charged], "others run again, uncharged"


FORK = """
PATIENCE_S, WAIT_FOR = 0.1, begun
def act():
    pid = os.fork()
    if not pid:
        os._exit(1 if is_reading else 0)
    assert os.waitpid(pid, 0)[1] == 0
"""


def test_a_process_is_forked_only_while_no_rows_are_being_read(tmp_path: Path) -> None:
    answers, _ = answers_of(tmp_path, FORK)
    assert not [a for a in answers if isinstance(a, AttemptErrored)]


FORK_BESIDE_A_READING_THAT_HANGS = """
PATIENCE_S, WAIT_FOR, forked = 0, begun, threading.Event()

def hangs(text, *args, **kwargs):
    frame = reads(text, *args, **kwargs)
    if int(frame.iloc[0, 0]) == 5:
        assert forked.wait(20)
    return frame

pd.read_csv = hangs

def act():
    ahead = next(each for each in gc.get_objects() if type(each).__name__ == "ReadAhead")
    ahead._fork_wait_s = 0.01
    open("died", "w").close()  # nothing is waited for any more
    try:
        for _ in range(2):
            pid = os.fork()
            if not pid:
                os._exit(1 if ahead._lock.locked() else 0)
            assert os.waitpid(pid, 0)[1] == 0
            assert ahead._lock.locked(), "the reading goes on"
    finally:
        forked.set()
"""


def test_a_process_is_forked_although_a_reading_hangs(tmp_path: Path) -> None:
    answers, rows = answers_of(tmp_path, FORK_BESIDE_A_READING_THAT_HANGS)
    assert not [a for a in answers if isinstance(a, AttemptErrored)]
    assert [int(row.split()[0]) for row in rows] == list(range(ROWS))
    assert not {f"{k} True" for k in range(6, ROWS)} & set(rows), "nothing is read ahead any more"


NO_MEMORY = """
def act():
    open("died", "w").close()  # nothing is waited for any more
    raise MemoryError
"""


def test_without_memory_no_more_rows_are_read_ahead(tmp_path: Path) -> None:
    answers, rows = answers_of(tmp_path, NO_MEMORY)
    assert [a.mini_batch for a in answers if isinstance(a, AttemptErrored)] == [4]
    assert not {f"{k} True" for k in range(6, ROWS)} & set(rows)


READING_KILLS = """
inner, run_others = pd.read_csv, run

def reads(text, *args, **kwargs):
    if text.getvalue()[:2] == b"5,":
        open("died", "w").close()
        is_ahead = threading.current_thread() is not threading.main_thread()
        ahead = next(each for each in gc.get_objects() if type(each).__name__ == "ReadAhead")
        while is_ahead and not ahead._page.withdrawn:
            time.sleep(0.01)
        os.kill(os.getpid(), signal.SIGSEGV)
    return inner(text, *args, **kwargs)

def run(frame):
    if frame["n"][0] == 4 and not os.path.exists("died"):
        time.sleep(20)  # the rows after these end the process meanwhile
    return run_others(frame) if frame["n"][0] != 4 else ["4 False"]

pd.read_csv = reads
"""


def test_rows_that_were_withdrawn_while_they_were_read_are_to_blame_for_a_death(
    tmp_path: Path,
) -> None:
    answers, rows = answers_of(tmp_path, READING_KILLS)
    assert [a.mini_batch for a in answers if isinstance(a, AttemptErrored)] == [5]
    assert sorted(int(row.split()[0]) for row in rows) == [k for k in range(ROWS) if k != 5]


STRICT_SCRIPT = """
import warnings
warnings.simplefilter("error")
"""


def test_rows_are_read_ahead_of_a_script_that_makes_warnings_errors(tmp_path: Path) -> None:
    answers, rows = answers_of(tmp_path, STRICT_SCRIPT)
    assert not [a for a in answers if isinstance(a, AttemptErrored)]
    assert {k for k in range(ROWS) if f"{k} True" in rows} >= set(READ_AHEAD)
    assert "Warning" not in (tmp_path / "n0w0.log").read_text()


NO_THREADS = """
import _thread
open("died", "w").close()  # nothing is waited for
def refuse(*_): raise RuntimeError("can't start new thread")
_thread.start_new_thread = refuse
"""


def test_without_more_threads_rows_are_read_when_they_run(tmp_path: Path) -> None:
    answers, rows = answers_of(tmp_path, NO_THREADS)
    assert not [a for a in answers if isinstance(a, AttemptErrored)]
    assert rows == [f"{k} False" for k in range(ROWS)]
    assert not (tmp_path / "n0w1.log").exists(), "the worker goes on"


BLOCKED_SIGNAL = """
import os, signal
def run(mini_batch):
    signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGALRM})
    os.kill(os.getpid(), signal.SIGALRM)
    signal.sigwait({signal.SIGALRM})
    return mini_batch
"""


def test_a_signal_that_the_script_blocks_waits_for_it(tmp_path: Path) -> None:
    lines = [PlanLine(0, [str(k)], [1], [1]).encode() for k in range(20)]
    with NodeRunner(tmp_path, BLOCKED_SIGNAL) as runner:
        answers = runner.run(lines)
    assert not [a for a in answers if isinstance(a, AttemptErrored)]


def test_options_of_one_call_do_not_reach_the_rows_of_the_next(tmp_path: Path) -> None:
    path = tmp_path / "a.csv"
    path.write_text("n,s\n" + "".join(f"{k},a{k}\n" for k in range(ROWS)))
    table = TabularDataset.from_delimited_files(path)
    lines = [
        PlanLine.decode(line).encode()
        for line, _ in table.mini_batches(0, BatchSpec(1, rows=1))
        if line
    ]
    with NodeRunner(tmp_path, OPTIONS) as runner:
        runner.run(lines)
        types = [line.split()[1] for line in bytes(runner._rows).decode().splitlines()]
    assert len(types) == ROWS
    assert len(set(types)) == 1
