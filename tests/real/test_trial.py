"""One mini-batch in this process: the real exception, and everything put back afterwards."""

from __future__ import annotations

import os
import sys
import traceback
from collections.abc import Callable
from pathlib import Path

import pytest

from parallelrun_jupyter import Run
from parallelrun_jupyter.client.try_one import Trial
from parallelrun_jupyter.errors import InputError
from parallelrun_jupyter.worker.failures import BadResult
from parallelrun_jupyter.worker.plan_line import PlanLine
from tests.real.conftest import end_of


@pytest.fixture
def failed(start: Callable[..., Run], tmp_path: Path) -> Run:
    faults = ["raise=5", "raise=6", "none=7", "exit=8"]
    run = start("faults.py", arguments=[tmp_path, *faults], run_max_try=2, error_threshold=-1)
    assert end_of(run) == "Completed"
    return run


def test_groups_of_failures(failed: Run) -> None:
    groups = failed.failure_groups()
    assert list(groups["attempts"]) == [4, 2, 2]
    assert groups["group"][0].startswith("ValueError at faults.py:")
    assert list(groups["mini_batches_lost"]) == [2, 1, 1]
    assert set(groups["group"]) == set(failed.failures()["group"])


def test_a_failed_mini_batch_fails_here_with_its_own_exception(failed: Run) -> None:
    before = (sys.argv[:], sys.path[:], os.getcwd(), dict(os.environ))
    with pytest.raises(ValueError, match="number 5 is bad") as caught:
        failed.try_one(5)
    frames = traceback.extract_tb(caught.tb)
    assert frames[-1].name == "do"
    assert frames[-1].line == 'raise ValueError("number %d is bad" % number)'
    assert (sys.argv[:], sys.path[:], os.getcwd(), dict(os.environ)) == before


def test_a_good_mini_batch_returns_its_result(
    failed: Run, capsys: pytest.CaptureFixture[str]
) -> None:
    assert failed.try_one(9) == ["009.txt"]
    assert capsys.readouterr().out == "run() returned 1 row for 1 item\n"


def test_a_bad_result_is_refused_as_a_worker_would(failed: Run) -> None:
    with pytest.raises(BadResult, match=r"run\(\) returned None"):
        failed.try_one(7)


def test_a_mini_batch_that_is_not_there(failed: Run) -> None:
    for number in (60, 61, -1):
        with pytest.raises(
            InputError, match=f"has no mini-batch {number}; they are numbered from 0 to"
        ):
            failed.try_one(number)


def test_failed_items_are_printed_and_the_result_is_returned(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    source = (
        "def run(mini_batch, context):\n    context.fail(1, 'no face')\n"
        "    return [ValueError('bad') if path == '/3' else path for path in mini_batch]\n"
    )
    line = PlanLine(0, [f"/{k}" for k in range(5)], [], []).encode()
    trial = Trial(source, str(tmp_path / "cell.py"), [], str(tmp_path), [], {})
    result = trial.run(line)
    assert [type(element) for element in result] == [str, str, str, ValueError, str]
    assert capsys.readouterr().out == (
        "run() returned 3 rows for 5 items\n"
        "2 of 5 items failed: item 1: ItemFailed: no face; item 3: ValueError: bad\n"
    )
    azure = Trial(source.replace("    context.fail(1, 'no face')\n", ""), trial.filename, [],
                  str(tmp_path), [], {}, answers_items=False)  # fmt: skip
    azure.run(line)
    assert capsys.readouterr().out == "run() returned 5 rows for 5 items\n"
