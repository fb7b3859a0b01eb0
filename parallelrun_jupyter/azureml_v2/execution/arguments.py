"""Texts with bindings as arguments of a step's record."""

from __future__ import annotations

import re
import shlex
from collections.abc import Mapping
from typing import Any

from ...formatting import nearest_hint
from ..model.expressions import Binding, OptionalPart, Text
from ..model.jobs import Step
from ..model.problems import Problem
from .scope import Scope, Value

_MARK = re.compile("\0(input|write):([^\0]*)\0")


class Arguments:
    """Fills the texts of one step.

    Paths are only known when the step starts: the record has bindings in their place. Literals are
    filled in.

    Parameters
    ----------
    step
        The step.
    values
        The values of its inputs.
    scope
        The pipeline.
    facts
        The values of ``${{name}}`` and its like.
    problems
        Receives bindings to unknown names.
    """

    def __init__(
        self, step: Step, values: Mapping[str, Value], scope: Scope, facts: Mapping[str, str],
        problems: list[Problem],
    ) -> None:  # fmt: skip
        self._step = step
        self._values = values
        self._scope = scope
        self._facts = facts
        self._problems = problems
        self.used: set[str] = set()
        """The inputs that are data and whose paths were filled in."""

    def parts(self, text: Text | None) -> list[Any]:
        """Return a text as the parts of a command line: texts and bindings."""
        return self._divided(self._filled(text)) if text else []

    def words(self, text: Text | None) -> list[Any]:
        """Return a text as words, divided by the rules of a shell."""
        if text is None:
            return []
        filled = self._filled(text)
        try:
            words = shlex.split(filled)
        except ValueError as error:
            shown = _MARK.sub(r"${{\1s.\2}}", filled).replace("${{writes.", "${{outputs.")
            message = f"the arguments cannot be divided into words: {error}. They are {shown}; close every quote."
            self._problems.append(Problem(text.place, message))
            return []
        return [self._as_value(self._divided(word)) for word in words]

    def value(self, text: Text) -> Any:
        """Return a text as one value."""
        return self._as_value(self._divided(self._filled(text)))

    @staticmethod
    def _as_value(parts: list[Any]) -> Any:
        return parts[0] if len(parts) == 1 else {"join": parts} if parts else ""

    def _filled(self, text: Text) -> str:
        groups = [part.parts for part in text.parts if isinstance(part, OptionalPart)]
        optional = [item for group in groups for item in group]

        def value(binding: Binding) -> str | None:
            is_given = binding.kind != "input" or binding.name in self._values
            # A step without a component declares nothing: its optional inputs are those not given.
            if (
                not is_given
                and self._step.declared is None
                and any(binding is item for item in optional)
            ):
                return None
            return self._text_of(binding)

        return text.filled(value)

    @staticmethod
    def _divided(text: str) -> list[Any]:
        parts: list[Any] = []
        at = 0
        for mark in _MARK.finditer(text):
            parts += [text[at : mark.start()], {mark[1]: mark[2]}]
            at = mark.end()
        return [part for part in (*parts, text[at:]) if part != ""]

    def _text_of(self, binding: Binding) -> str | None:
        if binding.kind == "fact":
            return self._facts.get(binding.name, "")
        if binding.kind == "output":
            return self._output(binding)
        if binding.kind == "input":
            return self._input(binding)
        value = self._scope.value(binding, self._problems)
        if value is None or isinstance(value, str | int | float):
            return None if value is None else str(value)
        message = (
            f"{binding} is data; make it an input of the step, and write ${{{{inputs.NAME}}}}."
        )
        self._problems.append(Problem(binding.place, message))
        return None

    def _output(self, binding: Binding) -> str:
        outputs = {
            *self._step.outputs,
            *(self._step.declared.outputs if self._step.declared else ()),
        }
        if binding.name not in outputs:
            names = ", ".join(sorted(outputs)) or "none"
            hint = nearest_hint(binding.name, outputs)
            message = (
                f"{binding}: the step has no output of this name.{hint} Its outputs are: {names}."
            )
            self._problems.append(Problem(binding.place, message))
        return f"\0write:{binding.name}\0"

    def _input(self, binding: Binding) -> str | None:
        if binding.name not in self._values:
            names = ", ".join(sorted(self._values)) or "none"
            hint = nearest_hint(binding.name, self._values)
            message = (
                f"{binding}: the step has no input of this name.{hint} Its inputs are: {names}."
            )
            self._problems.append(Problem(binding.place, message))
            return ""
        value = self._values[binding.name]
        if value is None or isinstance(value, str | int | float):
            return None if value is None else str(value)
        self.used.add(binding.name)
        return f"\0input:{binding.name}\0"
