"""Names of jobs in `Run.attach`, and the runs that they stand for."""

from __future__ import annotations

import json
import os
import threading
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest

from parallelrun_jupyter import AzureMLCompute, Run
from parallelrun_jupyter.backends.azureml.service import JobNotFoundError, TransientError
from parallelrun_jupyter.client import foreign_jobs
from parallelrun_jupyter.commands.cli import main
from parallelrun_jupyter.config import azureml_compute
from parallelrun_jupyter.errors import ConfigError, InputError, RunFolderError, RunNotFoundError
from parallelrun_jupyter.files import write_atomically
from parallelrun_jupyter.runs import run_folder
from parallelrun_jupyter.runs.journal.events import RunFinished, RunStarted
from parallelrun_jupyter.runs.journal.files import JournalWriter

IDS = {"subscription_id": "s", "resource_group": "g", "workspace_name": "w"}
JOB = {"runId": "a_job", "displayName": "numbers", "createdUtc": "2026-11-29T19:38:23.692186Z"}


class History:
    """The run history of one pipeline job."""

    def __init__(self, run: Mapping[str, Any], steps: dict[str, bool] | None) -> None:
        self._run = run
        self._steps = steps

    def read_run(self, run: str) -> Mapping[str, Any]:
        if run == "silent":
            raise TransientError("no answer")
        if run != self._run["runId"]:
            raise JobNotFoundError("404")
        return self._run

    def parallel_steps(self, job: str) -> dict[str, bool] | None:
        assert job == self._run["runId"]
        return self._steps


def attach(
    job: str = "a_job", step: str = "", steps: dict[str, bool] | None = None, **run: Any
) -> run_folder.RunFolder:
    history: Any = History({**JOB, **run}, steps)
    return foreign_jobs._find_or_make(history, AzureMLCompute(IDS), job, step)


def test_the_same_job_is_the_same_run_and_another_step_another_one() -> None:
    folder = attach(steps={"score": True, "clean": False})
    assert folder.run_id.startswith("20261129-193823692-")
    record = folder.read_record()
    assert record.is_followed
    assert (record.name, record.placement.compute["job"]) == ("numbers / score", "a_job")
    assert record.placement.compute["step"] == "score"
    assert attach(step="score", steps={"score": True, "clean": False}) == folder
    assert attach(step="other", steps={"score": True, "other": True}) != folder
    assert len(Run.list()) == 2


def test_a_job_of_a_run_of_this_home_is_that_run() -> None:
    own = attach(steps={"score": True})
    tags = {"parallelrun_run": own.run_id}
    assert attach("b_job", runId="b_job", tags=tags) == own
    gone = attach("b_job", runId="b_job", tags={"parallelrun_run": "20250101-000000000-gone"})
    assert gone.read_record().is_followed
    assert attach("b_job", runId="b_job", tags={"parallelrun_run": "../x"}) == gone


@pytest.mark.parametrize(
    ("job", "step", "steps", "text"),
    [
        ("a_job", "", {"a": True, "b": True}, 'name one of them: "azureml:a_job/a", "azureml:a_job/b".'),
        ("a_job", "scor", {"score": True}, "the job a_job has no step 'scor'. Did you mean 'score'?"),
        ("a_job", "prep", {"score": True, "prep": False}, "the step 'prep' of the job a_job is not a parallel one"),
        ("a_job", "", {"prep": False}, "the job a_job has no parallel step (its steps: prep)"),
    ],
)  # fmt: skip
def test_a_step_that_cannot_be_shown_is_refused(
    job: str, step: str, steps: dict[str, bool], text: str
) -> None:
    with pytest.raises(ConfigError) as caught:
        attach(job, step, steps)
    assert text in str(caught.value)
    assert not Run.list()


def test_a_job_that_is_not_there_and_a_service_that_is_silent() -> None:
    with pytest.raises(RunNotFoundError, match="the workspace 'w' has no job 'x'"):
        attach("x")
    with pytest.raises(RunFolderError, match="Azure ML did not show the job 'silent' .* Try again"):
        attach("silent")


@pytest.mark.parametrize("name", ["azureml:", "azureml:a/", "azureml:a/b/c", "azureml:a b"])
def test_a_name_that_is_none_is_refused(name: str) -> None:
    with pytest.raises(ConfigError, match="names no job of Azure ML; expected azureml:NAME"):
        Run.attach(name)


def test_compute_is_for_jobs() -> None:
    with pytest.raises(ConfigError, match="compute is for jobs of Azure ML"):
        Run.attach("20261129-193823692-abcd", compute=AzureMLCompute(IDS))
    with pytest.raises(ConfigError, match="compute is 'local'; expected an AzureMLCompute"):
        Run.attach("azureml:a_job", compute="local")


def test_without_azures_client_the_error_names_the_extra(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(azureml_compute, "_is_installed", lambda _: False)
    assert main(["watch", "azureml:a_job"]) != 0
    assert "pip install 'parallelrun-jupyter[azureml-jobs]'" in capsys.readouterr().err


def test_a_run_that_has_ended_is_not_resumed_and_an_interrupted_one_is_followed_again(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    run = Run(attach(steps={"score": True}))
    started: list[str] = []

    def launch(folder: run_folder.RunFolder, *_: object) -> None:
        started.append(folder.run_id)
        JournalWriter(folder.journal).append([RunStarted(5, 1, os.getpid(), "here")])

    monkeypatch.setattr(foreign_jobs, "launch", launch)
    journal = JournalWriter(run.folder.journal)
    journal.append(
        [RunStarted(1, 1, 1, "here"), RunFinished(2, "Interrupted", "no credential", "", 0)]
    )
    assert run.snapshot()["can_resume"]
    run.resume()
    assert started == [run.run_id]
    journal = JournalWriter(run.folder.journal)
    journal.append([RunFinished(9, "Completed", "", "", 0)])
    assert not run.snapshot()["can_resume"]
    with pytest.raises(RunFolderError) as caught:
        run.resume(failed_only=True)
    assert "shows the job a_job of Azure ML" in str(caught.value)
    assert "with compute=AzureMLCompute(...), and such a run can be resumed" in str(caught.value)


def test_what_needs_the_script_or_the_rows_says_that_they_are_not_here() -> None:
    run = Run(attach(steps={"score": True}))
    with pytest.raises(InputError, match="its script and inputs are not here"):
        run.try_one(0)
    with pytest.warns(UserWarning, match="downloaded when it has ended"):
        assert run.to_pandas().empty


def test_a_folder_that_another_process_is_making_is_waited_for(tmp_path: Path) -> None:
    first = attach(steps={"score": True})
    text = first.record.read_text()
    first.record.unlink()

    def finish() -> None:
        time.sleep(0.3)
        write_atomically(first.record, text)

    thread = threading.Thread(target=finish)
    thread.start()
    assert attach(steps={"score": True}) == first
    thread.join()
    assert json.loads(first.record.read_text())["run_id"] == first.run_id
    assert tmp_path.exists()
