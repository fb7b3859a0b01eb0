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
from tests.azureml_service.script import Fault
from tests.azureml_service.service import AzureMLService
from tests.azureml_service.submission import send_job
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


def check_books(shown: dict[str, Any], service: AzureMLService, items: int) -> None:
    """Compare each figure of a run with those of the emulator's own engine."""
    own = own_books(service)
    figures = ("succeeded", "failed", "left", "items_failed", "items_succeeded", "attempts_failed")
    assert {k: shown[k] for k in figures} == {k: getattr(own, k) for k in figures}
    assert (shown["mini_batches"], shown["items"]) == (own.planned, own.planned_items)
    assert shown["items"] == items
    assert attempts(shown["folder"]) == attempts(newest_of(service))


def test_a_job_of_others_is_shown_as_a_run(
    cell: Callable[..., Cell], azureml_service: AzureMLService
) -> None:
    azureml_service.set_script(overview_every_s=0.1)
    value = cell(
        dedent("""
        job = send("--seconds 0.2 --bad 7")
        run = attach(job.name)
        value = end(run)
        value["same"] = attach(job.name).run_id
        value["rows"] = run.to_pandas()["row"].tolist()
        value["file"] = Path(value["output"]).read_text()
        value["groups"] = run.failure_groups()[["group", "attempts", "items_lost"]].values.tolist()
        value["failures"] = run.failures()["traceback"].tolist()
        value["lost"] = len(run.failed_items())
        value["logs"] = run.logs()
        value["can_resume"] = run.snapshot()["can_resume"]
        try:
            run.resume(failed_only=True)
        except Exception as error:
            value["refused"] = str(error)
    """)
    ).value
    assert value["state"] == "Completed", value
    check_books(value, azureml_service, items=60)
    assert value["same"] == value["id"]
    assert value["groups"] == [["ValueError at score.py:18 in run", 2, 5]]
    assert all(text.endswith("ValueError: number 7 is bad") for text in value["failures"])
    assert value["lost"] == 5
    expected = [f"{k:03d}.txt,{2 * k}" for k in range(60) if not 5 <= k < 10]
    assert sorted(value["rows"]) == expected
    assert value["rows"] == value["file"].splitlines()
    assert "a mini-batch of 5" in value["logs"]
    assert value["can_resume"] is False
    assert "cannot be resumed. Submit the job again in Azure ML" in value["refused"]


def send(service: AzureMLService, work: Path, arguments: str = "", **how: Any) -> str:
    return send_job(
        service, work / "code" / "score.py", work / "numbers", arguments=arguments, **how
    )


def test_nothing_is_lost_or_counted_twice_by_faults_on_the_way(
    cell: Callable[..., Cell], azureml_service: AzureMLService, work: Path
) -> None:
    azureml_service.set_script(
        overview_every_s=0.1, overview_rotates_after=5, skew_hours=-9, unknown_lines=True, sas_seconds=-5,
    )  # fmt: skip
    azureml_service.set_faults(
        Fault("GET .*/children", status=429, headers={"Retry-After": "1"}, skip=1, times=1),
        Fault("GET .*/details", status=500, skip=2, times=1),
        Fault("GET .*/details", cut="within", skip=5, times=1),
    )
    job = send(azureml_service, work, "--seconds 1.5 --bad 7")
    code = """
run = attach(job)
until = time.monotonic() + 60
while run.snapshot()["state"] != "Running" and time.monotonic() < until:
    time.sleep(0.1)
time.sleep(1)
value = facts(run)
"""
    blind = cell(code, job=job).value
    assert (blind["state"], blind["mini_batches"]) == ("Running", 0), (
        "addresses of logs have expired"
    )
    azureml_service.set_script(sas_seconds=3600)
    value = cell("value = end(run); value['events'] = [e.at_ms for e in run.events()]").value
    assert value["state"] == "Completed", value
    check_books(value, azureml_service, items=60)
    assert all(0 <= at_ms < 120_000 for at_ms in value["events"])
    log = RunFolder(Path(value["folder"])).driver_log.read_text()
    for fault in ("403", "429 Client Error", "500 Server Error", "Connection broken"):
        assert fault in log


def test_an_overview_that_stops_and_a_driver_that_is_killed(
    cell: Callable[..., Cell], azureml_service: AzureMLService, work: Path
) -> None:
    azureml_service.set_script(overview_every_s=0.1, overview_stops_after=2)
    job = send(azureml_service, work, "--seconds 4 --bad 7")
    value = cell(
        """
import json, os, signal
run = attach(job)
def wait(count):
    until = time.monotonic() + 60
    while run.snapshot()["succeeded"] < count and time.monotonic() < until:
        time.sleep(0.05)
wait(2)
os.kill(json.loads((run.folder.path / "driver.json").read_text())["pid"], signal.SIGKILL)
time.sleep(0.3)
value = [facts(run)]
run.resume()  # by DefaultAzureCredential, which has nothing here
value.append(end(run))
run.resume(compute=compute())
wait(4)
os.kill(json.loads((run.folder.path / "driver.json").read_text())["pid"], signal.SIGKILL)
time.sleep(0.3)
attach(job)
value.append(end(run))
""",
        job=job,
    ).value
    killed, stranger, ended = value
    assert stranger["state"] == "Interrupted"
    assert "The job " + job + " goes on in Azure ML; nothing is lost" in stranger["reason"]
    assert (killed["state"], killed["reason"]) == (
        "Interrupted",
        "driver lost: its process has ended",
    )
    assert ended["state"] == "Completed", ended
    check_books(ended, azureml_service, items=60)
    assert sum("has stopped" in text for text in ended["warnings"]) <= 1


def test_counts_show_progress_while_there_is_no_table(
    cell: Callable[..., Cell], azureml_service: AzureMLService, work: Path
) -> None:
    azureml_service.set_script(overview_every_s=0.1, table_at_end=True)
    job = send(azureml_service, work, "--seconds 0.6 --bad 7")
    value = cell(
        """
run = attach(job)
seen = []
while not run.snapshot()["is_final"]:
    s = run.snapshot()
    seen.append([s["mini_batches"] - s["left"], s["items"] - s["items_left"], s["succeeded"]])
    time.sleep(0.1)
value = end(run) | {"seen": seen}
""",
        job=job,
    ).value
    assert value["state"] == "Completed", value
    check_books(value, azureml_service, items=60)
    assert value["seen"] == sorted(value["seen"]), "counts go back"
    assert any(done and not succeeded for done, _, succeeded in value["seen"])
    assert sum("has not written its table" in text for text in value["warnings"]) == 1


def test_a_canceled_a_failed_and_a_vanished_job(
    cell: Callable[..., Cell], azureml_service: AzureMLService, work: Path
) -> None:
    azureml_service.set_script(overview_every_s=0.1)
    failed = send(azureml_service, work, "--seconds 0.1 --bad 7", mini_batch_error_threshold=0)
    lost = send(azureml_service, work, "--seconds 3")
    canceled = send(azureml_service, work, "--seconds 3")
    code = """
runs = [attach(job) for job in jobs]
until = time.monotonic() + 60
while not all(run.snapshot()["succeeded"] for run in runs[1:]) and time.monotonic() < until:
    time.sleep(0.1)
asked = runs[2].cancel()
value = [end(runs[0]), end(runs[2]), asked]
"""
    first, second, asked = cell(code, jobs=[failed, lost, canceled]).value
    assert first["state"] == "Failed", first
    assert first["reason"].startswith(f"the job {failed} has failed in Azure ML")
    assert first["failed"] == 1
    assert (asked, second["state"]) == (True, "Canceled")
    assert second["left"] > 0
    azureml_service.set_script(vanished=(lost,))
    third = cell("value = end(runs[1])").value
    assert third["state"] == "Interrupted"
    assert f"Azure ML no longer has the job {lost}" in third["reason"]
    azureml_service.set_script(vanished=())
    azureml_service.cancel(lost)


STEPS = """
step = make("--seconds 0.1", -1)

@dsl.pipeline(default_compute="cpu-cluster")
def two(data):
    first = step(data=data)
    second = step(data=data)
    first.name, second.name = "first", "second"

job = ml.jobs.create_or_update(two(data=Input(type="uri_folder", path="numbers")), experiment_name="tests").name
value = [job, []]
for name in (job, f"{job}/third", f"{job}/", "no_such_job"):
    try:
        attach(name)
    except Exception as error:
        value[1].append(f"{type(error).__name__}: {error}")
run = attach(f"{job}/second")
value.append(end(run))
[child] = [one.name for one in ml.jobs.list(parent_job_name=job) if one.display_name == "second"]
value.append(end(attach(child)))
"""


def test_one_of_several_steps_is_named(
    cell: Callable[..., Cell], azureml_service: AzureMLService
) -> None:
    job, errors, run, child = cell(STEPS).value
    several, unknown, empty, missing = errors
    both = f'"azureml:{job}/first", "azureml:{job}/second"'
    assert several == f"ConfigError: the job {job} has 2 parallel steps; name one of them: {both}."
    assert unknown == f"ConfigError: the job {job} has no step 'third'. Its parallel steps: {both}."
    assert "expected azureml:NAME, or azureml:NAME/STEP" in empty
    assert missing.startswith("RunNotFoundError: the workspace 'workshop' has no job 'no_such_job'")
    for shown in (run, child):
        assert (shown["state"], shown["succeeded"], shown["items"]) == ("Completed", 12, 60)
    assert run["id"] != child["id"]
