"""The comparison with others prints no time of a result that is wrong."""

from __future__ import annotations

import dataclasses
from pathlib import Path
from typing import Any

import pytest

from benchmarks.peers import endpoint, summary
from benchmarks.peers.checks import what_is_wrong
from benchmarks.peers.endpoint import Called
from benchmarks.peers.report import bound_of, table
from benchmarks.peers.rounds import Measured
from benchmarks.peers.summary import line_of
from benchmarks.peers.workload import ENDPOINT, FIRST, Workload

ROWS = ["0000-good.txt", "0001-hang.txt", "0002-good.txt"]


@pytest.fixture
def workload(tmp_path: Path) -> Workload:
    source = tmp_path / "files"
    source.mkdir()
    for name in ROWS:
        (source / name).touch()
    (tmp_path / "files.expected").write_text("".join(f"{row}\n" for row in ROWS))
    return Workload("faults", "faults", str(source), timeout_s=1, failures={"1": "timeout"})


@pytest.mark.parametrize(
    ("rows", "failures", "more", "said"),
    [
        ([ROWS[0], ROWS[2]], {"1": "timeout"}, {}, ""),
        ([ROWS[2], ROWS[0]], {"1": "timeout"}, {}, ""),
        ([ROWS[0]], {"1": "timeout"}, {}, "1 of 2 rows are not there"),
        ([ROWS[0], ROWS[0]], {"1": "timeout"}, {},
         "1 of 2 rows are not there; 1 rows should not be there"),
        ([ROWS[0], ROWS[2]], {}, {}, "1 of 1 failures are not named"),
        ([ROWS[0], ROWS[2]], {"1": "crash"}, {}, "1 failures are given another cause"),
        ([ROWS[0]], {"1": "timeout", "2": "crash"}, {},
         "1 of 2 rows are not there; 1 mini-batches failed that need not have"),
        ([ROWS[0]], {"1": "lost", "2": "lost"}, {"note": "the pool broke"},
         "1 of 2 rows are not there; 1 of 1 failures are not named; the pool broke"),
        ([ROWS[0], ROWS[2]], {"1": "timeout"}, {"error": "not finished after 9 s"},
         "not finished after 9 s"),
    ],
)  # fmt: skip
def test_what_is_wrong_is_said(
    workload: Workload, tmp_path: Path, rows: list[str], failures: dict[str, str],
    more: dict[str, str], said: str,
) -> None:  # fmt: skip
    output = tmp_path / "rows.txt"
    output.write_text("".join(f"{row}\n" for row in rows))
    record: dict[str, Any] = {"output": str(output), "failures": failures, "note": "", "error": ""}
    wrong, is_in_order = what_is_wrong(workload, {**record, **more})
    assert wrong == said
    assert is_in_order == (rows == [ROWS[0], ROWS[2]])


def test_a_wrong_result_has_no_time_and_the_others_have_medians(workload: Workload) -> None:
    good = [Measured(total, 0.5, is_in_order=True, peak_mb=80) for total in (9.0, 2.0, 4.0, 3.0)]
    bad = [Measured(1.0), Measured(1.0, wrong="2 rows should not be there")]
    text = table(workload, {"ours": good, "other": bad}, {"third": "it has none"}, 1.5)
    assert "| ours | 3.00 (2.00-4.00) | 2.00 | 0 mini-batches |" in text
    assert "| 0.50 | 80 | right, in order |" in text
    assert "| other | | | | | | | WRONG: 2 rows should not be there |" in text
    assert "| third | | | | | | | not measured: it has none |" in text


def test_an_engine_that_hands_out_everything_at_its_end_has_no_rate_after_the_first_result(
    workload: Workload,
) -> None:
    count = dataclasses.replace(workload, amount=600)
    late, early = (
        table(count, {"one": [Measured(4.0, first, is_in_order=True)]}, {}, None)
        for first in (3.99, 1.0)
    )
    assert "| 150 mini-batches |  | 3.99 |" in late
    assert "| 150 mini-batches | 200 | 1.00 |" in early


def test_first_results_have_the_median_of_all_samples_without_the_first_call(
    workload: Workload,
) -> None:
    first = dataclasses.replace(workload, kind=FIRST, about="What is compared.")
    uncounted = Measured(9.0, samples=(5.0, 4.0), is_in_order=True, peak_mb=70)
    counted = [
        Measured(9.0, samples=(3.0, *[0.01 * (start + k) for k in range(10)]), is_in_order=True)
        for start in (1, 11)
    ]
    text = table(first, {"ours": [uncounted, *counted]}, {"third": "it has none"}, None)
    assert "What is compared.\n" in text
    assert "| ours | 105.0 (20.0-190.0) | 20 times | 70 | right, in order |" in text
    assert "| third | | | | not measured: it has none |" in text


def test_the_bound_is_the_sleeping_or_the_plain_loop_among_the_workers(workload: Workload) -> None:
    assert bound_of(workload, []) == pytest.approx((2 * 0.005 + 1) / 2)
    computing = Workload("empty", "empty", workload.source)
    loop = [Measured(9, init_s=9), Measured(5, init_s=1), Measured(5, init_s=1)]
    assert bound_of(computing, loop) == 3
    assert bound_of(computing, [*loop, Measured(wrong="died")]) is None


def test_the_summary_has_medians_side_by_side_and_none_of_a_wrong_output(
    workload: Workload,
) -> None:
    good = [Measured(total) for total in (9.0, 2.0, 4.0, 3.0)]
    wrong = [Measured(1.0), Measured(wrong="it died")]
    plain = line_of(workload, 1.5, {"inline": good, "ours": good, "other": wrong})
    first = dataclasses.replace(workload, name="first", kind=FIRST)
    calls = [Measured(9.0, samples=(5.0, 4.0)), Measured(9.0, samples=(3.0, 0.001, 0.003))]
    text = summary.tables([plain, line_of(first, None, {"third": calls})])
    assert "| seconds, medians | ours | other | bound |" in text
    assert "| faults: 0 mini-batches, 2 workers | 3.00 | wrong | 1.50 |" in text
    assert "| seconds, medians | third | bound |" in text
    assert "| first: 0 mini-batches, 2 workers | 0.0020 |  |" in text
    assert "pandas" in summary.versions(["ours"])


def test_calls_of_a_server_have_what_the_kill_at_half_has_cost(workload: Workload) -> None:
    calls = dataclasses.replace(
        workload,
        script="endpoint",
        kind=ENDPOINT,
        count=630,
        rate=300,
        latency_s=0.5,
        amount=630,
        unit="calls",
    )
    assert calls.bound_s() == pytest.approx(2.5)
    good = [
        Called(Measured(total, is_in_order=True, peak_mb=80), refused=3) for total in (9.0, 3.0)
    ]
    killed = Called(Measured(1.0), 2, billed_again=60, lost=0, is_killed=True)
    lost = Called(Measured(1.0, wrong="5 rows are not there"), 2, 7, lost=5, is_killed=True)
    wrong = [Called(Measured(wrong="it died"))]
    found = {"ours": [*good, killed], "other": [*good, lost], "third": wrong}
    text = endpoint.table(calls, found, {"fourth": "needs curator"})
    assert "630 calls; the bound is 2.50 s." in text
    assert "| ours | 3.00 (3.00-3.00) | 1.20 | 80 | 3 | 60 | 0 | right |" in text
    assert "| 80 | 3 | 7 | 5 | after the kill: 5 rows are not there |" in text
    assert "| third | | | | | | | WRONG: it died |" in text
    assert "| fourth | | | | | | | not measured: needs curator |" in text
