"""v2 job files are read with places; every mistake is named with file, line, column and a remedy."""

from __future__ import annotations

from pathlib import Path

import pytest
import yaml

from parallelrun_jupyter.azureml_v2.model.expressions import Binding
from parallelrun_jupyter.azureml_v2.model.jobs import (
    CommandStep,
    OtherStep,
    ParallelStep,
    PipelineJob,
    PipelineStep,
)
from parallelrun_jupyter.azureml_v2.model.problems import JobFileError
from parallelrun_jupyter.azureml_v2.model.values import Input, Output
from parallelrun_jupyter.azureml_v2.reader.jobs import job_of, load_component, load_job, read_job
from parallelrun_jupyter.azureml_v2.reader.tree import split_overrides

JOB = """\
$schema: https://azuremlschemas.azureedge.net/latest/pipelineJob.schema.json
type: pipeline
display_name: prices
settings:
  default_compute: azureml:cpu-cluster
  continue_on_step_failure: no
inputs:
  sales: {type: uri_folder, path: ./sales}
  tries: 3
jobs:
  prepare:
    type: command
    code: ./code
    command: >-
      python prepare.py
      --out ${{outputs.table}} $[[--n ${{inputs.n}}]]
    environment: azureml:base@latest
    inputs:
      sales: ${{parent.inputs.sales}}
    outputs:
      table: {type: mltable}
  score:
    type: parallel
    inputs:
      table:
        type: mltable
        path: ${{parent.jobs.prepare.outputs.table}}
        mode: direct
    outputs:
      rows: {type: uri_file, path: "azureml://datastores/${{default_datastore}}/paths/${{name}}/a.txt"}
      models:
    input_data: ${{inputs.table}}
    mini_batch_size: 10kb
    max_concurrency_per_instance: "2"
    error_threshold: 5
    retry_settings: {max_retries: "${{parent.inputs.tries}}", timeout: 60}
    environment_variables: {MODE: fast}
    task:
      type: run_function
      code: ./code
      entry_script: score.py
      environment: {image: python, conda_file: conda.yml}
      program_arguments: --models ${{outputs.models}}
      append_row_to: ${{outputs.rows}}
"""


def write(folder: Path, text: str = JOB, name: str = "pipeline.yml") -> Path:
    path = folder / name
    path.write_text(text)
    return path


def problems(folder: Path, text: str) -> list[str]:
    """Return the problems of a job file without its folder."""
    path = write(folder, text)
    return [str(problem).removeprefix(f"{folder}/") for problem in read_job(path).problems]


def changed(old: str, new: str) -> str:
    assert JOB.count(old) >= 1
    return JOB.replace(old, new, 1)


def test_a_job_is_read_field_by_field(tmp_path: Path) -> None:
    job = load_job(write(tmp_path))
    assert job.settings.default_compute == "azureml:cpu-cluster"
    assert job.settings.continue_on_step_failure is False
    assert job.inputs == {
        "sales": Input(type="uri_folder", path=str(tmp_path / "sales")),
        "tries": Input(value=3),
    }
    prepare, score = job.jobs["prepare"], job.jobs["score"]
    assert isinstance(prepare, CommandStep)
    assert isinstance(score, ParallelStep)
    assert prepare.inputs["sales"].binding == Binding("parent_input", "sales")
    assert prepare.environment is not None
    assert prepare.environment.reference == "azureml:base@latest"
    assert score.inputs["table"] == Input(
        type="mltable", mode="direct", binding=Binding("step_output", "table", "prepare")
    )
    assert score.outputs["models"] == Output()
    assert score.max_concurrency_per_instance == 2
    assert score.retry_settings is not None
    assert score.retry_settings.max_retries == Binding("parent_input", "tries")
    assert score.task is not None
    assert score.task.code == str(tmp_path / "code")
    assert score.task.environment is not None
    assert score.task.environment.conda_file == str(tmp_path / "conda.yml")
    assert str(score.mini_batch_size) == "10kb"
    assert score.mini_batch_error_threshold is None


def test_values_know_their_places(tmp_path: Path) -> None:
    path = write(tmp_path)
    job = load_job(path)
    lines = path.read_text().splitlines()
    score, prepare = job.jobs["score"], job.jobs["prepare"]
    assert isinstance(score, ParallelStep)
    assert isinstance(prepare, CommandStep)
    for name, value in {
        "task.entry_script": "score.py",
        "retry_settings.timeout": "60",
        "environment_variables.MODE": "fast",
        "mini_batch_size": "10kb",
    }.items():
        place = score.places.of(name)
        assert place.file == str(path)
        assert lines[place.line - 1][place.column - 1 :].startswith(value)
    assert score.places.of("resources.instance_count") == score.places.own
    assert prepare.command is not None
    for binding in prepare.command.bindings():  # in a folded text of several lines
        place = binding.place
        assert lines[place.line - 1][place.column - 1 :].startswith(str(binding))


MISTAKES = {
    "unknown key": (
        "    error_threshold: 5", "    error_treshold: 5",
        "pipeline.yml:35:5: 'error_treshold' is not a field of the parallel step 'score'. "
        "Did you mean 'error_threshold'?",
    ),
    "unknown key of the task": (
        "entry_script: score.py", "entryscript: score.py",
        "pipeline.yml:41:7: 'entryscript' is not a field of task. Did you mean 'entry_script'?",
    ),
    "unknown key of the job": (
        "display_name: prices", "colour: red",
        "pipeline.yml:3:1: 'colour' is not a field of a pipeline job. Its fields are: component, ",
    ),
    "number": (
        'max_concurrency_per_instance: "2"', "max_concurrency_per_instance: two",
        "pipeline.yml:34:35: max_concurrency_per_instance is 'two'; expected a whole number or "
        "${{parent.inputs.NAME}}.",
    ),
    "list": (
        "error_threshold: 5", "partition_keys: store",
        "pipeline.yml:35:21: partition_keys is 'store'; expected a list, such as [first, second].",
    ),
    "mapping": (
        "settings:\n  default_compute: azureml:cpu-cluster\n  continue_on_step_failure: no",
        "settings: azureml:cpu-cluster",
        "pipeline.yml:4:11: settings is 'azureml:cpu-cluster'; expected a mapping of its fields.",
    ),
    "flag": (
        "continue_on_step_failure: no", "continue_on_step_failure: never",
        "pipeline.yml:6:29: continue_on_step_failure is 'never'; expected true or false.",
    ),
    "choice": (
        "mode: direct", "mode: drect",
        "pipeline.yml:28:15: mode is 'drect'; expected one of ro_mount, download, direct, eval_mount, "
        "eval_download, mount. Did you mean 'direct'?",
    ),
    "type of a step": (
        "    type: command", "    type: comand",
        "pipeline.yml:12:11: type is 'comand'; expected one of command, parallel, pipeline, ",
    ),
    "expression": (
        "input_data: ${{inputs.table}}", "input_data: ${{input.table}}",
        "pipeline.yml:32:17: '${{input.table}}' is not an expression. Did you mean 'inputs'?",
    ),
    "expression that is not closed, in a folded text": (
        "${{outputs.table}} $[[", "${{outputs.table $[[",
        "pipeline.yml:16:13: '${{outputs.table $[[--n ${{inputs.n}}' is not an expression.",
    ),
    "missing field": (
        "      type: run_function\n", "",
        "pipeline.yml:39:7: task has no type; add 'type: ...'.",
    ),
    "input without a path": (
        "sales: {type: uri_folder, path: ./sales}", "sales: {type: uri_folder}",
        "pipeline.yml:8:10: the input 'sales' has no path; add 'path: ./folder', or write a literal.",
    ),
    "output that is a text": (
        "table: {type: mltable}", "table: ./here",
        "pipeline.yml:21:14: the output 'table' is './here'; expected ${{parent.outputs.NAME}}, or a "
        "mapping such as {type: uri_folder}.",
    ),
    "output that is no expression": (
        "table: {type: mltable}", "table: ${{parent.output.final}}",
        "pipeline.yml:21:14: '${{parent.output.final}}' is not an expression. Did you mean 'outputs'?",
    ),
    "component that is not there": (
        "    code: ./code\n", "    component: file:./no.yml\n",
        "pipeline.yml:13:16: component is 'file:./no.yml', but there is no file ",
    ),
    "duplicate key": (
        "display_name: prices", "type: pipeline",
        "pipeline.yml:3:1: 'type' is here twice, first at line 2; keep one of them.",
    ),
}  # fmt: skip


@pytest.mark.parametrize("name", list(MISTAKES))
def test_a_mistake_is_named_with_its_place_and_a_remedy(tmp_path: Path, name: str) -> None:
    old, new, expected = MISTAKES[name]
    found = problems(tmp_path, changed(old, new))
    assert any(text.startswith(expected) for text in found), found


def test_all_mistakes_are_named_at_once(tmp_path: Path) -> None:
    text = changed("error_threshold: 5", "error_threshold: five").replace("timeout: 60", "time: 60")
    with pytest.raises(JobFileError) as error:
        load_job(write(tmp_path, text))
    assert len(error.value.problems) == 2
    assert str(error.value).count("\n") == 1


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("", "pipeline.yml:1:1: the file is empty; expected a mapping such as 'type: pipeline'."),
        ("- a", "pipeline.yml:1:1: the file is not a mapping; expected a mapping such as"),
        ("a: 'b", "pipeline.yml:1:6: this is not YAML: "),
        ("type: parallel", "pipeline.yml:1:7: type is 'parallel'; expected a job of 'type: pipeline'."),
        ("endpoint_name: a\ntype: model", "pipeline.yml:1:1: this is the file of a batch deployment; start it by "
         "'parallelrun azureml invoke FILE --input FOLDER'."),
        ("$schema: a/pipelineComponent.schema.json\ninputs: {a: {type: string}}\ntype: pipeline",
         "pipeline.yml:1:1: this is the file of a component; start a job that has it: a file with"),
        ("type: pipeline", "pipeline.yml:1:1: the pipeline has no steps; add them under 'jobs'."),
        ("a: &x {b: *x }", "pipeline.yml:1:4: this value contains itself, by an alias; write it out."),
    ],
)  # fmt: skip
def test_a_file_that_is_no_job_is_an_error(tmp_path: Path, text: str, message: str) -> None:
    assert problems(tmp_path, text)[0].startswith(message)


def test_a_missing_file_is_an_error(tmp_path: Path) -> None:
    with pytest.raises(JobFileError, match=r"no\.yml: the file could not be read: No such file"):
        load_job(tmp_path / "no.yml")


def test_a_file_of_another_encoding_is_an_error(tmp_path: Path) -> None:
    path = tmp_path / "pipeline.yml"
    path.write_text("type: pipeline", encoding="utf-16")
    with pytest.raises(JobFileError) as error:
        load_job(path)
    assert str(error.value).endswith(
        "the file could not be read: its byte 0 is not UTF-8; save it as UTF-8."
    )


def test_anchors_and_merges_are_read_as_yaml_reads_them(tmp_path: Path) -> None:
    text = JOB.replace("    task:\n", "    task: &task\n") + (
        "  again:\n    type: parallel\n    inputs: {table: {type: uri_folder, path: x}}\n"
        "    outputs: {rows: {}, models: {}}\n"
        "    input_data: ${{inputs.table}}\n    task: {<<: *task, entry_script: other.py}\n"
    )
    steps = load_job(write(tmp_path, text)).jobs
    first, again = steps["score"], steps["again"]
    assert isinstance(first, ParallelStep)
    assert isinstance(again, ParallelStep)
    assert first.task is not None
    assert again.task is not None
    assert again.task.entry_script == "other.py"
    assert again.task.environment == first.task.environment
    assert again.task.places.of("entry_script").line == len(text.splitlines())


@pytest.mark.parametrize(
    ("path", "expected"),
    [
        ("data", "{}/data"), ("./data", "{}/data"), ("file:./data", "{}/data"), ("/data", "/data"),
        ("azureml:./data", "{}/data"), ("azureml:/data", "/data"), ("azureml:data:3", "azureml:data:3"),
        ("azureml://datastores/a/paths/b", "azureml://datastores/a/paths/b"),
        ("https://here/data", "https://here/data"), ("wasbs://a@b/c", "wasbs://a@b/c"),
    ],
)  # fmt: skip
def test_paths_are_relative_to_the_file(tmp_path: Path, path: str, expected: str) -> None:
    job = load_job(write(tmp_path, changed("path: ./sales", f"path: {path}")))
    assert job.inputs["sales"].path == expected.format(tmp_path)


# Overrides


def test_an_override_replaces_a_value(tmp_path: Path) -> None:
    texts = ["jobs.score.resources.instance_count=3", "inputs.tries=9", "jobs.score.compute=local"]
    job = load_job(write(tmp_path), split_overrides(texts))
    score = job.jobs["score"]
    assert isinstance(score, ParallelStep)
    assert score.resources is not None
    assert score.resources.instance_count == 3
    assert score.compute == "local"
    assert job.inputs["tries"].value == 9
    assert str(job.places.of("inputs.tries")) == "--set inputs.tries"


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("jobs.score.error_threshold=many", "--set jobs.score.error_threshold: error_threshold is 'many'"),
        ("jobs.scor.error_threshold=1", "--set jobs.scor.error_threshold: the file has no step 'scor'. Did you mean 'score'? Its steps are:"),
        ("display_name.x=1", "--set display_name.x: it leads through 'prices' of "),
        ("jobs.score.eror_threshold=1", "--set jobs.score.eror_threshold: 'eror_threshold' is not a field"),
        ("error", "--set error: expected NAME=VALUE, such as jobs.score.mini_batch_size=5."),
    ],
)  # fmt: skip
def test_a_wrong_override_is_an_error(tmp_path: Path, text: str, message: str) -> None:
    with pytest.raises(JobFileError) as error:
        load_job(write(tmp_path), split_overrides([text]))
    assert str(error.value).startswith(message)


# Components

COMPONENT = """\
name: score_rows
version: 4
type: parallel
inputs:
  data: {type: uri_folder}
  level: {type: integer, optional: true, default: 3}
outputs:
  rows: {type: uri_file}
input_data: ${{inputs.data}}
mini_batch_size: "5"
retry_settings: {max_retries: 1, timeout: 30}
resources: {instance_count: 2, shm_size: 1g}
task:
  type: function
  code: ../code
  entry_script: score.py
  environment: azureml:base:1
  append_row_to: ${{outputs.rows}}
"""
WITH_COMPONENT = """\
type: pipeline
jobs:
  score:
    type: parallel
    component: {reference}
    inputs: {{data: {{type: uri_folder, path: data}}}}
    outputs: {{rows: "${{{{parent.outputs.rows}}}}"}}
    retry_settings: {{timeout: 99}}
    mini_batch_error_threshold: 7
outputs: {{rows: }}
"""


@pytest.mark.parametrize(
    "reference", ["file:./parts/score.yml", "./parts/score.yml", "parts/score.yml"]
)
def test_the_fields_of_a_step_replace_those_of_its_component(
    tmp_path: Path, reference: str
) -> None:
    (tmp_path / "parts").mkdir()
    file = write(tmp_path / "parts", COMPONENT, "score.yml")
    step = load_job(write(tmp_path, WITH_COMPONENT.format(reference=reference))).jobs["score"]
    assert isinstance(step, ParallelStep)
    assert step.component == str(file)
    assert step.declared is not None
    assert step.declared.inputs["level"].default == 3
    assert step.declared.version == "4"
    assert step.retry_settings is not None
    assert (step.retry_settings.max_retries, step.retry_settings.timeout) == (1, 99)
    assert step.mini_batch_error_threshold == 7
    assert step.task is not None
    assert step.task.code == str(tmp_path / "code")
    assert step.places.of("retry_settings.timeout").file == str(tmp_path / "pipeline.yml")
    assert step.places.of("task.entry_script").file == str(file)
    assert list(step.inputs) == ["data"]


def test_a_component_in_place_and_one_by_name_are_read(tmp_path: Path) -> None:
    inline = yaml.safe_load(WITH_COMPONENT.format(reference="x"))
    inline["jobs"]["score"]["component"] = yaml.safe_load(COMPONENT)
    reading = job_of(inline, tmp_path)
    assert not reading.problems
    assert reading.found is not None
    step = reading.found.jobs["score"]
    assert isinstance(step, ParallelStep)
    assert step.component == ""
    assert str(step.mini_batch_size) == "5"
    named = load_job(write(tmp_path, WITH_COMPONENT.format(reference="azureml:score_rows:4"))).jobs[
        "score"
    ]
    assert named.component == "azureml:score_rows:4"
    assert named.declared is None


def test_a_mistake_in_a_component_has_the_place_in_its_file(tmp_path: Path) -> None:
    write(tmp_path, COMPONENT.replace("version: 4", "colour: red"), "score.yml")
    path = write(tmp_path, WITH_COMPONENT.format(reference="score.yml"))
    [problem] = read_job(path).problems
    assert str(problem.place) == f"{tmp_path}/score.yml:2:1"
    assert problem.message.startswith(
        "'colour' is not a field of the parallel component 'score_rows'."
    )


def test_the_type_of_a_step_is_that_of_its_component(tmp_path: Path) -> None:
    write(tmp_path, COMPONENT, "score.yml")
    text = WITH_COMPONENT.format(reference="score.yml")
    assert isinstance(
        load_job(write(tmp_path, text.replace("    type: parallel\n", ""))).jobs["score"],
        ParallelStep,
    )
    found = problems(tmp_path, text.replace("type: parallel", "type: command"))
    assert "the step 'score' is of type 'command', its component of type 'parallel'" in found[0]


def test_a_pipeline_component_is_a_step_with_steps(tmp_path: Path) -> None:
    inner = "type: pipeline\ninputs: {a: {type: string}}\n" + JOB[JOB.index("jobs:") :]
    write(tmp_path, inner, "inner.yml")
    write(
        tmp_path,
        "name: n\ntype: pipeline\njobs: {x: {type: pipeline, component: me.yml}}\n",
        "me.yml",
    )
    text = "type: pipeline\njobs: {all: {type: pipeline, component: inner.yml, inputs: {a: b}}}\n"
    step = load_job(write(tmp_path, text)).jobs["all"]
    assert isinstance(step, PipelineStep)
    assert list(step.jobs) == ["prepare", "score"]
    assert load_component(tmp_path / "inner.yml").inputs["a"].is_literal
    found = problems(tmp_path, text.replace("inner.yml", "me.yml"))
    assert found[0].endswith("component is 'me.yml', which contains itself.")


def test_steps_of_other_types_are_kept_without_their_fields(tmp_path: Path) -> None:
    text = JOB + "  tune: {type: sweep, trial: x, anything: 1}\n"
    step = load_job(write(tmp_path, text)).jobs["tune"]
    assert isinstance(step, OtherStep)
    assert step.type == "sweep"


def test_a_job_of_plain_values_equals_that_of_its_file(tmp_path: Path) -> None:
    from_file: PipelineJob = load_job(write(tmp_path))
    reading = job_of(yaml.safe_load(JOB), tmp_path)
    assert reading.problems == ()
    assert reading.found is not None
    assert reading.found.jobs == from_file.jobs
    assert reading.found.inputs == from_file.inputs
