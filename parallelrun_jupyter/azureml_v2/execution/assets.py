"""Names of a workspace or a registry, resolved to what this machine has under the same names."""

from __future__ import annotations

import os
import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import yaml

from ...data.datasets.file_dataset import FileDataset
from ...data.datasets.inputs import open_path
from ...data.datasets.mltable import mltable_at
from ...data.storage.datastores import Datastore
from ...data.storage.storage import StorageSpec
from ...errors import ConfigError
from ...formatting import nearest_hint
from ...pipelines.workspaces import (
    BUILT_IN_DATASTORES,
    datastore_record,
    read_workspace_file,
)
from ..model.places import Place
from ..model.problems import Problem
from ..model.values import Environment, Input
from .registry import AssetNotFoundError, Registry

_NAME = re.compile(r"azureml:(?P<name>[^:@/]+)(?:[:@](?P<version>.+))?")
_ASSET = re.compile(
    r"azureml://(?:.*/)?(?:data|models|environments|components)/(?P<name>[^/]+)/(?:versions|labels)/(?P<version>[^/]+)"
)
_DATASTORE = re.compile(r"azureml://(?:.*/)?datastores/(?P<name>[^/]+)/paths/(?P<path>.*)")
_MODELS = ("mlflow_model", "custom_model", "triton_model")


@dataclass(slots=True)
class Assets:
    """The datasets, models, environments and datastores of a workspace on this machine.

    Parameters
    ----------
    workspace
        Its folder.
    notes
        Receives a sentence for each name that stands for something else here.
    problems
        Receives names that this machine does not have.
    """

    workspace: Path
    notes: list[str] = field(default_factory=list)
    problems: list[Problem] = field(default_factory=list)

    def dataset(
        self, item: Input, name: str, place: Place, *, is_split: bool
    ) -> dict[str, Any] | None:
        """Return data as a dataset's spec; None, and a problem, if it is not here.

        Parameters
        ----------
        item
            The data.
        name
            Name of the input, for messages.
        place
            Its place.
        is_split
            Whether it is divided into mini-batches; an MLTable is then read as it describes itself,
            otherwise it is a folder.
        """
        path = item.path
        if match := _DATASTORE.fullmatch(path):
            datastore = self.datastore(match["name"], place)
            if datastore is None or datastore.storage is not None:
                return FileDataset(datastore.path(match["path"])).spec() if datastore else None
            path = os.path.join(datastore.url, match["path"])
        elif path.startswith("azureml:"):
            spec = self._registered(item, name, place)
            if (
                spec is None
                or spec.get("kind") != "files"
                or len(spec["paths"]) != 1
                or spec.get("storage")
            ):
                return spec
            path = spec["paths"][0]
        if "://" in path:
            return FileDataset(path).spec()
        if not os.path.exists(path):
            message = f"the input {name!r} is {path}, which does not exist; give the path of a file or folder."
            self.problems.append(Problem(place, message))
            return None
        if not is_split or item.type != "mltable":
            return FileDataset(path).spec()
        if mltable_at(path) is None:
            message = f"the input {name!r} is of type mltable, but {path} has no file MLTable."
            self.problems.append(Problem(place, message))
            return None
        return open_path(path).spec()

    def datastore(self, name: str, place: Place) -> Datastore | None:
        """Return a datastore; empty for the default one. None, and a problem, if it is not here.

        One that `Datastore` registered, for all workspaces, is found after those of the workspace.
        """
        record = datastore_record(self.workspace, name)
        if record is None:
            try:
                return Datastore.get(name)
            except ConfigError:
                self._no_datastore(name, place)
                return None
        if "folder" in record:
            os.makedirs(record["folder"], mode=0o700, exist_ok=True)
            return Datastore(record["name"], record["folder"], None)
        if not record.get("url"):
            message = (
                f"the datastore {name!r} is a file share, which is only recorded here; mount it, and "
                "give the local path."
            )
            self.problems.append(Problem(place, message))
            return None
        storage = record.get("storage")
        return Datastore(
            record["name"], record["url"], StorageSpec.of_spec(storage) if storage else None
        )

    def _no_datastore(self, name: str, place: Place) -> None:
        names = [store.name for store in Datastore.list()]
        names += read_workspace_file(self.workspace, "datastores.json").get("stores", {})
        names += BUILT_IN_DATASTORES
        message = (
            f"there is no datastore {name!r} in the workspace {self.workspace.name!r} of this machine."
            f"{nearest_hint(name, names)} Give a local path, or register it: "
            f"Datastore.register_azure_blob_container({name!r}, container_name=..., "
            "account_name=..., account_key=...), of parallelrun_jupyter."
        )
        self.problems.append(Problem(place, message))

    def _registered(self, item: Input, name: str, place: Place) -> dict[str, Any] | None:
        asset, version = name_and_version(item.path)
        is_model = item.type in _MODELS or "/models/" in item.path
        registry = Registry(self.workspace)
        try:
            row = registry.find("model" if is_model else "data", asset, version)
        except AssetNotFoundError as error:
            message = (
                f"the input {name!r} is {item.path}: {error} Give a local path, here or, for an input of the "
                "pipeline, by --input NAME=PATH."
            )
            self.problems.append(Problem(place, message))
            return None
        if is_model:
            path = registry.model_path(row)
            self.note(f"{item.path} is the model {asset!r} that is registered here: {path}")
            return FileDataset(path).spec()
        self.note(f"{item.path} is version {row['label']} of the data {asset!r} registered here")
        spec: dict[str, Any] = row["spec"]
        return spec

    def environment(self, environment: Environment | None) -> dict[str, Any]:
        """Return an environment as a step's record; empty for any interpreter."""
        if environment is None:
            return {}
        if environment.reference:
            return self._environment_by_name(environment.reference)
        record = conda_record(
            environment.conda_file, environment.places.of("conda_file"), self.problems
        )
        if environment.image and not record:
            self.note(
                f"the image {environment.image} is not used here: no step runs in a container"
            )
        return {**record, "name": environment.name or record.get("name", "")}

    def _environment_by_name(self, reference: str) -> dict[str, Any]:
        name, version = name_and_version(reference)
        try:
            row = Registry(self.workspace).find("environment", name, version)
        except ConfigError:
            self.note(
                f"{reference} is not registered on this machine; its packages are not checked"
            )
            return {"name": name}
        self.note(
            f"{reference} is version {row.pop('label')} of the environment {name!r} registered here"
        )
        return row

    def note(self, text: str) -> None:
        """Note a sentence, once."""
        if text not in self.notes:
            self.notes.append(text)


def name_and_version(reference: str) -> tuple[str, str]:
    """Return the name and the version, or label, of an asset; "" without one."""
    match = _NAME.fullmatch(reference) or _ASSET.fullmatch(reference)
    if match is None:
        return reference.removeprefix("azureml:"), ""
    return match["name"], match["version"] or ""


def conda_record(
    conda: str | Mapping[str, Any] | None, place: Place, problems: list[Problem]
) -> dict[str, Any]:
    """Return the packages of a conda file as a step's record: name, python_version, pip, conda."""
    if conda is None:
        return {}
    if isinstance(conda, str):
        try:
            with open(conda, encoding="utf-8") as file:
                content = yaml.safe_load(file)
        except (OSError, UnicodeDecodeError, yaml.YAMLError) as error:
            problems.append(Problem(place, f"the conda file {conda} could not be read: {error}"))
            return {}
    else:
        content = conda
    if not isinstance(content, Mapping):
        problems.append(
            Problem(place, f"the conda file {conda} is no mapping with 'dependencies'.")
        )
        return {}
    record: dict[str, Any] = {
        "name": str(content.get("name") or ""),
        "python_version": "",
        "pip": [],
        "conda": [],
    }
    for package in content.get("dependencies") or ():
        if isinstance(package, Mapping):
            record["pip"] += [str(requirement) for requirement in package.get("pip") or ()]
        elif re.match(r"python\s*[=<>]", str(package)):
            record["python_version"] = str(package).rpartition("=")[2].strip()
        else:
            record["conda"].append(str(package))
    return record
