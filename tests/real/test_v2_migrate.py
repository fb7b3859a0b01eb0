"""Runs and notebooks become v2 folders that azure-ai-ml loads, and that give the same bytes here."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path
from typing import Any

import nbformat
import pandas as pd
import pytest
import yaml

import parallelrun_jupyter as parallelrun
from parallelrun_jupyter import MemoryDataset, Run, TabularDataset, azureml_v2, submit
from parallelrun_jupyter.config.run_config import ParallelRunConfig
from parallelrun_jupyter.config.step import OutputFolder, ParallelRunStep
from parallelrun_jupyter.errors import ConfigError, RunNotFoundError
from parallelrun_jupyter.pipelines.folder import every_pipeline
from parallelrun_jupyter.runs.run_folder import list_runs
from tests.azure_ai_ml import AzureAiMl, python_with_azure_ai_ml
from tests.azureml_notebooks import FOLDER, read_notebook

SCORE = """
import argparse, json, os
import numpy as np
from letters import shout

def init():
    global args
    parser = argparse.ArgumentParser()
    parser.add_argument("--word", default="none")
    parser.add_argument("--model")
    args, _ = parser.parse_known_args()
    args.model = args.model and json.load(open(args.model))

def run(mini_batch):
    size = int(np.add(len(mini_batch), 0))
    return [
        "%s %s %s %s %d" % (os.path.basename(p), shout(open(p).read()), args.word, args.model, size)
        for p in mini_batch
    ]
"""

MEANS = """
def run(frame):
    keys = frame[["store"]].iloc[0].tolist()
    kinds = [str(kind) for kind in frame.dtypes]
    return ["%s %d %.3f %s" % (keys, len(frame), frame["price"].mean(), kinds)]
"""


@pytest.fixture(scope="module")
def azure() -> Iterator[AzureAiMl]:
    python, reason = python_with_azure_ai_ml()
    if not python:
        if "CI" in os.environ:
            pytest.fail(reason)
        pytest.skip(reason)
    with closing(AzureAiMl(python)) as process:
        yield process


@pytest.fixture
def work(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Return the current folder, with a script, a module of its own, and seven texts beside logs."""
    folder = tmp_path / "my work"
    (folder / "texts").mkdir(parents=True)
    (folder / "score.py").write_text(SCORE)
    (folder / "means.py").write_text(MEANS)
    (folder / "letters.py").write_text("def shout(text):\n    return text.upper()\n")
    (folder / "model.json").write_text('{"a": 1}')
    for number in range(7):
        (folder / "texts" / f"{number}.txt").write_text(f"text {number}")
        (folder / "texts" / f"{number}.log").write_text("not an input")
    monkeypatch.chdir(folder)
    return folder


def rows_of(migrated: azureml_v2.Migrated, azure: AzureAiMl, output: str = "rows") -> str:
    """Run a migrated job; return the path of an output. azure-ai-ml must load it."""
    reply = azure.read(migrated.job)
    assert "error" not in reply, reply
    job = azureml_v2.run(migrated.job)
    job.wait_for_completion(show_output=False, timeout_s=120)
    return job.outputs[output]


def ended(config: ParallelRunConfig | ParallelRunStep, **options: Any) -> Run:
    run: Run = submit(config, **options)
    run.wait_for_completion(show_output=False, timeout_s=120)
    return run


def test_a_run_over_a_glob_becomes_a_job(work: Path, azure: AzureAiMl) -> None:
    config = ParallelRunConfig(
        entry_script="score.py", mini_batch_size=3, error_threshold=2, run_max_try=2,
        run_invocation_timeout=33, process_count_per_node=1, environment_variables={"MODE": "a b"},
    )  # fmt: skip
    arguments = ["--word", "it's $HOME", "--model", "model.json"]
    run = ended(config, inputs="texts/*.txt", output="out", arguments=arguments)
    migrated = azureml_v2.migrate(run.run_id, "job")
    [note] = migrated.notes
    assert note.startswith("data/data/MLTable has files of this machine, such as ")
    assert migrated.job == work / "job" / "pipeline.yml"
    assert sorted(os.listdir(work / "job")) == ["code", "conda.yml", "data", "pipeline.yml"]
    assert sorted(os.listdir(work / "job" / "code")) == ["letters.py", "score.py"]
    step = yaml.safe_load(migrated.job.read_text())["jobs"]["score"]
    assert step["mini_batch_size"] == "3"
    assert (step["error_threshold"], step["max_concurrency_per_instance"]) == (2, 1)
    assert step["retry_settings"] == {"max_retries": 1, "timeout": 33}
    assert step["environment_variables"] == {"MODE": "a b"}
    model = {"type": "uri_file", "path": "../model.json", "mode": "ro_mount"}
    assert step["inputs"]["argument_0"] == model  # its path is one of this machine
    conda = yaml.safe_load((work / "job" / "conda.yml").read_text())
    packages = conda["dependencies"][-1]["pip"]
    assert [name.split("==")[0] for name in packages] == ["azureml-core", "numpy"]
    (work / "score.py").unlink()  # the job has its own copies
    (work / "letters.py").unlink()
    rows = Path(rows_of(migrated, azure)).read_bytes()
    assert rows == (work / "out" / "parallel_run_step.txt").read_bytes()
    assert rows.count(b"\n") == 7
    assert b"it's $HOME" in rows


def test_a_run_over_a_table_by_keys_becomes_a_job(work: Path, azure: AzureAiMl) -> None:
    for store in ("x", "y"):
        folder = work / "sales" / store
        folder.mkdir(parents=True)
        frame = pd.DataFrame(
            {"week": range(4), "price": [1, 2, 3, 5], "code": ["01", "02", "", "3"]}
        )
        frame.to_csv(folder / "rows.csv", index=False, sep=";")
    table = TabularDataset.from_delimited_files(
        "sales/*/*.csv", separator=";", column_types={"code": "str"},
        partition_format="/{store}/rows.csv",
    )  # fmt: skip
    config = ParallelRunConfig(
        entry_script="means.py", partition_keys=["store"], error_threshold=-1
    )
    run = ended(config, inputs=table, output="out")
    migrated = azureml_v2.migrate(run.run_id, "job")
    [note] = migrated.notes
    assert note.startswith("data/data/MLTable has files of this machine, such as ")
    rows = Path(rows_of(migrated, azure)).read_bytes()
    assert rows == (work / "out" / "parallel_run_step.txt").read_bytes()
    assert rows.count(b"\n") == 2


WRITER = """
import argparse, os
def init():
    global target
    parser = argparse.ArgumentParser()
    parser.add_argument("--target")
    target = parser.parse_known_args()[0].target
def run(mini_batch):
    for path in mini_batch:
        with open(os.path.join(target, os.path.basename(path) + ".copy"), "w") as file:
            file.write(open(path).read())
    return mini_batch
"""


def test_a_run_that_writes_its_own_files_becomes_a_job(work: Path, azure: AzureAiMl) -> None:
    (work / "code").mkdir()
    (work / "code" / "writer.py").write_text(WRITER)
    config = ParallelRunConfig(
        entry_script="writer.py", source_directory="code", output_action="summary_only",
        mini_batch_size=4, output_format="csv", allowed_failed_percent=50,
    )  # fmt: skip
    arguments = ["--target", OutputFolder()]
    step = ParallelRunStep("copy texts", config, ["texts"], "out", arguments=arguments)
    run = ended(step)
    migrated = azureml_v2.migrate(run.run_id, "job")
    assert list(migrated.notes) == [
        "output_format of step copy_texts is a setting of this project, without a field in v2"
    ]
    job = yaml.safe_load(migrated.job.read_text())["jobs"]["copy_texts"]
    expected = "--target ${{outputs.files}} --allowed_failed_percent 50"
    assert job["task"]["program_arguments"].startswith(expected)
    made = Path(rows_of(migrated, azure, "files"))
    copies = {path.name: path.read_text() for path in made.glob("*.copy")}
    assert copies == {path.name: path.read_text() for path in (work / "out").glob("*.copy")}
    assert len(copies) == 14


def write_notebook(path: Path, *cells: str) -> Path:
    notebook = nbformat.v4.new_notebook(cells=[nbformat.v4.new_code_cell(cell) for cell in cells])
    nbformat.write(notebook, path)
    return path


def test_a_cell_of_a_notebook_becomes_a_job(work: Path, azure: AzureAiMl) -> None:
    line = "%%parallelrun --input texts/*.txt --mini-batch-size 2 --output out -- --word hello"
    notebook = write_notebook(work / "a.ipynb", "files = 'texts'\n!ls", f"{line}\n{SCORE}", "1 / 0")
    migrated = azureml_v2.migrate("a.ipynb", "job")
    assert not list_runs()  # nothing was started, and nothing is left
    assert notebook.exists()
    assert not (work / "out" / "parallel_run_step.txt").exists()
    rows = Path(rows_of(migrated, azure)).read_bytes()
    config = ParallelRunConfig(entry_script="score.py", mini_batch_size=2)
    ended(config, inputs="texts/*.txt", output="by hand", arguments=["--word", "hello"])
    assert rows == (work / "by hand" / "parallel_run_step.txt").read_bytes()


def test_a_notebook_of_sdk_v1_becomes_a_job(tmp_path: Path, azure: AzureAiMl) -> None:
    config = {"subscription_id": "1", "resource_group": "group", "workspace_name": "wsname"}
    (tmp_path / "config.json").write_text(json.dumps(config))
    work = tmp_path / "work"
    work.mkdir()
    shutil.copytree(FOLDER / "scripts", work / "scripts")
    (work / "style.json").write_text('{"candy": 2, "mosaic": 100}')
    (work / "video.txt").write_text("".join(f"{n}\n" for n in range(7)))
    nbformat.write(read_notebook("three_steps"), work / "steps.ipynb")
    migrated = azureml_v2.migrate(work / "steps.ipynb", tmp_path / "job")
    assert not every_pipeline()
    jobs = yaml.safe_load(migrated.job.read_text())["jobs"]
    assert [job["type"] for job in jobs.values()] == ["command", "parallel", "command"]
    assert os.listdir(tmp_path / "job" / "code") == ["split_video"]  # equal scripts, once
    joined = Path(rows_of(migrated, azure, "joined")) / "joined.txt"
    # As the notebook's own run has it, and with another parameter.
    assert joined.read_text() == "0 2 4 6 8 10 12"
    job = azureml_v2.run(migrated.job, inputs={"style": "mosaic"})
    job.wait_for_completion(show_output=False, timeout_s=120)
    joined = Path(job.outputs["joined"]) / "joined.txt"
    assert joined.read_text() == "0 100 200 300 400 500 600"


def test_refusals_say_why_and_leave_nothing(work: Path) -> None:
    config = ParallelRunConfig(entry_script="score.py")
    run = ended(config, inputs=MemoryDataset(["texts/1.txt", "texts/2.txt"]))
    with pytest.raises(ConfigError, match=r"the input 'data' is a variable of the notebook"):
        azureml_v2.migrate(run.run_id, "job")
    assert not (work / "job").exists()
    run = ended(config, inputs=["texts/1.txt", "texts/2.txt"], use={"factor": 2})
    with pytest.raises(ConfigError, match=r"gets factor by value .* define it in the script, or"):
        azureml_v2.migrate(run.run_id, "job")
    called = parallelrun.map(len, ["a", "b"])
    called.wait_for_completion(show_output=False)
    with pytest.raises(ConfigError, match="^the run calls a function of a notebook, which"):
        azureml_v2.migrate(called.run_id, "job")
    run = ended(config, inputs=["texts/1.txt", "texts/2.txt"])
    with pytest.raises(ConfigError, match="has 2 inputs, but v2 divides one"):
        azureml_v2.migrate(run.run_id, "job")
    with pytest.raises(ConfigError, match="exists and is not empty; give a new folder"):
        azureml_v2.migrate(run.run_id, "texts")
    with pytest.raises(RunNotFoundError):
        azureml_v2.migrate("20200101-000000000-aaaa", "job")
    with pytest.raises(ConfigError, match=r"is not a notebook \(\.ipynb\)"):
        azureml_v2.migrate("score.py", "job")
    with pytest.raises(ConfigError, match="there is no notebook"):
        azureml_v2.migrate("no.ipynb", "job")
    write_notebook(work / "empty.ipynb", "x = 1")
    with pytest.raises(ConfigError, match=r"submits nothing; expected a %%parallelrun cell"):
        azureml_v2.migrate("empty.ipynb", "job")
    write_notebook(work / "broken.ipynb", "1 / 0")
    with pytest.raises(
        ConfigError, match=r"could not be read up to a submission: [\s\S]*ZeroDivision"
    ):
        azureml_v2.migrate("broken.ipynb", "job")
    write_notebook(work / "broken.ipynb", "%load_ext parallelrun_jupyter", "1 / 0")
    with pytest.raises(ConfigError) as error:
        azureml_v2.migrate("broken.ipynb", "job")
    assert "already loaded" not in str(error.value)
    assert not (work / "job").exists()


def test_the_terminal_migrates(work: Path) -> None:
    config = ParallelRunConfig(entry_script="score.py")
    run = ended(config, inputs="texts")
    words = [sys.executable, "-m", "parallelrun_jupyter", "migrate", run.run_id, "--to", "a job"]
    done = subprocess.run(words, capture_output=True, text=True, timeout=60)
    assert done.returncode == 0, done.stderr
    path = work / "a job" / "pipeline.yml"
    assert f"parallelrun azureml run '{path}'\n" in done.stdout
    job = yaml.safe_load(path.read_text())
    inputs = job["jobs"]["score"]["inputs"]
    assert inputs == {"data": {"type": "uri_folder", "path": "../texts", "mode": "ro_mount"}}
