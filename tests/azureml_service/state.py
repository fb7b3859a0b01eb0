"""The state of the emulator: JSON files in a folder, which the service and its clusters read and write."""

from __future__ import annotations

import json
import os
import uuid
from pathlib import Path
from typing import Any
from urllib.parse import quote, unquote

Value = dict[str, Any]


class State:
    """Values by kind and name. Each value has one writer at a time.

    Parameters
    ----------
    folder
        Its folder.
    """

    def __init__(self, folder: Path) -> None:
        self.folder = folder

    def _path(self, kind: str, name: str) -> Path:
        return self.folder / kind / f"{quote(name, safe='')}.json"

    def read(self, kind: str, name: str) -> Value | None:
        """Return a value, or None."""
        try:
            value: Value = json.loads(self._path(kind, name).read_text())
        except FileNotFoundError:
            return None
        return value

    def write(self, kind: str, name: str, value: Value) -> None:
        """Write a value; a reader sees the old one or the new one."""
        path = self._path(kind, name)
        path.parent.mkdir(parents=True, exist_ok=True)
        written = path.with_name(f"{path.name}.{uuid.uuid4().hex}")
        written.write_text(json.dumps(value, indent=1))
        os.replace(written, path)

    def names(self, kind: str) -> list[str]:
        """Return the names of a kind."""
        folder = self.folder / kind
        paths = list(folder.glob("*.json")) if folder.is_dir() else []
        return sorted(unquote(path.stem) for path in paths)

    def values(self, kind: str) -> list[Value]:
        """Return all values of a kind, in the order of their ``created``."""
        found = [value for name in self.names(kind) if (value := self.read(kind, name))]
        return sorted(found, key=lambda value: value.get("created", 0))

    def remove(self, kind: str, name: str) -> None:
        """Remove a value."""
        self._path(kind, name).unlink(missing_ok=True)
