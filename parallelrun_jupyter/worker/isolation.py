"""Isolation: a worker runs items that have failed together in parts, to find those that fail alone."""

from __future__ import annotations

from . import suspects
from .answers import short_message
from .bisection import ALIKE, Bisection
from .context import load
from .failures import BadInput, TypesDiffer
from .item_ranges import count_of, items_in
from .output.values import may_hold_arrays
from .tables.reader import parts_of

TYPE_CHECKING = False
if TYPE_CHECKING:  # typing is not worth its import in a worker
    from typing import Any, Callable

    from .item_ranges import Ranges
    from .plan_line import PlanLine
    from .tables.selection import TableParts


class LoadedTable:
    """The rows of an attempt, loaded once for all parts of it.

    If some of them cannot be read, each part parses its own rows.

    Raises
    ------
    BadInput
        No rows can be read.
    """

    def __init__(self, line: PlanLine) -> None:
        self._parts: TableParts | None = None
        try:
            self._frame = load(line)
        except TypesDiffer:
            raise
        except BadInput:
            self._parts = parts_of(line)
            return
        positions = items_in(line.ranges_of_items)
        self._numbers = {position: number for number, position in enumerate(positions)}
        #: the columns with cells that the script may change in place
        self._nested = [
            number
            for number, dtype in enumerate(self._frame.dtypes)
            if str(dtype) == "object"
            and any(map(may_hold_arrays, set(map(type, self._frame.iloc[:, number]))))
        ]

    def only(self, line: PlanLine) -> Any:
        """Return the rows of a part, in a DataFrame of its own."""
        if self._parts is not None:
            return load(line, self._parts)
        numbers = [self._numbers[position] for position in items_in(line.ranges_of_items)]
        frame = self._frame.iloc[numbers].reset_index(drop=True)
        if not self._nested:
            return frame
        from .output.column_notes import with_columns  # needed only for such columns

        cells = {number: list(map(_copy, frame.iloc[:, number])) for number in self._nested}
        return with_columns(frame, cells)


def _copy(cell: Any) -> Any:
    """Return a copy of a value of a table, unless the script cannot change it."""
    import copy  # pandas has imported it

    flags = getattr(cell, "flags", None)  # of an array
    is_fixed = flags is not None and not flags.writeable and str(cell.dtype) != "object"
    return cell if is_fixed else copy.deepcopy(cell)


class Parts:
    """The answers of the parts of an attempt.

    Parameters
    ----------
    line
        The attempt.
    answer
        Runs a part; returns its number of rows, their bytes, and its answers as in the message
        "answered".
    describe
        Returns the failure object of an exception of a part; ``is_alone`` tells that a single item
        raised it.
    """

    def __init__(
        self, line: PlanLine, answer: Callable[[PlanLine], Any], describe: Callable[..., Any]
    ) -> None:
        self._line = line
        self._answer = answer
        self._describe = describe
        self._texts: list[bytes] = []
        self._groups: dict[tuple[str, str], tuple[list[Any], dict[str, Any]]] = {}
        self.rows = 0
        #: the results of ranges of items, as in the message "answered"
        self.results: list[list[int]] = []
        self.last_failure: dict[str, Any] = {}

    def run(self, ranges: Ranges) -> tuple[str, int]:
        """Run a part; return its failure group, or an empty text, and the item that probably failed."""
        part = self._line.only(ranges)
        try:
            rows, text, (results, groups) = self._answer(part)
        except TypesDiffer:
            raise  # no item has failed: the mini-batch runs again, with other types
        except BaseException as error:  # the user's code
            is_alone = count_of(ranges) == 1
            failure = self.last_failure = self._describe(error, part, is_alone=is_alone)
            if is_alone:
                self._add_failed(ranges[0], short_message(failure["message"]), failure)
                self.rows += 1
            return str(failure["group"]), int(failure.get("suspect", suspects.NONE))
        self.rows += rows
        self.results += results
        self._texts.append(text)
        for failed, messages, failure in groups:
            for pair, message in zip(failed, messages):
                self._add_failed(pair, message, failure)
        return "", suspects.NONE

    def _add_failed(self, pair: Any, message: str, failure: dict[str, Any]) -> None:
        pairs, _ = self._groups.setdefault((failure["group"], failure["kind"]), ([], failure))
        pairs.append((pair[0], pair[1], message))

    @property
    def text(self) -> bytes:
        """The bytes of the rows, in the order of the results."""
        return b"".join(self._texts)

    @property
    def failures(self) -> list[list[Any]]:
        """The failures of items, as in the message "answered"."""
        return [_joined(pairs, failure) for pairs, failure in self._groups.values()]


def _joined(pairs: list[tuple[int, int, str]], failure: dict[str, Any]) -> list[Any]:
    """Return ``[ranges, messages, failure]``; adjacent items with the same message share a range."""
    ranges: list[list[int]] = []
    messages: list[str] = []
    for first, count, message in sorted(pairs):
        if ranges and sum(ranges[-1]) == first and messages[-1] == message:
            ranges[-1][1] += count
        else:
            ranges.append([first, count])
            messages.append(message)
    return [ranges, messages, failure]


def isolate(
    ranges: Ranges, run: Callable[[Ranges], tuple[str, int]], suspect: int = suspects.NONE
) -> int:
    """Run items in ever smaller parts, until those that fail are alone.

    Parameters
    ----------
    ranges
        The items, which have failed together.
    run
        Runs a part; returns its failure group and a suspect, or an empty text if it has succeeded.
    suspect
        The item that probably made them fail; -1 for none.

    Returns
    -------
    int
        0 if every item was run. Otherwise the fault hits all items: so many failed alone, all at the
        same line, that the others were not run.
    """
    search = Bisection(ranges, suspect)
    groups: set[str] = set()
    alike = 0
    has_succeeded = False
    while search:
        is_alike = len(groups) == 1 and not has_succeeded
        group, suspect = run(search.next(probes=is_alike))
        if not group:
            has_succeeded = True
            search.succeeded()
        elif search.failed(suspect):
            groups.add(group)
            alike += 1
            if alike >= ALIKE and len(groups) == 1 and not has_succeeded:
                return alike
    return 0
