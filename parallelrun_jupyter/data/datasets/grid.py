"""Grids of parameters: all combinations of some values."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from itertools import product
from typing import Any

from ...errors import ConfigError


class Grid(Sequence[dict[str, Any]]):
    """All combinations of some values, as dicts; the last name varies fastest. See `grid`."""

    def __init__(self, values: Mapping[str, Sequence[Any]]) -> None:
        self._values = {name: list(options) for name, options in values.items()}
        self._count = 1
        for options in self._values.values():
            self._count *= len(options)

    def __len__(self) -> int:
        return self._count

    def __getitem__(self, index: Any) -> Any:
        if isinstance(index, slice):
            return [self[k] for k in range(*index.indices(len(self)))]
        position = index + len(self) if index < 0 else index
        if not 0 <= position < len(self):
            msg = f"the grid has {len(self):,} combinations, not one with the number {index}"
            raise IndexError(msg)
        chosen: dict[str, Any] = {}
        for name, options in reversed(self._values.items()):
            position, which = divmod(position, len(options))
            chosen[name] = options[which]
        return dict(reversed(chosen.items()))

    def __iter__(self) -> Iterator[dict[str, Any]]:
        for combination in product(*self._values.values()):
            yield dict(zip(self._values, combination, strict=True))

    def __repr__(self) -> str:
        names = ", ".join(f"{name}: {len(options):,}" for name, options in self._values.items())
        return f"grid of {len(self):,} combinations ({names})"


def grid(**values: Iterable[Any]) -> Grid:
    """Return all combinations of some values, for a sweep over parameters with `map`.

    The function of `map` gets each combination as keyword arguments.

    Parameters
    ----------
    **values
        The values of each parameter: a list or another iterable.

    Raises
    ------
    ConfigError
        There is no parameter, or one has no values.

    Examples
    --------
    >>> grid(alpha=[0.1, 1.0], depth=[3, 5])
    grid of 4 combinations (alpha: 2, depth: 2)
    >>> list(grid(alpha=[0.1], depth=[3, 5]))
    [{'alpha': 0.1, 'depth': 3}, {'alpha': 0.1, 'depth': 5}]
    """
    lists: dict[str, list[Any]] = {}
    for name, options in values.items():
        # A generator can be read only once, so the list is kept.
        if not isinstance(options, str) and hasattr(options, "__iter__"):
            lists[name] = list(options)
        if not lists.get(name):
            msg = f"grid({name}={options!r}): expected a list of values, such as {name}=[0.1, 1.0]."
            raise ConfigError(msg)
    if not values:
        msg = "grid() has no parameters; write, for example, grid(alpha=[0.1, 1.0], depth=[3, 5])."
        raise ConfigError(msg)
    return Grid(lists)
