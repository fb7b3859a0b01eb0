"""Batch deployments and endpoints are read with places; models are laid out as in Azure."""

from __future__ import annotations

import csv
import os
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
import yaml

from parallelrun_jupyter.azureml_v2 import invoke
from parallelrun_jupyter.azureml_v2.execution.assets import Assets
from parallelrun_jupyter.azureml_v2.execution.mlflow_model import find_mlflow, read_mlflow
from parallelrun_jupyter.azureml_v2.execution.models import model_folder
from parallelrun_jupyter.azureml_v2.model.deployments import (
    BatchSettings,
    Model,
    ModelDeployment,
    PipelineDeployment,
)
from parallelrun_jupyter.azureml_v2.model.problems import JobFileError
from parallelrun_jupyter.azureml_v2.reader.deployments import (
    load_deployment,
    load_endpoint,
    read_deployment,
)
from parallelrun_jupyter.errors import ConfigError
from parallelrun_jupyter.runs.run_folder import list_runs
from parallelrun_jupyter.worker.azureml import mlflow_entry
from parallelrun_jupyter.worker.azureml.model_store import ModelStore

DEPLOYMENT = """\
$schema: https://azuremlschemas.azureedge.net/latest/modelBatchDeployment.schema.json
type: model
name: by-file
endpoint_name: images
description: A classifier
tags: {kind: centroid}
model:
  name: centroids
  path: ./model
code_configuration:
  code: ./code
  scoring_script: score.py
environment: azureml:images@latest
compute: azureml:cpu-cluster
resources:
  instance_count: 2
settings:
  mini_batch_size: 5
  max_concurrency_per_instance: "3"
  output_action: Append_Row
  output_file_name: classes.csv
  retry_settings: {max_retries: 0, timeout: 300}
  error_threshold: 7
  logging_level: INFO
  environment_variables: {MODE: fast, COUNT: 3}
"""

LEGACY = """\
name: old
endpoint_name: images
model: azureml:centroids@latest
compute: azureml:cpu-cluster
mini_batch_size: 2
retry_settings: {max_retries: 1}
output_action: summary_only
"""

PIPELINE = """\
type: pipeline
name: hello
endpoint_name: hello-batch
component: ./component.yml
settings: {default_compute: azureml:cpu-cluster, continue_on_step_failure: false}
"""

COMPONENT = """\
type: pipeline
name: hello
inputs:
  word: {type: string}
  count: {type: integer, default: 2}
outputs:
  text: {type: uri_folder}
jobs:
  say:
    type: command
    command: echo ${{inputs.word}} > ${{outputs.text}}/said.txt
    environment: azureml:base@latest
    inputs: {word: "${{parent.inputs.word}}"}
    outputs: {text: "${{parent.outputs.text}}"}
"""


def write(folder: Path, text: str, name: str = "deployment.yml") -> Path:
    path = folder / name
    path.write_text(text)
    return path


def problems(folder: Path, text: str, **overrides: Any) -> list[str]:
    """Return the problems of a file: line and message."""
    found = read_deployment(write(folder, text), overrides).problems
    return [f"{p.place.line}: {p.message}" for p in found]


# Reading


def test_every_field_of_a_deployment_is_read(tmp_path: Path) -> None:
    deployment = load_deployment(write(tmp_path, DEPLOYMENT))
    assert isinstance(deployment, ModelDeployment)
    assert (deployment.name, deployment.endpoint_name) == ("by-file", "images")
    assert (deployment.description, deployment.tags) == ("A classifier", {"kind": "centroid"})
    assert deployment.model == Model(name="centroids", path=str(tmp_path / "model"))
    assert deployment.code is not None
    assert deployment.code.code == str(tmp_path / "code")
    assert deployment.code.scoring_script == "score.py"
    assert deployment.environment is not None
    assert deployment.environment.reference == "azureml:images@latest"
    assert deployment.compute == "azureml:cpu-cluster"
    assert deployment.settings == BatchSettings(
        mini_batch_size=5, max_concurrency_per_instance=3, instance_count=2, max_retries=0,
        timeout=300, error_threshold=7, output_action="append_row", output_file_name="classes.csv",
        logging_level="info", environment_variables={"MODE": "fast", "COUNT": "3"},
    )  # fmt: skip
    assert deployment.places.of("settings.mini_batch_size").line == 18


def test_settings_have_the_defaults_of_azure(tmp_path: Path) -> None:
    text = "type: model\nname: a\nendpoint_name: b\nmodel: azureml:m:1\ncompute: local\n"
    deployment = load_deployment(write(tmp_path, text))
    assert isinstance(deployment, ModelDeployment)
    settings = deployment.settings
    assert (settings.mini_batch_size, settings.max_concurrency_per_instance) == (10, 1)
    assert (settings.max_retries, settings.timeout, settings.error_threshold) == (3, 30, -1)
    assert (settings.output_action, settings.output_file_name) == ("append_row", "predictions.csv")
    assert (settings.logging_level, settings.instance_count) == ("info", 1)


def test_a_legacy_file_has_its_settings_at_the_root(tmp_path: Path) -> None:
    deployment = load_deployment(write(tmp_path, LEGACY), {"mini_batch_size": 4})
    assert isinstance(deployment, ModelDeployment)
    assert deployment.is_legacy
    assert deployment.model == Model(reference="azureml:centroids@latest")
    expected = BatchSettings(mini_batch_size=4, max_retries=1, output_action="summary_only")
    assert deployment.settings == expected


def test_a_deployment_of_a_pipeline_has_its_component(tmp_path: Path) -> None:
    write(tmp_path, COMPONENT, "component.yml")
    deployment = load_deployment(write(tmp_path, PIPELINE))
    assert isinstance(deployment, PipelineDeployment)
    assert deployment.declared is not None
    assert list(deployment.declared.inputs) == ["word", "count"]
    assert deployment.settings.continue_on_step_failure is False


def test_an_endpoint_is_read_and_is_not_a_deployment(tmp_path: Path) -> None:
    text = "name: heart\nauth_mode: aad_token\ndefaults: {deployment_name: xgb}\ntags: {a: b}\n"
    path = write(tmp_path, text, "endpoint.yml")
    endpoint = load_endpoint(path)
    assert (endpoint.name, endpoint.default_deployment, endpoint.tags) == (
        "heart", "xgb", {"a": "b"},
    )  # fmt: skip
    with pytest.raises(JobFileError, match="file of an endpoint; give that of a deployment"):
        load_deployment(path)
    with pytest.raises(
        JobFileError, match=r"pipeline job; start it by 'parallelrun azureml run FILE'"
    ):
        load_deployment(write(tmp_path, "type: pipeline\njobs: {a: {type: command}}\n", "job.yml"))
    write(tmp_path, "name: heart\nauth_mode: password\ncolour: red\n", "endpoint.yml")
    with pytest.raises(JobFileError) as caught:
        load_endpoint(path)
    assert [problem.place.line for problem in caught.value.problems] == [2, 3]


@pytest.mark.parametrize(
    ("line", "changed", "number", "message"),
    [
        ("  mini_batch_size: 5", "  mini_batch_size: 0", 18, "mini_batch_size is 0; expected a number from 1"),
        ("  mini_batch_size: 5", "  mini_batch_size: 10kb", 18, "'10kb'; expected a whole number"),
        ("  mini_batch_size: 5", "  mini_batch_sise: 5", 18, "Did you mean 'mini_batch_size'?"),
        ("  error_threshold: 7", "  error_threshold: -7", 23, "or -1 to ignore all failures"),
        ("timeout: 300", "timeout: 0", 22, "timeout is 0; expected a number from 1"),
        ("max_retries: 0", "max_retries: -1", 22, "max_retries is -1; expected a number from 0"),
        ('instance: "3"', "instance: true", 19, "max_concurrency_per_instance is True"),
        ("Append_Row", "append_rows", 20, "Did you mean 'append_row'?"),
        ("classes.csv", "out/classes.csv", 21, "the name of a file, without a folder"),
        ("logging_level: INFO", "logging_level: LOUD", 24, "expected one of info, warning, debug"),
        ("instance_count: 2", "instance_count: 0", 16, "instance_count is 0; expected a number from 1"),
        ("  scoring_script: score.py\n", "", 11, "code_configuration has no scoring_script"),
        ("  path: ./model\n", "", 8, "the model has no path"),
        ("compute: azureml:cpu-cluster\n", "", 1, "a deployment of a model has no compute"),
        ("tags:", "colour: red\ntags:", 6, "'colour' is not a field of a deployment of a model"),
        ("tags:", "mini_batch_size: 3\ntags:", 6, "'mini_batch_size' belongs under 'settings'"),
        ("type: model", "type: online", 2, "type is 'online'; expected one of model, pipeline"),
    ],
)  # fmt: skip
def test_a_mistake_is_named_with_its_line(
    tmp_path: Path, line: str, changed: str, number: int, message: str
) -> None:
    assert line in DEPLOYMENT
    found = problems(tmp_path, DEPLOYMENT.replace(line, changed, 1))
    assert len(found) == 1
    assert found[0].startswith(f"{number}: ")
    assert message in found[0]


def test_settings_need_a_type_and_a_component_must_be_a_pipeline(tmp_path: Path) -> None:
    found = problems(tmp_path, DEPLOYMENT.replace("type: model\n", ""))
    assert found == ["16: settings is only read in a file with 'type: model'; add that line."]
    command = "type: command\ncommand: ls\nenvironment: azureml:a:1\n"
    write(tmp_path, command, "component.yml")
    assert "a deployment needs one of type 'pipeline'" in problems(tmp_path, PIPELINE)[0]


# Models


def test_files_of_a_model_are_registered_once_and_laid_out_as_in_azure(tmp_path: Path) -> None:
    source = tmp_path / "trained"
    (source / "sub").mkdir(parents=True)
    (source / "sub" / "weights.npy").write_bytes(b"12")
    assets = Assets(tmp_path / "workspace")
    model = Model(name="centroids", path=str(source))
    folder = model_folder(model, "by-file", assets)
    assert folder.endswith("/azureml-models/centroids/1")
    assert (Path(folder) / "trained" / "sub" / "weights.npy").read_bytes() == b"12"
    assert model_folder(model, "by-file", assets) == folder
    (source / "sub" / "weights.npy").write_bytes(b"123")
    second = model_folder(model, "by-file", assets)
    assert second.endswith("/centroids/2")
    assert (Path(folder) / "trained" / "sub" / "weights.npy").read_bytes() == b"12"
    assert len(assets.notes) == 2
    latest = Model(reference="azureml:centroids@latest")
    assert model_folder(latest, "", assets) == second
    assert model_folder(Model(reference="azureml:centroids:1"), "", assets) == folder
    assert not assets.problems


def test_one_file_is_a_model_too(tmp_path: Path) -> None:
    (tmp_path / "model.pkl").write_bytes(b"1")
    folder = model_folder(Model(path=str(tmp_path / "model.pkl")), "d", Assets(tmp_path / "w"))
    assert os.listdir(folder) == ["model.pkl"]
    assert folder.endswith("/d/1")


def test_a_model_that_is_missing_is_named(tmp_path: Path) -> None:
    (tmp_path / "model").mkdir()
    assets = Assets(tmp_path / "workspace")
    assert model_folder(Model(path=str(tmp_path / "modle")), "d", assets) == ""
    assert "which does not exist. Did you mean 'model'?" in assets.problems[0].message
    assert model_folder(Model(reference="azureml:heart:3"), "d", assets) == ""
    assert "no model 'heart' is registered" in assets.problems[1].message
    assert "path: ./model" in assets.problems[1].message
    assert not ModelStore(str(tmp_path / "workspace")).names()


# MLflow


def mlmodel(folder: Path, **changes: Any) -> str:
    record = {
        "flavors": {"python_function": {"env": {"conda": "conda.yaml"}}, "sklearn": {}},
        "signature": {"inputs": '[{"type": "long", "name": "age"}, {"type": "double", "name": "x"}]'},
        **changes,
    }  # fmt: skip
    folder.mkdir(exist_ok=True)
    (folder / "conda.yaml").write_text("dependencies: [python]")
    (folder / "MLmodel").write_text(yaml.safe_dump(record))
    return str(folder)


def test_mlmodel_is_read_with_its_signature(tmp_path: Path) -> None:
    folder = mlmodel(tmp_path / "model")
    assert find_mlflow(str(tmp_path)) == find_mlflow(folder) == folder
    assert find_mlflow(str(tmp_path / "model" / "conda.yaml")) == ""
    model = read_mlflow(folder)
    assert model.columns == {"age": "long", "x": "double"}
    assert model.conda_file == f"{folder}/conda.yaml"
    tensor = '[{"type": "tensor", "tensor-spec": {"dtype": "uint8", "shape": [-1, 8, 8]}}]'
    model = read_mlflow(mlmodel(tmp_path / "model", signature={"inputs": tensor}))
    assert (model.columns, model.tensor) == ({}, ("uint8", (-1, 8, 8)))


def test_a_wrong_mlmodel_is_refused(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=r"no flavor 'python_function' \(its flavors: sklearn\)"):
        read_mlflow(mlmodel(tmp_path / "model", flavors={"sklearn": {}}))
    with pytest.raises(ConfigError, match="no mapping 'flavors'"):
        read_mlflow(mlmodel(tmp_path / "model", flavors=None))
    with pytest.raises(ConfigError, match=r"the signature of .*MLmodel could not be read"):
        read_mlflow(mlmodel(tmp_path / "model", signature={"inputs": "[1]"}))


def test_predictions_become_lines_of_csv() -> None:
    frame = pd.DataFrame({"label": ["a,b", 'say "c"'], "p": [0.25, 1.0]})
    rows = [mlflow_entry.line([n, v, "a.csv"]) for n, v in enumerate(mlflow_entry.as_list(frame))]
    read = list(csv.reader(rows))
    assert read[0] == ["0", '{"label": "a,b", "p": 0.25}', "a.csv"]
    assert mlflow_entry.as_list(frame[["p"]]) == [0.25, 1.0]
    assert mlflow_entry.as_list(np.array([[1, 2], [3, 4]])) == [[1, 2], [3, 4]]
    assert mlflow_entry.as_list(frame["label"]) == ["a,b", 'say "c"']
    assert mlflow_entry.line([np.array([3])[0], "x.png"]) == "3,x.png"
    assert mlflow_entry.prediction_of_image(np.array([[0.5, 0.25]])) == [0.5, 0.25]
    assert mlflow_entry.prediction_of_image({"a": 1}) == {"a": 1}


# What is wrong with a deployment before it starts


def test_all_problems_are_found_before_anything_starts(tmp_path: Path) -> None:
    (tmp_path / "code").mkdir()
    (tmp_path / "code" / "scores.py").write_text("def run(mini_batch): return mini_batch")
    path = write(tmp_path, DEPLOYMENT)
    with pytest.raises(JobFileError) as caught:
        invoke(path, input="azureml:nothing:1")
    places = [str(problem.place).rpartition("/")[2] for problem in caught.value.problems]
    assert places == ["--input", "deployment.yml:9:9", "deployment.yml:12:19"]
    assert "there is no file" in str(caught.value)
    assert "Did you mean 'scores.py'?" in str(caught.value)
    assert not list_runs()


def test_an_input_is_needed(tmp_path: Path) -> None:
    path = write(tmp_path, DEPLOYMENT)
    with pytest.raises(ConfigError, match=r"input is missing; .* --input data/"):
        invoke(path)
    with pytest.raises(ConfigError, match=r"input has names \(a\), but a deployment of a model"):
        invoke(path, input={"a": "data"})


def test_a_model_without_a_script_must_be_of_mlflow(tmp_path: Path) -> None:
    (tmp_path / "model").mkdir()
    text = DEPLOYMENT[: DEPLOYMENT.index("code_conf")] + DEPLOYMENT[DEPLOYMENT.index("compute") :]
    path = write(tmp_path, text)
    with pytest.raises(JobFileError, match=r"deployment.yml:8:3: the model has no file MLmodel"):
        invoke(path, input=tmp_path)


def test_inputs_of_a_pipeline_are_checked_by_name_and_type(tmp_path: Path) -> None:
    write(tmp_path, COMPONENT, "component.yml")
    path = write(tmp_path, PIPELINE)
    with pytest.raises(
        JobFileError,
        match=r"component.yml:4:.*needs the input 'word', a string; add --input word=VALUE",
    ):
        invoke(path)
    with pytest.raises(
        JobFileError, match=r"--input count: it is 'two'; expected a value of type integer"
    ):
        invoke(path, input={"word": "a", "count": "two"})
    with pytest.raises(JobFileError, match=r"no input 'wrod'.* Did you mean 'word'\?"):
        invoke(path, input={"word": "a", "wrod": "b"})
    with pytest.raises(JobFileError, match="it has no name; write --input NAME=VALUE"):
        invoke(path, input="data")
    write(tmp_path, COMPONENT[: COMPONENT.index("inputs:")] + "jobs: {a: {type: command, command: ls}}\n",
          "empty.yml")  # fmt: skip
    empty = write(tmp_path, PIPELINE.replace("./component.yml", "./empty.yml"))
    with pytest.raises(
        JobFileError, match="--input: the pipeline has no inputs; leave --input out"
    ):
        invoke(empty, input="data")
    name = write(tmp_path, PIPELINE.replace("./component.yml", "azureml:hello@latest"))
    with pytest.raises(JobFileError, match=r"deployment.yml:4:12: .*is only a name; give its file"):
        invoke(name, input={"word": "a"})
