"""Where a run runs."""

from __future__ import annotations

from dataclasses import dataclass

from .errors import ConfigError
from .parsing import nearest_hint


@dataclass(frozen=True, slots=True)
class LocalCompute:
    """This machine: the default."""

    @property
    def backend(self) -> str:
        """Name of the module in ``backends`` that runs on it."""
        return "local"


def as_compute(value: object) -> LocalCompute:
    """Read a ``compute_target`` setting: None or ``"local"`` is this machine.

    Raises
    ------
    ConfigError
        Anything else.
    """
    if value is None or value == "local":
        return LocalCompute()
    if isinstance(value, LocalCompute):
        return value
    hint = nearest_hint(value, ["local"]) if isinstance(value, str) else ""
    msg = f"compute_target is {value!r}; expected 'local' (this machine), the default.{hint}"
    raise ConfigError(msg)
