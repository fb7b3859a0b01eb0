"""The numbers of the mini-batches of a job of others, which Azure may name otherwise."""

from __future__ import annotations

from collections.abc import Mapping

_LONGEST = 9


class Numbers:
    """Gives each mini-batch a number, always the same.

    A name that is a number below the total is the number itself. Other names get the lowest numbers
    that are free.

    Parameters
    ----------
    given
        The numbers that earlier drivers have given to other names.

    Attributes
    ----------
    given
        The numbers of other names; with them the next driver gives the same ones.
    """

    def __init__(self, given: Mapping[str, int] | None = None) -> None:
        self.given: dict[str, int] = dict(given or {})
        self._taken = set(self.given.values())
        self._next = 0

    def of(self, name: str, planned: int) -> int:
        """Return the number of a mini-batch; ``planned`` is their total, -1 if it is not known."""
        if name in self.given:
            return self.given[name]
        if name.isascii() and name.isdecimal() and len(name) <= _LONGEST:
            number = int(name)
            if (planned < 0 or number < planned) and number not in self.given.values():
                self._taken.add(number)
                return number
        while self._next in self._taken:
            self._next += 1
        self._taken.add(self._next)
        self.given[name] = self._next
        return self._next
