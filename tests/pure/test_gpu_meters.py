"""How the seconds in which a GPU worked are counted."""

from __future__ import annotations

from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from benchmarks.gpu import command, nvidia_smi
from benchmarks.gpu.command import Measured
from benchmarks.gpu.meters import Busy, of_samples


@pytest.fixture(scope="module")
def ledger(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("ledger") / "ledger.txt"


@given(
    st.lists(st.tuples(st.integers(0, 9), st.integers(1, 9))),
    st.integers(0, 50),
    st.integers(1, 50),
)
def test_the_busy_part_of_a_time_is_the_ticks_with_a_call(
    ledger: Path, gaps: list[tuple[int, int]], start: int, length: int
) -> None:
    calls, now = [], 0
    for idle, work in gaps:
        calls.append((now + idle, now + idle + work))
        now += idle + work
    ledger.write_text("".join(f"{a} {b}\n" for a, b in calls) + "17.5 9")  # it is being written
    ticks = {tick for a, b in calls for tick in range(a, b)}
    wanted = len(ticks & set(range(start, start + length)))
    assert nvidia_smi.busy_s(str(ledger), start, start + length) == wanted


def test_samples_of_the_utilization_are_summed_from_the_first_work_to_the_last() -> None:
    samples = [(0.0, 0.9), (1.0, 0.0), (2.0, 0.5), (3.0, 0.0), (4.0, 1.0), (9.0, 0.0)]
    assert of_samples(samples) == Busy(1.5, 3.0)
    assert Busy(1.5, 3.0).percent() == 50
    assert Busy(1.5, 3.0).percent(6.0) == 25
    assert of_samples(samples[:2]) == of_samples([]) == Busy(0.0, 0.0)
    assert Busy(0.0, 0.0).percent() == 0


def test_a_row_has_medians_of_the_counted_rounds_and_no_time_of_a_wrong_output() -> None:
    uncounted = Measured(9.0, Busy(1.0, 8.0), 10)
    counted = [Measured(4.0, Busy(2.0, 2.5), 70), Measured(5.0, Busy(2.0, 4.0), 50)]
    row = command.row("table", "torch", "ours", [uncounted, *counted])
    assert row.endswith("| 4.50 (4.00-5.00) | 65 % | 45 % | 60 % | right, in order |")
    of_processor = command.row("table", "torch", "ours", [Measured(4.0, None, 0)])
    assert of_processor.endswith("| 4.00 (4.00-4.00) |  |  |  | right, in order |")
    wrong = command.row("table", "torch", "ours", [*counted, Measured(wrong="3 rows | more")])
    assert wrong == "| table | torch | ours | | | | | WRONG: 3 rows / more |"


def test_without_a_gpu_the_stand_in_is_named(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("PATH", "")
    with pytest.raises(SystemExit):
        command.main([])
    assert "there is no nvidia-smi here; without a GPU of NVIDIA: --device stand-in" in (
        capsys.readouterr().err
    )


def test_an_unknown_framework_is_refused(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit):
        command.main(["--frameworks", "theano"])
    assert "'theano' is none of tensorflow, torch" in capsys.readouterr().err
