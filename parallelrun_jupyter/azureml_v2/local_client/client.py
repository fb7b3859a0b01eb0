"""`LocalClient`: the methods of Azure's `MLClient`, on this machine."""

from __future__ import annotations

import os
from pathlib import Path
from types import SimpleNamespace
from typing import Any

from ...pipelines.workspaces import read_facts, workspace_above
from ..execution.registry import Registry
from ..model.jobs import PipelineJob
from .azure_objects import is_azures
from .compute_operations import ComputeOperations
from .data_operations import DataOperations, ModelOperations
from .datastore_operations import DatastoreOperations
from .definition_operations import ComponentOperations, EnvironmentOperations
from .done import Done
from .endpoint_operations import BatchDeploymentOperations, BatchEndpointOperations
from .job_operations import JobOperations

_PARTS = (
    "jobs", "compute", "data", "models", "environments", "components", "workspaces", "datastores",
    "batch_endpoints", "batch_deployments",
)  # fmt: skip


class LocalClient:
    """Runs v2 jobs on this machine, in the place of `MLClient`; nothing is sent to Azure.

    Where azure-ai-ml is installed, its objects run here: what ``@dsl.pipeline``,
    ``parallel_run_function``, ``command``, ``load_component`` and ``load_job`` return. Without it,
    ``azureml_v2.load_job("pipeline.yml")`` reads a job.

    Names such as ``azureml:sales:3`` lead to the workspace of the nearest ``config.json``, or to the
    workspace ``local``, as for `run`.

    Parameters
    ----------
    credential, subscription_id, resource_group_name, workspace_name, **kwargs
        Those of `MLClient`; without effect.

    Examples
    --------
    ::

        ml_client = LocalClient()
        job = ml_client.jobs.create_or_update(pipeline_job, experiment_name="prices")
        ml_client.jobs.stream(job.name)
    """

    def __init__(
        self,
        credential: Any = None,
        subscription_id: str | None = None,
        resource_group_name: str | None = None,
        workspace_name: str | None = None,
        **kwargs: Any,
    ) -> None:
        folder = workspace_above(Path(kwargs.pop("_start", None) or os.getcwd()))
        facts = read_facts(folder) or {}
        registry = Registry(folder)
        self.subscription_id = subscription_id or facts.get("subscription_id", "")
        self.resource_group_name = resource_group_name or facts.get("resource_group", "")
        self.workspace_name = workspace_name or facts.get("name", folder.name)
        self.jobs = JobOperations(folder)
        self.compute = ComputeOperations(folder)
        self.data = DataOperations(registry)
        self.models = ModelOperations(registry)
        self.environments = EnvironmentOperations(registry)
        self.components = ComponentOperations(registry)
        self.datastores = DatastoreOperations(folder)
        self.batch_endpoints = BatchEndpointOperations(folder)
        self.batch_deployments = BatchDeploymentOperations(folder)
        self.workspaces = _Workspaces(self)
        print("note: this client runs jobs on this machine; nothing is sent to Azure.")

    @classmethod
    def from_config(
        cls,
        credential: Any = None,
        *,
        path: str | os.PathLike[str] | None = None,
        file_name: str | None = None,
        **kwargs: Any,
    ) -> LocalClient:
        """Return a client of the workspace that a ``config.json`` names, or of ``local`` without one.

        Parameters
        ----------
        credential, file_name, kwargs
            Without effect.
        path
            The folder of the file, or one below it. Default: the current folder.
        """
        start = os.path.abspath(os.fspath(path)) if path else os.getcwd()
        return cls(credential, _start=os.path.dirname(start) if os.path.isfile(start) else start)

    def __repr__(self) -> str:
        return f"LocalClient(workspace_name={self.workspace_name!r})"

    def __getattr__(self, name: str) -> Any:
        if name.startswith("_"):
            raise AttributeError(name)
        msg = (
            f"LocalClient has no {name!r}: it needs Azure's service. Here are: {', '.join(_PARTS)}. "
            "Use MLClient for the rest."
        )
        raise AttributeError(msg)

    def create_or_update(self, entity: Any, **kwargs: Any) -> Any:
        """Start a job, or register data, a model, an environment or a component, by its class.

        Raises
        ------
        TypeError
            It is something else.
        """
        kind = type(entity).__name__
        for name, operations in (
            ("Data", self.data), ("Model", self.models), ("Environment", self.environments)
        ):  # fmt: skip
            if kind == name:
                return operations.create_or_update(entity)
        if kind.endswith("Component"):
            return self.components.create_or_update(entity, **kwargs)
        if isinstance(entity, PipelineJob) or (
            is_azures(entity) and kind in {"PipelineJob", "Command"}
        ):
            return self.jobs.create_or_update(entity, **kwargs)
        msg = (
            f"{kind} cannot be created on this machine; expected a job, data, a model, an environment or "
            "a component."
        )
        raise TypeError(msg)

    def begin_create_or_update(self, entity: Any, **kwargs: Any) -> Done[Any]:
        """Record a compute, a batch endpoint or a batch deployment, by its class.

        Raises
        ------
        ConfigError
            It is an online endpoint or its deployment, or has mistakes.
        """
        kind = type(entity).__name__
        if kind.endswith("Deployment"):
            return self.batch_deployments.begin_create_or_update(entity, **kwargs)
        if kind.endswith("Endpoint"):
            return self.batch_endpoints.begin_create_or_update(entity, **kwargs)
        return self.compute.begin_create_or_update(entity, **kwargs)


class _Workspaces:
    """``workspaces`` of the client: the one workspace."""

    def __init__(self, client: LocalClient) -> None:
        self._client = client

    def get(self, name: str | None = None, **_: Any) -> Any:
        """Return the facts of the workspace."""
        return SimpleNamespace(
            name=name or self._client.workspace_name, location="local",
            resource_group=self._client.resource_group_name,
        )  # fmt: skip
