"""Outputs of v2 steps in object stores: datastores, URLs, credentials, and the next step's input."""

from __future__ import annotations

import json
import time
from pathlib import Path
from typing import Any

import pytest
import yaml

from parallelrun_jupyter import Datastore, azureml_v2
from parallelrun_jupyter.azureml_v2.execution.job_run import JobRun
from parallelrun_jupyter.azureml_v2.model.problems import JobFileError
from parallelrun_jupyter.errors import RunFailedError
from tests.azurite_process import ACCOUNT, KEY, Azurite

pytestmark = pytest.mark.usefixtures("endpoint")

SCORE = """
import argparse, os
parser = argparse.ArgumentParser()
parser.add_argument("--models")
args, _ = parser.parse_known_args()
def run(mini_batch):
    seen = [name for name in os.environ if "ACCOUNT_KEY" in name]
    for path in mini_batch:
        with open(os.path.join(args.models, os.path.basename(path)), "w") as file:
            file.write(open(path).read() * 2)
    return ["%s %s" % (os.path.basename(path), seen) for path in mini_batch]
"""


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    (tmp_path / "code").mkdir()
    (tmp_path / "code" / "score.py").write_text(SCORE)
    (tmp_path / "texts").mkdir()
    for number in range(5):
        (tmp_path / "texts" / f"{number}.txt").write_text(str(number))
    monkeypatch.chdir(tmp_path)
    return tmp_path


def command(line: str, **fields: Any) -> dict[str, Any]:
    return {"type": "command", "command": line, "environment": "azureml:b:1", **fields}


def score(**outputs: Any) -> dict[str, Any]:
    return {
        "type": "parallel",
        "inputs": {"data": {"type": "uri_folder", "path": "./texts"}},
        "outputs": outputs,
        "input_data": "${{inputs.data}}",
        "mini_batch_size": "2",
        "max_concurrency_per_instance": 1,
        "task": {
            "type": "run_function", "code": "./code", "entry_script": "score.py",
            "environment": "azureml:b:1", "append_row_to": "${{outputs.rows}}",
            "program_arguments": "--models ${{outputs.models}}",
        },
    }  # fmt: skip


def run(folder: Path, jobs: dict[str, Any], **settings: Any) -> JobRun:
    path = folder / "pipeline.yml"
    path.write_text(
        yaml.safe_dump({"type": "pipeline", "settings": settings, "jobs": jobs}, sort_keys=False)
    )
    return azureml_v2.run(path)


def finished(job: JobRun) -> JobRun:
    job.wait_for_completion(show_output=False, timeout_s=120)
    return job


def blobs(container: Any) -> dict[str, str]:
    names = sorted(container.list_blob_names())
    return {name: container.download_blob(name).readall().decode() for name in names}


def test_outputs_go_to_datastores_and_urls_and_the_next_step_reads_them(
    folder: Path, azurite: Azurite
) -> None:
    container = azurite.make_container({})
    name = container.container_name
    Datastore.register_azure_blob_container("results", name, ACCOUNT, account_key=KEY)
    jobs = {
        "score": score(
            rows={"type": "uri_file", "path": "azureml://datastores/results/paths/out/rows.txt"},
            models={"type": "uri_folder", "path": f"abfss://{name}@{ACCOUNT}.dfs.core.windows.net/models"},
        ),
        "sum": command(
            "cat ${{inputs.rows}} > ${{outputs.total}}; cat ${{inputs.models}}/* >> ${{outputs.total}};"
            "env | grep -c ACCOUNT_KEY >> ${{outputs.total}}; mkdir ${{outputs.more}}/deep; "
            "echo x > ${{outputs.more}}/deep/x",
            inputs={
                "rows": {"type": "uri_file", "path": "${{parent.jobs.score.outputs.rows}}"},
                "models": {"type": "uri_folder", "path": "${{parent.jobs.score.outputs.models}}"},
            },
            outputs={
                "total": {"type": "uri_file", "path": f"az://{name}/sums/${{{{name}}}}.txt"},
                "more": {"type": "uri_folder", "path": f"az://{name}/more"},
            },
        ),
    }  # fmt: skip
    job = finished(run(folder, jobs))
    expected = {f"models/{n}.txt": str(n) * 2 for n in range(5)}
    rows = "".join(f"{n}.txt []\n" for n in range(5))
    total = rows + "".join(str(n) * 2 for n in range(5)) + "0\n"
    assert blobs(container) == {
        **expected, "out/rows.txt": rows, "more/deep/x": "x\n", f"sums/{job.run_id}.txt": total,
    }  # fmt: skip
    assert job.steps[0].outputs["rows"] == f"az://{name}/out/rows.txt"
    assert KEY not in job.folder.record.read_text()
    assert not list(job.folder.path.glob("steps/*/outputs/*"))  # the staged copies


def test_the_default_datastore_may_be_a_store(folder: Path, azurite: Azurite) -> None:
    container = azurite.make_container({})
    Datastore.register_azure_blob_container(
        "cloud", container.container_name, ACCOUNT, account_key=KEY
    )
    jobs = {"only": command("echo made > ${{outputs.made}}/a.txt", outputs={"made": {}})}
    job = finished(run(folder, jobs, default_datastore="azureml:cloud"))
    made = blobs(container)
    assert list(made.values()) == ["made\n"]
    [name] = made
    assert f"az://{container.container_name}/{name}" == f"{job.steps[0].outputs['made']}/a.txt"


def test_a_failed_step_puts_nothing_and_a_store_that_refuses_fails_the_step(
    folder: Path, azurite: Azurite
) -> None:
    container = azurite.make_container({})
    name = container.container_name
    Datastore.register_azure_blob_container("results", name, ACCOUNT, account_key=KEY)
    made = {"made": {"path": "azureml://datastores/results/paths/made"}}
    job = run(folder, {"bad": command("echo x > ${{outputs.made}}/x; exit 1", outputs=made)})
    with pytest.raises(RunFailedError, match="exit code 1"):
        finished(job)
    assert blobs(container) == {}
    Datastore.register_azure_blob_container("results", name, ACCOUNT, account_key="d3Jvbmc=")
    job = run(folder, {"good": command("echo x > ${{outputs.made}}/x", outputs=made)})
    with pytest.raises(RunFailedError, match="refused the credential"):
        finished(job)


@pytest.mark.parametrize(
    ("path", "message"),
    [
        ("azureml://datastores/resalts/paths/x", "there is no datastore 'resalts' in the workspace "
         "'local' of this machine. Did you mean 'results'? Give a local path, or register it: "
         "Datastore.register_azure_blob_container('resalts', "),
        ("az://nobody/x", "the output 'made'"),
        ("https://example.com/x", "a web server does not accept files"),
        ("azureml:thing:1", "which is no path; expected a local path, azureml://datastores/"),
        ("memory://x/y", "is in the memory of this process"),
    ],
)  # fmt: skip
def test_an_output_that_cannot_be_written_is_refused_before_the_start(
    folder: Path, home: Path, azurite: Azurite, path: str, message: str
) -> None:
    name = azurite.make_container({}).container_name
    Datastore.register_azure_blob_container("results", name, ACCOUNT, account_key=KEY)
    jobs = {"only": command("true", outputs={"made": {"path": path}})}
    with pytest.raises(JobFileError) as failure:
        run(folder, jobs)
    assert message in str(failure.value)
    line = (folder / "pipeline.yml").read_text().splitlines().index(f"        path: {path}") + 1
    assert f"pipeline.yml:{line}:" in str(failure.value)
    assert not (home / "pipelines").exists() or not list((home / "pipelines").iterdir())


def test_a_job_whose_driver_died_after_the_last_step_still_uploads(
    folder: Path, azurite: Azurite
) -> None:
    container = azurite.make_container({})
    Datastore.register_azure_blob_container(
        "results", container.container_name, ACCOUNT, account_key=KEY
    )
    outputs = {
        "rows": {"type": "uri_file", "path": "azureml://datastores/results/paths/rows.txt"},
        "models": {"path": "azureml://datastores/results/paths/models"},
    }
    job = finished(run(folder, {"score": score(**outputs)}))
    before = blobs(container)
    for name in before:
        container.delete_blob(name)
    lines = job.folder.journal.read_text().splitlines(keepends=True)
    kept = [x for x in lines if json.loads(x)["event"] not in {"StepFinished", "PipelineFinished"}]
    job.folder.journal.write_text("".join(kept))
    until = time.monotonic() + 30
    while job.status != "Interrupted":  # its driver is about to end
        assert time.monotonic() < until
        time.sleep(0.05)
    staged = job.folder.step("00-score") / "outputs"
    for name, text in before.items():  # as if it had been killed before the upload
        path = staged / ("models" if name.startswith("models/") else "rows") / Path(name).name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)
    job.resume()
    finished(job)
    assert blobs(container) == before
