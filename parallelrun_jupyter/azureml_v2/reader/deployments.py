"""Reads batch deployments and batch endpoints from files.

`load_deployment` and `load_endpoint` raise an error with all problems, `read_deployment` and
`read_endpoint` return the problems beside as much of the object as could be read.
"""

from __future__ import annotations

import os
from collections.abc import Iterable, Mapping
from dataclasses import replace
from typing import Any

from ..model.deployments import (
    AUTH_MODES,
    LOGGING_LEVELS,
    MODEL_TYPES,
    OUTPUT_ACTIONS,
    BatchEndpoint,
    BatchSettings,
    CodeConfiguration,
    Deployment,
    Model,
    ModelDeployment,
    PipelineDeployment,
)
from ..model.jobs import Component
from ..model.places import Places
from ..model.problems import JobFileError, Problem
from .fields import Fields, Source, scalar_text
from .jobs import Reading, read_settings
from .steps import read_component_of_step
from .tree import Node, read_overridden
from .values import read_environment, read_identity, read_resources

_TYPES = ("model", "pipeline")
_SETTINGS = (
    "mini_batch_size", "max_concurrency_per_instance", "retry_settings", "error_threshold",
    "output_action", "output_file_name", "logging_level", "environment_variables",
)  # fmt: skip
_OF_AZURE = ("id", "provisioning_state", "creation_context")
"""Fields that Azure writes when it shows a deployment."""


def load_deployment(
    path: str | os.PathLike[str], overrides: Mapping[str, Any] | None = None
) -> Deployment:
    """Read a batch deployment.

    Parameters
    ----------
    path
        The YAML file. Paths in it are relative to its folder.
    overrides
        Values to set first, by dotted name: ``{"settings.mini_batch_size": 5}``.

    Raises
    ------
    JobFileError
        The file has mistakes; the message has file, line and column of each.
    """
    return read_deployment(path, overrides).checked()


def read_deployment(
    path: str | os.PathLike[str],
    overrides: Mapping[str, Any] | None = None,
    *,
    text: str | None = None,
) -> Reading[Deployment]:
    """Read a batch deployment, with all of its problems; ``text`` replaces the file's content."""
    file = os.fspath(path)
    problems: list[Problem] = []
    try:
        tree = read_overridden(file, overrides, text)
    except JobFileError as error:
        return Reading(None, error.problems)
    fields = Fields(tree, Source(file, problems), "a batch deployment")
    if is_endpoint(tree):
        message = (
            "this is the file of an endpoint; give that of a deployment, which has a model or a "
            "component."
        )
        return Reading(None, (Problem(tree.place, message),))
    if "jobs" in tree.value and "component" not in tree.value:
        message = "this is the file of a pipeline job; start it by 'parallelrun azureml run FILE'."
        return Reading(None, (Problem(tree.place, message),))
    type_ = _word(fields, "type", _TYPES)
    if "type" in fields and not type_:
        return Reading(None, tuple(problems))
    is_pipeline = type_ == "pipeline" or (not type_ and "component" in fields)
    deployment = _pipeline(fields, file) if is_pipeline else _model(fields, file, type_)
    return Reading(deployment, tuple(sorted(set(problems))))


def is_endpoint(tree: Node) -> bool:
    """Return whether a file is an endpoint, which only names its deployments."""
    keys = tree.value if isinstance(tree.value, dict) else {}
    return ("auth_mode" in keys or "defaults" in keys) and not {"model", "component"} & set(keys)


def _common(fields: Fields) -> dict[str, Any]:
    fields.ignore(*_OF_AZURE)
    return {
        "name": fields.text("name"),
        "endpoint_name": fields.text("endpoint_name"),
        "description": fields.text("description"),
        "tags": fields.names("tags"),
    }


# Deployments of models


def _model(fields: Fields, file: str, type_: str) -> ModelDeployment:
    fields.kind = "a deployment of a model" if type_ else "a batch deployment"
    fields.require("name", "endpoint_name", "model", *(("compute",) if type_ else ()))
    resources = read_resources(fields)
    deployment = ModelDeployment(
        **_common(fields),
        properties=fields.names("properties"),
        model=_read_model(fields),
        code=_read_code(fields),
        environment=read_environment(fields),
        compute=fields.text("compute"),
        resources=resources,
        settings=_read_settings(fields, type_),
        is_legacy=not type_,
        file=file,
    )
    if resources is not None and resources.instance_count is not None:
        count = _low(fields.nested("resources", "resources"), "instance_count", 1)
        settings = replace(deployment.settings, instance_count=count or 1)
        deployment = replace(deployment, settings=settings)
    return replace(deployment, places=fields.end())


def _read_model(fields: Fields) -> Model | None:
    node = fields.get("model")
    if node is None:
        return None
    if isinstance(node.value, str):
        text = node.value
        if text.startswith("azureml:"):
            return Model(reference=text, places=Places(node.place))
        if text.startswith((".", "/", "file:")) or os.path.exists(fields.source.path(text)):
            message = (
                f"model is {text!r}; write 'model: {{path: {text}}}' for files of this machine."
            )
            fields.source.add(node.place, message)
            return None
        return Model(reference=f"azureml:{text}", places=Places(node.place))
    inner = Fields(node, fields.source, "the model")
    inner.require("path")
    inner.ignore("datastore", "flavors", "stage", "id", "creation_context", "intellectual_property")
    return Model(
        name=inner.text("name"),
        version=inner.text("version"),
        path=inner.path("path"),
        type=_word(inner, "type", MODEL_TYPES),
        description=inner.text("description"),
        tags=inner.names("tags"),
        properties=inner.names("properties"),
        places=inner.end(),
    )


def _read_code(fields: Fields) -> CodeConfiguration | None:
    inner = fields.nested("code_configuration", "code_configuration")
    if inner is None:
        return None
    inner.require("scoring_script")
    return CodeConfiguration(
        code=inner.path("code"),
        scoring_script=inner.text("scoring_script"),
        places=inner.end(),
    )


def _read_settings(fields: Fields, type_: str) -> BatchSettings:
    """Read ``settings``; a legacy file has the same fields at its root."""
    found = _settings_in(fields)
    inner = fields.nested("settings", "settings")
    if inner is not None:
        count = _low(inner, "instance_count", 1)
        found = {**found, **_settings_in(inner), **({"instance_count": count} if count else {})}
        inner.end()
        if not type_:
            message = "settings is only read in a file with 'type: model'; add that line."
            fields.source.add(fields.node.keys["settings"], message)
    misplaced = [name for name in _SETTINGS if type_ and name in fields and name not in _AT_ROOT]
    for name in misplaced:
        message = f"{name!r} belongs under 'settings' in a file with 'type: model'; move it there."
        fields.source.add(fields.node.keys[name], message)
    return BatchSettings(**found)


_AT_ROOT = ("error_threshold", "environment_variables")
"""Settings that Azure also reads at the root of a file with a type."""


def _settings_in(fields: Fields) -> dict[str, Any]:
    """Return the settings that are among some fields."""
    found: dict[str, Any] = {
        "mini_batch_size": _low(fields, "mini_batch_size", 1),
        "max_concurrency_per_instance": _low(fields, "max_concurrency_per_instance", 1),
        "error_threshold": _low(fields, "error_threshold", -1),
        "output_action": _word(fields, "output_action", OUTPUT_ACTIONS) or None,
        "output_file_name": _file_name(fields) or None,
        "logging_level": _word(fields, "logging_level", LOGGING_LEVELS) or None,
        "environment_variables": fields.names("environment_variables") or None,
    }
    retry = fields.nested("retry_settings", "retry_settings")
    if retry is not None:
        found["max_retries"] = _low(retry, "max_retries", 0)
        found["timeout"] = _low(retry, "timeout", 1)
        retry.end()
    return {name: value for name, value in found.items() if value is not None}


def _low(fields: Fields | None, name: str, low: int) -> int | None:
    """Return a whole number that is not below a limit; None if it is missing or wrong."""
    node = fields.get(name) if fields else None
    if fields is None or node is None:
        return None
    value = node.value
    if isinstance(value, str) and value.strip().lstrip("-").isdecimal():
        value = int(value)
    if isinstance(value, float) and value.is_integer():
        value = int(value)
    if not isinstance(value, int) or isinstance(value, bool):
        fields.wrong(name, node, "a whole number")
        return None
    if value < low:
        meaning = ", or -1 to ignore all failures" if low == -1 else ""
        fields.wrong(name, node, f"a number from {max(low, 0)}{meaning}")
        return None
    return value


def _word(fields: Fields, name: str, words: Iterable[str]) -> str:
    """Return one of some words, in lower case; Azure reads them in any case."""
    node = fields.get(name)
    if node is not None and isinstance(node.value, str):
        node.value = node.value.lower()
    return fields.choice(name, words)


def _file_name(fields: Fields) -> str:
    node = fields.get("output_file_name")
    name = fields.text("output_file_name")
    if node is not None and (os.path.basename(name) != name or name in {".", ".."}):
        fields.wrong("output_file_name", node, "the name of a file, without a folder")
        return ""
    return name


# Deployments of pipeline components


def _pipeline(fields: Fields, file: str) -> PipelineDeployment:
    fields.kind = "a deployment of a pipeline"
    if "job_definition" in fields:
        message = (
            "job_definition names a job of a workspace, which is not on this machine; give the "
            "component, such as component: ./pipeline.yml"
        )
        fields.source.add(fields.node.keys["job_definition"], message)
        fields.ignore("job_definition")
    else:
        fields.require("component")
    component, declared = _component(fields)
    deployment = PipelineDeployment(
        **_common(fields),
        component=component,
        declared=declared,
        settings=read_settings(fields),
        file=file,
    )
    return replace(deployment, places=fields.end())


def _component(fields: Fields) -> tuple[str, Component | None]:
    reference, declared = read_component_of_step(fields, "deployment", ())
    node = fields.get("component")
    if node is not None and declared is not None and declared.type != "pipeline":
        message = (
            f"the component is of type {declared.type!r}; a deployment needs one of type 'pipeline', "
            "with this one as a step under 'jobs'."
        )
        fields.source.add(node.place, message)
        return reference, None
    return reference, declared


# Endpoints


def load_endpoint(
    path: str | os.PathLike[str], overrides: Mapping[str, Any] | None = None
) -> BatchEndpoint:
    """Read a batch endpoint.

    Raises
    ------
    JobFileError
        The file has mistakes; the message has file, line and column of each.
    """
    return read_endpoint(path, overrides).checked()


def read_endpoint(
    path: str | os.PathLike[str], overrides: Mapping[str, Any] | None = None
) -> Reading[BatchEndpoint]:
    """Read a batch endpoint, with all of its problems."""
    file = os.fspath(path)
    problems: list[Problem] = []
    try:
        tree = read_overridden(file, overrides)
    except JobFileError as error:
        return Reading(None, error.problems)
    fields = Fields(tree, Source(file, problems), "a batch endpoint")
    fields.require("name")
    fields.ignore("id", "provisioning_state", "scoring_uri", "openapi_uri", "location")
    defaults = fields.nested("defaults", "defaults")
    default_node = defaults.get("deployment_name") if defaults else None
    if defaults is not None:
        defaults.end()
    endpoint = BatchEndpoint(
        name=fields.text("name"),
        description=fields.text("description"),
        tags=fields.names("tags"),
        properties=fields.names("properties"),
        auth_mode=_word(fields, "auth_mode", AUTH_MODES),
        default_deployment=scalar_text(default_node) if default_node else "",
        identity=read_identity(fields),
        file=file,
    )
    endpoint = replace(endpoint, places=fields.end())
    return Reading(endpoint, tuple(sorted(set(problems))))
