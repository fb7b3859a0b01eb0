"""Before a step runs: ranges of components, partition keys, settings given twice, fields without effect."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pandas as pd
import pytest
import yaml

from parallelrun_jupyter.azureml_v2 import check
from parallelrun_jupyter.azureml_v2.execution.assets import Assets
from parallelrun_jupyter.azureml_v2.execution.compiler import Compiled, compile_job
from parallelrun_jupyter.azureml_v2.execution.start import with_inputs
from parallelrun_jupyter.azureml_v2.model.problems import JobFileError
from parallelrun_jupyter.azureml_v2.model.values import Port
from parallelrun_jupyter.azureml_v2.reader.jobs import load_job
from parallelrun_jupyter.pipelines.workspaces import workspace_above


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("PARALLELRUN_HOME", str(tmp_path / "home"))
    monkeypatch.chdir(tmp_path)
    (tmp_path / "code").mkdir()
    (tmp_path / "code" / "score.py").write_text("def run(mini_batch):\n    return mini_batch\n")
    return tmp_path


def compiled(folder: Path, job: dict[str, Any], **inputs: Any) -> Compiled:
    path = folder / "pipeline.yml"
    path.write_text(yaml.safe_dump({"type": "pipeline", **job}, sort_keys=False))
    assets = Assets(workspace_above(folder))
    return compile_job(with_inputs(load_job(path), inputs), assets, "run-1", "local")


def refused(folder: Path, job: dict[str, Any], **inputs: Any) -> list[str]:
    """Return the problems of a job, each with the text of its line in place of the position."""
    with pytest.raises(JobFileError) as failure:
        compiled(folder, job, **inputs)
    return [shown(p.place.file, p.place.line, p.message) for p in failure.value.problems]


def shown(file: str, line: int, message: str) -> str:
    text = Path(file).read_text().splitlines()[line - 1].strip() if line else file
    return f"{text} -> {message}"


def checked(folder: Path) -> list[str]:
    found = check(folder / "pipeline.yml")
    return [shown(f.place.file, f.place.line, f.message) for f in found if f.severity == "error"]


# Ranges and choices of components

COMPONENT = {
    "name": "part", "type": "command", "environment": "azureml:b:1",
    "command": "echo ${{inputs.level}} ${{inputs.rate}} ${{inputs.word}}",
    "inputs": {
        "level": {"type": "integer", "min": 1, "max": 9, "default": 3},
        "rate": {"type": "number", "min": 0.5, "optional": True},
        "word": {"type": "string", "enum": ["red", "blue"], "default": "red"},
    },
}  # fmt: skip


def with_component(folder: Path, given: dict[str, Any], **job: Any) -> dict[str, Any]:
    (folder / "part.yml").write_text(yaml.safe_dump(COMPONENT, sort_keys=False))
    step = {"type": "command", "component": "./part.yml", "inputs": given}
    return {**job, "jobs": {"only": step}}


@pytest.mark.parametrize(
    ("name", "value", "expected"),
    [
        ("level", 0, "a number from 1 to 9"),
        ("level", 10, "a number from 1 to 9"),
        ("level", "12", "a number from 1 to 9"),
        ("rate", 0.25, "a number from 0.5"),
        ("word", "green", "one of red, blue"),
    ],
)
def test_a_literal_outside_of_its_range_is_refused_and_found_by_check(
    folder: Path, name: str, value: object, expected: str
) -> None:
    job = with_component(folder, {name: value})
    lines = (folder / "part.yml").read_text().splitlines()
    at = next(n for n, line in enumerate(lines, 1) if line == f"  {name}:") + 1
    place = f"({folder / 'part.yml'}:{at}:5)"
    written = yaml.safe_dump({name: value}).strip()
    [problem] = refused(folder, job)
    assert problem == (
        f"{written} -> the input {name!r} of step 'only' is {value!r}; its component expects {expected} {place}."
    )
    assert checked(folder) == [
        f"{written} -> the input {name!r} is {value!r}; its component expects {expected} {place}."
    ]


def test_values_in_range_pass_and_bound_and_default_values_are_checked(folder: Path) -> None:
    fine = with_component(folder, {"level": 9, "rate": 0.5, "word": "blue"})
    assert compiled(folder, fine).steps
    assert checked(folder) == []
    bound = with_component(folder, {"level": "${{parent.inputs.n}}"}, inputs={"n": 40})
    [problem] = refused(folder, bound)
    assert problem.startswith(
        "level: ${{parent.inputs.n}} -> the input 'level' of step 'only' is 40;"
    )
    assert len(checked(folder)) == 1
    assert compiled(folder, bound, n=4).steps
    COMPONENT["inputs"]["level"]["default"] = 99  # type: ignore[index] # a mapping
    try:
        [problem] = refused(folder, with_component(folder, {}))
    finally:
        COMPONENT["inputs"]["level"]["default"] = 3  # type: ignore[index] # a mapping
    assert problem.startswith("default: 99 -> the input 'level' of step 'only' is 99;")


def test_what_a_port_expects() -> None:
    assert Port(type="integer", max=3).expected(4) == "a number up to 3"
    assert Port(type="integer", max=3).expected("many") == "a number up to 3"
    assert not Port(type="number", min="1", max="2").expected("1.5")
    assert not Port(type="string").expected("anything")
    assert Port(type="string", enum=("1", "2")).expected(3) == "one of 1, 2"
    assert not Port(type="string", enum=("1", "2")).expected(2)


# Partition keys


def by_keys(*keys: str, **changes: Any) -> dict[str, Any]:
    step = {
        "type": "parallel",
        "inputs": {"table": {"type": "mltable", "path": "./table"}},
        "outputs": {"rows": {"type": "uri_file"}},
        "input_data": "${{inputs.table}}",
        "partition_keys": list(keys),
        "task": {
            "type": "run_function", "code": "./code", "entry_script": "score.py",
            "environment": "azureml:b:1", "append_row_to": "${{outputs.rows}}",
        },
        **changes,
    }  # fmt: skip
    return {"jobs": {"score": step}}


def table(folder: Path, header: str = "all_files_same_headers", form: str = "csv") -> list[str]:
    """Write a table in folders by store; return the columns of its files."""
    frame = pd.DataFrame({"week": [1, 2], "brand": ["a", "b"]})
    for store in ("s1", "s2"):
        path = folder / "table" / store
        path.mkdir(parents=True)
        if form == "csv":
            frame.to_csv(path / "data.csv", index=False, header=header != "no_header")
        else:
            frame.to_parquet(path / "data.parquet")
    reader = f"read_delimited: {{header: {header}}}" if form == "csv" else "read_parquet: {}"
    (folder / "table" / "MLTable").write_text(
        f"paths:\n- pattern: ./*/data.{form}\ntransformations:\n- {reader}\n"
        "- extract_columns_from_partition_format: {partition_format: '/{store}/data."
        + form
        + "'}\n"
    )
    return [str(name) for name in frame.columns]


@pytest.mark.parametrize("form", ["csv", "parquet"])
def test_a_partition_key_that_the_data_does_not_have_is_named_with_the_columns(
    folder: Path, form: str
) -> None:
    columns = table(folder, form=form)
    assert compiled(folder, by_keys("store")).steps
    assert checked(folder) == []
    [problem] = refused(folder, by_keys("store", "city"))
    assert checked(folder) == [problem]
    assert problem.startswith(
        "- city -> partition_keys has 'city', which is no key in the paths of the data. Its keys are: store. "
        f"The columns of its first file are: {', '.join(columns)}. Name it in the MLTable's "
    )
    [problem] = refused(folder, by_keys("brand"))
    assert checked(folder) == [problem]
    assert "'brand' is a column of the files, whose rows are not divided by it." in problem
    [problem] = refused(folder, by_keys("stor"))
    assert "Did you mean 'store'?" in problem


def test_without_headers_the_first_row_is_no_name(folder: Path) -> None:
    table(folder, header="no_header")
    [problem] = refused(folder, by_keys("city"))
    columns = problem.partition("first file are: ")[2].partition(". Name")[0].split(", ")
    assert len(columns) == 2
    assert not {"1", "2", "a", "b"} & set(columns)


def test_a_table_that_is_damaged_or_made_later_has_no_keys_to_compare(folder: Path) -> None:
    make = {
        "type": "command", "command": "echo ${{outputs.made}}", "environment": "azureml:b:1",
        "outputs": {"made": {"type": "mltable"}},
    }  # fmt: skip
    job = by_keys("city", inputs={"table": "${{parent.jobs.make.outputs.made}}"})
    job["jobs"]["make"] = make
    assert len(compiled(folder, job).steps) == 2
    table(folder)
    (folder / "table" / "MLTable").write_text("paths:\n- pattern: ./*/data.csv\n")
    problem = refused(folder, by_keys("city"))[0]
    assert "It has no keys." in problem


# Settings that are given twice, fields without effect, folders that are missing


def test_a_threshold_that_is_given_twice_has_a_note_with_both_places(folder: Path) -> None:
    table(folder)
    job = by_keys("store", error_threshold=5, mini_batch_error_threshold=2)
    task = job["jobs"]["score"]["task"]
    task["program_arguments"] = "--error_threshold 3 --allowed_failed_count=2"
    result = compiled(folder, job)
    lines = (folder / "pipeline.yml").read_text().splitlines()

    def place(start: str) -> str:
        number = next(n for n, line in enumerate(lines, 1) if line.strip().startswith(start))
        column = lines[number - 1].index(": ") + 3
        return f"{folder / 'pipeline.yml'}:{number}:{column}"

    [note] = [note for note in result.notes if "program_arguments" in note]
    assert note == (
        f"step score has error_threshold: 5 ({place('error_threshold:')}) and --error_threshold 3 in "
        f"program_arguments ({place('program_arguments:')}); the argument counts, as in Azure"
    )
    assert result.steps[0].settings["error_threshold"] == 3
    task["program_arguments"] = "--error_threshold 5"
    assert not [note for note in compiled(folder, job).notes if "program_arguments" in note]


def test_fields_without_effect_are_in_one_note(folder: Path) -> None:
    (folder / "docker").mkdir()
    step = {
        "type": "command", "command": "echo", "environment": {"build": {"path": "./docker"}},
        "resources": {"shm_size": "2g", "docker_args": "--gpus all"},
    }  # fmt: skip
    job: dict[str, Any] = {
        "settings": {"on_init": "azureml:a", "on_finalize": "azureml:b"},
        "jobs": {"one": step, "two": {**step}},
    }
    [note] = [note for note in compiled(folder, job).notes if "no effect" in note]
    assert note == (
        "these fields have no effect on this machine: settings.on_init, settings.on_finalize, "
        "resources.docker_args, resources.shm_size, environment.build"
    )
    del job["settings"]
    job["jobs"] = {"one": {"type": "command", "command": "echo", "environment": "azureml:b:1"}}
    assert not [note for note in compiled(folder, job).notes if "no effect" in note]


@pytest.mark.parametrize("kind", ["command", "parallel"])
def test_a_code_folder_that_does_not_exist_has_the_hint_of_check(folder: Path, kind: str) -> None:
    table(folder)
    job = by_keys("store")
    if kind == "command":
        job = {"jobs": {"c": {"type": "command", "command": "ls", "environment": "azureml:b:1"}}}
        job["jobs"]["c"]["code"] = "./cod"
    else:
        job["jobs"]["score"]["task"]["code"] = "./cod"
    problems = refused(folder, job)
    name = "code" if kind == "command" else "task.code"
    expected = (
        f"code: ./cod -> {name} is the folder {folder / 'cod'}, which does not exist. Did you mean 'code'? "
        "Paths are relative to the file."
    )
    assert problems == [expected]
    assert checked(folder) == [expected]
