"""Workspaces: folders of this machine, under the names that Azure's have."""

from __future__ import annotations

import hashlib
import json
import os
import re
import shutil
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from ...files import write_atomically
from ...home import home
from ...pipelines import registered_datasets
from ...worker.azureml.model_store import ModelStore
from ..exceptions import UserErrorException, WorkspaceException
from ..loader.missing import Partial
from ..loader.name_table import load

DEFAULT_NAME = "local"
_CONFIG_PLACES = ("config.json", ".azureml/config.json", "aml_config/config.json")
_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9_-]{1,32}", re.ASCII)
_FACTS = ("subscription_id", "resource_group", "location")


class Workspace(Partial):
    """A workspace: datastores, datasets, models, experiments, environments, compute targets.

    Parameters
    ----------
    subscription_id, resource_group, workspace_name
        What Azure knows it by. Here they name a folder in the home, made when it is missing.
    auth, sku, tags
        Taken and not used.
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
                "the first one a letter or a digit."
            )
            raise UserErrorException(msg)
        self.folder = _folder_of(subscription_id, resource_group, workspace_name)
        self._facts = _read_facts(self.folder) or _make(
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
        """The subscription, as it was given."""
        return str(self._facts["subscription_id"])

    @property
    def resource_group(self) -> str:
        """The resource group, as it was given."""
        return str(self._facts["resource_group"])

    @property
    def location(self) -> str:
        """The region, as it was given; ``local`` otherwise."""
        return str(self._facts["location"])

    @property
    def sku(self) -> str:
        """The edition: always ``basic``."""
        return "basic"

    @property
    def tags(self) -> dict[str, str]:
        """The tags, as they were given."""
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
        """Make a workspace.

        Raises
        ------
        WorkspaceException
            It is there already, and ``exist_ok`` is False.
        """
        folder = _folder_of(subscription_id, resource_group, name)
        if _read_facts(folder) and not exist_ok:
            msg = f"workspace {name!r} is there already; give exist_ok=True, or use Workspace.get."
            raise WorkspaceException(msg)
        made = cls(subscription_id or "", resource_group or "", name, _location=location, tags=tags)
        if show_output:
            print(f"workspace {name!r} is the folder {made.folder}")
        return made

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
        """Return a workspace that is there.

        Raises
        ------
        WorkspaceException
            It is not.
        """
        for facts in _known():
            same_group = resource_group is None or facts["resource_group"] == resource_group
            same = subscription_id is None or facts["subscription_id"] == subscription_id
            if facts["name"] == name and same and same_group:
                return cls(facts["subscription_id"], facts["resource_group"], name)
        names = ", ".join(sorted(facts["name"] for facts in _known())) or "none"
        msg = (
            f"there is no workspace {name!r} on this machine (there are: {names}). Make it with "
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
        """Return the workspace that a ``config.json`` names, made here when it is missing.

        Parameters
        ----------
        path
            The file, or a folder from which it is looked for upwards. Default: the current one.

        Raises
        ------
        UserErrorException
            ``path`` is not there, or the file is no such configuration.
        """
        found = _find_config(path, _file_name)
        if found is None:
            made = cls("", "", DEFAULT_NAME)
            print(
                f"No config.json here or in a folder above; using the workspace {DEFAULT_NAME!r} "
                f"of this machine: {made.folder}"
            )
            return made
        try:
            given = json.loads(found.read_text(encoding="utf-8-sig"))
            name = given["workspace_name"]
        except (OSError, ValueError, KeyError, TypeError) as error:
            msg = (
                f"{found} is not the configuration of a workspace ({type(error).__name__}: "
                f"{error}); expected JSON with subscription_id, resource_group and workspace_name."
            )
            raise UserErrorException(msg) from error
        subscription, group = given.get("subscription_id", ""), given.get("resource_group", "")
        is_new = _read_facts(_folder_of(subscription, group, name)) is None
        opened = cls(subscription, group, name)
        if is_new:
            print(
                f"{found} names the workspace {name!r} of Azure; here that is the folder "
                f"{opened.folder}"
            )
        return opened

    def write_config(
        self, path: str | os.PathLike[str] | None = None, file_name: str | None = None
    ) -> None:
        """Write ``.azureml/config.json``, which ``from_config`` reads."""
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
        found: dict[str, list[Workspace]] = {}
        for facts in _known():
            one = Workspace(facts["subscription_id"], facts["resource_group"], facts["name"])
            if resource_group in {None, one.resource_group}:
                found.setdefault(one.name, []).append(one)
        return found

    def get_details(self) -> dict[str, Any]:
        """Return what is known of the workspace."""
        return {**self._facts, "id": str(self.folder), "workspaceid": self.folder.name}

    def get_portal_url(self) -> str:
        """Return where the workspace is: its folder."""
        return f"file://{self.folder}"

    def delete(self, delete_dependent_resources: bool = False, no_wait: bool = False) -> None:
        """Remove the workspace with everything in it; runs stay."""
        shutil.rmtree(self.folder)

    # What is in it

    @property
    def datastores(self) -> dict[str, Any]:
        """The datastores, by name."""
        get = load("core.datastores:get")
        return {name: get(self, name) for name in load("core.datastores:names")(self)}

    def get_default_datastore(self) -> Any:
        """Return the default datastore: a folder of this machine, unless another was set."""
        return load("core.datastores:get")(self, load("core.datastores:default_name")(self))

    def set_default_datastore(self, name: str) -> None:
        """Make another datastore the default one."""
        load("core.datastores:set_default")(self, name)

    @property
    def datasets(self) -> dict[str, Any]:
        """The latest version of each registered dataset, by name."""
        get = load("data.tables:Dataset").get_by_name
        return {name: get(self, name) for name in registered_datasets.dataset_names(self.folder)}

    @property
    def models(self) -> dict[str, Any]:
        """The latest version of each registered model, by name."""
        found = load("core.models:Model").list(self, latest=True)
        return {model.name: model for model in found}

    @property
    def experiments(self) -> dict[str, Any]:
        """The experiments, by name."""
        return {one.name: one for one in load("pipeline.experiments:Experiment").list(self)}

    @property
    def environments(self) -> dict[str, Any]:
        """The registered environments, by name."""
        found: dict[str, Any] = load("core.environments:Environment").list(self)
        return found

    @property
    def compute_targets(self) -> dict[str, Any]:
        """The compute targets, by name."""
        found: dict[str, Any] = load("core.computes:targets_of")(self)
        return found

    def get_default_compute_target(self, type: str) -> Any:
        """Return the default compute target: None, there is no such thing here."""
        return None

    def get_default_keyvault(self) -> Any:
        """Return the key vault of the workspace: secrets of this session, never on disk."""
        return load("core.authentication:Keyvault")()

    def model_store(self) -> ModelStore:
        """Return the store of the models."""
        return ModelStore(str(self.folder))


def as_workspace(value: Any) -> Workspace:
    """Return a workspace that was given, or say that none was.

    Raises
    ------
    UserErrorException
        It is none.
    """
    if isinstance(value, Workspace):
        return value
    msg = f"workspace is {value!r}; expected a Workspace, such as Workspace.from_config()."
    raise UserErrorException(msg)


def _workspaces() -> Path:
    return home() / "workspaces"


def _folder_of(subscription: str | None, group: str | None, name: str) -> Path:
    """Return the folder of a workspace: its name, and a mark of where Azure has it."""
    if not subscription and not group:
        return _workspaces() / name
    mark = hashlib.sha256(f"{subscription}/{group}".encode()).hexdigest()[:8]
    return _workspaces() / f"{name}-{mark}"


def _read_facts(folder: Path) -> dict[str, Any] | None:
    try:
        facts: dict[str, Any] = json.loads((folder / "workspace.json").read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return None
    return facts


def _make(folder: Path, facts: dict[str, Any]) -> dict[str, Any]:
    with registered_datasets.lock(folder):
        known = _read_facts(folder)
        if known is not None:  # another process was faster
            return known
        facts["created_at"] = time.time()
        write_atomically(folder / "workspace.json", json.dumps(facts, indent=1))
    return facts


def _known() -> Iterator[dict[str, Any]]:
    try:
        names = sorted(os.listdir(_workspaces()))
    except FileNotFoundError:
        return
    for name in names:
        facts = _read_facts(_workspaces() / name)
        if facts is not None:
            yield facts


def _find_config(path: str | os.PathLike[str] | None, file_name: str | None) -> Path | None:
    if path is not None and Path(path).is_file():
        return Path(path)
    start = Path(path or ".").absolute()
    if not start.is_dir():
        msg = (
            f"there is no file and no folder {os.fspath(path or '.')!r} to read a config.json from."
        )
        raise UserErrorException(msg)
    places = [file_name, f".azureml/{file_name}"] if file_name else list(_CONFIG_PLACES)
    for folder in (start, *start.parents):
        for place in places:
            if (folder / place).is_file():
                return folder / place
    return None
