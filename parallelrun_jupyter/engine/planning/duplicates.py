"""Finds the items of a plan that have the content of earlier ones, before they are assigned."""

from __future__ import annotations

import os
import stat
import time
from array import array
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from itertools import groupby
from operator import itemgetter
from pathlib import Path
from typing import NamedTuple

from ...data.local.file_digests import UNKNOWN, digest_of_file
from ...runs.run_folder import RunFolder
from ...worker.item_ranges import merged
from ...worker.plan_line import PlanLine
from ..child_process import Message
from .earlier_items import statuses_of
from .plan_file import PlanFile, Report
from .update import has_local_files

_THREADS = 4
_SLOW_S = 0.0005
_REPORT_S = 0.5
_STEP_S = 0.25
_MOST_LINES = 256


class Pair(NamedTuple):
    """An item, and the first item with the same content: mini-batch and position of each."""

    mini_batch: int
    position: int
    first_mini_batch: int
    first_position: int


class Duplicates:
    """Compares the local files of a plan by size and SHA-256.

    The process that writes the plan calls it. Only files that share their size with another one are
    read. The pairs are in a file beside the plan, 32 bytes each; the driver learns which items to
    withhold before it learns of their mini-batches.

    Parameters
    ----------
    folder
        The run.
    is_resume
        Whether an earlier driver has written a part of the plan.
    resume_limit_s
        Seconds after which a resume compares no more files, since it starts after that: the others
        run.
    """

    def __init__(self, folder: RunFolder, *, is_resume: bool, resume_limit_s: float) -> None:
        self._file = _pairs_file(folder)
        self._is_resume = is_resume
        self._limit_s = resume_limit_s
        self._plan = PlanFile(folder.plan)
        #: path and place of the only file of each size, or None if there are several
        self._only: dict[int, tuple[str, Place] | None] = {}
        #: place of the first file with a digest
        self._firsts: dict[bytes, Place] = {}
        #: mini-batches that were handled
        self._done = 0
        self._lines_at_once = 1
        #: whether files are so large, or their disk is so slow, that threads are worth their time
        self._in_threads = False
        self._is_over = False

    def reporting(self, send: Callable[[Message], None], report: Report) -> Report:
        """Return the function to call when the plan has grown.

        Parameters
        ----------
        send
            Receives messages ``["withheld", [[mini_batch, of, ranges], ...]]``.
        report
            Called after that, for the mini-batches so far.
        """
        self._send, self._report = send, report
        self._pairs = open(self._file, "wb", buffering=0)  # noqa: SIM115 - closed at the end
        self._threads = ThreadPoolExecutor(_THREADS)  # reading and hashing release the GIL
        self._started_at = self._reported_at = time.monotonic()

        def report_all(mini_batches: int, items: int, is_end: bool) -> None:  # noqa: FBT001 - as `Report`
            self._search_until(mini_batches)
            if is_end:
                self._threads.shutdown()
                self._pairs.close()
                self._plan.close()
            report(mini_batches, items, is_end)
            self._reported_at = time.monotonic()
            self._is_resume = False  # the rest is new

        return report_all

    def _search_until(self, mini_batches: int) -> None:
        """Compare the files of the mini-batches that were added to the plan."""
        while self._done < mini_batches and not self._is_over:
            started_at = time.monotonic()
            count = min(self._lines_at_once, mini_batches - self._done)
            lines = list(map(PlanLine.decode, self._plan.lines(self._done, count)))
            self._search(lines)
            self._done += count
            now = time.monotonic()
            if now < started_at + _STEP_S:
                self._lines_at_once = min(2 * self._lines_at_once, _MOST_LINES)
            else:
                self._lines_at_once = max(1, self._lines_at_once // 2)
            if self._is_resume:
                self._check_limit(mini_batches)
            elif now > self._reported_at + _REPORT_S and self._done < mini_batches:
                self._report(self._done, lines[-1].next_first, False)  # noqa: FBT003 - is_end
                self._reported_at = now

    def _check_limit(self, mini_batches: int) -> None:
        """Stop the comparison if a resume has waited for it too long."""
        if time.monotonic() > self._started_at + self._limit_s and self._done < mini_batches:
            self._is_over = True
            text = (
                f"run_duplicates_once: {self._done:,} of {mini_batches:,} mini-batches were compared "
                f"within {self._limit_s:g} s of the resume; duplicates in the others run"
            )
            self._send(["warned", text])

    def _search(self, lines: list[PlanLine]) -> None:
        """Find the duplicates in the next mini-batches."""
        to_read = list(self._files_to_read(lines))
        digests = self._digests([path for path, _ in to_read])
        pairs = []
        for (_, place), digest in zip(to_read, digests, strict=True):
            if digest == UNKNOWN:
                continue  # it fails by itself
            first = self._firsts.setdefault(digest, place)
            if first != place:
                pairs.append((*place, *first))
        if not pairs:
            return
        self._pairs.write(array("q", [number for pair in pairs for number in pair]).tobytes())
        withheld = [
            [k, lines[k - self._done].item_count, merged((pair[1], 1) for pair in group)]
            for k, group in groupby(pairs, key=itemgetter(0))
        ]
        self._send(["withheld", withheld])

    def _digests(self, paths: list[str]) -> list[bytes]:
        started_at = time.monotonic()
        map_ = self._threads.map if self._in_threads else map
        digests = list(map_(digest_of_file, paths))
        seconds = (time.monotonic() - started_at) * (_THREADS if self._in_threads else 1)
        self._in_threads = seconds > _SLOW_S * len(paths)
        return digests

    def _files_to_read(self, lines: list[PlanLine]) -> Iterator[tuple[str, Place]]:
        """Yield the files that share their size with another one, the first of a size first."""
        for mini_batch, line in enumerate(lines, self._done):
            if not has_local_files(line):
                continue
            for position, status in enumerate(statuses_of(line.paths)):
                if not isinstance(status, os.stat_result) or not stat.S_ISREG(status.st_mode):
                    continue  # it cannot be read, or only once
                file = line.paths[position], (mini_batch, position)
                if status.st_size not in self._only:
                    self._only[status.st_size] = file
                    continue
                only = self._only[status.st_size]
                if only is not None:
                    self._only[status.st_size] = None
                    yield only
                yield file


Place = tuple[int, int]
"""Mini-batch, and position of an item in it."""


def pairs_of(folder: RunFolder) -> Iterator[Pair]:
    """Yield the duplicates of a run, in the order of its plan."""
    pairs = array("q")
    try:
        pairs.frombytes(_pairs_file(folder).read_bytes())
    except FileNotFoundError:
        return
    numbers = iter(pairs)
    yield from map(Pair._make, zip(numbers, numbers, numbers, numbers, strict=True))


def _pairs_file(folder: RunFolder) -> Path:
    return folder.plan.with_name("duplicates")
