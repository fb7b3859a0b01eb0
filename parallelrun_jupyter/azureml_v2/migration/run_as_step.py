"""A run over mini-batches as the record of a pipeline with one step."""

from __future__ import annotations

import json
import os
import re
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

from ...config.imported_modules import imported_modules
from ...errors import ConfigError
from ...pipelines.folder import InputRecord, OutputRecord, PipelineRecord, StepRecord
from ...runs.run_folder import RunFolder
from ...runs.run_record import RunRecord
from ...worker.output.formats import TEXT

_TEXTS_OF_PANDAS_3 = ("PANDAS_FUTURE_INFER_STRING", "1")
_VERSIONS = """
import json, sys
from importlib import metadata
names = json.load(sys.stdin)
found = {}
try:
    homes = metadata.packages_distributions()
except AttributeError:
    homes = {}
for name in names:
    for package in homes.get(name, ()):
        found[package] = metadata.version(package)
print(json.dumps({"python": "%d.%d" % sys.version_info[:2], "packages": found}))
"""
"""Prints the version of Python, and of the packages that provide some modules."""


def pipeline_of_run(folder: RunFolder, scripts: Path) -> PipelineRecord:
    """Return a run as a pipeline of one step.

    Parameters
    ----------
    folder
        The run.
    scripts
        An empty folder, which receives its script and the modules beside it.

    Raises
    ------
    ConfigError
        The script gets variables of the notebook by value, or a setting has no form in v2.
    """
    record = folder.read_record()
    script = record.script
    _check_expressible(record)
    shutil.copytree(folder.script, scripts, dirs_exist_ok=True)
    if script.source_directory is None:
        _copy_modules(scripts, Path(script.cwd))
    arguments = _Arguments(record)
    environment = _environment(record, scripts)
    variables = dict(script.environment_variables)
    if any(re.match(r"pandas==([3-9]|\d\d)", pin) for pin in environment["pip"]):
        # Steps of pipelines read texts as pandas 1 and 2 do; this run had those of pandas 3.
        variables.setdefault(*_TEXTS_OF_PANDAS_3)
    key = "00-run"
    step = StepRecord(
        key=key,
        name=_step_name(record.name),
        kind="parallel",
        script=script.path,
        settings=_settings(record),
        environment=environment,
        arguments=arguments.values,
        inputs=[InputRecord("data", record.inputs.datasets[0])],
        side_inputs=arguments.inputs,
        outputs=_outputs(record),
        variables=variables,
        allow_reuse=True,
        after=[],
        rows_to="rows" if record.output.append_rows else "",
    )
    return PipelineRecord(
        run_id=record.run_id, name=record.name, experiment=_step_name(record.name), workspace="",
        created_at=record.created_at, version=record.version, driver_python=record.driver_python,
        parameters={}, steps=[step], api="",
    )  # fmt: skip


def _check_expressible(record: RunRecord) -> None:
    """Check that a v2 job can do what the run does.

    Raises
    ------
    ConfigError
        As `pipeline_of_run`.
    """
    script = record.script
    if script.call:
        msg = (
            "the run calls a function of a notebook, which a v2 job cannot; write a script (or a "
            "%%parallelrun cell) with run(mini_batch) over files, run it, and migrate its run."
        )
        raise ConfigError(msg)
    if script.uses:
        names = ", ".join(sorted(script.uses))
        msg = (
            f"the run gets {names} by value from a notebook (--use), which a v2 job cannot; define it in "
            "the script, or give it as an argument ('-- --NAME VALUE'), run that, and migrate its run."
        )
        raise ConfigError(msg)
    if len(record.inputs.datasets) > 1:
        msg = (
            f"the run has {len(record.inputs.datasets)} inputs, but v2 divides one; put their "
            "files into one folder, or write one MLTable with their paths."
        )
        raise ConfigError(msg)


def _step_name(name: str) -> str:
    return (
        "".join(c if c.isalnum() else "_" for c in name.split(" on ", maxsplit=1)[0]).strip("_")
        or "run"
    )


def _side_name(number: int, spec: dict[str, Any]) -> str:
    return str(spec.get("name") or f"side_{number}")


class _Arguments:
    """The arguments of a run as those of a step; paths of this machine become inputs."""

    def __init__(self, record: RunRecord) -> None:
        self._cwd = record.script.cwd
        self.inputs = [
            InputRecord(_side_name(number, spec), spec)
            for number, spec in enumerate(record.inputs.side_inputs)
        ]
        self.values = [self._value(argument) for argument in record.script.arguments]

    def _value(self, argument: Any) -> Any:
        match argument:
            case {"side": number}:
                return {"input": self.inputs[number].name}
            case {"output": _}:
                return {"write": "files"}
        text = str(argument)
        for item in self.inputs:
            if item.value["paths"] == [text]:  # a local side input is its path
                return {"input": item.name}
        path = os.path.join(self._cwd, text)
        if not (os.sep in text or os.path.splitext(text)[1]) or not os.path.exists(path):
            return argument
        spec = {"kind": "files", "paths": [os.path.abspath(path)]}
        item = InputRecord(f"argument_{len(self.inputs)}", spec)
        self.inputs.append(item)
        return {"input": item.name}


def _outputs(record: RunRecord) -> list[OutputRecord]:
    outputs = []
    if record.output.append_rows:
        outputs.append(OutputRecord("rows", "", "", "", is_file=True))
    is_written = any(argument == {"output": ""} for argument in record.script.arguments)
    if is_written or not record.output.append_rows:
        outputs.append(OutputRecord("files", "", "", ""))
    return outputs


def _settings(record: RunRecord) -> dict[str, Any]:
    limits, calls, placement = record.limits, record.calls, record.placement
    is_table = record.inputs.datasets[0].get("kind") == "tabular"
    size: Any = record.inputs.mini_batch_size or None
    if is_table and size and size % 1024 == 0:
        size = f"{size // 1024}kb"
    return {
        "mini_batch_size": size,
        "mini_batch_rows": record.inputs.mini_batch_rows,
        "partition_keys": record.inputs.partition_keys,
        "output_action": "append_row" if record.output.append_rows else "summary_only",
        "output_format": "" if record.output.format == TEXT else record.output.format,
        "error_threshold": limits.error_threshold,
        "allowed_failed_count": limits.allowed_failed_count,
        "allowed_failed_percent": limits.allowed_failed_percent,
        "run_invocation_timeout": limits.run_invocation_timeout,
        "task_overhead_timeout": limits.task_overhead_timeout,
        "first_task_creation_timeout": limits.first_task_creation_timeout,
        "run_max_try": limits.run_max_try,
        "retry_on": limits.retry_on,
        "no_retry_on": limits.no_retry_on,
        "node_count": placement.requested_node_count,
        "process_count_per_node": placement.requested_process_count_per_node,
        "concurrency": calls.concurrency if calls.concurrency > 1 else None,
        "rate_limit": calls.rate_per_s,
        "token_limit": calls.tokens_per_s,
        "budget": calls.budget_usd,
        "logging_level": record.script.logging_level,
    }


def _copy_modules(scripts: Path, cwd: Path) -> None:
    """Copy the modules of the current folder that a single script imports, and theirs."""
    waiting = sorted(scripts.glob("*.py"))
    while waiting:
        for name in imported(waiting.pop()):
            source = cwd / name
            if (cwd / f"{name}.py").is_file() and not (scripts / f"{name}.py").exists():
                shutil.copyfile(cwd / f"{name}.py", scripts / f"{name}.py")
                waiting.append(scripts / f"{name}.py")
            elif (source / "__init__.py").is_file() and not (scripts / name).exists():
                shutil.copytree(
                    source, scripts / name, ignore=shutil.ignore_patterns("__pycache__")
                )
                waiting += sorted((scripts / name).rglob("*.py"))


def imported(path: Path) -> set[str]:
    """Return the first names of the modules that a script imports anywhere."""
    try:
        return imported_modules(path.read_text(encoding="utf-8-sig"))
    except (OSError, UnicodeDecodeError):
        return set()


def _environment(record: RunRecord, scripts: Path) -> dict[str, Any]:
    """Return the packages that the scripts import, with the versions in the run's interpreter."""
    files = sorted(scripts.rglob("*.py"))
    own = {file.stem for file in files} | {file.parent.name for file in files}
    names = set().union(*map(imported, files)) - own - sys.stdlib_module_names
    if record.inputs.datasets[0].get("kind") == "tabular":
        names.add("pandas")
    done = subprocess.run(
        [record.script.python, "-c", _VERSIONS], input=json.dumps(sorted(names)),
        capture_output=True, text=True, check=False, env={**os.environ, "PYTHONPATH": ""},
    )  # fmt: skip
    if done.returncode:
        msg = f"the interpreter {record.script.python} of the run could not be asked for its packages: {done.stderr.strip()[-300:]}"
        raise ConfigError(msg)
    answer = json.loads(done.stdout)
    pins = [f"{name}=={version}" for name, version in sorted(answer["packages"].items())]
    return {"name": "job", "python_version": answer["python"], "pip": pins}
