"""Child processes never end silently: whatever ends them is in the error, the journal and the log."""

from __future__ import annotations

import os
import selectors
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import pytest

from parallelrun_jupyter import DaskCompute, FileDataset, ParallelRunConfig, Run, submit
from parallelrun_jupyter.engine.child_process import ChildProcess, Outbox
from parallelrun_jupyter.errors import RunFailedError
from parallelrun_jupyter.runs.journal.events import (
    AttemptFailed,
    RunFinished,
    WarningRaised,
    WorkerLost,
)
from tests.conftest import SCRIPTS
from tests.real.boom import BoomStore, boom
from tests.real.conftest import TIMEOUT_S, end_of, rows_of

__all__ = ["boom"]

NAMES = [f"{number:02d}.txt" for number in range(20)]
KILLED = (
    "its process died with signal 9 (SIGKILL): killed from outside, often because memory ran out"
)


@pytest.fixture
def over_store(boom: BoomStore) -> Callable[..., Run]:
    """Return a function that starts a run over the files of the store."""

    def begin(**settings: object) -> Run:
        config = ParallelRunConfig(
            entry_script=str(SCRIPTS / "echo.py"),
            **{"mini_batch_size": 1, "process_count_per_node": 2, "run_max_try": 1, **settings},
        )
        return submit(config, inputs=FileDataset(boom.url))

    return begin


def error_of(run: Run) -> str:
    with pytest.raises(RunFailedError) as caught:
        run.wait_for_completion(show_output=False, timeout_s=TIMEOUT_S)
    return str(caught.value)


def last(run: Run) -> RunFinished:
    return [e for e in run.events(follow=False) if isinstance(e, RunFinished)][-1]


def assert_told(run: Run, what: str, raised_in: str) -> None:
    """Assert that the reason, the events and the log have the exception with its traceback."""
    error = error_of(run)
    finished = last(run)
    assert finished.state == "Failed"
    assert f"RuntimeError: boom at {what}" in finished.reason
    assert "logs/driver.log" in finished.reason
    assert "resume the run" in finished.reason
    for text in (error, finished.traceback, run.folder.driver_log.read_text()):
        assert text.count("Traceback") >= 1
        assert 'boomfs.py", line' in text
        assert f"in {raised_in}" in text
        assert f"RuntimeError: boom at {what}" in text


# The planner


def test_what_the_planner_did_not_expect_is_told(
    over_store: Callable[..., Run], boom: BoomStore
) -> None:
    boom.tell(ls="raise")
    run = over_store()
    assert_told(run, "ls", "ls")
    boom.tell()
    run.resume()
    assert end_of(run) == "Completed"
    assert rows_of(run) == NAMES
    assert not last(run).traceback, "that of an earlier end is no more"


@pytest.mark.parametrize(
    ("fate", "ending"),
    [
        ("die", KILLED),
        ("abort", "its process died with signal 6 (SIGABRT)"),
        ("exit", "SystemExit: 0"),
    ],
)
def test_a_planner_that_dies_is_told_with_how_and_what_to_do(
    over_store: Callable[..., Run], boom: BoomStore, fate: str, ending: str
) -> None:
    boom.tell(ls=fate)
    run = over_store()
    error = error_of(run)
    assert f"the inputs could not be listed: {ending}" in error
    assert "resume the run to list them again" in error
    log = run.folder.driver_log.read_text()
    assert ("logs/driver.log" in error) == bool(log), (
        "a log is named where there is something in it"
    )
    if fate == "abort":
        for text in (error, log, last(run).traceback):
            assert "terminate called after throwing an instance of 'boom'" in text
            assert "Fatal Python error: Aborted" in text


# The stager


def test_what_a_store_raises_while_staging_is_told_with_its_traceback(
    over_store: Callable[..., Run], boom: BoomStore
) -> None:
    boom.tell(get="raise")
    run = over_store()
    error = error_of(run)
    assert 'boomfs.py", line' in error
    assert "RuntimeError: boom at get" in error
    failed = run.failures().iloc[0]
    assert failed["error"] == "RuntimeError"
    assert "could not be downloaded from the boom store: RuntimeError: boom" in failed["message"]
    assert "in get_file" in failed["traceback"]


def test_a_stager_that_dies_again_and_again_is_told_with_how(
    over_store: Callable[..., Run], boom: BoomStore
) -> None:
    boom.tell(get="die")
    run = over_store()
    assert f"ended 3 times in a row, most recently: {KILLED}" in error_of(run)
    [text] = [e.text for e in run.events(follow=False) if isinstance(e, WarningRaised)]
    assert f"the process that stages the inputs was restarted: {KILLED}" in text


def test_what_ends_the_stager_is_told_with_its_traceback(
    over_store: Callable[..., Run], boom: BoomStore
) -> None:
    boom.tell(get="exit")
    run = over_store()
    error = error_of(run)
    assert "most recently: SystemExit: 0" in error
    assert "in meet_fate" in error
    warnings = [e for e in run.events(follow=False) if isinstance(e, WarningRaised)]
    assert "in meet_fate" in warnings[0].traceback
    assert "in meet_fate" in run.folder.driver_log.read_text()


# The uploader


@pytest.fixture
def to_store(boom: BoomStore, numbers: Path) -> Callable[..., Run]:
    """Return a function that starts a run whose output goes to the store."""

    def begin(**settings: object) -> Run:
        config = ParallelRunConfig(
            entry_script=str(SCRIPTS / "echo.py"),
            **{"mini_batch_size": 10, "process_count_per_node": 2, **settings},
        )
        return submit(config, inputs=numbers, output=f"{boom.url}/out")

    return begin


def test_what_the_uploader_did_not_expect_is_told_and_leaves_nothing_in_the_store(
    to_store: Callable[..., Run], boom: BoomStore
) -> None:
    boom.tell(put="raise")
    run = to_store()
    assert_told(run, "put", "put_file")
    assert not list((boom.root / "box" / "out").iterdir())
    boom.tell()
    run.resume()
    assert end_of(run) == "Completed"
    assert len((boom.root / "box/out/parallel_run_step.txt").read_text().splitlines()) == 60


def test_an_uploader_that_is_killed_is_told(to_store: Callable[..., Run], boom: BoomStore) -> None:
    boom.tell(put="die")
    run = to_store()
    error = error_of(run)
    assert f"the output could not be uploaded: {KILLED}. The rows are safe in" in error
    assert "resume the run to publish them" in error


# The part writer


def by_parts(boom: BoomStore, numbers: Path) -> Run:
    config = ParallelRunConfig(
        entry_script=str(SCRIPTS / "wide_rows.py"),
        output_format="parquet",
        mini_batch_size=10,
        process_count_per_node=1,
        node_count=1,
    )
    compute = DaskCompute(
        cluster="distributed.LocalCluster",
        arguments={"n_workers": 1, "threads_per_worker": 1, "dashboard_address": None},
    )
    return submit(
        config, inputs=numbers, output=f"{boom.url}/out", compute=compute, arguments=(0.01, 10)
    )


def test_what_the_part_writer_did_not_expect_is_told(boom: BoomStore, numbers: Path) -> None:
    boom.tell(put="raise")
    assert_told(by_parts(boom, numbers), "put", "put_file")


def test_a_part_writer_that_is_killed_is_told(boom: BoomStore, numbers: Path) -> None:
    boom.tell(put="die")
    error = error_of(by_parts(boom, numbers))
    assert "a part of the output could not be uploaded from" in error
    assert KILLED in error
    assert "resume the run" in error


# Copies


def test_a_download_that_fails_leaves_nothing_that_looks_like_a_file(
    boom: BoomStore, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    boom.tell(get="raise")
    monkeypatch.setenv("BOOM_SPARED", "0")
    target = tmp_path / "copies"
    with pytest.raises(RuntimeError, match="boom at get"):
        FileDataset(boom.url).download(target)
    assert [path for path in target.rglob("*") if path.is_file()] == []
    boom.tell()
    copies = FileDataset(boom.url).download(target)
    assert sorted(Path(path).name for path in copies) == NAMES


def test_a_local_copy_that_fails_is_not_taken_for_the_file(
    numbers: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def break_off(source: str, target: str) -> None:
        Path(target).write_text("half")
        raise OSError(28, "No space left on device", target)

    target = tmp_path / "copies"
    with monkeypatch.context() as patch:
        patch.setattr("shutil.copyfile", break_off)
        with pytest.raises(OSError, match="No space left"):
            FileDataset(numbers).download(target)
    assert [path for path in target.rglob("*") if path.is_file()] == []
    for path in FileDataset(numbers).download(target):
        assert Path(path).read_text() == str(int(Path(path).stem))


# Cancel while inputs are listed


def test_a_draining_cancel_while_inputs_are_listed_ends_what_runs_and_kills_nothing(
    boom: BoomStore, numbers: Path, tmp_path: Path
) -> None:
    script = tmp_path / "naps.py"
    script.write_text(
        "import os, time\n"
        "def run(mini_batch):\n"
        "    time.sleep(1.5)\n"
        "    return [os.path.basename(path) for path in mini_batch]\n"
    )
    boom.tell(ls="stall")
    config = ParallelRunConfig(
        entry_script=str(script), mini_batch_size=1, process_count_per_node=2
    )
    run = submit(config, inputs=[numbers, FileDataset(boom.url)])
    until = time.monotonic() + TIMEOUT_S
    while not any(row["phase"] == "running" for row in run.snapshot()["workers"]):
        assert time.monotonic() < until
        time.sleep(0.02)
    assert not run.snapshot()["plan_finished"]
    run.cancel(drain=True)
    assert end_of(run) == "Canceled"
    snapshot = run.snapshot()
    assert snapshot["succeeded"] >= 1, "what was running has run to its end"
    events = run.events(follow=False)
    assert not [e for e in events if isinstance(e, AttemptFailed | WorkerLost)]
    assert last(run).reason == "canceled on request"


# The class for child processes itself


def test_an_outbox_sends_more_than_a_pipe_holds_without_blocking() -> None:
    out, into = os.pipe()
    sent = os.urandom(1 << 20)
    with selectors.DefaultSelector() as selector:
        outbox = Outbox(into)
        outbox.attach(selector, "owner")
        outbox.send(sent)
        received = b""
        while selector.get_map():
            received += os.read(out, 1 << 16)
            for key, _ in selector.select(0):
                assert (key.fd, key.data) == (into, "owner")
                outbox.flush()
        outbox.close()
        while data := os.read(out, 1 << 16):
            received += data
    os.close(out)
    assert received == sent


def test_a_child_replies_and_its_exception_is_the_cause_of_its_end() -> None:
    def work(send: Callable[[list[object]], None]) -> None:
        send(["number", 1])
        raise ValueError("no more")

    child = ChildProcess.fork(work)
    assert child.receive(TIMEOUT_S) == [["number", 1]]
    while child.receive(TIMEOUT_S) is not None:
        pass
    end = child.died()
    assert (end.error, end.reason) == ("ValueError", "ValueError: no more")
    assert "in work" in end.traceback
    assert child.end() is end


def test_a_child_that_misses_its_deadline_is_killed() -> None:
    child = ChildProcess.fork(lambda _send: time.sleep(1000))
    assert child.receive(0.05) == []
    child.enforce_deadline()
    before = child.is_overdue
    child.deadline = time.monotonic()
    child.enforce_deadline()
    assert (before, child.is_overdue) == (False, True)
    assert child.receive(TIMEOUT_S) is None
    assert child.died().reason == KILLED


IDLE = """
import os, time
from parallelrun_jupyter.worker.child_loop import die_with_parent

def wake_ups():
    (thread,) = set(os.listdir("/proc/self/task")) - {str(os.getpid())}
    with open("/proc/self/task/%s/status" % thread) as status:
        return next(int(line.split()[1]) for line in status if line.startswith("voluntary"))

die_with_parent(os.getppid())
time.sleep(0.3)
before = wake_ups()
time.sleep(3.2)
print(wake_ups() - before)
"""


@pytest.mark.skipif(not hasattr(os, "pidfd_open"), reason="only Linux can wait for any process")
def test_the_thread_that_watches_the_parent_sleeps() -> None:
    done = subprocess.run([sys.executable, "-c", IDLE], capture_output=True, text=True, check=True)
    assert int(done.stdout) < 2, "it checks once a second"


GROUP = """
import os, subprocess, sys, time
from parallelrun_jupyter.worker.child_loop import end_group_with_parent

if sys.argv[1] == "parent":
    subprocess.Popen([sys.executable, "-c", sys.argv[2], "child", ""], start_new_session=True)
    sys.stdin.read()
else:
    print(os.getpid(), flush=True)
    sleeper = subprocess.Popen(["sleep", "60"])
    end_group_with_parent(os.getppid())
    print(sleeper.pid, flush=True)
    time.sleep(60)
"""


def test_a_group_ends_with_its_parent() -> None:
    words = [sys.executable, "-c", GROUP, "parent", GROUP]
    with subprocess.Popen(
        words, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    ) as parent:
        assert parent.stdout is not None
        pids = [int(parent.stdout.readline()) for _ in range(2)]
        parent.kill()
        assert parent.stdout.read() == "", "the pipe ends with the last process that holds it"
    until = time.monotonic() + 20  # a process closes its files before it is gone
    while any(map(is_running, pids)):
        assert time.monotonic() < until
        time.sleep(0.01)


def is_running(pid: int) -> bool:
    """Return whether a process runs; a zombie may wait for whoever adopted it."""
    try:
        state = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0]
    except (FileNotFoundError, ProcessLookupError):
        return False
    return state != "Z"
