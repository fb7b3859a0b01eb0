"""Plans single files of a table again, which were repaired after they had failed."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

from ...errors import InputError

if TYPE_CHECKING:
    from .tabular_dataset import TabularDataset

_FORM = ("columns", "types", "schema")
"""What has to be the same in every mini-batch of a dataset."""


def replan_tables(
    dataset: TabularDataset, lines: list[bytes], mini_batches: list[int]
) -> dict[int, bytes]:
    """Return a plan line with all rows of its file for each of these mini-batches.

    Parameters
    ----------
    dataset
        The input.
    lines
        The plan, without its end mark.
    mini_batches
        Those whose files have changed; none of their rows are kept.

    Raises
    ------
    InputError
        A mini-batch shares its file with others, or its columns are others than theirs.
    """
    number = json.loads(lines[mini_batches[0]])[1]
    rows = {
        k: row for k, row in enumerate(map(json.loads, lines)) if row[0] == "t" and row[1] == number
    }
    wanted = {_only_path(rows, k): k for k in mini_batches}
    model = next(
        (
            row
            for k, row in rows.items()
            if k not in mini_batches and row[6]["format"] != "unreadable"
        ),
        None,
    )
    new: dict[int, bytes] = {}
    for line, _ in dataset.replanned(
        number, {*wanted, *(model[2] if model else ())}, _types(model)
    ):
        row = json.loads(line) if line else None
        mini_batch = wanted.get(row[2][0]) if row else None
        if row is None or mini_batch is None:
            continue
        if model and row[6]["format"] != "unreadable":
            _fit(row, model)
        before = rows[mini_batch][-1]
        extra = row.pop() if isinstance(row[-1], dict) else {}
        row.append({**extra, "first": before["first"]})
        new[mini_batch] = json.dumps(row, separators=(",", ":")).encode("ascii") + b"\n"
    return new


def _only_path(rows: dict[int, list[Any]], mini_batch: int) -> str:
    """Return the path of a mini-batch that is one file, and the whole of it."""
    paths: list[str] = rows[mini_batch][2]
    sharing = [
        k for k, row in rows.items() if k != mini_batch and not set(paths).isdisjoint(row[2])
    ]
    if len(paths) == 1 and not sharing:
        return paths[0]
    msg = (
        f"the input {paths[0]!r} has changed since the run was planned, and "
        + (
            "mini-batches of several files"
            if len(paths) > 1
            else "several mini-batches of one file"
        )
        + " cannot be planned again. Start a new run, or put the input back as it was and resume."
    )
    raise InputError(msg)


def _types(model: list[Any] | None) -> dict[str, str]:
    """Return the decided types of text columns."""
    table = model[6] if model else {}
    return dict(zip(table.get("columns", ()), table.get("types", ()), strict=True))


def _fit(row: list[Any], model: list[Any]) -> None:
    """Let a new plan line say what those of the other files say of the columns.

    Raises
    ------
    InputError
        The file has other columns or types.
    """
    table, other = row[6], model[6]
    if any(table.get(key) != other.get(key) for key in _FORM) or not (
        set(table.get("gaps", ())) <= set(other.get("gaps", ()))
    ):
        msg = (
            f"the columns of {row[2][0]!r}, which has changed since the run was planned, do not fit "
            f"those of {model[2][0]!r}: a resume would mix rows of two kinds. Start a new run."
        )
        raise InputError(msg)
    if "gaps" in other:
        table["gaps"] = other["gaps"]
