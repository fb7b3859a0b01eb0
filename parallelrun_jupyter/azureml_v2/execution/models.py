"""The model of a deployment: its files in the local registry, as Azure lays them out."""

from __future__ import annotations

import hashlib
import os
from pathlib import Path

from ...formatting import nearest_hint
from ...worker.azureml.model_store import ModelNotFound, ModelStore
from ..model.deployments import Model
from ..model.problems import Problem
from .assets import Assets, split_name


def model_folder(model: Model, name: str, assets: Assets) -> str:
    """Return the folder for ``AZUREML_MODEL_DIR``; empty, and a problem, if the model is not here.

    Files are registered as the next version of the model, as Azure does it: the run then has a
    copy. The same files are registered once.

    Parameters
    ----------
    model
        The model.
    name
        Its name, if it has none.
    assets
        The workspace, which receives notes and problems.
    """
    store = ModelStore(str(assets.workspace))
    if model.reference:
        return _registered(model, store, assets)
    place = model.places.of("path")
    if "://" in model.path or model.path.startswith("azureml:"):
        message = f"the model is {model.path}; here it must be a file or folder of this machine."
        assets.problems.append(Problem(place, message))
        return ""
    if not os.path.exists(model.path):
        beside = os.path.dirname(model.path)
        names = os.listdir(beside) if os.path.isdir(beside) else []
        hint = nearest_hint(os.path.basename(model.path), names)
        message = f"the model is {model.path}, which does not exist.{hint} Its path is relative to the file."
        assets.problems.append(Problem(place, message))
        return ""
    name = model.name or name
    digest = _digest(model.path)
    file = os.path.basename(model.path)
    for row in store.versions(name):
        if row.get("digest") == digest and row["file"] == file:
            return _folder(store, name, row["version"])
    facts = {
        "type": model.type or "custom_model", "tags": dict(model.tags), "digest": digest,
        "properties": dict(model.properties), "description": model.description or None,
    }  # fmt: skip
    try:
        row = store.register(name, model.path, facts)
    except ValueError as error:
        assets.problems.append(Problem(model.places.of("name"), str(error)))
        return ""
    assets.note(f"{model.path} is now registered as version {row['version']} of the model {name!r}")
    return _folder(store, name, row["version"])


def _registered(model: Model, store: ModelStore, assets: Assets) -> str:
    name, version = split_name(model.reference)
    try:
        row = store.find(name, int(version) if version.isdecimal() else None)
    except ModelNotFound as error:
        message = f"{error} Or give its files: --set 'model={{name: {name}, path: ./model}}'."
        assets.problems.append(Problem(model.places.own, message))
        return ""
    assets.note(
        f"{model.reference} is version {row['version']} of the model {name!r} registered here"
    )
    return _folder(store, name, row["version"])


def _folder(store: ModelStore, name: str, version: int) -> str:
    return os.path.join(store.files, name, str(version))


def _digest(path: str) -> str:
    """Return a digest of the names, sizes and times of a model's files."""
    digest = hashlib.sha256()
    files = [Path(path)] if os.path.isfile(path) else sorted(Path(path).rglob("*"))
    for file in files:
        if file.is_file():
            status = file.stat()
            facts = f"{os.path.relpath(file, path)}\0{status.st_size}\0{status.st_mtime_ns}\0"
            digest.update(facts.encode("utf-8", "surrogateescape"))
    return digest.hexdigest()
