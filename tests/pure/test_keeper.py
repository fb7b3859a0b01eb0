"""A copy of the process does the rest, with few descriptors, and outlives the original."""

from __future__ import annotations

import os
import subprocess
import sys
import time
from pathlib import Path

PROGRAM = """
import os, sys, time
from parallelrun_jupyter.engine.keeper import leave_to_copy
kept = os.open(sys.argv[1], os.O_WRONLY | os.O_CREAT)
other = os.open(sys.argv[1] + ".other", os.O_WRONLY | os.O_CREAT)

def work():
    time.sleep(0.3)
    names = sorted(os.listdir("/dev/fd"), key=int)
    os.write(kept, f"{os.getppid()} {' '.join(names)}".encode())

began = time.monotonic()
leave_to_copy(work, (kept,))
assert time.monotonic() - began < 0.25
print(os.getpid(), kept, other)
"""


def test_the_copy_works_on_while_the_original_ends(tmp_path: Path) -> None:
    file = tmp_path / "note"
    command = [sys.executable, "-c", PROGRAM, str(file)]
    done = subprocess.run(command, stdout=subprocess.PIPE, text=True, check=True)
    pid, kept, other = map(int, done.stdout.split())
    deadline = time.monotonic() + 10
    while not file.read_text():
        assert time.monotonic() < deadline
        time.sleep(0.01)
    parent, *descriptors = map(int, file.read_text().split())
    assert parent != pid
    assert kept in descriptors
    assert set(descriptors) - {0, 1, 2, kept} <= {max(descriptors), other}, "and the listing's own"
    assert len(descriptors) <= 5
    assert os.path.exists(f"{file}.other")
