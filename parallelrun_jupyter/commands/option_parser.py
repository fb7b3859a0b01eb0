"""The parser of the options of commands and magics."""

from __future__ import annotations

import argparse
import sys
from collections.abc import Sequence
from typing import Any, NoReturn

from ..errors import ConfigError
from ..formatting import nearest_hint

UPDATE = "--update"


class OptionParser(argparse.ArgumentParser):
    """A parser that raises errors with a remedy instead of exiting the process."""

    def error(self, message: str) -> NoReturn:
        """Raise a `ConfigError` with the nearest option."""
        is_magic = self.prog.startswith("%")
        helper = f"{self.prog}?" if is_magic else f"'{self.prog} -h'"
        if not message.startswith("unrecognized arguments: "):
            raise ConfigError(f"{message}; {helper} shows the options.")
        option = message.removeprefix("unrecognized arguments: ").split()[0]
        name = self.prog if is_magic else f"'{self.prog}'"
        flags = self.flags()
        hint = nearest_hint(option, flags)
        if not option.startswith("-") and "--input" in flags:
            hint = f" Inputs are given as --input {option}."
        kind = "unknown option" if option.startswith("-") else "unexpected argument"
        raise ConfigError(f"{kind} {option} of {name}.{hint} {helper} shows the options.")

    def parse_known_args(self, args: Any = None, namespace: Any = None) -> Any:
        """Parse the options; a flag with an optional value must not take the next word for it."""
        words = sys.argv[1:] if args is None else args
        words = [f"{UPDATE}=version" if word == UPDATE else word for word in words]
        return super().parse_known_args(words, namespace)

    def flags(self) -> list[str]:
        """Return the long options."""
        return [s for a in self._actions for s in a.option_strings if s.startswith("--")]

    def describe(self, flag: str, text: str) -> None:
        """Change the help of an option."""
        for action in self._actions:
            if flag in action.option_strings:
                action.help = text

    def values_of(self, flag: str) -> list[str]:
        """Return the choices of an option; empty if any value is allowed."""
        for action in self._actions:
            if flag in action.option_strings:
                return [str(choice) for choice in action.choices or ()]
        return []


def split_script_arguments(words: Sequence[str]) -> tuple[list[str], list[str]]:
    """Return the words before a bare ``--``, and the script's own after it."""
    words = list(words)
    if "--" not in words:
        return words, []
    at = words.index("--")
    return words[:at], words[at + 1 :]
