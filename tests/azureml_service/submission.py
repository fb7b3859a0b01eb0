"""Sends a job to the emulator without azure-ai-ml, in the form in which its client sends one.

It is faster, for tests that only watch a job, and needs no environment of azure-ai-ml.
"""

from __future__ import annotations

import uuid
from pathlib import Path
from typing import Any

from tests.azureml_service.blobs import Place
from tests.azureml_service.names import BLOB_HOST, DATA_CONTAINER, WORKSPACE_ID, uri_of
from tests.azureml_service.service import AzureMLService


def send_job(
    service: AzureMLService,
    script: Path,
    data: Path,
    *,
    arguments: str = "",
    mini_batch_size: int = 5,
    mini_batch_error_threshold: int = -1,
    max_retries: int = 1,
    timeout: int = 60,
    instance_count: int = 2,
    name: str = "",
) -> str:
    """Send a pipeline job with one parallel step, ``score``; return its name.

    Parameters
    ----------
    service
        The emulator.
    script
        The entry script; the files beside it go along.
    data
        The folder of the input ``data``, which is divided.
    arguments
        ``program_arguments``.
    mini_batch_size, mini_batch_error_threshold, max_retries, timeout, instance_count
        As in a job file.
    name
        Its name. Default: a new one.
    """
    name = name or f"sent_{uuid.uuid4().hex[:12]}"
    place = Place(DATA_CONTAINER, f"LocalUpload/{uuid.uuid4().hex}/{data.name}")
    service.blobs.upload(data, place)
    shared: dict[str, Any] = {
        "resources": {"instance_count": instance_count}, "max_concurrency_per_instance": 1,
        "input_data": "${{inputs.data}}", "mini_batch_error_threshold": mini_batch_error_threshold,
        "retry_settings": {"max_retries": max_retries, "timeout": timeout}, "logging_level": "INFO",
        "task": {
            "type": "run_function", "code": _send_code(service, script.parent),
            "entry_script": script.name, "program_arguments": arguments,
            "append_row_to": "${{outputs.rows}}", "environment": "azureml:emulated:1",
        },
    }  # fmt: skip
    component = {
        "name": "azureml_anonymous", "version": name, "type": "parallel", "is_deterministic": True,
        "inputs": {"data": {"type": "uri_folder", "mode": "ro_mount"}},
        "outputs": {"rows": {"type": "uri_file", "mode": "rw_mount"}},
        "mini_batch_size": str(mini_batch_size), **shared,
    }  # fmt: skip
    path = f"/components/azureml_anonymous/versions/{name}"
    service.put(path, {"isAnonymous": True, "componentSpec": component})
    node = {
        "name": "score", "type": "parallel", "componentId": f"{WORKSPACE_ID}{path}",
        "inputs": {"data": {"job_input_type": "literal", "value": "${{parent.inputs.data}}"}},
        "outputs": {"rows": {"job_output_type": "uri_file", "mode": "ReadWriteMount"}},
        "mini_batch_size": mini_batch_size, **shared,
    }  # fmt: skip
    uri = f"{uri_of(place.path)}/"
    service.put(f"/jobs/{name}", {
        "jobType": "Pipeline", "displayName": "numbers", "experimentName": "tests", "tags": {},
        "properties": {}, "isArchived": False, "jobs": {"score": node}, "outputs": {},
        "inputs": {"data": {"jobInputType": "uri_folder", "uri": uri}},
        "settings": {"default_compute": f"{WORKSPACE_ID}/computes/cpu-cluster"},
    })  # fmt: skip
    return name


def _send_code(service: AzureMLService, folder: Path) -> str:
    """Upload a folder of code; return the id of its asset."""
    container = f"codes-{uuid.uuid4()}"
    service.blobs.make_containers(container)
    service.blobs.upload(folder, Place(container, folder.name))
    path = f"/codes/{uuid.uuid4()}/versions/1"
    service.put(path, {"codeUri": f"https://{BLOB_HOST}/{container}/{folder.name}"})
    return f"{WORKSPACE_ID}{path}"
