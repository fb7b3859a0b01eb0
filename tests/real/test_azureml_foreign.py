"""Jobs of Azure ML that others submitted, as runs: the emulator, and the real client of Azure."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from textwrap import dedent
from typing import Any

import pytest

from parallelrun_jupyter.runs.journal.events import AttemptFailed, AttemptSucceeded
from parallelrun_jupyter.runs.journal.files import JournalReader
from parallelrun_jupyter.runs.journal.state import RunState
from parallelrun_jupyter.runs.run_folder import RunFolder
from tests.azureml_service.notebook import Cell, Notebook
from tests.azureml_service.service import AzureMLService
from tests.real.test_azureml_service import SCRIPT, SUBMIT

ATTACH = dedent("""
    import os, signal, time, warnings
    from pathlib import Path
    from parallelrun_jupyter import AzureMLCompute, Run
    from tests.azureml_service.client_side import Credential, cloud_metadata, workspace

    os.environ["PARALLELRUN_AZUREML_POLL_S"] = "0.2"
    names = ("subscription_id", "resource_group", "workspace_name")
    cloud = "emulator" + os.environ["PARALLELRUN_EMULATOR_URL"].rpartition(":")[2]
    options = {"cloud": cloud, "cloud_metadata": cloud_metadata()}

    def compute(**values):
        ids = dict(zip(names, workspace()))
        return AzureMLCompute(ids, client_options=options, credential=Credential(), **values)

    def attach(name):
        return Run.attach(f"azureml:{name}", compute=compute())

    def facts(run):
        snapshot = run.snapshot()
        keys = ("state", "reason", "succeeded", "failed", "left", "mini_batches", "items", "items_failed",
                "items_succeeded", "attempts_failed", "warnings", "job", "output", "plan_finished")
        return {key: snapshot[key] for key in keys} | {"id": run.run_id, "folder": str(run.folder.path)}

    def end(run, limit=90):
        run.wait_for_completion(show_output=False, raise_on_error=False, timeout_s=limit)
        return facts(run)
""")


@pytest.fixture
def work(numbers: Path) -> Path:
    """Return the folder of ``numbers`` and ``code``."""
    (numbers.parent / "code").mkdir()
    (numbers.parent / "code" / "score.py").write_text(SCRIPT)
    return numbers.parent


@pytest.fixture
def cell(azureml_notebook: Notebook, work: Path) -> Callable[..., Cell]:
    """Return a function that runs a cell after the definitions of ``send`` and ``attach``."""

    def run(code: str, *, fails: bool = False, **values: Any) -> Cell:
        return azureml_notebook.run(SUBMIT + ATTACH + code, work, fails=fails, **values)

    return run


def own_books(service: AzureMLService) -> RunState:
    """Return what the emulator's own engine wrote of its newest run."""
    newest = max((service.folder / "home" / "runs").iterdir())
    state = RunState()
    state.apply_all(JournalReader(RunFolder(newest).journal).read())
    return state


def attempts(folder: str | Path) -> list[tuple[Any, ...]]:
    """Return the attempts in a journal: mini-batch, number, items, and how each ended."""
    found: list[tuple[Any, ...]] = []
    for event in JournalReader(RunFolder(Path(folder)).journal).read():
        if isinstance(event, AttemptSucceeded):
            found.append((event.mini_batch, event.attempt, event.items, "", event.items_succeeded))
        elif isinstance(event, AttemptFailed):
            found.append((event.mini_batch, event.attempt, event.items, event.group, event.message))
    return sorted(found)


def newest_of(service: AzureMLService) -> Path:
    return max((service.folder / "home" / "runs").iterdir())


def check_books(shown: dict[str, Any], service: AzureMLService) -> None:
    """Compare each figure of a run with those of the emulator's own engine."""
    own = own_books(service)
    figures = ("succeeded", "failed", "left", "items_failed", "items_succeeded", "attempts_failed")
    assert {k: shown[k] for k in figures} == {k: getattr(own, k) for k in figures}
    assert (shown["mini_batches"], shown["items"]) == (own.planned, own.planned_items)
    assert attempts(shown["folder"]) == attempts(newest_of(service))


def test_a_job_of_others_is_shown_as_a_run(
    cell: Callable[..., Cell], azureml_service: AzureMLService
) -> None:
    azureml_service.set_script(overview_every_s=0.1)
    value = cell(dedent("""
        job = send("--seconds 0.2 --bad 7")
        run = attach(job.name)
        value = end(run)
        value["same"] = attach(job.name).run_id
        value["rows"] = run.to_pandas()["row"].tolist()
        value["groups"] = run.failure_groups()[["group", "attempts", "items_lost"]].values.tolist()
        value["logs"] = run.logs()
    """)).value
    assert value["state"] == "Completed", value
    check_books(value, azureml_service)
    assert value["same"] == value["id"]
    assert value["groups"] == [["ValueError at score.py:18 in run", 2, 5]]
    assert sorted(value["rows"]) == sorted(f"{k:03d}.txt,{2 * k}" for k in range(60) if not 5 <= k < 10)
    assert "a mini-batch of 5" in value["logs"]
