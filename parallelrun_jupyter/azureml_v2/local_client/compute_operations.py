"""``compute`` of the client: every name is this machine, or a named compute."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from types import SimpleNamespace
from typing import Any

from ...files import write_atomically
from ...pipelines.registered_datasets import lock
from ...pipelines.workspaces import read_workspace_file
from .done import Done

_FILE = "computes.json"


class ComputeOperations:
    """The computes of a workspace, with the methods of ``MLClient.compute``.

    Parameters
    ----------
    workspace
        Its folder.
    """

    def __init__(self, workspace: Path) -> None:
        self._workspace = workspace

    def get(self, name: str) -> Any:
        """Return a compute by any name: its nodes are groups of processes on this machine."""
        return _compute(name, read_workspace_file(self._workspace, _FILE).get(name, {}))

    def list(self, **_: Any) -> Iterator[Any]:
        """Yield the computes that were created."""
        for name, record in sorted(read_workspace_file(self._workspace, _FILE).items()):
            yield _compute(name, record)

    def begin_create_or_update(self, compute: Any, **_: Any) -> Done[Any]:
        """Record a compute. Nothing is started."""
        high = getattr(compute, "max_instances", None)
        record = {
            "type": "AmlCompute",
            "vm_size": getattr(compute, "size", None) or "",
            "vm_priority": getattr(compute, "tier", None) or "dedicated",
            "min_nodes": getattr(compute, "min_instances", None) or 0,
            "max_nodes": 1 if high is None else high,
            "idle_seconds_before_scaledown": getattr(compute, "idle_time_before_scale_down", None)
            or 120,
            "description": getattr(compute, "description", None),
            "tags": dict(getattr(compute, "tags", None) or {}),
        }
        with lock(self._workspace):
            records = {**read_workspace_file(self._workspace, _FILE), compute.name: record}
            write_atomically(self._workspace / _FILE, json.dumps(records, indent=1))
        return Done(self.get(compute.name))

    def create_or_update(self, compute: Any, **_: Any) -> Any:
        """Record a compute, and return it."""
        return self.begin_create_or_update(compute).result()

    def begin_delete(self, name: str, **_: Any) -> Done[None]:
        """Remove the record of a compute."""
        with lock(self._workspace):
            records = read_workspace_file(self._workspace, _FILE)
            records.pop(name, None)
            write_atomically(self._workspace / _FILE, json.dumps(records, indent=1))
        return Done(None)


def _compute(name: str, record: dict[str, Any]) -> Any:
    return SimpleNamespace(
        name=name, type="amlcompute", size=record.get("vm_size") or "this machine", location="local",
        min_instances=record.get("min_nodes", 0), max_instances=record.get("max_nodes", 1),
        tier=record.get("vm_priority", "dedicated"), provisioning_state="Succeeded",
        description=record.get("description"), tags=record.get("tags") or {},
        idle_time_before_scale_down=record.get("idle_seconds_before_scaledown", 120),
    )  # fmt: skip
