"""Selects runs of this home by state and name, newest first."""

from __future__ import annotations

import warnings
from collections.abc import Callable, Iterable, Iterator, Sequence
from numbers import Integral
from typing import Any, Protocol, TypeVar

from ..errors import ConfigError, ParallelRunError
from ..formatting import nearest_hint, text_filter
from ..runs.journal.events import RUN_STATES
from ..runs.run_folder import RunFolder, newest_runs
from ..runs.snapshot.follower import Follower
from ..views.run_list import public, run_row


class HasState(Protocol):
    """What a run is selected by."""

    @property
    def run_id(self) -> str:
        """The run's id."""

    @property
    def name(self) -> str:
        """The run's name."""

    @property
    def status(self) -> str:
        """The current state."""


_R = TypeVar("_R", bound=HasState)


class ListedRun:
    """A run in a list: as much of `Run` as a list shows, since importing `Run` takes longer."""

    def __init__(self, folder: RunFolder) -> None:
        self._follower = Follower(folder)

    @property
    def run_id(self) -> str:
        """The run's id."""
        return self._follower.folder.run_id

    @property
    def name(self) -> str:
        """The run's name."""
        return self._follower.record.name

    @property
    def status(self) -> str:
        """The current state."""
        return self._follower.status()

    def row(self) -> dict[str, Any]:
        """Return a summary, as `Run.row`."""
        return row_of(self._follower)


def row_of(follower: Follower) -> dict[str, Any]:
    """Return the summary of a run: name, start, state, counts, size on disk in bytes."""
    snapshot = follower.refresh()
    return public(run_row(follower.record, snapshot, follower.folder.size_bytes()))


def selected_runs(
    make: Callable[[RunFolder], _R],
    limit: int | None,
    *,
    state: str | Sequence[str] | None = None,
    name: str | None = None,
) -> Iterator[_R]:
    """Yield the newest runs, as `Run.list`; only as many folders are read as needed.

    Damaged runs are left out, with a warning.

    Parameters
    ----------
    make
        Makes the handle of a run.
    limit, state, name
        As in `Run.list`.

    Raises
    ------
    ConfigError
        The state is unknown, the limit is below 0, or the name is not a text.
    """
    if limit is not None and not is_count(limit):
        msg = f"limit is {limit!r}; expected the number of runs to list, such as 20."
        raise ConfigError(msg)
    states = states_of(state)
    is_named = named_like(name)
    left = float("inf") if limit is None else limit
    for folder in newest_runs() if left else ():
        try:
            run = make(folder)
        except ParallelRunError as error:
            warnings.warn(f"left out: {error}", stacklevel=3)
            continue
        if is_named(f"{run.name}\n{run.run_id}") and (not states or run.status in states):
            yield run
            left -= 1
            if not left:
                return


def is_count(value: object) -> bool:
    """Return whether a value is a whole number from 0."""
    if isinstance(value, bool):
        return False
    return isinstance(value, Integral) and int(value) >= 0


def named_like(name: object) -> Callable[[str], bool]:
    """Return a predicate for the names and ids of runs, as in `Run.list`.

    Raises
    ------
    ConfigError
        ``name`` has another type than text.
    """
    if name is not None and not isinstance(name, str):
        msg = f"name is {name!r}; expected a text in the names or ids of runs, such as 'digits*'."
        raise ConfigError(msg)
    return text_filter(name or "")


def states_of(state: object) -> set[str]:
    """Return states in their canonical spelling; an empty set means any.

    Raises
    ------
    ConfigError
        A state is unknown.
    """
    by_word = {state.lower(): state for state in RUN_STATES}
    states = set()
    words = state if isinstance(state, Iterable) and not isinstance(state, str) else [state]
    for word in words if state else ():
        if not isinstance(word, str) or word.lower() not in by_word:
            hint = nearest_hint(str(word).capitalize(), RUN_STATES)
            msg = f"state is {word!r}; expected one of {', '.join(RUN_STATES)}.{hint}"
            raise ConfigError(msg)
        states.add(by_word[word.lower()])
    return states
