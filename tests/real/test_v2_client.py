"""`LocalClient` runs notebooks and objects of azure-ai-ml, and jobs read without it."""

from __future__ import annotations

import csv
import json
import os
import random
import shutil
import subprocess
from collections import defaultdict
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import yaml

from parallelrun_jupyter import RunDetails, azureml_v2
from parallelrun_jupyter.azureml.core.workspace import Workspace
from parallelrun_jupyter.azureml.data.datasets import Dataset
from parallelrun_jupyter.azureml_v2 import JobFileError, LocalClient
from parallelrun_jupyter.azureml_v2.local_client.asset_base import Asset
from parallelrun_jupyter.azureml_v2.local_client.job_errors import JobException
from parallelrun_jupyter.azureml_v2.model.jobs import PipelineJob
from parallelrun_jupyter.errors import ConfigError, RunNotFoundError
from parallelrun_jupyter.formatting import parse_mini_batch_size
from tests import azureml_v2_notebooks
from tests.azure_ai_ml import python_with_azure_ai_ml
from tests.azureml_notebooks import text_of
from tests.pure import test_v2_compiler as compiler
from tests.pure import test_v2_reader as reader


@pytest.fixture(scope="session")
def python() -> str:
    """Return a python with azure-ai-ml and this package's dependencies."""
    python, reason = python_with_azure_ai_ml()
    if not python:
        if "CI" in os.environ:
            pytest.fail(reason)
        pytest.skip(reason)
    return python


@pytest.fixture
def work(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    folder = tmp_path / "work"
    folder.mkdir()
    monkeypatch.chdir(folder)
    return folder


@pytest.fixture
def kernel(python: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    azureml_v2_notebooks.install_kernel(python, tmp_path / "prefix")
    monkeypatch.setenv("JUPYTER_PATH", str(tmp_path / "prefix" / "share" / "jupyter"))


def write_prices(work: Path) -> list[dict[str, str]]:
    """Write two files of prices; return their rows."""
    rng = random.Random(5)
    (work / "prices").mkdir()
    rows = []
    for number in range(2):
        part = [
            {"store": rng.choice("12"), "brand": rng.choice("abc"), "week": str(week),
             "price": str(rng.randrange(100))}
            for week in range(40)
        ]  # fmt: skip
        with open(work / "prices" / f"{number}.csv", "w", newline="") as file:
            writer = csv.DictWriter(file, list(part[0]))
            writer.writeheader()
            writer.writerows(part)
        rows += part
    return rows


# Notebooks with one changed line


@pytest.mark.usefixtures("kernel")
def test_prices_by_store_and_brand(work: Path) -> None:
    groups: dict[tuple[str, str], list[int]] = defaultdict(list)
    for row in write_prices(work):
        groups[row["store"], row["brand"]].append(int(row["price"]))
    notebook = azureml_v2_notebooks.execute("prices", work)
    expected = [
        f"{store},{brand},{len(prices)},{2 * sum(prices) / len(prices):.3f},nothing"
        for (store, brand), prices in sorted(groups.items())
    ]
    downloaded = work / "results" / "named-outputs"
    assert sorted((downloaded / "rows" / "rows").read_text().splitlines()) == expected
    models = {path.name: json.loads(path.read_text()) for path in (downloaded / "models").iterdir()}
    assert models.keys() == {f"{store}-{brand}.json" for store, brand in groups}
    assert {model["mode"] for model in models.values()} == {"loud"}
    assert "prepared 80 rows" in (work / "results/artifacts/prepared/std_log.txt").read_text()
    text = text_of(notebook)
    assert text.count("nothing is sent to Azure") == 1
    assert "its folder is" in text
    html = next(
        output["data"]["text/html"] for cell in notebook.cells for output in cell.get("outputs", ())
        if "text/html" in output.get("data", {})
    )  # fmt: skip
    assert "train_models" in html


@pytest.mark.usefixtures("kernel")
def test_rows_of_a_table_with_registered_data_and_model(work: Path) -> None:
    (work / "iris").mkdir()
    (work / "model").mkdir()
    (work / "model" / "rule.json").write_text('{"limit": 5}')
    rows = [(number / 10, number) for number in range(150)]
    lines = [f"{petal},{width}" for petal, width in rows]
    (work / "iris" / "rows.csv").write_text("\n".join(["petal,width", *lines, ""]))
    (work / "iris" / "MLTable").write_text(
        "paths: [{file: ./rows.csv}]\n"
        "transformations: [{read_delimited: {delimiter: ',', header: all_files_same_headers}}]"
    )
    notebook = azureml_v2_notebooks.execute("iris", work)
    expected = [f"{petal} {width} {'small' if petal < 5 else 'large'}" for petal, width in rows]
    assert sorted((work / "out/iris.txt").read_text().splitlines()) == sorted(expected)
    text = text_of(notebook)
    assert "azureml:iris-rows:initial azureml:iris-rule:1" in text
    assert "2 of 2 mini-batches" in text  # 1 KB each


@pytest.mark.usefixtures("kernel")
def test_files_of_an_earlier_step(work: Path) -> None:
    last = (
        "found = job.jobs['identify_digits'].outputs['found'].path\n"
        "print(found.replace(job.name, 'NAME'), open(found).read(), open(job.outputs['total']).read())"
    )
    notebook = azureml_v2_notebooks.execute("digits", work, last)
    rows = [f"{number:03d}.pgm {number % 10 + 1}" for number in range(20)]
    path, *printed = notebook.cells[-1].outputs[0]["text"].strip().split(" ", 1)
    assert path.endswith("/datastores/workspaceblobstore/NAME/found.csv")
    *found, total = printed[0].split("\n")
    assert sorted(filter(None, found)) == rows
    assert total.strip() == "20"
    assert "('identify_digits', 'Completed')" in text_of(notebook)
    assert (work / "logs/artifacts/std_log.txt").read_text() == "hello\n"
    shown = notebook.cells[-4].outputs  # RunDetails(job).show()
    htmls = [output["data"].get("text/html", "") for output in shown]
    assert any("identify_digits" in html and "counted" in html for html in htmls)
    assert len(shown) == 2  # the pipeline, and its step over mini-batches


# Objects of azure-ai-ml


@pytest.fixture(scope="module")
def found(python: str, tmp_path_factory: pytest.TempPathFactory) -> dict[str, Any]:
    """Return what the script with checks found, with a home of its own."""
    work = tmp_path_factory.mktemp("checks")
    write_prices(work)
    shutil.copytree(azureml_v2_notebooks.FOLDER / "src", work / "src")
    (work / "files").mkdir()
    for name in ("code", "data", "texts", "sales"):
        (work / "files" / name).mkdir()
    (work / "files" / "code" / "score.py").write_text("def run(mini_batch): return mini_batch\n")
    (work / "files" / "conda.yml").write_text("dependencies: [python=3.10, {pip: [tqdm]}]")
    for number, job in enumerate((reader.JOB, compiler.JOB)):
        (work / "files" / f"job{number}.yml").write_text(job)
    environ = {
        **os.environ, "PYTHONPATH": str(azureml_v2_notebooks.REPOSITORY),
        "PARALLELRUN_HOME": str(tmp_path_factory.mktemp("home")),
    }  # fmt: skip
    done = subprocess.run(
        [python, azureml_v2_notebooks.FOLDER / "checks.py"], cwd=work, env=environ, text=True,
        capture_output=True, timeout=150,
    )  # fmt: skip
    assert done.returncode == 0, done.stdout[-2000:] + done.stderr[-3000:]
    result: dict[str, Any] = json.loads(done.stdout.splitlines()[-1])
    return result


def test_a_failed_job_raises_azures_exception_with_the_users_first(found: dict[str, Any]) -> None:
    first, second, *_ = found["failure"].splitlines()
    assert first.startswith("Traceback")
    assert second.endswith('/script/broken.py", line 4, in run')
    assert "ValueError: no digit in " in found["failure"]
    assert found["status"] == "Failed"


def test_mistakes_are_errors_with_words(found: dict[str, Any]) -> None:
    errors = found["errors"]
    assert errors["job"].startswith(
        "JobFileError: the job: the job is of type azure.ai.ml.entities"
    )
    assert "expected a pipeline: the result of a function with @dsl.pipeline" in errors["job"]
    assert "the input 'data' is " in errors["input"]
    assert "/no, which does not exist" in errors["input"]
    assert "entry_script is 'brokn.py', but there is no file" in errors["script"]
    assert "Did you mean 'broken.py'?" in errors["script"]
    assert "input_data is ${{inputs.dat}}" in errors["bound"]
    assert "Did you mean 'data'?" in errors["bound"]
    assert "error_threshold is -7" in errors["field"]
    assert "azure-ai-ml cannot convert 'listed': ValidationError: int() argument" in errors["azure"]
    assert errors["endpoints"].startswith(
        "AttributeError: LocalClient has no 'online_endpoints': it needs Azure's service."
    )


def test_registered_assets_are_objects_of_azure_ai_ml(found: dict[str, Any]) -> None:
    assert found["assets"] == [
        ["Data", "sales", "1", "azureml:sales:1"],
        ["Model", "rule", "first", "azureml:rule:first"],
        ["Environment", "pandas", "7", "azureml:pandas:7"],
    ]
    assert found["component"] == ["CommandComponent", "prepare_prices", "1"]
    assert found["conda"]["dependencies"] == ["pip", {"pip": ["pandas"]}]


def test_registered_components_run_without_their_source(found: dict[str, Any]) -> None:
    assert found["by name"] == {"table": ["1", "2", "MLTable"], "tags": {"a": "b"}}
    name, path, steps = found["nested"]
    assert (name, Path(path).name) == ("outer", "nested")
    assert steps == ["nested.cut"]


def test_one_command_is_a_job(found: dict[str, Any]) -> None:
    assert found["alone"] == "82"


def test_a_job_of_azure_ai_ml_is_compiled_as_its_file(found: dict[str, Any]) -> None:
    assert list(found["records"]) == ["files/job0.yml", "files/job1.yml"]
    for (theirs, ours), (their_sources, our_sources) in found["records"].values():
        for step in (*theirs, *ours):
            if size := step["settings"].get("mini_batch_size"):  # Azure's client sends bytes
                step["settings"]["mini_batch_size"] = parse_mini_batch_size(size).count
        assert theirs == ours
        assert their_sources == our_sources


# Without azure-ai-ml


def write_job(work: Path, **changes: Any) -> Path:
    (work / "texts").mkdir()
    for number in range(6):
        (work / "texts" / f"{number}.txt").write_text(f"text {number}")
    (work / "score.py").write_text(
        "import time\ndef run(mini_batch):\n    time.sleep(0.01)\n    return [open(p).read() for p in mini_batch]\n"
    )
    step = {
        "type": "parallel", "inputs": {"data": "${{parent.inputs.data}}"},
        "outputs": {"rows": "${{parent.outputs.rows}}"}, "input_data": "${{inputs.data}}",
        "mini_batch_size": "2", "max_concurrency_per_instance": 1,
        "task": {"type": "run_function", "code": ".", "entry_script": "score.py",
                 "environment": "azureml:base:1", "append_row_to": "${{outputs.rows}}"},
        **changes,
    }  # fmt: skip
    job = {
        "type": "pipeline", "display_name": "texts",
        "inputs": {"data": {"type": "uri_folder", "path": "./texts"}},
        "outputs": {"rows": {"type": "uri_file"}}, "jobs": {"score": step},
    }  # fmt: skip
    path = work / "pipeline.yml"
    path.write_text(yaml.safe_dump(job))
    return path


def test_a_file_is_run_by_our_own_reader(work: Path, capsys: pytest.CaptureFixture[str]) -> None:
    client = LocalClient("credential", "subscription", "group", "workspace")
    assert (client.subscription_id, client.workspace_name) == ("subscription", "workspace")
    model = azureml_v2.load_job(write_job(work), params_override=[{"display_name": "changed"}])
    job = client.jobs.create_or_update(model, experiment_name="tried", description="d")
    assert job.status in {"Preparing", "Running", "Completed"}
    client.jobs.stream(job.name)
    assert (job.status, job.display_name, job.experiment_name) == ("Completed", "changed", "tried")
    rows = Path(job.outputs["rows"]).read_text().splitlines()
    assert rows == [f"text {number}" for number in range(6)]
    printed = capsys.readouterr().out
    assert "6 of 6 items" in printed
    RunDetails(job).show()
    assert "✓ score: Completed" in capsys.readouterr().out
    assert "score" in RunDetails(job)._repr_mimebundle_()["text/html"]

    assert [each.name for each in client.jobs.list()] == [job.name]
    (step,) = client.jobs.list(parent_job_name=job.name)
    assert (step.name, step.status, step.type) == (f"{job.name}.score", "Completed", "parallel")
    client.jobs.download(step.name, download_path="got", all=True)
    (copied,) = (work / "got/named-outputs/rows").iterdir()
    assert copied.read_text().splitlines() == rows
    assert (work / "got/artifacts/user").is_dir()


def test_errors_of_jobs(work: Path) -> None:
    client = LocalClient()
    path = write_job(work, retry_settings={"max_retries": 0}, mini_batch_error_threshold=0)
    (work / "score.py").write_text("def run(mini_batch):\n    raise KeyError('lost')\n")
    job = client.jobs.create_or_update(azureml_v2.load_job(path))
    with pytest.raises(JobException, match=r"^Traceback.*\n.*score.py\", line 2, in run") as error:
        client.jobs.stream(job.name)
    assert str(error.value).endswith(f"step score of job {job.name} failed")
    with pytest.raises(RunNotFoundError, match=r"has no step 'scor'. Did you mean 'score'"):
        client.jobs.get(f"{job.name}.scor")
    with pytest.raises(ConfigError, match="has no output 'row'. Did you mean 'rows'"):
        client.jobs.download(job.name, output_name="row")
    with pytest.raises(JobFileError, match="the job is of type builtins.str; expected a pipeline"):
        client.jobs.create_or_update(str(path))


def test_a_job_is_canceled(work: Path) -> None:
    client = LocalClient()
    path = write_job(work)
    (work / "score.py").write_text("import time\ndef run(mini_batch):\n    time.sleep(60)\n")
    job = client.jobs.create_or_update(azureml_v2.load_job(path))
    with pytest.raises(
        JobException, match=f"job {job.name} is .*; it can be downloaded when it is"
    ):
        client.jobs.download(job.name)
    client.jobs.begin_cancel(job.name).result()
    client.jobs.stream(job.name)
    assert job.status == "Canceled"


def test_versions_are_shared_with_notebooks_of_v1(work: Path) -> None:
    write_prices(work)
    client = LocalClient()
    workspace = Workspace.from_config()
    Dataset.File.from_files(str(work / "prices")).register(workspace, "old")
    assert client.data.get("old").path == str(work / "prices")
    with pytest.raises(ConfigError, match=r"no data 'odl' is registered .* Did you mean 'old'"):
        client.data.get("odl")
    asset = Asset(name="sales", version="first", path="prices", type="uri_folder")
    assert client.data.create_or_update(asset).id == "azureml:sales:first"
    assert client.data.create_or_update(asset).version == "first"
    assert client.data.create_or_update(Asset(name="sales", path="prices/0.csv")).version == "2"
    assert [item.version for item in client.data.list("sales")] == ["2", "first"]
    with pytest.raises(
        ConfigError, match="'sales' has version 'first' already, of .*give another version"
    ):
        client.data.create_or_update(Asset(name="sales", version="first", path="prices/0.csv"))
    with pytest.raises(ConfigError, match="'sales' has no version '3' .* it has: first, 2"):
        client.data.get("sales", version="3")
    assert Dataset.get_by_name(workspace, "sales", version=1).to_path() == ["/0.csv", "/1.csv"]
    with pytest.raises(ConfigError, match="the model 'm' is .*/nowhere, which does not exist"):
        client.models.create_or_update(Asset(name="m", path="nowhere"))


def test_a_name_leads_to_its_version(work: Path) -> None:
    client = LocalClient()
    path = write_job(work)
    (work / "less").mkdir()
    (work / "less" / "a.txt").write_text("less")
    client.data.create_or_update(Asset(name="texts", version="small", path="less"))
    client.data.create_or_update(Asset(name="texts", version="all", path="texts"))
    for version, expected in (("small", 1), ("all", 6)):
        name = [{"inputs.data.path": f"azureml:texts:{version}"}]
        job = client.jobs.create_or_update(azureml_v2.load_job(path, params_override=name))
        client.jobs.stream(job.name)
        assert len(Path(job.outputs["rows"]).read_text().splitlines()) == expected
    name = [{"inputs.data.path": "azureml:texts:middle"}]
    with pytest.raises(JobFileError, match="'texts' has no version 'middle' .* it has: small, all"):
        client.jobs.create_or_update(azureml_v2.load_job(path, params_override=name))
    model = client.models.create_or_update(
        Asset(name="m", path=f"azureml://jobs/{job.name}/outputs/rows")
    )
    assert len(Path(model.path).read_text().splitlines()) == 6


def test_a_component_read_by_us_is_registered(work: Path) -> None:
    (work / "part").mkdir()
    (work / "part" / "say.sh").write_text("cat $1 > $2")
    (work / "part" / "part.yml").write_text(
        "{type: command, name: say, code: ., environment: 'azureml:base:1', "
        "inputs: {data: {type: uri_file}}, outputs: {out: {type: uri_file}}, "
        "command: 'bash say.sh ${{inputs.data}} ${{outputs.out}}'}"
    )
    client = LocalClient()
    component = azureml_v2.load_component(work / "part" / "part.yml")
    assert client.components.create_or_update(component).version == "1"
    (work / "a.txt").write_text("hello")
    job = {
        "type": "pipeline", "inputs": {"data": {"type": "uri_file", "path": "./a.txt"}},
        "outputs": {"out": {"type": "uri_file", "path": "./b.txt"}},
        "jobs": {"say": {"type": "command", "component": "azureml:say@latest",
                         "inputs": {"data": "${{parent.inputs.data}}"},
                         "outputs": {"out": "${{parent.outputs.out}}"}}},
    }  # fmt: skip
    (work / "p.yml").write_text(yaml.safe_dump(job))
    model = azureml_v2.load_job(work / "p.yml")
    assert isinstance(model, PipelineJob)
    client.jobs.stream(client.jobs.create_or_update(model).name)
    assert (work / "b.txt").read_text() == "hello"


def test_an_output_is_registered_under_its_version(work: Path) -> None:
    client = LocalClient()
    table = {"type": "mltable", "path": "./table", "name": "made", "version": "first"}
    job = {
        "type": "pipeline", "outputs": {"table": table},
        "jobs": {"make": {
            "type": "command", "environment": "azureml:base:1",
            "command": "echo 'paths: [{pattern: ./*.csv}]' > ${{outputs.table}}/MLTable",
            "outputs": {"table": "${{parent.outputs.table}}"},
        }},
    }  # fmt: skip
    (work / "p.yml").write_text(yaml.safe_dump(job))
    client.jobs.stream(client.jobs.create_or_update(azureml_v2.load_job(work / "p.yml")).name)
    made = client.data.get("made", label="latest")
    assert (made.version, made.type, made.path) == ("first", "mltable", str(work / "table"))
    with pytest.raises(JobFileError, match="there is no datastore 'none' in the workspace"):
        client.data.create_or_update(Asset(name="x", path="azureml://datastores/none/paths/a"))


def test_computes_are_shared_with_notebooks_of_v1(work: Path) -> None:
    client = LocalClient.from_config(path=work)
    assert client.compute.get("any").provisioning_state == "Succeeded"
    assert list(client.compute.list()) == []
    cluster = SimpleNamespace(name="cpu", size="D2", min_instances=1, max_instances=3)
    assert client.begin_create_or_update(cluster).result().max_instances == 3
    target = Workspace.from_config().compute_targets["cpu"]
    assert (target.vm_size, target.max_nodes) == ("D2", 3)
    client.compute.begin_delete("cpu").wait()
    assert "cpu" not in Workspace.from_config().compute_targets
    with pytest.raises(TypeError, match="SimpleNamespace cannot be created on this machine"):
        client.create_or_update(cluster)


def test_components_that_cannot_be_registered(work: Path) -> None:
    client = LocalClient()
    with pytest.raises(
        ConfigError, match=r"of type builtins.str; expected the result of load_component"
    ):
        client.components.create_or_update("part.yml")
    (work / "part.yml").write_text("{type: command, command: ls, environment: 'azureml:base:1'}")
    with pytest.raises(ConfigError, match="the component has no name; give its file a line 'name"):
        client.components.create_or_update(azureml_v2.load_component("part.yml"))
    with pytest.raises(
        ConfigError, match="no component 'prepare' is registered .* Registered: none"
    ):
        client.components.get("prepare")
