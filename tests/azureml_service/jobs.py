"""Jobs: in ARM (submit, get, list, cancel) and in the run history (status, details, children)."""

from __future__ import annotations

import datetime as dt
import re
import time
from collections.abc import Callable
from typing import Any

from tests.azureml_service.answers import Answer, Request, Routes, not_found
from tests.azureml_service.blobs import Blobs, Place
from tests.azureml_service.names import (
    ACCOUNT,
    ARTIFACT_CONTAINER,
    COMPUTE,
    PROVIDER,
    TENANT,
    WORKSPACE_ID,
    artifacts_of,
    uri_of,
)
from tests.azureml_service.script import Script
from tests.azureml_service.state import State, Value
from tests.azureml_service.workspace import SYSTEM_DATA

TERMINAL = ("Completed", "Failed", "Canceled")
HISTORY = f"/history/v1.0{WORKSPACE_ID}"


class JobRoutes:
    """Answers for jobs and runs.

    Parameters
    ----------
    state
        Keeps jobs (as submitted) and runs (their course, which the cluster writes).
    blobs
        The store of the log files.
    url
        The address of the service.
    start
        Starts the cluster for a job.
    """

    def __init__(self, state: State, blobs: Blobs, url: str, start: Callable[[str], None]) -> None:
        self._state = state
        self._blobs = blobs
        self._url = url
        self._start = start

    def add_to(self, routes: Routes) -> None:
        """Add the routes."""
        routes.add("GET", f"{WORKSPACE_ID}/jobs", self._list)
        routes.add("GET", f"{WORKSPACE_ID}/jobs/{{name}}", self._get)
        routes.add("PUT", f"{WORKSPACE_ID}/jobs/{{name}}", self._put)
        routes.add("POST", f"{WORKSPACE_ID}/jobs/{{name}}/cancel", self._cancel)
        routes.add("GET", f"{HISTORY}/runs/{{name}}", self._run)
        routes.add("GET", f"{HISTORY}/runs/{{name}}/details", self._details)
        routes.add("GET", f"{HISTORY}/runs/{{name}}/children", self._children)
        routes.add("POST", f"{HISTORY}/rundata", self._run_data)
        resolved = f"/data/v1.0{WORKSPACE_ID}/dataversion/batchGetResolvedUris"
        routes.add("POST", resolved, self._resolved_uris)

    @property
    def _script(self) -> Script:
        return Script.of(self._state.read("script", "script"))

    def _find(self, name: str) -> Value | None:
        return None if name in self._script.vanished else self._state.read("runs", name)

    # ARM

    def _put(self, request: Request) -> Answer:
        name, body = request.groups["name"], request.body
        if "x-azureml-token" not in request.headers:
            return Answer(401, {"error": {"code": "Unauthorized", "message": "x-azureml-token?"}})
        before = self._state.read("jobs", name)
        unknown = _computes_of(body["properties"]) - {COMPUTE, "serverless"}
        if unknown:
            message = f"Unknown compute target {', '.join(sorted(unknown))}."
            return Answer(400, {"error": {"code": "UserError", "message": message}})
        if before is None:
            self._state.write("jobs", name, {**body, "created": time.time()})
            properties = body["properties"]
            self._state.write("runs", name, {
                "name": name, "parent": "", "type": "azureml.PipelineRun", "status": "NotStarted",
                "display_name": properties.get("displayName") or name,
                "experiment": properties.get("experimentName") or "Default",
                "created": time.time() + self._script.skew_hours * 3600,
                "started": 0, "ended": 0, "error": None, "outputs": {},
                "tags": properties.get("tags") or {}, "properties": {}, "compute": "",
            })  # fmt: skip
            self._start(name)
        return Answer(200 if before else 201, self._job_value(name))

    def _get(self, request: Request) -> Answer:
        name = request.groups["name"]
        if self._find(name) is None:
            return not_found(f"job {name!r}")
        return Answer(200, self._job_value(name))

    def _job_value(self, name: str) -> dict[str, Any]:
        """Return a job; that of a step has no properties, as in Azure."""
        job, run = self._state.read("jobs", name), self._state.read("runs", name)
        head = {"id": f"{WORKSPACE_ID}/jobs/{name}", "name": name, "type": f"{PROVIDER}/jobs"}
        if job is None or run is None:
            return {**head, "properties": None}
        studio = {
            "endpoint": f"{self._url}/studio/runs/{name}",
            "jobServiceType": "Studio",
            "type": "Studio",
        }
        outputs = {
            **(job["properties"].get("outputs") or {}),
        }
        properties = {
            **job["properties"],
            "status": run["status"],
            "services": {"Studio": studio},
            "outputs": outputs,
            "displayName": run["display_name"],
            "experimentName": run["experiment"],
        }
        stamps = {"createdAt": _stamp(run["created"]), "lastModifiedAt": _stamp(run["created"])}
        return {**head, "properties": properties, "systemData": {**SYSTEM_DATA, **stamps}}

    def _list(self, _: Request) -> Answer:
        vanished = self._script.vanished
        names = [run["name"] for run in self._state.values("runs") if not run["parent"]]
        return Answer(
            200, {"value": [self._job_value(name) for name in names[::-1] if name not in vanished]}
        )

    def _cancel(self, request: Request) -> Answer:
        name = request.groups["name"]
        if self._find(name) is None:
            return not_found(f"job {name!r}")
        self._state.write("cancels", name, {"at": time.time()})
        return Answer(200)

    # Run history

    def _run(self, request: Request) -> Answer:
        run = self._find(request.groups["name"])
        return Answer(200, self._run_value(run)) if run else not_found(f"run {request.groups}")

    def _run_value(self, run: Value) -> dict[str, Any]:
        user = {"userObjectId": TENANT, "userTenantId": TENANT, "userName": "emulator"}
        outputs = {
            name: {"assetId": _asset_id(run["name"], name), "type": one["type"]}
            for name, one in run["outputs"].items()
        }
        stamps = {
            "createdUtc": _stamp(run["created"]), "startTimeUtc": _stamp(run["started"]),
            "endTimeUtc": _stamp(run["ended"]), "lastModifiedUtc": _stamp(run["created"]),
        }  # fmt: skip
        return {
            "runId": run["name"], "parentRunId": run["parent"] or None,
            "rootRunId": run["parent"] or run["name"], "experimentId": run["experiment"],
            "status": run["status"], "displayName": run["display_name"], "runType": run["type"],
            "createdBy": user, "lastModifiedBy": user, "tags": run["tags"],
            "properties": run["properties"], "outputs": outputs, "target": run["compute"] or None,
            "compute": {"target": run["compute"], "targetType": "AmlCompute"} if run["compute"] else None,
            "error": _error(run), "warnings": [], "hidden": False, "services": {}, **stamps,
        }  # fmt: skip

    def _details(self, request: Request) -> Answer:
        run = self._find(request.groups["name"])
        if run is None:
            return not_found(f"run {request.groups['name']!r}")
        definition = run.get("definition") or {}
        return Answer(200, {
            "runId": run["name"], "parentRunId": run["parent"] or None, "target": run["compute"] or None,
            "status": run["status"], "createdTimeUtc": _stamp(run["created"]),
            "startTimeUtc": _stamp(run["started"]), "endTimeUtc": _stamp(run["ended"]),
            "error": _error(run), "warnings": [], "tags": run["tags"],
            "properties": run["properties"], "runDefinition": definition,
            "inputDatasets": [], "outputDatasets": [], "logFiles": self._log_files(run["name"]),
        })  # fmt: skip

    def _log_files(self, name: str) -> dict[str, str]:
        """Return the addresses of a run's log files, which are valid for a limited time."""
        script, prefix = self._script, artifacts_of(name)
        files = {}
        for blob in self._blobs.names(Place(ARTIFACT_CONTAINER, prefix)):
            path = blob.removeprefix(prefix)
            if script.no_logs and re.search(script.no_logs, path):
                continue
            sas = self._blobs.sas_of_blob(Place(ARTIFACT_CONTAINER, blob), script.sas_seconds)
            files[path] = f"{self._url}/{ACCOUNT}/{ARTIFACT_CONTAINER}/{blob}?{sas}"
        return files

    def _children(self, request: Request) -> Answer:
        name = request.groups["name"]
        if self._find(name) is None:
            return not_found(f"run {name!r}")
        runs = [run for run in self._state.values("runs") if run["parent"] == name]
        return Answer(200, {"value": [self._run_value(run) for run in runs]})

    def _run_data(self, request: Request) -> Answer:
        run = self._find(request.body["runId"])
        if run is None:
            return not_found(f"run {request.body['runId']!r}")
        specification = self._state.read("jobs", run["name"])
        definition = run.get("definition") or {}
        return Answer(200, {
            "runMetadata": self._run_value(run), "runDefinition": definition,
            "jobSpecification": specification,
        })  # fmt: skip

    def _resolved_uris(self, request: Request) -> Answer:
        """Return the URIs of outputs by the ids of their assets."""
        found = {}
        for run in self._state.values("runs"):
            for name, one in run["outputs"].items():
                uri = one.get("uri") or uri_of(one["path"])
                found[_asset_id(run["name"], name)] = {"uri": uri, "type": one["type"]}
        values = {one: found[one] for one in request.body["values"] if one in found}
        return Answer(200, {"values": values})


def _computes_of(job: dict[str, Any]) -> set[str]:
    """Return the names of the computes of a job and its steps."""
    given = [(job.get("settings") or {}).get("default_compute"), job.get("computeId")]
    given += [node.get("computeId") for node in job["jobs"].values()]
    return {str(one).rpartition("/")[2] for one in given if one}


def _asset_id(run: str, output: str) -> str:
    return f"azureml://locations/emulated/workspaces/{COMPUTE}/data/azureml_{run}_output_{output}/versions/1"


def _stamp(at: float) -> str | None:
    if not at:
        return None
    moment = dt.datetime.fromtimestamp(at, dt.timezone.utc)
    return moment.strftime("%Y-%m-%dT%H:%M:%S.%fZ")


def _error(run: Value) -> dict[str, Any] | None:
    if not run["error"]:
        return None
    error = {"code": "UserError", "message": run["error"], "messageFormat": "", "details": []}
    return {"error": error, "time": _stamp(run["ended"]), "componentName": "emulator"}
