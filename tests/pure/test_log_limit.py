"""Logs of bounded size: the first and the last part are kept, and the rest is counted."""

from __future__ import annotations

import os
import re
import signal
import sys
import time
from pathlib import Path

import pytest

from parallelrun_jupyter.pipelines.steps import ScriptStep
from parallelrun_jupyter.worker import log_limit
from parallelrun_jupyter.worker.log_limit import KEPT_BYTES, keep_ends
from parallelrun_jupyter.worker.streams import WorkerLog

NOTE = re.compile(rb"\n\[ *(\d+) bytes of this log were left out here\]\n")


def test_the_ends_are_kept_and_every_byte_between_them_is_counted(tmp_path: Path) -> None:
    log = tmp_path / "log"
    whole = b""
    for part in range(5):
        new = b"".join(b"line %d of %d\n" % (line, part) for line in range(300))
        whole += new
        with open(log, "ab") as file:
            file.write(new)
        keep_ends(str(log), 2000, 500)
        content = log.read_bytes()
        note = NOTE.search(content)
        assert note is not None
        start, end = content[: note.start()], content[note.end() :]
        assert whole.startswith(start)
        assert whole.endswith(end)
        assert len(start) == 500
        assert 450 < len(end) <= 500
        assert end.startswith(b"line ")
        assert int(note[1]) == len(whole) - len(start) - len(end)


def test_a_log_within_the_limit_stays_as_it_is(tmp_path: Path) -> None:
    log = tmp_path / "log"
    log.write_bytes(b"x\n" * 1000)
    keep_ends(str(log), 2000, 500)
    assert log.read_bytes() == b"x\n" * 1000
    keep_ends(str(tmp_path / "none"))  # removed meanwhile


def test_the_log_of_a_worker_is_limited(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(log_limit, "_CHECK_EVERY_BYTES", 1000)
    monkeypatch.setattr(log_limit.keep_ends, "__defaults__", (60_000, 20_000))
    path = tmp_path / "n0w0.log"
    log = WorkerLog(str(path))
    for number in range(5000):
        log.write_lines(b"STDOUT", b"text %d" % number)
    os.close(log.fd)
    content = path.read_bytes()
    assert len(content) < 65_000
    assert b" text 0\n" in content
    assert content.endswith(b" text 4999\n")
    assert NOTE.search(content)


def test_a_command_that_prints_without_end_fills_no_disk(tmp_path: Path) -> None:
    log = tmp_path / "std_log.txt"
    line = "head -c 400000000 /dev/zero | tr '\\0' 'x' | fold -w 99; echo; echo the end; exit 3"
    step = ScriptStep(
        sys.executable, "command", ["bash", "-c", f"echo begin; {line}"], cwd=tmp_path, log=log,
        environ=dict(os.environ),
    )  # fmt: skip
    largest_bytes = 0
    while (end := step.poll()) is None:
        largest_bytes = max(largest_bytes, log.stat().st_size)
        time.sleep(0.02)
    assert end[1].endswith("the end\nthe command ended with exit code 3")
    assert largest_bytes < 3 * KEPT_BYTES + (8 << 20)
    content = log.read_bytes()
    note = NOTE.search(content)
    assert note is not None
    assert content.startswith(b"begin\n")
    assert KEPT_BYTES - 200 < len(content) - note.end() <= KEPT_BYTES
    printed = len("begin\n\nthe end\n") + 400_000_000 + (400_000_000 - 1) // 99
    assert int(note[1]) + note.start() + len(content) - note.end() == printed


def test_a_process_that_outlives_its_command_does_not_hold_its_end(tmp_path: Path) -> None:
    log = tmp_path / "std_log.txt"
    words = ["bash", "-c", "setsid sleep 60 & echo $!"]
    step = ScriptStep(
        sys.executable, "command", words, cwd=tmp_path, log=log, environ=dict(os.environ)
    )
    deadline = time.monotonic() + 20
    while (end := step.poll()) is None:
        assert time.monotonic() < deadline
        time.sleep(0.02)
    os.kill(int(log.read_text()), signal.SIGKILL)  # it runs still
    assert end == ("Completed", "")
