"""v2 pipeline jobs run end to end: rows equal a loop's, named outputs, failures, names, commands."""

from __future__ import annotations

import csv
import json
import os
import re
import signal
import subprocess
import sys
import time
import tracemalloc
from collections import defaultdict
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pandas as pd
import psutil
import pytest
import yaml

from parallelrun_jupyter import Run, azureml_v2
from parallelrun_jupyter.azureml_v2.execution.job_run import JobRun
from parallelrun_jupyter.commands.cli import main
from parallelrun_jupyter.errors import RunFailedError
from parallelrun_jupyter.pipelines.registered_datasets import add_dataset_version
from parallelrun_jupyter.pipelines.steps import ScriptStep
from parallelrun_jupyter.pipelines.workspaces import workspace_above
from parallelrun_jupyter.runs.snapshot.follower import Follower
from parallelrun_jupyter.worker.azureml.model_store import ModelStore

PREPARE = """
import argparse, csv, os
parser = argparse.ArgumentParser()
for name in ("--sales", "--stores", "--table", "--limit"):
    parser.add_argument(name)
args = parser.parse_args()
with open(args.sales) as file:
    rows = list(csv.DictReader(file))
for row in rows:
    if args.limit and int(row["price"]) > int(args.limit):
        continue
    path = os.path.join(args.table, row["store"], row["brand"] + ".csv")
    os.makedirs(os.path.dirname(path), exist_ok=True)
    is_new = not os.path.exists(path)
    with open(path, "a", newline="") as file:
        writer = csv.writer(file)
        if is_new:
            writer.writerow(["week", "price"])
        writer.writerow([row["week"], row["price"]])
with open(os.path.join(args.table, "MLTable"), "w") as file:
    file.write('''paths:
- pattern: ./*/*.csv
transformations:
- read_delimited: {delimiter: ',', header: all_files_same_headers}
- extract_columns_from_partition_format: /{store}/{brand}.csv
''')
print("prepared", len(rows), "rows in", os.environ["MODE"], "mode")
"""

TRAIN = """
import argparse, json, os
def init():
    global args
    parser = argparse.ArgumentParser()
    parser.add_argument("--models")
    parser.add_argument("--factor", type=float)
    args, _ = parser.parse_known_args()
def run(frame):
    store, brand = frame["store"].iloc[0], frame["brand"].iloc[0]
    assert frame["store"].nunique() == frame["brand"].nunique() == 1
    mean = float(frame["price"].mean()) * args.factor
    with open(os.path.join(args.models, "%s-%s.json" % (store, brand)), "w") as file:
        json.dump({"mean": mean}, file)
    return ["%s %s %d %.3f" % (store, brand, len(frame), mean)]
"""

REPORT = """
import json, os, sys
rows, models, report = sys.argv[1:]
lines = sorted(open(rows).read().splitlines())
names = sorted(os.listdir(models))
with open(report, "w") as file:
    json.dump({"rows": lines, "models": names}, file)
"""

PRICES = """
$schema: https://azuremlschemas.azureedge.net/latest/pipelineJob.schema.json
type: pipeline
display_name: prices by store and brand
settings: {default_compute: azureml:cpu-cluster}
inputs:
  sales: {type: uri_file, path: ./sales.csv, mode: ro_mount}
  factor: 2
outputs:
  report: {type: uri_file, path: ./out/report.json}
  models: {type: uri_folder}
jobs:
  prepare:
    type: command
    code: ./code
    command: >-
      python prepare.py
      --sales ${{inputs.sales}}
      --table ${{outputs.table}} $[[--limit ${{inputs.limit}}]]
    environment: azureml:base@latest
    environment_variables: {MODE: "fast"}
    inputs: {sales: "${{parent.inputs.sales}}"}
    outputs: {table: {type: mltable}}
  train:
    type: parallel
    inputs:
      table: {type: mltable, path: "${{parent.jobs.prepare.outputs.table}}", mode: direct}
      factor: ${{parent.inputs.factor}}
    outputs:
      models: ${{parent.outputs.models}}
      rows: {type: uri_file, mode: rw_mount}
    input_data: ${{inputs.table}}
    partition_keys: [store, brand]
    mini_batch_size: "10kb"
    resources: {instance_count: 1}
    max_concurrency_per_instance: 2
    retry_settings: {max_retries: 1, timeout: 60}
    task:
      type: run_function
      code: ./code
      entry_script: train.py
      environment: {image: python, conda_file: {dependencies: [python]}}
      program_arguments: --models ${{outputs.models}} --factor ${{inputs.factor}}
      append_row_to: ${{outputs.rows}}
  report:
    type: command
    code: ./code
    command: python report.py ${{inputs.rows}} ${{inputs.models}} ${{outputs.report}}
    environment: azureml:base@latest
    inputs:
      rows: ${{parent.jobs.train.outputs.rows}}
      models: ${{parent.jobs.train.outputs.models}}
    outputs: {report: "${{parent.outputs.report}}"}
"""

SCORE = """
import argparse, os
def init():
    global args
    parser = argparse.ArgumentParser()
    parser.add_argument("--word", default="none")
    args, _ = parser.parse_known_args()
def run(mini_batch):
    return ["%s %s %s" % (os.path.basename(path), open(path).read(), args.word) for path in mini_batch]
"""


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Return the folder of a job, with a space in its name; it is the current folder."""
    folder = tmp_path / "my job"
    (folder / "code").mkdir(parents=True)
    for name, text in {
        "prepare": PREPARE,
        "train": TRAIN,
        "report": REPORT,
        "score": SCORE,
    }.items():
        (folder / "code" / f"{name}.py").write_text(text)
    monkeypatch.chdir(folder)
    return folder


@pytest.fixture
def sales(folder: Path) -> Any:
    """Return rows of prices, which are also in the folder's ``sales.csv``."""
    rows = [(f"s{i % 3}", "ab"[i % 2], i, (i * 37) % 101) for i in range(60)]
    frame = pd.DataFrame(rows, columns=["store", "brand", "week", "price"])
    frame.to_csv(folder / "sales.csv", index=False)
    return frame


def texts(folder: Path, count: int = 6) -> Path:
    """Create a folder of text files."""
    data = folder / "texts"
    data.mkdir()
    for number in range(count):
        (data / f"{number}.txt").write_text(f"text {number}")
    return data


def write(folder: Path, job: dict[str, Any] | str, name: str = "pipeline.yml") -> Path:
    path = folder / name
    path.write_text(job if isinstance(job, str) else yaml.safe_dump(job, sort_keys=False))
    return path


def score_job(**changes: Any) -> dict[str, Any]:
    """Return a job of one parallel step over ``texts``, with other values of the step's fields."""
    step = {
        "type": "parallel",
        "inputs": {"data": {"type": "uri_folder", "path": "./texts"}},
        "outputs": {"rows": "${{parent.outputs.rows}}"},
        "input_data": "${{inputs.data}}",
        "mini_batch_size": "2",
        "max_concurrency_per_instance": 1,
        "task": {
            "type": "run_function", "code": "./code", "entry_script": "score.py",
            "environment": "azureml:base@latest", "append_row_to": "${{outputs.rows}}",
        },
    }  # fmt: skip
    task = {**step["task"], **changes.pop("task", {})}  # type: ignore[dict-item] # a mapping
    outputs = {"rows": {"type": "uri_file", "path": "./rows.txt"}}
    return {
        "type": "pipeline",
        "outputs": outputs,
        "jobs": {"score": {**step, **changes, "task": task}},
    }


def finished(path: Path, **options: Any) -> JobRun:
    job = azureml_v2.run(path, **options)
    job.wait_for_completion(show_output=False, timeout_s=120)
    return job


def loop(frame: Any, factor: float) -> list[str]:
    """Return the rows of the training script, by a loop over the groups of the whole table."""
    prices = defaultdict(list)
    for row in frame.to_dict("records"):
        prices[row["store"], row["brand"]].append(row["price"])
    return sorted(
        f"{store} {brand} {len(values)} {sum(values) / len(values) * factor:.3f}"
        for (store, brand), values in prices.items()
    )


# Whole pipelines


def test_a_table_is_prepared_trained_on_by_keys_and_reported(folder: Path, sales: Any) -> None:
    job = finished(write(folder, PRICES))
    report = json.loads((folder / "out" / "report.json").read_text())
    assert report["rows"] == loop(sales, 2)
    assert report["models"] == sorted(f"s{s}-{b}.json" for s in range(3) for b in "ab")
    assert job.outputs["report"] == str(folder / "out" / "report.json")
    assert len(os.listdir(job.outputs["models"])) == 6
    assert [(step.name, step.type, step.status) for step in job.steps] == [
        ("prepare", "command", "Completed"), ("train", "parallel", "Completed"),
        ("report", "command", "Completed"),
    ]  # fmt: skip
    assert "prepared 60 rows in fast mode" in job.steps[0].log.read_text()
    assert Run.attach(job.steps[1].run_id).status == "Completed"
    assert any("compute cpu-cluster is a compute of Azure" in note for note in job.notes)


def test_inputs_and_values_are_set_from_outside(folder: Path, sales: Any) -> None:
    other = folder / "other.csv"
    sales[sales["store"] != "s1"].to_csv(other, index=False)
    changes = {"jobs.prepare.inputs.limit": 50, "outputs.report.path": str(folder / "second.json")}
    finished(write(folder, PRICES), inputs={"sales": "other.csv", "factor": 3}, set=changes)
    kept = sales[(sales["store"] != "s1") & (sales["price"] <= 50)]
    assert json.loads((folder / "second.json").read_text())["rows"] == loop(kept, 3)


def test_an_unchanged_step_is_reused_unless_the_job_forces_a_rerun(
    folder: Path, sales: Any
) -> None:
    path = write(folder, PRICES)
    finished(path)
    second = finished(path, inputs={"factor": 5})
    assert [step.is_reused for step in second.state().steps.values()] == [True, False, False]
    assert json.loads((folder / "out" / "report.json").read_text())["rows"] == loop(sales, 5)
    third = finished(path, set={"settings.force_rerun": True})
    assert not any(step.is_reused for step in third.state().steps.values())


def test_a_step_with_another_place_for_its_output_is_not_reused(folder: Path) -> None:
    fields = {"outputs": {"made": {"type": "uri_file"}}}
    job = write(folder, command("echo a > ${{outputs.made}}", **fields))
    for place in ("first", "second"):
        finished(job, set={"jobs.only.outputs.made.path": f"{folder}/{place}/made.txt"})
        assert (folder / place / "made.txt").read_text() == "a\n"


def test_a_folder_of_files_is_scored_as_a_loop_does(folder: Path) -> None:
    data = texts(folder)
    task = {"program_arguments": "--word 'two words'"}
    job = finished(write(folder, score_job(task=task)))
    expected = [
        f"{name} {(data / name).read_text()} two words" for name in sorted(os.listdir(data))
    ]
    assert (folder / "rows.txt").read_text().splitlines() == expected
    limits = Run.attach(job.steps[0].run_id).folder.read_record().limits
    assert (limits.error_threshold, limits.run_max_try, limits.isolate_failures) == (-1, 3, False)


def test_rows_of_an_mltable_are_pandas_rows(folder: Path) -> None:
    frame = pd.DataFrame({"a": range(500), "b": [f"text, {i}" for i in range(500)]})
    (folder / "table").mkdir()
    for number in range(2):
        part = frame.iloc[number * 250 : (number + 1) * 250]
        part.to_csv(folder / "table" / f"{number}.csv", index=False, quoting=csv.QUOTE_ALL)
    (folder / "table" / "MLTable").write_text(
        "paths: [{pattern: ./*.csv}]\ntransformations:\n- read_delimited: {delimiter: ','}\n"
    )
    (folder / "code" / "score.py").write_text(
        "def run(frame):\n    return ['%d|%s' % pair for pair in zip(frame['a'], frame['b'])]\n"
    )
    data = {"type": "mltable", "path": "./table", "mode": "direct"}
    job = finished(write(folder, score_job(inputs={"data": data}, mini_batch_size="1kb")))
    assert (folder / "rows.txt").read_text().splitlines() == [
        f"{a}|{b}" for a, b in zip(frame["a"], frame["b"], strict=True)
    ]
    snapshot = Run.attach(job.steps[0].run_id).snapshot()
    assert snapshot["mini_batches"] > 5


def test_a_command_gets_the_files_of_an_mltable_where_azure_evaluates_it(folder: Path) -> None:
    table = folder / "listed"
    table.mkdir()
    texts(folder)
    lines = "paths:\n- pattern: ../texts/[01]*.txt\n- file: ../texts/3.txt\n"
    (table / "MLTable").write_text(lines)
    write_table = (
        "cp -r ${{inputs.table}}/MLTable ${{outputs.made}} && mkdir ${{outputs.made}}/../texts && "
        "cp ${{inputs.texts}}/* ${{outputs.made}}/../texts"
    )
    data = {"type": "mltable", "path": "./listed"}
    job = command(
        write_table,
        inputs={"table": {**data, "mode": "ro_mount"}, "texts": {"type": "uri_folder", "path": "./texts"}},
        outputs={"made": {"type": "mltable", "path": "./made/listed"}},
    )  # fmt: skip
    listing = "cat $(find -L ${{inputs.table}} -name '*.txt' | sort) > ${{outputs.all}}"
    for name, value in (
        ("evaluated", {**data, "mode": "eval_mount"}),
        ("produced", {"path": "${{parent.jobs.only.outputs.made}}", "type": "mltable", "mode": "eval_download"}),
    ):  # fmt: skip
        step = command(listing, inputs={"table": value}, outputs={"all": {"type": "uri_file", "path": f"./{name}.txt"}})  # fmt: skip
        job["jobs"][name] = step["jobs"]["only"]
    finished(write(folder, job))
    expected = "".join((folder / "texts" / f"{n}.txt").read_text() for n in (0, 1, 3))
    assert (folder / "evaluated.txt").read_text() == expected
    assert (folder / "produced.txt").read_text() == expected


def test_components_and_pipeline_components_run(folder: Path) -> None:
    data = texts(folder)
    (folder / "parts").mkdir()
    score = {
        "name": "score", "type": "parallel",
        "inputs": {"data": {"type": "uri_folder"}, "word": {"type": "string", "default": "usual"},
                   "extra": {"type": "string", "optional": True}},
        "outputs": {"rows": {"type": "uri_file"}},
        "input_data": "${{inputs.data}}", "mini_batch_size": "3",
        "task": {"type": "function", "code": "../code", "entry_script": "score.py",
                 "environment": "azureml:base:1", "append_row_to": "${{outputs.rows}}",
                 "program_arguments": "--word ${{inputs.word}} $[[--extra ${{inputs.extra}}]]"},
    }  # fmt: skip
    write(folder / "parts", score, "score.yml")
    count = {
        "name": "count", "type": "command", "inputs": {"rows": {"type": "uri_file"}},
        "outputs": {"count": {"type": "uri_file"}}, "environment": "azureml:base:1",
        "command": "wc -l < ${{inputs.rows}} > ${{outputs.count}}",
    }  # fmt: skip
    write(folder / "parts", count, "count.yml")
    inner = {
        "name": "inner", "type": "pipeline", "inputs": {"data": {"type": "uri_folder"}},
        "outputs": {"rows": {"type": "uri_file"}, "count": {"type": "uri_file"}},
        "jobs": {
            "count": {"type": "command", "component": "file:./count.yml",
                      "inputs": {"rows": "${{parent.jobs.score.outputs.rows}}"},
                      "outputs": {"count": "${{parent.outputs.count}}"}},
            "score": {"type": "parallel", "component": "./score.yml",
                      "inputs": {"data": "${{parent.inputs.data}}"},
                      "outputs": {"rows": "${{parent.outputs.rows}}"}},
        },
    }  # fmt: skip
    write(folder / "parts", inner, "inner.yml")
    job = {
        "type": "pipeline",
        "inputs": {"data": {"type": "uri_folder", "path": "./texts"}},
        "outputs": {"count": {"path": "./count.txt"}, "rows": {"path": "./rows.txt"}},
        "jobs": {"all": {"type": "pipeline", "component": "parts/inner.yml",
                         "inputs": {"data": "${{parent.inputs.data}}"},
                         "outputs": {"count": "${{parent.outputs.count}}", "rows": "${{parent.outputs.rows}}"}}},
    }  # fmt: skip
    run = finished(write(folder, job))
    assert [step.name for step in run.steps] == ["all.score", "all.count"]
    rows = [f"{name} {(data / name).read_text()} usual" for name in sorted(os.listdir(data))]
    assert (folder / "rows.txt").read_text().splitlines() == rows
    assert (folder / "count.txt").read_text().split() == [str(len(rows))]
    assert run.outputs == {"rows": str(folder / "rows.txt"), "count": str(folder / "count.txt")}


def test_a_pipeline_component_is_a_job_with_other_inputs(folder: Path) -> None:
    texts(folder)
    (folder / "more").mkdir()
    (folder / "more" / "shout.sh").write_text("tr a-z A-Z")
    component = {
        "name": "shout", "type": "pipeline", "inputs": {"data": {"type": "uri_folder"}},
        "outputs": {"all": {"type": "uri_file"}},
        "jobs": {
            "first": {
                "type": "command", "environment": "azureml:base:1",
                "command": "cat ${{inputs.data}}/* | bash more/shout.sh > ${{outputs.all}}",
                "additional_includes": ["../more"],
                "inputs": {"data": "${{parent.inputs.data}}"},
                "outputs": {"all": "${{parent.outputs.all}}"},
            }
        },
    }  # fmt: skip
    (folder / "parts").mkdir()
    write(folder / "parts", component, "shout.yml")
    job = {
        "type": "pipeline", "component": "./parts/shout.yml",
        "inputs": {"data": {"type": "uri_folder", "path": "./texts"}},
        "outputs": {"all": {"path": "./all.txt"}},
    }  # fmt: skip
    run = finished(write(folder, job))
    assert (folder / "all.txt").read_text() == "".join(f"TEXT {number}" for number in range(6))
    assert run.outputs == {"all": str(folder / "all.txt")}


def test_a_table_that_is_none_is_named(folder: Path) -> None:
    job = score_job(inputs={"data": "${{parent.jobs.first.outputs.table}}"})
    first = command("echo 1 > ${{outputs.table}}/1.csv", outputs={"table": {"type": "mltable"}})
    job["jobs"]["first"] = first["jobs"]["only"]
    run = azureml_v2.run(write(folder, job))
    with pytest.raises(RunFailedError, match="the step that writes it left no file MLTable in"):
        run.wait_for_completion(show_output=False, timeout_s=60)


# Failures

BROKEN = SCORE.replace("    return [", "    for path in mini_batch:\n        if path.endswith('3.txt'):\n"
                       "            raise ValueError('bad text')\n    return [")  # fmt: skip


def test_ignored_failures_are_named_at_the_end(
    folder: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    texts(folder)
    (folder / "code" / "score.py").write_text(BROKEN)
    job = azureml_v2.run(write(folder, score_job(retry_settings={"max_retries": 1, "timeout": 60})))
    assert job.wait_for_completion() == "Completed"
    [warning] = job.warnings()
    run_id = job.steps[0].run_id
    assert warning == (
        "step score: 2 items failed, without rows in the output: 2.txt, 3.txt. "
        f"'parallelrun failures {run_id} --items' lists them."
    )
    printed = capsys.readouterr().out
    assert f"warning: {warning}" in printed
    assert printed.count("Completed, 2 items failed: ") == 1
    assert len((folder / "rows.txt").read_text().splitlines()) == 4
    assert len(Run.attach(run_id).failures()) == 2  # max_retries 1: two attempts


@pytest.mark.parametrize(
    "changes",
    [
        {"error_threshold": 1},
        {"mini_batch_error_threshold": 0},
        {"task": {"program_arguments": "--error_threshold 0"}},
    ],
)
def test_a_threshold_ends_the_job_with_the_scripts_own_error(
    folder: Path, changes: dict[str, Any]
) -> None:
    texts(folder)
    (folder / "code" / "score.py").write_text(BROKEN)
    job = azureml_v2.run(write(folder, score_job(**changes)))
    with pytest.raises(RunFailedError, match=r"(?s)step score failed: .*ValueError: bad text"):
        job.wait_for_completion(show_output=False, timeout_s=120)
    assert job.status == "Failed"


def test_messages_name_the_settings_as_the_file_does(folder: Path) -> None:
    texts(folder)
    (folder / "code" / "score.py").write_text(
        "import time\ndef run(mini_batch):\n    time.sleep(60)\n"
    )
    limits = {"mini_batch_error_threshold": 0, "retry_settings": {"max_retries": 0, "timeout": 1}}
    job = azureml_v2.run(write(folder, score_job(**limits)))
    with pytest.raises(RunFailedError) as failed:
        job.wait_for_completion(show_output=False, timeout_s=120)
    run = Run.attach(job.steps[0].run_id)
    [message] = set(run.failures()["message"])
    assert message == "run() took longer than retry_settings.timeout = 1 s"
    assert message in str(failed.value)
    assert "mini-batch failed; mini_batch_error_threshold allows 0" in str(failed.value)
    limit_names = [budget["limit"] for budget in Follower(run.folder).refresh()["budgets"]]
    assert limit_names == ["mini_batch_error_threshold"]


def test_thresholds_count_as_azure_counts(folder: Path) -> None:
    texts(folder)
    (folder / "code" / "score.py").write_text(BROKEN)
    finished(write(folder, score_job(error_threshold=2, mini_batch_error_threshold=1)))


def test_a_failed_command_ends_with_its_last_lines(folder: Path) -> None:
    job = azureml_v2.run(write(folder, command("echo before; ls /no/such; exit 7")))
    with pytest.raises(RunFailedError, match=r"(?s)step only failed: before.*No such.*exit code 7"):
        job.wait_for_completion(show_output=False, timeout_s=60)


def test_independent_steps_continue_after_a_failure_unless_the_settings_say_otherwise(
    folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("PARALLELRUN_STEPS", "1")  # the second would start beside the first
    job = command("exit 1")
    job["jobs"]["other"] = {**job["jobs"]["only"], "command": "echo done"}
    path = write(folder, job)
    states = []
    for value in (True, False):
        run = azureml_v2.run(path, set={"settings.continue_on_step_failure": value})
        with pytest.raises(RunFailedError):
            run.wait_for_completion(show_output=False, timeout_s=60)
        states.append([step.status for step in run.steps])
    assert states == [["Failed", "Completed"], ["Failed", "Skipped"]]


# Commands


def command(line: str, **fields: Any) -> dict[str, Any]:
    """Return a job of one command."""
    step = {"type": "command", "command": line, "environment": "azureml:base:1", **fields}
    return {"type": "pipeline", "jobs": {"only": step}}


def test_a_command_is_run_by_bash_with_the_environments_python(folder: Path) -> None:
    line = (
        "set -o pipefail; [[ -e score.py ]] && python -c 'import sys; print(sys.executable)' > "
        '${{outputs.made}}/python && echo "${{inputs.text}}|$TOKEN_KEY|$DATA" > ${{outputs.made}}/text'
    )
    (folder / "code" / ".amlignore").write_text("train.py\n")
    fields = {
        "code": "./code",
        "inputs": {"text": "a 'b' c", "data": {"type": "uri_file", "path": "./code/score.py"}},
        "outputs": {"made": {"path": "./made here"}},
        "environment_variables": {"TOKEN_KEY": "s3cret", "DATA": "${{inputs.data}}"},
    }
    job = finished(write(folder, command(line, **fields)))
    made = folder / "made here"
    assert Path((made / "python").read_text().strip()) == Path(sys.executable)
    assert (made / "text").read_text().strip() == f"a 'b' c|s3cret|{folder / 'code' / 'score.py'}"
    assert "s3cret" not in job.folder.record.read_text()  # a name that looks secret
    script = job.folder.step("00-only") / "script"
    assert sorted(os.listdir(script)) == [".amlignore", "prepare.py", "report.py", "score.py"]


def test_a_command_ends_at_its_limit(folder: Path) -> None:
    job = azureml_v2.run(write(folder, command("sleep 60", limits={"timeout": 1})))
    with pytest.raises(RunFailedError, match="it had not ended after 1 s"):
        job.wait_for_completion(show_output=False, timeout_s=30)


def wait_for(condition: Callable[[], Any], limit_s: float = 30) -> Any:
    deadline = time.monotonic() + limit_s
    while not (value := condition()):
        assert time.monotonic() < deadline
        time.sleep(0.05)
    return value


def processes_with(text: str) -> list[psutil.Process]:
    processes = psutil.process_iter(["cmdline"])
    return [p for p in processes if text in " ".join(p.info["cmdline"] or [])]


def test_a_cancel_and_a_killed_driver_end_a_command_and_its_processes(folder: Path) -> None:
    number = f"{time.time_ns() % 10**6 + 1000}.25"
    path = write(folder, command(f"sleep {number} & sleep {number}; echo late"))
    job = azureml_v2.run(path)
    wait_for(lambda: len(processes_with(f"sleep {number}")) >= 3)
    job.cancel()
    assert job.wait_for_completion(show_output=False, timeout_s=30) == "Canceled"
    wait_for(lambda: not processes_with(f"sleep {number}"))

    job = azureml_v2.run(path)
    wait_for(lambda: len(processes_with(f"sleep {number}")) >= 3)
    os.kill(json.loads((job.folder.path / "driver.json").read_text())["pid"], signal.SIGKILL)
    wait_for(lambda: not processes_with(f"sleep {number}"))
    assert wait_for(lambda: job.status) == "Interrupted"


def test_a_job_with_a_canceled_step_is_not_completed(folder: Path) -> None:
    texts(folder)
    (folder / "code" / "score.py").write_text("import time\ndef run(items):\n    time.sleep(60)\n")
    job = azureml_v2.run(write(folder, score_job()))
    Run.attach(wait_for(lambda: job.steps[0].run_id)).cancel()
    assert job.wait_for_completion(show_output=False, timeout_s=60) == "Canceled"
    assert job.state().reason == "step score was canceled"


def test_the_end_of_a_step_is_printed_once_and_after_its_log(
    folder: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    texts(folder)
    job_file = score_job()
    job_file["jobs"]["last"] = {
        "type": "command", "command": "echo early; sleep 1; echo late; cat ${{inputs.rows}}",
        "environment": "azureml:base:1",
        "inputs": {"rows": "${{parent.jobs.score.outputs.rows}}"},
    }  # fmt: skip
    azureml_v2.run(write(folder, job_file)).wait_for_completion(timeout_s=60)
    lines = capsys.readouterr().out.splitlines()
    assert len([line for line in lines if line.startswith("Completed: 100 %")]) == 1
    assert lines.index("late") < lines.index("StepRun( last ) Status: Completed")
    assert lines.index("early") > lines.index("StepRun( last ) Status: Running")


def test_the_whole_log_of_a_command_is_printed(
    folder: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    line = (
        r"printf 'not UTF-8: \377\376\n'; seq 100000 130000; head -c 200000 /dev/zero | tr '\0' x; "
        r"echo; printf 'no end of line'"
    )
    azureml_v2.run(write(folder, command(line))).wait_for_completion(timeout_s=60)
    printed = capsys.readouterr().out
    numbers = "".join(f"{number}\n" for number in range(100000, 130001))
    assert "not UTF-8: \ufffd\ufffd\n" + numbers in printed
    assert printed.count("x") >= 200_000
    end = printed.index("no end of line\n")
    assert printed.index("StepRun( only ) Status: Completed") > end


def test_a_skipped_step_is_printed_with_the_reason(
    folder: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    job_file = command("exit 3", outputs={"made": {}})
    job_file["jobs"]["last"] = {
        "type": "command", "command": "ls ${{inputs.made}}", "environment": "azureml:base:1",
        "inputs": {"made": "${{parent.jobs.only.outputs.made}}"},
    }  # fmt: skip
    job = azureml_v2.run(write(folder, job_file))
    job.wait_for_completion(timeout_s=60, raise_on_error=False)
    printed = capsys.readouterr().out
    assert "StepRun( last ) Status: Skipped: step only did not complete\n" in printed


def test_a_file_is_run_from_a_folder_below_it(
    folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    write(folder, command("true"))
    (folder / "below").mkdir()
    monkeypatch.chdir(folder / "below")
    assert azureml_v2.run("../pipeline.yml").record.experiment == folder.name


def test_the_view_has_the_title_and_the_last_lines_of_a_command(folder: Path) -> None:
    line = r"printf 'one\ntwo\n10 %%\r20 %%\r<30> %%\n'; while [ ! -e '${{inputs.flag}}' ]; do sleep 0.1; done"
    job_file = command(line, inputs={"flag": str(folder / "flag")})
    job_file["display_name"] = "three <lines>"
    job = azureml_v2.run(write(folder, job_file))
    wait_for(lambda: "two" in job._repr_mimebundle_()["text/html"])
    bundle = job._repr_mimebundle_()
    assert "<pre>one\ntwo\n&lt;30&gt; %</pre>" in bundle["text/html"]
    assert "<b>▶ three &lt;lines&gt;</b> Running" in bundle["text/html"]
    running = bundle["application/vnd.parallelrun.pipeline+json"]
    assert (running["pipeline_id"], running["has_ended"]) == (job.run_id, False)
    (folder / "flag").touch()
    job.wait_for_completion(show_output=False, timeout_s=60)
    bundle = job._repr_mimebundle_()
    assert "two" not in bundle["text/html"]
    ended = bundle["application/vnd.parallelrun.pipeline+json"]
    assert ended["has_ended"]
    assert ended["version"] != running["version"]


def test_a_job_whose_driver_died_is_resumed(folder: Path) -> None:
    texts(folder)
    job_file = score_job(inputs={"data": "${{parent.jobs.first.outputs.out}}"})
    line = "[ -e '${{inputs.flag}}' ] || sleep 60; cp ${{inputs.texts}}/*.txt ${{outputs.out}}"
    first = {
        "type": "command", "command": line, "environment": "azureml:base:1",
        "inputs": {"flag": str(folder / "flag"), "texts": {"type": "uri_folder", "path": "texts"}},
        "outputs": {"out": {}},
    }  # fmt: skip
    job_file["jobs"]["first"] = first
    job = azureml_v2.run(write(folder, job_file))
    wait_for(lambda: job.steps[0].status == "Running")
    os.kill(json.loads((job.folder.path / "driver.json").read_text())["pid"], signal.SIGKILL)
    wait_for(lambda: job.status == "Interrupted")
    (folder / "flag").touch()
    job.resume()
    assert job.wait_for_completion(show_output=False, timeout_s=60) == "Completed"
    assert len((folder / "rows.txt").read_text().splitlines()) == 6


def test_a_job_whose_driver_died_is_canceled_with_the_runs_of_its_steps(
    folder: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    texts(folder)
    (folder / "code" / "score.py").write_text("import time\ndef run(items):\n    time.sleep(60)\n")
    job = azureml_v2.run(write(folder, score_job()))
    run = Run.attach(wait_for(lambda: job.steps[0].run_id))
    wait_for(lambda: run.status == "Running")
    os.kill(json.loads((job.folder.path / "driver.json").read_text())["pid"], signal.SIGKILL)
    wait_for(lambda: job.status == "Interrupted")
    with pytest.raises(
        RunFailedError, match=f"'parallelrun azureml resume {job.run_id}' continues"
    ):
        job.wait_for_completion(show_output=False, timeout_s=30)
    assert run.status == "Running"
    capsys.readouterr()
    assert main(["azureml", "cancel", job.run_id]) == 0
    assert (job.status, job.steps[0].status) == ("Canceled", "Canceled")
    wait_for(lambda: run.status == "Canceled")
    assert capsys.readouterr().out == f"canceling job {job.run_id}\n"
    assert main(["azureml", "cancel", job.run_id]) == 0
    assert capsys.readouterr().out == f"job {job.run_id} has ended: Canceled\n"
    assert main(["azureml", "resume", job.run_id]) == 2
    assert "is Canceled; only one that lost its driver can be resumed" in capsys.readouterr().err


def test_a_job_is_resumed_in_the_terminal(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    line = f"[ -e '{folder / 'flag'}' ] || sleep 60; echo continued"
    job = azureml_v2.run(write(folder, command(line)))
    wait_for(lambda: job.steps[0].status == "Running")
    os.kill(json.loads((job.folder.path / "driver.json").read_text())["pid"], signal.SIGKILL)
    wait_for(lambda: job.status == "Interrupted")
    (folder / "flag").touch()
    assert main(["azureml", "resume", job.run_id]) == 0
    assert "continued" in capsys.readouterr().out
    assert job.status == "Completed"


def test_only_the_end_of_a_huge_log_is_read_for_the_reason(tmp_path: Path) -> None:
    log = tmp_path / "std_log.txt"
    with open(log, "wb") as file:
        file.truncate(200_000_000)
    words = ["bash", "-c", "printf '\\nthe reason\\n'; exit 3"]
    environ = dict(os.environ)
    step = ScriptStep(sys.executable, "command", words, cwd=tmp_path, log=log, environ=environ)
    tracemalloc.start()
    try:
        end = wait_for(step.poll)
        peak_bytes = tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()
    assert end[1].endswith("the reason\nthe command ended with exit code 3")
    assert peak_bytes < 20_000_000


# Names of a workspace


def test_registered_data_models_and_environments_are_found_by_name(folder: Path) -> None:
    data = texts(folder)
    workspace = workspace_above(folder)
    add_dataset_version(
        workspace, "notes", {"spec": {"kind": "files", "paths": [str(folder / "gone")]}}
    )
    add_dataset_version(workspace, "notes", {"spec": {"kind": "files", "paths": [str(data)]}})
    (folder / "model.txt").write_text("model")
    ModelStore(str(workspace)).register("digits", str(folder / "model.txt"), {})
    (workspace / "environments.json").write_text(
        json.dumps(
            {"base": [{"name": "base", "version": "4", "pip": ["no-such-package"], "conda": []}]}
        )
    )
    inputs = {
        "data": {"type": "uri_folder", "path": "azureml:notes@latest"},
        "model": {"type": "custom_model", "path": "azureml:digits:1"},
    }
    (folder / "code" / "score.py").write_text(
        SCORE.replace("args.word)", "open(args.word).read())")
    )
    task = {"program_arguments": "--word ${{inputs.model}}"}
    job = finished(write(folder, score_job(inputs=inputs, task=task)))
    assert (folder / "rows.txt").read_text().splitlines()[0] == "0.txt text 0 model"
    notes = "\n".join(job.notes)
    assert "azureml:notes@latest is version 2 of the data 'notes' registered here" in notes
    assert "azureml:digits:1 is the model 'digits' that is registered here" in notes
    assert "azureml:base@latest is version 4 of the environment 'base' registered here" in notes
    assert "no-such-package was asked for" in "\n".join(job.state().steps["00-score"].notes)


def test_an_output_is_registered_and_found_in_a_datastore(folder: Path) -> None:
    path = "azureml://datastores/workspaceblobstore/paths/made/${{name}}"
    made = {"type": "uri_folder", "path": path, "name": "made_texts", "version": "1"}
    job = finished(
        write(folder, command("echo hello > ${{outputs.made}}/a.txt", outputs={"made": made}))
    )
    store = workspace_above(folder) / "datastores" / "workspaceblobstore"
    assert (store / "made" / job.run_id / "a.txt").read_text() == "hello\n"
    (folder / "texts").mkdir()
    data = {"type": "uri_folder", "path": "azureml:made_texts@latest"}
    finished(write(folder, score_job(inputs={"data": data})))
    assert (folder / "rows.txt").read_text() == "a.txt hello\n none\n"
    where = {
        "type": "uri_folder",
        "path": f"azureml://datastores/workspaceblobstore/paths/made/{job.run_id}",
    }
    finished(write(folder, score_job(inputs={"data": where})))


# The terminal and the notebook


def test_the_terminal_runs_a_job(folder: Path) -> None:
    texts(folder)
    write(folder, score_job())
    program = [sys.executable, "-m", "parallelrun_jupyter", "azureml"]

    def call(*words: str) -> tuple[int, str, str]:
        done = subprocess.run([*program, *words], capture_output=True, text=True, timeout=120)
        return done.returncode, done.stdout, done.stderr

    status, out, _ = call("run", "pipeline.yml", "--set", "jobs.score.mini_batch_size=3")
    assert status == 0
    assert f"output rows: {folder / 'rows.txt'}" in out
    status, _, err = call("run", "pipeline.yml", "--input", "dta=x")
    assert status == 2
    assert "--input dta: the pipeline has no input 'dta'. Its inputs are: none." in err
    status, _, err = call("run", "pipeline.yml", "--set", "jobs.score.mini_batch_sise=3")
    assert status == 2
    assert "Did you mean 'mini_batch_size'?" in err
    status, _, err = call("run", "pipeline.yml", "--compute", "gpus")
    assert status == 2
    assert err.startswith("parallelrun: compute is 'gpus'; expected 'local' (this machine), ")
    (folder / "tab.yml").write_text("type: pipeline\njobs:\n\tscore: {}\n")
    status, _, err = call("run", "tab.yml")
    assert status == 2
    assert err == (
        "parallelrun: tab.yml:3:1: this is not YAML: found character '\\t' that cannot start any "
        "token. YAML has no tabs: indent by spaces.\n"
    )
    (folder / "rows.txt").unlink()
    (folder / "code" / "score.py").write_text("def run(mini_batch):\n    raise ValueError('no')\n")
    status, out, err = call("run", "pipeline.yml", "--set", "jobs.score.error_threshold=0")
    assert status == 1
    assert "ValueError: no" in err
    assert "output rows" not in out
    assert "run.failures()" not in out + err
    assert re.search(r"'parallelrun failures \S+' lists the failed attempts", err)
    (folder / "code" / "score.py").write_text(SCORE)
    status, out, _ = call("run", "pipeline.yml", "--detach")
    assert status == 0
    job = out.split()[-1]
    status, _, _ = call("watch", job)
    assert status == 0
    _, out, _ = call("list")
    heads, newest, failed, first = out.splitlines()
    assert heads.split() == ["JOB", "NAME", "STATE", "STARTED", "TOOK", "DONE"]
    assert newest.split()[:3] == [job, "pipeline", "Completed"]
    assert newest.endswith("1 of 1 step")
    assert failed.split()[2] == "Failed"
    assert first.split()[2] == "Completed"
    told = subprocess.run([*program[:-1], "watch", job], capture_output=True, text=True, timeout=60)
    assert told.returncode == 2
    assert f"{job} is a job with steps, not a run. 'parallelrun azureml watch {job}'" in told.stderr


def test_the_magic_binds_the_job(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    from IPython.core.interactiveshell import InteractiveShell

    texts(folder)
    write(folder, score_job())
    shell = InteractiveShell()
    shell.run_cell("%load_ext parallelrun_jupyter")
    result = shell.run_cell("%parallelrun azureml run pipeline.yml --as scored")
    assert result.success
    scored = shell.user_ns["scored"]
    assert scored.wait_for_completion(show_output=False, timeout_s=120) == "Completed"
    assert "score" in scored._repr_mimebundle_()["text/html"]

    def said(line: str) -> str:
        capsys.readouterr()
        shell.run_cell(line)
        return "".join(capsys.readouterr())

    assert scored.run_id in said("%parallelrun azureml list")
    assert f"Completed  [{scored.run_id}]" in said("%parallelrun azureml watch scored")
    ended = f"job {scored.run_id} has ended: Completed\n"
    assert said("%parallelrun azureml cancel scored") == ended
    assert said(f"%parallelrun azureml cancel {scored.run_id}") == ended
    refused = said("%parallelrun azureml resume scored")
    assert f"job {scored.run_id} is Completed; only one that lost its driver can be" in refused
    assert "Run its file again" in refused
    assert "pipeline run" not in refused
    assert "azureml watch | cancel | resume JOB" in said("%parallelrun azureml wach scored")
    assert said("%parallelrun check pipeline.yml") == "no mistakes found\n"
    (folder / "wrong.yml").write_text("type: pipelin\njobs: {}\n")
    assert '"severity": "error"' in said("%parallelrun check wrong.yml --json")
    InteractiveShell.clear_instance()
