"""Steps that need not run again: the same script, settings and inputs, and outputs still there.

Azure compares references to inputs; here their files count too, by size and time, so that changed
data makes a step run again (reference rule R19).
"""

from __future__ import annotations

import hashlib
import json
import os
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from ..errors import ParallelRunError
from ..files import write_atomically
from .bindings import Bindings
from .record import InputRecord, PipelineRecord, StepRecord


@dataclass(frozen=True, slots=True)
class ReusableStep:
    """An earlier run of a step: its ids and where its outputs are."""

    step_run_id: str
    run_id: str
    outputs: dict[str, str]


def fingerprint(
    record: PipelineRecord, step: StepRecord, bindings: Bindings, script: Path, python: str
) -> str:
    """Return what two runs of a step have in common when they would compute the same.

    Parameters
    ----------
    record, step
        The step of its pipeline.
    bindings
        Its values.
    script
        The snapshot of its script folder.
    python
        The interpreter that would run it.
    """
    digest = hashlib.sha256()

    def add(*values: Any) -> None:
        digest.update(json.dumps(values, sort_keys=True).encode() + b"\n")

    add(record.workspace, step.kind, step.script, bindings.settings(), step.environment, python)
    add(sorted(step.variables), [_fixed(bindings, given) for given in step.arguments])
    add([(output.name, output.datastore, output.path) for output in step.outputs])
    for path in _files_below(script):
        add(str(path.relative_to(script)), hashlib.sha256(path.read_bytes()).hexdigest())
    for one in (*step.inputs, *step.side_inputs):
        for line in _identity(bindings, one):
            digest.update(line)
    add(_models(Path(record.workspace)))
    return digest.hexdigest()


def _fixed(bindings: Bindings, given: Any) -> Any:
    """Return an argument as the fingerprint sees it: outputs have another path in every run."""
    is_path = isinstance(given, dict) and not given.keys().isdisjoint({"output", "input", "write"})
    return list(given) if is_path else bindings.value(given)


def _identity(bindings: Bindings, one: InputRecord) -> Iterator[bytes]:
    """Yield what tells the contents of an input: names, sizes, times."""
    yield json.dumps([one.name, one.reads, one.options, one.path_on_compute]).encode()
    dataset = bindings.dataset(one)
    yield json.dumps(dataset.spec(), sort_keys=True).encode()
    files: Any = getattr(dataset, "files", dataset)  # a table's own, or files themselves
    for folder in files.folders():
        yield json.dumps(folder).encode()


def _files_below(folder: Path) -> list[Path]:
    if folder.is_file():
        return [folder]
    return sorted(
        Path(where) / name
        for where, _, names in os.walk(folder)
        for name in names
        if os.path.isfile(os.path.join(where, name))
    )


def _models(workspace: Path) -> list[str]:
    """Return the latest version of each registered model: scripts ask for models by name."""
    try:
        names = sorted(os.listdir(workspace / "azureml-models"))
    except FileNotFoundError:
        return []
    return [f"{name}:{len(os.listdir(workspace / 'azureml-models' / name))}" for name in names]


def find_finished(record: PipelineRecord, key: str) -> ReusableStep | None:
    """Return an earlier run with this fingerprint, where all of its outputs are still there."""
    try:
        kept = json.loads(_place(record, key).read_text(encoding="utf-8"))
        found = ReusableStep(**kept)
    except (OSError, ValueError, TypeError):
        return None
    is_there = all("://" in path or os.path.exists(path) for path in found.outputs.values())
    return found if is_there else None


def keep_finished(record: PipelineRecord, key: str, finished: ReusableStep) -> None:
    """Remember a step that has completed."""
    place = _place(record, key)
    place.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
    text = json.dumps(
        {
            "step_run_id": finished.step_run_id,
            "run_id": finished.run_id,
            "outputs": finished.outputs,
        }
    )
    write_atomically(place, text)


def _place(record: PipelineRecord, key: str) -> Path:
    return Path(record.workspace) / "reuse" / f"{key}.json"


def try_fingerprint(
    record: PipelineRecord, step: StepRecord, bindings: Bindings, script: Path, python: str
) -> str:
    """Return the fingerprint, or nothing where an input cannot be listed: the step will say why."""
    try:
        return fingerprint(record, step, bindings, script, python)
    except (ParallelRunError, OSError):
        return ""
