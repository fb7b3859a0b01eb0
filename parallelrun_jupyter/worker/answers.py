"""The answers of single items: which items of a mini-batch succeeded, with their rows, and which failed."""

from __future__ import annotations

from .error_types import asked_delay_s
from .failures import BadResult, ItemFailed, cut, describe, kind_of, message_of, visible
from .item_ranges import merged
from .output.formats import TEXT, with_one_form
from .output.results import counted, holds_errors
from .output.values import is_array

TYPE_CHECKING = False
if TYPE_CHECKING:  # typing is not worth its import in a worker
    from typing import Any, Container, Iterator

    from .context import Failed
    from .plan_line import PlanLine

MESSAGE_CHARS = 300
"""Characters of the message of a failed item."""


class Answers:
    """The items of an attempt, by their positions in the whole mini-batch.

    Attributes
    ----------
    pieces
        ``(first, items, elements)`` of each range of consecutive items that succeeded: a part of the
        result.
    failed
        ``(position, error, place)`` of each item that failed, in order.
    elements
        The elements of the items that succeeded, as ``run()`` returned them; None if the number of
        elements is not that of the items.
    """

    def __init__(self, pieces: list[Any], failed: list[Any], elements: Any = None) -> None:
        self.pieces = pieces
        self.failed = failed
        self.elements = elements


def answers_of(result: Any, line: PlanLine, failed: Failed | None, form: str = TEXT) -> Answers:
    """Divide the result of ``run()`` among the items.

    Parameters
    ----------
    result
        The value that ``run()`` returned.
    line
        The attempt.
    failed
        The items that the script failed by its context. None: elements that are exceptions are
        values as others.
    form
        The output format.

    Raises
    ------
    BadResult
        The result is not one, or some of its elements may belong to several items.
    """
    result = counted(result)
    rows, items = len(result), line.item_count
    ranges = line.ranges_of_items
    errors = {} if failed is None else _errors_in(result)
    bad = dict(failed or {})
    # Elements of items that failed may be there or not.
    owners = [item for item in range(items) if item not in bad]
    if rows == items or len(owners) != rows:
        owners = list(range(items))
    if rows != len(owners):
        if bad or errors:
            raise BadResult("wrong_result", _unclear(rows, items, len(errors), len(bad)))
        if len(ranges) > 1:
            raise BadResult("wrong_result", _unclear_ranges(rows, items, len(ranges)))
        return Answers([(ranges[0][0], items, result)], [])
    for element, error in errors.items():
        bad.setdefault(owners[element], (error, ""))
    if getattr(result, "is_whole", False):
        spans = list(_spans(ranges, sorted(bad)))
        parts = result.divided([count for _, count in spans])
        return Answers([(*span, part) for span, part in zip(spans, parts)], _failed(ranges, bad))
    kept = [element for element, item in enumerate(owners) if item not in bad]
    elements = _chosen(result, kept)
    others = with_one_form(elements, form) if kept else []
    pieces, start = [], 0
    for position, count in _spans(ranges, sorted(bad)):
        pieces.append((position, count, _part(others, start, count)))
        start += count
    return Answers(pieces, _failed(ranges, bad), elements)


def _failed(ranges: list[list[int]], bad: Failed) -> list[Any]:
    """Return (position, error, place) of the failed items, by their positions in the whole mini-batch."""
    positions = [first + k for first, count in ranges for k in range(count)]
    return [(positions[item], *bad[item]) for item in sorted(bad)]


def pieces_of_dicts(parts: list[Answers], form: str) -> list[Any]:
    """Return the pieces of all parts as pieces of one table, if they are of dicts with other keys.

    The parts of such a result are tables with different columns, but the whole of it is one table.

    Parameters
    ----------
    parts
        The answers of parts of a mini-batch.
    form
        The output format.

    Returns
    -------
    list
        ``(first, items, elements)`` as in `Answers`; empty if the parts have the same columns, or are
        not of dicts.
    """
    dicts: dict[int, Any] = {}
    for answers in parts:
        if not isinstance(answers.elements, list):
            return []
        rest = iter(answers.elements)
        for first, items, _ in answers.pieces:
            dicts.update((position, next(rest)) for position in range(first, first + items))
    if not all(isinstance(value, dict) for value in dicts.values()):
        return []
    if len(set(map(tuple, dicts.values()))) < 2:
        return []
    spans = merged((position, 1) for position in dicts)
    whole = with_one_form([dicts[position] for position in sorted(dicts)], form)
    pieces, start = [], 0
    for first, items in spans:
        pieces.append((first, items, _part(whole, start, items)))
        start += items
    return pieces


def _chosen(result: Any, kept: list[int]) -> Any:
    """Return some elements of a result, as the same type if it is a common one."""
    if len(kept) == len(result):
        is_sliced = isinstance(result, (list, tuple)) or is_array(type(result))
        return result if is_sliced else list(result)  # such as a deque
    if hasattr(result, "iloc"):  # a DataFrame or a Series
        return result.iloc[kept]
    if type(result).__name__ == "ndarray":
        return result[kept]
    if hasattr(result, "to_pylist"):  # an Arrow table
        return result.take(kept)
    elements = list(result)
    return [elements[k] for k in kept]


def _errors_in(result: Any) -> dict[int, BaseException]:
    if not holds_errors(result):
        return {}
    errors = {}
    for position, value in enumerate(result):
        error = value
        if isinstance(value, type) and issubclass(value, BaseException):
            error = _instance(value)
        if isinstance(error, BaseException):
            errors[position] = error
    return errors


def _instance(kind: type[BaseException]) -> BaseException:
    """Return an exception of a class, as ``raise`` makes it from a class."""
    try:
        return kind()
    except Exception:  # the user's own class needs arguments
        return ItemFailed("run() returned the class %s as an element" % kind.__name__)


def _spans(ranges: list[list[int]], bad: list[int]) -> Iterator[tuple[int, int]]:
    """Yield the position and the count of consecutive items that are not in ``bad``."""
    begin = at = 0
    for first, count in ranges:
        offset, end = first - begin, begin + count
        while begin < end:
            stop = bad[at] if at < len(bad) and bad[at] < end else end
            if stop > begin:
                yield begin + offset, stop - begin
            begin = min(stop + 1, end)
            at += stop < end
        begin = end


def _part(result: Any, start: int, count: int) -> Any:
    """Return consecutive elements of a result."""
    rows = getattr(result, "iloc", result)  # of a DataFrame or a Series
    return result if count == len(result) else rows[start : start + count]


def _unclear(rows: int, items: int, errors: int, bad: int) -> str:
    if not bad:
        return (
            "run() returned %d elements for %d items, and %d of them exceptions: it is unclear "
            "which items fail. Return one element for each item, or call context.fail(index, error)"
            % (rows, items, errors)
        )
    return (
        "run() returned %d elements for %d items, of which context.fail() failed %d: it is unclear "
        "to which item each belongs. Return %d elements (one for each item), or %d (for the items "
        "that did not fail)" % (rows, items, bad, items, items - bad)
    )


def _unclear_ranges(rows: int, items: int, ranges: int) -> str:
    return (
        "run() returned %d elements for %d items, which are in %d places of their mini-batch: it is "
        "unclear to which item each element belongs. Return one element for each item"
        % (rows, items, ranges)
    )


class FailedItems:
    """Describes the failed items of an attempt, grouped by their failures.

    Parameters
    ----------
    roots
        Folders of the user's code.
    place
        The place of an exception that was never raised.
    """

    def __init__(self, roots: list[str], place: str) -> None:
        self._roots = roots
        self._place = place
        self._groups: dict[Any, list[Any]] = {}
        self._described: dict[Any, list[Any]] = {}

    def grouped(self, failed: list[Any]) -> list[list[Any]]:
        """Return ``[ranges, messages, failure]`` of each group, as in the message "answered".

        Parameters
        ----------
        failed
            ``(position, error, place)`` of each item, in order.
        """
        for position, error, place in failed:
            group, message, delay_s = self._group(error, place or self._place)
            ranges, messages, failure = group
            if delay_s is not None:  # the longest delay that an item of the group asks for
                failure["retry_after_s"] = max(delay_s, failure.get("retry_after_s", 0.0))
            is_next = ranges and sum(ranges[-1]) == position
            if is_next and messages[-1] == message:
                ranges[-1][1] += 1
            else:
                ranges.append([position, 1])
                messages.append(message)
        return list(self._groups.values())

    def _group(self, error: BaseException, place: str) -> tuple[list[Any], str, float | None]:
        """Return the group of an item, its message, and the delay that it asks for.

        The first exception of a type and a line is described with its traceback; for more of them,
        which may be thousands, only the messages are needed.
        """
        likeness = _likeness(error, place)
        if likeness in self._described:
            return self._described[likeness], short_message(message_of(error)), asked_delay_s(error)
        failure = describe(error, self._roots, "run", place)
        key = (failure["group"], failure["kind"])
        group = self._groups.setdefault(key, [[], [], failure])
        if likeness is not None:
            self._described[likeness] = group
        return group, short_message(failure["message"]), failure.get("retry_after_s")


def _likeness(error: BaseException, place: str) -> Any:
    """Return a value that is equal for exceptions of one group; None for some that must be examined."""
    if error.__cause__ is not None or error.__context__ is not None:
        return None
    if "Group" in type(error).__name__ or isinstance(error, (SystemExit, SyntaxError)):
        return None
    lines = []
    position = error.__traceback__
    while position is not None:
        lines.append((position.tb_frame.f_code, position.tb_lineno))
        position = position.tb_next
    return type(error), kind_of(error), place if not lines else "", tuple(lines)


def failed_text(groups: list[list[Any]], items: int, logged: Container[str] = ()) -> str:
    """Return the lines for the log: for each group a sentence, and the traceback of its first item.

    Groups in ``logged`` have their tracebacks in the log already.
    """
    texts = []
    for ranges, _, failure in groups:
        count = sum(number for _, number in ranges)
        first = "item %d of the mini-batch" % ranges[0][0]
        texts.append(
            "%d of %d items failed with %s, the first is %s"
            % (count, items, failure["group"], first)
        )
        if failure["group"] not in logged:
            texts.append(failure["traceback"] or failure["message"])
    return "\n".join(text.rstrip("\n") for text in texts)


def short_message(message: str) -> str:
    """Return the message of a failed item, cut to `MESSAGE_CHARS`."""
    return visible(message if len(message) <= MESSAGE_CHARS else cut(message, MESSAGE_CHARS - 50))
