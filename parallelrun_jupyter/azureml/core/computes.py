"""Compute targets: recorded by name, and all of them this machine."""

from __future__ import annotations

import json
import os
import time
from pathlib import Path
from typing import Any

from ...config.compute import named_compute
from ...files import write_atomically
from ...pipelines import registered_datasets
from ..exceptions import ComputeTargetException
from ..loader.missing import Partial
from .workspace import Workspace, as_workspace

COMPUTE_VARIABLE = "PARALLELRUN_COMPUTE"
"""Where the steps of pipelines run, whatever their compute target; ``local`` is this machine."""


class ComputeTarget(Partial):
    """A compute target of a workspace, by its name.

    Parameters
    ----------
    workspace
        The workspace.
    name
        The name.

    Raises
    ------
    ComputeTargetException
        There is none of that name; notebooks catch this and create it.
    """

    def __new__(cls, workspace: Any = None, name: str | None = None, **_: Any) -> Any:
        """Return an object of the class that the target was created with."""
        record = _read(as_workspace(workspace)).get(str(name))
        if record is None or (cls is AmlCompute and record["type"] != "AmlCompute"):
            names = ", ".join(sorted(_read(workspace))) or "none"
            msg = (
                f"ComputeTargetNotFound: Compute Target with name {name} not found in provided "
                f"workspace (there are: {names}). ComputeTarget.create makes one."
            )
            raise ComputeTargetException(msg)
        return super().__new__(AmlCompute if record["type"] == "AmlCompute" else ComputeTarget)

    def __init__(self, workspace: Workspace, name: str, **_: Any) -> None:
        self.workspace = workspace
        self.name = name
        self._record = _read(workspace)[name]
        self.type: str = self._record["type"]
        self.provisioning_state = "Succeeded"
        self.tags: dict[str, str] = self._record.get("tags") or {}

    def __repr__(self) -> str:
        return f"{type(self).__name__}(workspace={self.workspace!r}, name={self.name})"

    @staticmethod
    def create(workspace: Workspace, name: str, provisioning_configuration: Any) -> Any:
        """Record a compute target. Nothing is started: its nodes are processes of this machine.

        Raises
        ------
        ComputeTargetException
            The configuration is none.
        """
        if not isinstance(provisioning_configuration, AmlComputeProvisioningConfiguration):
            msg = (
                f"provisioning_configuration is {provisioning_configuration!r}; expected what "
                "AmlCompute.provisioning_configuration(...) returns."
            )
            raise ComputeTargetException(msg)
        record = {"type": "AmlCompute", **provisioning_configuration.settings}
        with registered_datasets.lock(as_workspace(workspace).folder):
            known = _read(workspace)
            write_atomically(_file(workspace), json.dumps({**known, name: record}, indent=1))
        print(f"Compute target {name!r}: its nodes are groups of processes of this machine.")
        return ComputeTarget(workspace=workspace, name=name)

    @staticmethod
    def list(workspace: Workspace) -> list[Any]:
        """Return the compute targets of a workspace."""
        return list(targets_of(workspace).values())

    def wait_for_completion(
        self,
        show_output: bool = False,
        min_node_count: int | None = None,
        timeout_in_minutes: float | None = None,
        is_delete_operation: bool = False,
    ) -> None:
        """Return at once: this machine is there."""
        if show_output:
            print("Succeeded\nAmlCompute wait for completion finished: this machine is ready")

    def get_status(self) -> AmlComputeStatus:
        """Return the state of the target: always ready."""
        return AmlComputeStatus(self._record)

    @property
    def status(self) -> AmlComputeStatus:
        """The state of the target."""
        return self.get_status()

    def delete(self) -> None:
        """Forget the target."""
        with registered_datasets.lock(self.workspace.folder):
            known = _read(self.workspace)
            known.pop(self.name, None)
            write_atomically(_file(self.workspace), json.dumps(known, indent=1))

    def refresh_state(self) -> None:
        """Do nothing: the state does not change."""

    def serialize(self) -> dict[str, Any]:
        """Return what is known of the target."""
        return {
            "name": self.name,
            "location": "local",
            "provisioningState": self.provisioning_state,
            "properties": {"computeType": self.type, "properties": dict(self._record)},
        }

    def get(self) -> dict[str, Any]:
        """Return what is known of the target."""
        return self.serialize()


class AmlCompute(ComputeTarget):
    """A cluster by name; here its nodes are groups of processes of this machine."""

    @staticmethod
    def provisioning_configuration(
        vm_size: str = "",
        vm_priority: str = "dedicated",
        min_nodes: int = 0,
        max_nodes: int | None = None,
        idle_seconds_before_scaledown: int = 120,
        admin_username: str | None = None,
        admin_user_password: str | None = None,
        admin_user_ssh_key: str | None = None,
        vnet_resourcegroup_name: str | None = None,
        vnet_name: str | None = None,
        subnet_name: str | None = None,
        tags: Any = None,
        description: str | None = None,
        remote_login_port_public_access: str = "NotSpecified",
        identity_type: str | None = None,
        identity_id: Any = None,
        location: str | None = None,
        enable_node_public_ip: bool | None = None,
    ) -> AmlComputeProvisioningConfiguration:
        """Return the settings of a cluster. Numbers may be texts, as environment variables are.

        Raises
        ------
        ComputeTargetException
            A number of nodes is none, or ``min_nodes`` is above ``max_nodes``.
        """
        return AmlComputeProvisioningConfiguration(
            {
                "vm_size": vm_size,
                "vm_priority": vm_priority,
                "min_nodes": _nodes("min_nodes", min_nodes),
                "max_nodes": _nodes("max_nodes", min_nodes if max_nodes is None else max_nodes),
                "idle_seconds_before_scaledown": idle_seconds_before_scaledown,
                "description": description,
                "tags": dict(tags or {}),
            }
        )

    @staticmethod
    def supported_vmsizes(
        workspace: Workspace, location: str | None = None
    ) -> list[dict[str, Any]]:
        """Return the sizes of machines: this one."""
        return [{"name": "LOCAL", "vCPUs": os.cpu_count() or 1, "gpus": 0}]

    def update(
        self,
        min_nodes: int | None = None,
        max_nodes: int | None = None,
        idle_seconds_before_scaledown: int | None = None,
    ) -> None:
        """Change the recorded numbers."""
        given = {
            "min_nodes": min_nodes,
            "max_nodes": max_nodes,
            "idle_seconds_before_scaledown": idle_seconds_before_scaledown,
        }
        self._record.update({k: v for k, v in given.items() if v is not None})
        with registered_datasets.lock(self.workspace.folder):
            known = {**_read(self.workspace), self.name: self._record}
            write_atomically(_file(self.workspace), json.dumps(known, indent=1))

    @property
    def vm_size(self) -> str:
        """The size, as it was given."""
        return str(self._record["vm_size"])

    @property
    def scale_settings(self) -> Any:
        """How many nodes there may be."""
        return self.get_status().scale_settings

    @property
    def max_nodes(self) -> int:
        """How many nodes there may be at most."""
        return int(self._record["max_nodes"])


class AmlComputeProvisioningConfiguration:
    """The settings of a cluster that is to be created."""

    def __init__(self, settings: dict[str, Any]) -> None:
        self.settings = settings
        self.validate_configuration()

    def __getattr__(self, name: str) -> Any:
        try:
            return self.__dict__["settings"][name]
        except KeyError:
            raise AttributeError(name) from None

    def validate_configuration(self) -> None:
        """See that the numbers fit.

        Raises
        ------
        ComputeTargetException
            ``min_nodes`` is above ``max_nodes``.
        """
        low, high = self.settings["min_nodes"], self.settings["max_nodes"]
        if low > high:
            msg = f"min_nodes is {low} and max_nodes is {high}; expected min_nodes <= max_nodes."
            raise ComputeTargetException(msg)


class ScaleSettings:
    """How many nodes a cluster may have."""

    def __init__(self, record: dict[str, Any]) -> None:
        self.minimum_node_count = record["min_nodes"]
        self.maximum_node_count = record["max_nodes"]
        self.idle_seconds_before_scaledown = record["idle_seconds_before_scaledown"]


class AmlComputeStatus:
    """The state of a cluster: ready, with its smallest number of nodes."""

    def __init__(self, record: dict[str, Any]) -> None:
        self._record = record
        self.allocation_state = "Steady"
        self.provisioning_state = "Succeeded"
        self.current_node_count = record.get("min_nodes", 0)
        self.target_node_count = self.current_node_count
        self.errors = None
        self.scale_settings = ScaleSettings(record)

    def serialize(self) -> dict[str, Any]:
        """Return the state as plain values."""
        count = self.current_node_count
        return {
            "currentNodeCount": count,
            "targetNodeCount": count,
            "nodeStateCounts": {
                "preparingNodeCount": 0, "runningNodeCount": 0, "idleNodeCount": count,
                "unusableNodeCount": 0, "leavingNodeCount": 0, "preemptedNodeCount": 0,
            },
            "allocationState": self.allocation_state,
            "allocationStateTransitionTime": time.strftime("%Y-%m-%dT%H:%M:%S", time.gmtime()),
            "errors": None,
            "creationTime": None,
            "modifiedTime": None,
            "provisioningState": self.provisioning_state,
            "provisioningStateTransitionTime": None,
            "scaleSettings": {
                "minNodeCount": self.scale_settings.minimum_node_count,
                "maxNodeCount": self.scale_settings.maximum_node_count,
                "nodeIdleTimeBeforeScaleDown": (
                    f"PT{self.scale_settings.idle_seconds_before_scaledown}S"
                ),
            },
            "vmPriority": self._record.get("vm_priority"),
            "vmSize": self._record.get("vm_size"),
        }  # fmt: skip


def targets_of(workspace: Workspace) -> dict[str, Any]:
    """Return the compute targets of a workspace, by name."""
    return {
        name: ComputeTarget(workspace=workspace, name=name) for name in sorted(_read(workspace))
    }


def _file(workspace: Workspace) -> Path:
    return workspace.folder / "computes.json"


def _read(workspace: Workspace) -> dict[str, Any]:
    try:
        record: dict[str, Any] = json.loads(_file(workspace).read_text(encoding="utf-8"))
    except FileNotFoundError:
        return {}
    return record


def _nodes(name: str, value: Any) -> int:
    try:
        count = int(value)
    except (TypeError, ValueError):
        count = -1
    if count < 0:
        msg = f"{name} is {value!r}; expected a whole number from 0."
        raise ComputeTargetException(msg)
    return count


def compute_setting(target: Any) -> str:
    """Return where a step runs, whose compute target this is; empty for this machine.

    The variable ``PARALLELRUN_COMPUTE`` says so for all of them; otherwise a compute of the target's
    name that ``name_compute`` has put into the home.
    """
    given = os.environ.get(COMPUTE_VARIABLE, "").strip()
    if given:
        return "" if given == "local" else given
    name = target if isinstance(target, str) else str(target.name)
    return name if name != "local" and named_compute(name) is not None else ""


def say_where(target: Any, node_count: Any) -> None:
    """Say what a compute target is here, where more than one node was asked for."""
    name = target if isinstance(target, str) else target.name
    where = compute_setting(target)
    nodes = (
        f"its nodes are those of {where}"
        if where
        else (f"its {node_count} nodes are groups of processes of this machine")
    )
    print(f"compute target {name!r}: {nodes}")
