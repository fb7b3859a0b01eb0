"""The endpoint and deployment that a run came from, in a file of the run's folder."""

from __future__ import annotations

import json
from dataclasses import asdict, dataclass, fields
from pathlib import Path

from ...files import write_atomically
from ...runs.run_folder import Folder

_FILE = "deployment.json"


@dataclass(frozen=True, slots=True)
class Origin:
    """Where a run came from.

    Parameters
    ----------
    endpoint, deployment
        Names of the endpoint and the deployment.
    experiment
        The experiment; empty for the name of the endpoint.
    """

    endpoint: str
    deployment: str
    experiment: str = ""

    def write(self, folder: Folder) -> None:
        """Write it to the folder of a run."""
        write_atomically(folder.path / _FILE, json.dumps(asdict(self)))

    @classmethod
    def of(cls, path: Path) -> Origin | None:
        """Return that of the run in a folder; None if no deployment was invoked for it."""
        try:
            values = json.loads((path / _FILE).read_text(encoding="utf-8"))
        except (OSError, ValueError):
            return None
        return cls(**{item.name: values[item.name] for item in fields(cls) if item.name in values})
