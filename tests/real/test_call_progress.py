"""Progress within a call of run(), and items that hang or end their worker, in real runs."""

from __future__ import annotations

import time
from collections import Counter
from pathlib import Path
from typing import Any

import pytest

from parallelrun_jupyter import ParallelRunConfig, Run, submit
from parallelrun_jupyter.views.html import html_view
from parallelrun_jupyter.views.text import text_view
from tests.real.conftest import assert_books, end_of, rows_of

EPOCHS = """
import os, time

def run(mini_batch, context):
    for epoch in range(7):
        context.progress(epoch, 10)
    context.progress(7, 10)
    while not os.path.exists({gate!r}):
        time.sleep(0.02)
    return mini_batch
"""

ITEMS = """
import os, time

def run(mini_batch, context):
    with open({calls!r}, "a") as file:
        file.write(" ".join(os.path.basename(path)[:3] for path in mini_batch) + "\\n")
    rows = []
    for position, path in enumerate(mini_batch):
        context._begin_item(position)
        number = int(open(path).read())
        if number in {bad!r}:
            {fault}
        time.sleep({seconds})
        rows.append(number)
    return rows
"""


def script(tmp_path: Path, text: str, **values: Any) -> str:
    path = tmp_path / "score.py"
    path.write_text(text.format(**values))
    return str(path)


def calls_in(path: Path) -> list[list[int]]:
    """Return the items of each call of run(), from the file that the script writes."""
    return [[int(number) for number in line.split()] for line in path.read_text().splitlines()]


def wait_for_progress(run: Run) -> Any:
    deadline = time.monotonic() + 30
    while True:
        shown = run.snapshot()
        if any(row["progress"] for row in shown["workers"]):
            return shown
        assert time.monotonic() < deadline, text_view(shown)
        time.sleep(0.1)


def test_how_far_a_call_is_shows_in_the_views_until_it_ends(tmp_path: Path, numbers: Path) -> None:
    gate = tmp_path / "gate"
    config = ParallelRunConfig(
        entry_script=script(tmp_path, EPOCHS, gate=str(gate)),
        mini_batch_size=30,
        process_count_per_node=1,
    )
    run = submit(config, inputs=str(numbers))
    shown = wait_for_progress(run)
    assert [row["progress"] for row in shown["workers"]] == [[7, 10, 0]]
    assert "in run(), mini-batch 0, 7 of 10, for " in text_view(shown)
    assert "in run(), mini-batch 0, 7 of 10, for " in html_view(shown, 0.0)
    report = run.report(str(tmp_path / "run.html"))
    assert '"progress":[7,10,0]' in Path(report).read_text()
    gate.touch()
    assert end_of(run) == "Completed"
    assert "7 of 10" not in text_view(run.snapshot())
    assert_books(run)


@pytest.mark.parametrize("interpreter", ["", "3.7"])
@pytest.mark.parametrize(
    ("fault", "error", "text"),
    [
        ("time.sleep(600)", "Timeout", "run_invocation_timeout = 2 s for one item"),
        ("os._exit(3)", "WorkerLost", "died with exit code 3"),
    ],
)
def test_the_item_that_hangs_or_ends_its_worker_is_alone_at_once(
    tmp_path: Path, numbers: Path, fault: str, error: str, text: str, interpreter: str
) -> None:
    pythons = sorted(Path.home().glob(f".pyenv/versions/{interpreter}.*/bin/python"))
    if interpreter and not pythons:
        pytest.skip(f"no Python {interpreter} on this machine")
    for number in range(50, 60):
        (numbers / f"{number:03d}.txt").unlink()
    ledger = tmp_path / "calls"
    values = {"calls": str(ledger), "bad": [37], "fault": fault, "seconds": 0.06}
    settings = {"environment": str(pythons[0])} if interpreter else {}
    config = ParallelRunConfig(
        entry_script=script(tmp_path, ITEMS, **values),
        mini_batch_size=50,
        process_count_per_node=1,
        run_invocation_timeout=2,
        run_max_try=1,
        error_threshold=1,
        **settings,
    )
    run = submit(config, inputs=str(numbers))
    assert end_of(run) == "Completed"
    assert rows_of(run) == [str(number) for number in range(50) if number != 37]
    failed = run.failed_items()
    assert [Path(item).name for item in failed["item"]] == ["037.txt"]
    assert list(failed["error"]) == [error]
    assert text in failed["message"][0]
    calls = calls_in(ledger)
    assert calls[0] == list(range(50))
    assert calls[1] == [37]
    assert len(calls) <= 4, "the first of its kind takes one more item for comparison"
    assert max(Counter(number for items in calls for number in items).values()) <= 3
    assert_books(run)


def test_a_call_may_take_as_long_as_all_of_its_items(tmp_path: Path, numbers: Path) -> None:
    ledger = tmp_path / "calls"
    values = {"calls": str(ledger), "bad": [], "fault": "pass", "seconds": 0.1}
    config = ParallelRunConfig(
        entry_script=script(tmp_path, ITEMS, **values),
        mini_batch_size=60,
        process_count_per_node=1,
        run_invocation_timeout=1,
        run_max_try=1,
    )
    run = submit(config, inputs=str(numbers))
    shown = wait_for_progress(run)
    assert "of 60 items, for " in text_view(shown)
    longest_s = 0.0
    while not (shown := run.snapshot())["is_final"]:
        longest_s = max([longest_s, *(row["since_s"] for row in shown["workers"])])
        time.sleep(0.1)
    assert shown["state"] == "Completed"
    assert len(calls_in(ledger)) == 1
    assert longest_s > 4, "the time is that of the call, not of an item"


def test_an_exception_names_the_item_that_had_begun(tmp_path: Path, numbers: Path) -> None:
    ledger = tmp_path / "calls"
    values = {"calls": str(ledger), "bad": [37], "fault": "path = None; len(5)", "seconds": 0}
    config = ParallelRunConfig(
        entry_script=script(tmp_path, ITEMS, **values),
        mini_batch_size=60,
        process_count_per_node=1,
        run_max_try=1,
        error_threshold=1,
    )
    run = submit(config, inputs=str(numbers))
    assert end_of(run) == "Completed"
    assert list(run.failed_items()["error"]) == ["TypeError"]
    assert calls_in(ledger)[1] == [37]
    assert len(calls_in(ledger)) <= 4
