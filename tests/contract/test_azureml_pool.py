"""The contract of the pool of Azure ML: a run there is as a run here, whatever happens on the way."""

from __future__ import annotations

import random
import signal
import subprocess
import threading
import time
import warnings
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any

import pytest

from parallelrun_jupyter import ParallelRunConfig, Run, submit
from parallelrun_jupyter.backends.azureml import leaving, poller
from parallelrun_jupyter.backends.azureml.service import (
    CredentialError,
    JobNotFoundError,
    ServiceError,
    TransientError,
)
from parallelrun_jupyter.client.launcher import warm_drivers
from parallelrun_jupyter.runs.driver_lock import driver_is_alive
from parallelrun_jupyter.runs.failed_items import failed_items
from parallelrun_jupyter.runs.journal.events import (
    AttemptFailed,
    AttemptSucceeded,
    InitFailed,
    WarningRaised,
    WorkerReady,
)
from parallelrun_jupyter.runs.logs import remote_logs
from parallelrun_jupyter.runs.resume_request import ResumeRequest, write_resume
from parallelrun_jupyter.runs.run_folder import RunFolder
from tests.azureml_driver import COMPUTE, drive, new_run, start_driver
from tests.conftest import SCRIPTS
from tests.folder_jobs import Fate, Faulty, FolderService
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


def test_killed_drivers_of_a_run_with_faults_have_the_rows_and_failed_items_of_a_clean_one(
    service: FolderService, numbers: Path, tmp_path: Path
) -> None:
    faults = ["raise=3", "once-kill=25", "short=50"]
    settings: Any = {"mini_batch_size": 4, "error_threshold": -1, "run_max_try": 2}
    folder = new_run(faulty_script(tmp_path / "one"), numbers, faults, **settings)
    clean = drive(folder, lambda: service)
    folder = new_run(faulty_script(tmp_path / "two"), numbers, faults, **settings)
    for dies_at in ("after submit 0", "after read_result 4", "after read_result 6"):
        assert start_driver(folder, service.root, dies_at).wait(60) == -signal.SIGKILL
    stormy = drive(folder, lambda: service)
    assert outcome_of(stormy) == outcome_of(clean)


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


@pytest.mark.parametrize("can_cancel", [True, False])
def test_a_run_that_goes_on_here_cancels_the_job_that_it_leaves(
    service: FolderService, numbers: Path, monkeypatch: pytest.MonkeyPatch, can_cancel: bool
) -> None:
    def expired(verb: str, count: int) -> None:
        if verb == "status" and count == 3:
            raise CredentialError("the token has expired")

    def refused(verb: str, count: int) -> None:
        if verb == "cancel" and not can_cancel:
            raise CredentialError(f"please sign in, {count}")

    folder = new_run("slow.py", numbers, ["0.1"], mini_batch_size=3, process_count_per_node=1)
    service.set_fate(Fate(queued_s=20))
    run = drive(folder, lambda: Faulty(service, expired))
    assert run.snapshot()["state"] == "Interrupted"
    monkeypatch.setattr(leaving, "require_azure_ai_ml", lambda: None)
    monkeypatch.setattr(leaving, "connect", lambda *_: Faulty(service, refused))
    [name] = service.requests("create")
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        run.resume(compute="local")
    assert end_of(run) == "Completed"
    expected = "".join(f"{k:03d}.txt\n" for k in range(60))
    assert Path(run.snapshot()["output"]).read_text() == expected
    assert service.requests("cancel") == ([name] if can_cancel else [])
    said = [str(one.message) for one in caught if "Azure ML" in str(one.message)]
    assert said == ([] if can_cancel else [
        f"the job {name} may still run in Azure ML, and could not be canceled (please sign in, 0). Cancel "
        f"it there, since the run goes on without it: az ml job cancel --name {name}"
    ])  # fmt: skip


@pytest.mark.parametrize(
    "dies_at",
    [
        "before submit 0",
        "after submit 0",
        "before status 0",
        "before list_results 2",
        "before read_result 0",
        "after read_result 9",
        "before download_files 0",
        "after download_files 0",
    ],
)
def test_a_driver_that_dies_at_a_request_has_a_successor_that_goes_on(
    service: FolderService, numbers: Path, dies_at: str
) -> None:
    folder = new_run("slow.py", numbers, mini_batch_size=3, process_count_per_node=2)
    assert start_driver(folder, service.root, dies_at).wait(60) == -signal.SIGKILL
    snapshot = drive(folder, lambda: service).snapshot()
    assert snapshot["state"] == "Completed", snapshot["reason"]
    expected = "".join(f"{k:03d}.txt\n" for k in range(60))
    assert Path(snapshot["output"]).read_text() == expected
    done = [e for e in Run(folder).events(follow=False) if isinstance(e, AttemptSucceeded)]
    assert sorted(e.mini_batch for e in done) == list(range(20))
    assert len(service.requests("create")) == 1


def test_a_service_that_does_not_answer_is_asked_again(
    service: FolderService, numbers: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(poller, "SILENCE_S", 0.5)

    def fault(verb: str, count: int) -> None:
        if count < 3 or (verb in {"list_results", "read_result"} and count % 3):
            msg = f"{verb}: connection reset"
            raise TransientError(msg, 0.3 if verb == "submit" else None)

    folder = new_run("echo.py", numbers, mini_batch_size=7)
    run = drive(folder, lambda: Faulty(service, fault))
    snapshot = run.snapshot()
    assert snapshot["state"] == "Completed", snapshot["reason"]
    expected = "".join(f"{k:03d}.txt\n" for k in range(60))
    assert Path(snapshot["output"]).read_text() == expected
    texts = [e.text for e in run.events(follow=False) if isinstance(e, WarningRaised)]
    assert texts[0].startswith(
        "Azure ML does not answer (submit: connection reset). The job is not submitted yet"
    )
    assert "Azure ML answers again" in texts
    assert len(service.requests("create")) == 1


def test_a_credential_that_expires_interrupts_and_the_job_goes_on(
    service: FolderService, numbers: Path
) -> None:
    def fault(verb: str, count: int) -> None:
        if verb == "status" and count == 5:
            raise CredentialError("the token has expired")

    folder = new_run("slow.py", numbers, mini_batch_size=3)
    run = drive(folder, lambda: Faulty(service, fault))
    [name] = service.requests("create")
    assert run.snapshot()["state"] == "Interrupted"
    assert run.snapshot()["reason"] == (
        "the credential for Azure ML has expired or is not accepted (the token has expired). The job "
        f"{name} goes on in Azure ML; nothing is lost. Sign in again (az login), or give a new "
        "credential= in the notebook, and resume the run"
    )
    assert not service.requests("cancel")
    resume(folder)
    assert drive(folder, lambda: service).snapshot()["state"] == "Completed"
    assert service.requests("create") == [name]


def test_a_job_that_vanishes_interrupts_and_a_resume_sends_a_new_one(
    service: FolderService, numbers: Path
) -> None:
    def fault(verb: str, count: int) -> None:
        if verb == "status" and count >= 5:
            raise JobNotFoundError("not found")

    folder = new_run("slow.py", numbers, mini_batch_size=3)
    run = drive(folder, lambda: Faulty(service, fault))
    [name] = service.requests("create")
    assert run.snapshot()["state"] == "Interrupted"
    assert run.snapshot()["reason"].startswith(
        f"Azure ML no longer has the job {name} (not found)."
    )
    service.close()
    (service.root / name).rename(service.root / f".{name}")
    resume(folder)
    assert drive(folder, lambda: service).snapshot()["state"] == "Completed"
    assert len(service.requests("create")) == 2


def test_a_refused_job_interrupts_with_the_words_of_azure(
    service: FolderService, numbers: Path
) -> None:
    def fault(verb: str, _: int) -> None:
        if verb == "submit":
            raise ServiceError("the compute 'cpu' does not exist")

    folder = new_run("echo.py", numbers)
    run = drive(folder, lambda: Faulty(service, fault))
    assert run.snapshot()["state"] == "Interrupted"
    assert run.snapshot()["reason"].startswith(
        "Azure ML refuses the job: the compute 'cpu' does not exist. "
    )
    resume(folder)
    assert drive(folder, lambda: service).snapshot()["state"] == "Completed"


def test_a_call_that_takes_too_long_has_failed_in_each_try(
    service: FolderService, numbers: Path, tmp_path: Path
) -> None:
    script = faulty_script(tmp_path / "marks")
    folder = new_run(
        script, numbers, ["hang=7", "once-hang=30"], mini_batch_size=4, error_threshold=-1,
        run_max_try=2, run_invocation_timeout=2, process_count_per_node=2, isolate_failures=False,
    )  # fmt: skip
    run = drive(folder, lambda: service)
    snapshot = run.snapshot()
    assert snapshot["state"] == "Completed", snapshot["reason"]
    assert (snapshot["succeeded"], snapshot["failed"]) == (14, 1)
    failed = [e for e in run.events(follow=False) if isinstance(e, AttemptFailed)]
    assert [(e.mini_batch, e.attempt, e.kind, e.is_last) for e in failed] == [
        (1, 1, "timeout", False),
        (1, 2, "timeout", True),
    ]
    assert failed[0].message == (
        "run() took longer than run_invocation_timeout = 2 s, says Azure ML"
    )
    assert len(service.requests("create")) == 1


def test_an_init_that_fails_ends_the_run_with_its_exception(
    service: FolderService, numbers: Path
) -> None:
    run = drive(new_run("init_raises.py", numbers, mini_batch_size=10), lambda: service)
    snapshot = run.snapshot()
    assert snapshot["state"] == "Failed"
    assert snapshot["reason"].startswith("no worker could start: ")
    failed = [e for e in run.events(follow=False) if isinstance(e, InitFailed)]
    assert failed
    assert failed[0].group == "FileNotFoundError at init_raises.py:5 in load_model"


def request_soon(folder: RunFolder, request: str) -> threading.Thread:
    """Write a request to the driver once a mini-batch has succeeded."""

    def write() -> None:
        while not Run(folder).snapshot()["succeeded"]:
            time.sleep(0.1)
        folder.request(request)

    thread = threading.Thread(target=write, daemon=True)
    thread.start()
    return thread


@pytest.mark.parametrize("request_name", ["cancel", "cancel-drain"])
def test_cancel_cancels_the_job_and_a_resume_runs_the_rest(
    service: FolderService, numbers: Path, request_name: str
) -> None:
    folder = new_run("slow.py", numbers, mini_batch_size=1, process_count_per_node=2)
    thread = request_soon(folder, request_name)
    run = drive(folder, lambda: service)
    thread.join()
    snapshot = run.snapshot()
    [name] = service.requests("create")
    assert snapshot["state"] == "Canceled"
    assert service.requests("cancel") == [name]
    assert 0 < snapshot["succeeded"] < 60
    if request_name == "cancel-drain":
        results = len(service.list_results(name))
        assert snapshot["succeeded"] == sum(
            path.startswith("done/") for path in service.list_results(name)
        ), results
    resume(folder)
    run = drive(folder, lambda: service)
    assert run.snapshot()["state"] == "Completed"
    done = [e.mini_batch for e in run.events(follow=False) if isinstance(e, AttemptSucceeded)]
    assert sorted(done) == list(range(60))
    assert len(service.requests("create")) == 2


def test_failed_only_sends_only_failed_mini_batches(
    service: FolderService, numbers: Path, tmp_path: Path
) -> None:
    script = faulty_script(tmp_path / "marks")
    folder = new_run(
        script, numbers, ["raise=7", "raise=30"], mini_batch_size=4, error_threshold=-1,
        run_max_try=2, isolate_failures=False,
    )  # fmt: skip
    snapshot = drive(folder, lambda: service).snapshot()
    assert (snapshot["succeeded"], snapshot["failed"]) == (13, 2)
    resume(folder, failed_only=True)
    run = drive(folder, lambda: service)
    snapshot = run.snapshot()
    assert (snapshot["succeeded"], snapshot["failed"]) == (13, 2)
    _, second = service.requests("create")
    plans = sorted(path.name for path in (service.root / second / "job" / "plan").iterdir())
    assert plans == ["00000001.json", "00000007.json"]
    failed = [e for e in run.events(follow=False) if isinstance(e, AttemptFailed)]
    attempts = sorted((e.mini_batch, e.attempt) for e in failed)
    assert attempts == [(k, n) for k in (1, 7) for n in (1, 2, 3, 4)]


def test_a_run_that_began_here_can_go_on_in_azure(
    service: FolderService, numbers: Path, tmp_path: Path
) -> None:
    script = faulty_script(tmp_path / "marks")
    config = ParallelRunConfig(entry_script=str(script), mini_batch_size=4, run_max_try=1)
    run = submit(config, inputs=numbers, arguments=["raise=7"])
    assert end_of(run) == "Failed"
    text = run.folder.script / "marks.py"
    text.write_text(text.read_text().replace('if kind == "raise":', "if False:"))
    warm_drivers.dismiss()
    while driver_is_alive(run.folder, 0, time.time()):
        time.sleep(0.1)
    resume(run.folder, place={"backend": "azureml", "compute": COMPUTE.spec()})
    run = drive(run.folder, lambda: service)
    assert run.snapshot()["state"] == "Completed"
    expected = "".join(f"{k:03d}.txt\n" for k in range(60))
    assert Path(run.snapshot()["output"]).read_text() == expected


def test_a_threshold_ends_the_run_and_its_job(
    service: FolderService, numbers: Path, tmp_path: Path
) -> None:
    script = faulty_script(tmp_path / "marks")
    folder = new_run(script, numbers, ["raise=1"], mini_batch_size=1, run_max_try=1)
    run = drive(folder, lambda: service)
    snapshot = run.snapshot()
    assert snapshot["state"] == "Failed"
    assert snapshot["reason"] == "1 item failed; error_threshold allows 0"


def test_logs_are_fetched_when_somebody_looks_and_at_the_end(
    service: FolderService, numbers: Path, tmp_path: Path
) -> None:
    script = tmp_path / "says.py"
    text = "import time\ndef run(paths):\n    time.sleep(0.5)\n    print('says', len(paths), flush=True)\n"
    script.write_text(text + "    return paths\n")
    folder = new_run(script, numbers, mini_batch_size=4, process_count_per_node=1)
    process = start_driver(folder, service.root)

    def said() -> int:
        remote_logs.fetch(folder)
        return sum(path.read_text().count("says 4") for path in folder.user_logs.glob("*.log"))

    early = 0
    while process.poll() is None:
        early = early or said()
        time.sleep(0.2)
    assert 0 < early < 15
    assert said() == 15
    assert not any("parallelrun" in path.read_text() for path in folder.user_logs.glob("*.log"))
    workers = [e.worker for e in Run(folder).events(follow=False) if isinstance(e, WorkerReady)]
    assert {path.stem for path in folder.user_logs.glob("*.log")} == set(workers)


@pytest.mark.parametrize("how", ["cancel", "interruption"])
def test_logs_are_fetched_when_the_run_ends_early(
    service: FolderService, numbers: Path, tmp_path: Path, how: str
) -> None:
    script = tmp_path / "says.py"
    text = "import time\ndef run(paths):\n    print('says', len(paths), flush=True)\n"
    script.write_text(text + "    time.sleep(0.3)\n    return paths\n")
    if how == "interruption":
        service.set_fate(Fate(ends_after=3))
    folder = new_run(script, numbers, mini_batch_size=1, process_count_per_node=1)
    if how == "cancel":
        thread = request_soon(folder, "cancel")
        drive(folder, lambda: service)
        thread.join()
    else:
        drive(folder, lambda: service)
    assert Run(folder).snapshot()["state"] == ("Canceled" if how == "cancel" else "Interrupted")
    said = sum(path.read_text().count("says 1") for path in folder.user_logs.glob("*.log"))
    assert said >= Run(folder).snapshot()["succeeded"] > 0


def test_a_corrected_script_is_sent_anew(service: FolderService, numbers: Path) -> None:
    folder = new_run("slow.py", numbers, mini_batch_size=1, process_count_per_node=1)
    process = start_driver(folder, service.root, "after read_result 3")
    process.wait(60)
    script = folder.script / "slow.py"
    script.write_text(script.read_text().replace("os.path.basename(path)", "'new'"))
    resume(folder, script="0" * 64)
    run = drive(folder, lambda: service)
    assert run.snapshot()["state"] == "Completed"
    first, _ = service.requests("create")
    assert service.requests("cancel") == [first]
