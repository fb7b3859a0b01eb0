"""The emulator of Azure Machine Learning, as the real client of Azure sees it."""

from __future__ import annotations

import json
import os
import subprocess
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from parallelrun_jupyter import ParallelRunConfig, submit
from tests.azure_ai_ml import python_with_both
from tests.azureml_service.service import AzureMLService
from tests.azurite_process import Azurite
from tests.real.conftest import end_of

SCORE = """
import logging, pathlib
def init():
    print("the script is ready")
def run(paths):
    print("a mini-batch of", len(paths))
    return [f"{pathlib.Path(path).name},{2 * int(open(path).read())}" for path in paths]
"""

JOB = """
from azure.ai.ml import Input, Output, dsl
from azure.ai.ml.entities import Environment
from azure.ai.ml.parallel import RunFunction, parallel_run_function
from tests.azureml_service.client_side import ml_client

ml = ml_client()
step = parallel_run_function(
    name="score",
    inputs={"data": Input(type="uri_folder", mode="ro_mount")},
    outputs={"rows": Output(type="uri_file", mode="rw_mount")},
    input_data="${{inputs.data}}", instance_count=2, max_concurrency_per_instance=1, mini_batch_size="5",
    mini_batch_error_threshold=LIMIT, retry_settings={"max_retries": 1, "timeout": 60}, logging_level="INFO",
    task=RunFunction(
        code="code", entry_script="score.py", environment=Environment(image="mcr.microsoft.com/emulated:1"),
        append_row_to="${{outputs.rows}}",
    ),
)

@dsl.pipeline(default_compute="cpu-cluster")
def numbers(data):
    score = step(data=data)

job = ml.jobs.create_or_update(numbers(data=Input(type="uri_folder", path="numbers")), experiment_name="tests")
"""


@pytest.fixture(scope="module")
def python() -> str:
    python, reason = python_with_both()
    if not python:
        pytest.fail(reason) if "CI" in os.environ else pytest.skip(reason)
    return python


@pytest.fixture(scope="module")
def shared(azurite: Azurite, tmp_path_factory: pytest.TempPathFactory) -> Iterator[AzureMLService]:
    service = AzureMLService(tmp_path_factory.mktemp("azureml"), azurite.port)
    yield service
    service.close()


@pytest.fixture
def service(shared: AzureMLService) -> AzureMLService:
    shared.reset()
    return shared


@pytest.fixture
def client(python: str, service: AzureMLService, numbers: Path) -> Callable[..., str]:
    """Return a function that runs lines with the real client beside ``code`` and ``numbers``; it returns what they print."""
    (numbers.parent / "code").mkdir()
    (numbers.parent / "code" / "score.py").write_text(SCORE)

    def run(lines: str, **values: Any) -> str:
        text = "\n".join([*(f"{name} = {value!r}" for name, value in values.items()), lines])
        environ = {**os.environ, **service.environ}
        done = subprocess.run(
            [python, "-c", text], cwd=numbers.parent, env=environ, capture_output=True, text=True, timeout=100,
        )  # fmt: skip
        assert done.returncode == 0, done.stdout + done.stderr
        return done.stdout

    return run


def test_a_job_runs_and_its_rows_are_those_of_a_local_run(
    client: Callable[..., str], service: AzureMLService, numbers: Path
) -> None:
    text = client(
        JOB
        + """
ml.jobs.stream(job.name)
[child] = ml.jobs.list(parent_job_name=job.name)
ml.jobs.download(child.name, output_name="rows", download_path="down")
import json
print(json.dumps([job.name, ml.jobs.get(job.name).status, child.name, child.status, child.display_name]))
""",
        LIMIT=-1,
    )
    _, status, child, child_status, step = json.loads(text.splitlines()[-1])
    assert (status, child_status, step) == ("Completed", "Completed", "score")
    assert f"step {step} is submitted as run {child}" in text
    config = ParallelRunConfig(
        entry_script=str(numbers.parent / "code" / "score.py"), mini_batch_size=5
    )
    run = submit(config, inputs=numbers, output=numbers.parent / "local")
    assert end_of(run) == "Completed"
    downloaded = numbers.parent / "down" / "named-outputs" / "rows" / "rows"
    [local] = (numbers.parent / "local").iterdir()
    assert downloaded.read_bytes() == local.read_bytes()
    uploads = [one for one in service.requests() if one["method"] == "PUT" and one["status"] == 201]
    assert sum("/numbers/" in one["path"] for one in uploads) == 60
    assert sum("score.py" in one["path"] for one in uploads) == 1
