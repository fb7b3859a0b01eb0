"""The script of a test: the pace and the faults of the cluster, and the fates of requests."""

from __future__ import annotations

import re
import threading
from collections import Counter
from dataclasses import asdict, dataclass, field, fields
from typing import Any

STATES = ("NotStarted", "Queued", "Preparing", "Starting", "Finalizing")


@dataclass
class Script:
    """The pace and the faults of jobs, which may change while they run.

    Parameters
    ----------
    delays
        Seconds in the states NotStarted, Queued, Preparing, Starting and Finalizing.
    tick_s
        Seconds between two updates of the log files.
    sas_seconds
        How long the addresses of log files are valid; a negative number makes expired ones.
    overview_stops_after
        The overview file gets no more lines after this number of mini-batches.
    overview_every_s
        Seconds between two lines of progress.
    overview_rotates_after
        A new overview file begins after this number of mini-batches, as it does at midnight or when
        another node takes over.
    table_at_end
        ``processed_mini-batches.csv`` appears at the end only.
    unknown_lines
        The overview also has lines in other words, and the table one more column.
    no_logs
        Log files whose paths match this expression never appear.
    skew_hours
        The clock of the cluster is ahead by this: stamps in logs and times of runs.
    vanished
        Jobs that the service does not know any more.
    """

    delays: dict[str, float] = field(default_factory=lambda: dict.fromkeys(STATES, 0.05))
    tick_s: float = 0.1
    sas_seconds: float = 3600
    overview_stops_after: int | None = None
    overview_every_s: float = 0.5
    overview_rotates_after: int | None = None
    table_at_end: bool = False
    unknown_lines: bool = False
    no_logs: str = ""
    skew_hours: float = 0
    vanished: tuple[str, ...] = ()

    @classmethod
    def of(cls, value: dict[str, Any] | None) -> Script:
        """Return the script of a value that `as_value` gave; None is the default."""
        names = {one.name for one in fields(cls)}
        return cls(**{name: given for name, given in (value or {}).items() if name in names})

    def as_value(self) -> dict[str, Any]:
        """Return its fields."""
        return asdict(self)


@dataclass
class Fault:
    """The fate of some requests.

    Parameters
    ----------
    match
        A regular expression, searched in ``METHOD path?query``.
    status
        The status of the answer; 0 passes the request on (for ``wait_s``).
    headers
        More headers of the answer, such as ``{"Retry-After": "1"}``.
    cut
        ``before``: the connection is cut without an answer; ``within``: after half of it.
    wait_s
        Seconds before anything else happens.
    skip, times
        The first ``skip`` matching requests pass, the next ``times`` have this fate. None: all.
    """

    match: str
    status: int = 0
    headers: dict[str, str] = field(default_factory=dict)
    cut: str = ""
    wait_s: float = 0
    skip: int = 0
    times: int | None = None


class Faults:
    """The faults of a service, and how often each was asked for."""

    def __init__(self, faults: list[Fault]) -> None:
        self._lock = threading.Lock()
        self.set(faults)

    def set(self, faults: list[Fault]) -> None:
        """Replace all faults; the counts begin at 0."""
        with self._lock:
            self._faults = faults
            self._asked: Counter[int] = Counter()

    def of(self, request: str) -> Fault | None:
        """Return the fault of a request, or None."""
        with self._lock:
            for number, fault in enumerate(self._faults):
                if not re.search(fault.match, request):
                    continue
                self._asked[number] += 1
                past = self._asked[number] - fault.skip
                if past > 0 and (fault.times is None or past <= fault.times):
                    return fault
        return None
