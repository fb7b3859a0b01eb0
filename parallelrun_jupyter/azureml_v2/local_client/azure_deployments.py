"""Batch endpoints and deployments of this machine as objects of azure-ai-ml, where that is loaded."""

from __future__ import annotations

import os
import sys
from collections.abc import Mapping
from typing import Any

from ..model.deployments import Deployment, ModelDeployment, PipelineDeployment

_ENTITIES = "azure.ai.ml.entities"


def azures_endpoint(name: str, values: Mapping[str, Any]) -> Any:
    """Return an endpoint as azure-ai-ml has it; None if that is not loaded."""
    entities = sys.modules.get(_ENTITIES)
    if entities is None:
        return None
    known = {key: value for key, value in values.items() if value}
    return entities.BatchEndpoint(name=name, **{**known, "defaults": values["defaults"]})


def azures_deployment(deployment: Deployment) -> Any:
    """Return a deployment as azure-ai-ml has it; None if that is not loaded."""
    entities = sys.modules.get(_ENTITIES)
    if entities is None:
        return None
    common = {
        "name": deployment.name, "endpoint_name": deployment.endpoint_name,
        "description": deployment.description or None, "tags": dict(deployment.tags),
    }  # fmt: skip
    if isinstance(deployment, PipelineDeployment):
        settings = {
            "default_compute": deployment.settings.default_compute,
            "continue_on_step_failure": deployment.settings.continue_on_step_failure,
        }
        made = entities.PipelineComponentBatchDeployment(
            **common, component=_component(deployment), settings=settings
        )
        made._provisioning_state = "Succeeded"
        return made
    return _of_model(entities, deployment, common)


def _component(deployment: PipelineDeployment) -> Any:
    file = os.path.join(os.path.dirname(deployment.file), "component.yml")
    load = getattr(sys.modules.get("azure.ai.ml"), "load_component", None)
    return load(file) if load is not None and os.path.isfile(file) else deployment.component


def _of_model(entities: Any, deployment: ModelDeployment, common: Mapping[str, Any]) -> Any:
    own, code, environment = deployment.settings, deployment.code, deployment.environment
    settings = entities.ModelBatchDeploymentSettings(
        mini_batch_size=own.mini_batch_size, instance_count=own.instance_count,
        max_concurrency_per_instance=own.max_concurrency_per_instance,
        output_action=own.output_action, output_file_name=own.output_file_name,
        retry_settings=entities.BatchRetrySettings(
            max_retries=own.max_retries, timeout=own.timeout
        ),
        environment_variables=dict(own.environment_variables),
        error_threshold=own.error_threshold, logging_level=own.logging_level,
    )  # fmt: skip
    named = environment.reference if environment else None
    if environment is not None and not named:
        conda = environment.conda_file
        named = entities.Environment(
            name=environment.name or None, image=environment.image or "local",
            conda_file=dict(conda) if isinstance(conda, Mapping) else conda,
        )  # fmt: skip
    folder = os.path.dirname(deployment.file)
    made = entities.ModelBatchDeployment(
        **common, settings=settings, compute=deployment.compute, environment=named,
        model=deployment.model.reference if deployment.model else None,
        properties=dict(deployment.properties),
        code_configuration=entities.CodeConfiguration(
            code=code.code or folder, scoring_script=code.scoring_script
        )
        if code
        else None,
    )  # fmt: skip
    made._provisioning_state = "Succeeded"
    return made
