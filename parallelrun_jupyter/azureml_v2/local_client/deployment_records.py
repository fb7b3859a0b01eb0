"""Batch deployments as plain values with absolute paths: of azure-ai-ml, or of our own reader."""

from __future__ import annotations

import os
from collections.abc import Mapping
from typing import Any

from ...errors import ConfigError
from ..model.deployments import Model, ModelDeployment, PipelineDeployment
from ..model.places import NOWHERE
from ..model.problems import JobFileError, Problem
from ..model.values import Environment
from ..reader.tree import read_tree
from .asset_base import facts_of
from .azure_objects import component_record, environment_record, is_azures
from .component_files import record_of_file

_SETTINGS = (
    "mini_batch_size", "max_concurrency_per_instance", "error_threshold", "output_action",
    "output_file_name", "logging_level", "environment_variables",
)  # fmt: skip
_PIPELINE = ("default_compute", "default_datastore", "continue_on_step_failure", "force_rerun")


def deployment_record(deployment: Any) -> dict[str, Any]:
    """Return the fields of a deployment, as its file has them.

    Raises
    ------
    ConfigError
        It is something else; the message has its type, and what is expected.
    """
    if isinstance(deployment, ModelDeployment | PipelineDeployment):
        return _without_none(_of_ours(deployment))
    kind = type(deployment).__name__
    if is_azures(deployment) and kind in {"ModelBatchDeployment", "BatchDeployment"}:
        return _without_none(_of_model(deployment))
    if is_azures(deployment) and kind == "PipelineComponentBatchDeployment":
        return _without_none(_of_pipeline(deployment))
    refuse_online(deployment)
    msg = (
        f"the deployment is of type {type(deployment).__module__}.{kind}; expected a "
        "ModelBatchDeployment or a PipelineComponentBatchDeployment, or the result of "
        "azureml_v2.load_batch_deployment(path)."
    )
    raise ConfigError(msg)


def _of_ours(deployment: ModelDeployment | PipelineDeployment) -> dict[str, Any]:
    common = {
        "name": deployment.name, "endpoint_name": deployment.endpoint_name,
        "description": deployment.description or None, "tags": dict(deployment.tags),
    }  # fmt: skip
    if isinstance(deployment, PipelineDeployment):
        values = {name: getattr(deployment.settings, name) for name in _PIPELINE}
        known = {name: value for name, value in values.items() if value not in (None, "")}
        component: Any = deployment.component
        if not component.startswith("azureml:"):
            file = component or deployment.file
            component = record_of_file(file) if component else record_of_file(file)["component"]
        return {**common, "type": "pipeline", "component": component, "settings": known}
    own, model = deployment.settings, deployment.model
    retry = {"max_retries": own.max_retries, "timeout": own.timeout}
    return {
        **common,
        "type": "model",
        "properties": dict(deployment.properties),
        "model": model and (model.reference or _files_of(model)),
        "code_configuration": deployment.code and _code_of_ours(deployment),
        "environment": deployment.environment and _environment_of_ours(deployment.environment),
        "compute": deployment.compute or "local",
        "resources": {"instance_count": own.instance_count},
        "settings": {
            **{name: getattr(own, name) for name in _SETTINGS},
            "environment_variables": dict(own.environment_variables),
            "retry_settings": retry,
        },
    }


def _files_of(model: Model) -> dict[str, Any]:
    names = ("name", "path", "type", "description", "tags", "properties")
    return {name: value for name in names if (value := getattr(model, name))}


def _code_of_ours(deployment: ModelDeployment) -> dict[str, Any]:
    assert deployment.code is not None
    script = deployment.code.scoring_script
    if deployment.code.code:
        return {"code": deployment.code.code, "scoring_script": script}
    path = os.path.join(os.path.dirname(os.path.abspath(deployment.file)), script)
    return {"code": path, "scoring_script": os.path.basename(path)}


def _environment_of_ours(environment: Environment) -> Any:
    if environment.reference:
        return environment.reference
    return _with_packages(
        {"name": environment.name, "image": environment.image, "conda_file": environment.conda_file}
    )


def _with_packages(environment: Mapping[str, Any]) -> dict[str, Any]:
    """Return an environment with the content of its conda file, which may be removed later.

    Raises
    ------
    JobFileError
        The conda file cannot be read.
    """
    conda = environment.get("conda_file")
    if isinstance(conda, str):
        conda = read_tree(conda).plain()
    record = {**environment, "conda_file": dict(conda) if conda else None}
    return {name: value for name, value in record.items() if value}


def refuse_online(item: Any) -> None:
    """Refuse an online endpoint or its deployment.

    Raises
    ------
    ConfigError
        It is one.
    """
    kind = type(item).__name__
    if "Online" in kind:
        what = "deployment" if "Deployment" in kind else "endpoint"
        msg = (
            f"{getattr(item, 'name', '')!r} is a {kind}; expected a batch {what}. An online {what} answers "
            "requests, and nothing listens on this machine: create a BatchEndpoint with a "
            "ModelBatchDeployment of the model, or use MLClient."
        )
        raise ConfigError(msg)


def _common(deployment: Any, type_: str) -> dict[str, Any]:
    return {
        "type": type_,
        "name": deployment.name,
        "endpoint_name": deployment.endpoint_name,
        "description": deployment.description,
        "tags": dict(deployment.tags or {}),
    }


def _of_model(deployment: Any) -> dict[str, Any]:
    settings = _settings_of(deployment)
    retry = getattr(settings, "retry_settings", None)
    folder = os.path.abspath(os.fspath(deployment.base_path or "."))
    variables = getattr(settings, "environment_variables", None) or deployment.environment_variables
    count = getattr(deployment.resources, "instance_count", None)
    return {
        **_common(deployment, "model"),
        "properties": dict(deployment.properties or {}),
        "model": _model(deployment.model),
        "code_configuration": _code(deployment.code_configuration, folder),
        "environment": _environment(deployment.environment, folder),
        "compute": deployment.compute or "local",
        "resources": {"instance_count": count} if count else None,
        "settings": _without_none(
            {
                **{name: getattr(settings, name, None) for name in _SETTINGS},
                "environment_variables": dict(variables or {}),
                "retry_settings": retry
                and _without_none({"max_retries": retry.max_retries, "timeout": retry.timeout}),
            }
        ),
    }


def _settings_of(deployment: Any) -> Any:
    """Return the object with the settings: versions of azure-ai-ml have them in different places."""
    places = ("_settings", "settings", "model_deployment_settings")
    return next((found for name in places if (found := vars(deployment).get(name))), deployment)


def _model(model: Any) -> Any:
    if model is None or isinstance(model, str):
        return model and reference(model)
    if str(getattr(model, "id", None) or "").startswith("azureml:"):
        return model.id
    return _without_none(
        {
            "name": model.name,
            "path": os.fspath(model.path or ""),
            "type": model.type,
            **facts_of(model),
        }
    )


def reference(text: str) -> str:
    """Return a name, or an id of Azure, as the files of jobs have it."""
    if text.startswith("azureml:"):
        return text
    return f"azureml:/{text}" if text.startswith("/subscriptions/") else f"azureml:{text}"


def _code(code: Any, folder: str) -> dict[str, Any] | None:
    if code is None:
        return None
    path = os.path.join(folder, os.path.expanduser(os.fspath(code.code))) if code.code else None
    script = os.fspath(code.scoring_script)
    if path is None:  # the script alone: its folder may hold the data, too
        path, script = os.path.join(folder, script), os.path.basename(script)
    return {"code": os.path.normpath(path), "scoring_script": script}


def _environment(environment: Any, folder: str) -> Any:
    if environment is None or isinstance(environment, str):
        return environment and reference(environment)
    if str(environment.id or "").startswith("azureml:"):
        return environment.id
    record = environment_record(dict(environment._to_dict()), folder)
    return _with_packages({name: record.get(name) for name in ("name", "image", "conda_file")})


def _of_pipeline(deployment: Any) -> dict[str, Any]:
    component = deployment.component
    if deployment.job_definition is not None or component is None:
        message = "expected a component, such as component=load_component('pipeline.yml')."
        raise JobFileError([Problem(NOWHERE, f"the deployment has no component; {message}")])
    record = reference(component) if isinstance(component, str) else component_record(component)
    return {
        **_common(deployment, "pipeline"),
        "component": record,
        "settings": {name: value for name, value in (deployment.settings or {}).items() if value},
    }


def _without_none(record: Mapping[str, Any]) -> dict[str, Any]:
    return {name: value for name, value in record.items() if value is not None and value != {}}
