"""``azureml.core`` for scripts: the run, its workspace, and registered models and datasets.

The facts come from the file named by ``PARALLELRUN_AZUREML_CONTEXT``, which the launcher of a step
writes. Without it, the run is offline.
"""

from __future__ import annotations

import json
import os
import shutil
import sys
import time

from .data import FileDataset, open_dataset
from .finder import CONTEXT_VARIABLE
from .model_store import MODELS_FOLDER, ModelNotFound, ModelStore

TYPE_CHECKING = False
if TYPE_CHECKING:  # typing is not worth its import in a worker
    from typing import Any

VERSION = "1.62.0+parallelrun"


def read_context() -> dict[str, Any]:
    """Return the context that the launcher of the step wrote; empty for an offline run."""
    path = os.environ.get(CONTEXT_VARIABLE)
    if not path:
        return {}
    with open(path) as file:
        context: dict[str, Any] = json.load(file)
    return context


def default_workspace() -> str:
    """Return the folder of the workspace of an offline run."""
    home = os.environ.get("PARALLELRUN_HOME") or os.path.join(
        os.environ.get("XDG_DATA_HOME") or os.path.expanduser("~/.local/share"), "parallelrun"
    )
    return os.path.join(home, "workspaces", "local")


class Workspace:
    """The workspace of the running step."""

    def __init__(self, facts: dict[str, Any]) -> None:
        self.folder = facts.get("workspace_folder") or default_workspace()
        self.name = facts.get("workspace", "local")
        self.subscription_id = facts.get("subscription_id", "")
        self.resource_group = facts.get("resource_group", "")
        self.location = facts.get("location", "local")

    @classmethod
    def from_config(cls, *_: Any, **__: Any) -> Any:
        """Return the workspace of the running step."""
        return cls(read_context())

    get = from_config

    @property
    def models(self) -> dict[str, Any]:
        """The latest version of each registered model, by name."""
        store = ModelStore(self.folder)
        return {name: Model(self, name) for name in store.names()}

    @property
    def datasets(self) -> dict[str, Any]:
        """The registered datasets, by name."""
        datasets = read_context().get("datasets", {})
        return {name: open_dataset(record, name) for name, record in datasets.items()}


class Experiment:
    """The experiment of the running step."""

    def __init__(self, workspace: Any, name: str) -> None:
        self.workspace = workspace
        self.name = name


class Model:
    """A registered model."""

    def __init__(
        self, workspace: Any, name: str | None = None, id: str | None = None,
        tags: Any = None, properties: Any = None, version: int | None = None, **_: Any,
    ) -> None:  # fmt: skip
        if id is not None and name is None:
            name, _sep, number = id.partition(":")
            version = int(number) if number else None
        self.workspace = workspace
        self._store = ModelStore(workspace.folder)
        self._row = self._store.find(str(name), version)
        self.name = self._row["name"]
        self.version = self._row["version"]
        self.id = "%s:%d" % (self.name, self.version)
        self.tags = self._row.get("tags") or {}
        self.properties = self._row.get("properties") or {}
        self.description = self._row.get("description")

    def download(self, target_dir: str = ".", exist_ok: bool = False, exists_ok: Any = None) -> str:
        """Copy the model's files into a folder; return the path of the copy."""
        source = self._store.path(self.name, self.version)
        target = os.path.join(target_dir, os.path.basename(source))
        if os.path.exists(target):
            if not (exist_ok or exists_ok):
                raise FileExistsError("%s exists already; pass exist_ok=True" % target)
            if os.path.isdir(target):
                shutil.rmtree(target)
        os.makedirs(target_dir, exist_ok=True)
        if os.path.isdir(source):
            shutil.copytree(source, target)
        else:
            shutil.copyfile(source, target)
        return target

    @staticmethod
    def get_model_path(model_name: str, version: int | None = None, _workspace: Any = None) -> str:
        """Return the path of a registered model: the registered file or folder."""
        local = _in_working_directory(model_name, version)
        if local is not None:
            return local
        folder = _workspace.folder if _workspace is not None else Workspace(read_context()).folder
        return ModelStore(folder).path(model_name, version)

    @staticmethod
    def register(
        workspace: Any, model_path: str, model_name: str, tags: Any = None, properties: Any = None,
        description: str | None = None, datasets: Any = None, model_framework: Any = None,
        model_framework_version: Any = None, child_paths: Any = None, **_: Any,
    ) -> Any:  # fmt: skip
        """Register a file or a folder as the next version of a model."""
        facts = {"tags": tags or {}, "properties": properties or {}, "description": description}
        facts.update(
            model_framework=model_framework, model_framework_version=model_framework_version
        )
        row = ModelStore(workspace.folder).register(
            model_name, model_path, facts, child_paths or ()
        )
        return Model(workspace, model_name, version=row["version"])

    @staticmethod
    def list(workspace: Any, name: str | None = None, **_: Any) -> list[Any]:
        """Return all versions of all models, or of one model, newest first."""
        store = ModelStore(workspace.folder)
        names = [name] if name is not None else store.names()
        return [
            Model(workspace, model_name, version=row["version"])
            for model_name in names
            for row in reversed(store.versions(model_name))
        ]


def _in_working_directory(name: str, version: int | None) -> str | None:
    """Return the path of a model in ./azureml-models, as on Azure's nodes, or None."""
    folder = os.path.join(os.getcwd(), MODELS_FOLDER, name)
    if os.path.islink(os.path.dirname(folder)) or not os.path.isdir(folder):
        return None
    numbers = sorted(int(entry) for entry in os.listdir(folder) if entry.isdigit())
    number = numbers[-1] if version is None and numbers else version
    files_folder = os.path.join(folder, str(number))
    files = os.listdir(files_folder) if os.path.isdir(files_folder) else []
    if not files:
        return None
    return os.path.join(files_folder, files[0]) if len(files) == 1 else files_folder


class Dataset:
    """Registered datasets, by name."""

    @staticmethod
    def get_by_name(workspace: Any, name: str, version: Any = "latest") -> Any:
        """Return a registered dataset, as registered at the start of the step."""
        records = read_context().get("datasets", {})
        if name not in records:
            names = ", ".join(sorted(records)) or "none"
            raise LookupError("dataset %r is not registered; registered are: %s" % (name, names))
        return open_dataset(records[name], name)

    get = get_by_name


class Run:
    """The run of the step, for its script."""

    def __init__(self, context: dict[str, Any]) -> None:
        self._context = context
        self.id = context.get("run_id") or "OfflineRun_%d" % os.getpid()
        self.name = context.get("step", "")
        self.display_name = self.name
        self.tags: dict[str, str] = {}
        self.experiment = Experiment(Workspace(context), context.get("experiment", ""))
        self.input_datasets = _Inputs(context.get("inputs", {}))
        self.output_datasets = dict(context.get("outputs", {}))

    @classmethod
    def get_context(cls, allow_offline: bool = True, **_: Any) -> Any:
        """Return the run of this script."""
        return cls(read_context())

    @property
    def parent(self) -> Any:
        """The run of the pipeline; None for an offline run."""
        facts = dict(self._context, run_id=self._context.get("parent_id"), step="")
        return Run(facts) if self._context.get("parent_id") else None

    def log(self, name: str, value: Any, description: str = "", step: int | None = None) -> None:
        """Log a number or text under a name."""
        self._write({"name": name, "value": _plain(value), "step": step})

    def log_list(self, name: str, value: Any, description: str = "") -> None:
        """Log the values of a list under a name."""
        self._write({"name": name, "value": [_plain(item) for item in value]})

    def log_row(self, name: str, description: str | None = None, **kwargs: Any) -> None:
        """Log a row of named values under a name."""
        self._write({"name": name, "value": {key: _plain(item) for key, item in kwargs.items()}})

    def log_table(self, name: str, value: Any, description: str = "") -> None:
        """Log a table, a dict of columns, under a name."""
        self._write({"name": name, "value": _plain(value)})

    def tag(self, key: str, value: Any = None) -> None:
        """Set a tag of the run."""
        self.tags[key] = value
        self._write({"tag": key, "value": _plain(value)})

    def set_tags(self, tags: dict[str, Any]) -> None:
        """Set several tags of the run."""
        for key, value in tags.items():
            self.tag(key, value)

    def _write(self, row: dict[str, Any]) -> None:
        if "name" in row:
            print("metric %s: %s" % (row["name"], row["value"]))
        path = self._context.get("metrics")
        if path:
            line = json.dumps(dict(row, at=time.time())) + "\n"
            fd = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o600)
            try:
                os.write(fd, line.encode())  # a single write, since other workers also append
            finally:
                os.close(fd)

    def upload_file(self, name: str, path_or_stream: Any, **_: Any) -> None:
        """Store a file with the step's run."""
        target = os.path.join(self._context.get("files") or "outputs", name)
        os.makedirs(os.path.dirname(target), exist_ok=True)
        if hasattr(path_or_stream, "read"):
            with open(target, "wb") as file:
                file.write(path_or_stream.read())
        else:
            shutil.copyfile(path_or_stream, target)

    def upload_folder(self, name: str, path: str, **_: Any) -> None:
        """Store the files of a folder with the step's run."""
        for folder, _folders, files in os.walk(path):
            for file in files:
                source = os.path.join(folder, file)
                self.upload_file(os.path.join(name, os.path.relpath(source, path)), source)

    def get_status(self) -> str:
        """Return ``Running``."""
        return "Running"

    def complete(self, _set_status: bool = True) -> None:
        """Do nothing: a step completes when its script ends."""

    def flush(self, timeout_seconds: float = 300) -> None:
        """Do nothing: metrics are written when they are logged."""

    def fail(self, error_details: Any = None, **_: Any) -> None:
        """Exit from the script with a failure."""
        sys.exit("the script called Run.fail(): %s" % (error_details,))


class _Inputs(dict):  # type: ignore[type-arg] # Python 3.7
    """The inputs of a step by name; mounted and downloaded inputs are paths."""

    def __missing__(self, name: str) -> Any:
        names = ", ".join(sorted(self)) or "none"
        raise KeyError("the step has no input %r; it has: %s" % (name, names))


def _plain(value: Any) -> Any:
    """Convert a value to plain JSON types; numpy's numbers and arrays convert themselves."""
    for method in ("item", "tolist"):
        convert = getattr(value, method, None)
        if callable(convert):
            try:
                return convert()
            except ValueError:
                continue  # item() of an array with more than one element
    if isinstance(value, dict):
        return {str(key): _plain(item) for key, item in value.items()}
    if isinstance(value, (list, tuple)):
        return [_plain(item) for item in value]
    return value if isinstance(value, (str, int, float, bool)) or value is None else str(value)


__all__ = ["Dataset", "Experiment", "FileDataset", "Model", "ModelNotFound", "Run", "Workspace"]
