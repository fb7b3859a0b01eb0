"""The ends of jobs of Azure ML: nothing of them is lost, nothing is sent twice, and nothing is hidden."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from parallelrun_jupyter import Run
from parallelrun_jupyter.backends.azureml import pool
from parallelrun_jupyter.runs.journal.events import AttemptFailed, WarningRaised
from parallelrun_jupyter.runs.resume_request import ResumeRequest, write_resume
from parallelrun_jupyter.runs.run_folder import RunFolder
from parallelrun_jupyter.runs.snapshot.snapshot import Snapshot
from parallelrun_jupyter.worker.plan_line import PlanLine
from tests.azureml_driver import drive, new_run
from tests.scripted_jobs import ScriptedJobs, done, failed

ROWS = "".join(f"{k:03d}.txt\n" for k in range(60))


def fails_first(mini_batch: int, line: PlanLine) -> Any:
    return (done if mini_batch else failed)(mini_batch, line)


def driven(folder: RunFolder, jobs: ScriptedJobs) -> Snapshot:
    return drive(folder, lambda: jobs, 0.05).snapshot()


def rows_of(folder: RunFolder) -> str:
    return folder.final_file(folder.read_record()).read_text()


def warnings_of(folder: RunFolder) -> list[str]:
    return [e.text for e in Run(folder).events(follow=False) if isinstance(e, WarningRaised)]


def forget_that_the_last_job_is_over(folder: RunFolder) -> None:
    """Have ``job.json`` as a driver leaves it that is killed before its last line."""
    path = folder.path / "azureml" / "job.json"
    values = json.loads(path.read_text())
    values["jobs"][-1]["is_over"] = False
    path.write_text(json.dumps(values))


def test_files_of_the_script_come_from_each_job(numbers: Path) -> None:
    jobs = ScriptedJobs(lambda k, line: done(k, line) if k < 3 else None, state="Failed")
    folder = new_run("echo.py", numbers, mini_batch_size=10)
    assert "has failed in Azure ML. Results that have finished" in driven(folder, jobs)["reason"]
    assert len(jobs.jobs) == 1, "a job that has failed before the first look is not sent again"
    jobs.answers, jobs.state = done, "Completed"
    write_resume(folder, ResumeRequest())
    assert driven(folder, jobs)["state"] == "Completed"
    assert [job.sent for job in jobs.jobs.values()] == [[0, 1, 2, 3, 4, 5], [3, 4, 5]]
    target = Path(folder.script_output(folder.read_record()))
    first, second = jobs.jobs
    names = [(target / f"own-{k:08d}.txt").read_text() for k in range(6)]
    assert names == [first] * 3 + [second] * 3
    assert rows_of(folder) == ROWS


def test_a_job_that_may_go_on_after_a_cancel_is_named(
    numbers: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(pool, "_CANCEL_S", 0.2)
    jobs = ScriptedJobs(fails_first, "Running", silent={"cancel"})
    folder = new_run("echo.py", numbers, mini_batch_size=10, run_max_try=1, isolate_failures=False)
    assert driven(folder, jobs)["state"] == "Failed"
    [name] = jobs.jobs
    assert (
        f"Azure ML has not answered the request to cancel the job {name}, which may go on, and cost "
        "money: cancel it on its page in Azure"
    ) in warnings_of(folder)


def test_files_that_do_not_come_in_time_are_told(
    numbers: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(pool, "_END_S", 0.2)
    jobs = ScriptedJobs(state="Finalizing")
    folder = new_run("echo.py", numbers, mini_batch_size=10)
    assert driven(folder, jobs)["state"] == "Completed"
    [name] = jobs.jobs
    [text] = warnings_of(folder)
    assert text.startswith(f"the job {name} has not ended in time, so the files")
    assert rows_of(folder) == ROWS


def test_failed_only_after_a_kill_at_the_end_asks_for_new_attempts(numbers: Path) -> None:
    """What Azure has answered for good is no lost worker, though it may have tries left."""
    jobs = ScriptedJobs(lambda k, line: (failed if k == 2 else done)(k, line))
    folder = new_run(
        "echo.py", numbers, mini_batch_size=10, no_retry_on=["ValueError"], error_threshold=-1,
        isolate_failures=False,
    )  # fmt: skip
    assert driven(folder, jobs)["failed"] == 1
    for _ in range(2):
        forget_that_the_last_job_is_over(folder)
        write_resume(folder, ResumeRequest(failed_only=True))
        assert driven(folder, jobs)["failed"] == 1
    jobs.answers = done
    forget_that_the_last_job_is_over(folder)
    write_resume(folder, ResumeRequest(failed_only=True))
    snapshot = driven(folder, jobs)
    assert (snapshot["state"], snapshot["failed"]) == ("Completed", 0)
    assert [job.sent for job in jobs.jobs.values()] == [[0, 1, 2, 3, 4, 5], [2], [2], [2]]
    failures = [e for e in Run(folder).events(follow=False) if isinstance(e, AttemptFailed)]
    assert [(e.attempt, e.error) for e in failures] == [(k, "ValueError") for k in (1, 2, 3)]
    assert rows_of(folder) == ROWS


def test_a_job_of_an_older_script_is_canceled_before_the_next_is_sent(
    numbers: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(pool, "_CANCEL_S", 0.2)
    jobs = ScriptedJobs(fails_first, "Running", silent={"cancel"})
    folder = new_run("echo.py", numbers, mini_batch_size=10, run_max_try=1, isolate_failures=False)
    driven(folder, jobs)
    [first] = jobs.jobs
    forget_that_the_last_job_is_over(folder)
    script = folder.script / "echo.py"
    script.write_text(script.read_text() + "\n# corrected\n")
    write_resume(folder, ResumeRequest(script="0" * 64))
    canceled_at_submit: list[list[str]] = []
    submit = jobs.submit

    def submit_and_note(job: Path, name: str) -> None:
        canceled_at_submit.append(list(jobs.canceled))
        submit(job, name)

    jobs.submit = submit_and_note  # type: ignore[method-assign] # one look
    jobs.silent, jobs.answers, jobs.state = set(), done, "Completed"
    assert driven(folder, jobs)["state"] == "Completed"
    assert canceled_at_submit == [[first]]
    assert rows_of(folder) == ROWS


def test_a_result_that_stays_torn_is_told_and_fails_its_mini_batch(numbers: Path) -> None:
    jobs = ScriptedJobs()
    submit = jobs.submit

    def submit_torn(job: Path, name: str) -> None:
        submit(job, name)
        jobs.jobs[name].files["done/00000004.w.1"] += b"more"

    jobs.submit = submit_torn  # type: ignore[method-assign] # one fault
    folder = new_run(
        "echo.py", numbers, mini_batch_size=10, run_max_try=1, error_threshold=-1,
        isolate_failures=False,
    )  # fmt: skip
    snapshot = driven(folder, jobs)
    assert (snapshot["state"], snapshot["failed"]) == ("Completed", 1)
    [name] = jobs.jobs
    assert (
        f"the file done/00000004.w.1 in the results of the job {name} is not whole, although the job "
        "has ended: its mini-batch counts as one without a result"
    ) in warnings_of(folder)
    jobs.submit = submit  # type: ignore[method-assign]
    write_resume(folder, ResumeRequest(failed_only=True))
    assert driven(folder, jobs)["failed"] == 0
    assert rows_of(folder) == ROWS


def test_a_resume_goes_on_after_the_most_jobs_of_a_driver(
    numbers: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Each job ends without the mini-batch of one item, which is divided until it is alone."""
    monkeypatch.setattr(pool, "_MOST_JOBS", 4)

    def answers(mini_batch: int, line: PlanLine) -> Any:
        return (
            None if any(path.endswith("037.txt") for path in line.paths) else done(mini_batch, line)
        )

    jobs = ScriptedJobs(answers)
    folder = new_run("echo.py", numbers, mini_batch_size=10, run_max_try=1, error_threshold=-1)
    snapshot = driven(folder, jobs)
    assert snapshot["state"] == "Interrupted"
    assert snapshot["reason"] == (
        "the run has sent 4 jobs to Azure ML to find the items that fail, and 1 mini-batch would need "
        "another one. Results that have finished are kept. Resume the run to go on there, or with "
        "compute='local' here"
    )
    assert snapshot["can_resume"]
    resumes = 0
    while snapshot["state"] == "Interrupted" and resumes < 5:
        write_resume(folder, ResumeRequest())
        snapshot = driven(folder, jobs)
        resumes += 1
    assert (snapshot["state"], snapshot["items_failed"]) == ("Completed", 1)
    assert rows_of(folder) == ROWS.replace("037.txt\n", "")
