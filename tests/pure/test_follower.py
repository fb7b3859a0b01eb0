"""Watching a run takes the time that it was given, however slow the home is."""

from __future__ import annotations

import threading
import time
from pathlib import Path
from typing import Any, cast

import pytest

from parallelrun_jupyter.runs.journal.events import EndNotified, RunFinished, WarningRaised
from parallelrun_jupyter.runs.journal.files import JournalWriter, has_end
from parallelrun_jupyter.runs.journal.lines import encode
from parallelrun_jupyter.runs.snapshot.follower import Follower, wait_for_end, watch


class Slow:
    """A run that does not end, in a home that is slow to read."""

    def __init__(self, look_s: float) -> None:
        self.looks = 0
        self._look_s = look_s

    def refresh(self) -> dict[str, Any]:
        self.looks += 1
        time.sleep(self._look_s)
        return {"is_final": False}


@pytest.mark.parametrize(("look_s", "every_s"), [(0.2, 0.01), (0.0, 0.01), (0.0, 30.0)])
def test_a_timeout_counts_the_time_that_passes(look_s: float, every_s: float) -> None:
    run = Slow(look_s)
    shown: list[Any] = []
    began = time.monotonic()
    last: Any = watch(cast("Follower", run), shown.append, every_s=every_s, timeout_s=0.5)
    took = time.monotonic() - began
    assert 0.5 <= took < 3, "ten seconds if the looks took none of it, thirty if the pause did"
    assert (last, len(shown)) == ({"is_final": False}, run.looks)


class Journal:
    """A run with a journal on the disk; its snapshots count, and tell the end."""

    def __init__(self, folder: Path) -> None:
        self.folder = self
        self.journal = folder / "events.jsonl"
        self.looks = 0

    def refresh(self) -> dict[str, Any]:
        self.looks += 1
        is_final = self.journal.exists() and b"RunFinished" in self.journal.read_bytes()
        return {"is_final": is_final, "eta_low_s": None}


@pytest.mark.alone
def test_the_end_is_seen_soon_and_with_few_snapshots(tmp_path: Path) -> None:
    run = Journal(tmp_path)
    end = encode(RunFinished(1, "Completed", "", "out", 0)).encode()
    written_at = 0.0

    def write() -> None:
        nonlocal written_at
        with run.journal.open("ab", buffering=0) as file:
            for _ in range(60):
                time.sleep(0.02)
                file.write(b'["s",0,1,"n0w0",1,1,1,1,1,0,0,0,0]\n')
            file.write(end[:20])
            time.sleep(0.1)
            assert not is_seen.is_set(), "an incomplete line is no end"
            written_at = time.monotonic()
            file.write(end[20:] + b"\n")

    is_seen = threading.Event()
    thread = threading.Thread(target=write)
    thread.start()
    last: Any = wait_for_end(cast("Follower", run))
    seen_at = time.monotonic()
    is_seen.set()
    thread.join()
    assert last["is_final"]
    assert 0 <= seen_at - written_at < 0.5
    assert run.looks <= 4, "one a second, and the last one"


def test_waiting_for_the_end_has_a_timeout(tmp_path: Path) -> None:
    began = time.monotonic()
    last: Any = wait_for_end(cast("Follower", Journal(tmp_path)), 0.3)
    assert not last["is_final"]
    assert 0.3 <= time.monotonic() - began < 3


@pytest.mark.parametrize("state", ["Completed", "Failed", "Canceled"])
def test_the_last_line_tells_whether_a_run_has_ended(tmp_path: Path, state: str) -> None:
    journal = tmp_path / "events.jsonl"
    assert not has_end(journal)
    writer = JournalWriter(journal)
    writer.append([WarningRaised(1, "w" * 9000)])
    assert not has_end(journal)
    writer.append([RunFinished(2, state, "reason", "", 0)])
    assert has_end(journal)
    writer.append([EndNotified(9, 1, "desktop"), EndNotified(9, 1, "env:HOOK", "no answer")])
    assert has_end(journal), "notes about the end follow it"
    writer.append([WarningRaised(3, "a resume goes on")])
    assert not has_end(journal)
    writer.close()
