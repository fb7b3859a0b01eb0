"""The tools that act: start, try, resume and cancel. They are offered with ``--allow-actions`` alone."""

from __future__ import annotations

import argparse
import threading
import warnings
from collections.abc import Callable, Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

from ...client.run import Run
from ...errors import ConfigError
from ...formatting import nearest_hint
from ..options import run_options
from ..starting import start
from .answers import Answer
from .bounds import clean
from .places import check_path, check_places
from .reading import show_run

_GIVEN_APART = ("--input", "--arg", "--dry-run")
"""Options of ``parallelrun run`` that are not among ``options``: parameters of their own, or no run."""

_one_action = threading.Lock()  # warnings are caught for the whole process


def option_schema() -> dict[str, Any]:
    """Return the JSON schema of the options of a start: those of ``parallelrun run``."""
    properties = {
        name: {**_schema_of(action), "description": (action.help or "").replace("%%", "%")}
        for name, action in _options().items()
    }
    return {"type": "object", "properties": properties, "additionalProperties": False}


def _options() -> dict[str, argparse.Action]:
    """Return the options by the names that agents give them."""
    options = {}
    for action in run_options("parallelrun run")._actions:  # noqa: SLF001 - argparse has no other way
        flag = action.option_strings[0]
        if flag not in _GIVEN_APART:
            options[flag.removeprefix("--").replace("-", "_")] = action
    return options


def _schema_of(action: argparse.Action) -> dict[str, Any]:
    if action.nargs == 0:
        return {"type": "boolean"}
    if isinstance(action, argparse._AppendAction):  # noqa: SLF001 - the class has no other name
        return {"type": "array", "items": {"type": "string"}}
    if action.choices:
        return {"type": "string", "enum": list(action.choices)}
    kind = {int: "integer", float: "number"}.get(action.type)  # type: ignore[call-overload]
    return {"type": kind or ["string", "number"]}


def words_of(options: Mapping[str, Any]) -> list[str]:
    """Return the words of a command line for options of an agent.

    Raises
    ------
    ConfigError
        An option is unknown, or its value is of the wrong type.
    """
    known = _options()
    words: list[str] = []
    for name, value in options.items():
        if name not in known:
            msg = (
                f"there is no option {name!r}.{nearest_hint(name, known)} The options are: "
                f"{', '.join(known)}."
            )
            raise ConfigError(msg)
        words += _words(known[name], name, value)
    return words


def _words(action: argparse.Action, name: str, value: Any) -> Iterable[str]:
    flag = action.option_strings[0]
    if value is None:
        return []
    if action.nargs == 0:
        if not isinstance(value, bool):
            raise ConfigError(f"the option {name} is {value!r}; expected true or false.")
        negative = action.option_strings[1:]
        return [flag] if value else negative[:1]
    is_list = isinstance(action, argparse._AppendAction)  # noqa: SLF001 - the class has no other name
    values = value if isinstance(value, list) and is_list else [value]
    for each in values:
        if isinstance(each, bool) or not isinstance(each, str | int | float):
            expected = "a text, or a list of texts" if is_list else "a text or a number"
            raise ConfigError(f"the option {name} is {value!r}; expected {expected}.")
    return [f"{flag}={each}" for each in values]


def start_run(
    root: Path | None,
    script: str,
    inputs: Sequence[str],
    arguments: Sequence[str],
    options: Mapping[str, Any],
) -> Answer:
    """Start a run; it goes on when the server ends."""
    words = [*words_of(options), *(f"--input={word}" for word in inputs)]
    check_places(root, script, inputs, options)
    parser = run_options("parallelrun run")
    parsed, unknown = parser.parse_known_args(words)
    if unknown:
        raise ConfigError(f"unexpected options: {' '.join(unknown)}.")

    def act() -> Run:
        run = start(script, parsed, arguments)
        if isinstance(run, Path):  # only with --dry-run, which agents cannot give
            raise ConfigError(f"wrote {run}; nothing was started.")
        return run

    return _act(act, "started")


def resume_run(
    root: Path | None, run: Run, *, entry_script: str, group: str, compute: str, **settings: Any
) -> Answer:
    """Resume a run that has ended."""
    if entry_script:
        check_path(root, "entry_script", entry_script)
    if compute and root is not None:
        msg = f"compute is {compute!r}, which a server with --root refuses; leave it out."
        raise ConfigError(msg)
    return _act(
        lambda: run.resume(
            entry_script=entry_script or None,
            group=group or None,
            compute=compute or None,
            **settings,
        ),
        "resumed",
    )


def cancel_run(run: Run, *, drain: bool) -> Answer:
    """Cancel a run, unless it has ended."""
    is_asked = run.cancel(drain=drain)
    shown = show_run(run)
    head = (
        "canceling; wait_for_run waits until it has ended" if is_asked else "it has already ended"
    )
    return Answer(f"{head}\n{shown.text}", {**shown.fields, "is_canceling": is_asked})


def _act(act: Callable[[], Run], done: str) -> Answer:
    """Do something, and return the run with the warnings of it."""
    with _one_action, warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        run = act()
    notes = [f"{warning.message}" for warning in caught if _is_ours(warning.category)]
    shown = show_run(run)
    lines = [f"{done} run {run.run_id}; wait_for_run waits for its end"]
    lines += [f"! {note}" for note in clean(notes)]
    fields = {**shown.fields, "warnings": [*clean(notes), *shown.fields["warnings"]]}
    return Answer("\n".join([*lines, shown.text]), fields)


def _is_ours(category: type[Warning]) -> bool:
    return not issubclass(category, DeprecationWarning | ResourceWarning)
