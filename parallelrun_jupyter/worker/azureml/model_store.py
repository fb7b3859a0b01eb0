"""Registered models on disk: files, versions and tags.

The files of a version are in ``<workspace>/azureml-models/<name>/<version>/``, the layout that
Azure's SDK expects; the records of all versions are in ``<workspace>/models/<name>.json``.
Notebooks and scripts share this module, so it runs on Python 3.7.
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
    """The model or version is not registered."""


class ModelStore:
    """The registered models of a workspace."""

    def __init__(self, workspace: str) -> None:
        self._workspace = workspace
        self.files = os.path.join(workspace, MODELS_FOLDER)
        self._records = os.path.join(workspace, "models")

    def names(self) -> list[str]:
        """Return the names of the models, sorted."""
        try:
            files = os.listdir(self._records)
        except OSError:
            return []
        return sorted(file[: -len(".json")] for file in files if file.endswith(".json"))

    def versions(self, name: str) -> list[dict[str, Any]]:
        """Return the records of a model's versions, oldest first, without deleted versions."""
        return [row for row in self._all_versions(name) if not row.get("deleted")]

    def _all_versions(self, name: str) -> list[dict[str, Any]]:
        if not _is_name(name):
            return []
        try:
            with open(os.path.join(self._records, name + ".json")) as file:
                return list(json.load(file)["versions"])
        except FileNotFoundError:
            return []

    def find(self, name: str, version: int | None = None) -> dict[str, Any]:
        """Return the record of a version, by default the latest."""
        rows = self.versions(name)
        if version is not None:
            rows = [row for row in rows if row["version"] == int(version)]
        if not rows:
            raise ModelNotFound(self._missing(name, version))
        return rows[-1]

    def _missing(self, name: str, version: int | None) -> str:
        subject = "model %r" % name
        if version is not None:
            subject += ", version %s," % version
        names = ", ".join(self.names()) or "none"
        return (
            "%s is not registered in %s; registered are: %s. Register it with "
            "Model.register(workspace, model_path=..., model_name=%r)."
            % (subject, self._workspace, names, name)
        )

    def path(self, name: str, version: int | None = None) -> str:
        """Return the path of the registered file or folder."""
        row = self.find(name, version)
        return os.path.join(self.files, name, str(row["version"]), row["file"])

    def register(
        self, name: str, source: str, facts: dict[str, Any], child_paths: Iterable[str] = ()
    ) -> dict[str, Any]:
        """Copy a file or folder as the next version of a model; return the record of the version.

        Links are followed, except links back to a folder that is being copied. Broken links,
        sockets and pipes are skipped.
        """
        if not _is_name(name):
            raise ValueError(
                "model_name is %r; expected a name without '/', such as 'digits'." % (name,)
            )
        child_paths = list(child_paths)
        outside = [child for child in child_paths if not _is_inside(child)]
        if outside:
            raise ValueError(
                "child_paths contains %r, which is outside of model_path; pass paths inside "
                "that folder." % outside[0]
            )
        if not os.path.exists(source):
            raise FileNotFoundError(
                "model_path is %r, which does not exist; pass a file or folder." % source
            )
        os.makedirs(self._records, exist_ok=True)
        with open(os.path.join(self._workspace, "models.lock"), "w") as lock:
            fcntl.flock(lock, fcntl.LOCK_EX)
            versions = self._all_versions(name)
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
        """Change fields of a version's record; return the record."""
        with open(os.path.join(self._workspace, "models.lock"), "w") as lock:
            fcntl.flock(lock, fcntl.LOCK_EX)
            versions = self._all_versions(name)
            for row in versions:
                if row["version"] == version:
                    row.update(changes)
                    self._write(name, versions)
                    return row
        raise ModelNotFound(self._missing(name, version))

    def delete(self, name: str, version: int) -> None:
        """Delete a version and its files; its number is not reused."""
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
            copy = os.path.join(target, child)
            os.makedirs(os.path.dirname(copy), exist_ok=True)
            shutil.copyfile(os.path.join(source, child), copy)
    else:
        shutil.copytree(source, target, ignore=_skipped_names)


def _is_name(name: Any) -> bool:
    """Return whether a name can be the name of a subfolder."""
    return isinstance(name, str) and name not in ("", ".", "..") and "/" not in name


def _is_inside(path: str) -> bool:
    normal = os.path.normpath(path)
    return not os.path.isabs(normal) and normal.split(os.sep)[0] != os.pardir


def _skipped_names(folder: str, names: list[str]) -> list[str]:
    """Return names of links back to a parent, and of entries that are not files or folders."""
    real_folder = os.path.realpath(folder) + os.sep
    skipped = []
    for name in names:
        path = os.path.join(folder, name)
        is_back = os.path.islink(path) and real_folder.startswith(os.path.realpath(path) + os.sep)
        if is_back or not (os.path.isfile(path) or os.path.isdir(path)):
            skipped.append(name)
    return skipped


def link_models(workspace: str) -> None:
    """Link the models to ``./azureml-models``, the folder that Azure's own SDK reads."""
    files = os.path.join(workspace, MODELS_FOLDER)
    if os.path.isdir(files):
        try:
            os.symlink(files, MODELS_FOLDER)
        except OSError:
            pass  # another worker created it, or the script has its own folder
