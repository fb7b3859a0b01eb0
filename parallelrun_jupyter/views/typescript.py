"""Writes the types of what goes to the front end as TypeScript: ``python -m parallelrun_jupyter.views.typescript``.

A test fails while the file in labextension/ is not what this prints.
"""

from __future__ import annotations

import json
import sys
import types
import typing
from pathlib import Path
from typing import Any

from ..runs.journal.events import FINAL_STATES, RUN_STATES
from ..runs.logs.reader import LOG_LEVELS
from ..runs.snapshot.mini_batches import AttemptRow, Grid, MiniBatchDetail
from ..runs.snapshot.progress import Budget, Lane, Straggler
from ..runs.snapshot.snapshot import GroupRow, Snapshot, WorkerRow
from .html import GLYPHS
from .mime_bundle import RUN_MIME, RunOutput
from .queries import FailureRow, Failures, LogWindow
from .run_list import RunList, RunRow
from .text import PHASES

TARGET = Path(__file__).parents[2] / "labextension" / "src" / "model" / "wire.ts"
_SHAPES = (
    WorkerRow,
    GroupRow,
    Budget,
    Straggler,
    Grid,
    Lane,
    Snapshot,
    RunOutput,
    RunRow,
    RunList,
    LogWindow,
    FailureRow,
    Failures,
    AttemptRow,
    MiniBatchDetail,
)
_PLAIN = {str: "string", bool: "boolean", int: "number", float: "number", type(None): "null"}


def typescript() -> str:
    """Return the whole file."""
    states = "\n".join(f"  | '{state}'" for state in RUN_STATES)
    phases = "\n".join(f"  {_key(key)}: '{words}'," for key, words in PHASES.items())
    glyphs = "\n".join(f"  {state}: '{GLYPHS[state]}'," for state in RUN_STATES)
    finals = ", ".join(f"'{state}'" for state in RUN_STATES if state in FINAL_STATES)
    levels = ", ".join(f"{name}: {severity}" for name, severity in LOG_LEVELS.items())
    head = (
        "// Made by python -m parallelrun_jupyter.views.typescript; do not edit.\n\n"
        f"export const RUN_MIME = '{RUN_MIME}';\n\n"
        f"export type RunState =\n{states};\n\n"
        f"export const FINAL_STATES: ReadonlySet<string> = new Set([{finals}]);\n\n"
        f"export const GLYPHS: Readonly<Record<RunState, string>> = {{\n{glyphs}\n}};\n\n"
        f"/** What a worker is doing, in words. */\n"
        f"export const PHASES: Readonly<Record<string, string>> = {{\n{phases}\n}};\n\n"
        "/** Severity of a log line; text on standard error counts as a warning. */\n"
        f"export const LOG_LEVELS: Readonly<Record<string, number>> = {{\n  ...{{ {levels} }},\n}};\n"
    )
    return head + "".join(map(_interface, _SHAPES))


def _interface(shape: Any) -> str:
    words = (shape.__doc__ or "").strip().splitlines()[0]
    lines = [
        f"  readonly {name}: {_type(hint, name)};"
        for name, hint in typing.get_type_hints(shape).items()
    ]
    fields = "\n".join(lines)
    return f"\n/** {words} */\nexport interface {shape.__name__} {{\n{fields}\n}}\n"


def _type(hint: Any, name: str = "") -> str:
    if hint is str and name == "state":
        return "RunState"
    if hint in _PLAIN:
        return _PLAIN[hint]
    arguments = typing.get_args(hint)
    if typing.get_origin(hint) is list:
        inner = _type(arguments[0])
        return f"readonly ({inner})[]" if " " in inner else f"readonly {inner}[]"
    if typing.get_origin(hint) is dict:
        return f"Readonly<Record<string, {_type(arguments[1])}>>"
    if typing.get_origin(hint) in {types.UnionType, typing.Union}:
        return " | ".join(_type(argument) for argument in arguments)
    return str(hint.__name__)


def _key(key: str) -> str:
    return key if key.isidentifier() else json.dumps(key)


if __name__ == "__main__":
    TARGET.write_text(typescript(), encoding="utf-8")
    sys.stdout.write(f"{TARGET}\n")
