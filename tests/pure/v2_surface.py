"""The fields that our reader of v2 files knows: recorded while it reads files that have all of them."""

from __future__ import annotations

import json
import re
import tempfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest

from parallelrun_jupyter.azureml_v2.reader import deployments
from parallelrun_jupyter.azureml_v2.reader.fields import Fields
from parallelrun_jupyter.azureml_v2.reader.jobs import read_job

IDENTITY = {"identity": {"type": "managed"}}
ENVIRONMENT = {
    "name": "base", "version": "1", "image": "python:3.11", "conda_file": {"dependencies": ["numpy"]},
    "build": {"path": "./code", "dockerfile_path": "Dockerfile"}, "description": "d", "tags": {"a": "b"},
    "os_type": "linux", "inference_config": {}, "datastore": "d", "id": "i", "type": "t",
}  # fmt: skip
RESOURCES = {
    "instance_count": 2, "instance_type": "t", "shm_size": "2g", "docker_args": "-v", "locations": ["l"],
    "max_instance_count": 3, "properties": {"a": 1},
}  # fmt: skip
COMMON = {
    "display_name": "shown", "description": "about", "tags": {"a": "b"}, "properties": {"a": "b"},
    **IDENTITY,
}  # fmt: skip
COMMAND = {
    "command": "python prepare.py ${{inputs.data}} ${{outputs.made}}", "code": "./code",
    "environment": {"conda_file": {"dependencies": ["numpy"]}}, "environment_variables": {"MODE": "m"},
    "additional_includes": ["./extra.txt"], "distribution": {"type": "pytorch"},
    "queue_settings": {"job_tier": "spot"}, "services": {"s": {}}, "limits": {"timeout": 20},
    "resources": RESOURCES, "experiment_name": "e", "name": "n",
}  # fmt: skip
PARALLEL = {
    "input_data": "${{inputs.data}}", "mini_batch_size": "7", "max_concurrency_per_instance": 3,
    "mini_batch_error_threshold": 4, "error_threshold": 5, "logging_level": "DEBUG",
    "retry_settings": {"max_retries": 6, "timeout": 8}, "environment_variables": {"MODE": "m"},
    "resources": RESOURCES, "name": "n",
    "task": {
        "type": "run_function", "code": "./code", "entry_script": "score.py",
        "program_arguments": "--level 3", "append_row_to": "${{outputs.rows}}",
        "environment": {"conda_file": {"dependencies": ["numpy"]}}, "model": "m",
    },
}  # fmt: skip
STEP = {"comment": "c", "compute": "azureml:own", **COMMON}
TEXTS = {"type": "uri_folder", "path": "./texts", "mode": "download"}
PORTS = {
    "inputs": {"data": {
        "type": "integer", "optional": True, "default": 3, "description": "d", "mode": "mount", "min": 1,
        "max": 9, "enum": ["3"], "early_available": False, "is_control": False,
    }},
    "outputs": {"made": {"type": "uri_file"}},
}  # fmt: skip
COMPONENT = {
    "type": "command", "name": "n", "version": "1", "is_deterministic": False, **COMMON, **COMMAND,
    "intellectual_property": {}, "id": "i", **PORTS,
}  # fmt: skip
INNER = {"only": {"type": "command", "command": "true", "environment": "azureml:base@latest"}}
JOB: dict[str, Any] = {
    "type": "pipeline", "name": "n", "experiment_name": "trial", "compute": "azureml:cpu", **COMMON,
    "services": {}, "id": "i", "creation_context": {}, "status": "s",
    "settings": {
        "default_compute": "azureml:big", "default_datastore": "azureml:workspaceblobstore",
        "continue_on_step_failure": False, "force_rerun": True, "on_init": "a", "on_finalize": "b",
    },
    "inputs": {
        "texts": {**TEXTS, "path_on_compute": "p", "datastore": "d", "description": "d", "name": "n",
                  "version": "1"},
        "level": {"value": 3},
    },
    "outputs": {"rows": {
        "type": "uri_file", "path": "./out/rows.txt", "mode": "upload", "name": "rows", "version": "2",
        "description": "d",
    }},
    "jobs": {
        "clean": {
            "type": "command", **STEP, **COMMAND,
            "inputs": {"data": "${{parent.inputs.texts}}"}, "outputs": {"made": {"type": "uri_folder"}},
        },
        "score": {
            "type": "parallel", **STEP, **PARALLEL,
            "inputs": {"data": "${{parent.jobs.clean.outputs.made}}"},
            "outputs": {"rows": "${{parent.outputs.rows}}"},
        },
        "part": {"type": "command", "component": COMPONENT, "inputs": {"data": 3}},
        "whole": {"type": "pipeline", **STEP, "jobs": INNER, "settings": {}, "name": "n",
                  "experiment_name": "e", "inputs": {}, "outputs": {}},
        "in": {"type": "command", "command": "true", "environment": ENVIRONMENT},
    },
}  # fmt: skip
"""A job with every field of a pipeline, its steps, a component, data and environments."""

RETRY = {"max_retries": 1, "timeout": 9}
SETTINGS = {
    "mini_batch_size": 2, "max_concurrency_per_instance": 2, "error_threshold": 3, "output_action":
    "append_row", "output_file_name": "p.csv", "logging_level": "debug", "environment_variables":
    {"MODE": "m"}, "retry_settings": RETRY, "instance_count": 2,
}  # fmt: skip
MODEL = {
    "name": "m", "version": "1", "path": "./model", "type": "custom_model", "description": "d",
    "tags": {}, "properties": {}, "datastore": "d", "flavors": {}, "stage": "s", "id": "i",
    "creation_context": {}, "intellectual_property": {},
}  # fmt: skip
SHOWN = {"id": "i", "provisioning_state": "s", "creation_context": {}}
DEPLOYMENT: dict[str, Any] = {
    "type": "model", "name": "n", "endpoint_name": "e", "description": "d", "tags": {}, "properties": {},
    "model": MODEL, "code_configuration": {"code": "./code", "scoring_script": "score.py"},
    "environment": "azureml:base@latest", "compute": "azureml:cpu", "resources": RESOURCES,
    "settings": SETTINGS, **SHOWN,
}  # fmt: skip
OF_PIPELINE: dict[str, Any] = {
    "type": "pipeline", "name": "n", "endpoint_name": "e", "description": "d", "tags": {},
    "component": {"type": "pipeline", "jobs": INNER}, "settings": JOB["settings"], **SHOWN,
}  # fmt: skip
ENDPOINT: dict[str, Any] = {
    "name": "e", "description": "d", "tags": {}, "properties": {}, "auth_mode": "aad_token",
    "defaults": {"deployment_name": "d"}, **IDENTITY, "id": "i", "provisioning_state": "s",
    "scoring_uri": "u", "openapi_uri": "u", "location": "l",
}  # fmt: skip

SECTIONS = {
    "a pipeline job": "Pipeline",
    "the command step": "Command step",
    "the parallel step": "Parallel step",
    "the pipeline step": "Pipeline as a step",
    "the command component": "Component",
    "the declared input": "Declared inputs and outputs of a component",
    "the declared output": "Declared inputs and outputs of a component",
    "the input": "Input",
    "the output": "Output",
    "an environment": "Environment",
    "a deployment of a model": "Batch deployment of a model",
    "the model": "Batch deployment of a model",
    "a deployment of a pipeline": "Batch deployment of a pipeline component",
    "a batch endpoint": "Batch endpoint",
}
"""The objects in the words of the reader's messages, and their headings."""

TYPES: dict[str, str | Callable[..., str]] = {
    "get": "",
    "text": "text",
    "choice": lambda words: " \\| ".join(f"`{word}`" for word in words),
    "path": "path",
    "template": "text with expressions",
    "number": "whole number or expression",
    "flag": "`true` \\| `false`",
    "literal": "text, number, `true` or `false`",
    "texts": "list of texts",
    "plain": "mapping",
    "mapping": "mapping",
    "names": "mapping of texts",
    "entries": "mapping",
    "nested": "mapping",
}
"""The types that the reader's methods return."""

OTHER_TYPES = {
    "component": "path, name or mapping", "environment": "name, path or mapping", "conda_file":
    "path or mapping", "model": "name or mapping", "environment_variables":
    "mapping of texts with expressions", "path": "path, URL, name or expression",
    "defaults.deployment_name": "text", "partition_keys": "list of texts, or expression",
    "task.environment": "name, path or mapping", "resources.docker_args": "text or list of texts", "code": "path", "task.code": "path",
    "value": "text, number, `true` or `false`", "type": "text",
}  # fmt: skip
"""The types of fields whose nodes the reader looks at itself."""


@dataclass(slots=True)
class Recorder:
    """Notes the fields that each mapping is asked for."""

    seen: dict[int, tuple[Fields, dict[str, str]]] = field(default_factory=dict)
    parents: dict[int, tuple[Fields, str]] = field(default_factory=dict)
    depth: int = 0

    def note(self, fields: Fields, name: str, kind: str) -> None:
        known = self.seen.setdefault(id(fields), (fields, {}))[1]
        known[name] = known.get(name) or kind

    def section(self, fields: Fields) -> tuple[str, str]:
        """Return the heading of a mapping, and its dotted name in the object."""
        prefix = "model." if fields.kind == "the model" else ""
        while id(fields) in self.parents:
            fields, name = self.parents[id(fields)]
            prefix = f"{name}.{prefix}"
        kind = re.sub(r" '.*'$", "", fields.kind)
        if kind in {"the input", "the output"} and "optional" in self.seen[id(fields)][1]:
            kind = kind.replace("the ", "the declared ")
        return SECTIONS.get(kind, ""), prefix


@contextmanager
def recording() -> Iterator[Recorder]:
    """Record what the reader asks for."""
    recorder = Recorder()

    def wrap(method: str, kind: str | Callable[..., str]) -> Callable[..., Any]:
        original = getattr(Fields, method)

        def wrapped(self: Fields, name: str, *rest: Any) -> Any:
            if not recorder.depth:
                recorder.note(self, name, kind if isinstance(kind, str) else kind(*rest[:1]))
            recorder.depth += 1
            try:
                found = original(self, name, *rest)
            finally:
                recorder.depth -= 1
            if method == "nested" and found is not None:
                recorder.parents[id(found)] = (self, name)
                recorder.seen.setdefault(id(found), (found, {}))
            return found

        return wrapped

    def ignore(self: Fields, *names: str) -> None:
        for name in names:
            recorder.note(self, name, "any")
        original_ignore(self, *names)

    def low(fields: Fields | None, name: str, lowest: int) -> int | None:
        if fields is not None:
            recorder.note(fields, name, f"whole number from {lowest}")
        return original_low(fields, name, lowest)

    original_ignore, original_low = Fields.ignore, deployments._low
    with pytest.MonkeyPatch.context() as patch:
        for method, kind in TYPES.items():
            patch.setattr(Fields, method, wrap(method, kind))
        patch.setattr(Fields, "ignore", ignore)
        patch.setattr(deployments, "_low", low)
        yield recorder


def surface() -> dict[str, dict[str, str]]:
    """Return the types of all fields, by heading and dotted name.

    Raises
    ------
    AssertionError
        A file of this module has a mistake.
    """
    here = Path(__file__).parent
    with recording() as recorder:
        problems = [*read_job(here / "job.yml", text=json.dumps(JOB)).problems]
        for record in (DEPLOYMENT, OF_PIPELINE):
            problems += deployments.read_deployment(
                here / "deployment.yml", text=json.dumps(record)
            ).problems
        with tempfile.TemporaryDirectory() as folder:
            file = Path(folder) / "endpoint.yml"
            file.write_text(json.dumps(ENDPOINT))
            problems += deployments.read_endpoint(file).problems
    assert not problems, problems
    found: dict[str, dict[str, str]] = {heading: {} for heading in SECTIONS.values()}
    for fields, names in recorder.seen.values():
        heading, prefix = recorder.section(fields)
        for name, kind in names.items() if heading else ():
            key = prefix + name
            found[heading][key] = found[heading].get(key) or kind or OTHER_TYPES.get(key, "")
    return {heading: _tidy(rows) for heading, rows in found.items()}


def _tidy(rows: dict[str, str]) -> dict[str, str]:
    """Leave out the schema, mappings whose fields are listed, and settings that older files have at the root."""
    parents = {key.rpartition(".")[0] for key in rows}
    return {
        key: OTHER_TYPES.get(key, kind) if kind in {"", "text", "mapping", "path"} else kind
        for key, kind in sorted(rows.items())
        if key != "$schema" and f"settings.{key}" not in rows
        and (key not in parents or key == "model")
        and not (key.startswith("retry_settings.") and f"settings.{key}" in rows)
        and not (key == "retry_settings" and "settings.retry_settings.timeout" in rows)
    }  # fmt: skip
