"""Runs on Azure ML, as the real client of Azure sees them, against an emulator."""

from __future__ import annotations

from pathlib import Path
from textwrap import dedent
from typing import Any

import pytest

from tests.azureml_service.notebook import Notebook
from tests.azureml_service.service import AzureMLService
from tests.conftest import SCRIPTS

SETUP = dedent("""
    import os, time
    from pathlib import Path
    from parallelrun_jupyter import AzureMLCompute, ParallelRunConfig, Run, submit
    from tests.azureml_service.client_side import CLOUD, Credential, cloud_metadata, workspace

    os.environ["PARALLELRUN_AZUREML_POLL_S"] = "0.2"
    names = ("subscription_id", "resource_group", "workspace_name")
    options = {"cloud": CLOUD, "cloud_metadata": cloud_metadata()}

    def compute(**values):
        ids = dict(zip(names, workspace()))
        values = {"compute": "cpu-cluster", "credential": Credential(), **values}
        return AzureMLCompute(ids, client_options=options, **values)

    def start(script, inputs, arguments=(), **settings):
        config = ParallelRunConfig(entry_script=script, **settings)
        return submit(config, inputs=inputs, arguments=list(arguments), compute=compute())

    def end(run, limit=120):
        run.wait_for_completion(show_output=False, raise_on_error=False, timeout_s=limit)
        facts = run.snapshot()
        rows = Path(facts["output"]).read_text() if facts["output"] else ""
        keys = ("state", "reason", "succeeded", "failed", "items_failed", "job")
        return {key: facts[key] for key in keys} | {"rows": rows, "id": run.run_id}
""")


@pytest.fixture
def notebook(azureml_service: AzureMLService, azureml_notebook: Notebook, tmp_path: Path) -> Notebook:
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
