"""A run of a million mini-batches, watched: the messages to the page, and the page itself."""

from __future__ import annotations

import gc
import json
import statistics
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import pytest

pytest.importorskip("playwright")
from parallelrun_jupyter.notebook.display import Place
from parallelrun_jupyter.notebook.feed import followed
from parallelrun_jupyter.notebook.run_details import CellOutput
from parallelrun_jupyter.runs.journal.files import JournalReader, write_state
from parallelrun_jupyter.runs.journal.state import RunState
from parallelrun_jupyter.runs.run_folder import RunFolder
from parallelrun_jupyter.runs.snapshot import snapshot as snapshots
from parallelrun_jupyter.runs.snapshot.follower import Follower
from parallelrun_jupyter.views.mime_bundle import run_output
from tests.journals import ITEMS, Course, record, write_log, write_run
from tests.real.jupyter_pages import IN_CHROMIUM
from tests.real.test_details import VIEW, Comms, Publisher, comms  # noqa: F401 - a fixture
from tests.real.view_page import ViewPage

pytestmark = IN_CHROMIUM

MILLION = 1_000_000
WORKERS = 16
REPLAY_S = 20.0


@pytest.fixture(autouse=True)
def nothing_left() -> None:
    """Playwright keeps threads of its own."""


@pytest.fixture(scope="module")
def million(tmp_path_factory: pytest.TempPathFactory) -> bytes:
    """Return the journal of a million mini-batches, of which every 5,000th fails for good."""
    lines = [b'{"event":"RunStarted","at_ms":0,"schema":1,"pid":1,"host":"here"}']
    started = b'{"event":"WorkerStarted","at_ms":1,"worker":"n0w%d","node":"n0","pid":7}'
    lines += [started % w for w in range(WORKERS)]
    totals = b'"at_ms":2,"mini_batches":%d,"items":%d' % (MILLION, ITEMS * MILLION)
    lines += [b'{"event":"PlanFinished",%b}' % totals]
    lines += [b'{"event":"StateEntered","at_ms":3,"state":"Running"}']
    for k in range(MILLION):
        at, w = k // 16, k % WORKERS
        if k % 5000 == 4999:
            lines.append(
                b'["f",%d,3,"n0w%d",%d,900,5,true,"exception","ValueError","no picture %d",'
                b'"ValueError at score.py:%d in run","Traceback"]' % (k, w, at, k, k // 5000 % 12)
            )
        else:
            lines.append(b'["s",%d,1,"n0w%d",%d,230,5,5,5,1,%d,10,0]' % (k, w, at, 10 * k))
        if k % 16_000 == 0:
            rows = b",".join(
                b'["n0w%d","running",%d,%d,%d,%d,-1,-1]'
                % (n, k + n, at - 5, 50 + (k // 16_000 + n) % 10 * 5, 200 + n)
                for n in range(WORKERS)
            )
            lines.append(
                b'{"event":"NodeSampled","at_ms":%d,"node":"n0","workers":[%b]}' % (at, rows)
            )
    end = MILLION // 16 + 10
    lines.append(
        b'{"event":"RunFinished","at_ms":%d,"state":"Completed","reason":"","output":"/o","output_bytes":9}'
        % end
    )
    return b"\n".join([*lines, b""])


def folder_of(home: Path) -> RunFolder:
    made = record(created_at=time.time(), limits={"error_threshold": -1})
    folder = RunFolder(home / "runs" / made.run_id)
    for place in (folder.script, folder.output, folder.user_logs, folder.control):
        place.mkdir(parents=True)
    folder.record.write_text(made.to_json())
    return folder


_DRIVER = """
import sys, time
from pathlib import Path
from parallelrun_jupyter.runs.journal.lines import decode_lines
from parallelrun_jupyter.runs.journal.state import RunState
from parallelrun_jupyter.runs.journal.files import write_state
from parallelrun_jupyter.runs.run_folder import RunFolder

journal, folder, seconds = Path(sys.argv[1]).read_bytes(), RunFolder(Path(sys.argv[2])), float(sys.argv[3])
count = int(seconds * 20)
ends = [journal.rfind(b"\\n", 0, len(journal) * n // count) + 1 for n in range(1, count)]
state, written, save_at = RunState(), 0, 0.0
began = time.monotonic()
with open(folder.journal, "ab", buffering=0) as file:
    for number, (start, end) in enumerate(zip([0, *ends], [*ends, len(journal)]), 1):
        file.write(journal[start:end])
        state.apply_all(decode_lines(journal[start:end].splitlines()))
        now = time.monotonic()
        if now >= save_at:
            write_state(folder, state, end)
            save_at = time.monotonic() + max(0.3, 50 * (time.monotonic() - now))
        time.sleep(max(0.0, began + number / 20 - time.monotonic()))
"""
"""Writes a journal as fast as a run of a million would, and the fold beside it, as a driver does."""


@pytest.mark.alone
def test_a_million_is_watched_at_a_constant_cost(
    home: Path,
    million: bytes,
    opened: Any,
    comms: Comms,  # noqa: F811 - the fixture, imported by its name
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(snapshots, "driver_is_alive", lambda *_: True)
    folder = folder_of(home)
    page = ViewPage(opened, folder, state=RunState())
    recorded = home / "recorded.jsonl"
    recorded.write_bytes(million)
    command = [sys.executable, "-c", _DRIVER, str(recorded), str(folder.path), str(REPLAY_S)]
    CellOutput(folder, Place(Publisher(), has_views=True)).open()
    comms.say(say="hello", view=VIEW)
    writer = subprocess.Popen(command)
    drawn = 0
    is_open = False
    while writer.poll() is None or followed():
        told = comms.updates()
        for _, output in told[drawn:]:
            if is_open:
                page.draw(output)
            else:
                page.open(output)
                is_open = True
        drawn = len(told)
        page.page.wait_for_timeout(20)
    assert writer.wait() == 0
    told = comms.updates()
    for _, output in told[drawn:]:
        page.draw(output)
    assert page.page.locator(".pr-run[data-state=Completed]").count() == 1
    assert "999,800" in page.page.locator(".pr-key-done").inner_text()
    times = [at for at, _ in told]
    sizes = [len(json.dumps(output)) for _, output in told]
    tasks = page.page.evaluate("tasks")
    print(
        f"{len(told)} messages in {times[-1] - times[0]:.1f} s, {sum(sizes):,} bytes, "
        f"largest {max(sizes):,}; browser tasks over 50 ms: {tasks}"
    )
    for first, sixth in zip(times[1:], times[6:], strict=False):
        assert sixth - first > 0.9, "more than five in a second"
    assert max(sizes) <= 20_000
    assert len(told) >= 3, "it was not seen to move"
    assert page.page.locator(".pr-grid canvas").get_attribute("aria-valuemax") == "976"
    assert max(tasks, default=0) <= 50, tasks
    silent = len(comms.updates())
    page.page.wait_for_timeout(600)
    assert len(comms.updates()) == silent, "nothing has changed"
    comms.say(say="bye", view=VIEW)
    page.close()


def test_nothing_is_sent_of_a_million_that_nobody_sees(
    home: Path,
    million: bytes,
    comms: Comms,  # noqa: F811 - the fixture, imported by its name
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(snapshots, "driver_is_alive", lambda *_: True)
    folder = folder_of(home)
    CellOutput(folder, Place(Publisher(), has_views=True)).open()
    with open(folder.journal, "ab") as file:
        file.write(million[: len(million) // 10])
    time.sleep(1.5)
    assert comms.updates() == []
    with open(folder.journal, "ab") as file:
        file.write(million[million.rindex(b"\n", 0, -1) + 1 :])
    deadline = time.monotonic() + 30
    while followed():
        assert time.monotonic() < deadline
        time.sleep(0.05)
    assert comms.updates() == []


@pytest.mark.alone
def test_a_finished_million_opens_within_three_seconds(
    home: Path, million: bytes, opened: Any
) -> None:
    folder = folder_of(home)
    folder.journal.write_bytes(million)
    state = RunState()
    state.apply_all(JournalReader(folder.journal).read())
    write_state(folder, state, len(million))
    gc.collect()
    page = ViewPage(opened, folder, state=state)
    began = time.monotonic()
    output = run_output(Follower(folder).refresh())
    page.open(output)
    page.page.locator(".pr-run[data-state=Completed]").wait_for()
    took = time.monotonic() - began
    print(f"a finished run of a million is open after {took:.2f} s")
    assert took < 3
    assert len(json.dumps(output)) <= 20_000
    grid = page.page.locator(".pr-grid canvas")
    grid.focus()
    page.page.keyboard.press("End")
    page.page.keyboard.press("Enter")
    page.page.wait_for_function("document.querySelector('.pr-grid canvas').ariaValueMax === '575'")
    page.close()


def test_the_heap_of_the_page_stays_flat_over_ten_minutes(
    home: Path, opened: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(snapshots, "driver_is_alive", lambda *_: True)
    folder = write_run(home, Course(mini_batches=4000, workers=8), until_s=230)
    page = ViewPage(opened, folder)
    page.read_all()
    view = page.open(page.output())
    page.page.clock.install()
    view.locator("summary", has_text="Timeline").click()
    view.locator("summary", has_text="Log").click()
    devtools = page.context.new_cdp_session(page.page)

    def heap() -> int:
        devtools.send("HeapProfiler.collectGarbage")
        return int(devtools.send("Runtime.getHeapUsage")["usedSize"])

    sizes = []
    for minute in range(11):
        write_log(folder, f"n0w{minute % 8}", [("STDOUT", k, f"line {k}") for k in range(500)])
        for second in range(60):
            page.state.succeeded += 1
            page.state.statuses[second * 7 + minute] = second % 4
            page.draw(page.output(231 + minute * 60 + second))
            page.page.clock.run_for(1000)
        sizes.append(heap())
    print(f"heap after each minute, in kB: {[size // 1000 for size in sizes]}")
    assert view.locator(".pr-log > div").count() <= 1001
    grown = statistics.median(sizes[-3:]) - statistics.median(sizes[1:4])
    assert grown < 400_000, sizes
    page.close()
