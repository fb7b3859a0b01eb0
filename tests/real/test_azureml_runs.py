"""Runs on Azure ML, as the real client of Azure sees them, against an emulator."""

from __future__ import annotations

from pathlib import Path
from textwrap import dedent
from typing import Any

import pytest

from tests.azureml_service.notebook import Notebook
from tests.azureml_service.script import Fault
from tests.azureml_service.service import AzureMLService
from tests.conftest import SCRIPTS

SETUP = dedent("""
    import os, time
    from pathlib import Path
    from parallelrun_jupyter import AzureMLCompute, ParallelRunConfig, Run, submit
    from tests.azureml_service.client_side import URL_VARIABLE, Credential, cloud_metadata, workspace

    os.environ["PARALLELRUN_AZUREML_POLL_S"] = "0.2"
    names = ("subscription_id", "resource_group", "workspace_name")
    cloud = "emulator" + os.environ[URL_VARIABLE].rpartition(":")[2]
    options = {"cloud": cloud, "cloud_metadata": cloud_metadata()}

    def compute(**values):
        ids = dict(zip(names, workspace()))
        values = {"compute": "cpu-cluster", "credential": Credential(), **values}
        return AzureMLCompute(ids, client_options=options, **values)

    def start(script, inputs, arguments=(), target=None, **settings):
        config = ParallelRunConfig(entry_script=script, **settings)
        target = target or compute()
        return submit(config, inputs=inputs, arguments=list(arguments), compute=target)

    def end(run, limit=120):
        run.wait_for_completion(show_output=False, raise_on_error=False, timeout_s=limit)
        facts = run.snapshot()
        rows = Path(facts["output"]).read_text() if facts["output"] else ""
        keys = ("state", "reason", "succeeded", "failed", "items_failed", "job")
        return {key: facts[key] for key in keys} | {"rows": rows, "id": run.run_id}
""")


@pytest.fixture
def notebook(
    azureml_service: AzureMLService, azureml_notebook: Notebook, tmp_path: Path
) -> Notebook:
    """Return a notebook that can submit to the emulator."""
    azureml_notebook.run(SETUP, tmp_path)
    return azureml_notebook


def test_a_run_is_a_job_of_the_real_client(
    notebook: Notebook, azureml_service: AzureMLService, numbers: Path, tmp_path: Path
) -> None:
    code = "value = end(start(script, numbers, mini_batch_size=7))"
    script = str(SCRIPTS / "echo.py")
    value: Any = notebook.run(code, tmp_path, script=script, numbers=str(numbers)).value
    assert value["state"] == "Completed", value
    assert value["rows"] == "".join(f"{k:03d}.txt\n" for k in range(60))
    assert value["job"]["name"].startswith(value["id"])
    submitted = [
        one for one in azureml_service.requests()
        if one["method"] == "PUT" and f"/jobs/{value['id']}" in one["path"]
    ]  # fmt: skip
    assert len(submitted) == 1


def test_requests_fail_and_the_service_goes_away_and_the_run_goes_on(
    notebook: Notebook, azureml_service: AzureMLService, numbers: Path, tmp_path: Path
) -> None:
    azureml_service.set_faults(
        Fault("PUT .*/jobs/", status=500, times=1),
        Fault("GET .*/details", status=429, headers={"Retry-After": "1"}, skip=1, times=2),
        Fault("GET .*/jobs/", cut="before", skip=3, times=2),
        Fault("GET .*comp=list", cut="within", skip=2, times=2),
        Fault("GET .*results/done", status=503, skip=3, times=3),
    )
    code = "run = start(script, numbers, mini_batch_size=3)\nvalue = run.run_id"
    script = str(SCRIPTS / "slow.py")
    notebook.run(code, tmp_path, script=script, numbers=str(numbers))
    notebook.run("while not run.snapshot()['succeeded']: time.sleep(0.1)", tmp_path)
    azureml_service.kill()
    azureml_service.start()
    value: Any = notebook.run("value = end(run)", tmp_path).value
    assert value["state"] == "Completed", value
    assert value["rows"] == "".join(f"{k:03d}.txt\n" for k in range(60))
    runs = [one for one in azureml_service.state.values("runs") if not one["parent"]]
    assert len([one for one in runs if one["name"].startswith(value["id"])]) == 1


@pytest.mark.parametrize(
    ("target", "words"),
    [
        ("compute(compute='gpu-clutser')", "The emulator has no compute 'gpu-clutser'"),
        ("compute(environment='azureml:nothere@latest')", "Asset nothere does not exist"),
    ],
)
def test_what_the_workspace_does_not_have_ends_the_run_with_azures_words(
    notebook: Notebook, numbers: Path, tmp_path: Path, target: str, words: str
) -> None:
    code = f"value = end(start(script, numbers, mini_batch_size=30, target={target}))"
    script = str(SCRIPTS / "echo.py")
    value: Any = notebook.run(code, tmp_path, script=script, numbers=str(numbers)).value
    assert value["state"] == "Interrupted", value
    assert value["reason"].startswith("Azure ML refuses the job: ")
    assert words in value["reason"]
    assert "\n" not in value["reason"]


def test_a_check_of_azures_client_that_gets_no_answer_is_made_again(
    notebook: Notebook, azureml_service: AzureMLService, numbers: Path, tmp_path: Path
) -> None:
    azureml_service.set_faults(Fault("GET .*/computes/", status=503, times=1))
    code = "value = end(start(script, numbers, mini_batch_size=30))"
    script = str(SCRIPTS / "echo.py")
    value: Any = notebook.run(code, tmp_path, script=script, numbers=str(numbers)).value
    assert value["state"] == "Completed", value
    assert [
        one["status"] for one in azureml_service.requests() if "/computes/" in one["path"]
    ].count(503) == 1


def test_a_run_that_is_canceled_cancels_its_job_and_is_resumed(
    notebook: Notebook, azureml_service: AzureMLService, numbers: Path, tmp_path: Path
) -> None:
    code = "run = start(script, numbers, mini_batch_size=1)\nvalue = run.run_id"
    script = str(SCRIPTS / "slow.py")
    notebook.run(code, tmp_path, script=script, numbers=str(numbers))
    notebook.run("while not run.snapshot()['succeeded']: time.sleep(0.1)", tmp_path)
    value: Any = notebook.run("run.cancel()\nvalue = end(run)", tmp_path).value
    assert value["state"] == "Canceled", value
    names = [one["name"] for one in azureml_service.state.values("cancels") if "name" in one]
    assert value["succeeded"] < 60, names


def test_a_credential_that_has_expired_interrupts_and_a_new_one_goes_on(
    notebook: Notebook, azureml_service: AzureMLService, numbers: Path, tmp_path: Path
) -> None:
    code = """
        run = start(script, numbers, mini_batch_size=3, target=compute(credential=Credential(130)))
        value = end(run)
    """
    script = str(SCRIPTS / "slow.py")
    azureml_service.set_script(delays={"Queued": 30})
    value: Any = notebook.run(dedent(code), tmp_path, script=script, numbers=str(numbers)).value
    assert value["state"] == "Interrupted", value
    assert value["reason"].startswith(
        "the credential for Azure ML has expired or is not accepted ("
    )
    assert "the token of the notebook's credential has expired" in value["reason"]
    assert f"The job {value['job']['name']} goes on in Azure ML" in value["reason"]
    azureml_service.set_script(delays={})
    code = "run.resume(compute=compute())\nvalue = end(run)"
    value = notebook.run(code, tmp_path).value
    assert value["state"] == "Completed", value
    runs = [one for one in azureml_service.state.values("runs") if not one["parent"]]
    assert len([one for one in runs if one["name"].startswith(value["id"])]) == 1
