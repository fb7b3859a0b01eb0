"""Checks batch deployments: their fields, files, scoring script and environment."""

from __future__ import annotations

import os

from ..model.places import Place
from ..reader.deployments import read_deployment
from ..reader.fields import Fields, Source, exists
from ..reader.tree import Node
from ..reader.values import read_environment
from .code import check_entry_script, check_environment, check_modules, read_script
from .findings import Findings
from .pipelines import check_component


def is_deployment(tree: Node) -> bool:
    """Return whether a file is a batch deployment."""
    schema = tree.value.get("$schema")
    is_batch = schema is not None and "batchdeployment" in str(schema.value).lower()
    if schema is not None or "endpoint_name" not in tree.value:
        return is_batch
    type_ = tree.value.get("type")
    return "instance_type" not in tree.value and (
        type_ is None or type_.value in {"model", "pipeline"}
    )


def check_deployment(tree: Node, file: str, findings: Findings) -> None:
    """Check a batch deployment."""
    reading = read_deployment(file)
    findings.add(reading.problems)
    declared = getattr(reading.found, "declared", None)
    if declared is not None:
        check_component(declared, findings)
    _check_model(tree, file, findings)
    _check_code(tree, file, findings)


def _check_model(tree: Node, file: str, findings: Findings) -> None:
    for model in _inner(tree, "model"):
        node = model.value.get("path")
        if node is None or not isinstance(node.value, str) or node.value.startswith(("/", "~")):
            continue
        path = Source(file, []).path(node.value)
        if not exists(path):
            message = f"the model's path does not exist: {path}. Paths are relative to the file; correct it."
            findings.error(node.place, message)


def _inner(node: Node, name: str) -> list[Node]:
    found = node.value.get(name)
    return [found] if found is not None and isinstance(found.value, dict) else []


def _check_code(tree: Node, file: str, findings: Findings) -> None:
    source_file = Source(file, [])
    environment = read_environment(Fields(tree, source_file, "a batch deployment"))
    check_environment(environment, findings)
    for code in _inner(tree, "code_configuration"):
        folder_node, script_node = code.value.get("code"), code.value.get("scoring_script")
        if script_node is None:
            continue  # the reader names it
        folder = source_file.path(str(folder_node.value)) if folder_node is not None else ""
        if not os.path.isabs(folder):
            continue
        if not os.path.isdir(folder):
            place = folder_node.place if folder_node is not None else code.place
            message = f"code is the folder {folder}, which does not exist. Paths are relative to the file."
            findings.error(place, message)
            continue
        path = os.path.join(folder, str(script_node.value))
        place = script_node.place
        text = read_script(path, place, f"scoring_script is {script_node.value!r}", findings)
        if text is not None:
            check_entry_script(text, path, findings)
            check_modules(text, path, folder, environment, findings)
            _check_arguments(text, path, findings)


def _check_arguments(source: str, path: str, findings: Findings) -> None:
    """Check that the script needs no arguments: a deployment has none."""
    from ...config.script_arguments import wrong_arguments

    wrong = wrong_arguments(source, [])
    if wrong is not None:
        message = (
            f"the script needs arguments, which a batch deployment does not pass: {wrong.message}. Read "
            "environment_variables instead."
        )
        findings.error(Place(path, wrong.line, 1), message)
