"""Batch deployments and batch endpoints."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import TypeAlias

from .jobs import Component, Settings
from .places import Places
from .values import Environment, Identity, Resources

MODEL_TYPES = ("custom_model", "mlflow_model", "triton_model")
OUTPUT_ACTIONS = ("append_row", "summary_only")
LOGGING_LEVELS = ("info", "warning", "debug")
AUTH_MODES = ("aad_token", "aml_token", "key")


@dataclass(frozen=True, slots=True, kw_only=True)
class Model:
    """The model of a deployment: a registered one, or its files.

    Parameters
    ----------
    reference
        A registered model, such as ``azureml:heart@latest``; empty for files.
    path
        The file or folder: an absolute local path, or a URL.
    type
        One of `MODEL_TYPES`; empty for the default, ``custom_model``.
    """

    reference: str = ""
    name: str = ""
    version: str = ""
    path: str = ""
    type: str = ""
    description: str = ""
    tags: Mapping[str, str] = field(default_factory=dict)
    properties: Mapping[str, str] = field(default_factory=dict)
    places: Places = field(default_factory=Places, compare=False, repr=False)


@dataclass(frozen=True, slots=True, kw_only=True)
class CodeConfiguration:
    """The scoring script.

    Parameters
    ----------
    code
        The folder of the scripts: an absolute local path, or a URL; empty for that of the file.
    scoring_script
        The script with ``init()`` and ``run(mini_batch)``, relative to ``code``.
    """

    code: str = ""
    scoring_script: str = ""
    places: Places = field(default_factory=Places, compare=False, repr=False)


@dataclass(frozen=True, slots=True, kw_only=True)
class BatchSettings:
    """The settings of a model's deployment, with Azure's defaults.

    Parameters
    ----------
    mini_batch_size
        Files per mini-batch.
    max_concurrency_per_instance, instance_count
        Worker processes of a node, and nodes.
    max_retries
        How often a failed mini-batch is tried again.
    timeout
        The limit of one call of ``run()``, in seconds.
    error_threshold
        Number of failed files to ignore; -1 for any number.
    output_action
        ``append_row`` collects the results in ``output_file_name``; ``summary_only`` leaves it to the
        script to write files.
    """

    mini_batch_size: int = 10
    max_concurrency_per_instance: int = 1
    instance_count: int = 1
    max_retries: int = 3
    timeout: int = 30
    error_threshold: int = -1
    output_action: str = "append_row"
    output_file_name: str = "predictions.csv"
    logging_level: str = "info"
    environment_variables: Mapping[str, str] = field(default_factory=dict)


@dataclass(frozen=True, slots=True, kw_only=True)
class ModelDeployment:
    """A deployment of a model.

    Parameters
    ----------
    code
        The scoring script; None for an MLflow model that is scored without one.
    is_legacy
        Whether the file has no ``type``, and its settings at the root.
    file
        Path of the file, as given.
    """

    name: str = ""
    endpoint_name: str = ""
    description: str = ""
    tags: Mapping[str, str] = field(default_factory=dict)
    properties: Mapping[str, str] = field(default_factory=dict)
    model: Model | None = None
    code: CodeConfiguration | None = None
    environment: Environment | None = None
    compute: str = ""
    resources: Resources | None = None
    settings: BatchSettings = field(default_factory=BatchSettings)
    is_legacy: bool = False
    file: str = ""
    places: Places = field(default_factory=Places, compare=False, repr=False)


@dataclass(frozen=True, slots=True, kw_only=True)
class PipelineDeployment:
    """A deployment of a pipeline component.

    Parameters
    ----------
    component
        The component as a name, such as ``azureml:prep:1``, or as the path of its file; empty for one
        in place.
    declared
        The component itself; None where it is only a name.
    """

    name: str = ""
    endpoint_name: str = ""
    description: str = ""
    tags: Mapping[str, str] = field(default_factory=dict)
    component: str = ""
    declared: Component | None = None
    settings: Settings = field(default_factory=Settings)
    file: str = ""
    places: Places = field(default_factory=Places, compare=False, repr=False)


Deployment: TypeAlias = ModelDeployment | PipelineDeployment


@dataclass(frozen=True, slots=True, kw_only=True)
class BatchEndpoint:
    """A batch endpoint; nothing of it changes how a deployment runs here."""

    name: str = ""
    description: str = ""
    tags: Mapping[str, str] = field(default_factory=dict)
    properties: Mapping[str, str] = field(default_factory=dict)
    auth_mode: str = ""
    default_deployment: str = ""
    identity: Identity | None = None
    file: str = ""
    places: Places = field(default_factory=Places, compare=False, repr=False)
