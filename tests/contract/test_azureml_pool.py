"""The contract of the pool of Azure ML: a run there is as a run here, whatever happens on the way."""

from __future__ import annotations

import random
import subprocess
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any

import pytest

from parallelrun_jupyter import ParallelRunConfig, Run, submit
from parallelrun_jupyter.runs.failed_items import failed_items
from parallelrun_jupyter.runs.journal.events import AttemptSucceeded
from parallelrun_jupyter.runs.resume_request import ResumeRequest, write_resume
from parallelrun_jupyter.runs.run_folder import RunFolder
from tests.azureml_driver import drive, new_run, start_driver
from tests.folder_jobs import Fate, FolderService
from tests.conftest import SCRIPTS
from tests.real.conftest import end_of


@pytest.fixture
def service(tmp_path: Path) -> Iterator[FolderService]:
    """Return jobs in a folder."""
    jobs = FolderService(tmp_path / "jobs")
    yield jobs
    jobs.close()


def test_a_run_is_one_job_and_has_its_rows_in_order(service: FolderService, numbers: Path) -> None:
    run = drive(new_run("echo.py", numbers, mini_batch_size=7), lambda: service)
    snapshot = run.snapshot()
    assert snapshot["state"] == "Completed", snapshot["reason"]
    expected = "".join(f"{k:03d}.txt\n" for k in range(60))
    assert Path(snapshot["output"]).read_text() == expected
    assert len(service.requests("create")) == 1


FAULTS = ["raise=3", "once-kill=25", "none=41", "short=50", "raise=51"]


def faulty_script(marks: Path) -> Path:
    """Return the script of faults with the folder of its marks in its text: a job knows no paths here."""
    marks.mkdir()
    text = (SCRIPTS / "faults.py").read_text()
    text = text.replace("sys.argv[1]", repr(str(marks))).replace("argv[2:]", "argv[1:]")
    path = marks.with_name(f"{marks.name}.py")
    path.write_text(text)
    return path


def outcome_of(run: Run) -> Any:
    """Return the counts, failed items and rows of a completed run."""
    snapshot = run.snapshot()
    assert snapshot["state"] == "Completed", snapshot["reason"]
    counts = [snapshot[k] for k in ("succeeded", "failed", "items_failed", "rows")]
    failed = sorted((f.mini_batch, f.item or "", f.error) for f in failed_items(run.folder))
    return counts, failed, Path(snapshot["output"]).read_bytes()


@pytest.mark.parametrize("isolates", [True, False])
def test_faults_have_the_same_rows_and_failed_items_as_here(
    service: FolderService, numbers: Path, tmp_path: Path, isolates: bool
) -> None:
    settings: Any = {
        "mini_batch_size": 4,
        "error_threshold": -1,
        "run_max_try": 2,
        "isolate_failures": isolates,
    }
    script = faulty_script(tmp_path / "here")
    config = ParallelRunConfig(entry_script=str(script), **settings)
    here = submit(config, inputs=numbers, arguments=FAULTS)
    end_of(here)
    script = faulty_script(tmp_path / "there")
    there = drive(new_run(script, numbers, FAULTS, **settings), lambda: service)
    assert outcome_of(there) == outcome_of(here)
    assert len(service.requests("create")) == 1


def killed_drivers(folder: RunFolder, service: FolderService, kills: Iterable[float]) -> Run:
    """Start drivers and kill each after some seconds; return the run once the last one has ended it."""
    for seconds in kills:
        process = start_driver(folder, service.root)
        try:
            process.wait(seconds)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()
    while (process := start_driver(folder, service.root)).wait(120) != 0:
        pass
    return Run(folder)


@pytest.mark.parametrize("seed", range(4))
def test_killed_drivers_send_and_count_nothing_twice(
    service: FolderService, numbers: Path, seed: int
) -> None:
    random_ = random.Random(seed)
    folder = new_run("slow.py", numbers, ["0.1"], mini_batch_size=3, process_count_per_node=2)
    run = killed_drivers(folder, service, [random_.uniform(0.5, 6.0) for _ in range(4)])
    snapshot = run.snapshot()
    assert snapshot["state"] == "Completed", snapshot["reason"]
    expected = "".join(f"{k:03d}.txt\n" for k in range(60))
    assert Path(snapshot["output"]).read_text() == expected
    done = [e.mini_batch for e in run.events(follow=False) if isinstance(e, AttemptSucceeded)]
    assert sorted(done) == list(range(20))
    assert len(service.requests("create")) == 1


def begin(service: FolderService, numbers: Path, **fate: Any) -> RunFolder:
    """Run until the job has ended too early."""
    service.set_fate(Fate(**fate))
    folder = new_run("slow.py", numbers, ["0.1"], mini_batch_size=3, process_count_per_node=2)
    drive(folder, lambda: service)
    service.set_fate(Fate())
    return folder


def resume(folder: RunFolder, **request: Any) -> None:
    write_resume(folder, ResumeRequest(**request))


def test_a_job_that_is_canceled_in_azure_interrupts_and_a_resume_runs_the_rest(
    service: FolderService, numbers: Path
) -> None:
    folder = begin(service, numbers, ends_after=5, state="Canceled")
    snapshot = Run(folder).snapshot()
    [name] = service.requests("create")
    left = 20 - snapshot["succeeded"]
    assert snapshot["state"] == "Interrupted"
    assert 0 < left < 20
    assert snapshot["reason"] == (
        f"the job {name} was canceled in Azure ML, not by this run. Results that have finished are "
        f"kept; {left} mini-batches have no result yet. Resume the run, and a new job runs only these"
    )
    resume(folder)
    run = drive(folder, lambda: service)
    assert run.snapshot()["state"] == "Completed"
    _, second = service.requests("create")
    plans = list((service.root / second / "job" / "plan").iterdir())
    assert len(plans) == left
    done = [e.mini_batch for e in run.events(follow=False) if isinstance(e, AttemptSucceeded)]
    assert sorted(done) == list(range(20))


def test_a_job_that_fails_early_can_go_on_here(service: FolderService, numbers: Path) -> None:
    folder = begin(service, numbers, ends_after=5, state="Failed", error="quota is used up.")
    snapshot = Run(folder).snapshot()
    assert snapshot["state"] == "Interrupted"
    assert "has failed in Azure ML: quota is used up. Results" in snapshot["reason"]
    run = Run(folder)
    run.resume(compute="local")
    assert end_of(run) == "Completed"
    expected = "".join(f"{k:03d}.txt\n" for k in range(60))
    assert Path(run.snapshot()["output"]).read_text() == expected
    assert len(service.requests("create")) == 1
