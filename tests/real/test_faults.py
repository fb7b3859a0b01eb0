"""One fault a test, through real processes: each ends in time, named, with nothing lost."""

from __future__ import annotations

import time
from collections.abc import Callable
from pathlib import Path

import pytest

from parallelrun_jupyter import Run
from parallelrun_jupyter.errors import RunFailedError
from tests.real.conftest import end_of, rows_of

NAMES = [f"{number:03d}.txt" for number in range(60)]


def without(*numbers: int) -> list[str]:
    return [name for k, name in enumerate(NAMES) if k not in numbers]


@pytest.mark.parametrize(
    ("fault", "kind", "group", "message"),
    [
        ("raise", "exception", r"ValueError at faults\.py:\d+ in do", "number 5 is bad"),
        ("sysexit", "exception", r"SystemExit at faults\.py:\d+ in do", "4"),
        ("hang", "timeout", r"Timeout at faults\.py:\d+ in do",
         r"run\(\) took longer than run_invocation_timeout = 1 s"),
        ("exit", "worker_lost", r"WorkerLost at run\(\)", "died with exit code 3"),
        ("kill", "worker_lost", r"WorkerLost at run\(\)", r"signal 9 \(SIGKILL\): killed from outside, often because memory ran out"),
        ("segfault", "worker_lost", r"WorkerLost at faults\.py:\d+ in do", r"signal 11 \(SIGSEGV\)"),
        ("none", "no_result", r"BadResult at run\(\)", r"run\(\) returned None"),
        ("text", "wrong_result", r"BadResult at run\(\)", r"run\(\) returned a str"),
        ("number", "wrong_result", r"BadResult at run\(\)", "an int, which has no length"),
    ],
)  # fmt: skip
def test_a_poisoned_mini_batch_is_lost_alone_and_named(
    start: Callable[..., Run], tmp_path: Path, fault: str, kind: str, group: str, message: str
) -> None:
    run = start(
        "faults.py", arguments=[tmp_path, f"{fault}=5"], run_max_try=2, error_threshold=1,
        run_invocation_timeout=1,
    )  # fmt: skip
    assert end_of(run) == "Completed"
    assert rows_of(run) == without(5)
    failures = run.failures()
    assert list(failures["mini_batch"]) == [5, 5]
    assert list(failures["attempt"]) == [1, 2]
    assert set(failures["kind"]) == {kind}
    assert failures["group"].str.fullmatch(group).all(), failures["group"].tolist()
    assert failures["message"].str.contains(message).all(), failures["message"].tolist()
    assert list(failures["items"]) == [1, 1]
    if "faults" in group:
        assert failures["traceback"].str.contains("in do").all()
        assert ", in do" in run.logs(mini_batch=5), "the log holds where it was"


@pytest.mark.parametrize("fault", ["raise", "hang", "exit", "kill", "segfault"])
def test_a_passing_fault_costs_nothing(
    start: Callable[..., Run], tmp_path: Path, fault: str
) -> None:
    faults = [f"once-{fault}={number}" for number in (3, 4, 40)]
    run = start("faults.py", arguments=[tmp_path, *faults], run_invocation_timeout=1)
    assert end_of(run) == "Completed"
    assert rows_of(run) == NAMES
    assert sorted(run.failures()["mini_batch"]) == [3, 4, 40]


def test_nothing_is_charged_to_a_mini_batch_that_was_only_fed_ahead(
    start: Callable[..., Run], tmp_path: Path
) -> None:
    run = start(
        "faults.py", arguments=[tmp_path, "exit=30", "hang=50"], process_count_per_node=1,
        run_max_try=1, error_threshold=2, run_invocation_timeout=1,
    )  # fmt: skip
    assert end_of(run) == "Completed"
    assert rows_of(run) == without(30, 50)
    assert sorted(run.failures()["mini_batch"]) == [30, 50]


def test_short_and_long_results(start: Callable[..., Run], tmp_path: Path) -> None:
    run = start("faults.py", arguments=[tmp_path, "short=5", "long=6"], error_threshold=1)
    assert end_of(run) == "Completed"
    snapshot = run.snapshot()
    assert (snapshot["items_succeeded"], snapshot["items_failed"], snapshot["rows"]) == (59, 1, 61)
    assert snapshot["failed"] == 0
    assert "returned 3 rows for the 1 item of mini-batch 6" in snapshot["warnings"][0]


def test_the_threshold_ends_the_run_with_the_users_exception_first(
    start: Callable[..., Run], tmp_path: Path
) -> None:
    run = start("faults.py", arguments=[tmp_path, "raise=5"], run_max_try=1)
    with pytest.raises(RunFailedError) as caught:
        run.wait_for_completion(show_output=False)
    lines = str(caught.value).splitlines()
    assert lines[0] == "Traceback (most recent call last):"
    assert "ValueError: number 5 is bad" in lines
    assert any("first in mini-batch 5; 1 attempt failed there" in line for line in lines)
    assert "1 item failed; error_threshold allows 0" in lines[-1]
    assert run.status == "Failed"
    assert not (run.folder.output / "parallel_run_step.txt").exists()


def test_an_init_that_cannot_succeed_ends_the_run_within_seconds(start: Callable[..., Run]) -> None:
    began = time.monotonic()
    run = start("init_raises.py")
    with pytest.raises(RunFailedError) as caught:
        run.wait_for_completion(show_output=False)
    assert time.monotonic() - began < 10
    text = str(caught.value)
    assert text.startswith("Traceback (most recent call last):")
    assert "FileNotFoundError: no model at /models/none.bin" in text
    assert "in load_model" in text
    assert "6 workers failed to start there" in text
    assert (
        text.splitlines()[-1].count("no worker could start: FileNotFoundError at init_raises.py")
        == 1
    )


def test_workers_that_die_before_they_report_anything_do_not_go_on_for_ever(
    start: Callable[..., Run],
) -> None:
    run = start(
        "dies_idle.py",
        mini_batch_size=30,
        run_max_try=2,
        error_threshold=-1,
        isolate_failures=False,
    )
    assert end_of(run) == "Failed"
    failures = run.failures()
    assert list(failures.groupby("mini_batch")["attempt"].max()) == [2, 2]
    assert set(failures["kind"]) == {"worker_lost"}


def test_a_worker_that_ignores_sigterm_is_ended_all_the_same(start: Callable[..., Run]) -> None:
    run = start(
        "ignores_sigterm.py",
        mini_batch_size=100,
        run_invocation_timeout=1,
        run_max_try=1,
        isolate_failures=False,
    )
    assert end_of(run, 15) == "Failed"
    assert list(run.failures()["kind"]) == ["timeout"]


def test_an_input_that_goes_away_fails_where_it_is_read(
    start: Callable[..., Run], tmp_path: Path, numbers: Path
) -> None:
    run = start("faults.py", arguments=[tmp_path, "hang=0"], process_count_per_node=1,
                run_invocation_timeout=1, run_max_try=1, error_threshold=2)  # fmt: skip
    while run.status != "Running":
        pass
    (numbers / "059.txt").unlink()
    assert end_of(run) == "Completed"
    failures = run.failures().set_index("mini_batch")
    assert failures.loc[59, "error"] == "FileNotFoundError"
    assert rows_of(run) == without(0, 59)
