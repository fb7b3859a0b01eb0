"""Batch deployments run here: the rows equal a loop's over the same files, with mlflow or without."""

from __future__ import annotations

import json
import os
import random
import re
import shutil
import subprocess
import sys
import venv
import warnings
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
import yaml
from PIL import Image

from parallelrun_jupyter import Run, RunDetails, azureml_v2
from parallelrun_jupyter.azureml_v2.execution.job_run import JobRun
from parallelrun_jupyter.azureml_v2.model.deployments import ModelDeployment, PipelineDeployment
from parallelrun_jupyter.azureml_v2.reader.deployments import load_deployment
from parallelrun_jupyter.errors import InputError, MissingExtraError, RunFailedError
from parallelrun_jupyter.pipelines.registered_datasets import add_dataset_version
from parallelrun_jupyter.pipelines.workspaces import workspace_above
from parallelrun_jupyter.runs.run_folder import find, list_runs
from parallelrun_jupyter.worker.azureml.model_store import ModelStore
from tests import azureml_v2_notebooks
from tests.azure_ai_ml import python_with_azure_ai_ml, python_with_both
from tests.azureml_notebooks import text_of
from tests.mlflow_environment import python_with_mlflow


def write(folder: Path, record: dict[str, Any], name: str = "deployment.yml") -> Path:
    path = folder / name
    path.write_text(yaml.safe_dump(record, sort_keys=False))
    return path


def deployment(model: str | dict[str, Any], script: str = "", **settings: Any) -> dict[str, Any]:
    """Return a deployment of a model with a scoring script in ``code``, or without one."""
    code = {"code_configuration": {"code": "./code", "scoring_script": script}} if script else {}
    return {
        "$schema": "https://azuremlschemas.azureedge.net/latest/modelBatchDeployment.schema.json",
        "type": "model", "name": "blue", "endpoint_name": "green", "model": model, **code,
        "compute": "azureml:cpu-cluster", "settings": settings,
    }  # fmt: skip


def finished(path: Path, **options: Any) -> azureml_v2.DeploymentRun:
    run = azureml_v2.invoke(path, **options)
    assert isinstance(run, azureml_v2.DeploymentRun)
    assert run.wait_for_completion(show_output=False, timeout_s=240) == "Completed"
    return run


def by_command(path: Path, data: Path, output: Path | None = None) -> azureml_v2.DeploymentRun:
    """Score files by one command in the terminal."""
    more = ("--output", output) if output else ()
    done = parallelrun("invoke", path, "--input", data, *more)
    assert done.returncode == 0, done.stderr
    assert "rows for the" not in done.stdout  # a file may give any number of rows
    (run_id,) = re.findall("^run (.*); Ctrl-C", done.stdout, re.MULTILINE)
    return azureml_v2.DeploymentRun(find(run_id))


# Images by file and by batch, with a model of class means


CENTROIDS = """
import os
import numpy as np
from PIL import Image

def init():
    global means, labels
    means = np.load(os.path.join(os.environ["AZUREML_MODEL_DIR"], "model", "means.npy"))
    labels = open(os.path.join(os.environ["AZUREML_MODEL_DIR"], "model", "labels.txt")).read().split()

def pixels(path):
    with Image.open(path) as image:
        return np.asarray(image, dtype=float).ravel()
"""

BY_FILE = (
    CENTROIDS
    + """
import pandas as pd

def run(mini_batch):
    rows = []
    for path in mini_batch:
        distances = ((means - pixels(path)) ** 2).sum(axis=1)
        best = int(distances.argmin())
        rows.append((os.path.basename(path), best, round(float(distances[best]), 3), labels[best]))
    return pd.DataFrame(rows, columns=["file", "class", "distance", "label"])
"""
)

BY_BATCH = (
    CENTROIDS
    + """
def run(mini_batch):
    data = np.stack([pixels(path) for path in mini_batch])
    best = ((data[:, None, :] - means[None]) ** 2).sum(axis=2).argmin(axis=1)
    print("classified", len(data), "images at once")
    return ["%s,%s" % (os.path.basename(path), labels[k]) for path, k in zip(mini_batch, best)]
"""
)


@pytest.fixture
def images(tmp_path: Path) -> tuple[Path, dict[str, int]]:
    """Return a folder with a model of three means, and 13 images of them; and the nearest mean of each."""
    rng = np.random.default_rng(3)
    means = rng.integers(0, 256, (3, 64)).astype(float)
    (tmp_path / "model").mkdir()
    (tmp_path / "code").mkdir()
    (tmp_path / "photos" / "more").mkdir(parents=True)
    np.save(tmp_path / "model" / "means.npy", means)
    (tmp_path / "model" / "labels.txt").write_text("cat dog fox")
    (tmp_path / "code" / "by_file.py").write_text(BY_FILE)
    (tmp_path / "code" / "by_batch.py").write_text(BY_BATCH)
    nearest = {}
    for number in range(13):
        noisy = means[number % 3] + rng.normal(0, 60, 64)
        array = np.clip(noisy, 0, 255).astype(np.uint8)
        place = "photos" if number < 10 else "photos/more"
        Image.fromarray(array.reshape(8, 8)).save(tmp_path / place / f"{number:02d}.png")
        distances = [float(((mean - array) ** 2).sum()) for mean in means]
        nearest[f"{number:02d}.png"] = distances.index(min(distances))
    return tmp_path, nearest


def test_images_are_classified_file_by_file(images: tuple[Path, dict[str, int]]) -> None:
    folder, nearest = images
    record = deployment(
        {"name": "centroids", "path": "./model"}, "by_file.py", mini_batch_size=4,
        max_concurrency_per_instance=2, output_file_name="classes.csv",
    )  # fmt: skip
    run = finished(write(folder, record), input=folder / "photos", output=folder / "out")
    assert run.output == str(folder / "out" / "classes.csv")
    names = ["file", "class", "distance", "label"]
    table = pd.read_csv(run.output, sep=" ", header=None, names=names)
    assert dict(zip(table["file"], table["class"], strict=True)) == nearest
    assert list(table["label"]) == [["cat", "dog", "fox"][k] for k in table["class"]]
    assert run.snapshot()["mini_batches"] == 4
    assert Run.attach(run.run_id).name == "blue"
    assert any("compute cpu-cluster is a compute of Azure" in note for note in run.notes)
    assert any("registered as version 1 of the model 'centroids'" in note for note in run.notes)


def test_images_are_classified_by_batch_with_the_default_size(
    images: tuple[Path, dict[str, int]],
) -> None:
    folder, nearest = images
    path = write(folder, deployment({"name": "centroids", "path": "./model"}, "by_batch.py"))
    run = by_command(path, folder / "photos")
    assert run.output.endswith("/predictions.csv")
    assert run.run_id in run.output  # in the folder of the run
    rows = [line.split(",") for line in Path(run.output).read_text().splitlines()]
    assert {name: ["cat", "dog", "fox"].index(label) for name, label in rows} == nearest
    logs = run.logs()
    assert "classified 10 images at once" in logs  # Azure's default of mini_batch_size
    assert "classified 3 images at once" in logs


def test_a_deployment_is_set_from_outside(images: tuple[Path, dict[str, int]]) -> None:
    folder, nearest = images
    path = write(folder, deployment({"name": "centroids", "path": "./model"}, "by_file.py"))
    changes = {"settings.mini_batch_size": 1, "code_configuration.scoring_script": "by_batch.py"}
    run = finished(path, input=str(folder / "photos" / "more" / "*.png"), set=changes)
    assert run.snapshot()["mini_batches"] == 3
    rows = [line.split(",")[0] for line in Path(run.output).read_text().splitlines()]
    assert sorted(rows) == sorted(nearest)[10:]


# Summaries of texts, with a registered stand-in of a model


SUMMARIZE = """
import json, os
import pandas as pd

def init():
    global words
    folder = os.environ["AZUREML_MODEL_DIR"]
    words = json.load(open(os.path.join(folder, "summarizer.json")))["words"]
    assert os.environ["MODE"] == "short" and os.path.isdir(os.environ["AZUREML_BI_OUTPUT_PATH"])

def run(mini_batch):
    rows = []
    for path in mini_batch:
        frame = pd.read_csv(path)
        summary = " ".join(frame["text"].str.cat(sep=" ").split()[:words])
        rows.append({"file": os.path.basename(path), "summary": summary})
    return rows
"""


@pytest.fixture
def texts(tmp_path: Path) -> Path:
    """Return a folder with a scoring script, a registered model and five tables of texts."""
    (tmp_path / "code").mkdir(exist_ok=True)
    (tmp_path / "code" / "summarize.py").write_text(SUMMARIZE)
    (tmp_path / "summarizer.json").write_text('{"words": 3}')
    store = ModelStore(str(workspace_above(tmp_path)))
    facts: dict[str, Any] = {"tags": {}, "properties": {}}
    store.register("summarizer", str(tmp_path / "summarizer.json"), facts)
    (tmp_path / "bills").mkdir()
    for number in range(5):
        frame = pd.DataFrame({"text": [f"bill {number} says", "that it is long"]})
        frame.to_csv(tmp_path / "bills" / f"{number}.csv", index=False)
    return tmp_path


def summary_job(**settings: Any) -> dict[str, Any]:
    variables = {"environment_variables": {"MODE": "short"}}
    return deployment(
        "azureml:summarizer@latest", "summarize.py", mini_batch_size=1, **variables, **settings
    )


def test_texts_are_summarized_by_a_registered_model(texts: Path) -> None:
    spec = {"kind": "files", "paths": [str(texts / "bills")]}
    add_dataset_version(workspace_above(texts), "bills", {"spec": spec})
    run = finished(write(texts, summary_job()), input="azureml:bills@latest")
    rows = Path(run.output).read_text().splitlines()
    expected = [{"file": f"{n}.csv", "summary": f"bill {n} says"} for n in range(5)]
    assert rows == [str(row) for row in expected]
    assert any(note.startswith("azureml:summarizer@latest is version 1") for note in run.notes)


def test_failed_files_are_ignored_and_named(
    texts: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    for number in (1, 3):
        (texts / "bills" / f"{number}.csv").write_text("title\nno text\n")
    retry = {"max_retries": 1, "timeout": 30}
    path = write(texts, summary_job(retry_settings=retry, error_threshold=-1))
    run = azureml_v2.invoke(path, input=texts / "bills")
    assert run.wait_for_completion(timeout_s=120) == "Completed"
    assert isinstance(run, azureml_v2.DeploymentRun)
    (warning,) = run.warnings()
    assert warning.startswith("2 files failed, without rows in the output: 1.csv, 3.csv.")
    assert f"warning: {warning}" in capsys.readouterr().out
    assert len(Path(run.output).read_text().splitlines()) == 3
    assert len(run.failures()) == 4  # each file was tried twice

    path = write(texts, summary_job(retry_settings=retry, error_threshold=1))
    run = azureml_v2.invoke(path, input=texts / "bills")
    with pytest.raises(RunFailedError, match="KeyError"):
        run.wait_for_completion(show_output=False, timeout_s=120)


def test_a_legacy_deployment_runs(texts: Path) -> None:
    record = summary_job()
    settings = record.pop("settings")
    del record["type"]
    run = finished(write(texts, {**record, **settings}), input=texts / "bills")
    assert len(Path(run.output).read_text().splitlines()) == 5


# Heart classification with an MLflow model


MAKE_MODELS = """
import os, sys, json
import mlflow.sklearn, mlflow.pyfunc, numpy as np, pandas as pd
from mlflow.models import ModelSignature, infer_signature
from mlflow.types import ColSpec, Schema, TensorSpec
from PIL import Image
from sklearn.linear_model import LogisticRegression
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler

folder = sys.argv[1]
os.chdir(folder)
rng = np.random.default_rng(0)
table = pd.DataFrame({
    "age": rng.integers(20, 80, 200).astype("int32"), "chol": rng.normal(200, 30, 200),
    "sex": rng.integers(0, 2, 200), "code": rng.integers(0, 100, 200),
})
target = ((table.age + table.chol / 5 + rng.normal(0, 5, 200)) > 90).astype(int)
columns = ["age", "chol", "sex"]
heart = make_pipeline(StandardScaler(), LogisticRegression()).fit(table[columns], target)
signature = infer_signature(table[columns], heart.predict(table[columns]))
mlflow.sklearn.save_model(heart, "heart", signature=signature)
os.makedirs("patients")
for k, name in enumerate(["a.csv", "b.csv", "c.parquet", "d.pqt", "e.CSV"]):
    part = table.iloc[k * 20 : k * 20 + 20]
    save = part.to_csv if name.lower().endswith("csv") else part.to_parquet
    save(os.path.join("patients", name), index=False)

class Brightness(mlflow.pyfunc.PythonModel):
    def predict(self, context, model_input, params=None):
        assert model_input.shape == (1, 8, 8) and model_input.dtype == np.float32, model_input.shape
        return model_input.mean(axis=(1, 2)) + model_input[:, 0, 0]

class Kinds(mlflow.pyfunc.PythonModel):
    def predict(self, context, model_input, params=None):
        rows = zip(model_input["flag"], model_input["day"], model_input["code"])
        return pd.DataFrame({
            "text": ["%s %s %s" % (bool(flag), day.strftime("%d.%m.%Y"), code) for flag, day, code in rows],
            "size": len(model_input),
        })

kinds = [ColSpec("boolean", "flag"), ColSpec("datetime", "day"), ColSpec("string", "code")]
mlflow.pyfunc.save_model("kinds", python_model=Kinds(), signature=ModelSignature(inputs=Schema(kinds)))
matrix = table[columns].to_numpy()
plain = LogisticRegression(max_iter=5000).fit(matrix, target)
mlflow.sklearn.save_model(plain, "matrix", signature=infer_signature(matrix, plain.predict(matrix)))
os.makedirs("numbers")
table[columns].head(9).to_csv("numbers/rows.csv", index=False)

tensors = ModelSignature(inputs=Schema([TensorSpec(np.dtype("float32"), (-1, 8, 8))]))
mlflow.pyfunc.save_model("brightness", python_model=Brightness(), signature=tensors)
os.makedirs("photos")
for k, suffix in enumerate(["png", "bmp", "gif", "tiff"]):
    Image.fromarray(rng.integers(0, 256, (8, 8)).astype(np.uint8)).save("photos/%d.%s" % (k, suffix))

# The oracle: the models, called by hand for each file.
loaded, rows = mlflow.pyfunc.load_model("heart"), []
for name in sorted(os.listdir("patients")):
    path = os.path.join("patients", name)
    frame = pd.read_csv(path) if name.lower().endswith("csv") else pd.read_parquet(path)
    frame = frame[columns].astype({"age": "int32", "chol": "float64", "sex": "int64"})
    rows += [[k, int(value), name] for k, value in enumerate(loaded.predict(frame))]
loaded, values = mlflow.pyfunc.load_model("brightness"), []
for name in sorted(os.listdir("photos")):
    array = np.asarray(Image.open(os.path.join("photos", name)), dtype="float32")[np.newaxis]
    values.append([float(loaded.predict(array)[0]), name])
loaded = mlflow.pyfunc.load_model("matrix")
classes = loaded.predict(pd.read_csv("numbers/rows.csv").to_numpy()).tolist()
json.dump({"heart": rows, "brightness": values, "matrix": classes}, open("oracle.json", "w"))
"""


@pytest.fixture(scope="module")
def mlflow_python() -> str:
    python, reason = python_with_mlflow()
    if not python:
        if "CI" in os.environ:
            pytest.fail(reason)
        pytest.skip(reason)
    return python


@pytest.fixture(scope="module")
def mlflow_models(
    mlflow_python: str, tmp_path_factory: pytest.TempPathFactory
) -> tuple[Path, dict[str, Any]]:
    """Return a folder with two MLflow models and their data, and the predictions of a loop."""
    folder = tmp_path_factory.mktemp("models")
    words = [mlflow_python, "-c", MAKE_MODELS, str(folder)]
    done = subprocess.run(words, capture_output=True, text=True, timeout=300)
    assert done.returncode == 0, done.stderr
    return folder, json.loads((folder / "oracle.json").read_text())


@pytest.fixture
def heart(
    mlflow_models: tuple[Path, dict[str, Any]],
    mlflow_python: str,
    monkeypatch: pytest.MonkeyPatch,
    tmp_path_factory: pytest.TempPathFactory,
) -> tuple[Path, dict[str, Any]]:
    monkeypatch.setenv("PARALLELRUN_ENVIRONMENT", mlflow_python)
    monkeypatch.chdir(tmp_path_factory.mktemp("cwd"))
    return mlflow_models


def test_an_mlflow_model_is_scored_without_a_script(heart: tuple[Path, dict[str, Any]]) -> None:
    folder, oracle = heart
    model = {"name": "heart", "path": "./heart", "type": "mlflow_model"}
    retry = {"max_retries": 0, "timeout": 200}
    record = deployment(
        model, mini_batch_size=2, max_concurrency_per_instance=2, retry_settings=retry
    )
    run = by_command(write(folder, record), folder / "patients")
    table = pd.read_csv(run.output, names=["row", "prediction", "file_name"])
    assert len(oracle["heart"]) == 100
    assert 0 < sum(row[1] for row in oracle["heart"]) < 100
    assert sorted(table.to_numpy().tolist(), key=str) == sorted(oracle["heart"], key=str)
    assert not run.warnings()
    assert not os.listdir()  # mlflow would begin a folder mlruns where it runs


def test_an_mlflow_model_of_images_gets_arrays_of_its_signature(
    heart: tuple[Path, dict[str, Any]],
) -> None:
    folder, oracle = heart
    record = deployment({"name": "light", "path": "./brightness"}, retry_settings={"timeout": 200})
    run = finished(write(folder, record, "images.yml"), input=folder / "photos")
    table = pd.read_csv(run.output, names=["prediction", "file_name"])
    assert list(table["file_name"]) == [name for _, name in oracle["brightness"]]
    expected = [value for value, _ in oracle["brightness"]]
    assert list(table["prediction"]) == pytest.approx(expected)


def test_columns_have_the_types_of_the_signature(
    heart: tuple[Path, dict[str, Any]], tmp_path: Path
) -> None:
    folder, oracle = heart
    (tmp_path / "rows.csv").write_text(
        "code,flag,day,more\n007,True,2026-11-29,1\n1e3,False,2020-01-02,2\n"
    )
    record = deployment({"name": "kinds", "path": "./kinds"}, retry_settings={"timeout": 200})
    run = finished(write(folder, record, "kinds.yml"), input=tmp_path / "rows.csv")
    table = pd.read_csv(run.output, names=["row", "prediction", "file_name"])
    assert [json.loads(text) for text in table["prediction"]] == [
        {"text": "True 29.11.2026 007", "size": 2}, {"text": "False 02.01.2020 1e3", "size": 2},
    ]  # fmt: skip
    record = deployment({"name": "matrix", "path": "./matrix"}, retry_settings={"timeout": 200})
    run = finished(write(folder, record, "matrix.yml"), input=folder / "numbers")
    table = pd.read_csv(run.output, names=["row", "prediction", "file_name"])
    assert list(table["prediction"]) == oracle["matrix"]
    assert list(table["row"]) == list(range(9))


def test_other_files_fail_before_the_run_starts(
    heart: tuple[Path, dict[str, Any]], tmp_path: Path
) -> None:
    folder, _ = heart
    path = write(folder, deployment({"name": "heart", "path": "./heart"}))
    (tmp_path / "a.csv").write_text("age,chol,sex\n1,2,3\n")
    (tmp_path / "notes.avro").write_text("")
    expected = r"notes\.avro of type '\.avro', which an MLflow model without a script cannot read"
    with pytest.raises(InputError, match=expected):
        azureml_v2.invoke(path, input=tmp_path)
    assert not list_runs()


def test_mlflow_must_be_there(
    mlflow_models: tuple[Path, dict[str, Any]], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder, _ = mlflow_models
    path = write(folder, deployment({"name": "heart", "path": "./heart"}))
    venv.create(tmp_path / "bare", with_pip=False, symlinks=True)
    python = str(tmp_path / "bare" / "bin" / "python")
    monkeypatch.setenv("PARALLELRUN_ENVIRONMENT", python)
    with pytest.raises(MissingExtraError, match="-m pip install mlflow-skinny, and the packages"):
        azureml_v2.invoke(path, input=folder / "patients")
    assert not list_runs()


PARQUET_DRIVER = """
import os
from pathlib import Path
import mlflow
import pandas as pd

def init():
    global model, output
    model = mlflow.pyfunc.load_model(os.path.join(os.environ["AZUREML_MODEL_DIR"], "heart"))
    output = os.environ["AZUREML_BI_OUTPUT_PATH"]

def run(mini_batch):
    for path in mini_batch:
        if path.lower().endswith(".csv"):
            data = pd.read_csv(path, dtype={"age": "int32"})
        else:
            data = pd.read_parquet(path)
        data["prediction"] = model.predict(data[["age", "chol", "sex"]])
        data.to_parquet(os.path.join(output, Path(path).name + ".out.parquet"))
        yield True
"""


ROWS_DRIVER = """
import os, pickle
import pandas as pd

def init():
    global model
    path = os.path.join(os.environ["AZUREML_MODEL_DIR"], "heart", "model.pkl")
    model = pickle.load(open(path, "rb"))

def run(mini_batch):
    tables = []
    for path in mini_batch:
        read = pd.read_csv if path.lower().endswith("csv") else pd.read_parquet
        data = read(path).astype({"age": "int32"})
        data["prediction"] = model.predict(data[["age", "chol", "sex"]])
        tables.append(data.assign(file=os.path.basename(path)))
    return pd.concat(tables)
"""


def write_drivers(folder: Path) -> None:
    """Write the scripts of deployments of the MLflow model."""
    (folder / "code").mkdir(exist_ok=True)
    (folder / "code" / "driver.py").write_text(PARQUET_DRIVER)
    (folder / "code" / "rows.py").write_text(ROWS_DRIVER)


def rows_of_heart(path: Path) -> list[list[Any]]:
    """Return row, prediction and file of each line that the script with rows wrote."""
    table = pd.read_csv(path, sep=" ", header=None)
    assert table.shape[1] == 6  # the columns of the patient, the prediction and the file
    table["row"] = table.groupby(5).cumcount()
    return sorted(table[["row", 4, 5]].to_numpy().tolist(), key=lambda row: (row[2], row[0]))


def parquet_of_heart(folder: Path) -> list[list[Any]]:
    """Return row, prediction and file of each row of the script's own files."""
    rows = []
    for file in sorted(folder.glob("*.out.parquet")):
        frame = pd.read_parquet(file)
        assert "code" in frame  # a column that the model does not take
        name = file.name.removesuffix(".out.parquet")
        rows += [[k, value, name] for k, value in enumerate(frame["prediction"])]
    return rows


def test_a_script_returns_a_row_for_each_row_of_its_files(
    heart: tuple[Path, dict[str, Any]],
) -> None:
    folder, oracle = heart
    write_drivers(folder)
    model = {"name": "heart", "path": "./heart", "type": "mlflow_model"}
    record = deployment(model, "rows.py", mini_batch_size=3)
    run = by_command(write(folder, record, "rows.yml"), folder / "patients")
    assert rows_of_heart(Path(run.output)) == oracle["heart"]


def test_a_generator_writes_its_own_files_with_summary_only(
    heart: tuple[Path, dict[str, Any]], tmp_path: Path
) -> None:
    folder, oracle = heart
    write_drivers(folder)
    record = deployment(
        {"name": "heart", "path": "./heart", "type": "mlflow_model"}, "driver.py", mini_batch_size=2,
        output_action="summary_only", retry_settings={"max_retries": 0, "timeout": 200},
    )  # fmt: skip
    run = by_command(write(folder, record), folder / "patients", tmp_path / "scores")
    assert run.output == str(tmp_path / "scores")
    assert parquet_of_heart(tmp_path / "scores") == oracle["heart"]
    assert not (tmp_path / "scores" / "predictions.csv").exists()
    assert run.snapshot()["items_succeeded"] == 5


# Pipeline components


HELLO = """
$schema: https://azuremlschemas.azureedge.net/latest/pipelineComponent.schema.json
type: pipeline
name: hello_batch
version: 1
inputs:
  word: {type: string, default: hello}
  times: {type: integer}
  names: {type: uri_folder}
outputs:
  cards: {type: uri_folder}
jobs:
  write:
    type: command
    inputs:
      word: ${{parent.inputs.word}}
      times: ${{parent.inputs.times}}
      names: ${{parent.inputs.names}}
    outputs: {cards: {type: uri_folder}}
    environment: azureml:base@latest
    command: >-
      for name in ${{inputs.names}}/*; do
      for k in $(seq ${{inputs.times}}); do echo "${{inputs.word}} $(cat $name)"; done
      > ${{outputs.cards}}/$(basename $name);
      done
  collect:
    type: command
    inputs: {cards: "${{parent.jobs.write.outputs.cards}}"}
    outputs: {cards: "${{parent.outputs.cards}}"}
    environment: azureml:base@latest
    command: cat ${{inputs.cards}}/* > ${{outputs.cards}}/all.txt
"""


@pytest.fixture
def hello(tmp_path: Path) -> Path:
    (tmp_path / "hello.yml").write_text(HELLO)
    (tmp_path / "names").mkdir()
    for name in ("ada", "grace"):
        (tmp_path / "names" / f"{name}.txt").write_text(name)
    settings = {"default_compute": "azureml:batch-cluster", "continue_on_step_failure": False}
    record = {
        "type": "pipeline", "name": "hello-dpl", "endpoint_name": "hello-batch",
        "component": "./hello.yml", "settings": settings,
    }  # fmt: skip
    write(tmp_path, record)
    return tmp_path


def test_a_pipeline_component_runs_with_literals_and_data(hello: Path) -> None:
    values = {"times": 2, "names": hello / "names"}
    job = azureml_v2.invoke(hello / "deployment.yml", input=values, output=hello / "out")
    assert isinstance(job, JobRun)
    assert job.wait_for_completion(show_output=False, timeout_s=120) == "Completed"
    assert job.outputs == {"cards": str(hello / "out" / "cards")}
    text = (hello / "out" / "cards" / "all.txt").read_text()
    assert text == "hello ada\nhello ada\nhello grace\nhello grace\n"
    assert job.record.experiment == "hello-batch"
    assert job.record.name == "hello-dpl"


# The terminal and the notebook


def parallelrun(*words: object) -> subprocess.CompletedProcess[str]:
    program = [sys.executable, "-m", "parallelrun_jupyter", "azureml", *map(str, words)]
    return subprocess.run(program, capture_output=True, text=True, timeout=120)


def test_the_terminal_invokes_deployments(texts: Path, hello: Path) -> None:
    path = write(texts, summary_job(), "summary.yml")
    done = parallelrun("invoke", path, "--input", texts / "bills", "--output", texts / "o",
                       "--set", "settings.output_file_name=s.csv")  # fmt: skip
    assert done.returncode == 0, done.stderr
    assert f"output: {texts / 'o' / 's.csv'}" in done.stdout
    assert len((texts / "o" / "s.csv").read_text().splitlines()) == 5
    words = ("--input", "times=1", "--input", f"names={hello / 'names'}", "-o", hello / "out")
    done = parallelrun("invoke", hello / "deployment.yml", *words)
    assert done.returncode == 0, done.stderr
    assert (hello / "out" / "cards" / "all.txt").read_text() == "hello ada\nhello grace\n"
    done = parallelrun("invoke", path, "--input", texts / "nothing")
    assert (done.returncode, "nothing" in done.stderr) == (2, True)


def test_the_notebook_invokes_a_deployment(texts: Path, capsys: pytest.CaptureFixture[str]) -> None:
    from IPython.core.interactiveshell import InteractiveShell

    path = write(texts, summary_job())
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        shell = InteractiveShell()
    try:
        shell.run_line_magic("load_ext", "parallelrun_jupyter")
        line = f"azureml invoke '{path}' --input '{texts / 'bills'}' --as scored"
        shell.run_line_magic("parallelrun", line)
        run = shell.user_ns["scored"]
        assert run.run_id in capsys.readouterr().out
        assert run.wait_for_completion(show_output=False, timeout_s=120) == "Completed"
        assert len(run.to_pandas()) == 5
        RunDetails(run).show()
        assert "5 of 5 items" in capsys.readouterr().out
    finally:
        InteractiveShell.clear_instance()


# Notebooks with one changed line


@pytest.fixture
def digits(tmp_path: Path) -> Path:
    """Return a folder with a model of answers, and 25 files of questions."""
    folder = tmp_path / "digits"
    shutil.copytree(azureml_v2_notebooks.FOLDER / "src", folder / "src")
    (folder / "model").mkdir()
    (folder / "data").mkdir()
    lines = "".join(f"{'i' * number}. {number}\n" for number in range(25))
    (folder / "model" / "answers.txt").write_text(lines)
    for number in range(25):
        (folder / "data" / f"{number:02d}.txt").write_text("i" * number + ".")
    return folder


DIGITS = [f"{number:02d}.txt {number}" for number in range(25)]


def test_digits_by_one_command(digits: Path) -> None:
    code = {"code": "./src/mnist", "scoring_script": "batch_driver.py"}
    record = {**deployment({"path": "./model"}), "code_configuration": code}
    run = by_command(write(digits, record), digits / "data", digits / "out")
    assert run.output == str(digits / "out" / "predictions.csv")
    assert Path(run.output).read_text().splitlines() == DIGITS


def test_digits_by_a_notebook(
    digits: Path, python_with_azure: str, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    azureml_v2_notebooks.install_kernel(python_with_azure, tmp_path / "prefix")
    monkeypatch.setenv("JUPYTER_PATH", str(tmp_path / "prefix" / "share" / "jupyter"))
    notebook = azureml_v2_notebooks.execute("mnist", digits)
    assert (digits / "named-outputs/score/predictions.csv").read_text().splitlines() == DIGITS
    text = text_of(notebook)
    for expected in (
        "default first-dpl", "Job: Completed True", "True 25", "settings 2 2",
        "['00.txt:0', '01.txt:1']", "Name: second-dpl Status: Completed", "\n3\n", "[]",
    ):  # fmt: skip
        assert expected in text
    assert text.count("Name: first-dpl Status: Completed") == 2
    htmls = [
        output["data"].get("text/html", "") for cell in notebook.cells
        for output in cell.get("outputs", ()) if "data" in output
    ]  # fmt: skip
    assert any("first-dpl" in html for html in htmls), htmls


@pytest.fixture(scope="module")
def python_with_azure() -> str:
    python, reason = python_with_both()
    if not python:
        if "CI" in os.environ:
            pytest.fail(reason)
        pytest.skip(reason)
    return python


def test_deployments_by_their_notebooks(
    images: tuple[Path, dict[str, int]],
    texts: Path,
    hello: Path,
    heart: tuple[Path, dict[str, Any]],
    python_with_azure: str,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    azureml_v2_notebooks.install_kernel(python_with_azure, tmp_path / "prefix")
    monkeypatch.setenv("JUPYTER_PATH", str(tmp_path / "prefix" / "share" / "jupyter"))
    write_drivers(heart[0])
    folders = {
        "images": images[0], "summaries": texts, "greetings": hello, "heart": heart[0],
        "parquet": heart[0],
    }  # fmt: skip
    notebooks = azureml_v2_notebooks.execute_in_one_kernel(folders)

    found = tmp_path / "named-outputs" / "score"
    table = pd.read_csv(found / "by-file.csv", sep=" ", header=None)
    assert dict(zip(table[0], table[1], strict=True)) == images[1]
    lines = [line.split(",") for line in (found / "by-batch.csv").read_text().splitlines()]
    assert {name: ["cat", "dog", "fox"].index(label) for name, label in lines} == images[1]
    assert "['by-batch', 'by-file']" in text_of(notebooks["images"])

    summaries = (texts / "summaries" / "summaries.csv").read_text().splitlines()
    assert summaries == [str({"file": f"{n}.csv", "summary": f"bill {n} says"}) for n in range(5)]

    text = (tmp_path / "named-outputs" / "cards" / "all.txt").read_text()
    assert text == "hello ada\nhello ada\nhello grace\nhello grace\n"
    assert "['write', 'collect']" in text_of(notebooks["greetings"])

    folder, oracle = heart
    score = pd.read_csv(
        folder / "simple/named-outputs/score/predictions.csv", names=["row", "prediction", "file"]
    )
    assert sorted(score.to_numpy().tolist(), key=str) == sorted(oracle["heart"], key=str)
    assert rows_of_heart(folder / "custom/named-outputs/score/predictions.csv") == oracle["heart"]
    assert parquet_of_heart(folder / "parquet/named-outputs/score") == oracle["heart"]
    assert "warning" not in text_of(notebooks["heart"])  # more rows than files are usual


# The oracle of the reader


READ_BY_AZURE = """
import json, logging, os, sys, warnings
logging.disable(logging.CRITICAL)
warnings.simplefilter("ignore")
from azure.ai.ml.entities import _load_functions as functions
found = []
for path in json.load(sys.stdin):
    load = functions.load_model_batch_deployment
    if "pipeline" in path:
        load = functions.load_pipeline_component_batch_deployment
    d = load(path)
    if "pipeline" in path:
        found.append({"name": d.name, "endpoint": d.endpoint_name, "settings": d.settings})
        continue
    s, r, code = d.settings, d.settings.retry_settings, d.code_configuration
    found.append({
        "name": d.name, "endpoint": d.endpoint_name, "compute": d.compute, "tags": d.tags,
        "description": d.description,
        "model": d.model if isinstance(d.model, str) else [d.model.name, os.path.abspath(d.model.path), d.model.type],
        "code": code and [os.path.abspath(code.code), code.scoring_script],
        "instances": d.resources and d.resources.instance_count,
        "settings": [
            s.mini_batch_size, s.max_concurrency_per_instance, r.max_retries, r.timeout,
            s.error_threshold, s.output_action, s.output_file_name, s.logging_level,
            s.environment_variables,
        ],
    })
json.dump(found, sys.stdout)
"""


def _random_deployment(rng: random.Random) -> dict[str, Any]:
    models: list[Any] = [
        {"name": "heart", "path": "./model", "type": rng.choice(["mlflow_model", "custom_model"])},
        "azureml:heart:3",
    ]
    code = {"code": "./code", "scoring_script": rng.choice(["score.py", "more/score.py"])}
    record = deployment(
        rng.choice(models),
        mini_batch_size=rng.randint(1, 50), max_concurrency_per_instance=rng.randint(1, 8),
        retry_settings={"max_retries": rng.randint(0, 5), "timeout": rng.randint(1, 900)},
        error_threshold=rng.choice([-1, 0, 20]), output_file_name=rng.choice(["p.csv", "x.txt"]),
        output_action=rng.choice(["append_row", "summary_only", "APPEND_ROW"]),
        logging_level=rng.choice(["info", "debug", "warning"]),
        environment_variables=rng.choice([{}, {"A": "1", "B": "b c"}]),
    )  # fmt: skip
    record["name"] = f"blue-{rng.randint(1, 99)}"
    optional = {
        "code_configuration": code, "resources": {"instance_count": rng.randint(1, 4)},
        "description": "d: e", "tags": {"k": "v"},
    }  # fmt: skip
    return {**record, **{k: v for k, v in optional.items() if rng.random() < 0.5}}


def _ours(path: Path) -> dict[str, Any]:
    found = load_deployment(path)
    if isinstance(found, PipelineDeployment):
        settings = {
            "default_compute": found.settings.default_compute,
            "continue_on_step_failure": found.settings.continue_on_step_failure,
        }
        return {"name": found.name, "endpoint": found.endpoint_name, "settings": settings}
    assert isinstance(found, ModelDeployment)
    s, model, code = found.settings, found.model, found.code
    assert model is not None
    # Azure's client keeps the reference without its prefix, and local paths as they are written.
    reference = model.reference.removeprefix("azureml:")
    return {
        "name": found.name, "endpoint": found.endpoint_name,
        "compute": found.compute.removeprefix("azureml:"), "tags": found.tags,
        "description": found.description or None,
        "model": reference or [model.name, model.path, model.type],
        "code": code and [code.code, code.scoring_script],
        "instances": found.resources and found.resources.instance_count,
        "settings": [
            s.mini_batch_size, s.max_concurrency_per_instance, s.max_retries, s.timeout,
            s.error_threshold, s.output_action, s.output_file_name, s.logging_level,
            dict(s.environment_variables),
        ],
    }  # fmt: skip


def test_deployments_are_read_as_azure_ai_ml_reads_them(hello: Path) -> None:
    python, reason = python_with_azure_ai_ml()
    if not python:
        if "CI" in os.environ:
            pytest.fail(reason)
        pytest.skip(reason)
    rng = random.Random(18)
    (hello / "code" / "more").mkdir(parents=True)
    (hello / "model").mkdir()
    paths = [write(hello, _random_deployment(rng), f"model-{k}.yml") for k in range(40)]
    (hello / "deployment.yml").rename(hello / "pipeline.yml")
    paths.append(hello / "pipeline.yml")
    done = subprocess.run(
        [python, "-c", READ_BY_AZURE], input=json.dumps([f"./{path.name}" for path in paths]),
        capture_output=True, text=True, timeout=200, cwd=hello,
        env={**os.environ, "PYTHONPATH": ""},
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    theirs = json.loads(done.stdout)
    assert len(theirs) == 41
    for path, expected in zip(paths, theirs, strict=True):
        assert _ours(path) == expected, path.read_text()
