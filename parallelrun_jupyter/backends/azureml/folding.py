"""Folding: which file of results answers which attempt of the scheduler. No input or output."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field

from ...worker.plan_line import PlanLine
from .result_reader import Result, mini_batch_of


@dataclass(frozen=True, slots=True)
class Assigned:
    """An attempt that waits for its answer, with the plan line that it runs."""

    mini_batch: int
    attempt: int
    line: bytes

    def is_answered_by(self, result: Result) -> bool:
        """Return whether a result is one of the items that this attempt runs.

        Azure may run a mini-batch again whose results are there already, when it has lost a node.
        """
        line = PlanLine.decode(self.line)
        if result.kind == "answered":
            return [list(pair) for pair in result.ranges] == line.ranges_of_items
        return result.items == line.item_count and (
            result.kind == "failed" or "items" not in line.extra
        )


@dataclass(slots=True)
class _Files:
    """The files of one mini-batch: listed, and read but not used yet."""

    unread: set[str] = field(default_factory=set)
    read: list[Result] = field(default_factory=list)
    #: results that answered attempts of earlier drivers
    skipped: int = 0


class Folding:
    """Matches the assigned attempts with the results of one job.

    Results of a mini-batch answer its attempts in order. Those that no attempt waits for are not read:
    Azure retries a failed mini-batch by itself, maybe before the scheduler asks for it, so a result
    may be there before its attempt is assigned.

    Parameters
    ----------
    first_attempts
        The first attempt of each mini-batch of the job. Attempts between it and the first one that is
        assigned are answered in the journal.
    """

    def __init__(self, first_attempts: Mapping[int, int]) -> None:
        self._first_attempts = first_attempts
        self.assigned: dict[int, Assigned] = {}
        self._files: dict[int, _Files] = {}
        self._seen: set[str] = set()
        #: number of answers, by mini-batch, also those without a file
        self.answers: dict[int, int] = {}

    @property
    def mini_batches(self) -> Iterable[int]:
        """The mini-batches that the job was sent."""
        return self._first_attempts

    def knows(self, mini_batch: int) -> bool:
        """Return whether the job was sent this mini-batch."""
        return mini_batch in self._first_attempts

    def assign(self, assigned: Assigned) -> None:
        """Wait for the answer of an attempt."""
        mini_batch = assigned.mini_batch
        if mini_batch not in self.answers:
            first = self._first_attempts.get(mini_batch, assigned.attempt)
            earlier = max(0, assigned.attempt - first)
            self.answers[mini_batch] = earlier
            self._files_of(mini_batch).skipped = earlier
        self.assigned[mini_batch] = assigned

    def list_files(self, paths: Iterable[str]) -> None:
        """Note the files that are there."""
        for path in paths:
            if path not in self._seen:
                mini_batch = mini_batch_of(path)
                if mini_batch >= 0:
                    self._seen.add(path)
                    self._files_of(mini_batch).unread.add(path)

    def _files_of(self, mini_batch: int) -> _Files:
        return self._files.setdefault(mini_batch, _Files())

    def wanted(self) -> list[str]:
        """Return the files to read: the unread ones of mini-batches that wait for an answer."""
        return [
            path
            for mini_batch in self.assigned
            if mini_batch in self._files
            for path in self._files[mini_batch].unread
        ]

    def add(self, result: Result) -> None:
        """Note the content of a file."""
        files = self._files_of(result.mini_batch)
        files.unread.discard(result.path)
        files.read.append(result)

    def drop(self, path: str) -> None:
        """Forget a file that stays incomplete although its job has ended."""
        self._files_of(mini_batch_of(path)).unread.discard(path)

    def answer(self, mini_batch: int) -> tuple[Assigned, Result] | None:
        """Return the answer to a waiting attempt, once all listed files of the mini-batch are read."""
        assigned, files = self.assigned.get(mini_batch), self._files.get(mini_batch)
        if assigned is None or files is None or files.unread:
            return None
        files.read.sort(key=lambda result: result.order)
        while files.read:
            result = files.read.pop(0)
            if files.skipped:
                files.skipped -= 1
            elif assigned.is_answered_by(result):
                self.end(mini_batch)
                return assigned, result
        return None

    def answered(self) -> list[tuple[Assigned, Result]]:
        """Return all answers that are there; their attempts wait no more."""
        found = (self.answer(k) for k in list(self.assigned) if k in self._files)
        return [pair for pair in found if pair is not None]

    def is_whole(self, mini_batch: int) -> bool:
        """Return whether a waiting attempt runs the whole mini-batch, as the job does in each try."""
        return b'"items"' not in self.assigned[mini_batch].line

    def end(self, mini_batch: int) -> Assigned:
        """End a waiting attempt."""
        self.answers[mini_batch] += 1
        return self.assigned.pop(mini_batch)
