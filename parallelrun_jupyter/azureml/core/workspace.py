"""Workspaces: folders on this machine with the names of Azure's workspaces."""

from __future__ import annotations

import json
import os
import re
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from ...files import write_atomically
from ...pipelines import registered_datasets
from ...pipelines.workspaces import (
    CONFIG_FILES,
    DEFAULT_NAME,
    create_workspace,
    folder_of,
    read_facts,
    workspaces_folder,
)
from ...worker.azureml.model_store import ModelStore
from ..exceptions import UserErrorException, WorkspaceException
from ..loader.name_table import Partial, load

_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9_-]{1,32}", re.ASCII)
_FACTS = ("subscription_id", "resource_group", "location")


class Workspace(Partial):
    """A workspace: datastores, datasets, models, experiments, environments, compute targets.

    Parameters
    ----------
    subscription_id, resource_group, workspace_name
        Azure's names for it. They identify a folder in the home, created if it is missing.
    tags
        Tags, if the workspace is created.
    auth, sku
        Ignored.

    Raises
    ------
    UserErrorException
        The name is invalid.
    """

    DEFAULT_CPU_CLUSTER_CONFIGURATION = None
    DEFAULT_GPU_CLUSTER_CONFIGURATION = None

    def __init__(
        self,
        subscription_id: str,
        resource_group: str,
        workspace_name: str,
        auth: Any = None,
        _location: str | None = None,
        _disable_service_check: bool = False,
        _workspace_id: str | None = None,
        sku: str = "basic",
        tags: dict[str, str] | None = None,
        **_: Any,
    ) -> None:
        if not _NAME.fullmatch(workspace_name or ""):
            msg = (
                f"workspace_name is {workspace_name!r}; expected 2 to 33 letters, digits, - and _, "
                "starting with a letter or a digit."
            )
            raise UserErrorException(msg)
        self.folder = folder_of(subscription_id, resource_group, workspace_name)
        self._facts = read_facts(self.folder) or create_workspace(
            self.folder,
            {
                "name": workspace_name,
                "subscription_id": subscription_id or "",
                "resource_group": resource_group or "",
                "location": _location or "local",
                "tags": tags or {},
            },
        )

    def __repr__(self) -> str:
        facts = ", ".join(f"{k}={self._facts[k]!r}" for k in ("name", *_FACTS[:2]))
        return f"Workspace.create({facts})"

    @property
    def name(self) -> str:
        """The name."""
        return str(self._facts["name"])

    @property
    def subscription_id(self) -> str:
        """The subscription; only recorded here."""
        return str(self._facts["subscription_id"])

    @property
    def resource_group(self) -> str:
        """The resource group; only recorded here."""
        return str(self._facts["resource_group"])

    @property
    def location(self) -> str:
        """The region; ``local`` by default."""
        return str(self._facts["location"])

    @property
    def sku(self) -> str:
        """The edition: always ``basic``."""
        return "basic"

    @property
    def tags(self) -> dict[str, str]:
        """The tags."""
        return dict(self._facts.get("tags") or {})

    @classmethod
    def create(
        cls,
        name: str,
        auth: Any = None,
        subscription_id: str | None = None,
        resource_group: str | None = None,
        location: str | None = None,
        create_resource_group: bool = True,
        sku: str = "basic",
        tags: dict[str, str] | None = None,
        friendly_name: str | None = None,
        storage_account: Any = None,
        key_vault: Any = None,
        app_insights: Any = None,
        container_registry: Any = None,
        exist_ok: bool = False,
        show_output: bool = True,
        **_: Any,
    ) -> Workspace:
        """Create a workspace.

        Raises
        ------
        WorkspaceException
            It exists already and ``exist_ok`` is False.
        """
        folder = folder_of(subscription_id, resource_group, name)
        if read_facts(folder) and not exist_ok:
            msg = f"workspace {name!r} exists already; pass exist_ok=True, or use Workspace.get."
            raise WorkspaceException(msg)
        created = cls(
            subscription_id or "", resource_group or "", name, _location=location, tags=tags
        )
        if show_output:
            print(f"workspace {name!r} is the folder {created.folder}")
        return created

    @classmethod
    def get(
        cls,
        name: str,
        auth: Any = None,
        subscription_id: str | None = None,
        resource_group: str | None = None,
        location: str | None = None,
        cloud: str = "AzureCloud",
        id: str | None = None,
        **_: Any,
    ) -> Workspace:
        """Return an existing workspace.

        Raises
        ------
        WorkspaceException
            It does not exist.
        """
        for facts in _all_facts():
            same_group = resource_group in {None, facts["resource_group"]}
            same_subscription = subscription_id in {None, facts["subscription_id"]}
            if facts["name"] == name and same_subscription and same_group:
                return cls(facts["subscription_id"], facts["resource_group"], name)
        names = ", ".join(sorted(facts["name"] for facts in _all_facts())) or "none"
        msg = (
            f"workspace {name!r} does not exist on this machine (existing: {names}). Create it with "
            f"Workspace.create({name!r}), or open one with Workspace.from_config()."
        )
        raise WorkspaceException(msg)

    @classmethod
    def from_config(
        cls,
        path: str | os.PathLike[str] | None = None,
        auth: Any = None,
        _logger: Any = None,
        _file_name: str | None = None,
    ) -> Workspace:
        """Return the workspace that a ``config.json`` names; create it if it does not exist.

        Parameters
        ----------
        path
            The file, or the folder from which the search goes upwards. Default: the current folder.

        Raises
        ------
        UserErrorException
            ``path`` does not exist, or the file is not the configuration of a workspace.
        """
        file = _find_config(path, _file_name)
        if file is None:
            workspace = cls("", "", DEFAULT_NAME)
            print(
                f"No config.json in this folder or above; using the workspace {DEFAULT_NAME!r} "
                f"of this machine: {workspace.folder}"
            )
            return workspace
        try:
            config = json.loads(file.read_text(encoding="utf-8-sig"))
            name = config["workspace_name"]
        except (OSError, ValueError, KeyError, TypeError) as error:
            msg = (
                f"{file} is not the configuration of a workspace ({type(error).__name__}: "
                f"{error}); expected JSON with subscription_id, resource_group and workspace_name."
            )
            raise UserErrorException(msg) from error
        subscription, group = config.get("subscription_id", ""), config.get("resource_group", "")
        is_new = read_facts(folder_of(subscription, group, name)) is None
        workspace = cls(subscription, group, name)
        if is_new:
            print(
                f"{file} names the workspace {name!r} of Azure; here it is the folder "
                f"{workspace.folder}"
            )
        return workspace

    def write_config(
        self, path: str | os.PathLike[str] | None = None, file_name: str | None = None
    ) -> None:
        """Write ``.azureml/config.json`` for `from_config`."""
        target = Path(path or ".") / ".azureml" / (file_name or "config.json")
        target.parent.mkdir(parents=True, exist_ok=True)
        record = {
            "subscription_id": self.subscription_id,
            "resource_group": self.resource_group,
            "workspace_name": self.name,
        }
        target.write_text(json.dumps(record, indent=4), encoding="utf-8")

    @staticmethod
    def list(
        subscription_id: str = "", auth: Any = None, resource_group: str | None = None
    ) -> dict[str, list[Workspace]]:
        """Return the workspaces of this machine, by name."""
        workspaces: dict[str, list[Workspace]] = {}
        for facts in _all_facts():
            if resource_group in {None, facts["resource_group"]}:
                ids = facts["subscription_id"], facts["resource_group"], facts["name"]
                workspaces.setdefault(facts["name"], []).append(Workspace(*ids))
        return workspaces

    def get_details(self) -> dict[str, Any]:
        """Return the workspace's names, tags, folder and creation time."""
        return {**self._facts, "id": str(self.folder), "workspaceid": self.folder.name}

    def get_portal_url(self) -> str:
        """Return the URL of the workspace's folder."""
        return f"file://{self.folder}"

    def delete(self, delete_dependent_resources: bool = False, no_wait: bool = False) -> None:
        """Delete the workspace and its contents; runs are kept."""
        shutil.rmtree(self.folder)

    @property
    def datastores(self) -> dict[str, Any]:
        """The datastores, by name."""
        get = load("core.datastores:get")
        return {name: get(self, name) for name in load("core.datastores:names")(self)}

    def get_default_datastore(self) -> Any:
        """Return the default datastore: a folder on this machine, unless another was set."""
        return load("core.datastores:get")(self, load("core.datastores:default_name")(self))

    def set_default_datastore(self, name: str) -> None:
        """Set the default datastore."""
        load("core.datastores:set_default")(self, name)

    @property
    def datasets(self) -> dict[str, Any]:
        """The latest version of each registered dataset, by name."""
        get = load("data.tables:Dataset").get_by_name
        return {name: get(self, name) for name in registered_datasets.dataset_names(self.folder)}

    @property
    def models(self) -> dict[str, Any]:
        """The latest version of each registered model, by name."""
        return {model.name: model for model in load("core.models:Model").list(self, latest=True)}

    @property
    def experiments(self) -> dict[str, Any]:
        """The experiments, by name."""
        experiments = load("pipeline.pipelines:Experiment").list(self)
        return {experiment.name: experiment for experiment in experiments}

    @property
    def environments(self) -> dict[str, Any]:
        """The latest version of each registered environment, by name."""
        environments: dict[str, Any] = load("core.environments:Environment").list(self)
        return environments

    @property
    def compute_targets(self) -> dict[str, Any]:
        """The compute targets, by name."""
        targets: dict[str, Any] = load("core.computes:targets_of")(self)
        return targets

    def get_default_compute_target(self, type: str) -> Any:
        """Return None: local workspaces have no default compute target."""
        return None

    def get_default_keyvault(self) -> Any:
        """Return the key vault, which holds secrets for this session only."""
        return load("core.authentication:Keyvault")()

    def model_store(self) -> ModelStore:
        """Return the model store."""
        return ModelStore(str(self.folder))


def as_workspace(value: Any) -> Workspace:
    """Return ``value`` if it is a `Workspace`.

    Raises
    ------
    UserErrorException
        It is not a `Workspace`.
    """
    if isinstance(value, Workspace):
        return value
    msg = f"workspace is {value!r}; expected a Workspace, such as Workspace.from_config()."
    raise UserErrorException(msg)


def read_records(workspace: Any, file: str) -> dict[str, Any]:
    """Return the records in a JSON file of the workspace's folder; empty if the file is missing."""
    path = as_workspace(workspace).folder / file
    try:
        records: dict[str, Any] = json.loads(path.read_text(encoding="utf-8"))
    except FileNotFoundError:
        return {}
    return records


@contextmanager
def changed_records(workspace: Any, file: str) -> Iterator[dict[str, Any]]:
    """Yield the records of a JSON file, and write them on success; one process at a time."""
    folder = as_workspace(workspace).folder
    with registered_datasets.lock(folder):
        records = read_records(workspace, file)
        yield records
        write_atomically(folder / file, json.dumps(records, indent=1))


def _all_facts() -> Iterator[dict[str, Any]]:
    try:
        names = sorted(os.listdir(workspaces_folder()))
    except FileNotFoundError:
        return
    yield from filter(None, (read_facts(workspaces_folder() / name) for name in names))


def _find_config(path: str | os.PathLike[str] | None, file_name: str | None) -> Path | None:
    if path is not None and Path(path).is_file():
        return Path(path)
    start = Path(path or ".").absolute()
    if not start.is_dir():
        msg = (
            f"{os.fspath(path or '.')!r} does not exist; pass a config.json or a folder below one."
        )
        raise UserErrorException(msg)
    names = [file_name, f".azureml/{file_name}"] if file_name else CONFIG_FILES
    for folder in (start, *start.parents):
        for name in names:
            if (folder / name).is_file():
                return folder / name
    return None
