"""Batch endpoints of `LocalClient` without azure-ai-ml: what is kept, found again, changed and refused."""

from __future__ import annotations

import shutil
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import yaml

from parallelrun_jupyter import RunDetails, azureml_v2
from parallelrun_jupyter.azureml_v2 import JobFileError, LocalClient
from parallelrun_jupyter.azureml_v2.execution.batch_endpoints import EndpointNotFoundError
from parallelrun_jupyter.azureml_v2.local_client.asset_base import Asset
from parallelrun_jupyter.azureml_v2.local_client.job_errors import JobException
from parallelrun_jupyter.azureml_v2.local_client.scoring_jobs import ScoringJob
from parallelrun_jupyter.errors import ConfigError

SCORE = """
import os
def init():
    global word
    word = open(os.path.join(os.environ["AZUREML_MODEL_DIR"], "word.txt")).read()
def run(mini_batch):
    lines = [line for path in mini_batch for line in open(path).read().split()]
    return [f"{word} {line}" for line in lines]
"""


@pytest.fixture
def work(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Return the current folder, with a deployment's file, its script, a model and six files of names."""
    for name in ("code", "names"):
        (tmp_path / name).mkdir()
    (tmp_path / "code" / "score.py").write_text(SCORE)
    (tmp_path / "word.txt").write_text("hello")
    for number in range(6):
        (tmp_path / "names" / f"{number}.txt").write_text(f"a{number} b{number}")
    record = {
        "type": "model", "name": "blue", "endpoint_name": "greetings",
        "model": {"name": "word", "path": "./word.txt"}, "compute": "azureml:cpu",
        "code_configuration": {"code": "./code", "scoring_script": "score.py"},
        "settings": {"mini_batch_size": 3, "retry_settings": {"max_retries": 0}},
    }  # fmt: skip
    (tmp_path / "deployment.yml").write_text(yaml.safe_dump(record))
    (tmp_path / "endpoint.yml").write_text("{name: greetings, auth_mode: aad_token}")
    monkeypatch.chdir(tmp_path)
    return tmp_path


@pytest.fixture
def client(work: Path) -> LocalClient:
    """Return a client with an endpoint that has one deployment."""
    client = LocalClient()
    client.begin_create_or_update(azureml_v2.load_batch_endpoint("endpoint.yml")).result()
    deployment = azureml_v2.load_batch_deployment("deployment.yml")
    assert client.begin_create_or_update(deployment).result().name == "blue"
    return client


ROWS = [f"hello {letter}{number}" for number in range(6) for letter in "ab"]


def test_a_deployment_is_kept_with_its_files(
    client: LocalClient, work: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    for name in ("code", "word.txt", "deployment.yml"):
        shutil.move(work / name, work / f"{name}.gone")
    other = LocalClient()  # as in another kernel
    assert [each.name for each in other.batch_endpoints.list()] == ["greetings"]
    job = other.batch_endpoints.invoke("greetings", input="names")  # the only deployment
    assert isinstance(job, ScoringJob)
    other.jobs.stream(job.name)
    assert Path(job.outputs["score"].path).read_text().splitlines() == ROWS
    assert job.status == "Completed"
    printed = capsys.readouterr().out
    assert "6 of 6 items" in printed
    assert "rows for the" not in printed  # twelve rows for six files are usual
    assert not job.scoring.snapshot()["warnings"]
    RunDetails(job).show()
    assert "6 of 6 items" in capsys.readouterr().out

    (step,) = other.jobs.list(parent_job_name=job.name)
    assert (step.name, step.status) == (f"{job.name}.batchscoring", "Completed")
    took = step.creation_context.last_modified_at - step.creation_context.created_at
    assert 0 < took.total_seconds() < 120
    other.jobs.download(step.name, output_name="score", download_path="got")
    copied = work / "got" / "named-outputs" / "score" / "predictions.csv"
    assert copied.read_text().splitlines() == ROWS
    found = [each.name for each in other.jobs.list() if each.experiment_name == "greetings"]
    assert found == [job.name]
    assert [each.name for each in other.batch_endpoints.list_jobs("greetings")] == [job.name]
    assert list(other.batch_deployments.list_jobs("greetings", name="red")) == []


def test_a_call_changes_settings_and_the_place_of_the_output(
    client: LocalClient, work: Path
) -> None:
    store = client.datastores.get_default()
    job = client.batch_endpoints.invoke(
        "greetings", deployment_name="blue", experiment_name="tried",
        inputs={"any": SimpleNamespace(type="uri_folder", path=work / "names")},
        params_override=[
            {"output_dataset.datastore_id": f"azureml:{store.id}"},
            {"output_dataset.path": "/greetings/"}, {"output_file_name": "said.txt"},
        ],
        mini_batch_size="2", instance_count=2,
    )  # fmt: skip
    assert isinstance(job, ScoringJob)
    job.wait_for_completion(show_output=False)
    path = Path(store.path) / "greetings" / "said.txt"
    assert path.read_text().splitlines() == ROWS
    assert job.outputs["score"].path == str(path)
    assert job.scoring.snapshot()["mini_batches"] == 3
    assert job.scoring.folder.read_record().placement.node_count == 2
    assert job.experiment_name == "tried"

    output = SimpleNamespace(type="uri_file", path=f"{store.id}/paths/one/all.csv")
    job = client.batch_endpoints.invoke("greetings", input="names", outputs={"score": output})
    job.wait_for_completion(show_output=False)
    assert (Path(store.path) / "one" / "all.csv").read_text().splitlines() == ROWS


def test_a_failed_call_raises_the_scripts_error(client: LocalClient, work: Path) -> None:
    (work / "code" / "score.py").write_text("def run(mini_batch):\n    raise KeyError('lost')\n")
    deployment = azureml_v2.load_batch_deployment(
        "deployment.yml", params_override=[{"settings.mini_batch_size": 6}]
    )
    client.batch_deployments.begin_create_or_update(deployment).result()
    job = client.batch_endpoints.invoke("greetings", input="names", error_threshold=0)
    assert isinstance(job, ScoringJob)
    with pytest.raises(JobException, match=r"(?s)^Traceback.*KeyError: 'lost'"):
        client.jobs.stream(job.name)
    assert job.status == "Failed"
    assert job.scoring.snapshot()["mini_batches"] == 1  # the setting that replaced the file's


def test_what_is_not_there_is_named(client: LocalClient) -> None:
    endpoints, deployments = client.batch_endpoints, client.batch_deployments
    with pytest.raises(
        EndpointNotFoundError,
        match=r"no batch endpoint 'greeting' in .* Did you mean 'greetings'\? Endpoints: greetings\. Create",
    ):
        endpoints.invoke("greeting", input="names")
    with pytest.raises(
        EndpointNotFoundError,
        match=r"'greetings' has no deployment 'bleu'\. Did you mean 'blue'\? Its deployments: blue\.",
    ):
        endpoints.invoke("greetings", deployment_name="bleu", input="names")
    red = azureml_v2.load_batch_deployment("deployment.yml")
    text = Path("deployment.yml").read_text().replace("blue", "red")
    Path("red.yml").write_text(text)
    red = azureml_v2.load_batch_deployment("red.yml")
    deployments.begin_create_or_update(red)
    with pytest.raises(
        ConfigError,
        match="'greetings' has no default deployment, and several .*: blue, red. Give deployment_name='blue'",
    ):
        endpoints.invoke("greetings", input="names")
    endpoint = endpoints.get("greetings")
    endpoint.defaults.deployment_name = "red"
    endpoints.begin_create_or_update(endpoint).result()
    deployments.begin_delete("red", "greetings").result()
    assert endpoints.get("greetings").defaults.deployment_name is None
    deployments.begin_delete("blue", "greetings").result()
    with pytest.raises(
        ConfigError, match="'greetings' has no deployment; create one with batch_dep"
    ):
        endpoints.invoke("greetings", input="names")
    endpoints.begin_delete("greetings").result()
    with pytest.raises(EndpointNotFoundError, match="Endpoints: none"):
        deployments.begin_create_or_update(red)


class ManagedOnlineEndpoint:
    name = "fast"


def test_other_objects_and_inputs_are_refused(client: LocalClient, work: Path) -> None:
    invoke = client.batch_endpoints.invoke
    with pytest.raises(
        ConfigError,
        match="'fast' is a ManagedOnlineEndpoint; expected a batch endpoint. .*nothing listens",
    ):
        client.begin_create_or_update(ManagedOnlineEndpoint())
    with pytest.raises(
        ConfigError, match="of type builtins.str; expected a ModelBatchDeployment or"
    ):
        client.batch_deployments.begin_create_or_update("deployment.yml")
    with pytest.raises(ConfigError, match="of type builtins.dict; expected a BatchEndpoint, or"):
        client.batch_endpoints.begin_create_or_update({})
    (work / "table").mkdir()
    (work / "table" / "MLTable").write_text("paths: [{pattern: ../names/*.txt}]")
    expected = "the input is .*, an MLTable; a batch deployment takes files, here as in Azure. Give the files"
    table: Any = SimpleNamespace(type="mltable", path="names")
    for given in (table, "table", "azureml:listed@latest"):
        client.data.create_or_update(Asset(name="listed", path="table", type="mltable"))
        with pytest.raises(ConfigError, match=expected):
            invoke("greetings", input=given)
    with pytest.raises(ConfigError, match="the input is 3, of type integer; expected files: Input"):
        invoke("greetings", input=SimpleNamespace(type="integer", path=None, default=3))
    with pytest.raises(ConfigError, match=r"2 inputs \(a, b\); a deployment of a model takes one"):
        invoke("greetings", inputs={"a": "names", "b": "names"})
    with pytest.raises(
        ConfigError, match="cannot change 'mini_batch'. Did you mean 'mini_batch_size'"
    ):
        invoke("greetings", input="names", mini_batch=3)
    with pytest.raises(JobFileError, match="mini_batch_size is 0; expected"):
        invoke("greetings", input="names", mini_batch_size=0)
    with pytest.raises(
        ConfigError, match="no datastore 'lake' .* Datastores: .*workspaceblobstore"
    ):
        client.datastores.get("lake")


def test_a_mistake_keeps_the_earlier_deployment(client: LocalClient, work: Path) -> None:
    text = Path("deployment.yml").read_text()
    Path("deployment.yml").write_text(text.replace("word.txt", "words.txt"))
    with pytest.raises(
        JobFileError, match=r"words.txt, which does not exist. Did you mean 'word.txt'"
    ):
        client.batch_deployments.begin_create_or_update(
            azureml_v2.load_batch_deployment("deployment.yml")
        )
    job = client.batch_endpoints.invoke("greetings", input="names")
    assert job.wait_for_completion(show_output=False) == "Completed"
