"""An update gives what a run from nothing gives, and runs only what is new."""

from __future__ import annotations

import json
import os
import time
import warnings
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pandas as pd
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from parallelrun_jupyter import ParallelRunConfig, Run, submit
from parallelrun_jupyter.errors import ConfigError
from parallelrun_jupyter.runs.journal.events import ResultsReused
from parallelrun_jupyter.runs.journal.files import JournalReader
from tests.conftest import SCRIPTS
from tests.real.conftest import end_of

OLD_NS = 1_600_000_000_000_000_123
FORMS = [
    ("text", None),
    ("records", "jsonl"),
    ("table", None),
    ("table", "csv"),
    ("indexed", "csv"),
    ("table", "jsonl"),
    ("table", "parquet"),
    ("indexed", "parquet"),
]


@pytest.fixture
def calls(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Return the file in which the script lists the paths that it was called with."""
    path = tmp_path / "calls"
    monkeypatch.setenv("CALLS", str(path))
    return path


class Data:
    """A folder of files with old times, and the runs over it."""

    def __init__(self, folder: Path, calls: Path, kind: str = "text", form: str | None = None) -> None:
        self.folder = folder
        self._calls = calls
        self.settings: dict[str, Any] = {"output_format": form, "mini_batch_size": 5}
        self.arguments = [kind]
        folder.mkdir(exist_ok=True)

    def write(self, name: str, text: str, time_ns: int = OLD_NS) -> None:
        path = self.folder / name
        path.parent.mkdir(exist_ok=True)
        path.write_text(text)
        os.utime(path, ns=(time_ns, time_ns))

    def start(self, script: str = "per_item.py", **options: Any) -> Run:
        self._calls.write_text("")
        config = ParallelRunConfig(
            entry_script=str(SCRIPTS / script),
            process_count_per_node=1,
            environment_variables={"CALLS": str(self._calls)},
            **self.settings,
        )
        return submit(config, inputs=self.folder, arguments=self.arguments, **options)

    def run(self, script: str = "per_item.py", **options: Any) -> Run:
        run = self.start(script, **options)
        assert end_of(run) == "Completed", run.snapshot()["reason"]
        return run

    def called(self) -> list[str]:
        """Return the files that the last run was called with."""
        lines = self._calls.read_text().splitlines()
        return sorted(os.path.relpath(path, self.folder) for path in lines)


@pytest.fixture
def data(tmp_path: Path, calls: Path, home: Path) -> Data:
    """Return thirty files."""
    del home
    data = Data(tmp_path / "in", calls)
    for number in range(30):
        data.write(f"{number:02d}.txt", f"text {number}")
    return data


def output_of(run: Run) -> bytes:
    return Path(run.snapshot()["output"]).read_bytes()


def reused(run: Run) -> ResultsReused | None:
    events = [e for e in JournalReader(run.folder.journal).read() if isinstance(e, ResultsReused)]
    return events[-1] if events else None


def assert_equal_to_a_run_from_nothing(data: Data, run: Run) -> None:
    whole = data.run()
    assert output_of(run) == output_of(whole)
    pd.testing.assert_frame_equal(run.to_pandas(), whole.to_pandas())


def counts(run: Run) -> tuple[int, int, int, int]:
    event = reused(run)
    assert event is not None
    return event.items, event.changed, event.new, event.gone


def change_some(data: Data) -> None:
    data.write("03b.txt", "new")
    data.write("12.txt", "changed!")
    os.utime(data.folder / "21.txt")  # touched
    (data.folder / "17.txt").unlink()
    (data.folder / "25.txt").rename(data.folder / "99.txt")


@pytest.mark.parametrize(("kind", "form"), FORMS)
def test_an_update_equals_a_run_from_nothing(data: Data, kind: str, form: str | None) -> None:
    data.arguments, data.settings["output_format"] = [kind], form
    first = data.run()
    change_some(data)
    update = data.run(update=True)
    event = reused(update)
    assert event is not None
    assert event.run_id == first.run_id
    assert counts(update) == (26, 2, 2, 2)
    assert data.called() == ["03b.txt", "12.txt", "21.txt", "99.txt"]
    assert_equal_to_a_run_from_nothing(data, update)
    again = data.run(update=True)  # from the newest run, which is a run from nothing
    assert counts(again) == (29, 1, 0, 0)  # the touched file is younger than that run's start?
