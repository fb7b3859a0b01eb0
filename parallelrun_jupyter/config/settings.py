"""The types of settings: each checks a value when it is assigned."""

from __future__ import annotations

import os
import re
from typing import Any, ClassVar

from traitlets import TraitType

from ..errors import ConfigError
from ..formatting import nearest_hint, parse_mini_batch_size
from .entry_function import is_entry

FORBIDDEN_IN_FILE_NAME = re.compile(r'[~"#%&*:<>?/\\{|}]')


class Setting(TraitType[Any, Any]):
    """A field whose value is checked at every assignment; the error names the field."""

    expected: ClassVar[str]

    def __init__(self, default: Any, text: str) -> None:
        super().__init__(default, help=text)

    def accepts(self, value: Any) -> bool:
        """Return whether a value is valid."""
        raise NotImplementedError

    def validate(self, obj: Any, value: Any) -> Any:  # noqa: ARG002 - traitlets' signature
        """Return the checked value."""
        if (value is None and self.default_value is None) or self.accepts(value):
            return value
        msg = f"{self.name} is {value!r}; expected {self.expected}."
        raise ConfigError(msg)


class TextSetting(Setting):
    """A text."""

    expected = "text"

    def accepts(self, value: Any) -> bool:
        """Return whether a value is valid."""
        return isinstance(value, str)


class PathSetting(Setting):
    """A path, as a text."""

    expected = "a path"

    def accepts(self, value: Any) -> bool:
        """Return whether a value is valid."""
        return isinstance(value, str | os.PathLike) and str(value).strip() != ""

    def validate(self, obj: Any, value: Any) -> Any:
        """Return the checked value."""
        checked = super().validate(obj, value)
        return None if checked is None else str(checked).strip()


class ScriptSetting(PathSetting):
    """The path of a script, or a marked function."""

    expected = "a path, or a function marked with @entry"

    def accepts(self, value: Any) -> bool:
        """Return whether a value is valid."""
        return is_entry(value) or super().accepts(value)

    def validate(self, obj: Any, value: Any) -> Any:
        """Return the checked value."""
        if is_entry(value):
            return value
        if callable(value):
            msg = (
                f"entry_script is the function {getattr(value, '__name__', value)!r}; expected "
                f"{self.expected}. Write @parallelrun.entry above its def, after import "
                "parallelrun_jupyter as parallelrun."
            )
            raise ConfigError(msg)
        return super().validate(obj, value)


class NumberSetting(Setting):
    """A number in a range."""

    def __init__(
        self, default: Any, text: str, *, low: float, high: float | None = None, whole: bool = True
    ) -> None:
        super().__init__(default, text)
        self._low, self._high, self._whole = low, high, whole

    @property
    def expected(self) -> str:  # type: ignore[override] # each instance has its own range
        """What is expected, for the error."""
        kind = "a whole number" if self._whole else "a number"
        upper = f" to {self._high:g}" if self._high is not None else ""
        return f"{kind} from {self._low:g}{upper}"

    def accepts(self, value: Any) -> bool:
        """Return whether a value is valid."""
        kinds = int if self._whole else (int, float)
        if isinstance(value, bool) or not isinstance(value, kinds):
            return False
        return bool(self._low <= value and (self._high is None or value <= self._high))


class FlagSetting(Setting):
    """True or False."""

    expected = "True or False"

    def __init__(self, text: str, *, default: bool) -> None:
        super().__init__(default, text)

    def accepts(self, value: Any) -> bool:
        """Return whether a value is valid."""
        return isinstance(value, bool)


class OneOfSetting(Setting):
    """One of several texts, in any case."""

    def __init__(self, values: tuple[str, ...], default: str | None, text: str) -> None:
        super().__init__(default, text)
        self.values = values

    @property
    def expected(self) -> str:  # type: ignore[override] # each instance has its own values
        """What is expected, for the error."""
        return " or ".join(repr(v) for v in self.values)

    def accepts(self, value: Any) -> bool:
        """Return whether a value is valid."""
        return isinstance(value, str)

    def validate(self, obj: Any, value: Any) -> Any:
        """Return the checked value."""
        text = super().validate(obj, value)
        if text is None:
            return None
        for choice in self.values:
            if text.lower() == choice.lower():
                return choice
        hint = nearest_hint(text, self.values)
        msg = f"{self.name} is {value!r}; expected {self.expected}.{hint}"
        raise ConfigError(msg)


class SizeSetting(Setting):
    """A mini-batch size, in Azure's format."""

    expected = "a mini-batch size"

    def accepts(self, value: Any) -> bool:
        """Return whether a value is valid."""
        parse_mini_batch_size(value)
        return True


class FileNameSetting(TextSetting):
    """The name of a file."""

    expected = 'a file name of at least one character, with none of ~ " # % & * : < > ? / \\ { | }'

    def accepts(self, value: Any) -> bool:
        """Return whether a value is valid."""
        return (
            isinstance(value, str)
            and value.strip() not in {"", ".", ".."}
            and not FORBIDDEN_IN_FILE_NAME.search(value)
        )


class NamesSetting(Setting):
    """A list of names."""

    expected = "a list of at least one name, without duplicates"

    def accepts(self, value: Any) -> bool:
        """Return whether a value is valid."""
        is_list = isinstance(value, list | tuple) and all(isinstance(v, str) for v in value)
        return is_list and 0 < len(value) == len(set(value))


class ExceptionsSetting(NamesSetting):
    """Names of exceptions: one, or a list."""

    expected = (
        "the name of an exception as text, such as 'ConnectionError' or 'socket.gaierror', or a list "
        "of such names, without duplicates"
    )

    def accepts(self, value: Any) -> bool:
        """Return whether a value is valid."""
        names = [value] if isinstance(value, str) else value
        return super().accepts(names) and all(map(_is_dotted_name, names))

    def validate(self, obj: Any, value: Any) -> Any:
        """Return the checked value."""
        checked = super().validate(obj, value)
        if checked is None:
            return None
        return [checked] if isinstance(checked, str) else list(checked)


class ModulesSetting(Setting):
    """Names of modules, or ``auto``."""

    expected = "'auto' (what the script imports) or a list of module names"

    def accepts(self, value: Any) -> bool:
        """Return whether a value is valid."""
        if isinstance(value, str):
            return value == "auto"
        return isinstance(value, list | tuple) and all(map(_is_dotted_name, value))


def _is_dotted_name(value: Any) -> bool:
    return isinstance(value, str) and all(map(str.isidentifier, value.split(".")))


class VariablesSetting(Setting):
    """Environment variables."""

    expected = "a dict of variable names and texts"

    def accepts(self, value: Any) -> bool:
        """Return whether a value is valid."""
        return isinstance(value, dict) and all(
            isinstance(k, str) and isinstance(v, str) for k, v in value.items()
        )
