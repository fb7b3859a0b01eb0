"""When results are committed: soon at the start of a run, rarely later."""

from __future__ import annotations

import pytest

from parallelrun_jupyter.engine.output.committer import EVERY_S, interval_s


@pytest.mark.parametrize(
    ("age_s", "expected"), [(0, 0.01), (0.1, 0.01), (0.5, 0.05), (1, EVERY_S), (1e6, EVERY_S)]
)
def test_the_first_results_are_committed_soon(age_s: float, expected: float) -> None:
    assert interval_s(age_s) == pytest.approx(expected)


def test_the_first_second_has_few_commits_more() -> None:
    age_s = commits = 0.0
    while age_s < 1:
        age_s += interval_s(age_s)
        commits += 1
    assert commits < 40, "each syncs the disk"
