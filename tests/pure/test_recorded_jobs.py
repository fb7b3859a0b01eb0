"""Recorded jobs play to the same journal on any machine, without a network and without Azure's client."""

from __future__ import annotations

import json
import sys
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest

from parallelrun_jupyter.backends.azureml.foreign.driver import ForeignDriver
from parallelrun_jupyter.backends.azureml.service import JobNotFoundError, ServiceError
from parallelrun_jupyter.files import write_atomically
from parallelrun_jupyter.runs import run_folder
from parallelrun_jupyter.runs.journal.events import Event, ItemsFailed, RunStarted
from parallelrun_jupyter.runs.journal.files import JournalReader
from parallelrun_jupyter.runs.journal.lines import encode
from parallelrun_jupyter.runs.journal.state import RunState
from parallelrun_jupyter.runs.run_record import (
    FOLLOWED,
    EntryScript,
    Placement,
    RunInputs,
    RunLimits,
    RunOutput,
    RunRecord,
)
from tests.azureml_service.recordings import Player
from tests.recorded_jobs.record import FIGURES, FOLDER, JOBS, attempts_in

_NO_FILE = 416


class RecordedHistory:
    """The run history of a recording; each look at the job is at the time of its next change."""

    def __init__(self, player: Player, step: int = 1) -> None:
        self._player = player
        self._times = [*player.times[:-1:step], player.times[-1]]

    def _ask(self, path: str) -> dict[str, Any]:
        reply = self._player.answer("GET", f"{self._player.history}/runs/{path}")
        if reply.status != 200:
            raise JobNotFoundError(path)
        value: dict[str, Any] = json.loads(reply.body)
        return value

    def read_run(self, run: str) -> dict[str, Any]:
        self._player.at = self._times.pop(0) if len(self._times) > 1 else self._times[0]
        return self._ask(run)

    def read_children(self, run: str) -> Sequence[dict[str, Any]]:
        return list(self._ask(f"{run}/children")["value"])

    def read_details(self, run: str) -> dict[str, Any]:
        return self._ask(f"{run}/details")

    def parallel_steps(self, job: str) -> None:
        del job

    def read_log(self, address: str, offset: int) -> bytes:
        reply = self._player.answer("GET", address, {"Range": f"bytes={offset}-"})
        if reply.status == _NO_FILE:
            return b""
        if reply.status >= 400:
            raise JobNotFoundError(address)
        return reply.body

    def download_output(self, run: str, output: str, target: Path) -> None:
        msg = f"a recording has no outputs ({run[:0]}{output}, {bool(target)})"
        raise ServiceError(msg)

    def cancel(self, name: str) -> None:
        raise AssertionError(name)

    def page_of(self, run: str) -> str:
        return f"https://recorded.test/{run}"


def play(name: str, home: Path, step: int = 1) -> list[Event]:
    """Return the journal of the run that follows a recorded job."""
    player = Player(FOLDER / f"{name}.json")
    record = RunRecord(
        run_id=f"20260101-000000000-{name}{step}", name=name, created_at=time.time(), version="0",
        driver_python=sys.executable, script=EntryScript("", None, str(home), sys.executable), inputs=RunInputs(),
        output=RunOutput(file_name="rows.txt"), limits=RunLimits(error_threshold=-1),
        placement=Placement(backend=FOLLOWED, compute={"of": {}, "job": player.job, "step": ""}),
    )  # fmt: skip
    folder = run_folder.create(record.run_id)
    write_atomically(folder.record, record.to_json())
    driver = ForeignDriver(folder, lambda: RecordedHistory(player, step), 0.0)
    driver.run()
    driver.close()
    return list(JournalReader(folder.journal).read())


def without_times(events: list[Event]) -> list[Any]:
    """Return journal lines without the time of the driver's clock and its identity."""
    lines = []
    for event in events:
        value = json.loads(encode(event))
        if isinstance(value, list):
            value[4] = 0
        else:
            value["at_ms"] = 0
            if isinstance(event, RunStarted):
                value |= {"pid": 0, "host": ""}
        lines.append(value)
    return lines


def _as_azure_shows(row: list[Any]) -> list[Any]:
    """Return an attempt of the engine's books; Azure does not tell where a timeout came."""
    return ["Timeout at run()" if str(one).startswith("Timeout at ") else one for one in row]


@pytest.mark.parametrize("name", JOBS)
def test_a_recorded_job_plays_to_the_same_journal(
    name: str, home: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(sys.modules, "azure", None)
    played = without_times(play(name, home))
    path = FOLDER / f"{name}.journal.jsonl"
    if not path.exists():
        path.write_text("".join(json.dumps(line) + "\n" for line in played))
        pytest.fail(f"{path} was missing; it is written now: check it, and commit it")
    assert played == [json.loads(line) for line in path.read_text().splitlines()]


@pytest.mark.parametrize("step", [1, 3, 1000])
@pytest.mark.parametrize("name", JOBS)
def test_figures_of_a_recorded_job_are_those_in_the_books_of_its_engine(
    name: str, step: int, home: Path
) -> None:
    books = json.loads((FOLDER / f"{name}.json").read_text())["books"]
    events = play(name, home, step)
    state = RunState()
    state.apply_all(events)
    assert {figure: getattr(state, figure) for figure in FIGURES} == {k: books[k] for k in FIGURES}
    assert attempts_in(events) == [_as_azure_shows(row) for row in books["attempts"]]
    assert not any(isinstance(event, ItemsFailed) for event in events)
