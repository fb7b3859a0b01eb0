"""``batch_endpoints`` and ``batch_deployments`` of the client."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import yaml

from ...errors import ConfigError
from ..execution.assets import Assets, name_and_version
from ..execution.batch_endpoints import BatchEndpoints
from ..execution.invoke import invoke_deployment
from ..execution.job_run import JobRun
from ..execution.models import model_folder
from ..execution.origin import Origin
from ..execution.registry import Registry
from ..model.deployments import BatchEndpoint, ModelDeployment, PipelineDeployment
from ..model.problems import JobFileError
from ..reader.deployments import load_deployment, read_deployment
from .azure_deployments import azures_deployment, azures_endpoint
from .azure_objects import is_azures
from .component_files import record_of_file
from .deployment_records import deployment_record, refuse_online
from .done import Done
from .invocation import changes_of, data_of_model, output_of_model, target_of, value_of
from .job_operations import every_job
from .local_jobs import LocalJob
from .scoring_jobs import ScoringJob


@dataclass
class Endpoint:
    """A batch endpoint, where azure-ai-ml is not loaded.

    Parameters
    ----------
    name
        Its name.
    defaults
        An object with ``deployment_name``: the deployment of a call without one.
    """

    name: str
    description: str = ""
    tags: Mapping[str, str] = field(default_factory=dict)
    properties: Mapping[str, str] = field(default_factory=dict)
    auth_mode: str = "aad_token"
    defaults: Any = None


class BatchEndpointOperations:
    """The batch endpoints of a workspace, with the methods of ``MLClient.batch_endpoints``.

    Nothing listens: an endpoint is the record of its deployments and of the default one.

    Parameters
    ----------
    workspace
        Its folder.
    """

    def __init__(self, workspace: Path) -> None:
        self._workspace = workspace
        self._store = BatchEndpoints(workspace)

    def begin_create_or_update(self, endpoint: Any, **_: Any) -> Done[Any]:
        """Record an endpoint, or its new default deployment.

        Parameters
        ----------
        endpoint
            A ``BatchEndpoint`` of azure-ai-ml, or what ``azureml_v2.load_batch_endpoint`` returns.

        Raises
        ------
        ConfigError
            It is something else, or has no name.
        """
        refuse_online(endpoint)
        kind = type(endpoint).__name__
        is_ours = isinstance(endpoint, BatchEndpoint | Endpoint)
        if not is_ours and not (is_azures(endpoint) and kind == "BatchEndpoint"):
            msg = (
                f"the endpoint is of type {type(endpoint).__module__}.{kind}; expected a BatchEndpoint, "
                "or the result of azureml_v2.load_batch_endpoint(path)."
            )
            raise ConfigError(msg)
        record = {
            "description": endpoint.description, "tags": dict(endpoint.tags or {}),
            "properties": dict(endpoint.properties or {}), "auth_mode": endpoint.auth_mode or "aad_token",
            "defaults": {"deployment_name": _default_of(endpoint)},
        }  # fmt: skip
        self._store.save(endpoint.name, record)
        return Done(self.get(endpoint.name))

    def get(self, name: str) -> Any:
        """Return an endpoint.

        Raises
        ------
        EndpointNotFoundError
            It does not exist; the message has those that do.
        """
        record = self._store.get(name)
        defaults = record.get("defaults") or {}
        values = {
            **record,
            "defaults": SimpleNamespace(deployment_name=defaults.get("deployment_name")),
        }
        return azures_endpoint(name, values) or Endpoint(name, **values)

    def list(self) -> Iterator[Any]:
        """Yield the endpoints, sorted by name."""
        for name in self._store.names():
            yield self.get(name)

    def begin_delete(self, name: str) -> Done[None]:
        """Remove an endpoint and its deployments; jobs are kept.

        Raises
        ------
        EndpointNotFoundError
            It does not exist.
        """
        self._store.delete(name)
        return Done(None)

    def list_jobs(self, endpoint_name: str) -> Iterator[LocalJob]:
        """Yield the jobs of an endpoint, newest first.

        Raises
        ------
        EndpointNotFoundError
            It does not exist.
        """
        self._store.get(endpoint_name)
        yield from _jobs(endpoint_name)

    def invoke(
        self,
        endpoint_name: str,
        *,
        deployment_name: str | None = None,
        inputs: Mapping[str, Any] | None = None,
        input: Any = None,  # noqa: A002 - MLClient's name
        outputs: Mapping[str, Any] | None = None,
        params_override: Iterable[Mapping[str, Any]] | None = None,
        experiment_name: str | None = None,
        job_name: str | None = None,
        **overrides: Any,
    ) -> LocalJob:
        """Start a deployment on this machine; return its job. It continues when this process ends.

        Parameters
        ----------
        endpoint_name, deployment_name
            The endpoint, and its deployment. Default: that of ``endpoint.defaults``, or the only one.
        input, inputs
            An ``Input`` of files, a path, or the name of registered data; for a pipeline component, its
            inputs by name. ``inputs`` may also have the one input of a model under any name.
        outputs
            ``{"score": Output(path=...)}``: a local folder, or one of a datastore; for a pipeline
            component, its outputs by name. Default: in the run's own folder.
        params_override, overrides
            Settings of this call alone: ``[{"mini_batch_size": 20}]`` or ``mini_batch_size=20``.
        experiment_name
            The experiment. Default: the name of the endpoint.
        job_name
            Without effect: the name of a job is always new.

        Raises
        ------
        EndpointNotFoundError
            The endpoint or the deployment does not exist; the message has those that do.
        ConfigError
            There is no default deployment, a setting is unknown, or the input is not one of files.
        InputError, EntryScriptError, MissingExtraError, LaunchError
            As for ``azureml_v2.invoke``.
        """
        name = deployment_name or self._store.default_deployment(endpoint_name)
        file = self._store.deployment(endpoint_name, name)
        items = [*(params_override or ()), overrides]
        experiment = experiment_name or ""
        if isinstance(load_deployment(file), PipelineDeployment):
            fields = {key: value for item in items for key, value in item.items()}
            values = {key: value_of(value) for key, value in (inputs or {}).items()}
            target = {
                key: target_of(str(value_of(value)), self._workspace)
                for key, value in (outputs or {}).items()
            }
            data: Any = values or (None if input is None else value_of(input))
            job = invoke_deployment(
                load_deployment(file, fields), data, target, workspace=self._workspace,
                experiment=experiment,
            )  # fmt: skip
            assert isinstance(job, JobRun)
            return LocalJob(job)
        source = data_of_model(input, inputs)
        changes = changes_of(items, self._workspace)
        if outputs:
            given = output_of_model(outputs, self._workspace)
            changes = replace(given, fields={**changes.fields, **given.fields})
        run = invoke_deployment(
            load_deployment(file, changes.fields), source, changes.output or None,
            workspace=self._workspace, experiment=experiment,
        )  # fmt: skip
        assert not isinstance(run, JobRun)
        return ScoringJob(run, Origin(endpoint_name, name, experiment))


class BatchDeploymentOperations:
    """The deployments of batch endpoints, with the methods of ``MLClient.batch_deployments``.

    Parameters
    ----------
    workspace
        The folder of the workspace.
    """

    def __init__(self, workspace: Path) -> None:
        self._workspace = workspace
        self._store = BatchEndpoints(workspace)

    def begin_create_or_update(self, deployment: Any, **_: Any) -> Done[Any]:
        """Check and record a deployment, with copies of its code and model.

        Parameters
        ----------
        deployment
            A ``ModelBatchDeployment`` or ``PipelineComponentBatchDeployment`` of azure-ai-ml, or what
            ``azureml_v2.load_batch_deployment`` returns.

        Raises
        ------
        EndpointNotFoundError
            Its endpoint does not exist.
        ConfigError
            It is something else, or its files are not on this machine.
        JobFileError
            It has mistakes; the message has all of them.
        """
        record = deployment_record(deployment)
        endpoint, name = str(record.get("endpoint_name") or ""), str(record.get("name") or "")
        self._store.get(endpoint)
        component = record.get("component")
        if isinstance(component, str) and component.startswith("azureml:"):
            component = record["component"] = self._component(component)
        text = yaml.safe_dump(record, sort_keys=False)
        read = read_deployment(f"deployment {name}", text=text).checked()
        if isinstance(read, ModelDeployment):
            record["model"] = self._registered(read)
        self._store.save_deployment(
            endpoint, name, record, component if isinstance(component, dict) else None
        )
        return Done(self.get(name, endpoint))

    def _component(self, name: str) -> dict[str, Any]:
        row = Registry(self._workspace).find("component", *name_and_version(name))
        return record_of_file(row["file"])

    def _registered(self, deployment: ModelDeployment) -> str:
        """Register the model of a deployment, as Azure does; return its name and version."""
        assert deployment.model is not None  # else it has a problem
        assets = Assets(self._workspace)
        folder = model_folder(deployment.model, deployment.name, assets)
        if assets.problems:
            raise JobFileError(assets.problems)
        if deployment.model.reference:
            return deployment.model.reference
        for note in assets.notes:
            print(f"note: {note}.")
        version = Path(folder)
        return f"azureml:{version.parent.name}:{version.name}"

    def get(self, name: str, endpoint_name: str) -> Any:
        """Return a deployment.

        Raises
        ------
        EndpointNotFoundError
            It does not exist; the message has those that do.
        """
        file = self._store.deployment(endpoint_name, name)
        return azures_deployment(load_deployment(file)) or load_deployment(file)

    def list(self, endpoint_name: str) -> Iterator[Any]:
        """Yield the deployments of an endpoint, sorted by name."""
        for name in self._store.deployments(endpoint_name):
            yield self.get(name, endpoint_name)

    def begin_delete(self, name: str, endpoint_name: str) -> Done[None]:
        """Remove a deployment; jobs are kept.

        Raises
        ------
        EndpointNotFoundError
            It does not exist.
        """
        self._store.delete_deployment(endpoint_name, name)
        return Done(None)

    def list_jobs(self, endpoint_name: str, *, name: str | None = None) -> Iterator[LocalJob]:
        """Yield the jobs of an endpoint, or of one deployment, newest first."""
        self._store.get(endpoint_name)
        yield from _jobs(endpoint_name, name)


def _jobs(endpoint: str, deployment: str | None = None) -> Iterator[LocalJob]:
    for job in every_job():
        origin = Origin.of(job.folder.path)
        if origin and origin.endpoint == endpoint and deployment in {None, origin.deployment}:
            yield job


def _default_of(endpoint: Any) -> str | None:
    if isinstance(endpoint, BatchEndpoint):
        return endpoint.default_deployment or None
    defaults = endpoint.defaults
    if isinstance(defaults, Mapping):
        return defaults.get("deployment_name")
    return getattr(defaults, "deployment_name", None)
