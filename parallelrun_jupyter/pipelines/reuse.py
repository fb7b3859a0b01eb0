"""Reuse of steps: a step is skipped if its script, settings and inputs are unchanged.

Azure compares references to inputs. Here the sizes and times of their files count too, so changed
data makes a step run again (reference rule R19).
"""

from __future__ import annotations

import hashlib
import json
import os
from collections.abc import Iterator
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from ..data.storage.storage import StorageSpec
from ..files import write_atomically
from .bindings import Bindings
from .folder import InputRecord, PipelineRecord, StepRecord


@dataclass(frozen=True, slots=True)
class ReusableStep:
    """A completed run of a step: its ids and the paths of its outputs."""

    step_run_id: str
    run_id: str
    outputs: dict[str, str]


def fingerprint(
    record: PipelineRecord, step: StepRecord, bindings: Bindings, script: Path, python: str
) -> str:
    """Return a digest that is equal for two runs of a step that would compute the same.

    Parameters
    ----------
    record, step
        The pipeline and its step.
    bindings
        The values of the step.
    script
        Its script folder, as copied at submission.
    python
        The interpreter that would run it.

    Raises
    ------
    ParallelRunError, OSError
        An input cannot be listed.
    """
    digest = hashlib.sha256()

    def add(*values: Any) -> None:
        digest.update(json.dumps(values, sort_keys=True).encode() + b"\n")

    add(record.workspace, step.kind, step.script, bindings.settings(), step.environment, python)
    add(
        sorted(step.variables.items()),
        [_stable_argument(bindings, value) for value in step.arguments],
    )
    targets = [(output.name, output.datastore, output.root, output.path) for output in step.outputs]
    add(targets, step.rows_to)
    specs = [output.storage for output in step.outputs if output.storage is not None]
    for spec in specs:  # containers of two accounts may have one name
        add(StorageSpec.of_spec(spec).identity)
    for path in _files_below(script):
        add(str(path.relative_to(script)), hashlib.sha256(path.read_bytes()).hexdigest())
    for item in (*step.inputs, *step.side_inputs):
        for line in _lines_of_input(bindings, item):
            digest.update(line)
    add(_model_versions(Path(record.workspace)))
    return digest.hexdigest()


def _stable_argument(bindings: Bindings, value: Any) -> Any:
    """Return an argument without the paths, which differ from run to run."""
    if isinstance(value, dict) and "join" in value:
        return [_stable_argument(bindings, part) for part in value["join"]]
    is_path = isinstance(value, dict) and not value.keys().isdisjoint({"output", "input", "write"})
    return list(value) if is_path else bindings.value(value)


def _lines_of_input(bindings: Bindings, item: InputRecord) -> Iterator[bytes]:
    """Yield the description of an input, and the names, sizes and times of its files."""
    yield json.dumps([item.name, item.reads, item.options, item.path_on_compute]).encode()
    dataset = bindings.dataset(item)
    yield json.dumps(dataset.spec(), sort_keys=True).encode()
    files: Any = getattr(dataset, "files", dataset)  # the files of a table, or a dataset of files
    for folder in files.folders():
        yield json.dumps(folder).encode()


def _files_below(folder: Path) -> list[Path]:
    if folder.is_file():
        return [folder]
    return sorted(
        Path(parent) / name
        for parent, _, names in os.walk(folder)
        for name in names
        if os.path.isfile(os.path.join(parent, name))
    )


def _model_versions(workspace: Path) -> list[str]:
    """Return the latest version of each registered model, since scripts open models by name."""
    try:
        names = sorted(os.listdir(workspace / "azureml-models"))
    except FileNotFoundError:
        return []
    return [f"{name}:{len(os.listdir(workspace / 'azureml-models' / name))}" for name in names]


def find_reusable(record: PipelineRecord, key: str) -> ReusableStep | None:
    """Return the run with this fingerprint; None if no run has it or an output was deleted."""
    try:
        reusable = ReusableStep(**json.loads(_path_of(record, key).read_text(encoding="utf-8")))
    except (OSError, ValueError, TypeError):
        return None
    exist = all("://" in path or os.path.exists(path) for path in reusable.outputs.values())
    return reusable if exist else None


def save_reusable(record: PipelineRecord, key: str, reusable: ReusableStep) -> None:
    """Store a completed run of a step under its fingerprint."""
    path = _path_of(record, key)
    path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
    write_atomically(path, json.dumps(asdict(reusable)))


def _path_of(record: PipelineRecord, key: str) -> Path:
    return Path(record.workspace) / "reuse" / f"{key}.json"
