"""The answer of a tool: a short text, and the same as fields for programs, both bounded."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from .bounds import bounded_fields, bounded_text, shown


@dataclass(frozen=True, slots=True)
class Answer:
    """The answer of a tool.

    Parameters
    ----------
    text
        For a reader.
    fields
        The same as JSON. ``left_out`` is the number of list elements that did not fit.
    """

    text: str
    fields: dict[str, Any]


def answer(
    text: str, fields: Mapping[str, Any], more: str = "", *, keeps_end: bool = False
) -> Answer:
    """Return an answer within the bounds, without credentials.

    Parameters
    ----------
    more
        How to get the rest, in a sentence.
    keeps_end
        Leave out the start, as of a log.
    """
    kept, left_out = bounded_fields(fields, keeps_end=keeps_end)
    return Answer(
        bounded_text(shown(text), more, keeps_end=keeps_end), {**kept, "left_out": left_out}
    )
