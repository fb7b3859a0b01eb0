"""Batch endpoints and their deployments, as files of a workspace, so that another kernel finds them."""

from __future__ import annotations

import json
import os
import shutil
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import yaml

from ...errors import ConfigError
from ...files import write_atomically
from ...formatting import nearest_hint
from ...pipelines.registered_datasets import check_name, lock
from ...pipelines.workspaces import read_workspace_file
from .registry import with_copies

_FILE = "batch_endpoints.json"
_FOLDER = "batch_endpoints"


class EndpointNotFoundError(ConfigError, LookupError):
    """The workspace has no batch endpoint, or no deployment, with this name."""


class BatchEndpoints:
    """The batch endpoints of a workspace.

    Parameters
    ----------
    workspace
        Its folder.
    """

    def __init__(self, workspace: Path) -> None:
        self.workspace = workspace

    def names(self) -> list[str]:
        """Return the names of the endpoints, sorted."""
        return sorted(read_workspace_file(self.workspace, _FILE))

    def get(self, name: str) -> dict[str, Any]:
        """Return the record of an endpoint.

        Raises
        ------
        EndpointNotFoundError
            It does not exist; the message has those that do.
        """
        records = read_workspace_file(self.workspace, _FILE)
        if name not in records:
            msg = (
                f"there is no batch endpoint {name!r} in the workspace {self.workspace.name!r} of this "
                f"machine.{nearest_hint(name, records)} Endpoints: {_listed(records)}. Create it with "
                "batch_endpoints.begin_create_or_update(BatchEndpoint(name=...))."
            )
            raise EndpointNotFoundError(msg)
        record: dict[str, Any] = records[name]
        return record

    def save(self, name: str, record: Mapping[str, Any]) -> None:
        """Create an endpoint, or replace its record; its deployments are kept."""
        check_name(name, "batch endpoint")
        with lock(self.workspace):
            records = {**read_workspace_file(self.workspace, _FILE), name: dict(record)}
            write_atomically(self.workspace / _FILE, json.dumps(records, indent=1))

    def delete(self, name: str) -> None:
        """Remove an endpoint and its deployments; their runs are kept.

        Raises
        ------
        EndpointNotFoundError
            It does not exist.
        """
        self.get(name)
        with lock(self.workspace):
            records = read_workspace_file(self.workspace, _FILE)
            records.pop(name, None)
            write_atomically(self.workspace / _FILE, json.dumps(records, indent=1))
            shutil.rmtree(self._folder(name), ignore_errors=True)

    def deployments(self, endpoint: str) -> list[str]:
        """Return the names of an endpoint's deployments, sorted.

        Raises
        ------
        EndpointNotFoundError
            The endpoint does not exist.
        """
        self.get(endpoint)
        return sorted(path.parent.name for path in self._folder(endpoint).glob("*/deployment.yml"))

    def deployment(self, endpoint: str, name: str) -> Path:
        """Return the file of a deployment.

        Raises
        ------
        EndpointNotFoundError
            The endpoint or the deployment does not exist.
        """
        names = self.deployments(endpoint)
        if name not in names:
            msg = (
                f"the batch endpoint {endpoint!r} has no deployment {name!r}."
                f"{nearest_hint(name, names)} Its deployments: {_listed(names)}."
            )
            raise EndpointNotFoundError(msg)
        return self._folder(endpoint) / name / "deployment.yml"

    def default_deployment(self, endpoint: str) -> str:
        """Return the name of the deployment of a call without one; the only one needs no setting.

        Raises
        ------
        ConfigError
            The endpoint has no deployment, or several and no default.
        """
        wanted = str((self.get(endpoint).get("defaults") or {}).get("deployment_name") or "")
        names = self.deployments(endpoint)
        if wanted or len(names) == 1:
            return wanted or names[0]
        if not names:
            msg = (
                f"the batch endpoint {endpoint!r} has no deployment; create one with "
                "batch_deployments.begin_create_or_update(...)."
            )
        else:
            msg = (
                f"the batch endpoint {endpoint!r} has no default deployment, and several to choose from: "
                f"{_listed(names)}. Give deployment_name={names[0]!r}, or set "
                "endpoint.defaults.deployment_name and create_or_update the endpoint."
            )
        raise ConfigError(msg)

    def save_deployment(
        self, endpoint: str, name: str, record: Mapping[str, Any], component: Any = None
    ) -> Path:
        """Write a deployment with a copy of its code; return its file.

        Parameters
        ----------
        endpoint, name
            The endpoint, which exists, and the deployment.
        record
            Its fields, with absolute paths.
        component
            The fields of its pipeline component, for a file of its own.

        Raises
        ------
        ConfigError
            The name cannot be that of a folder, or the code does not exist or is too large.
        """
        self.get(endpoint)
        check_name(name, "deployment")
        target = self._folder(endpoint) / name
        new = target.with_name(f".{name}.{os.getpid()}.new")
        shutil.rmtree(new, ignore_errors=True)
        new.mkdir(mode=0o700, parents=True)
        try:
            content = _with_script_alone(with_copies(record, new, new), new)
            if component is not None:
                _write(new / "component.yml", with_copies(component, new, new))
                content["component"] = "./component.yml"
            _write(new / "deployment.yml", content)
            with lock(self.workspace):
                shutil.rmtree(target, ignore_errors=True)
                new.rename(target)
        finally:
            shutil.rmtree(new, ignore_errors=True)
        return target / "deployment.yml"

    def delete_deployment(self, endpoint: str, name: str) -> None:
        """Remove a deployment; an endpoint of which it is the default has none then.

        Raises
        ------
        EndpointNotFoundError
            It does not exist.
        """
        shutil.rmtree(self.deployment(endpoint, name).parent, ignore_errors=True)
        record = self.get(endpoint)
        if (record.get("defaults") or {}).get("deployment_name") == name:
            self.save(endpoint, {**record, "defaults": {}})

    def _folder(self, endpoint: str) -> Path:
        return self.workspace / _FOLDER / endpoint


def _with_script_alone(record: dict[str, Any], folder: Path) -> dict[str, Any]:
    """Return a deployment whose code, if that is one file, is the script beside the deployment's file."""
    code = record.get("code_configuration")
    if code and (folder / str(code.get("code"))).is_file():
        record["code_configuration"] = {"scoring_script": os.path.basename(code["code"])}
    return record


def _write(path: Path, record: Mapping[str, Any]) -> None:
    write_atomically(path, yaml.safe_dump(dict(record), sort_keys=False, allow_unicode=True))


def _listed(names: Any) -> str:
    return ", ".join(names) or "none"
