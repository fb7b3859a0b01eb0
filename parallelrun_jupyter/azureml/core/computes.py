"""Compute targets: names for this machine, or for a compute registered with ``name_compute``."""

from __future__ import annotations

import os
import time
from typing import Any

from ...config.compute import named_compute
from ..exceptions import ComputeTargetException
from ..loader.name_table import Partial
from .workspace import Workspace, changed_records, read_records

COMPUTE_VARIABLE = "PARALLELRUN_COMPUTE"
"""Overrides the compute target of every step; ``local`` is this machine."""
_FILE = "computes.json"


class ComputeTarget(Partial):
    """A compute target of a workspace.

    Parameters
    ----------
    workspace
        The workspace.
    name
        The name.

    Raises
    ------
    ComputeTargetException
        The target does not exist; notebooks catch this and create it.
    """

    def __new__(cls, workspace: Any = None, name: str | None = None, **_: Any) -> Any:
        """Return an object of the class that the target was created with."""
        records = read_records(workspace, _FILE)
        record = records.get(str(name))
        if record is None or (cls is AmlCompute and record["type"] != "AmlCompute"):
            names = ", ".join(sorted(records)) or "none"
            msg = (
                f"ComputeTargetNotFound: Compute Target with name {name} not found in provided "
                f"workspace (existing: {names}). Create it with ComputeTarget.create."
            )
            raise ComputeTargetException(msg)
        return super().__new__(AmlCompute if record["type"] == "AmlCompute" else ComputeTarget)

    def __init__(self, workspace: Workspace, name: str, **_: Any) -> None:
        self.workspace = workspace
        self.name = name
        self._record = read_records(workspace, _FILE)[name]
        self.type: str = self._record["type"]
        self.provisioning_state = "Succeeded"
        self.tags: dict[str, str] = self._record.get("tags") or {}

    def __repr__(self) -> str:
        return f"{type(self).__name__}(workspace={self.workspace!r}, name={self.name})"

    @staticmethod
    def create(workspace: Workspace, name: str, provisioning_configuration: Any) -> Any:
        """Record a compute target. Nothing is started: its nodes are processes on this machine.

        Raises
        ------
        ComputeTargetException
            The configuration is of another kind.
        """
        if not isinstance(provisioning_configuration, AmlComputeProvisioningConfiguration):
            msg = (
                f"provisioning_configuration is {provisioning_configuration!r}; expected the result of "
                "AmlCompute.provisioning_configuration(...)."
            )
            raise ComputeTargetException(msg)
        record = {"type": "AmlCompute", **provisioning_configuration.settings}
        with changed_records(workspace, _FILE) as records:
            records[name] = record
        print(f"Compute target {name!r}: its nodes are groups of processes on this machine.")
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
        """Return immediately: this machine is always available."""
        if show_output:
            print("Succeeded\nAmlCompute wait for completion finished: this machine is ready")

    def get_status(self) -> AmlComputeStatus:
        """Return the state of the target: always ready."""
        return AmlComputeStatus(self._record)

    @property
    def status(self) -> AmlComputeStatus:
        """The provisioning state of the target."""
        return self.get_status()

    def delete(self) -> None:
        """Remove the record of the target."""
        with changed_records(self.workspace, _FILE) as records:
            records.pop(self.name, None)

    def refresh_state(self) -> None:
        """Do nothing: the state does not change."""

    def serialize(self) -> dict[str, Any]:
        """Return the target as plain values."""
        return {
            "name": self.name,
            "location": "local",
            "provisioningState": self.provisioning_state,
            "properties": {"computeType": self.type, "properties": dict(self._record)},
        }

    get = serialize


class AmlCompute(ComputeTarget):
    """A cluster by name; here its nodes are groups of processes on this machine."""

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
        """Return the settings of a cluster. Numbers may be text, such as environment variables.

        Raises
        ------
        ComputeTargetException
            A number of nodes is invalid, or ``min_nodes`` is above ``max_nodes``.
        """
        return AmlComputeProvisioningConfiguration(
            {
                "vm_size": vm_size,
                "vm_priority": vm_priority,
                "min_nodes": _node_count("min_nodes", min_nodes),
                "max_nodes": _node_count(
                    "max_nodes", min_nodes if max_nodes is None else max_nodes
                ),
                "idle_seconds_before_scaledown": idle_seconds_before_scaledown,
                "description": description,
                "tags": dict(tags or {}),
            }
        )

    @staticmethod
    def supported_vmsizes(
        workspace: Workspace, location: str | None = None
    ) -> list[dict[str, Any]]:
        """Return the size of this machine."""
        return [{"name": "LOCAL", "vCPUs": os.cpu_count() or 1, "gpus": 0}]

    def update(
        self,
        min_nodes: int | None = None,
        max_nodes: int | None = None,
        idle_seconds_before_scaledown: int | None = None,
    ) -> None:
        """Change the recorded numbers of nodes."""
        changes = {
            "min_nodes": min_nodes,
            "max_nodes": max_nodes,
            "idle_seconds_before_scaledown": idle_seconds_before_scaledown,
        }
        self._record.update({k: v for k, v in changes.items() if v is not None})
        with changed_records(self.workspace, _FILE) as records:
            records[self.name] = self._record

    @property
    def vm_size(self) -> str:
        """The size of the machines; only recorded here."""
        return str(self._record["vm_size"])

    @property
    def scale_settings(self) -> Any:
        """The allowed numbers of nodes."""
        return self.get_status().scale_settings

    @property
    def max_nodes(self) -> int:
        """The maximum number of nodes."""
        return int(self._record["max_nodes"])


class AmlComputeProvisioningConfiguration:
    """The settings of a cluster, for `ComputeTarget.create`."""

    def __init__(self, settings: dict[str, Any]) -> None:
        self.settings = settings
        self.validate_configuration()

    def __getattr__(self, name: str) -> Any:
        try:
            return self.__dict__["settings"][name]
        except KeyError:
            raise AttributeError(name) from None

    def validate_configuration(self) -> None:
        """Check the numbers of nodes.

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
    """The allowed numbers of nodes of a cluster."""

    def __init__(self, record: dict[str, Any]) -> None:
        self.minimum_node_count = record["min_nodes"]
        self.maximum_node_count = record["max_nodes"]
        self.idle_seconds_before_scaledown = record["idle_seconds_before_scaledown"]


class AmlComputeStatus:
    """The state of a cluster: always ready, with its minimum number of nodes."""

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
    names = sorted(read_records(workspace, _FILE))
    return {name: ComputeTarget(workspace=workspace, name=name) for name in names}


def _node_count(name: str, value: Any) -> int:
    try:
        count = int(value)
    except (TypeError, ValueError):
        count = -1
    if count < 0:
        msg = f"{name} is {value!r}; expected a whole number >= 0."
        raise ComputeTargetException(msg)
    return count


def compute_setting(target: Any) -> str:
    """Return the native compute setting of a step with this target; empty for this machine.

    ``PARALLELRUN_COMPUTE`` applies to every step; otherwise the compute that ``name_compute``
    registered under the target's name.
    """
    setting = os.environ.get(COMPUTE_VARIABLE, "").strip()
    if setting:
        return "" if setting == "local" else setting
    name = target if isinstance(target, str) else str(target.name)
    return name if name != "local" and named_compute(name) is not None else ""


def print_placement(target: Any, node_count: Any) -> None:
    """Print the nodes that a step with this compute target runs on."""
    name = target if isinstance(target, str) else target.name
    setting = compute_setting(target)
    nodes = f"its {node_count} nodes are groups of processes on this machine"
    print(f"compute target {name!r}: {f'its nodes come from {setting}' if setting else nodes}")
