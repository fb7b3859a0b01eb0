"""Selects the runs that can be removed to free disk space, and removes them."""

from __future__ import annotations

import time
import warnings
from collections.abc import Callable, Collection, Sequence
from dataclasses import dataclass, field

from ..errors import ConfigError, ParallelRunError, RunNotFoundError, visible
from ..formatting import (
    format_bytes,
    parse_age,
    parse_size,
    plural,
)
from ..home import max_size
from ..runs.removal import remove_leftovers, remove_run, uses_of_runs
from ..runs.run_folder import RunFolder, list_runs
from ..runs.run_record import RunRecord
from ..runs.snapshot.follower import Follower
from ..runs.snapshot.snapshot import Snapshot
from ..views.run_list import RunRow, run_row, short_table
from .run_selection import is_count, named_like, states_of

_RECENT_S = 3600.0
"""The limit of the home leaves runs alone that were active in this time."""

_LISTED = 5


@dataclass(frozen=True, slots=True)
class Filters:
    """The runs that may be removed: those that pass every filter.

    Parameters
    ----------
    older_than_s
        Only runs that were started longer ago, in seconds.
    keep
        The number of newest runs that stay, among those with the state and the name.
    max_bytes
        Only so many of the oldest runs that all runs together are at most this size.
    states
        Only runs in these states; empty for any.
    is_named
        Returns whether a name and id pass.
    """

    older_than_s: float | None = None
    keep: int | None = None
    max_bytes: int | None = None
    states: Collection[str] = ()
    is_named: Callable[[str], bool] = lambda _: True


def filters_of(
    *,
    older_than: float | str | None = None,
    keep: int | None = None,
    max_size: int | str | None = None,
    state: str | Sequence[str] | None = None,
    name: str | None = None,
) -> Filters:
    """Return the filters with these values, as in `Run.prune`.

    Raises
    ------
    ConfigError
        A value is wrong, or no filter is given.
    """
    if older_than is None and keep is None and max_size is None and not state and not name:
        msg = (
            "prune needs a filter that selects the runs: an age (older_than, --older-than 30d), "
            "a number (keep, --keep 50), a size (max_size, --max-size 5GB), a state (--state "
            "Failed) or a name (--name TEXT)."
        )
        raise ConfigError(msg)
    if keep is not None and not is_count(keep):
        msg = f"keep is {keep!r}; expected the number of newest runs that stay, such as 50."
        raise ConfigError(msg)
    return Filters(
        older_than_s=None if older_than is None else parse_age(older_than, "older_than"),
        keep=keep,
        max_bytes=None if max_size is None else parse_size(max_size, "max_size"),
        states=states_of(state),
        is_named=named_like(name),
    )


class Entry:
    """A run of the home; its size is measured when it is first needed."""

    def __init__(self, folder: RunFolder) -> None:
        follower = Follower(folder)
        self.folder = folder
        self.record: RunRecord = follower.record
        self.snapshot: Snapshot = follower.refresh()
        self._size = -1

    @property
    def size_bytes(self) -> int:
        """The size on disk."""
        if self._size < 0:
            self._size = self.folder.size_bytes()
        return self._size

    def row(self) -> RunRow:
        """Return the row of the run in a list."""
        return run_row(self.record, self.snapshot, self.size_bytes)

    def was_active_since(self, then: float) -> bool:
        """Return whether the run was started, or wrote into its journal, after ``then``."""
        try:
            last = self.folder.journal.stat().st_mtime
        except OSError:
            last = 0.0
        return max(self.record.created_at, last) > then


@dataclass(slots=True)
class Pruning:
    """The runs to remove, newest first, and those that pass the filters but must stay."""

    entries: list[Entry] = field(default_factory=list)
    #: why a run stays, by run id
    stay: dict[str, str] = field(default_factory=dict)
    uses: dict[str, str] = field(default_factory=dict)

    @property
    def size_bytes(self) -> int:
        """The bytes that the removal frees."""
        return sum(entry.size_bytes for entry in self.entries)

    def carry_out(self) -> Removed:
        """Remove the runs, the oldest first, and what killed removals left behind."""
        removed = Removed()
        for entry in reversed(self.entries):
            try:
                removed.size_bytes += remove_run(entry.folder, self.uses)
                removed.runs += 1
            except RunNotFoundError:
                continue  # another process has removed it
            except ParallelRunError as error:
                removed.problems.append(str(error))
        try:
            removed.size_bytes += remove_leftovers()
        except ParallelRunError as error:
            if str(error) not in removed.problems:
                removed.problems.append(str(error))
        return removed

    def text(self) -> str:
        """Return a table of the runs, and what their removal means."""
        lines = [*self._stays()]
        if not self.entries:
            return "\n".join(["no run to remove", *lines])
        head = (
            f"{short_table([entry.row() for entry in self.entries])}\n"
            f"{plural(len(self.entries), 'run')} to remove, {format_bytes(self.size_bytes)} to free"
        )
        return "\n".join([head, *self._losses(), *lines])

    def _losses(self) -> list[str]:
        """Return what the removal means for outputs and resumes."""
        lines = []
        own = [entry for entry in self.entries if entry.snapshot["output"] and _is_inside(entry)]
        if own:
            have = "has its output file" if len(own) == 1 else "have their output files"
            lines.append(f"{plural(len(own), 'run')} {have} in the run's folder: removed too")
        elsewhere = {str(entry.record.output.destination) for entry in self.entries} - {"None"}
        if elsewhere:
            lines.append(f"outputs in {_listed(sorted(elsewhere))} stay")
        resumable = sum(entry.snapshot["can_resume"] for entry in self.entries)
        if resumable:
            lines.append(
                f"{plural(resumable, 'run')} could be resumed: not after the removal, and rows "
                "that are not in an output file are removed"
            )
        return lines

    def _stays(self) -> list[str]:
        items = [f"run {run_id} stays: {why}" for run_id, why in self.stay.items()]
        more = len(items) - _LISTED
        return [*items[:_LISTED], *([f"{plural(more, 'more run')} must stay"] if more > 0 else [])]


@dataclass(slots=True)
class Removed:
    """The number of runs that were removed, the bytes that this freed, and the problems."""

    runs: int = 0
    size_bytes: int = 0
    problems: list[str] = field(default_factory=list)

    def text(self) -> str:
        """Return the result in one line, and a line for each problem."""
        head = f"removed {plural(self.runs, 'run')}, freed {format_bytes(self.size_bytes)}"
        return "\n".join([head, *self.problems])


def _is_inside(entry: Entry) -> bool:
    return entry.record.output.destination is None


def _listed(paths: list[str]) -> str:
    more = len(paths) - _LISTED
    shown = ", ".join(map(visible, paths[:_LISTED]))
    return f"{shown} and {plural(more, 'more folder')}" if more > 0 else shown


def plan_pruning(filters: Filters, now: float | None = None) -> Pruning:
    """Return the runs of this home that pass the filters and can be removed.

    Parameters
    ----------
    filters
        The filters.
    now
        The current time, in seconds since the epoch. Default: the clock's.
    """
    entries = _every_run()
    pruning = Pruning(uses=uses_of_runs())
    until = (time.time() if now is None else now) - (filters.older_than_s or 0)
    matching = [entry for entry in entries if _matches(entry, filters)][filters.keep or 0 :]
    for entry in matching:
        if filters.older_than_s is not None and entry.record.created_at >= until:
            continue
        state = "" if entry.snapshot["is_final"] else f"it is {entry.snapshot['state']}"
        why = state or pruning.uses.get(entry.folder.run_id, "")
        if why:
            pruning.stay[entry.folder.run_id] = why
        else:
            pruning.entries.append(entry)
    if filters.max_bytes is not None:
        pruning.entries = _oldest_over(entries, pruning.entries, filters.max_bytes)
        if _total(entries) - pruning.size_bytes <= filters.max_bytes:
            pruning.stay = {}  # no reason to remove them
    return pruning


def _every_run() -> list[Entry]:
    entries = []
    for folder in list_runs():
        try:
            entries.append(Entry(folder))
        except (ParallelRunError, OSError) as error:
            warnings.warn(f"left out: {error}", stacklevel=4)
    return entries


def _matches(entry: Entry, filters: Filters) -> bool:
    is_named = filters.is_named(f"{entry.record.name}\n{entry.folder.run_id}")
    return is_named and (not filters.states or entry.snapshot["state"] in filters.states)


def _total(entries: list[Entry]) -> int:
    return sum(entry.size_bytes for entry in entries)


def _oldest_over(entries: list[Entry], candidates: list[Entry], limit: int) -> list[Entry]:
    """Return the oldest candidates whose removal brings all runs to at most ``limit`` bytes."""
    size = _total(entries)
    chosen = []
    for entry in reversed(candidates):
        if size <= limit:
            break
        size -= entry.size_bytes
        chosen.append(entry)
    return chosen[::-1]


def keep_under_limit(spared: Collection[str] = (), now: float | None = None) -> None:
    """Remove the oldest ended runs until the runs are at most the home's size limit; warn of it.

    Runs that were active in the last hour stay. Without a limit, nothing is read.

    Parameters
    ----------
    spared
        Ids of runs that must stay.
    now
        The current time, in seconds since the epoch. Default: the clock's.

    Raises
    ------
    ConfigError
        The limit is not a size.
    """
    text, source = max_size()
    if not text:
        return
    limit = parse_size(text, f"max_size (of {source})")
    now = time.time() if now is None else now
    if sum(folder.size_bytes() for folder in list_runs()) <= limit:
        return
    entries = _every_run()
    uses = uses_of_runs()
    candidates = [
        entry
        for entry in entries
        if entry.snapshot["is_final"]
        and entry.folder.run_id not in {*uses, *spared}
        and not entry.was_active_since(now - _RECENT_S)
    ]
    removed = Pruning(_oldest_over(entries, candidates, limit), uses=uses).carry_out()
    left = _total(entries) - removed.size_bytes
    words = f"the runs of this home are kept under {format_bytes(limit)} ({source}): "
    if removed.runs:
        words += (
            f"{plural(removed.runs, 'old run')} removed, {format_bytes(removed.size_bytes)} freed"
        )
    else:
        words += "no run could be removed"
    if left > limit:
        words += (
            f". The runs still use {format_bytes(left)}, since active runs, and those of the last "
            "hour, are not removed; this run starts all the same"
        )
    warnings.warn("; ".join([words, *removed.problems]), stacklevel=4)
