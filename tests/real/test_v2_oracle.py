"""Our reading of v2 job files equals azure-ai-ml's wire form, field by field, on generated files."""

from __future__ import annotations

import json
import os
import tempfile
from collections.abc import Iterator, Mapping
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest
import yaml
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from parallelrun_jupyter.azureml_v2.model.expressions import Binding
from parallelrun_jupyter.azureml_v2.model.jobs import CommandStep, ParallelStep, PipelineJob, Step
from parallelrun_jupyter.azureml_v2.model.values import Environment, Input, Output
from parallelrun_jupyter.azureml_v2.reader.jobs import load_job, read_job
from tests.azure_ai_ml import AzureAiMl, python_with_azure_ai_ml
from tests.pure.test_v2_reader import JOB

MODES = {
    "ro_mount": "ReadOnlyMount", "download": "Download", "direct": "Direct", "eval_mount": "EvalMount",
    "eval_download": "EvalDownload", "rw_mount": "ReadWriteMount", "upload": "Upload",
}  # fmt: skip
"""Azure's names of modes on the wire."""


@pytest.fixture(scope="module")
def azure() -> Iterator[AzureAiMl]:
    python, reason = python_with_azure_ai_ml()
    if not python:
        if "CI" in os.environ:
            pytest.fail(reason)
        pytest.skip(reason)
    with closing(AzureAiMl(python)) as process:
        yield process


# What azure-ai-ml sends, from our model


def wire_of(job: PipelineJob) -> dict[str, Any]:
    """Return a job's fields with the names and values that go to Azure."""
    return {
        "displayName": job.display_name or None,
        "experimentName": job.experiment_name or None,
        "description": job.description or None,
        "tags": dict(job.tags),
        "default_compute": job.settings.default_compute.removeprefix("azureml:") or None,
        "continue_on_step_failure": job.settings.continue_on_step_failure,
        "inputs": {name: wire_of_input(item) for name, item in job.inputs.items()},
        "outputs": {name: wire_of_output(item) for name, item in job.outputs.items()},
        "steps": {name: wire_of_step(step) for name, step in job.jobs.items()},
    }


def wire_of_input(item: Input) -> Any:
    if item.binding is not None:
        return {"value": str(item.binding), "mode": MODES.get(item.mode)}
    if item.is_data:
        # On the wire a name has no prefix.
        return {
            "uri": item.path.removeprefix("azureml:"),
            "type": item.type,
            "mode": MODES.get(item.mode),
        }
    return {"value": str(item.value), "mode": None}


def wire_of_output(item: Output) -> Any:
    return {
        "type": item.type or "uri_folder",
        "mode": MODES.get(item.mode),
        "uri": str(item.path) if item.path else None,
    }


def wire_of_step(step: Step) -> dict[str, Any]:
    assert isinstance(step, CommandStep | ParallelStep)
    resources = step.resources
    assert not isinstance(step.environment_variables, Binding)
    fields = {
        "compute": step.compute.removeprefix("azureml:") or None,
        "instance_count": plain(resources.instance_count) if resources else None,
        "instance_type": (resources.instance_type if resources else "") or None,
        "shm_size": (resources.shm_size if resources else "") or None,
        "variables": {name: str(text) for name, text in step.environment_variables.items()},
        "inputs": {name: wire_of_input(item) for name, item in step.inputs.items()},
        "bound_outputs": {
            name: str(item.binding) for name, item in step.outputs.items() if item.binding
        },
        "output_types": {
            name: item.type or "uri_folder"
            for name, item in step.outputs.items()
            if not item.binding
        },
    }
    if isinstance(step, CommandStep):
        return {
            **fields,
            "command": str(step.command),
            "code": step.code or None,
            "environment": wire_of_environment(step.environment),
        }
    task, retry = step.task, step.retry_settings
    assert task is not None
    assert not isinstance(step.partition_keys, Binding)
    return {
        **fields,
        "input_data": str(step.input_data),
        "mini_batch_size": str(step.mini_batch_size) if step.mini_batch_size else None,
        "partition_keys": None if step.partition_keys is None else list(step.partition_keys),
        "max_concurrency_per_instance": plain(step.max_concurrency_per_instance),
        "error_threshold": plain(step.error_threshold),
        "mini_batch_error_threshold": plain(step.mini_batch_error_threshold),
        "logging_level": step.logging_level or None,
        "max_retries": plain(retry.max_retries) if retry else None,
        "timeout": plain(retry.timeout) if retry else None,
        "identity": step.identity.type if step.identity else None,
        "task.type": task.type,
        "task.code": task.code or None,
        "task.entry_script": task.entry_script,
        "task.program_arguments": str(task.program_arguments) if task.program_arguments else None,
        "task.append_row_to": str(task.append_row_to) if task.append_row_to else None,
        "task.environment": wire_of_environment(task.environment),
    }


def wire_of_environment(environment: Environment | None) -> Any:
    if environment is None:
        return None
    return environment.reference.removeprefix("azureml:") or {"image": environment.image}


def plain(value: Any) -> Any:
    return str(value) if isinstance(value, Binding) else value


# What it sent


def azures(reply: Mapping[str, Any], folder: Path) -> dict[str, Any]:
    """Return the wire form of azure-ai-ml in the shape of `wire_of`."""
    job = reply["job"]
    set_ = job.get("settings") or {}
    return {
        "displayName": job.get("displayName"),
        "experimentName": job.get("experimentName"),
        "description": job.get("description"),
        "tags": job.get("tags") or {},
        "default_compute": set_.get("default_compute"),
        "continue_on_step_failure": set_.get("continue_on_step_failure"),
        "inputs": {name: _input(item, folder) for name, item in (job.get("inputs") or {}).items()},
        "outputs": {
            name: {
                "type": item.get("jobOutputType"), "mode": item.get("mode"), "uri": item.get("uri"),
            }
            for name, item in (job.get("outputs") or {}).items()
        },
        "steps": {name: _step(item, folder) for name, item in reply["steps"].items()},
    }  # fmt: skip


def _input(item: Mapping[str, Any], folder: Path) -> Any:
    if "uri" in item:
        kind = item.get("jobInputType") or item.get("job_input_type")
        return {"uri": _path(item["uri"], folder), "type": kind, "mode": item.get("mode")}
    return {"value": item["value"], "mode": item.get("mode")}


def _path(text: str | None, folder: Path) -> str | None:
    if text is None or text == "sales:3":
        return text
    return os.path.normpath(folder / text)


def _step(reply: Mapping[str, Any], folder: Path) -> dict[str, Any]:
    node, component = reply["node"], reply["component"]
    merged = {**component, **{k: v for k, v in node.items() if v is not None}}
    resources = merged.get("resources") or {}
    bound = {
        name: item["value"] for name, item in (node.get("outputs") or {}).items() if "value" in item
    }
    fields = {
        "compute": (node.get("computeId") or "").removeprefix("azureml:") or None,
        "instance_count": resources.get("instance_count"),
        "instance_type": resources.get("instance_type"),
        "shm_size": resources.get("shm_size"),
        "variables": {k: str(v) for k, v in (node.get("environment_variables") or {}).items()},
        "inputs": {name: _input(item, folder) for name, item in (node.get("inputs") or {}).items()},
        "bound_outputs": bound,
        "output_types": {
            name: item["type"]
            for name, item in (component.get("outputs") or {}).items()
            if name not in bound
        },
    }
    if component["type"] == "command":
        return {
            **fields,
            "command": merged["command"],
            "code": _path(merged.get("code"), folder),
            "environment": _environment(merged.get("environment")),
        }
    task, retry = merged["task"], merged.get("retry_settings") or {}
    keys = merged.get("partition_keys")
    size = merged.get("mini_batch_size")
    return {
        **fields,
        "input_data": merged["input_data"],
        "mini_batch_size": None if size is None else str(size),
        "partition_keys": json.loads(keys) if isinstance(keys, str) else keys,
        **{
            name: merged.get(name)
            for name in (
                "max_concurrency_per_instance", "error_threshold", "mini_batch_error_threshold",
                "logging_level",
            )
        },
        "max_retries": retry.get("max_retries"),
        "timeout": retry.get("timeout"),
        "identity": (node.get("identity") or {}).get("type"),
        "task.type": task["type"],
        "task.code": _path(task.get("code"), folder),
        "task.entry_script": task.get("entry_script"),
        "task.program_arguments": task.get("program_arguments"),
        "task.append_row_to": task.get("append_row_to"),
        "task.environment": _environment(task.get("environment")),
    }  # fmt: skip


def _environment(environment: Any) -> Any:
    if isinstance(environment, str):
        return environment.removeprefix("azureml:")
    return None if environment is None else {"image": environment.get("image", "")}


# Generated files

_TEXT = st.sampled_from(
    ["prices", "a b", "07", "yes", "null", "1e3", "é", "x: y", "#1", "'q'", "~"]
)
_NUMBER = st.integers(0, 99) | st.integers(0, 99).map(str)
_LITERAL = _TEXT | st.integers(-5, 5) | st.booleans() | st.sampled_from([1.5, -0.25])
_DATA = st.fixed_dictionaries(
    {
        "type": st.sampled_from(["uri_file", "uri_folder"]),
        "path": st.sampled_from(["./data", "data", "../here", "azureml:sales:3"]),
    },
    optional={"mode": st.sampled_from(["ro_mount", "download", "direct"])},
)
_OUTPUT = st.fixed_dictionaries(
    {"type": st.sampled_from(["uri_file", "uri_folder", "mltable"])},
    optional={"mode": st.sampled_from(["rw_mount", "upload"])},
)
_ENVIRONMENT = st.sampled_from(["azureml:base@latest", "azureml:base:3"]) | st.just(
    {"image": "python"}
)
_RESOURCES = st.fixed_dictionaries(
    {"instance_count": st.integers(1, 9)},
    optional={"instance_type": st.just("Standard_D2"), "shm_size": st.just("2g")},
)
_COMMON = {
    "compute": st.sampled_from(["azureml:gpu", "azureml:cpu-1"]),
    "resources": _RESOURCES,
    "environment_variables": st.dictionaries(st.sampled_from(["A", "B"]), _TEXT, min_size=1),
}


@st.composite
def commands(draw: st.DrawFn) -> dict[str, Any]:
    fixed = {
        "type": st.just("command"),
        "command": st.sampled_from(
            ["python a.py --to ${{outputs.made}} ${{inputs.n}}", "echo 'a  b'\nls"]
        ),
        "environment": _ENVIRONMENT,
        "inputs": st.fixed_dictionaries(
            {"n": _LITERAL | st.just("${{parent.inputs.n}}")}, optional={"data": _DATA}
        ),
        "outputs": st.fixed_dictionaries({"made": _OUTPUT}),
    }
    return draw(st.fixed_dictionaries(fixed, optional={**_COMMON, "code": st.just("./code")}))


@st.composite
def parallels(draw: st.DrawFn) -> dict[str, Any]:
    made = st.just("${{parent.jobs.made.outputs.made}}")
    bound = st.fixed_dictionaries(
        {"type": st.just("uri_folder"), "path": made},
        optional={"mode": st.sampled_from(["download", "ro_mount"])},
    ) | st.fixed_dictionaries(
        {"type": st.just("mltable"), "path": made},
        optional={"mode": st.sampled_from(["direct", "eval_mount"])},
    )
    task = st.fixed_dictionaries(
        {
            "type": st.sampled_from(["run_function", "function"]),
            "entry_script": st.just("score.py"),
            "environment": _ENVIRONMENT,
        },
        optional={
            "code": st.just("./code"),
            "program_arguments": st.just("--n ${{inputs.n}} --more 'a b'"),
            "append_row_to": st.just("${{outputs.rows}}"),
        },
    )
    fixed = {
        "type": st.just("parallel"),
        "inputs": st.fixed_dictionaries({"data": bound | _DATA, "n": _LITERAL}),
        "outputs": st.fixed_dictionaries({"rows": _OUTPUT | st.just("${{parent.outputs.rows}}")}),
        "input_data": st.just("${{inputs.data}}"),
        "task": task,
        "mini_batch_size": st.integers(1, 9).map(str),
    }
    optional = {
        **_COMMON,
        "partition_keys": st.lists(st.sampled_from(["store", "brand"]), min_size=1, unique=True),
        "max_concurrency_per_instance": _NUMBER,
        "error_threshold": st.integers(-1, 9),
        "mini_batch_error_threshold": st.integers(-1, 9) | st.just("7"),
        "logging_level": st.sampled_from(["INFO", "WARNING", "DEBUG"]),
        "retry_settings": st.fixed_dictionaries(
            {"max_retries": st.integers(0, 9) | st.just("${{parent.inputs.n}}"), "timeout": _NUMBER}
        ),
        "identity": st.sampled_from([{"type": "user_identity"}, {"type": "aml_token"}]),
    }
    return draw(st.fixed_dictionaries(fixed, optional=optional))


@st.composite
def jobs(draw: st.DrawFn) -> dict[str, Any]:
    fixed = {
        "type": st.just("pipeline"),
        "inputs": st.fixed_dictionaries({"n": _LITERAL}, optional={"data": _DATA}),
        "outputs": st.fixed_dictionaries({"rows": _OUTPUT}),
        "jobs": st.fixed_dictionaries(
            {"made": commands()}, optional={"score": parallels(), "again": parallels()}
        ),
    }
    optional = {
        "display_name": _TEXT,
        "experiment_name": st.just("prices"),
        "description": _TEXT,
        "tags": st.dictionaries(st.sampled_from(["team", "x"]), _TEXT),
        "settings": st.fixed_dictionaries(
            {"default_compute": st.just("azureml:cpu-cluster")},
            optional={"continue_on_step_failure": st.booleans()},
        ),
    }
    return draw(st.fixed_dictionaries(fixed, optional=optional))


@settings(
    max_examples=40,
    suppress_health_check=[HealthCheck.too_slow, HealthCheck.function_scoped_fixture],
)
@given(record=jobs(), flow=st.sampled_from([True, False, None]))
def test_a_generated_job_is_read_as_azure_reads_it(
    azure: AzureAiMl, record: dict[str, Any], flow: bool | None
) -> None:
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name).resolve()
        for made in ("code", "data"):
            (folder / made).mkdir()
        path = folder / "pipeline.yml"
        path.write_text(
            yaml.safe_dump(record, sort_keys=False, default_flow_style=flow), encoding="utf-8"
        )
        reply = azure.read(path)
        assert "error" not in reply, reply["error"]
        assert wire_of(load_job(path)) == azures(reply, folder)


def test_overrides_are_azures(azure: AzureAiMl, tmp_path: Path) -> None:
    path = write_job(tmp_path)
    overrides = {"jobs.score.error_threshold": 8, "jobs.score.resources.instance_count": 3,
                 "settings.default_compute": "azureml:other", "inputs.tries": 5}  # fmt: skip
    reply = azure.read(path, overrides)
    ours, theirs = wire_of(load_job(path, overrides)), azures(reply, tmp_path)
    assert ours["steps"]["score"]["instance_count"] == 3
    assert (
        theirs["steps"]["score"]["error_threshold"]
        == ours["steps"]["score"]["error_threshold"]
        == 8
    )
    assert theirs["default_compute"] == ours["default_compute"] == "other"
    assert theirs["inputs"]["tries"] == ours["inputs"]["tries"]


@pytest.mark.parametrize(
    ("old", "new"),
    [
        ("    error_threshold: 5", "    error_threshold: five"),
        ("    error_threshold: 5", "    colour: red"),
        ("logging_level: INFO", "logging_level: LOUD"),
        ("partition_keys: [a]", "partition_keys: a"),
        ("      table: {type: mltable}", "      table: {type: mltabel}"),
    ],
)
def test_mistakes_that_azure_refuses_are_refused(
    azure: AzureAiMl, tmp_path: Path, old: str, new: str
) -> None:
    path = write_job(tmp_path)
    more = "    error_threshold: 5\n    logging_level: INFO\n    partition_keys: [a]"
    text = path.read_text().replace("    error_threshold: 5", more)
    path.write_text(text)
    assert "error" not in azure.read(path)
    assert read_job(path).problems == ()
    path.write_text(text.replace(old, new))
    assert "error" in azure.read(path)
    assert read_job(path).problems


def write_job(folder: Path) -> Path:
    (folder / "code").mkdir()
    (folder / "conda.yml").write_text("dependencies: [python=3.10]")
    path = folder / "pipeline.yml"
    path.write_text(JOB)
    return path
