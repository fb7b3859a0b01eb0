"""Commands for a node, and the times in them, which must survive a queue and a way between two clocks."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any, TypeAlias

Command: TypeAlias = tuple[Any, ...]
"""("assign", first, attempt, lines, start_ms, every_ms), ("put", first, pieces), ("stop", drain),
("pause",), ("unpause",) or ("leave",)."""


def shifted(commands: Iterable[Command], by_ms: float) -> list[Command]:
    """Return commands whose starts are ``by_ms`` milliseconds later.

    In a queue a start is a time of the machine's own clock, and on its way it counts from now: so the
    time that a command waits is not added to its start, and the clocks of two machines need not agree.
    """
    return [_shifted(command, by_ms) for command in commands]


def _shifted(command: Command, by_ms: float) -> Command:
    match command:
        case ("assign", first, attempt, lines, start_ms, every_ms) if every_ms:
            return ("assign", first, attempt, lines, start_ms + by_ms, every_ms)
    return command
