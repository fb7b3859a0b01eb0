"""Binding expressions: ``${{inputs.data}}`` and its relatives, and ``$[[...]]`` around optional ones."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from typing import Literal, TypeAlias

from ...formatting import nearest_hint
from .places import NOWHERE, Place
from .problems import JobFileError, Problem

Kind: TypeAlias = Literal[
    "input", "output", "parent_input", "parent_output", "step_input", "step_output", "fact"
]
FACTS = ("name", "default_datastore", "output_name")
"""Expressions without a dot: the job's name, the default datastore, the name of the output."""

FORMS = (
    "${{inputs.NAME}}", "${{outputs.NAME}}", "${{parent.inputs.NAME}}", "${{parent.outputs.NAME}}",
    "${{parent.jobs.STEP.outputs.NAME}}", "${{name}}", "${{default_datastore}}",
)  # fmt: skip
_WORD = r"[A-Za-z0-9_-]+"
_NAME = rf"{_WORD}(?:\.{_WORD})*"  # the members of a group of inputs have dotted names
_PATTERNS: tuple[tuple[Kind, re.Pattern[str]], ...] = (
    ("parent_input", re.compile(rf"parent\.inputs\.(?P<name>{_NAME})")),
    ("parent_output", re.compile(rf"parent\.outputs\.(?P<name>{_NAME})")),
    (
        "step_output",
        re.compile(rf"(?:parent\.)?jobs\.(?P<step>{_WORD})\.outputs\.(?P<name>{_NAME})"),
    ),
    ("step_input", re.compile(rf"(?:parent\.)?jobs\.(?P<step>{_WORD})\.inputs\.(?P<name>{_NAME})")),
    ("input", re.compile(rf"inputs\.(?P<name>{_NAME})")),
    ("output", re.compile(rf"outputs\.(?P<name>{_NAME})")),
    ("fact", re.compile(f"(?P<name>{'|'.join(FACTS)})")),
)
_TOKEN = re.compile(r"\$\{\{(?P<inside>.*?)\}\}|(?P<open>\$\[\[)|(?P<close>\]\])", re.DOTALL)
_FIRST_WORDS = ("inputs", "outputs", "parent", "jobs", *FACTS)

Locate: TypeAlias = Callable[[str, int], Place]
"""Returns the place of the n-th occurrence (from 0) of a piece of a text."""


@dataclass(frozen=True, slots=True)
class Binding:
    """One expression, parsed.

    Parameters
    ----------
    kind
        ``input`` and ``output`` of the step itself; ``parent_input`` and ``parent_output`` of the
        pipeline; ``step_output`` and ``step_input`` of another step; ``fact`` for the job's name,
        the default datastore or the output's name.
    name
        The input, output or fact.
    step
        The other step, for ``step_output`` and ``step_input``; else empty.
    place
        Its place; not part of equality.
    """

    kind: Kind
    name: str
    step: str = ""
    place: Place = field(default=NOWHERE, compare=False)

    def __str__(self) -> str:
        path = {
            "input": f"inputs.{self.name}",
            "output": f"outputs.{self.name}",
            "parent_input": f"parent.inputs.{self.name}",
            "parent_output": f"parent.outputs.{self.name}",
            "step_input": f"parent.jobs.{self.step}.inputs.{self.name}",
            "step_output": f"parent.jobs.{self.step}.outputs.{self.name}",
            "fact": self.name,
        }[self.kind]
        return f"${{{{{path}}}}}"


@dataclass(frozen=True, slots=True)
class OptionalPart:
    """``$[[...]]``: left out if one of its inputs has no value."""

    parts: tuple[str | Binding, ...]


Part: TypeAlias = str | Binding | OptionalPart


@dataclass(frozen=True, slots=True)
class Text:
    """A text that may contain expressions.

    Parameters
    ----------
    raw
        The text as written.
    parts
        Plain texts, bindings and optional parts, in order.
    place
        Its place; not part of equality.
    """

    raw: str
    parts: tuple[Part, ...]
    place: Place = field(default=NOWHERE, compare=False)

    def __str__(self) -> str:
        return self.raw

    @property
    def binding(self) -> Binding | None:
        """The binding, if the text is one expression and nothing else."""
        match [part for part in self.parts if not (isinstance(part, str) and not part.strip())]:
            case [Binding() as binding]:
                return binding
        return None

    def bindings(self) -> Iterator[Binding]:
        """Yield all bindings, also those of optional parts."""
        for part in self.parts:
            if isinstance(part, OptionalPart):
                yield from (inner for inner in part.parts if isinstance(inner, Binding))
            elif isinstance(part, Binding):
                yield part

    def filled(self, value: Callable[[Binding], str | None]) -> str:
        """Return the text with the values of its bindings.

        Parameters
        ----------
        value
            Returns the value of a binding; None if it has none. An optional part with such a binding
            is left out; elsewhere the binding becomes an empty text.
        """
        texts = []
        for part in self.parts:
            inner = part.parts if isinstance(part, OptionalPart) else (part,)
            values = [value(item) if isinstance(item, Binding) else item for item in inner]
            if isinstance(part, OptionalPart) and None in values:
                continue
            texts += [text or "" for text in values]
        return "".join(texts)


def parse(raw: str, place: Place = NOWHERE, locate: Locate | None = None) -> Text:
    """Parse a text with expressions.

    Parameters
    ----------
    raw
        The text.
    place
        Its place.
    locate
        Returns the place of an expression inside of the text. Default: the place of the text.

    Raises
    ------
    JobFileError
        An expression is malformed; ``problems`` has each of them.
    """
    parser = _Parser(raw, place, locate)
    parts = parser.parts()
    if parser.problems:
        raise JobFileError(parser.problems)
    return Text(raw, tuple(parts), place)


class _Parser:
    """Divides a text into its parts, and collects the problems."""

    def __init__(self, raw: str, place: Place, locate: Locate | None) -> None:
        self.problems: list[Problem] = []
        self._raw = raw
        self._place = place
        self._locate = locate
        self._parts: list[Part] = []
        self._group: list[str | Binding] | None = None

    def parts(self) -> list[Part]:
        """Return the parts."""
        at, opened = 0, self._place
        counts: dict[str, int] = {}
        for token in _TOKEN.finditer(self._raw):
            here = self._place_of(token[0], counts.get(token[0], 0))
            counts[token[0]] = counts.get(token[0], 0) + 1
            if token["close"] and self._group is None:
                continue  # two brackets of the text itself, as in [[1, 2], [3]]
            self._add(self._raw[at : token.start()])
            at = token.end()
            if token["open"]:
                if self._group is not None:
                    self._note(here, "'$[[' is inside of '$[['; close the first one with ']]'.")
                self._group, opened = self._group or [], here
            elif token["close"]:
                self._parts.append(OptionalPart(tuple(self._group or ())))
                self._group = None
            else:
                self._add(self._binding(token["inside"], here))
        if self._group is not None:
            self._note(opened, "'$[[' has no ']]'; write $[[--flag ${{inputs.name}}]].")
        self._end(self._raw[at:])
        return self._parts

    def _end(self, rest: str) -> None:
        if "${{" in rest:
            number = self._raw.count("${{") - rest.count("${{")
            shown = rest[rest.index("${{") :][:40]
            message = f"{shown!r} has no '}}}}'; write ${{{{inputs.name}}}}."
            self._note(self._place_of("${{", number), message)
        self._add(rest)

    def _add(self, item: str | Binding) -> None:
        if item != "":
            (self._parts if self._group is None else self._group).append(item)

    def _note(self, place: Place, message: str) -> None:
        self.problems.append(Problem(place, message))

    def _place_of(self, piece: str, number: int) -> Place:
        return self._locate(piece, number) if self._locate else self._place

    def _binding(self, inside: str, place: Place) -> Binding:
        text = inside.strip()
        for kind, pattern in _PATTERNS:
            if match := pattern.fullmatch(text):
                groups = match.groupdict()
                return Binding(kind, groups["name"], groups.get("step") or "", place)
        hint = _hint(text.split("."))
        expected = f"Expected one of {', '.join(FORMS)}."
        self._note(place, f"'${{{{{inside}}}}}' is not an expression.{hint} {expected}")
        return Binding("fact", "name", "", place)


def _hint(words: list[str]) -> str:
    """Return a hint for the first word of an expression that is none of those at its place."""
    choices: tuple[tuple[str, ...], ...] = (_FIRST_WORDS,)
    if words[:2] == ["parent", "jobs"]:
        choices = (("parent",), ("jobs",), (), ("inputs", "outputs"))
    elif words[0] == "parent":
        choices = (("parent",), ("inputs", "outputs", "jobs"))
    for word, known in zip(words, choices, strict=False):
        if known and word not in known:
            return nearest_hint(word, known)
    return ""
