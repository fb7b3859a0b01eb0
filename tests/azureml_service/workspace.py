"""The workspace in ARM: itself, its datastores, computes, codes, data, environments and components."""

from __future__ import annotations

import time
import uuid
from typing import Any

from tests.azureml_service.answers import Answer, Request, Routes, not_found
from tests.azureml_service.blobs import Blobs
from tests.azureml_service.names import (
    ACCOUNT,
    BLOB_HOST,
    COMPUTE,
    DATASTORES,
    LOCATION,
    PROVIDER,
    STORAGE_SUFFIX,
    TENANT,
    WORKSPACE,
    WORKSPACE_ID,
)
from tests.azureml_service.state import State

_ASSETS = ("codes", "data", "environments", "components", "models")
_STAMP = "2026-11-01T00:00:00.000Z"
SYSTEM_DATA = {
    "createdAt": _STAMP, "createdBy": "emulator", "createdByType": "User", "lastModifiedAt": _STAMP,
}  # fmt: skip


class WorkspaceRoutes:
    """Answers for everything of the workspace except jobs.

    Parameters
    ----------
    state
        Keeps the assets.
    blobs
        The store of uploads.
    url
        The address of the service.
    """

    def __init__(self, state: State, blobs: Blobs, url: str) -> None:
        self._state = state
        self._blobs = blobs
        self._url = url

    def add_to(self, routes: Routes) -> None:
        """Add the routes."""
        routes.add("GET", WORKSPACE_ID, self._workspace)
        routes.add("GET", "/discovery.*", self._discovery)
        routes.add("GET", "/metadata/endpoints", self._metadata)
        routes.add("GET", f"{WORKSPACE_ID}/datastores", self._datastores)
        routes.add("GET", f"{WORKSPACE_ID}/datastores/{{name}}", self._datastore)
        routes.add("POST", f"{WORKSPACE_ID}/datastores/{{name}}/listSecrets", self._secrets)
        routes.add("GET", f"{WORKSPACE_ID}/computes", self._computes)
        routes.add("GET", f"{WORKSPACE_ID}/computes/{{name}}", self._compute)
        versions = f"{WORKSPACE_ID}/(?P<kind>{'|'.join(_ASSETS)})/{{name}}/versions"
        routes.add("GET", versions.removesuffix("/versions"), self._container)
        routes.add("GET", versions, self._versions)
        routes.add("GET", f"{versions}/{{version}}", self._version)
        routes.add("PUT", f"{versions}/{{version}}", self._put_version)
        routes.add("POST", f"{versions}/{{version}}/startPendingUpload", self._start_upload)

    def _workspace(self, _: Request) -> Answer:
        storage = f"/subscriptions/s/resourceGroups/g/providers/Microsoft.Storage/storageAccounts/{ACCOUNT}"
        properties = {
            "friendlyName": WORKSPACE, "workspaceId": str(uuid.UUID(int=0xE000)), "tenantId": TENANT,
            "discoveryUrl": f"{self._url}/discovery", "storageAccount": storage,
            "provisioningState": "Succeeded", "mlFlowTrackingUri": f"azureml://{LOCATION}/mlflow",
            "publicNetworkAccess": "Enabled", "hbiWorkspace": False, "v1LegacyMode": False,
            "keyVault": "", "applicationInsights": "",
        }  # fmt: skip
        identity = {"type": "SystemAssigned", "tenantId": TENANT, "principalId": TENANT}
        value = {**_resource("", WORKSPACE, properties), "location": LOCATION, "identity": identity}
        value |= {"kind": "Default", "sku": {"name": "Basic", "tier": "Basic"}, "tags": {}}
        return Answer(200, value)

    def _discovery(self, _: Request) -> Answer:
        services = (
            "api", "catalog", "experimentation", "history", "gallery", "hyperdrive",
            "modelmanagement", "notebooks", "pipelines", "artifacts", "studio",
        )  # fmt: skip
        return Answer(200, dict.fromkeys(services, self._url))

    def _metadata(self, _: Request) -> Answer:
        """Return the clouds there are, for clients that are given no cloud."""
        return Answer(200, [{
            "name": "emulator", "portal": "https://portal.azure.emulator.test/",
            "resourceManager": self._url, "authentication": {"loginEndpoint": self._url},
            "suffixes": {"storage": STORAGE_SUFFIX},
        }])  # fmt: skip

    def _datastores(self, request: Request) -> Answer:
        names = list(DATASTORES)[: 1 if request.query.get("isDefault", "").lower() == "true" else 9]
        return Answer(200, {"value": [self._datastore_value(name) for name in names]})

    def _datastore(self, request: Request) -> Answer:
        name = request.groups["name"]
        if name not in DATASTORES:
            return not_found(f"datastore {name!r}; it has {', '.join(DATASTORES)}")
        return Answer(200, self._datastore_value(name))

    @staticmethod
    def _datastore_value(name: str) -> dict[str, Any]:
        properties = {
            "datastoreType": "AzureBlob", "accountName": ACCOUNT, "containerName": DATASTORES[name],
            "endpoint": STORAGE_SUFFIX, "protocol": "https", "tags": {}, "properties": {},
            "isDefault": name == next(iter(DATASTORES)),
            "credentials": {"credentialsType": "Sas", "secrets": {"secretsType": "Sas"}},
            "serviceDataAccessAuthIdentity": "None",
        }  # fmt: skip
        return _resource(f"/datastores/{name}", name, properties)

    def _secrets(self, request: Request) -> Answer:
        container = DATASTORES.get(request.groups["name"])
        if container is None:
            return not_found(f"datastore {request.groups['name']!r}")
        return Answer(
            200, {"secretsType": "Sas", "sasToken": self._blobs.sas_of_container(container)}
        )

    def _computes(self, _: Request) -> Answer:
        return Answer(200, {"value": [self._compute_value()]})

    def _compute(self, request: Request) -> Answer:
        if request.groups["name"] != COMPUTE:
            return not_found(f"compute {request.groups['name']!r}; it has {COMPUTE}")
        return Answer(200, self._compute_value())

    @staticmethod
    def _compute_value() -> dict[str, Any]:
        scale = {"maxNodeCount": 4, "minNodeCount": 0, "nodeIdleTimeBeforeScaleDown": "PT120S"}
        cluster = {
            "vmSize": "STANDARD_D2_V2", "vmPriority": "Dedicated", "scaleSettings": scale,
            "osType": "Linux", "allocationState": "Steady", "currentNodeCount": 0,
            "targetNodeCount": 0, "nodeStateCounts": {},
        }  # fmt: skip
        properties = {
            "computeType": "AmlCompute", "provisioningState": "Succeeded", "properties": cluster,
            "computeLocation": LOCATION, "isAttachedCompute": False, "createdOn": _STAMP,
        }  # fmt: skip
        return {
            **_resource(f"/computes/{COMPUTE}", COMPUTE, properties),
            "location": LOCATION,
            "tags": {},
        }

    # Assets with versions

    def _container(self, request: Request) -> Answer:
        kind, name = request.groups["kind"], request.groups["name"]
        versions = self._all_versions(kind, name)
        if not versions:
            return not_found(f"{kind} {name!r}")
        properties = {"latestVersion": versions[-1]["name"], "nextVersion": str(len(versions) + 1)}
        return Answer(200, _resource(f"/{kind}/{name}", name, {**properties, "isArchived": False}))

    def _all_versions(self, kind: str, name: str) -> list[dict[str, Any]]:
        found = self._state.values(kind)
        return [value for value in found if value["id"].split("/")[-3] == name]

    def _versions(self, request: Request) -> Answer:
        kind, name, query = request.groups["kind"], request.groups["name"], request.query
        found = [_without_stamp(value) for value in self._all_versions(kind, name)][::-1]
        if "hash" in query:
            found = [
                value for value in found
                if value["properties"].get("properties", {}).get("hash_sha256") == query["hash"]
            ]  # fmt: skip
        if query.get("$top"):
            found = found[: int(query["$top"])]
        return Answer(200, {"value": found})

    def _version(self, request: Request) -> Answer:
        kind, name, version = (request.groups[one] for one in ("kind", "name", "version"))
        value = self._state.read(kind, f"{name}:{version}")
        if value is None:
            return not_found(f"{kind} {name!r} of version {version!r}")
        return Answer(200, _without_stamp(value))

    def _put_version(self, request: Request) -> Answer:
        kind, name, version = (request.groups[one] for one in ("kind", "name", "version"))
        before = self._state.read(kind, f"{name}:{version}")
        properties = {**request.body["properties"], "provisioningState": "Succeeded"}
        value = _resource(f"/{kind}/{name}/versions/{version}", version, properties)
        created = before["created"] if before else time.time()
        self._state.write(kind, f"{name}:{version}", {**value, "created": created})
        return Answer(200 if before else 201, value)

    def _start_upload(self, request: Request) -> Answer:
        container = f"{request.groups['kind']}-{uuid.uuid4()}"
        self._blobs.make_containers(container)
        sas = self._blobs.sas_of_container(container)
        credential = {
            "credentialType": "SAS",
            "sasUri": f"{self._url}/{ACCOUNT}/{container}?{sas}",
        }
        reference = {
            "blobUri": f"https://{BLOB_HOST}/{container}", "credential": credential,
            "storageAccountArmId": ACCOUNT,
        }  # fmt: skip
        kind = "TemporaryBlobReference"
        value = {"pendingUploadId": str(uuid.uuid4()), "pendingUploadType": kind}
        return Answer(200, {**value, "blobReferenceForConsumption": reference})


def _resource(path: str, name: str, properties: dict[str, Any]) -> dict[str, Any]:
    kind = "/".join(path.strip("/").split("/")[::2]) if path else ""
    return {
        "id": f"{WORKSPACE_ID}{path}",
        "name": name,
        "type": f"{PROVIDER}/workspaces/{kind}".rstrip("/"),
        "properties": properties,
        "systemData": SYSTEM_DATA,
    }


def _without_stamp(value: dict[str, Any]) -> dict[str, Any]:
    return {name: one for name, one in value.items() if name != "created"}
