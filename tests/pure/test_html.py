"""The HTML that is saved with a notebook: true, escaped, and in need of nothing else."""

from __future__ import annotations

import re
from html.parser import HTMLParser
from typing import Any

import pytest

from parallelrun_jupyter.runs.snapshot.mini_batches import Grid
from parallelrun_jupyter.runs.snapshot.snapshot import GroupRow, Snapshot, WorkerRow
from parallelrun_jupyter.views.html import html_view
from parallelrun_jupyter.views.mime_bundle import RUN_MIME, news, run_output, saved_bundle, stage

AT = 1_795_418_440.5


def snapshot(**values: Any) -> Snapshot:
    base = Snapshot(
        at_s=AT, run_id="20261123-062040381-k3f9", name="digits", state="Running", reason="",
        is_final=False, can_resume=False, plan_finished=True, mini_batches=100, items=500, succeeded=40, failed=2,
        retrying=1, running=2, left=58, items_succeeded=200, items_failed=10, items_left=290,
        items_lost=10, items_per_call=0, reused=None, duplicates_copied=0,
        rows=200, attempts_failed=5, error_threshold=20, run_max_try=3, budgets=[],
        elapsed_s=12.0, eta_s=16.0, eta_low_s=12.0, eta_high_s=20.0, items_per_s=17.5,
        mini_batches_per_s=3.5, rate_window_s=10.0, quiet_s=0.5, quiet_after_s=30.0, stragglers=[],
        grid=Grid(first=0, count=100, per_cell=1, cells="#" * 100), lanes_from_ms=0, lanes=[],
        workers=[], workers_hidden=0, workers_lost=0, groups=[],
        groups_hidden=0, warnings=[], output="", calls=None, job=None,
    )  # fmt: skip
    return {**base, **values}  # type: ignore[typeddict-item]


def worker(number: int = 0, **values: Any) -> WorkerRow:
    base = WorkerRow(
        worker=f"n0w{number}", node="n0", phase="running", mini_batch=number, since_s=1.5,
        succeeded=9, failed=0, restarts=0, cpu_percent=95, memory_mb=210, gpu_percent=None,
        gpu_memory_mb=None, cpu="0" * 20, memory="z" * 20, gpu="",
        progress=[], calls=[],
    )  # fmt: skip
    return {**base, **values}  # type: ignore[typeddict-item]


def group(**values: Any) -> GroupRow:
    base = GroupRow(
        group="ValueError at score.py:9 in run", kind="exception", message="no picture",
        traceback="Traceback\nValueError: no picture\n", first_mini_batch=7, attempts=3,
        mini_batches_lost=1, items_failed=5, items_missing=0, hint="",
    )  # fmt: skip
    return {**base, **values}  # type: ignore[typeddict-item]


class Tags(HTMLParser):
    def __init__(self, html: str) -> None:
        super().__init__()
        self.tags: list[str] = []
        self.open: list[str] = []
        self.text = ""
        self.feed(html)

    def handle_starttag(self, tag: str, attrs: Any) -> None:
        self.tags.append(tag)
        self.open.append(tag)
        for name, value in attrs:
            assert not name.startswith("on"), (tag, name)
            assert name not in {"src", "href"}, (tag, value)

    def handle_endtag(self, tag: str) -> None:
        assert self.open.pop() == tag

    def handle_data(self, data: str) -> None:
        if self.open[-1:] != ["style"]:
            self.text += data


def test_a_running_run_says_when_that_was() -> None:
    text = Tags(html_view(snapshot(), AT)).text
    assert "digits" in text
    assert "Running" in text
    assert "42 of 100" in text
    assert "as of 2026-11-23 07:20:40 UTC; the run may have continued since" in text


def test_an_ended_run_says_how_it_ended_and_where_its_rows_are() -> None:
    ended = snapshot(state="Completed", is_final=True, output="/out/rows.txt", succeeded=98)
    text = Tags(html_view(ended, AT)).text
    assert "✓ digits" in text
    assert "Completed, 10 items failed" in text
    assert "200 rows in /out/rows.txt" in text
    assert "gone on" not in text


def test_the_listing_shows_no_share_of_an_unknown_total() -> None:
    listing = html_view(snapshot(plan_finished=False, state="Planning"), AT)
    assert "pr-ok" not in listing.partition("</style>")[2]
    assert "so far" in Tags(listing).text


def test_texts_of_the_users_stay_texts() -> None:
    evil = "<img src=x onerror=alert(1)><script>alert(2)</script>&amp;\"'"
    html = html_view(
        snapshot(
            name=evil, state="Failed", is_final=True, reason=evil, output=evil, warnings=[evil],
            groups=[group(group=evil, message=evil, traceback=evil)],
        ),
        AT,
    )  # fmt: skip
    found = Tags(html)
    assert "script" not in found.tags
    assert "img" not in found.tags
    assert found.text.count(evil) == 7
    assert found.open == []


def test_it_needs_nothing_else_and_follows_the_theme() -> None:
    html = html_view(snapshot(groups=[group()]), AT)
    assert not re.search(r"https?:|url\(|@import|<script|<link", html)
    assert "light-dark(" in html
    assert "color-scheme:light dark" in html


def test_failures_are_shown_with_their_traceback_first() -> None:
    text = Tags(
        html_view(snapshot(groups=[group(), group(group="OSError", traceback="")]), AT)
    ).text
    assert text.index("no picture") < text.index("OSError")
    assert "3 attempts, 5 items failed, 1 mini-batch lost, first in mini-batch 7" in text
    start = Tags(html_view(snapshot(groups=[group(first_mini_batch=-1)]), AT)).text
    assert "3 attempts to start a worker" in start


def test_a_saved_output_is_small_however_much_there_is() -> None:
    groups = [group(group=f"Error {n} " + "x" * 290, message="y" * 300) for n in range(10)]
    workers = [
        worker(n, phase="running", mini_batch=n, since_s=1.5, succeeded=9, failed=0)
        for n in range(50)
    ]
    big = snapshot(groups=groups, workers=workers, warnings=["z" * 300] * 3)
    bundle = saved_bundle(run_output(big, AT))
    assert set(bundle) == {RUN_MIME, "text/html", "text/plain"}
    assert len(bundle["text/html"]) < 30_000


def test_news_is_what_more_than_the_clock_has_changed() -> None:
    before = snapshot(workers=[worker()])
    later = snapshot(
        workers=[worker(since_s=2, cpu="1" * 20)], elapsed_s=13.0, eta_s=15.0, quiet_s=1.5
    )
    assert news(before) == news(later)
    assert news(before) != news(snapshot(workers=[worker(mini_batch=2)]))
    assert news(before) != news(snapshot(workers=[worker(cpu_percent=100)]))
    assert news(before) != news(snapshot(workers=[worker()], succeeded=41))


@pytest.mark.parametrize(
    ("values", "expected"),
    [
        ({"succeeded": 0, "failed": 0}, 0),
        ({"succeeded": 25, "failed": 0}, 1),
        ({"succeeded": 48, "failed": 2}, 2),
        ({"succeeded": 99}, 3),
        ({"succeeded": 99, "plan_finished": False}, 0),
        ({"is_final": True}, 4),
    ],
)
def test_the_milestones_are_quarters_and_the_end(values: dict[str, Any], expected: int) -> None:
    assert stage(snapshot(**values)) == expected
