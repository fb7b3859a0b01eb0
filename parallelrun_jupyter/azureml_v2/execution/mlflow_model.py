"""Reads the ``MLmodel`` file of an MLflow model: what it takes, and the packages that it needs."""

from __future__ import annotations

import json
import os
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import yaml

from ...errors import ConfigError

FILE = "MLmodel"


@dataclass(frozen=True, slots=True)
class MlflowModel:
    """An MLflow model.

    Parameters
    ----------
    folder
        The folder of its ``MLmodel`` file.
    columns
        The columns of its signature and their types, such as ``double``; empty without a signature,
        or if it takes a tensor.
    tensor
        The type and the shape of the tensor that it takes, such as ``("uint8", (-1, 28, 28))``.
    conda_file
        Path of the conda file with its packages; empty for none.
    """

    folder: str
    columns: Mapping[str, str]
    tensor: tuple[str, tuple[int, ...]] | None = None
    conda_file: str = ""


def find_mlflow(path: str) -> str:
    """Return the folder with the ``MLmodel`` of a model's files; empty if it is not an MLflow model."""
    candidates = [path]
    if os.path.isdir(path):
        candidates += sorted(entry.path for entry in os.scandir(path) if entry.is_dir())
    return next((folder for folder in candidates if os.path.isfile(os.path.join(folder, FILE))), "")


def read_mlflow(folder: str) -> MlflowModel:
    """Read an MLflow model.

    Raises
    ------
    ConfigError
        The file is no ``MLmodel``, or the model cannot be loaded as a Python function.
    """
    path = os.path.join(folder, FILE)
    try:
        with open(path, encoding="utf-8") as file:
            record = yaml.safe_load(file)
    except (OSError, UnicodeDecodeError, yaml.YAMLError) as error:
        msg = f"{path} could not be read as YAML: {error}"
        raise ConfigError(msg) from error
    flavors = record.get("flavors") if isinstance(record, Mapping) else None
    if not isinstance(flavors, Mapping):
        msg = f"{path} has no mapping 'flavors'; expected a model that mlflow has saved."
        raise ConfigError(msg)
    if "python_function" not in flavors:
        names = ", ".join(sorted(map(str, flavors))) or "none"
        msg = (
            f"{path} has no flavor 'python_function' (its flavors: {names}), so it cannot be scored "
            "without a script; add code_configuration with a scoring_script that loads it."
        )
        raise ConfigError(msg)
    inputs = _inputs(record.get("signature"), path)
    is_tensor = bool(inputs) and inputs[0].get("type") == "tensor"
    columns = {} if is_tensor else {str(i.get("name", n)): i["type"] for n, i in enumerate(inputs)}
    tensor = None
    if is_tensor and len(inputs) == 1:
        spec = inputs[0]["tensor-spec"]
        tensor = (str(spec["dtype"]), tuple(spec["shape"]))
    return MlflowModel(
        folder, columns, tensor, _conda_file(folder, flavors["python_function"].get("env"))
    )


def _inputs(signature: Any, path: str) -> list[dict[str, Any]]:
    text = signature.get("inputs") if isinstance(signature, Mapping) else None
    if not text:
        return []
    try:
        inputs = json.loads(text)
        types = [item["type"] for item in inputs]
    except (ValueError, TypeError, KeyError) as error:
        msg = f"the signature of {path} could not be read ({error!r}); expected that of mlflow."
        raise ConfigError(msg) from error
    assert len(types) == len(inputs)
    return list(inputs)


def _conda_file(folder: str, env: Any) -> str:
    name = env.get("conda") if isinstance(env, Mapping) else env
    path = os.path.join(folder, str(name or "conda.yaml"))
    return path if os.path.isfile(path) else ""
