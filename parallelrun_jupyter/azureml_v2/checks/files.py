"""Checks one file of any kind."""

from __future__ import annotations

import os

from ...errors import ConfigError
from ..model.jobs import Step
from ..model.places import Place
from ..model.problems import JobFileError, Problem
from ..reader.deployments import is_endpoint
from ..reader.fields import Source
from ..reader.jobs import read_component, read_job
from ..reader.steps import read_step
from ..reader.tree import Node, read_tree
from .code import check_entry_script, read_script
from .deployments import check_deployment, is_deployment
from .findings import Finding, Findings
from .notebooks import CellOptions, check_notebook
from .pipelines import check_component, check_job, check_step
from .scopes import Scope
from .tables import MLTABLE, check_table

_TYPES_OF_STEPS = ("command", "parallel")


def check(
    path: str | os.PathLike[str], cell_options: CellOptions | None = None
) -> tuple[Finding, ...]:
    """Check a file before it runs, in Azure or here.

    Parameters
    ----------
    path
        A pipeline job, a component or a batch deployment (``.yml``), an entry script (``.py``), a
        notebook (``.ipynb``), or an ``MLTable`` file or its folder.
    cell_options
        Checks the options of ``%%parallelrun`` cells; None to check only their scripts.

    Returns
    -------
    tuple of Finding
        The mistakes, in the order of their places; empty for a file without any.

    Raises
    ------
    ConfigError
        The file does not exist, or is of another kind.
    """
    file = os.fspath(path)
    findings = Findings()
    name = os.path.basename(os.path.normpath(file))
    if os.path.isdir(file):
        if not os.path.isfile(os.path.join(file, MLTABLE)):
            raise ConfigError(f"{file!r} is a folder without an MLTable file; name one file of it.")
        check_table(file, findings)
    elif not os.path.isfile(file):
        raise ConfigError(f"{file!r} does not exist; name a file to check.")
    elif name == MLTABLE:
        check_table(file, findings)
    elif name.endswith(".py"):
        source = read_script(file, Place(file, 1, 1), "the script", findings)
        if source is not None:
            check_entry_script(source, file, findings)
    elif name.endswith(".ipynb"):
        check_notebook(file, findings, cell_options)
    elif name.endswith((".yml", ".yaml")):
        _check_yaml(file, findings)
    else:
        msg = (
            f"{file!r} is of a kind that has no checks; expected a .yml file of Azure ML v2, a .py "
            "script, a notebook, or an MLTable file."
        )
        raise ConfigError(msg)
    return findings.sorted(file)


def _check_yaml(file: str, findings: Findings) -> None:
    try:
        tree = read_tree(file)
    except JobFileError as error:
        findings.add(error.problems)
        return
    fields = tree.value
    type_ = str(fields["type"].value) if "type" in fields else ""
    if is_deployment(tree):
        check_deployment(tree, file, findings)
    elif _is_component(tree, type_):
        component = read_component(file)
        findings.add(component.problems)
        if component.found is not None:
            check_component(component.found, findings)
    elif type_ == "parallel":
        message = (
            "'type: parallel' exists only as a step of a pipeline, or as a component. Put the job under "
            "'jobs' of a file with 'type: pipeline'."
        )
        findings.error(fields["type"].place, message)
    elif type_ == "command" or (not type_ and "command" in fields):
        _check_command_job(tree, file, findings)
    elif type_ == "pipeline" or "jobs" in fields:
        job = read_job(file)
        findings.add(job.problems)
        if job.found is not None:
            check_job(job.found, findings)
    elif type_ and not fields.get("$schema"):
        findings.add(read_job(file).problems)
    else:
        raise ConfigError(_refusal(tree, file))


def _refusal(tree: Node, file: str) -> str:
    if is_endpoint(tree):
        return (
            f"{file!r} is the file of a batch endpoint, which has no checks. Name that of a deployment, "
            "which has a model or a component."
        )
    return (
        f"{file!r} is neither a job, a component nor a batch deployment: it has no 'type: pipeline'. "
        "Name the file of one of these."
    )


def _is_component(tree: Node, type_: str) -> bool:
    """Return whether a file declares a component: its schema, a version, or inputs without values."""
    fields = tree.value
    schema = str(fields["$schema"].value).lower() if "$schema" in fields else ""
    if "component" in schema:
        return True
    if type_ not in {*_TYPES_OF_STEPS, "pipeline"} or "job.schema" in schema:
        return False
    if "version" in fields:
        return True
    inputs = fields["inputs"].value if "inputs" in fields else None
    ports = list(inputs.values()) if isinstance(inputs, dict) else []
    if ports:
        return all(
            isinstance(port.value, dict) and "type" in port.value and not {"path", "value"} & set(port.value)
            for port in ports
        )  # fmt: skip
    return type_ == "parallel" and "name" in fields and "experiment_name" not in fields


def _check_command_job(tree: Node, file: str, findings: Findings) -> None:
    """Check a command job as if it were the only step of a pipeline."""
    problems: list[Problem] = []
    tree.value.setdefault("type", Node("command", tree.place))
    step: Step | None = read_step("command", tree, Source(file, problems))
    findings.add(problems)
    if step is not None:
        check_step(step, Scope(is_known=False), findings)
