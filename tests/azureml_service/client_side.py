"""The way of a script, in an environment with azure-ai-ml, to the emulator: the real client, unpatched.

It reads the variables that `AzureMLService.environ` sets, and needs the standard library only.
"""

from __future__ import annotations

import importlib
import json
import os
import time
from collections import namedtuple
from typing import Any

from tests.azureml_service.tokens import make_token

URL_VARIABLE = "PARALLELRUN_EMULATOR_URL"
WORKSPACE_VARIABLE = "PARALLELRUN_EMULATOR_WORKSPACE"

AccessToken = namedtuple("AccessToken", ["token", "expires_on"])  # noqa: PYI024 - azure-core's shape


class Credential:
    """A credential whose tokens are not signed.

    Parameters
    ----------
    seconds
        How long its tokens are valid.

    Attributes
    ----------
    made
        Number of tokens that it has given.
    """

    def __init__(self, seconds: float = 3600) -> None:
        self.seconds = seconds
        self.made = 0

    def get_token(self, *scopes: str, **_: Any) -> AccessToken:
        """Return a token whose audience is the resource of the scope."""
        audience = scopes[0].removesuffix("/.default").rstrip("/")
        self.made += 1
        return AccessToken(make_token(audience, self.seconds), int(time.time() + self.seconds))


def cloud_metadata() -> dict[str, str]:
    """Return ``cloud_metadata`` of `MLClient` for the emulator."""
    url = os.environ[URL_VARIABLE]
    return {
        "azure_portal": url, "resource_manager": url, "active_directory": url, "aml_resource_id": url,
        "storage_endpoint": "core.emulator.test", "registry_discovery_endpoint": url,
    }  # fmt: skip


def write_config(folder: str) -> str:
    """Write ``config.json`` of the workspace to a folder; return its path."""
    path = os.path.join(folder, "config.json")
    names = ("subscription_id", "resource_group", "workspace_name")
    with open(path, "w", encoding="utf-8") as file:
        json.dump(dict(zip(names, workspace(), strict=True)), file)
    return path


def workspace() -> tuple[str, str, str]:
    """Return the subscription, the resource group and the name of the workspace."""
    subscription, group, name = os.environ[WORKSPACE_VARIABLE].split("/")
    return subscription, group, name


def ml_client(credential: Any = None, **options: Any) -> Any:
    """Return the real `MLClient` of the emulated workspace."""
    client = importlib.import_module("azure.ai.ml").MLClient  # only its environment has it
    cloud = (
        f"emulator{os.environ[URL_VARIABLE].rpartition(':')[2]}"  # a cloud's name is kept for good
    )
    options = {"enable_telemetry": False, "retry_total": 0, **options}
    options |= {"cloud": cloud, "cloud_metadata": cloud_metadata()}
    return client(credential or Credential(), *workspace(), **options)
