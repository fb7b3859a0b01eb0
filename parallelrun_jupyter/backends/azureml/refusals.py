"""Settings of a run that a job of Azure ML cannot express: they are refused before anything is written."""

from __future__ import annotations

import os
from typing import Any

from ...errors import ConfigError
from ...runs.run_record import RunLimits, RunRecord
from .job_arguments import local_path, secret_file
from .job_folder import MAX_TIMEOUT_S
from .job_inputs import job_input

_DEFAULT_RETRY_DELAYS = (0.5, RunLimits().retry_delay)
"""The default of the setting, and that of older records; neither is a wish of the user."""


def check_record(record: RunRecord) -> None:
    """Check that a run can be a job of Azure ML.

    Raises
    ------
    ConfigError
        A setting cannot be expressed there; the message names it, its value and the remedy.
    InputError
        An input is in a store that Azure ML does not mount.
    """
    for name, value, why, remedy in _unexpressed(record):
        msg = f"{name} is {value!r}, which a job of Azure ML cannot express: {why}. {remedy}"
        raise ConfigError(msg)
    for kind, specs in (("input", record.inputs.datasets), ("side", record.inputs.side_inputs)):
        for number, spec in enumerate(specs):
            if spec.get("kind") != "memory":
                job_input(f"{kind}_{number}", spec)


def _unexpressed(record: RunRecord) -> list[tuple[str, Any, str, str]]:
    """Return the settings that cannot be expressed: name, value, reason, and remedy."""
    calls, limits, script = record.calls, record.limits, record.script
    here = "Or run it on another compute, such as compute='local'."
    limit = f"limits of calls belong to the whole run, and its nodes do not know each other. {here}"
    found: list[tuple[str, Any, str, str]] = []
    if calls.concurrency > 1:
        why = "Azure calls run() once at a time in each process"
        remedy = (
            "Leave concurrency out, write a plain def run(mini_batch) in place of an async one, and set "
            f"process_count_per_node for calls in parallel. {here}"
        )
        found.append(("concurrency", calls.concurrency, why, remedy))
    elif calls.by_item:
        why = "Azure calls a plain run(mini_batch) with a list"
        found.append(("async run(item)", True, why, f"Write def run(mini_batch). {here}"))
    for name, value in (
        ("rate_limit", calls.rate_per_s and f"{calls.rate_per_s * 60:g}/min"),
        ("token_limit", calls.tokens_per_s and f"{calls.tokens_per_s * 60:g}/min"),
        ("budget", calls.budget_usd and f"{calls.budget_usd:g} USD"),
    ):
        if value:
            why, _, remedy = limit.partition(". ")
            found.append((name, value, why, f"Leave {name} out. {remedy}"))
    if limits.retry_delay not in _DEFAULT_RETRY_DELAYS:
        why = "Azure tries a mini-batch again at a time of its own"
        found.append(("retry_delay", limits.retry_delay, why, f"Leave retry_delay out. {here}"))
    if limits.run_invocation_timeout > MAX_TIMEOUT_S:
        why = f"its longest time is {MAX_TIMEOUT_S} seconds"
        remedy = f"Set run_invocation_timeout to {MAX_TIMEOUT_S} or less. {here}"
        found.append(("run_invocation_timeout", limits.run_invocation_timeout, why, remedy))
    if script.is_python_named:
        why = "an interpreter of this machine is not on its nodes"
        remedy = "Give the environment of the job to the compute: AzureMLCompute(environment='conda.yml')."
        found.append(("environment", script.python, why, remedy))
    if record.output.in_parts:
        why = "its nodes do not upload parts to another store"
        remedy = "Start a new run, whose rows are merged here and then uploaded."
        found.append(("output", f"{record.output.url} in parts", why, remedy))
    return found + _secrets(record) + _expressions(record) + _local_arguments(record)


def _secrets(record: RunRecord) -> list[tuple[str, Any, str, str]]:
    hidden = sorted(k for k, v in record.script.environment_variables.items() if v is None)
    if not hidden:
        return []
    why = "it looks like a secret, and every reader of the workspace can see the variables of its jobs"
    remedy = (
        "Put the secret in the workspace's Key Vault, and read it in init() with azure-keyvault-secrets "
        "and the identity of the compute."
    )
    return [(f"environment_variables[{hidden[0]!r}]", "...", why, remedy)]


def _expressions(record: RunRecord) -> list[tuple[str, Any, str, str]]:
    """Return the variables whose values a job would not have as they are written."""
    why = "a job replaces ${{ }} by a value of its own"
    remedy = "Write the text to a file, and give that as a side input or an argument."
    return [
        (f"environment_variables[{name!r}]", value, why, remedy)
        for name, value in sorted(record.script.environment_variables.items())
        if value is not None and "${{" in value
    ]


def _local_arguments(record: RunRecord) -> list[tuple[str, Any, str, str]]:
    """Return the arguments that name something of this machine that is not uploaded by itself."""
    secret = secret_file(record)
    if secret:
        why = "it looks like a file with a secret, and every reader of the workspace can see its files"
        remedy = "Put the secret in the workspace's Key Vault, and read it in init()."
        return [("an argument", secret, why, remedy)]
    known = {path for spec in record.inputs.side_inputs for path in spec["paths"]}
    why = "the path is one of this machine, and does not exist on its nodes"
    for argument in record.script.arguments:
        path = local_path(record, argument)
        if path and path not in known and not os.path.isfile(path):
            remedy = f"Give the folder as a dataset, arguments=[FileDataset({argument!r})], which is uploaded."
            return [("an argument", argument, why, remedy)]
        option, _, value = argument.partition("=") if isinstance(argument, str) else ("", "", "")
        if option.startswith("-") and local_path(record, value):
            remedy = f"Give the option and its path as two arguments, {option!r} and {value!r}."
            return [("an argument", argument, why, remedy)]
    return []
