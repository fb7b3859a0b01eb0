"""The comparison with others, on very little data."""

from __future__ import annotations

from pathlib import Path

import pytest

from benchmarks.peers import command, data
from benchmarks.peers.workload import Workload

NAMES = ["0000-good.txt", "0001-raise.txt", "0002-good.txt", "0003-kill.txt", "0004-good.txt"]


def test_one_command_measures_what_is_right_and_catches_what_is_wrong(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def with_faults(folder: Path, *, is_small: bool) -> Workload:
        source = folder / "faults"
        source.mkdir()
        for name in NAMES:
            (source / name).touch()
        (folder / "faults.expected").write_text("".join(f"{name}\n" for name in NAMES))
        failures = {"1": "exception", "3": "crash"}
        return Workload("broken", "faults", str(source), amount=5, timeout_s=9, failures=failures)

    monkeypatch.setitem(data.WORKLOADS, "broken", with_faults)
    words = ["--workloads", "broken", "--engines", "ours,executor", "--rounds", "1"]
    assert command.main([*words, "--data", str(tmp_path)]) == 0
    table = capsys.readouterr().out
    [ours] = [line for line in table.splitlines() if line.startswith("| ours ")]
    assert ours.endswith("| right, in order |")
    # A process that dies takes the executor with it.
    [executor] = [line for line in table.splitlines() if line.startswith("| executor ")]
    assert "WRONG" in executor
    assert "BrokenProcessPool" in executor


def test_an_unknown_engine_is_refused(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit):
        command.main(["--engines", "nobody"])
    assert "'nobody' is none of ours, executor" in capsys.readouterr().err
