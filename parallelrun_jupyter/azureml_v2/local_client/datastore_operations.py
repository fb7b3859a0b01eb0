"""``datastores`` of the client: the folders and stores that outputs may go to."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from types import SimpleNamespace
from typing import Any

from ...formatting import nearest_hint
from ...pipelines.workspaces import BUILT_IN_DATASTORES, datastore_record, read_workspace_file
from ..execution.registry import AssetNotFoundError


class DatastoreOperations:
    """The datastores of a workspace, with the methods of ``MLClient.datastores`` that read.

    Parameters
    ----------
    workspace
        Its folder.
    """

    def __init__(self, workspace: Path) -> None:
        self._workspace = workspace

    def get_default(self, **_: Any) -> Any:
        """Return the default datastore."""
        return self._get("")

    def get(self, name: str, **_: Any) -> Any:
        """Return a datastore.

        Raises
        ------
        AssetNotFoundError
            It does not exist; the message has those that do.
        """
        return self._get(name)

    def list(self, **_: Any) -> Iterator[Any]:
        """Yield the datastores, sorted by name."""
        for name in _names(self._workspace):
            yield self._get(name)

    def _get(self, name: str) -> Any:
        record = datastore_record(self._workspace, name)
        if record is None:
            names = _names(self._workspace)
            msg = (
                f"there is no datastore {name!r} in the workspace {self._workspace.name!r} of this "
                f"machine.{nearest_hint(name, names)} Datastores: {', '.join(names)}."
            )
            raise AssetNotFoundError(msg)
        return SimpleNamespace(
            name=record["name"], id=f"azureml://datastores/{record['name']}", type="local",
            path=record.get("folder") or record.get("url", ""),
        )  # fmt: skip


def _names(workspace: Path) -> list[str]:
    stores = read_workspace_file(workspace, "datastores.json").get("stores", {})
    return sorted({*stores, *BUILT_IN_DATASTORES})
