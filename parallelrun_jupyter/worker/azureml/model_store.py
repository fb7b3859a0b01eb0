"""Registered models on disk: versions, tags, and the files, where Azure's own SDK finds them too.

The files of a version are in ``<workspace>/azureml-models/<name>/<version>/``, as they are on
Azure's nodes; what is known of it is in ``<workspace>/models/<name>.json``. Notebooks and scripts
use this one module, so it runs on Python 3.7.
"""

from __future__ import annotations

import fcntl
import json
import os
import shutil
import time

TYPE_CHECKING = False
if TYPE_CHECKING:  # typing is not worth its import in a worker
    from typing import Any, Iterable

MODELS_FOLDER = "azureml-models"


class ModelNotFound(LookupError):
    """There is no such model, or no such version of it."""


class ModelStore:
    """The models of one workspace, by its folder."""

    def __init__(self, workspace: str) -> None:
        self._workspace = workspace
        self.files = os.path.join(workspace, MODELS_FOLDER)
        self._records = os.path.join(workspace, "models")

    def names(self) -> list[str]:
        """Return the names of the models, sorted."""
        try:
            found = os.listdir(self._records)
        except OSError:
            return []
        return sorted(name[: -len(".json")] for name in found if name.endswith(".json"))

    def versions(self, name: str) -> list[dict[str, Any]]:
        """Return what is known of each version of a model, the first one first."""
        if not _is_name(name):
            return []
        try:
            with open(os.path.join(self._records, name + ".json")) as file:
                return list(json.load(file)["versions"])
        except FileNotFoundError:
            return []

    def find(self, name: str, version: int | None = None) -> dict[str, Any]:
        """Return a version of a model; the latest one by default."""
        known = [row for row in self.versions(name) if not row.get("deleted")]
        if version is not None:
            known = [row for row in known if row["version"] == int(version)]
        if not known:
            raise ModelNotFound(self._missing(name, version))
        return known[-1]

    def _missing(self, name: str, version: int | None) -> str:
        what = "model %r" % name
        if version is not None:
            what += ", version %s," % version
        names = ", ".join(self.names()) or "none"
        return (
            "%s is not registered in %s; registered are: %s. Register it with "
            "Model.register(workspace, model_path=..., model_name=%r)."
            % (what, self._workspace, names, name)
        )

    def path(self, name: str, version: int | None = None) -> str:
        """Return where the files are: the registered file itself, or the registered folder."""
        row = self.find(name, version)
        return os.path.join(self.files, name, str(row["version"]), row["file"])

    def register(
        self, name: str, source: str, facts: dict[str, Any], child_paths: Iterable[str] = ()
    ) -> dict[str, Any]:
        """Copy a file or a folder in, as the next version of a model; return what is known of it.

        Links are followed, but not those back to a folder that is being copied. Links to nothing,
        sockets and pipes are left out.
        """
        if not _is_name(name):
            raise ValueError(
                "model_name is %r; expected a name without '/', such as 'digits'." % (name,)
            )
        child_paths = list(child_paths)
        outside = [child for child in child_paths if not _is_inside(child)]
        if outside:
            raise ValueError(
                "child_paths holds %r, which is outside of model_path; give paths inside of it."
                % outside[0]
            )
        if not os.path.exists(source):
            raise FileNotFoundError(
                "model_path is %r, which is not there; give a file or a folder." % source
            )
        os.makedirs(self._records, exist_ok=True)
        with open(os.path.join(self._workspace, "models.lock"), "w") as lock:
            fcntl.flock(lock, fcntl.LOCK_EX)
            versions = self.versions(name)
            number = len(versions) + 1
            file = os.path.basename(os.path.abspath(source))
            folder = os.path.join(self.files, name, str(number))
            shutil.rmtree(folder, ignore_errors=True)
            os.makedirs(folder)
            _copy(source, os.path.join(folder, file), child_paths)
            row = dict(facts, name=name, version=number, file=file, created_at=time.time())
            self._write(name, [*versions, row])
        return row

    def change(self, name: str, version: int, changes: dict[str, Any]) -> dict[str, Any]:
        """Change what is known of a version."""
        with open(os.path.join(self._workspace, "models.lock"), "w") as lock:
            fcntl.flock(lock, fcntl.LOCK_EX)
            versions = self.versions(name)
            for row in versions:
                if row["version"] == version:
                    row.update(changes)
                    self._write(name, versions)
                    return row
        raise ModelNotFound(self._missing(name, version))

    def delete(self, name: str, version: int) -> None:
        """Remove a version and its files; its number is not given again."""
        self.change(name, version, {"deleted": True})
        shutil.rmtree(os.path.join(self.files, name, str(version)), ignore_errors=True)

    def _write(self, name: str, versions: list[dict[str, Any]]) -> None:
        path = os.path.join(self._records, name + ".json")
        temporary = "%s.%d.tmp" % (path, os.getpid())
        with open(temporary, "w") as file:
            json.dump({"name": name, "versions": versions}, file, indent=1)
        os.replace(temporary, path)


def _copy(source: str, target: str, child_paths: list[str]) -> None:
    if os.path.isfile(source):
        shutil.copyfile(source, target)
    elif child_paths:
        for child in child_paths:
            place = os.path.join(target, child)
            os.makedirs(os.path.dirname(place), exist_ok=True)
            shutil.copyfile(os.path.join(source, child), place)
    else:
        shutil.copytree(source, target, ignore=_left_out)


def _is_name(name: Any) -> bool:
    """Say if a name can be that of a folder, and of nothing elsewhere."""
    return isinstance(name, str) and name not in ("", ".", "..") and "/" not in name


def _is_inside(path: str) -> bool:
    normal = os.path.normpath(path)
    return not os.path.isabs(normal) and normal.split(os.sep)[0] != os.pardir


def _left_out(folder: str, names: list[str]) -> list[str]:
    """Return what is not copied: what is neither file nor folder, and links back."""
    here = os.path.realpath(folder) + os.sep
    found = []
    for name in names:
        path = os.path.join(folder, name)
        is_back = os.path.islink(path) and here.startswith(os.path.realpath(path) + os.sep)
        if is_back or not (os.path.isfile(path) or os.path.isdir(path)):
            found.append(name)
    return found


def link_models(workspace: str) -> None:
    """Let ``./azureml-models`` be the models, which is where Azure's own SDK looks for them."""
    files = os.path.join(workspace, MODELS_FOLDER)
    if os.path.isdir(files):
        try:
            os.symlink(files, MODELS_FOLDER)
        except OSError:
            pass  # another worker was faster, or the script's folder has one of its own
