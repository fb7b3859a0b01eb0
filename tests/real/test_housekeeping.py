"""Runs are removed and compared while others run, from Python, a terminal and a notebook."""

from __future__ import annotations

import multiprocessing
import os
import pty
import re
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import pytest

from parallelrun_jupyter import ParallelRunConfig, Run, submit
from parallelrun_jupyter.errors import ParallelRunError, RunFolderError, RunNotFoundError
from parallelrun_jupyter.runs.run_folder import list_runs
from tests.conftest import SCRIPTS
from tests.real.conftest import end_of, rows_of

NAMES = [f"{number:03d}.txt" for number in range(60)]


def parallelrun(*words: object, text: str | None = None) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-m", "parallelrun_jupyter", *map(str, words)]
    return subprocess.run(command, capture_output=True, text=True, timeout=60, input=text)


def on_a_terminal(*words: str, answer: bytes) -> str:
    """Run a command on a terminal, answer its question, and return the text on the terminal."""
    command = [sys.executable, "-m", "parallelrun_jupyter", *words]
    pid, terminal = pty.fork()
    if pid == 0:
        os.environ["COLUMNS"] = "200"
        os.execv(command[0], command)
    shown = b""
    try:
        while chunk := os.read(terminal, 4096):
            shown += chunk
            if shown.endswith(b"[y/N] "):
                os.write(terminal, answer)
    except OSError:  # how Linux ends a terminal
        pass
    assert os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]) == 0, shown
    os.close(terminal)
    return shown.decode().replace("\r\n", "\n")


def test_a_run_is_removed_and_its_warm_driver_drives_the_next_one(
    start: Callable[..., Run], tmp_path: Path
) -> None:
    for _ in range(3):
        run = start("echo.py", mini_batch_size=20, output=str(tmp_path / "out"))
        assert end_of(run) == "Completed"
        run.delete()
        assert not run.folder.path.exists()
        assert len((tmp_path / "out" / "parallel_run_step.txt").read_text().splitlines()) == 60
    assert Run.list() == []
    with pytest.raises(RunNotFoundError, match="is gone"):
        run.delete()


def test_an_active_run_is_not_removed(numbers: Path, tmp_path: Path) -> None:
    script, gate = tmp_path / "waits.py", tmp_path / "gate"
    script.write_text(
        f"import os, time\ndef run(mini_batch):\n    while not os.path.exists({str(gate)!r}):\n"
        "        time.sleep(0.02)\n    return [os.path.basename(path) for path in mini_batch]\n"
    )
    config = ParallelRunConfig(
        entry_script=str(script), mini_batch_size=30, process_count_per_node=1
    )
    run = submit(config, inputs=numbers)
    with pytest.raises(
        RunFolderError, match=r"still active, and cannot be removed\. run\.wait_for"
    ):
        run.delete()
    done = parallelrun("prune", "--keep", 0, "--yes")
    assert f"run {run.run_id} stays: it is " in done.stdout
    assert "no run to remove" in done.stdout
    gate.touch()
    assert end_of(run) == "Completed"
    assert rows_of(run) == NAMES


def _removes(run_id: str, gate: str) -> None:
    while not os.path.exists(gate):
        time.sleep(0.001)
    try:
        Run.attach(run_id).delete()
    except ParallelRunError:
        os._exit(3)
    os._exit(0)


def test_a_removal_and_a_resume_at_once_leave_a_whole_run_or_none(
    start: Callable[..., Run], tmp_path: Path
) -> None:
    """Whichever comes first: a run that resumes to its end, or one that is gone."""
    fork = multiprocessing.get_context("fork")
    for number in range(4):
        run = start("slow.py", mini_batch_size=20)
        run.cancel()
        end_of(run)
        gate = tmp_path / f"gate{number}"
        removers = [
            fork.Process(target=_removes, args=(run.run_id, str(gate)), daemon=True)
            for _ in range(2)
        ]
        for remover in removers:
            remover.start()
        gate.touch()
        is_resumed = False
        try:
            time.sleep(0.002 * number)
            run.resume()
            is_resumed = True
        except ParallelRunError:
            pass
        for remover in removers:
            remover.join()
        removed = [remover.exitcode for remover in removers].count(0)
        assert removed <= 1
        if is_resumed:
            assert removed == 0
            assert end_of(run) == "Completed"
            assert rows_of(run) == NAMES
        else:
            assert removed == 1
            assert run.run_id not in [folder.run_id for folder in list_runs()]
            assert not run.folder.path.exists()
        assert not list((run.folder.path.parent).glob(".removed*"))


def test_the_terminal_shows_asks_and_removes(numbers: Path, tmp_path: Path) -> None:
    config = ParallelRunConfig(entry_script=str(SCRIPTS / "echo.py"), mini_batch_size=30)
    first = submit(config, inputs=numbers, output=str(tmp_path / "out"))
    second = submit(config, inputs=numbers)
    for run in (first, second):
        assert end_of(run) == "Completed"
    shown = parallelrun("prune", "--keep", 1)
    assert shown.returncode == 0
    assert shown.stdout.splitlines()[1].startswith(first.run_id)
    assert f"outputs in {tmp_path / 'out'} stay" in shown.stdout
    assert shown.stdout.endswith("nothing was removed: add --yes to remove them\n")
    assert "nothing was removed" in on_a_terminal("prune", "--keep", "1", answer=b"\n")
    assert len(list_runs()) == 2
    text = on_a_terminal("prune", "--keep", "1", answer=b"y\n")
    assert "Remove them? [y/N] y\nremoved 1 run, freed " in text
    assert [folder.run_id for folder in list_runs()] == [second.run_id]
    listed = parallelrun("list").stdout.splitlines()
    assert listed[-1].startswith("1 run, ")
    assert listed[-1].endswith(" on disk")
    done = parallelrun("prune")
    assert done.returncode == 2
    assert "parallelrun: prune needs a filter" in done.stderr
    assert parallelrun("prune", "--name", second.run_id, "-y").returncode == 0
    assert list_runs() == []
    left = second.folder.path.with_name(".removed-killed")
    left.mkdir()
    (left / "rows").write_text("x" * 5000)
    assert parallelrun("prune", "--keep", 0).stdout.splitlines()[0] == "no run to remove"
    assert not left.exists()


def test_the_size_limit_is_set_in_a_terminal_and_applied_when_a_run_starts(
    numbers: Path, home: Path
) -> None:
    config = ParallelRunConfig(entry_script=str(SCRIPTS / "echo.py"), mini_batch_size=30)
    old = submit(config, inputs=numbers)
    assert end_of(old) == "Completed"
    assert "max-size: none" in parallelrun("config").stdout
    assert parallelrun("config", "max-size", "lots").returncode == 2
    assert f"max-size: 4.0 kB ({home / 'settings.json'})" in parallelrun(
        "config", "max-size", "4KB"
    ).stdout  # fmt: skip
    with pytest.warns(UserWarning, match="no run could be removed. The runs still use"):
        recent = submit(config, inputs=numbers)
    assert end_of(recent) == "Completed"
    record = old.folder.record.read_text()
    hours_ago = time.time() - 2 * 3600
    os.utime(old.folder.journal, (hours_ago, hours_ago))
    created = f'"created_at": {old.row()["created_at"]}'
    assert created in record
    old.folder.record.write_text(record.replace(created, f'"created_at": {hours_ago}'))
    with pytest.warns(UserWarning, match="kept under 4.0 kB .*: 1 old run removed, .* freed"):
        newest = submit(config, inputs=numbers)
    assert end_of(newest) == "Completed"
    assert [run.run_id for run in Run.list()] == [newest.run_id, recent.run_id]
    assert "max-size: none" in parallelrun("config", "max-size", "none").stdout


FRAMES = """
import pandas as pd
def run(mini_batch):
    rows = []
    for path in mini_batch:
        number = int(open(path).read())
        rows.append({"number": number, "half": number / 2, "text": f"line\\n{number}"})
    return pd.DataFrame(rows)
"""


@pytest.mark.parametrize("form", [None, "csv", "jsonl", "parquet"])
def test_items_whose_rows_differ_are_found_in_every_format(
    numbers: Path, tmp_path: Path, form: str | None
) -> None:
    script = tmp_path / "frames.py"
    script.write_text(FRAMES if form else FRAMES.replace("pd.DataFrame(rows)", "rows"))

    def go(size: int) -> Run:
        config = ParallelRunConfig(
            entry_script=str(script), mini_batch_size=size, output_format=form, run_max_try=1,
            error_threshold=-1, process_count_per_node=1,
        )  # fmt: skip
        run = submit(config, inputs=numbers)
        assert end_of(run) == "Completed"
        return run

    before = go(7)
    (numbers / "007.txt").write_text("70")
    (numbers / "011.txt").unlink()
    (numbers / "060.txt").write_text("60")
    (numbers / "031.txt").write_text("broken")
    after = go(20)  # an item that fails keeps the part files, so that the rows are in them
    comparison = after.compare(before)
    found = comparison.items.assign(item=[Path(item).name for item in comparison.items["item"]])
    assert dict(zip(found["item"], found["difference"], strict=True)) == {
        "007.txt": "rows differ",
        "031.txt": "no row in this run",
        "060.txt": "only in this run",
        "011.txt": "only in the other run",
    }
    assert comparison.item_counts["same"] == 57
    row = comparison.items.set_index("difference").loc["rows differ"]
    assert "70" in row["this"]
    assert "70" not in row["other"]
    assert list(comparison.settings["setting"]) == ["mini_batch_size"]
    assert comparison.counts.loc["items failed", "this"] == 1


def test_an_output_that_a_later_run_replaced_is_a_note(numbers: Path, tmp_path: Path) -> None:
    runs = []
    for row in ("open(path).read()", "path"):
        script = tmp_path / "score.py"
        script.write_text(f"def run(mini_batch):\n    return [{row} for path in mini_batch]\n")
        config = ParallelRunConfig(entry_script=str(script), mini_batch_size=20)
        runs.append(submit(config, inputs=numbers, output=str(tmp_path / "out")))
        assert end_of(runs[-1]) == "Completed"
    comparison = runs[1].compare(runs[0])
    assert len(comparison.notes) == 1
    assert "has changed since it was published. Each run needs an output" in comparison.notes[0]
    assert comparison.counts.loc["items", "other"] == 60


def test_rows_of_tables_are_compared_by_number(tmp_path: Path) -> None:
    from parallelrun_jupyter import TabularDataset

    table = tmp_path / "table.csv"
    script = tmp_path / "double.py"
    script.write_text("def run(mini_batch):\n    return list(mini_batch['n'] * 2)\n")

    def go(values: list[int], rows: int) -> Run:
        table.write_text("n\n" + "".join(f"{value}\n" for value in values))
        config = ParallelRunConfig(entry_script=str(script), mini_batch_rows=rows)
        run = submit(config, inputs=TabularDataset.from_delimited_files(str(table)))
        assert end_of(run) == "Completed"
        return run

    before = go(list(range(20)), 5)
    after = go([*range(13), 99, *range(14, 22)], 7)
    comparison = after.compare(before)
    assert list(comparison.items.itertuples(index=False, name=None))[:1] == [
        (f"{table}: row 13", "rows differ", "198", "26")
    ]
    assert list(comparison.items["item"])[1:] == [f"{table}: row 20", f"{table}: row 21"]
    assert comparison.item_counts["same"] == 19
    shown = parallelrun("compare", after.run_id, before.run_id)
    assert shown.returncode == 0, shown.stderr
    assert re.search(r"table.csv: row 13 +rows differ +198 +26", shown.stdout)
    assert parallelrun("compare", after.run_id).returncode == 2
    assert "there is no run 'x'" in parallelrun("compare", after.run_id, "x").stderr
