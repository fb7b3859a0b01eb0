"""The comparison with others, on very little data."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from benchmarks.peers import command, data, values
from benchmarks.peers.scripts import functions
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


def test_functions_of_a_notebook_are_measured_over_items_and_a_frame(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(data, "rounds_of_a_millisecond", lambda: 100)
    words = ["--small", "--workloads", "map,map-first,frame-text", "--engines", "ours,executor-64"]
    assert command.main([*words, "--data", str(tmp_path)]) == 0
    _, of_items, of_first, of_frame, *summaries = capsys.readouterr().out.split("### ")
    for table, columns in ((of_items, 8), (of_first, 5), (of_frame, 8)):
        [ours] = [line for line in table.splitlines() if line.startswith("| ours ")]
        assert ours.endswith("| right, in order |")
        assert ours.count("|") == columns + 1
    assert "executor-64" in of_items
    assert "executor-64" not in of_first + of_frame
    assert len(summaries) == 2
    assert re.search(r"^\| ours \| [\d.]+ \([\d.-]+\) \| 3 times \|", of_first, re.MULTILINE)
    # Items and frames share a table of medians; first results have one of their own.
    assert [summary.count("| ours | executor-64 |") for summary in summaries] == [1, 0]
    assert re.search(
        r"^\| map: 500 items, 2 workers \| [\d.]+ \| [\d.]+ \|", summaries[0], re.MULTILINE
    )
    # Each number of an item is in the right place.
    rows = (tmp_path / "functions" / "items-500.expected").read_text().split()
    assert rows == [str(number * 2_654_435_761 % 2**32) for number in range(500)]


def test_a_table_has_the_bounds_of_readers_without_a_script(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    words = ["--small", "--workloads", "csv-quoted,json-lines,parquet", "--data", str(tmp_path)]
    assert command.main([*words, "--engines", "pyarrow-bound,polars-bound"]) == 0
    table = capsys.readouterr().out
    rows = [line for line in table.splitlines() if line.startswith("| pyarrow-bound ")]
    assert [row.endswith("| right, in order |") for row in rows] == [True] * 3
    # polars is not among the packages of the tests; where it is, its rows are right too.
    rows = [line for line in table.splitlines() if line.startswith("| polars-bound ")]
    found = [re.search(r"not measured: needs polars: pip install|right, in order", r) for r in rows]
    assert len(found) == 3
    assert all(found)


def test_calls_of_a_server_are_measured_with_a_kill_at_half(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    words = ["--small", "--workloads", "endpoint", "--engines", "ours,asyncio,httpx-threads"]
    assert command.main([*words, "--data", str(tmp_path)]) == 0
    table = capsys.readouterr().out
    for name in ("ours", "asyncio"):
        [row] = [line for line in table.splitlines() if line.startswith(f"| {name} ")]
        *_, refused, billed_again, lost, output = row.strip("| ").split(" | ")
        assert (refused, lost, output) == ("0", "0", "right")
        # Without keys, the calls in flight at the kill are billed again: 60 on average.
        assert 10 <= int(billed_again) <= 110
    # A script that keeps its answers in memory asks for all of them again.
    [row] = [line for line in table.splitlines() if line.startswith("| httpx-threads ")]
    assert row.endswith("| 0 | right |")
    assert int(row.split(" | ")[-3]) >= 90


def test_a_frame_has_the_same_scores_in_any_parts() -> None:
    frame = values.frame_of(1_000, has_text=True)
    whole = functions.score(frame).to_numpy()
    assert whole[7] == pytest.approx(
        frame["x0"][7] / 2 + sum(frame[f"x{k}"][7] * (k / 8 - 1) for k in range(1, 16))
        + len(frame["text"][7])
    )  # fmt: skip
    parts = [functions.score(frame.iloc[start : start + 7]) for start in range(0, 1_000, 7)]
    assert b"".join(part.to_numpy().tobytes() for part in parts) == whole.tobytes()
    assert list(values.rows_of(whole)) != list(values.rows_of(whole[::-1]))


def test_an_unknown_engine_is_refused(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit):
        command.main(["--engines", "nobody"])
    assert "'nobody' is none of ours, executor" in capsys.readouterr().err
