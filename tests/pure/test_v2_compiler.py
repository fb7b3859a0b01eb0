"""Jobs become records of pipelines: settings, bindings, order; mistakes are named with their places."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

import pytest
import yaml

from parallelrun_jupyter.azureml_v2.execution.assets import Assets, conda_record
from parallelrun_jupyter.azureml_v2.execution.compiler import Compiled, compile_job
from parallelrun_jupyter.azureml_v2.execution.start import with_inputs
from parallelrun_jupyter.azureml_v2.model.places import NOWHERE
from parallelrun_jupyter.azureml_v2.model.problems import JobFileError, Problem
from parallelrun_jupyter.azureml_v2.reader.jobs import load_job
from parallelrun_jupyter.environment.packages import PackageSet
from parallelrun_jupyter.pipelines.folder import PipelineRecord
from parallelrun_jupyter.pipelines.workspaces import workspace_above

JOB = """\
type: pipeline
inputs:
  texts: {type: uri_folder, path: ./texts}
  tries: 4
outputs:
  rows: {type: uri_file, path: ./out/rows.txt}
jobs:
  score:
    type: parallel
    inputs: {data: "${{parent.jobs.clean.outputs.made}}", level: 3, model: {type: uri_folder, path: ./code}}
    outputs: {rows: "${{parent.outputs.rows}}", more: }
    input_data: ${{inputs.data}}
    mini_batch_size: "${{inputs.level}}"
    retry_settings: {max_retries: "${{parent.inputs.tries}}", timeout: 9}
    resources: {instance_count: "${{inputs.level}}"}
    environment_variables: {MODEL: "${{inputs.model}}", API_KEY: secret, LEVEL: "${{inputs.level}}"}
    task:
      type: run_function
      code: ./code
      entry_script: score.py
      environment: {conda_file: {dependencies: [python=3.11, numpy=1.26, {pip: ["tqdm"]}]}}
      program_arguments: --more=${{outputs.more}} --model ${{inputs.model}} --level ${{inputs.level}} 'a b'
        --task_overhead_timeout 77
      append_row_to: ${{outputs.rows}}
  clean:
    type: command
    command: cp ${{inputs.texts}}/* ${{outputs.made}}
    environment: azureml:base@latest
    limits: {timeout: 20}
    inputs: {texts: "${{parent.inputs.texts}}"}
    outputs: {made: {type: uri_folder}}
"""


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    for name in ("texts", "code"):
        (tmp_path / name).mkdir()
    (tmp_path / "code" / "score.py").write_text("def run(mini_batch): return mini_batch\n")
    return tmp_path


def compiled(folder: Path, text: str = JOB, compute: str = "", **inputs: Any) -> Compiled:
    path = folder / "pipeline.yml"
    path.write_text(text)
    job = with_inputs(load_job(path), inputs)
    return compile_job(job, Assets(workspace_above(folder)), "the-job", compute)


def test_steps_are_compiled_in_an_order_in_which_they_can_run(folder: Path) -> None:
    clean, score = compiled(folder).steps
    assert (clean.name, clean.kind, clean.time_limit_s) == ("clean", "command", 20)
    assert clean.arguments == ["cp ", {"input": "texts"}, "/* ", {"write": "made"}]
    assert (score.name, score.after) == ("score", [clean.key])
    assert score.inputs[0].value == {"output": [clean.key, "made"]}


def test_bindings_become_literals_or_bindings_of_the_record(folder: Path) -> None:
    result = compiled(folder)
    score = result.steps[1]
    settings = {name: score.settings[name] for name in (
        "mini_batch_size", "run_max_try", "run_invocation_timeout", "node_count", "error_threshold",
        "allowed_failed_count", "output_action", "task_overhead_timeout", "process_count_per_node",
    )}  # fmt: skip
    assert settings == {
        "mini_batch_size": "3", "run_max_try": 5, "run_invocation_timeout": 9, "node_count": 3,
        "error_threshold": -1, "allowed_failed_count": -1, "output_action": "append_row",
        "task_overhead_timeout": 77, "process_count_per_node": None,
    }  # fmt: skip
    assert score.arguments == [
        {"join": ["--more=", {"write": "more"}]}, "--model", {"input": "model"}, "--level", "3", "a b",
        "--task_overhead_timeout", "77",
    ]  # fmt: skip
    assert score.variables == {"MODEL": {"input": "model"}, "API_KEY": None, "LEVEL": "3"}
    assert result.secrets == {"API_KEY": "secret"}
    assert [side.name for side in score.side_inputs] == ["model"]
    assert PackageSet.of(score.environment).requirements() == ["numpy==1.26.*", "tqdm"]
    assert score.environment["python_version"] == "3.11"


def test_outputs_have_the_paths_of_the_file_or_of_the_default_datastore(folder: Path) -> None:
    result = compiled(folder)
    rows, more = result.steps[1].outputs
    assert (rows.root, rows.path, rows.is_file) == (str(folder / "out"), "rows.txt", True)
    assert (more.datastore, more.path, more.is_file) == (
        "workspaceblobstore", "azureml/{run-id}/more", False,
    )  # fmt: skip
    assert result.steps[1].rows_to == "rows"
    assert result.outputs == {"rows": [result.steps[1].key, "rows"]}


def test_keys_win_over_the_size_and_no_append_writes_no_rows(folder: Path) -> None:
    text = JOB.replace("      append_row_to: ${{outputs.rows}}\n", "")
    text = text.replace("    input_data:", "    partition_keys: [store]\n    input_data:")
    score = compiled(folder, text).steps[1]
    assert score.settings["mini_batch_size"] is None
    assert score.settings["partition_keys"] == ["store"]
    assert (score.settings["output_action"], score.rows_to) == ("summary_only", "")


def test_a_record_is_read_as_it_was_written(folder: Path) -> None:
    result = compiled(folder)
    record = PipelineRecord(
        run_id="a", name="n", experiment="e", workspace="w", created_at=1, version="1",
        driver_python="p", parameters={}, steps=result.steps, api="v2", outputs=result.outputs,
    )  # fmt: skip
    assert PipelineRecord.from_json(record.to_json(), "x") == record


def test_azures_computes_are_this_machine_unless_one_is_named(
    folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    text = JOB.replace("jobs:\n", "settings: {default_compute: azureml:cpu}\njobs:\n", 1)
    result = compiled(folder, text)
    assert {step.compute for step in result.steps} == {""}
    assert "compute cpu is a compute of Azure; its steps run on this machine" in result.notes
    assert {step.compute for step in compiled(folder, text, "tcp://here:1").steps} == {
        "tcp://here:1"
    }
    monkeypatch.setenv("PARALLELRUN_COMPUTE", "tcp://there:1")
    assert {step.compute for step in compiled(folder, text).steps} == {"tcp://there:1"}
    assert {step.compute for step in compiled(folder, text, "local").steps} == {""}


MISTAKES = {
    "input_data: ${{inputs.data}}": (
        "input_data: ${{inputs.dat}}",
        "12:17: input_data is ${{inputs.dat}}; expected ${{inputs.NAME}} with an input of the step. Did "
        "you mean 'data'? Its inputs are: data, level, model.",
    ),
    "append_row_to: ${{outputs.rows}}": (
        "append_row_to: ${{outputs.row}}",
        "24:22: append_row_to is ${{outputs.row}}; expected ${{outputs.NAME}} with an output of the step. "
        "Did you mean 'rows'?",
    ),
    "--model ${{inputs.model}}": (
        "--model ${{inputs.modell}}",
        "22:59: ${{inputs.modell}}: the step has no input of this name. Did you mean 'model'?",
    ),
    "--more=${{outputs.more}}": (
        "--more=${{outputs.mor}}",
        "22:33: ${{outputs.mor}}: the step has no output of this name. Did you mean 'more'?",
    ),
    "entry_script: score.py": (
        "entry_script: scor.py",
        "20:21: entry_script is 'scor.py', but there is no file ",
    ),
    "code: ./code": ("code: ./kode", "19:13: task.code is "),
    "{type: uri_folder, path: ./texts}": (
        "{type: uri_folder, path: ./text}",
        "3:35: the input 'texts' is ",
    ),
    "${{parent.inputs.texts}}": (
        "${{parent.inputs.text}}",
        "30:22: ${{parent.inputs.text}}: there is no input of the pipeline of this name. Did you mean "
        "'texts'? The names are: texts, tries.",
    ),
    "${{parent.jobs.clean.outputs.made}}": (
        "${{parent.jobs.clena.outputs.made}}",
        "10:21: ${{parent.jobs.clena.outputs.made}}: there is no step 'clena'. Did you mean 'clean'?",
    ),
    "jobs.clean.outputs.made}}": (
        "jobs.clean.outputs.mad}}",
        "10:21: ${{parent.jobs.clean.outputs.mad}}: there is no output of step 'clean' of this name. Did "
        "you mean 'made'?",
    ),
    '{rows: "${{parent.outputs.rows}}"': (
        '{rows: "${{parent.outputs.row}}"',
        "11:22: ${{parent.outputs.row}}: the pipeline has no output of this name. Did you mean 'rows'?",
    ),
    "  tries: 4": (
        "  tries: many",
        "14:36: ${{parent.inputs.tries}} is 'many'; expected a whole number.",
    ),
    "'a b'": (
        "'a b",
        "22:26: the arguments cannot be divided into words: No closing quotation. They are "
        "--more=${{outputs.more}} --model ${{inputs.model}} --level 3 'a b --task_overhead_timeout 77; "
        "close every quote.",
    ),
    "--task_overhead_timeout 77": (
        "--task_overhead_timeout soon",
        "22:26: argument --task_overhead_timeout is 'soon'; expected a number.",
    ),
    "path: ./out/rows.txt": (
        "path: https://here/rows.txt",
        "6:32: the output 'rows' cannot be written to https://here/rows.txt: a web server does not accept "
        "files.",
    ),
    '{texts: "${{parent.inputs.texts}}"}': (
        '{texts: "${{parent.jobs.score.outputs.more}}"}',
        "9:5: the steps depend on each other in a circle: score -> clean -> score.",
    ),
    "    type: command\n    command: cp ${{inputs.texts}}/* ${{outputs.made}}\n": (
        "    type: sweep\n",
        "26:5: the step 'clean' is of type 'sweep', which does not run on this machine; steps of type "
        "command, parallel and pipeline do.",
    ),
    "environment: azureml:base@latest\n    limits": (
        "component: azureml:clean:1\n    limits",
        "28:16: the component azureml:clean:1 of step 'clean' is only a name; give the file of the component",
    ),
}  # fmt: skip


@pytest.mark.parametrize("old", list(MISTAKES))
def test_a_mistake_is_named_with_its_place(folder: Path, old: str) -> None:
    new, expected = MISTAKES[old]
    assert old in JOB
    with pytest.raises(JobFileError) as error:
        compiled(folder, JOB.replace(old, new, 1))
    lines = [line.removeprefix(f"{folder}/pipeline.yml:") for line in str(error.value).split("\n")]
    assert any(line.startswith(expected) for line in lines), lines


def test_the_names_of_a_component_are_checked(folder: Path) -> None:
    component = {
        "name": "clean", "type": "command", "command": "ls ${{inputs.texts}}", "environment": "azureml:b:1",
        "inputs": {"texts": {"type": "uri_folder"}, "word": {"type": "string"}},
        "outputs": {"made": {"type": "uri_folder"}},
    }  # fmt: skip
    (folder / "clean.yml").write_text(yaml.safe_dump(component))
    job = """\
type: pipeline
jobs:
  clean:
    type: command
    component: ./clean.yml
    inputs:
      text: {type: uri_folder, path: ./texts}
    outputs:
      mad:
"""
    with pytest.raises(JobFileError) as error:
        compiled(folder, job)
    lines = [line.removeprefix(f"{folder}/pipeline.yml:") for line in str(error.value).split("\n")]
    assert lines == [
        "7:7: the step 'clean' has no input 'texts', which its component needs.",
        "7:7: the step 'clean' has no input 'word', which its component needs.",
        "7:13: the component of step 'clean' has no input 'text'. Did you mean 'texts'? Its inputs are: "
        "texts, word.",
        "9:7: the component of step 'clean' has no output 'mad'. Did you mean 'made'? Its outputs are: made.",
    ]


SETTINGS = {
    "max_concurrency_per_instance: 0": "max_concurrency_per_instance is 0; expected a whole number from 1",
    "error_threshold: -7": "error_threshold is -7; expected a whole number from -1",
    "mini_batch_error_threshold: -2": "mini_batch_error_threshold is -2; expected a whole number from -1",
    "retry_settings: {max_retries: -4}": "max_retries is -4; expected a whole number from 0.",
    "retry_settings: {timeout: -1}": "timeout is -1; expected a whole number from 1",
    "resources: {instance_count: 0}": "instance_count is 0; expected a whole number from 1",
    "mini_batch_size: 5 apples": "mini_batch_size is '5 apples'; expected a whole number from 1, or a number",
    "mini_batch_size: 10kb": "mini_batch_size is '10kb', a size in bytes, but the input is files",
}  # fmt: skip


@pytest.mark.parametrize("line", list(SETTINGS))
def test_a_setting_out_of_range_is_named_before_a_step_runs(folder: Path, line: str) -> None:
    text = JOB.replace('"${{parent.jobs.clean.outputs.made}}"', "{type: uri_folder, path: ./texts}")
    name = line.partition(":")[0]
    kept = [row for row in text.splitlines() if not row.strip().startswith(f"{name}:")]
    position = kept.index("    input_data: ${{inputs.data}}")
    kept.insert(position, f"    {line}")
    with pytest.raises(JobFileError) as error:
        compiled(folder, "\n".join(kept))
    [problem] = error.value.problems
    assert problem.message.startswith(SETTINGS[line])
    assert problem.place.line == position + 1


def test_a_script_without_a_code_folder_is_relative_to_the_file(folder: Path) -> None:
    text = JOB.replace("      code: ./code\n", "").replace(
        "entry_script: score.py", "entry_script: code/score.py"
    )
    result = compiled(folder, text)
    score = result.steps[1]
    assert score.script == "score.py"
    assert result.sources[score.key] == str(folder / "code" / "score.py")


def test_names_that_are_not_registered_are_named(folder: Path) -> None:
    text = JOB.replace("path: ./texts", "path: azureml:sales:3")
    with pytest.raises(JobFileError) as error:
        compiled(folder, text)
    assert "3:35: the input 'texts' is azureml:sales:3: no data 'sales' is registered in" in str(
        error.value
    )
    assert str(error.value).endswith("or, for an input of the pipeline, by --input NAME=PATH.")
    assert compiled(folder, text, texts=str(folder / "texts")).steps
    with pytest.raises(
        JobFileError, match="--input text: the pipeline has no input 'text'. Did you mean 'texts'"
    ):
        with_inputs(load_job(folder / "pipeline.yml"), {"text": "x"})


def test_an_mltable_must_have_its_file(folder: Path) -> None:
    text = JOB.replace('"${{parent.jobs.clean.outputs.made}}"', "{type: mltable, path: ./texts}")
    with pytest.raises(
        JobFileError, match="the input 'data' is of type mltable, but .* has no file MLTable."
    ):
        compiled(folder, text)


def test_a_path_from_outside_that_is_missing_is_named_by_its_option(folder: Path) -> None:
    with pytest.raises(JobFileError) as error:
        compiled(folder, texts="no/such")
    missing = os.path.abspath("no/such")
    assert str(error.value) == (
        f"--input texts: the input 'texts' is {missing}, which does not exist; give the path of a file or folder."
    )


def test_a_conda_file_is_read(tmp_path: Path) -> None:
    problems: list[Problem] = []
    path = tmp_path / "conda.yml"
    path.write_text(
        yaml.safe_dump({"name": "e", "dependencies": ["python>=3.9", "pandas", {"pip": ["x==1"]}]})
    )
    record = conda_record(str(path), NOWHERE, problems)
    assert record == {"name": "e", "python_version": "3.9", "pip": ["x==1"], "conda": ["pandas"]}
    conda_record(str(tmp_path / "no.yml"), NOWHERE, problems)
    assert "no.yml could not be read" in problems[0].message
