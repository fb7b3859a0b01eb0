"""The record of a pipeline as a v2 job: YAML values, and files beside them."""

from __future__ import annotations

import hashlib
import re
import shlex
import shutil
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import yaml

from ...config.run_config import DEFAULT_OUTPUT_FILE
from ...errors import ConfigError
from ...pipelines.folder import InputRecord, OutputRecord, PipelineRecord, StepRecord
from .data import data_input

SCHEMA = "https://azuremlschemas.azureedge.net/latest/pipelineJob.schema.json"
IMAGE = "mcr.microsoft.com/azureml/openmpi4.1.0-ubuntu22.04"
_ARGUMENTS = {
    "allowed_failed_percent": None, "task_overhead_timeout": 600, "progress_update_timeout": None,
    "first_task_creation_timeout": 600,
}  # fmt: skip
"""Settings without a field in v2, and their defaults; they are arguments of the script."""

_FIELDS = {
    "mini_batch_size", "partition_keys", "output_action", "append_row_file_name", "error_threshold",
    "allowed_failed_count", "node_count", "process_count_per_node", "run_invocation_timeout",
    "run_max_try", "logging_level", "description", "environment_variables", *_ARGUMENTS,
}  # fmt: skip


_ADDED_BY_V1 = {
    "mini_batch_size", "error_threshold", "allowed_failed_count", "allowed_failed_percent",
    "output_action", "logging_level", "process_count_per_node", "run_invocation_timeout",
    "run_max_try", "append_row_file_name", "partition_keys",
}  # fmt: skip
"""Settings that SDK v1 repeats among the arguments of a script; scripts cannot have others so named."""

_IMPORTS_AZUREML = re.compile(r"^\s*(?:from|import)\s+azureml\b", re.MULTILINE)


class JobWriter:
    """Writes a pipeline as a v2 job.

    Parameters
    ----------
    record
        The pipeline.
    scripts
        The folder of each step's scripts, by key.
    folder
        The new folder of the job.
    """

    def __init__(self, record: PipelineRecord, scripts: Mapping[str, Path], folder: Path) -> None:
        self._record = record
        self._scripts = scripts
        self._folder = folder
        self._names = _unique({step.key: step.name for step in record.steps})
        self._environments: dict[str, str] = {}
        self._codes: dict[str, str] = {}
        self.notes: list[str] = []
        """Sentences about what v2 has no field for."""

    def write(self) -> Path:
        """Write the job; return the path of its file.

        Raises
        ------
        ConfigError
            A step cannot be one of v2; the message names it and says why.
        """
        record = self._record
        jobs = {self._names[step.key]: self._step(step) for step in record.steps}
        job: dict[str, Any] = {
            "$schema": SCHEMA, "type": "pipeline", "display_name": record.name,
            "experiment_name": record.experiment, "tags": dict(record.tags),
        }  # fmt: skip
        literals = {k: v for k, v in record.parameters.items() if not isinstance(v, dict)}
        job["inputs"] = {_name(name): value for name, value in literals.items()}
        job["outputs"] = self._outputs(jobs)
        job["settings"] = {"default_compute": "azureml:cpu-cluster"}
        if record.continue_on_step_failure:
            job["settings"]["continue_on_step_failure"] = True
        job["jobs"] = jobs
        path = self._folder / "pipeline.yml"
        text = yaml.safe_dump(
            {name: value for name, value in job.items() if value}, sort_keys=False, width=100
        )
        path.write_text(text, encoding="utf-8")
        return path

    def _outputs(self, jobs: dict[str, dict[str, Any]]) -> dict[str, Any]:
        """Return the outputs of the pipeline: those that no other step reads."""
        read = yaml.safe_dump(jobs)
        outputs = {}
        for step_name, job in jobs.items():
            for name, value in job.get("outputs", {}).items():
                if f"parent.jobs.{step_name}.outputs.{name}}}" in read:
                    continue
                public = name if name not in outputs else f"{step_name}_{name}"
                outputs[public] = {"type": value["type"]}
                job["outputs"][name] = f"${{{{parent.outputs.{public}}}}}"
        return outputs

    # Steps

    def _step(self, step: StepRecord) -> dict[str, Any]:
        if step.kind not in {"parallel", "script"}:
            msg = f"step {step.name!r} is a {step.kind} step, which is of v2 already."
            raise ConfigError(msg)
        values = _Values(step, self._record, self._names)
        inputs = self._inputs(step, values)
        code = self._code(step)
        body = self._parallel if step.kind == "parallel" else self._command
        job: dict[str, Any] = {"type": "parallel" if step.kind == "parallel" else "command"}
        fields = body(step, values, code)
        job["inputs"] = {**inputs, **values.inputs}
        job["outputs"] = {
            _name(output.name): {"type": self._type_of(output, step)} for output in step.outputs
        }
        job["environment_variables"] = self._variables(step)
        job.update(fields)
        return {name: value for name, value in job.items() if value not in (None, {}, "")}

    def _inputs(self, step: StepRecord, values: _Values) -> dict[str, Any]:
        sides = [item for item in step.side_inputs if values.uses(item.name)]
        return {
            _name(item.name): self._input(item, step, values) for item in (*step.inputs, *sides)
        }

    def _input(self, item: InputRecord, step: StepRecord, values: _Values) -> dict[str, Any]:
        value = values.plain(item.value)
        if isinstance(value, dict) and "output" in value:
            if item.reads not in {"files", "mltable"} or item.options:
                msg = (
                    f"step {step.name!r} reads an output of another step as a {item.reads} table, which "
                    "v2 only does for a folder with an MLTable file; let the earlier step write one, or "
                    "read the files in the script."
                )
                raise ConfigError(msg)
            key, name = value["output"]
            path = f"${{{{parent.jobs.{self._names[key]}.outputs.{_name(name)}}}}}"
            return {"type": "uri_folder", "path": path}
        name = _name(item.name)
        if (self._folder / "data" / name).exists():
            name = f"{self._names[step.key]}_{name}"
        return data_input(name, value, self._folder, self.notes)

    def _parallel(self, step: StepRecord, values: _Values, code: str) -> dict[str, Any]:
        settings = {name: values.plain(value) for name, value in step.settings.items()}
        if len(step.inputs) != 1:
            names = ", ".join(item.name for item in step.inputs)
            msg = (
                f"step {step.name!r} has {len(step.inputs)} inputs ({names}), but v2 divides one; put "
                "their files into one folder, or write one MLTable with their paths."
            )
            raise ConfigError(msg)
        for name in sorted(settings.keys() - _FIELDS):
            if settings[name] not in (None, False, [], {}, 0, ""):
                self.notes.append(
                    f"{name} of step {step.name} is a setting of this project, without a field in v2"
                )
        own = _own_arguments(step, self._record.api)
        arguments = [values.word(argument) for argument in own]
        given = {str(argument).lstrip("-").split("=")[0] for argument in own}
        arguments += [
            f"--{name} {settings[name]}"
            for name, default in _ARGUMENTS.items()
            if settings.get(name) not in (None, default) and name not in given
        ]
        tries = settings.get("run_max_try")
        retry = {
            "max_retries": max(int(tries) - 1, 0) if tries is not None else None,
            "timeout": values.text(step.settings.get("run_invocation_timeout")),
        }
        size = values.text(step.settings.get("mini_batch_size"))
        rows = self._rows_to(step, settings)
        return {
            "input_data": f"${{{{inputs.{_name(step.inputs[0].name)}}}}}",
            "mini_batch_size": None if size is None else str(size),
            "partition_keys": settings.get("partition_keys") or None,
            "resources": {"instance_count": values.text(step.settings.get("node_count")) or 1},
            "max_concurrency_per_instance": values.text(
                step.settings.get("process_count_per_node")
            ),
            "error_threshold": values.text(step.settings.get("error_threshold")),
            "mini_batch_error_threshold": values.text(step.settings.get("allowed_failed_count")),
            "retry_settings": {k: v for k, v in retry.items() if v is not None},
            "logging_level": settings.get("logging_level"),
            "task": {
                "type": "run_function",
                "code": code,
                "entry_script": step.script,
                "environment": self._environment(step),
                **({"program_arguments": " ".join(arguments)} if arguments else {}),
                **({"append_row_to": f"${{{{outputs.{rows}}}}}"} if rows else {}),
            },
        }

    def _rows_to(self, step: StepRecord, settings: Mapping[str, Any]) -> str:
        if settings.get("output_action", "append_row") != "append_row" or step.rows_to == "":
            return ""
        name = step.rows_to or (step.outputs[0].name if step.outputs else "")
        file = settings.get("append_row_file_name")
        is_folder = any(
            output.name == name and self._type_of(output, step) == "uri_folder"
            for output in step.outputs
        )
        if is_folder and file and file != DEFAULT_OUTPUT_FILE:
            self.notes.append(
                f"the rows of step {step.name} are in the file {DEFAULT_OUTPUT_FILE} of the folder {name}, "
                f"since v2 cannot set its name to {file}; adapt what reads it"
            )
        return _name(name)

    def _type_of(self, output: OutputRecord, step: StepRecord) -> str:
        """Return ``uri_file`` for an output that only receives rows; the others are folders."""
        if output.is_file:
            return "uri_file"
        settings = step.settings
        is_rows = (
            step.kind == "parallel"
            and settings.get("output_action", "append_row") == "append_row"
            and output.name == (step.rows_to or (step.outputs[0].name if step.outputs else ""))
        )
        is_folder = self._is_read(step.key, output.name) or any(
            _holds(argument, {"write": output.name}) for argument in step.arguments
        )
        return "uri_file" if is_rows and not is_folder else "uri_folder"

    def _is_read(self, key: str, output: str) -> bool:
        """Return whether another step reads an output."""
        wanted = {"output": [key, output]}
        return any(
            _holds([item.value for item in (*step.inputs, *step.side_inputs)], wanted)
            or _holds(step.arguments, wanted)
            for step in self._record.steps
        )

    def _command(self, step: StepRecord, values: _Values, code: str) -> dict[str, Any]:
        words = ["python", shlex.quote(step.script), *map(values.word, step.arguments)]
        return {
            "code": code,
            "command": " ".join(words),
            "environment": self._environment(step),
            "is_deterministic": None,
        }

    def _variables(self, step: StepRecord) -> dict[str, str]:
        for name, value in step.variables.items():
            if value is None:
                self.notes.append(
                    f"the value of the environment variable {name} is not written, since it looks like a "
                    "secret; give it to the job in another way"
                )
        return {name: value for name, value in step.variables.items() if value is not None}

    def _code(self, step: StepRecord) -> str:
        """Copy the scripts of a step, equal ones once; return the folder, relative to the job's."""
        source = self._scripts[step.key]
        files = [
            path for path in sorted(source.rglob("*"))
            if path.is_file() and "__pycache__" not in path.parts
        ]  # fmt: skip
        digest = hashlib.sha256()
        for path in files:
            content = hashlib.sha256(path.read_bytes()).hexdigest()
            digest.update(f"{path.relative_to(source)}\0{content}\0".encode())
        is_only = len(self._record.steps) == 1
        name = "./code" if is_only else f"./code/{self._names[step.key]}"
        code = self._codes.setdefault(digest.hexdigest(), name)
        if code == name:
            ignore = shutil.ignore_patterns("__pycache__")
            shutil.copytree(source, self._folder / code, ignore=ignore, dirs_exist_ok=True)
        return code

    def _environment(self, step: StepRecord) -> dict[str, str]:
        """Write the conda file of a step; equal ones are written once."""
        record = step.environment
        python = str(record.get("python_version") or "")
        pip = [str(item) for item in record.get("pip", ())]
        script = (self._scripts[step.key] / step.script).read_text("utf-8-sig", "replace")
        needs_azureml = step.kind == "parallel" or _IMPORTS_AZUREML.search(script)
        if needs_azureml and not any(item.startswith("azureml") for item in pip):
            pip.insert(0, "azureml-core")
        content = {
            "name": re.sub(r"[^A-Za-z0-9_-]+", "-", str(record.get("name") or "job")),
            "channels": ["conda-forge"],
            "dependencies": [
                f"python={python}" if python else "python",
                *(str(item) for item in record.get("conda", ())),
                "pip",
                *([{"pip": pip}] if pip else []),
            ],
        }
        text = yaml.safe_dump(content, sort_keys=False)
        file = self._environments.setdefault(
            text, "conda.yml" if not self._environments else f"conda-{self._names[step.key]}.yml"
        )
        (self._folder / file).write_text(text, encoding="utf-8")
        return {"image": IMAGE, "conda_file": f"./{file}"}


def _own_arguments(step: StepRecord, api: str) -> list[Any]:
    """Return the arguments of a step without the settings that SDK v1 has added."""
    arguments: list[Any] = []
    words = iter(step.arguments)
    for word in words:
        name = str(word).removeprefix("--")
        if api == "v1" and str(word).startswith("--") and name in _ADDED_BY_V1:
            next(words, None)
        else:
            arguments.append(word)
    return arguments


class _Values:
    """The values of one step as texts with expressions; collects the inputs that these need."""

    def __init__(self, step: StepRecord, record: PipelineRecord, names: Mapping[str, str]) -> None:
        self._step = step
        self._record = record
        self._names = names
        self.inputs: dict[str, Any] = {}

    def uses(self, name: str) -> bool:
        """Return whether the script gets the path of an input, or can ask for it by name."""
        is_own = any(item.name == name for item in self._step.inputs)
        return is_own or _holds(self._step.arguments, {"input": name})

    def plain(self, value: Any) -> Any:
        """Return a value without a binding to a parameter."""
        if isinstance(value, dict) and set(value) == {"parameter"}:
            return self._record.parameters[value["parameter"]]
        return value

    def text(self, value: Any) -> Any:
        """Return a value as it is, or as a text with expressions if it has bindings."""
        if not isinstance(value, dict):
            return value
        if "parameter" in value:
            name = _name(value["parameter"])
            self.inputs[name] = f"${{{{parent.inputs.{name}}}}}"
            return f"${{{{inputs.{name}}}}}"
        if "input" in value:
            return f"${{{{inputs.{_name(value['input'])}}}}}"
        if "write" in value:
            return f"${{{{outputs.{_name(value['write'])}}}}}"
        if "output" in value:
            key, output = value["output"]
            name = _name(f"{self._names[key]}_{output}")
            path = f"${{{{parent.jobs.{self._names[key]}.outputs.{_name(output)}}}}}"
            self.inputs[name] = {"type": "uri_folder", "path": path}
            return f"${{{{inputs.{name}}}}}"
        if "join" in value:
            return "".join(str(self.text(part)) for part in value["join"])
        msg = f"step {self._step.name!r} has the value {value!r}, which v2 cannot express."
        raise ConfigError(msg)

    def word(self, argument: Any) -> str:
        """Return an argument as a word of a command line; expressions stay as they are."""
        if isinstance(argument, dict):
            return str(self.text(argument))
        return shlex.quote(str(argument))


def _holds(value: Any, wanted: Mapping[str, Any]) -> bool:
    """Return whether a value is a binding, or has it in a list or a join."""
    if value == wanted:
        return True
    if isinstance(value, dict):
        value = list(value.values())
    return isinstance(value, list) and any(_holds(item, wanted) for item in value)


def _name(text: str) -> str:
    """Return a name as v2 allows it."""
    name = re.sub(r"[^A-Za-z0-9_]+", "_", text).strip("_") or "value"
    return f"n{name}" if name[0].isdigit() else name


def _unique(names: Mapping[str, str]) -> dict[str, str]:
    found: dict[str, str] = {}
    for key, text in names.items():
        name = _name(text).lower()
        number = 2
        while name in found.values():
            name = f"{_name(text).lower()}_{number}"
            number += 1
        found[key] = name
    return found
