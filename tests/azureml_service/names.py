"""The names of the emulated subscription, workspace, storage account and compute."""

from __future__ import annotations

ACCOUNT = "pipelinedata"

SUBSCRIPTION = "00000000-0000-4000-8000-00000000e000"
GROUP = "emulated"
WORKSPACE = "workshop"
TENANT = "00000000-0000-4000-8000-00000000e001"
LOCATION = "westeurope"
COMPUTE = "cpu-cluster"
STORAGE_SUFFIX = "core.emulator.test"
"""In the place of ``core.windows.net``; the top-level domain ``.test`` is reserved, and never resolves."""

BLOB_HOST = f"{ACCOUNT}.blob.{STORAGE_SUFFIX}"
DATA_CONTAINER = "azureml-blobstore-e000"
ARTIFACT_CONTAINER = "azureml"
DATASTORES = {"workspaceblobstore": DATA_CONTAINER, "workspaceartifactstore": ARTIFACT_CONTAINER}
"""The containers of the datastores, the default one first."""

PROVIDER = "Microsoft.MachineLearningServices"
WORKSPACE_ID = f"/subscriptions/{SUBSCRIPTION}/resourceGroups/{GROUP}/providers/{PROVIDER}/workspaces/{WORKSPACE}"
DATASTORE_URI = f"azureml://subscriptions/{SUBSCRIPTION}/resourcegroups/{GROUP}/workspaces/{WORKSPACE}/datastores"


def uri_of(path: str, datastore: str = "workspaceblobstore") -> str:
    """Return the long URI of a path in a datastore."""
    return f"{DATASTORE_URI}/{datastore}/paths/{path}"


def artifacts_of(run: str) -> str:
    """Return the prefix of a run's artifacts in their container."""
    return f"ExperimentRun/dcid.{run}/"
