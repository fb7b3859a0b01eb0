"""Resources of worker processes: measured on real processes; a fake nvidia-smi stands for a GPU."""

from __future__ import annotations

import os
import subprocess
import sys
import time
from pathlib import Path

import psutil
import pytest

from parallelrun_jupyter import ParallelRunConfig, submit
from parallelrun_jupyter.engine.node.metrics import GpuMeter, ResourceMeter
from parallelrun_jupyter.runs.journal.events import NodeSampled
from parallelrun_jupyter.runs.journal.lines import decode, encode
from parallelrun_jupyter.runs.journal.state import RunState
from tests.conftest import SCRIPTS

_BUSY = "import time\nheld = bytearray(80 << 20)\nwhile True: sum(range(1000))"
_IDLE = "import time\ntime.sleep(60)"


def test_cpu_and_memory_of_a_process_are_measured() -> None:
    busy, idle = (subprocess.Popen([sys.executable, "-c", code]) for code in (_BUSY, _IDLE))
    meter = ResourceMeter()
    try:
        time.sleep(0.5)
        assert meter.read(busy.pid) is None, "there is nothing yet to compare with"
        meter.read(idle.pid)
        before = psutil.Process(busy.pid).cpu_times(), time.monotonic()
        time.sleep(1.0)
        worked, rested = meter.read(busy.pid), meter.read(idle.pid)
        assert worked
        assert rested
        after = psutil.Process(busy.pid).cpu_times(), time.monotonic()
        used_s = sum(after[0][:2]) - sum(before[0][:2])
        assert abs(worked[0] - 100 * used_s / (after[1] - before[1])) <= 10
        assert worked[1] >= 80
        assert rested[0] <= 5
        assert rested[1] < worked[1]
        assert worked[2:] == (-1, -1)
    finally:
        for process in (busy, idle):
            process.kill()
            process.wait()
    assert meter.read(busy.pid) is None, "it is gone"


def test_what_has_not_changed_is_not_told_again() -> None:
    now = [0.0]
    meter = ResourceMeter(clock=lambda: now[0])
    idle = subprocess.Popen([sys.executable, "-c", _IDLE])
    told = []
    try:
        time.sleep(0.3)
        for _ in range(6):
            told.append(meter.changes({"w": (idle.pid, 0)}))
            now[0] += 1.0
    finally:
        idle.kill()
        idle.wait()
    assert [set(one) for one in told] == [set(), set(), {"w"}, set(), set(), set()]


def test_a_gpu_is_read_from_the_program_that_knows(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    program = tmp_path / "nvidia-smi"
    program.write_text(
        "#!/bin/sh\n"
        'echo "0, GPU-11112222, 35, 1024"; echo "1, GPU-33334444, [N/A], 2048"\n'
        "exec sleep 60\n"
    )
    program.chmod(0o755)
    monkeypatch.setenv("PATH", f"{tmp_path}{os.pathsep}{os.environ['PATH']}")
    meter = GpuMeter()
    try:
        deadline = time.monotonic() + 30
        while meter.read("0") == (-1, -1):
            assert time.monotonic() < deadline
            time.sleep(0.02)
        assert meter.read("0") == (35, 1024)
        assert meter.read("GPU-3333") == (-1, 2048)
        assert meter.read("7") == (-1, -1)
    finally:
        meter.close()
    assert GpuMeter("no-such-program").read("0") == (-1, -1)


def test_a_gpu_is_not_measured_once_the_program_has_ended(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    program, end = tmp_path / "nvidia-smi", tmp_path / "end"
    program.write_text(
        f'#!/bin/sh\necho "0, GPU-11112222, 35, 1024"\nuntil [ -e {end} ]; do sleep 0.02; done\n'
    )
    program.chmod(0o755)
    monkeypatch.setenv("PATH", f"{tmp_path}{os.pathsep}{os.environ['PATH']}")
    meter = GpuMeter()
    deadline = time.monotonic() + 30
    try:
        while meter.read("0") != (35, 1024):
            assert time.monotonic() < deadline
            time.sleep(0.02)
        end.touch()
        while meter.read("0") != (-1, -1):
            assert time.monotonic() < deadline
            time.sleep(0.02)
    finally:
        meter.close()


def test_a_run_journals_what_its_workers_use(numbers: Path) -> None:
    script = SCRIPTS.parent.parent / "tests" / "entry_scripts" / "slow.py"
    config = ParallelRunConfig(
        entry_script=str(script), mini_batch_size=1, process_count_per_node=1
    )
    run = submit(config, inputs=str(numbers / "*.txt"))
    deadline = time.monotonic() + 30
    rows: list[object] = []
    while not rows:
        assert time.monotonic() < deadline
        time.sleep(0.2)
        sampled = [e for e in run.events(follow=False) if isinstance(e, NodeSampled)]
        rows = [row for event in sampled for row in event.workers if len(row) == 8]
        if run.status == "Completed" and not rows:
            pytest.skip("the run was over before anything was measured")
    run.cancel()
    run.wait_for_completion(show_output=False, raise_on_error=False)
    assert rows[0][5] > 1  # type: ignore[index]


def test_rows_of_older_journals_stay_readable() -> None:
    old = b'{"event":"NodeSampled","at_ms":7,"node":"n0","workers":[["n0w0","running",3,5]]}'
    event = decode(old)
    assert event == NodeSampled(7, "n0", (("n0w0", "running", 3, 5),))
    RunState().apply(event)
    new = NodeSampled(7, "n0", (("n0w0", "running", 3, 5, 95, 210, -1, -1),))
    assert decode(encode(new)) == new
