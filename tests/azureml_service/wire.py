"""Writes a submitted job as a job file with local paths, which this package runs."""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any

import yaml

from tests.azureml_service.blobs import Blobs, place_of
from tests.azureml_service.names import COMPUTE
from tests.azureml_service.state import State, Value

_MODES = {
    "ReadOnlyMount": "ro_mount", "ReadWriteMount": "rw_mount", "Download": "download",
    "Upload": "upload", "Direct": "direct", "EvalMount": "eval_mount", "EvalDownload": "eval_download",
}  # fmt: skip
_NOT_IN_FILES = {"name", "type", "inputs", "outputs", "componentId", "computeId", "_source", "task", "code",
                 "identity", "services"}  # fmt: skip


class Writer:
    """Brings the code and the data of a job to a folder.

    Parameters
    ----------
    state, blobs
        Where the service keeps them.
    folder
        A new folder.
    """

    def __init__(self, state: State, blobs: Blobs, folder: Path) -> None:
        self._state = state
        self._blobs = blobs
        self._folder = folder
        self._copied: dict[str, Path] = {}

    def write(self, job: Value) -> Path:
        """Write the file of a job; return its path."""
        properties = job["properties"]
        settings = dict(properties.get("settings") or {})
        continues = settings.get("continue_on_step_failure")
        own = {} if continues is None else {"continue_on_step_failure": continues}
        value: dict[str, Any] = {
            "type": "pipeline", "settings": {**own, "force_rerun": True},
            **self._ports(properties),
            "jobs": {name: self._step(name, node) for name, node in properties["jobs"].items()},
        }  # fmt: skip
        return self._dump("job.yml", value)

    def shown(self, folder: str) -> dict[str, str]:
        """Return the paths of inputs, each with its path in the folder of a node of Azure."""
        copied = sorted(self._copied.values(), key=lambda path: -len(str(path)))
        return {str(path.parent): folder for path in copied}

    def _dump(self, name: str, value: Any) -> Path:
        path = self._folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(yaml.safe_dump(json.loads(json.dumps(value)), sort_keys=False))
        return path

    def _step(self, name: str, node: dict[str, Any]) -> dict[str, Any]:
        component = self._component(node["componentId"])
        path = self._dump(f"components/{name}.yml", component)
        step = {key: value for key, value in node.items() if key not in _NOT_IN_FILES}
        size = step.get("mini_batch_size")
        if size is not None:
            step["mini_batch_size"] = str(size)
        step = {key: value for key, value in step.items() if value not in (None, {}, [])}
        return {"type": component["type"], "component": str(path), **step, **self._ports(node)}

    def _ports(self, node: dict[str, Any]) -> dict[str, Any]:
        inputs, outputs = node.get("inputs") or {}, node.get("outputs") or {}
        return {
            "inputs": {name: self._port(one) for name, one in inputs.items()},
            "outputs": {name: self._port({**one, "uri": ""}) for name, one in outputs.items()},
        }

    def _component(self, reference: str) -> dict[str, Any]:
        found = re.search(r"/components/([^/]+)/versions/([^/]+)$", reference)
        value = self._state.read("components", f"{found[1]}:{found[2]}") if found else None
        if value is None:
            msg = f"{reference!r} is no component of the emulator"
            raise ValueError(msg)
        component = dict(value["properties"]["componentSpec"])
        component.pop("_source", None)
        if "task" in component:
            component["task"] = self._with_code(component["task"])
            return component
        return self._with_code(component)

    def _with_code(self, task: dict[str, Any]) -> dict[str, Any]:
        task = {**task, "environment": {"image": "emulated"}}
        if task.get("code"):
            task["code"] = str(self._copy(task["code"]))
        return task

    def _copy(self, uri: str) -> Path:
        """Copy the files of an asset or a URI, once; return its local path."""
        if uri not in self._copied:
            number = f"{len(self._copied):02d}"
            place = place_of(self._address(uri))
            name = place.path.rstrip("/").rpartition("/")[2] or "root"
            self._copied[uri] = self._blobs.download(place, self._folder / "inputs" / number / name)
        return self._copied[uri]

    def _address(self, uri: str) -> str:
        """Return the address of the files of an asset or a URI."""
        found = re.search(r"/(codes|data|models)/([^/]+)/versions/([^/]+)$", uri)
        found = found or re.match(r"azureml:()([^/:]+):([^/:]+)$", uri)
        if found is None:
            return uri
        kind, name, version = found[1] or "data", found[2], found[3]
        value = self._state.read(kind, f"{name}:{version}")
        if value is None:
            msg = f"{uri!r} is not registered in the emulator"
            raise ValueError(msg)
        properties = value["properties"]
        keys = ("codeUri", "dataUri", "modelUri")
        address: str = next(properties[key] for key in keys if properties.get(key))
        return address

    def _port(self, one: Any) -> Any:
        """Return an input or output as a job file has it."""
        kind = next((one[key] for key in _TYPES if key in one), "literal")
        if kind == "literal":
            return one.get("value")
        mode = {"mode": _MODES[one["mode"]]} if one.get("mode") else {}
        path = {"path": str(self._copy(one["uri"]))} if one.get("uri") else {}
        return {"type": kind, **mode, **path}


_TYPES = ("job_input_type", "jobInputType", "job_output_type", "jobOutputType", "type")


def output_uri(job: Value, node: dict[str, Any], name: str) -> str:
    """Return the URI that a job gives to an output of a step, or an empty one."""
    one = (node.get("outputs") or {}).get(name) or {}
    bound = parent_output(one)
    if bound:
        one = (job["properties"].get("outputs") or {}).get(bound) or {}
    uri: str = one.get("uri") or ""
    return uri


def parent_output(one: dict[str, Any]) -> str:
    """Return the output of the job that an output of a step is, or an empty text."""
    found = re.fullmatch(r"\$\{\{parent\.outputs\.(\w+)\}\}", str(one.get("value") or ""))
    return found[1] if found else ""


def compute_of(node: dict[str, Any]) -> str:
    """Return the name of a step's compute."""
    reference: str = node.get("computeId") or COMPUTE
    return reference.rpartition("/")[2]
