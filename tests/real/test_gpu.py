"""A GPU, by a device that sleeps: the window shows its use, and the comparison of how busy it is runs."""

from __future__ import annotations

import os
import time
from pathlib import Path

import pytest

from benchmarks.gpu import command
from benchmarks.gpu.meters import Ledger, Nvml
from benchmarks.gpu.work import make
from parallelrun_jupyter import FileDataset, ParallelRunConfig, submit

ROOT = Path(__file__).parents[2]


def test_the_window_shows_the_use_of_a_gpu_that_two_workers_share(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    works, model = make(tmp_path, is_small=True)
    ledger = Ledger(tmp_path)
    for name, text in ledger.variables.items():
        monkeypatch.setenv(name, text)
    monkeypatch.setenv("PYTHONPATH", str(ROOT))
    config = ParallelRunConfig(
        entry_script=works["images"].script,
        mini_batch_size=1,
        process_count_per_node=2,
        environment_variables={
            "CUDA_VISIBLE_DEVICES": "0,0",
            "BENCHMARK_GPU_FRAMEWORK": "stand-in",
            "BENCHMARK_GPU_MODEL": model,
            "BENCHMARK_GPU_WORK": "0.2",
        },
    )
    run = submit(config, inputs=FileDataset(works["images"].source))
    deadline = time.monotonic() + 60
    shown: list[int] = []
    try:
        # Both keep it busy: each has the use of the whole device, not of its own calls alone.
        while min(shown, default=0) < 60 or len(shown) < 2:
            assert time.monotonic() < deadline, run.snapshot()
            time.sleep(0.2)
            rows = run.snapshot()["workers"]
            shown = [row["gpu_percent"] for row in rows if row["gpu_percent"] is not None]
        assert {row["gpu_memory_mb"] for row in rows} == {1024}
    finally:
        run.cancel()
        run.wait_for_completion(show_output=False, raise_on_error=False)
    # One call at a time, of whichever process: the busy seconds fit between the first call and the last.
    busy = ledger.end()
    assert 0 < busy.busy_s <= busy.span_s


def test_the_utilization_is_read_while_a_process_is_measured(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    program, words = tmp_path / "nvidia-smi", tmp_path / "words"
    program.write_text(
        f'#!/bin/sh\necho "$@" > {words}\necho "[N/A]"\nwhile :; do echo 40; sleep 0.02; done\n'
    )
    program.chmod(0o755)
    monkeypatch.setenv("PATH", f"{tmp_path}{os.pathsep}{os.environ['PATH']}")
    meter = Nvml("1")
    meter.begin()
    deadline = time.monotonic() + 30
    while len(meter.samples) < 5:
        assert time.monotonic() < deadline
        time.sleep(0.02)
    assert meter.end().percent() == pytest.approx(40)
    assert words.read_text().startswith("--id=1 --query-gpu=utilization.gpu ")


def test_how_busy_a_device_is_kept_is_measured_with_the_right_rows(
    capsys: pytest.CaptureFixture[str],
) -> None:
    words = ["--device", "stand-in", "--small", "--scripts", "images", "--busy-ms", "5"]
    assert command.main(words) == 0
    rows = [line for line in capsys.readouterr().out.splitlines() if line.startswith("| images ")]
    assert [row.split(" | ")[2] for row in rows] == list(command.ENGINES)
    for row in rows:
        *_, working, in_all, _, output = row.strip("| ").split(" | ")
        assert output == "right, in order"
        assert 0 < int(in_all.rstrip(" %")) <= int(working.rstrip(" %")) <= 100
