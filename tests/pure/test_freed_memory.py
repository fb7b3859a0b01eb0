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
if {keeps_for} is not None:
    keep_freed_memory({keeps_for})
def mini_batch():
    return [bytearray(size) for size in (1 << 20, 1 << 19, 1 << 18) for _ in range({blocks})]
mini_batch()
before = resource.getrusage(resource.RUSAGE_SELF).ru_minflt
for _ in range(20):
    mini_batch()
print(resource.getrusage(resource.RUSAGE_SELF).ru_minflt - before)
"""


def _faults(root: str, keeps_for: int | None, blocks: int) -> float:
    """Return the share of the memory of 20 mini-batches that a process got from the system again."""
    program = _FAULTS.format(root=root, keeps_for=keeps_for, blocks=blocks)
    done = subprocess.run(
        [sys.executable, "-c", program], check=True, capture_output=True, text=True
    )
    pages_of_all = 20 * blocks * ((1 << 20) + (1 << 19) + (1 << 18)) // 4096
    return int(done.stdout) / pages_of_all


@pytest.mark.skipif(
    platform.libc_ver()[0] != "glibc", reason="other C libraries keep it, or cannot"
)
def test_the_memory_of_a_mini_batch_is_used_by_the_next_one(pytestconfig: pytest.Config) -> None:
    root = str(pytestconfig.rootpath)
    assert _faults(root, None, blocks=4) > 0.25
    assert _faults(root, 0, blocks=4) < 0.05  # 7 MiB
    assert _faults(root, 1 << 20, blocks=16) > 0.25, "28 MiB are not kept for mini-batches of 1 MiB"
    assert _faults(root, 4 << 20, blocks=16) < 0.05
