"""Tests that a process which reads tables does not return the memory of each mini-batch."""

from __future__ import annotations

import platform
import subprocess
import sys

import pytest

_FAULTS = """
import resource, sys
sys.path.insert(0, {root!r})
from parallelrun_jupyter.worker.freed_memory import keep_freed_memory
if {keeps}:
    keep_freed_memory()
def mini_batch():
    return [bytearray(size) for size in (1 << 20, 1 << 19, 1 << 18) for _ in range(4)]
mini_batch()
before = resource.getrusage(resource.RUSAGE_SELF).ru_minflt
for _ in range(20):
    mini_batch()
print(resource.getrusage(resource.RUSAGE_SELF).ru_minflt - before)
"""


def _faults(root: str, *, keeps: bool) -> int:
    program = _FAULTS.format(root=root, keeps=keeps)
    done = subprocess.run(
        [sys.executable, "-c", program], check=True, capture_output=True, text=True
    )
    return int(done.stdout)


@pytest.mark.skipif(
    platform.libc_ver()[0] != "glibc", reason="other C libraries keep it, or cannot"
)
def test_the_memory_of_a_mini_batch_is_used_by_the_next_one(pytestconfig: pytest.Config) -> None:
    root = str(pytestconfig.rootpath)
    pages_of_all = 20 * 4 * ((1 << 20) + (1 << 19) + (1 << 18)) // 4096
    assert _faults(root, keeps=False) > pages_of_all / 4
    assert _faults(root, keeps=True) < pages_of_all / 20
