"""Compares the inputs of an earlier plan with what they were: no resume mixes rows of two versions."""

from __future__ import annotations

from collections.abc import Callable
from enum import Enum
from typing import TypeAlias

from ...data.datasets import inputs
from ...data.local.file_versions import FileVersions
from ...errors import InputError
from ...formatting import plural
from ...runs.run_record import RunRecord
from ...worker.plan_line import PlanLine


class Fate(Enum):
    """What becomes of a mini-batch of an earlier plan in a resume."""

    KEPT = "its rows are kept"
    RETRIED = "it failed, and runs again"
    FIRST = "it never ran to an end, and runs"
    LEFT_ALONE = "it does not run"


Fates: TypeAlias = Callable[[int], Fate]


def runs_first(_mini_batch: int) -> Fate:
    """Return the fate of every mini-batch of a plan that nothing was run of."""
    return Fate.FIRST


def check_inputs(
    record: RunRecord,
    versions: FileVersions,
    fate_of: Fates,
    warn: Callable[[str], None],
    lines: list[bytes],
) -> dict[int, bytes]:
    """Compare the inputs of an earlier plan with what they were.

    A failed mini-batch may have changed inputs: that is why it is retried.

    Parameters
    ----------
    record
        The run.
    versions
        What its local files were; those of retried mini-batches are noted again.
    fate_of
        What becomes of a mini-batch.
    warn
        Called with a sentence about retried mini-batches whose inputs have changed.
    lines
        The plan, without its end mark.

    Returns
    -------
    dict
        New plan lines of retried mini-batches, where a line tells more of its files than their
        paths: those of stores and of tables.

    Raises
    ------
    InputError
        Another change, which would mix rows of two versions.
    """
    fates = [fate_of(number) for number in range(len(lines))]
    looked_at = ((k, line) for k, line in enumerate(lines) if fates[k] is not Fate.LEFT_ALONE)
    retried: dict[int, str] = {}
    for change in inputs.changes(looked_at, record.inputs, versions):
        fate = fates[change.mini_batch]
        if fate is Fate.RETRIED:
            if not change.is_gone:  # one that is gone fails again, and says so then
                retried.setdefault(change.mini_batch, change.path)
        elif fate is Fate.KEPT and not change.is_gone:  # a script may clear away what it has read
            kept = f"the rows that mini-batch {change.mini_batch} made of it are kept"
            raise InputError(refusal(str(change), kept))
        elif fate is Fate.FIRST:
            raise InputError(refusal(str(change)))
    if not retried:
        return {}
    for mini_batch in retried:
        versions.accept(PlanLine.decode(lines[mini_batch]))
    first, path = next(iter(retried.items()))
    failed = plural(len(retried), "failed mini-batch")
    warn(
        f"{failed} {'has' if len(retried) == 1 else 'have'} inputs that changed since the run was "
        f"planned, first mini-batch {first} with {path!r}: they are read as they are now"
    )
    return inputs.planned_again(lines, list(retried), record.inputs)


def refusal(change: str, why: str = "") -> str:
    """Return why a resume is refused, and what to do."""
    because = f": {why}, and" if why else ", so that"
    return (
        f"{change} since the run was planned{because} a resume would mix rows of two versions. "
        "Start a new run, or put the input back as it was and resume."
    )
