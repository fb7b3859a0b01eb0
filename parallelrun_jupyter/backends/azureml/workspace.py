"""The jobs of a workspace of Azure ML, by Azure's own client: the only module that imports it."""

from __future__ import annotations

import importlib
import json
import os
import time
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, TypeVar

from ...config.azureml_compute import TOKENS_VARIABLE, AzureMLCompute
from .azure_errors import azure_core, first_line, translated
from .job_folder import FILES, RESULTS, STEP
from .service import (
    ENDED,
    CredentialError,
    JobNotFoundError,
    JobService,
    JobStatus,
    ServiceError,
)

_T = TypeVar("_T")

_FOLDER = "parallelrun-jupyter"
"""The folder in the workspace's default datastore that the outputs of jobs are in, by job."""

_CLOUD_VARIABLE = "AZUREML_CURRENT_CLOUD"
_TIMEOUT_S = 60.0
_SPARE_S = 120
"""A token that expires within so many seconds is not used."""

_NO_FILE = 416  # the range begins behind the end of the file


def connect(spec: Mapping[str, Any], environ: Mapping[str, str]) -> JobService:
    """Return the jobs of the workspace that a run's record names; see `connect_history`."""
    return connect_history(spec, environ)


def connect_history(spec: Mapping[str, Any], environ: Mapping[str, str]) -> Workspace:
    """Return the workspace that a run's record names.

    Parameters
    ----------
    spec
        The spec of the run's compute.
    environ
        The environment of the driver, which may have access tokens.

    Raises
    ------
    ServiceError
        The record names no workspace, or Azure's client does not accept the options.
    """
    compute = AzureMLCompute.of_spec(spec)
    ids = compute.workspace
    if ids is None:
        msg = "the run's record names no workspace of Azure ML; start a new run"
        raise ServiceError(msg)
    credential = DriverCredential(json.loads(environ.get(TOKENS_VARIABLE, "{}")))
    if "cloud" in compute.client_options:
        # Azure's client sets it, and does not import where it names a cloud that is yet to be described.
        os.environ.pop(_CLOUD_VARIABLE, None)
    with translated("connect"):
        client = importlib.import_module("azure.ai.ml").MLClient(
            credential,
            ids["subscription_id"],
            ids["resource_group"],
            ids["workspace_name"],
            enable_telemetry=False,
            show_progress=False,
            **{"retry_total": 0, **compute.client_options},
        )
    return Workspace(client, credential, ids, compute.scopes[0])


class DriverCredential:
    """The access tokens that the notebook gave to the driver; then those of ``DefaultAzureCredential``.

    Parameters
    ----------
    tokens
        ``token`` and ``expires_on`` by scope.
    """

    def __init__(self, tokens: Mapping[str, Mapping[str, Any]]) -> None:
        self._tokens = {_resource_of(scope): token for scope, token in tokens.items()}
        self._default: Any = None
        #: tokens of ``DefaultAzureCredential``, which starts ``az`` for each one
        self._renewed: dict[str, Any] = {}

    def get_token(self, *scopes: str, **options: Any) -> Any:
        """Return a token for a scope.

        Raises
        ------
        CredentialError
            There is none.
        """
        given = self._tokens.get(_resource_of(scopes[0])) if scopes else None
        if given is not None and given["expires_on"] > time.time() + _SPARE_S:
            kind = importlib.import_module("azure.core.credentials").AccessToken
            return kind(given["token"], given["expires_on"])
        if self._default is None:
            self._default = importlib.import_module("azure.identity").DefaultAzureCredential()
        kept = self._renewed.get(" ".join(scopes)) if not options.get("claims") else None
        if kept is not None and kept.expires_on > time.time() + _SPARE_S:
            return kept
        try:
            token = self._default.get_token(*scopes, **options)
        except azure_core().ClientAuthenticationError as error:
            had = "the token of the notebook's credential has expired; " if given else ""
            text = f"{had}{first_line(error).rstrip('.')}"
            raise CredentialError(text) from error
        self._renewed[" ".join(scopes)] = token
        return token


def _resource_of(scope: str) -> str:
    return scope.removesuffix("/.default").rstrip("/").lower()


class Workspace:
    """The jobs of one workspace.

    Parameters
    ----------
    client
        An ``MLClient``.
    credential
        Its credential.
    ids
        The ids of the workspace.
    scope
        The scope of tokens for the run history.
    """

    def __init__(self, client: Any, credential: Any, ids: Mapping[str, str], scope: str) -> None:
        self._client = client
        self._credential = credential
        self._ids = ids
        self._scope = scope
        self._history = ""
        self._datastore: Any = None
        self._container: Any = None
        #: the name of the job of the step, by job
        self._steps: dict[str, str] = {}

    # Jobs

    def submit(self, job: Path, name: str) -> None:
        """Submit the pipeline of a folder under a name; nothing happens if that exists."""
        if self._exists(name):
            return
        with translated("submit the job"):
            load_job = importlib.import_module("azure.ai.ml").load_job
            pipeline = load_job(job / "pipeline.yml")
            pipeline.name = name
            datastore = self._get_datastore().name
            for output in (RESULTS, FILES):
                uri = f"azureml://datastores/{datastore}/paths/{_FOLDER}/{name}/{output}"
                pipeline.jobs[STEP].outputs[output].path = uri
        try:
            with translated("submit the job"):
                self._client.jobs.create_or_update(pipeline)
        except (JobNotFoundError, ServiceError) as error:
            # An earlier request may have arrived after all. Otherwise what is not found is a part of the
            # job, such as its compute.
            if not self._exists(name):
                raise ServiceError(str(error)) from error

    def _exists(self, name: str) -> bool:
        try:
            with translated("look for the job"):
                self._client.jobs.get(name)
        except JobNotFoundError:
            return False
        return True

    def status(self, name: str) -> JobStatus:
        """Return the state of a job."""
        with translated("read the state of the job"):
            job = self._client.jobs.get(name)
        state, step = _text(job.status), self._step_of(name)
        services = getattr(job, "services", None) or {}
        studio = services.get("Studio")
        url = str(getattr(studio, "endpoint", "") or "")
        error = ""
        if step and state not in ENDED:
            child = str(self._details(step).get("status") or state)
            state = child if child not in ENDED else state
        elif state == "Failed":
            details = [self._details(run) for run in (step, name) if run]
            error = next(filter(None, map(_error_in, details)), "")
        return JobStatus(state, step, "", error, url)

    def _step_of(self, name: str) -> str:
        """Return the name of the job of the step; empty until it exists."""
        if name not in self._steps:
            try:
                children = self._ask(f"{self._run_url(name)}/children").get("value") or ()
            except JobNotFoundError:  # the history may have it later
                return ""
            for run in children:
                self._steps[name] = str(run["runId"])
        return self._steps.get(name, "")

    def cancel(self, name: str) -> None:
        """Ask Azure ML to cancel a job."""
        try:
            with translated("cancel the job"):
                self._client.jobs.begin_cancel(name)
        except ServiceError:
            with translated("read the state of the job"):
                if _text(self._client.jobs.get(name).status) not in ENDED:
                    raise

    # The run history

    def _run_url(self, run: str) -> str:
        if not self._history:
            with translated("read the addresses of the workspace"):
                workspace = self._client.workspaces.get(self._ids["workspace_name"])
            addresses = self._ask(str(workspace.discovery_url))
            if not isinstance(addresses.get("history"), str):
                msg = "the workspace has no address of its run history; look at its page in Azure"
                raise ServiceError(msg)
            self._history = addresses["history"].rstrip("/")
        ids = self._ids
        return (
            f"{self._history}/history/v1.0/subscriptions/{ids['subscription_id']}/resourceGroups/"
            f"{ids['resource_group']}/providers/Microsoft.MachineLearningServices/workspaces/"
            f"{ids['workspace_name']}/runs/{run}"
        )

    def _details(self, run: str) -> dict[str, Any]:
        try:
            return self._ask(f"{self._run_url(run)}/details")
        except JobNotFoundError:
            return {}

    def _ask(self, url: str) -> dict[str, Any]:
        """Return the JSON at an address of the workspace."""
        with translated("read the run history"):
            token = self._credential.get_token(self._scope).token
            response = self._get(url, {"Authorization": f"Bearer {token}"})
            value = response.json()
        return value if isinstance(value, dict) else {}

    @staticmethod
    def _get(url: str, headers: Mapping[str, str]) -> Any:
        requests = importlib.import_module("requests")
        response = requests.get(url, headers=dict(headers), timeout=_TIMEOUT_S)
        if response.status_code != _NO_FILE:
            response.raise_for_status()
        return response

    # Log files

    def list_logs(self, name: str) -> Mapping[str, str]:
        """Return the addresses of the log files of the step, by path."""
        step = self._step_of(name)
        files = self._details(step).get("logFiles") if step else None
        return files if isinstance(files, dict) else {}

    def read_log(self, address: str, offset: int) -> bytes:
        """Return what a log file has from ``offset`` on."""
        with translated("read a log file"):
            response = self._get(address, {"Range": f"bytes={offset}-"})
            if response.status_code == _NO_FILE:
                return b""
            content: bytes = response.content
        is_part = response.status_code == 206
        return content if is_part else content[offset:]

    # Jobs of others

    def read_run(self, run: str) -> dict[str, Any]:
        """Return a run of the history: a job, or a step of one."""
        return self._ask(self._run_url(run))

    def read_children(self, run: str) -> list[dict[str, Any]]:
        """Return the runs of the steps of a job."""
        return list(self._ask(f"{self._run_url(run)}/children").get("value") or ())

    def read_details(self, run: str) -> dict[str, Any]:
        """Return the details of a run, with the addresses of its log files."""
        return self._details(run)

    def parallel_steps(self, job: str) -> dict[str, bool] | None:
        """Return the steps of a job, and whether each is a parallel one; None if it is no pipeline."""
        with translated("read the steps of the job"):
            steps = getattr(self._client.jobs.get(job), "jobs", None)
        if not isinstance(steps, Mapping):
            return None
        return {name: getattr(node, "type", "") == "parallel" for name, node in steps.items()}

    def download_output(self, run: str, output: str, target: Path) -> None:
        """Copy an output of a step that has ended into a folder."""
        target.mkdir(parents=True, exist_ok=True)
        with translated(f"download the output {output!r}"):
            self._client.jobs.download(run, output_name=output, download_path=target)

    def page_of(self, run: str) -> str:
        """Return the page of a run in the studio; empty outside the public cloud."""
        ids = self._ids
        if not self._scope.startswith("https://management.azure.com/"):
            return ""
        return (
            f"https://ml.azure.com/runs/{run}?wsid=/subscriptions/{ids['subscription_id']}"
            f"/resourcegroups/{ids['resource_group']}/workspaces/{ids['workspace_name']}"
        )

    # The store of the outputs

    def list_results(self, name: str) -> Mapping[str, int]:
        """Return the files in the folder of results, with their sizes."""
        prefix = f"{_FOLDER}/{name}/{RESULTS}/"

        def listed(container: Any) -> dict[str, int]:
            blobs = container.list_blobs(name_starts_with=prefix)
            return {blob.name[len(prefix) :]: int(blob.size) for blob in blobs}

        return self._in_store("list the results", listed)

    def read_result(self, name: str, path: str) -> bytes:
        """Return the content of a file of results."""
        blob = f"{_FOLDER}/{name}/{RESULTS}/{path}"
        return self._in_store(
            "read a result", lambda container: bytes(container.download_blob(blob).readall())
        )

    def download_files(self, name: str, target: Path) -> None:
        """Copy the files that the script wrote."""
        prefix = f"{_FOLDER}/{name}/{FILES}/"

        def download(container: Any) -> None:
            for blob in container.list_blobs(name_starts_with=prefix):
                path = target / blob.name[len(prefix) :]
                is_folder = (blob.metadata or {}).get("hdi_isfolder") == "true"
                if is_folder or blob.name.endswith("/"):
                    continue
                path.parent.mkdir(parents=True, exist_ok=True)
                with open(path, "wb") as file:
                    container.download_blob(blob.name).readinto(file)

        self._in_store("download the files of the script", download)

    def _in_store(self, what: str, read: Callable[[Any], _T]) -> _T:
        """Read from the store; its own credential may have expired, and is then asked for again."""
        try:
            with translated(what):
                return read(self._get_container())
        except (CredentialError, ServiceError):
            self._container = None
        with translated(what):
            return read(self._get_container())

    def _get_datastore(self) -> Any:
        if self._datastore is None:
            self._datastore = self._client.datastores.get_default()
        return self._datastore

    def _get_container(self) -> Any:
        """Return the container of the default datastore, as ``jobs.download`` finds it."""
        if self._container is None:
            store = self._get_datastore()
            secret = self._secret_of(store.name)
            name = getattr(store, "container_name", None) or store.filesystem
            protocol = getattr(store, "protocol", None) or "https"
            url = f"{protocol}://{store.account_name}.blob.{store.endpoint}"
            kind = importlib.import_module("azure.storage.blob").ContainerClient
            self._container = kind(url, name, credential=secret, retry_total=0)
        return self._container

    def _secret_of(self, datastore: str) -> Any:
        """Return the key or token of a datastore; the user's credential if it has none."""
        try:
            with translated("read the credential of the datastore"):
                stored = self._client.datastores.get(datastore, include_secrets=True).credentials
        except ServiceError:  # the user may not list it
            return self._credential
        secret = getattr(stored, "sas_token", None) or getattr(stored, "account_key", None)
        return secret or self._credential


def _text(state: Any) -> str:
    """Return the text of a state, which may be an enumeration's."""
    return str(getattr(state, "value", state))


def _error_in(details: Mapping[str, Any]) -> str:
    error = details.get("error") or {}
    inner = error.get("error") or error
    return str(inner.get("message") or "")
