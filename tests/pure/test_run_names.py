"""Names of runs, and lists of runs with similar names."""

from __future__ import annotations

import time
from pathlib import Path
from typing import Any

import pytest

from parallelrun_jupyter import FileDataset
from parallelrun_jupyter.client.run_names import default_name
from parallelrun_jupyter.commands.magics import _cell_name
from parallelrun_jupyter.views.run_list import table
from tests.journals import CREATED


@pytest.fixture
def data(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    for name in ("digits", "faces"):
        (tmp_path / name).mkdir()
        (tmp_path / name / "0.png").write_text("")
    return tmp_path


def test_a_default_name_has_the_script_and_the_inputs(data: Path) -> None:
    digits, faces = FileDataset("digits/*.png"), FileDataset("faces")
    assert default_name("scores", [digits]) == "scores on digits/*.png"
    assert default_name("scores", [digits, faces]) == "scores on digits/*.png and 1 more"
    assert default_name("scores", [digits], ["images"]) == "scores on images"
    assert default_name("scores", [digits, faces], ["", "people"]) == (
        "scores on digits/*.png and 1 more"
    )
    assert default_name("scores", [faces, digits], ["people", ""]) == "scores on people and 1 more"
    assert default_name("scores", []) == "scores"


@pytest.mark.parametrize(
    ("variable", "session", "names", "name"),
    [
        ("scores", "work/digits.ipynb", {}, "scores"),
        ("run", "work/digits.ipynb", {}, "digits"),
        ("run", "work/digits.v2.py", {}, "digits.v2"),
        ("run", "work/console-1-8f2c", {}, "cell"),
        ("run", "", {}, "cell"),
        ("run", "", {"__vsc_ipynb_file__": "/home/me/faces.ipynb"}, "faces"),
    ],
)
def test_a_cell_without_a_variable_has_the_name_of_its_notebook(
    monkeypatch: pytest.MonkeyPatch, variable: str, session: str, names: dict[str, Any], name: str
) -> None:
    monkeypatch.setenv("JPY_SESSION_NAME", session)
    assert _cell_name(variable, names) == name


def row(name: str, created_at: float, size_bytes: int = 2048) -> dict[str, Any]:
    stamp = time.strftime("%Y%m%d-%H%M%S", time.gmtime(created_at))
    return {
        "run_id": f"{stamp}000-test", "name": name, "created_at": created_at, "state": "Completed",
        "reason": "", "plan_finished": True, "items": 5, "items_left": 0, "items_failed": 0,
        "elapsed_s": 1.0, "size_bytes": size_bytes, "usd": 0.0,
    }  # fmt: skip


def test_runs_of_one_name_and_minute_show_their_seconds() -> None:
    text = table([row("a", CREATED + 30), row("a", CREATED + 20), row("b", CREATED + 10)])
    started = [line.split("Completed")[1].split()[1] for line in text.splitlines()[1:4]]
    assert [len(clock) for clock in started] == [8, 8, 5]
    assert started[0] != started[1]
    assert text.splitlines()[4] == "3 runs, 6.0 kB on disk"


def test_a_long_name_keeps_its_script_and_the_end_of_its_input() -> None:
    months = [f"predictions on sensors/2026/month-{k:02d}/measurements.csv" for k in (1, 2)]
    lines = table([row(name, CREATED + 100 * k) for k, name in enumerate(months)]).splitlines()
    shown = [line.split("  ")[1] for line in lines[1:3]]
    assert all(len(name) == 44 for name in shown)
    assert shown[0].startswith("predictions on senso...")
    assert shown[0].endswith("onth-01/measurements.csv"[-20:])
