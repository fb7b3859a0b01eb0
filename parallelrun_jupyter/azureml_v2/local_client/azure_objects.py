"""Objects of azure-ai-ml as plain values, as a YAML file would give them.

azure-ai-ml is not imported here: only a caller who has it can pass its objects. What they would send to
Azure, ``_to_rest_object()``, is the truth; their ``dump()`` loses the types of outputs.
"""

from __future__ import annotations

import json
import os
import re
from collections.abc import Mapping
from typing import Any

from ..model.jobs import STEP_TYPES, PipelineJob
from ..model.places import NOWHERE
from ..model.problems import JobFileError, Problem
from ..reader.jobs import job_of

_MODES = {
    "ReadOnlyMount": "ro_mount", "Download": "download", "Direct": "direct", "EvalMount": "eval_mount",
    "EvalDownload": "eval_download", "ReadWriteMount": "rw_mount", "Upload": "upload",
}  # fmt: skip
_INTERNAL = ("_source", "componentId", "computeId", "name", "type", "services", "properties")
_SETTINGS = (
    "default_compute", "default_datastore", "continue_on_step_failure", "force_rerun"
)  # fmt: skip
_DECLARED = ("inputs", "outputs", "is_deterministic", "version", "type")
_ANONYMOUS = ("azureml_anonymous", "CliV2AnonymousEnvironment")
_RANDOM = re.compile(r"[0-9a-f]{8}(?:-[0-9a-f]{4}){3}-[0-9a-f]{12}")
"""The name that Azure's client gives an environment without a name: it differs each time."""

_NAME = re.compile(r"[^/\\:@]+[:@][^/\\:@]+")
_FACT_OF_F_STRING = re.compile(r"\$\{(name|output_name|default_datastore)\}")
_DURATION = re.compile(
    r"P(?:(?P<days>\d+)D)?T?(?:(?P<hours>\d+)H)?(?:(?P<minutes>\d+)M)?(?:(?P<seconds>\d+)(?:\.\d+)?S)?"
)


def is_azures(value: Any) -> bool:
    """Return whether an object is one of azure-ai-ml."""
    return type(value).__module__.startswith("azure.ai.ml")


def job_of_azure(job: Any) -> PipelineJob:
    """Return a pipeline job, or a single command, of azure-ai-ml as our model.

    Raises
    ------
    JobFileError
        It is another object, or has mistakes; the message has all of them.
    """
    kind = type(job).__name__
    if is_azures(job) and kind == "PipelineJob":
        record = _job_record(job)
    elif is_azures(job) and kind == "Command":
        record = _command_record(job)
    else:
        message = (
            f"the job is {_shown(job)}; expected a pipeline: the result of a function with "
            "@dsl.pipeline, of load_job('pipeline.yml'), or one command(...)."
        )
        raise JobFileError([Problem(NOWHERE, message)])
    return job_of(record, _folder(job)).checked()


def _shown(value: Any) -> str:
    return f"of type {type(value).__module__}.{type(value).__name__}"


def _folder(item: Any) -> str:
    """Return the folder that an object's paths are relative to."""
    return os.path.abspath(os.fspath(getattr(item, "base_path", None) or "."))


def _job_record(job: Any) -> dict[str, Any]:
    folder = _folder(job)
    steps = {name: _step_record(step, folder) for name, step in job.jobs.items()}
    wire = _sent(job).properties.as_dict()  # after the steps, whose errors name them
    settings = wire.get("settings") or {}
    record = {
        "type": "pipeline",
        "name": job.name,
        # Older versions of azure-ai-ml write the names in the second way.
        "display_name": wire.get("displayName") or wire.get("display_name"),
        "experiment_name": wire.get("experimentName") or wire.get("experiment_name"),
        "description": wire.get("description"),
        "tags": wire.get("tags"),
        "compute": wire.get("computeId") or wire.get("compute_id"),
        "settings": {name: settings[name] for name in _SETTINGS if name in settings},
        "inputs": _values(wire.get("inputs"), folder),
        "outputs": _values(wire.get("outputs"), folder),
        "jobs": steps,
    }
    return _without_empty(record)


def _sent(item: Any) -> Any:
    """Return what azure-ai-ml would send; its own refusals keep their words."""
    try:
        return item._to_rest_object()
    except Exception as error:  # azure-ai-ml may raise anything
        name = getattr(item, "name", None) or type(item).__name__
        message = f"azure-ai-ml cannot convert {name!r}: {type(error).__name__}: {error}"
        raise JobFileError([Problem(NOWHERE, message)]) from error


def _command_record(command: Any) -> dict[str, Any]:
    """Return one command as a pipeline with one step."""
    name = re.sub(r"\W+", "_", command.name or command.display_name or "command")
    return _without_empty(
        {
            "type": "pipeline",
            "display_name": command.display_name or name,
            "experiment_name": command.experiment_name,
            "description": command.description,
            "tags": dict(command.tags or {}),
            "jobs": {name: _step_record(command, _folder(command))},
        }
    )


def _step_record(node: Any, folder: str) -> dict[str, Any]:
    """Return a step, with its component in place."""
    wire = dict(_sent(node))
    component = _component_of_step(wire.get("componentId")) if node.type in STEP_TYPES else None
    declared = component.get("outputs", {}) if isinstance(component, Mapping) else {}
    outputs = _values(wire.get("outputs"), folder)
    for name, output in outputs.items():
        type_ = (declared.get(name) or {}).get("type")
        # Azure's client writes uri_folder for an output that has only a mode; its component knows better.
        if isinstance(output, dict) and type_ and output.get("type") in {None, "uri_folder"}:
            output["type"] = type_
    record = {
        **{name: value for name, value in wire.items() if name not in _INTERNAL},
        "type": node.type,
        "compute": wire.get("computeId"),
        "inputs": _values(wire.get("inputs"), folder),
        "outputs": outputs,
        "component": component,
        **_common_record(wire, folder),
    }
    if isinstance(wire.get("task"), Mapping):
        record["task"] = _task_record(wire["task"], folder)
    if isinstance(component, Mapping) and not component.get("name"):
        # A step in place has a component in name only: it declares nothing.
        own = {name: item for name, item in component.items() if name not in _DECLARED}
        names = {name: {"type": item["type"]} for name, item in declared.items()}
        record = {**own, **_without_empty({**record, "component": None})}
        record["outputs"] = {**names, **outputs}
    return _without_empty(record)


def _component_of_step(component: Any) -> Any:
    if isinstance(component, str):
        return component if component.startswith("azureml:") else f"azureml:{component}"
    return component_record(component)


def component_record(component: Any) -> dict[str, Any]:
    """Return a component of azure-ai-ml as plain values with absolute paths.

    Parameters
    ----------
    component
        A command, parallel or pipeline component.

    Raises
    ------
    JobFileError
        azure-ai-ml cannot convert it.
    """
    folder = _folder(component)
    try:
        plain = json.loads(json.dumps(component._to_dict(), default=str))
    except (ValueError, TypeError, AttributeError) as error:
        message = f"azure-ai-ml cannot convert the component {component.name!r}: {error}"
        raise JobFileError([Problem(NOWHERE, message)]) from error
    record = {**plain, **_common_record(plain, folder)}
    record.pop("$schema", None)
    if plain.get("name") in _ANONYMOUS:
        record.update(name=None, version=None)
    if "task" in plain:
        record["task"] = _task_record(plain["task"], folder)
    if component.type == "pipeline":
        record["jobs"] = {name: _step_record(node, folder) for name, node in component.jobs.items()}
    return _without_empty(record)


def _common_record(wire: Mapping[str, Any], folder: str) -> dict[str, Any]:
    """Return the fields of steps and of components that Azure writes in another way than a file."""
    limits, identity = wire.get("limits") or {}, wire.get("identity") or {}
    keys, size = wire.get("partition_keys"), wire.get("mini_batch_size")
    if isinstance(keys, str) and not keys.startswith("${{"):
        keys = json.loads(keys)
    return {
        "limits": {"timeout": _seconds(limits["timeout"])} if limits.get("timeout") else None,
        "identity": {"type": identity.get("type") or identity.get("identity_type")}
        if identity
        else None,
        "partition_keys": keys,
        # Azure's client writes 0 for a step with keys alone.
        "mini_batch_size": None if size in (None, 0, "0") else str(size),
        "code": _path(wire.get("code"), folder),
        "environment": environment_record(wire.get("environment"), folder),
        "additional_includes": [
            _path(path, folder) for path in wire.get("additional_includes") or ()
        ],
    }


def _task_record(task: Mapping[str, Any], folder: str) -> dict[str, Any]:
    return _without_empty(
        {
            **task,
            "code": _path(task.get("code"), folder),
            "environment": environment_record(task.get("environment"), folder),
        }
    )


def environment_record(environment: Any, folder: str) -> Any:
    """Return an environment as plain values with absolute paths; a name is unchanged."""
    if not isinstance(environment, Mapping):
        return environment
    record = dict(environment)
    name = str(record.get("name") or "")
    if name in _ANONYMOUS or _RANDOM.fullmatch(name):
        record.update(name=None, version=None)
    if isinstance(record.get("conda_file"), str):
        record["conda_file"] = _path(record["conda_file"], folder)
    build = record.get("build")
    if isinstance(build, Mapping) and build.get("path"):
        record["build"] = {**build, "path": _path(build["path"], folder)}
    return _without_empty(record)


def _seconds(value: Any) -> Any:
    """Return a duration such as PT1H30S in seconds; other values are unchanged."""
    match = _DURATION.fullmatch(value) if isinstance(value, str) else None
    if match is None or not any(match.groups()):
        return value
    days, hours, minutes, seconds = (int(text or 0) for text in match.groups())
    return ((days * 24 + hours) * 60 + minutes) * 60 + seconds


def _values(wire: Mapping[str, Any] | None, folder: str) -> dict[str, Any]:
    return {name: _value(item, folder) for name, item in (wire or {}).items() if item is not None}


def _value(item: Mapping[str, Any], folder: str) -> Any:
    """Return an input or an output."""
    type_ = next(
        (item[name] for name in ("jobInputType", "job_input_type", "jobOutputType",
         "job_output_type", "type") if item.get(name)), None,
    )  # fmt: skip
    mode = _MODES.get(str(item.get("mode")), item.get("mode"))
    if type_ == "literal":
        value = item.get("value")
        is_bound = isinstance(value, str) and "${{" in value
        is_output = "type" in item
        if is_bound and mode and not is_output:
            return {"path": value, "mode": mode}
        return value
    record = {
        "type": type_,
        "mode": mode,
        "path": _with_facts(_path(item.get("uri"), folder)),
        "name": item.get("name") or item.get("assetName") or item.get("asset_name"),
        "version": item.get("version") or item.get("assetVersion") or item.get("asset_version"),
    }
    return _without_empty(record)


def _path(path: Any, folder: str) -> Any:
    """Return a local path as absolute; Azure's client cuts ``azureml:`` from names in files."""
    if not isinstance(path, str) or not path:
        return path
    if path.startswith(("azureml:", "git+", "${{")) or "://" in path:
        return path
    local = os.path.normpath(os.path.join(folder, os.path.expanduser(path)))
    if _NAME.fullmatch(path) and not os.path.exists(local):
        return f"azureml:{path}"
    return local


def _with_facts(path: Any) -> Any:
    """Return a path with the job's name as an expression: in an f-string, ``${{name}}`` is ``${name}``."""
    return _FACT_OF_F_STRING.sub(r"${{\1}}", path) if isinstance(path, str) else path


def _without_empty(record: Mapping[str, Any]) -> dict[str, Any]:
    """Return a record without None, "", and empty mappings and lists; an empty output is kept."""
    kept = {}
    for name, value in record.items():
        if value is None or (value in ("", {}, []) and not isinstance(value, bool | int)):
            continue
        kept[name] = value
    return kept
