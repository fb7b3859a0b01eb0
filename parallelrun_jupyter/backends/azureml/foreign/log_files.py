"""The log files that are followed: the parts to read, and their values. No input or output."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import NamedTuple

from .log_shapes import Overview, OverviewLine, Table, TableRow
from .tracebacks import Trace, tracebacks_in

_OVERVIEW = re.compile(r"(?:.*/)?job_progress_overview[^/]*\.txt")
_TABLE = re.compile(r"(?:.*/)?processed_mini-?batches[^/]*\.csv", re.IGNORECASE)
_USER_ERRORS = re.compile(r"(?:.*/)?logs/user/error/(?P<process>.+)\.txt")
_JOB_ERRORS = re.compile(r"(?:.*/)?job_error[^/]*\.txt")
_OF_A_PROCESS = re.compile(
    r"(?:.*/)?logs/(?:user/(?:stdout|stderr|entry_script_log)|sys/node)/"
    r"(?P<node>[^/]+)/(?P<process>[^/]+?)(?:\.stdout|\.stderr|\.log)?\.txt"
)
_NO_PROCESS = ("_main", "master", "agent", "overview")
"""Files beside those of processes in the folder of a node begin so."""

_OVERLAP = 64
"""So many bytes are read again: a file that differs there was replaced."""

_MOST_ERROR_BYTES = 1 << 20


class Process(NamedTuple):
    """A process of a job: it is a worker of the run."""

    node: str
    name: str

    @property
    def worker(self) -> str:
        """Its name in the run, which is also that of a file."""
        joined = f"{self.node}-{self.name}" if self.node else self.name
        return re.sub(r"[^\w.-]", "_", joined)


def process_of(text: str) -> Process:
    """Return the process that a text names, such as ``10.0.0.4/process000``."""
    node, _, name = text.strip().strip("/").replace("\\", "/").rpartition("/")
    return Process(node.rpartition("/")[2], name)


@dataclass(frozen=True, slots=True)
class News:
    """The news of the log files since the last time.

    Parameters
    ----------
    traces
        The tracebacks so far, by process; an empty name for those of the job.
    has_overview, has_table
        Whether such a file exists.
    is_overview_new
        Whether an overview file has grown.
    """

    lines: tuple[OverviewLine, ...] = ()
    rows: tuple[TableRow, ...] = ()
    traces: Mapping[Process, tuple[Trace, ...]] = field(default_factory=dict)
    processes: frozenset[Process] = frozenset()
    has_overview: bool = False
    has_table: bool = False
    is_overview_new: bool = False


class _File:
    """One file, read piece by piece."""

    def __init__(self) -> None:
        self.tail = b""
        self.length = 0

    @property
    def offset(self) -> int:
        """Where to read from."""
        return self.length - len(self.tail)

    def new_in(self, data: bytes) -> bytes | None:
        """Return the new bytes among those from `offset` on; None if the file was replaced."""
        if not data.startswith(self.tail):
            return None
        new = data[len(self.tail) :]
        self.length += len(new)
        self.tail = (self.tail + new)[-_OVERLAP:]
        return new


class LogFiles:
    """The log files of a job that tell its progress."""

    def __init__(self) -> None:
        self._files: dict[str, _File] = {}
        self._overviews: dict[str, Overview] = {}
        self._tables: dict[str, Table] = {}
        self._errors: dict[str, bytes] = {}
        self._lines: list[OverviewLine] = []
        self._rows: list[TableRow] = []
        self._paths: frozenset[str] = frozenset()
        self._is_overview_new = False

    def list(self, paths: Iterable[str]) -> list[str]:
        """Note the files that are there; return those to read: the table before the errors of its rows."""
        self._paths = frozenset(paths)
        kinds = (_OVERVIEW, _TABLE, _USER_ERRORS, _JOB_ERRORS)
        found = [[p for p in sorted(self._paths) if kind.fullmatch(p)] for kind in kinds]
        return [path for group in found for path in group if not self._is_full(path)]

    def _is_full(self, path: str) -> bool:
        return len(self._errors.get(path, b"")) >= _MOST_ERROR_BYTES

    def offset_of(self, path: str) -> int:
        """Return where to read a file from."""
        return self._files[path].offset if path in self._files else 0

    def read_again(self) -> None:
        """Read the tables from their starts: rows may have changed in place."""
        for path in list(self._tables):
            self._forget(path)

    def _forget(self, path: str) -> None:
        for known in (self._files, self._overviews, self._tables, self._errors):
            known.pop(path, None)

    def add(self, path: str, data: bytes, *, is_last: bool = False) -> bool:
        """Note the bytes of a file from its offset on.

        Returns
        -------
        bool
            False if the file was replaced, and must be read again from its start.
        """
        new = self._files.setdefault(path, _File()).new_in(data)
        if new is None:
            self._forget(path)
            return False
        if _OVERVIEW.fullmatch(path):
            self._is_overview_new |= bool(new)
            overview = self._overviews.setdefault(path, Overview())
            self._lines += overview.feed(new, is_last=is_last)
        elif _TABLE.fullmatch(path):
            self._rows += self._tables.setdefault(path, Table()).feed(new, is_last=is_last)
        else:
            self._errors[path] = (self._errors.get(path, b"") + new)[:_MOST_ERROR_BYTES]
        return True

    def take(self, *, is_last: bool = False) -> News:
        """Return the news since the last call."""
        news = News(
            tuple(self._lines),
            tuple(self._rows),
            self._traces(is_last=is_last),
            frozenset(filter(None, map(_process_of_path, self._paths))),
            any(map(_OVERVIEW.fullmatch, self._paths)),
            bool(self._tables),
            self._is_overview_new,
        )
        self._lines, self._rows, self._is_overview_new = [], [], False
        return news

    def _traces(self, *, is_last: bool) -> dict[Process, tuple[Trace, ...]]:
        found: dict[Process, tuple[Trace, ...]] = {}
        for path in sorted(self._errors):
            user = _USER_ERRORS.fullmatch(path)
            process = process_of(user["process"]) if user else Process("", "")
            text = self._errors[path].decode("utf-8", "replace")
            traces = tuple(tracebacks_in(text, is_last=is_last))
            found[process] = found.get(process, ()) + traces
        return found


def _process_of_path(path: str) -> Process | None:
    match = _OF_A_PROCESS.fullmatch(path)
    if match is None or match["process"].startswith(_NO_PROCESS):
        return None
    return Process(match["node"], match["process"])


def logs_of_processes(paths: Iterable[str]) -> dict[str, Process]:
    """Return the files with the output of the user's script, and the process that each is of."""
    found = {}
    for path in sorted(paths):
        process = _process_of_path(path)
        if process is not None and "/sys/" not in path:
            found[path] = process
    return found
