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

    def sort(self) -> None:
        """Order the results that were read as they were made.

        Azure retries what has failed, in any worker, until one of them has not.
        """
        ended = {result.worker for result in self.read if result.kind != "failed"}
        self.read.sort(key=lambda one: (one.worker in ended, one.worker, one.number))


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
        #: the plan lines that the job was sent, as far as this driver knows them
        self._sent: dict[int, bytes] = {}
        #: number of answers, by mini-batch, also those without a file
        self.answers: dict[int, int] = {}
        #: waiting mini-batches with unread files: a job may have 100,000 mini-batches
        self._to_read: set[int] = set()
        #: mini-batches that may be answered
        self._to_answer: set[int] = set()

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
        if assigned.attempt == self._first_attempts.get(mini_batch):
            self._sent[mini_batch] = assigned.line
        self.assigned[mini_batch] = assigned
        self._note(mini_batch)

    def _note(self, mini_batch: int) -> None:
        """Note that the files or the attempt of a mini-batch have changed."""
        if mini_batch in self.assigned and mini_batch in self._files:
            has_unread = bool(self._files[mini_batch].unread)
            (self._to_read if has_unread else self._to_answer).add(mini_batch)

    def list_files(self, paths: Iterable[str]) -> None:
        """Note the files that are there."""
        for path in paths:
            if path not in self._seen:
                mini_batch = mini_batch_of(path)
                if mini_batch >= 0:
                    self._seen.add(path)
                    self._files_of(mini_batch).unread.add(path)
                    self._note(mini_batch)

    def _files_of(self, mini_batch: int) -> _Files:
        return self._files.setdefault(mini_batch, _Files())

    def wanted(self) -> list[str]:
        """Return the files to read: the unread ones of mini-batches that wait for an answer."""
        self._to_read = {k for k in self._to_read if k in self.assigned and self._files[k].unread}
        return [path for k in sorted(self._to_read) for path in self._files[k].unread]

    def add(self, result: Result) -> None:
        """Note the content of a file."""
        files = self._files_of(result.mini_batch)
        files.unread.discard(result.path)
        files.read.append(result)
        self._note(result.mini_batch)

    def drop(self, path: str) -> None:
        """Forget a file that stays incomplete although its job has ended."""
        mini_batch = mini_batch_of(path)
        self._files_of(mini_batch).unread.discard(path)
        self._note(mini_batch)

    def _answer(self, mini_batch: int) -> tuple[Assigned, Result] | None:
        """Return the answer to a waiting attempt, once all listed files of the mini-batch are read."""
        assigned, files = self.assigned.get(mini_batch), self._files.get(mini_batch)
        if assigned is None or files is None or files.unread:
            return None
        files.sort()
        while files.skipped and files.read:
            files.skipped -= 1
            del files.read[0]
        for position, result in enumerate(files.read):
            if assigned.is_answered_by(result):
                del files.read[position]
                self.end(mini_batch)
                return assigned, result
        return None

    def answered(self) -> list[tuple[Assigned, Result]]:
        """Return all answers that are there; their attempts wait no more."""
        ready, self._to_answer = self._to_answer, set()
        found = (self._answer(k) for k in sorted(ready))
        return [pair for pair in found if pair is not None]

    def is_sent(self, mini_batch: int) -> bool:
        """Return whether a waiting attempt runs the items that the job was sent, as it does in each try."""
        assigned = self.assigned[mini_batch]
        sent = self._sent.get(mini_batch)
        return b'"items"' not in assigned.line if sent is None else sent == assigned.line

    def end(self, mini_batch: int) -> Assigned:
        """End a waiting attempt."""
        self.answers[mini_batch] += 1
        return self.assigned.pop(mini_batch)
