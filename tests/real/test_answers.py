"""Real workers answer for single items: under old interpreters, at a memory limit, killed for memory."""

from __future__ import annotations

import sys
import zlib
from pathlib import Path

import pytest

from parallelrun_jupyter import TabularDataset
from parallelrun_jupyter.data.batching import BatchSpec
from parallelrun_jupyter.engine.node.memory_kills import MemoryKills
from parallelrun_jupyter.engine.scheduling import signals
from parallelrun_jupyter.worker.plan_line import PlanLine
from tests.node_runner import NodeRunner
from tests.pandas_environments import environments

PATHS = [f"/in/{number}.txt" for number in range(10)]


def line_of(paths: list[str]) -> bytes:
    return PlanLine(0, paths, [], []).encode()


LINE = line_of(PATHS)

GENERATOR = """
import os

def check(path):
    if path.endswith(("3.txt", "4.txt", "8.txt")):
        raise ValueError("bad " + os.path.basename(path))
    return os.path.basename(path)

def run(mini_batch):
    for path in mini_batch:
        try:
            yield check(path)
        except ValueError as error:
            yield error
"""


def only(line: bytes, *ranges: tuple[int, int]) -> bytes:
    return PlanLine.decode(line).only(ranges).encode()


def old_python() -> str:
    found = sorted(Path.home().glob(".pyenv/versions/3.7.*/bin/python"))
    if not found:
        pytest.skip("no Python 3.7 on this machine")
    return str(found[0])


@pytest.mark.parametrize("is_old", [False, True])
def test_a_generator_that_yields_exceptions(tmp_path: Path, is_old: bool) -> None:
    python = old_python() if is_old else sys.executable
    with NodeRunner(tmp_path, GENERATOR, python=python) as runner:
        answer, whole = runner.run([LINE, line_of(PATHS[:3])])
        assert [r[:3] for r in answer.results] == [(0, 3, 3), (5, 3, 3), (9, 1, 1)]
        assert runner.rows(answer) == [
            b"0.txt\n1.txt\n2.txt\n",
            b"5.txt\n6.txt\n7.txt\n",
            b"9.txt\n",
        ]
        assert [r.crc for r in answer.results] == list(map(zlib.crc32, runner.rows(answer)))
        (group,) = answer.failures
        assert group.ranges == ((3, 1), (4, 1), (8, 1))
        assert group.messages == ("bad 3.txt", "bad 4.txt", "bad 8.txt")
        assert group.failure.group == "ValueError at score.py:6 in check"
        assert group.failure.bases[:2] == ("ValueError", "Exception")
        assert "in check" in group.failure.traceback
        assert (whole.items, whole.rows) == (3, 3), "a mini-batch without failed items is as ever"
        part = runner.run([only(LINE, (1, 2), (4, 1), (9, 1))], first=7, attempt=2)[0]
    assert (part.mini_batch, part.attempt, part.items) == (7, 2, 4)
    assert [r[:3] for r in part.results] == [(1, 2, 2), (9, 1, 1)]
    assert [f.ranges for f in part.failures] == [((4, 1),)]
    log = runner.log.read_text()
    assert "3 of 10 items failed with ValueError at score.py:6 in check, the first is item 3" in log


def test_the_traceback_of_an_isolated_item_is_in_the_log_once(tmp_path: Path) -> None:
    script = (
        "def run(mini_batch, context):\n"
        "    for index, path in enumerate(mini_batch):\n"
        "        if path.endswith('3.txt'):\n"
        "            raise ValueError('bad three')\n"
        "        if path.endswith('8.txt'):\n"
        "            context.fail(index, 'bad eight')\n"
        "    return mini_batch\n"
    )
    isolating = PlanLine.decode(LINE).only([(0, 10)], isolates=True).encode()
    with NodeRunner(tmp_path, script) as runner:
        (answer,) = runner.run([isolating])
    assert [group.ranges for group in answer.failures] == [((3, 1),), ((8, 1),)]
    log = runner.log.read_text()
    assert log.count("ValueError: bad three\n") == 1
    assert log.count("bad eight\n") == 1
    assert "1 of 10 items failed with ValueError at score.py:4 in run, the first is item 3" in log


def test_the_last_words_of_a_single_range_may_be_short(tmp_path: Path) -> None:
    script = "def run(mini_batch):\n    return mini_batch[:1]\n"
    with NodeRunner(tmp_path, script) as runner:
        part = runner.run([only(LINE, (4, 3))])[0]
        assert [r[:3] for r in part.results] == [(4, 3, 1)]
        assert runner.rows(part) == [b"/in/4.txt\n"]
        refused = runner.run([only(LINE, (0, 1), (4, 3))], attempt=2)[0]
    assert refused.failure.error == "BadResult"
    assert refused.items == 4
    assert "run() returned 1 elements for 4 items, which are in 2 places" in refused.failure.message
    assert "ShortResult: run() returned 1 result for 3 items" in runner.log.read_text()


FRAME = """
def run(frame, context):
    first = context.global_row_index_lower_bound
    assert [row["n"] for row in context.records()] == frame["n"].tolist()
    for index, row in frame.iterrows():
        if row["n"] % 4 == 3:
            context.fail(index, "%d is bad" % row["n"])
    good = frame[frame["n"] % 4 != 3]
    return good.assign(first=first)
"""


@pytest.mark.parametrize("form", ["text", "csv", "jsonl", "parquet"])
def test_rows_fail_by_their_index_in_the_frame(tmp_path: Path, form: str) -> None:
    path = tmp_path / "t.csv"
    path.write_text("n,name\n" + "".join(f"{k},x{k}\n" for k in range(20)))
    dataset = TabularDataset.from_delimited_files(path)
    line = next(line for line, _ in dataset.mini_batches(0, BatchSpec(1000)) if line).rstrip()
    with NodeRunner(tmp_path, FRAME, output_format=form) as runner:
        whole, part = runner.run([line, only(line, (5, 2), (7, 1), (15, 5))])
        rows = runner.rows(part)
    assert [r[:2] for r in whole.results] == [(0, 3), (4, 3), (8, 3), (12, 3), (16, 3)]
    assert [r[:3] for r in part.results] == [(5, 2, 2), (16, 3, 3)]
    (group,) = part.failures
    assert (group.ranges, group.messages) == (((7, 1), (15, 1), (19, 1)), ("7 is bad", "15 is bad", "19 is bad"))  # fmt: skip
    assert group.failure.group == "ItemFailed at score.py:7 in run"
    if form == "text":
        assert rows == [b"5 x5 5\n6 x6 5\n", b"16 x16 5\n17 x17 5\n18 x18 5\n"]


def test_an_old_pandas_answers_for_rows(tmp_path: Path) -> None:
    old = [
        e for e in environments() if e.release.pandas.startswith("1.0") and e.executable.exists()
    ]
    if not old:
        pytest.skip("no environment with pandas 1.0 has been built")
    path = tmp_path / "t.csv"
    path.write_text("n,name\n" + "".join(f"{k},x{k}\n" for k in range(8)) + "8,x8,9\noops,x9\n")
    dataset = TabularDataset.from_delimited_files(path, column_types={"n": "int64"})
    line = next(line for line, _ in dataset.mini_batches(0, BatchSpec(1000)) if line).rstrip()
    with NodeRunner(tmp_path, FRAME, python=str(old[0].executable)) as runner:
        whole = runner.run([line])[0]
        assert whole.failure.kind == "bad_input"
        good, *bad = runner.run(
            [only(line, (2, 6)), only(line, (8, 1)), only(line, (9, 1))], attempt=2
        )
        assert runner.rows(good) == [b"2 x2 2\n", b"4 x4 2\n5 x5 2\n6 x6 2\n"]
    assert "has more fields than the 2 columns" in bad[0].failure.message
    assert "contains 'oops'" in bad[1].failure.message


LIMITED = """
import resource, sys
held = []

def init():
    with open("/proc/self/statm") as file:
        pages = int(file.read().split()[0])
    limit = pages * resource.getpagesize() + (64 << 20)
    resource.setrlimit(resource.RLIMIT_AS, (limit, limit))

def run(mini_batch):
    name = mini_batch[0].rpartition("/")[2]
    if name == "0.txt":  # one large piece
        kept = [bytearray(20 << 20) for _ in range(100)]
    if name == "1.txt":  # until not even a small object fits
        kept = []
        while True:
            kept.append([object() for _ in range(100)])
    if name == "2.txt":  # wrapped by a library
        try:
            return [bytearray(1 << 40)]
        except MemoryError as error:
            raise RuntimeError("could not predict") from error
    if name == "4.txt":  # the script keeps everything
        while True:
            held.append([object() for _ in range(100)])
    return [len([[object() for _ in range(100)] for _ in range(2000)])]
"""


# What still fits when nothing fits depends on the moment: on a loaded machine, one run in ten names
# the failure less exactly, or loses the worker, which then is the failure.
@pytest.mark.flaky(reruns=4)
@pytest.mark.skipif(sys.platform != "linux", reason="macOS does not enforce RLIMIT_AS")
@pytest.mark.parametrize("is_old", [False, True])
def test_a_lack_of_memory_is_described_by_the_worker_that_suffers_it(
    tmp_path: Path, is_old: bool
) -> None:
    python = old_python() if is_old else sys.executable
    lines = [line_of([path]) for path in PATHS[:4]]
    with NodeRunner(tmp_path, LIMITED, python=python) as runner:
        for attempt in (1, 2):
            *failed, good = runner.run(lines, attempt=attempt)
            assert [f.failure.kind for f in failed] == ["out_of_memory"] * 3
            names = [f.failure.error for f in failed]
            assert names == ["MemoryError", "MemoryError", "RuntimeError"]
            places = [f.failure.group.partition(" at ")[2] for f in failed]
            assert [place.partition(" ")[0] for place in places] == ["score.py:14", "score.py:18", "score.py:23"]  # fmt: skip
            assert good.rows == 1
            assert {f.worker for f in failed} == {"n0w0"}, "the worker lives on"
        full = runner.run([line_of([PATHS[4]])], attempt=3)[0]
    assert (full.worker, full.failure.kind) == ("n0w0", "out_of_memory")
    assert full.failure.group.startswith("MemoryError at score.py:26 in ")


KILLED = """
import os, signal

def run(mini_batch):
    if mini_batch[0].endswith("0.txt"):
        with open("memory.events", "w") as file:
            file.write("low 0\\noom 1\\noom_kill 4\\n")
    os.kill(os.getpid(), signal.SIGKILL)
"""


def test_a_worker_that_the_kernel_killed_for_memory(tmp_path: Path) -> None:
    counter = tmp_path / "memory.events"
    counter.write_text("low 0\noom 1\noom_kill 3\n")
    with NodeRunner(tmp_path, KILLED) as runner:
        # The kernel's own file would need a process that takes all memory of this machine.
        runner.node._kills = MemoryKills([tmp_path / "absent", counter])
        killed, other = runner.run([line_of(PATHS[:2]), line_of(PATHS[2:4])])
    assert (killed.failure.kind, killed.failure.error) == ("out_of_memory", "OutOfMemory")
    assert "because memory ran out" in killed.failure.message
    assert killed.failure.group.startswith("OutOfMemory at ")
    assert other.failure.kind == "worker_lost", "one kill explains one death"


RETRIES = """
from parallelrun_jupyter import RetryAfter

def run(mini_batch):
    results = []
    for number, path in enumerate(mini_batch):
        if number == 1:
            results.append(RetryAfter(30, "too many requests"))
        elif number == 2:
            results.append(RetryAfter(90.5))
        else:
            results.append(path)
    return results
"""


@pytest.mark.parametrize("is_old", [False, True])
def test_a_script_asks_for_a_delay_with_and_without_the_package(
    tmp_path: Path, is_old: bool
) -> None:
    python = old_python() if is_old else sys.executable
    with NodeRunner(tmp_path, RETRIES, python=python) as runner:
        (answer,) = runner.run([LINE])
    (group,) = answer.failures
    assert group.ranges == ((1, 1), (2, 1))
    assert group.messages == ("try again after 30 s: too many requests", "try again after 90.5 s")
    assert group.failure.retry_after_s == 90.5
    assert group.failure.bases[:2] == ("RetryAfter", "parallelrun_jupyter.RetryAfter")
    assert group.failure.group == "RetryAfter at score.py:4 in run"


def test_without_answers_an_exception_is_a_value_and_fail_is_refused(tmp_path: Path) -> None:
    script = (
        "def run(mini_batch, context):\n    if len(mini_batch) == 1:\n        context.fail(0, 'bad')\n"
        "    return [ValueError('text'), *mini_batch[1:]]\n"
    )
    with NodeRunner(tmp_path, script, answers_items=False) as runner:
        good, bad = runner.run([LINE, line_of(PATHS[:1])])
    assert isinstance(good, signals.Success)
    assert good.rows == 10
    assert "isolate_failures is off" in bad.failure.message


AHEAD = """
import sys

def init():
    assert "pandas" not in sys.modules

def run(mini_batch):
    return ["pandas"] if "pandas" in sys.modules else []
"""


@pytest.mark.parametrize("is_only_input", [True, False])
def test_pandas_is_imported_before_the_first_table_and_after_init(
    tmp_path: Path, *, is_only_input: bool
) -> None:
    with NodeRunner(tmp_path, AHEAD, has_tables_only=is_only_input) as runner:
        (answer,) = runner.run([line_of(PATHS[:1])])
        assert answer.rows == is_only_input
