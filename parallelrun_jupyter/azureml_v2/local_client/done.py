"""Results of methods that are long-running operations in Azure: here they are done at once."""

from __future__ import annotations

from typing import Generic, TypeVar

T = TypeVar("T")


class Done(Generic[T]):
    """An operation that has ended, with the methods of Azure's `LROPoller`.

    Parameters
    ----------
    value
        Its result.
    """

    def __init__(self, value: T) -> None:
        self._value = value

    def result(self, timeout: float | None = None) -> T:
        """Return the result."""
        return self._value

    def wait(self, timeout: float | None = None) -> None:
        """Return at once."""

    def done(self) -> bool:
        """Return True."""
        return True

    def status(self) -> str:
        """Return ``Succeeded``."""
        return "Succeeded"
