"""Attempts: records how they end, and decides which items run again, and in which selections."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from dataclasses import replace
from enum import Enum

from ...runs.journal.events import (
    AttemptSucceeded,
    CallLimited,
    DuplicatesCopied,
    Event,
    ItemsFailed,
    ItemsSucceeded,
    WarningRaised,
)
from ...runs.journal.state import RunState
from ...worker.bisection import ALIKE
from ...worker.item_ranges import count_of, merged, pieces
from . import limits
from .actions import Assign
from .allocation import Allocation, Finished, Result, Span
from .divisions import Division, Selection
from .isolation import Isolation
from .limits import Limits
from .retries import is_too_large, isolates_in_worker, may_isolate, may_retry, survives
from .signals import AttemptErrored, Failure, ItemFailures, ItemsAnswered
from .tries import Tries
from .withheld import Withheld


class _Step(Enum):
    """What happens to the items of a failed attempt."""

    RETRY = "they run again together"
    HALVE = "they run again in halves, since they do not fit into memory"
    ISOLATE = "they run in ever smaller parts, until those that fail are alone"
    GIVE_UP = "they have failed for good"


class Attempts:
    """The attempts of a run.

    A mini-batch usually runs as a whole. It is divided when it has failed in its last try, when it
    does not fit into memory, and when some of its items are answered already.

    Parameters
    ----------
    run_limits
        The failures that the run tolerates.
    state
        The fold of the journal.
    allocation
        Receives the mini-batches to run again.
    items_of
        Returns the number of items in a planned mini-batch.
    record
        Records an event.
    """

    def __init__(
        self,
        run_limits: Limits,
        state: RunState,
        allocation: Allocation,
        items_of: Callable[[int], int],
        record: Callable[[Event], None],
    ) -> None:
        self._limits = run_limits
        self._state = state
        self._allocation = allocation
        self._items_of = items_of
        self._record = record
        self._divisions: dict[int, Division] = {}
        #: results of another run, for mini-batches that the plan does not have yet
        self._taken: list[Result] = []
        self._isolation = Isolation(state)
        self.withheld = Withheld(state, allocation)
        self._tries = Tries(run_limits, state)
        self._has_warned_of_extra_rows = False
        self._has_warned_of_final_error = False
        #: time of the signal that is handled, in milliseconds since the run's creation
        self.now = 0
        #: the time until which no call starts, since a server has refused one
        self.pause_until_ms = 0.0
        #: the latest time until which a retry waits
        self.due_ms = 0
        #: the first line of the script's run(), as reported by workers
        self.run_line = ""

    def __bool__(self) -> bool:
        """Return whether a mini-batch waits until it is known if a fault hits all items.

        The items that are withheld wait, too.
        """
        return bool(self._isolation) or bool(self.withheld)

    def resume(self, only: Iterable[int] | None) -> None:
        """Allow the usual number of tries after earlier drivers, of some mini-batches or of all."""
        self._tries.resume()
        self.withheld.resume(only)
        for mini_batch, answers in self._state.answers.items():
            if answers.succeeded and mini_batch in self._state.failed_in:
                self._isolation.items_succeeded(self._state.failed_in[mini_batch])

    def start_over(self) -> None:
        """Forget how mini-batches were divided, and allow the usual number of tries from now on."""
        self._divisions.clear()
        self._isolation = Isolation(self._state)
        self._tries.resume()

    # Rows that were made by other attempts

    def take(self, results: Iterable[Result]) -> None:
        """Take results of another run, until `record_taken`."""
        self._taken += results

    def record_taken(self) -> None:
        """Record the results that were taken, now that the plan has their mini-batches."""
        taken, self._taken = self._taken, []
        for event in taken:
            self._record(event._replace(at_ms=self.now))
        self.withheld.answered(taken)

    def copied(self, results: Iterable[Result], *, is_end: bool) -> None:
        """Record that withheld items have rows; at the end, let the others run."""
        items = 0
        for event in results:
            self._record(event._replace(at_ms=self.now))
            items += event.items
        if items:
            self._record(DuplicatesCopied(self.now, items))
        self.withheld.answered(results)
        if is_end:
            self.withheld.release()

    # Starts

    def assignments(self, node: str, span: Span) -> Iterator[Assign]:
        """Yield the assignments of allocated mini-batches: a divided one has its own."""
        first, size, attempt = span
        state = self._state
        if not (self._divisions or state.answers or state.items_per_call or self.withheld):
            yield Assign(node, first, size, attempt)
            return
        end = first + size
        for mini_batch in range(first, end):
            division = self._division_of(mini_batch)
            if division is None:
                continue
            if mini_batch > first:
                yield Assign(node, first, mini_batch - first, attempt)
            first = mini_batch + 1
            is_on_trial = self._isolation.is_on_trial(division.group)
            selection = division.start(node, is_on_trial=is_on_trial)
            how = selection.ranges, selection.isolates, selection.suspect
            yield Assign(node, mini_batch, 1, division.attempt, *how)
        if end > first:
            yield Assign(node, first, end - first, attempt)

    def _division_of(self, mini_batch: int) -> Division | None:
        """Return the division of a mini-batch; None if it runs as a whole."""
        if mini_batch in self._divisions:
            return self._divisions[mini_batch]
        limit = self._state.items_per_call if self._limits.divides else 0
        answers = self._state.answers.get(mini_batch)
        withheld = self.withheld.of(mini_batch)
        if answers is not None:
            of, left = answers.of, answers.left
        elif withheld is not None:
            of = withheld[0]
            left = ((0, of),)
        else:
            of = self._items_of(mini_batch) if limit else 0
            left = ((0, of),)
            if of <= limit:
                return None
        left = self.withheld.others_in(mini_batch, of, left)
        division = Division(of, self._state.tries.get(mini_batch, 0))
        division.waiting.extend(Selection(ranges) for ranges in pieces(left, limit))
        self._divisions[mini_batch] = division
        return division

    def give_back(self, mini_batches: Iterable[int]) -> None:
        """Run selections again whose attempts were not made."""
        for mini_batch in mini_batches if self._divisions else ():
            if mini_batch in self._divisions:
                self._divisions[mini_batch].give_back()

    def node_lost(self, node: str) -> None:
        """Forget the results that a lost or released node holds: its mini-batches run as a whole."""
        if not self._allocation.uploads_parts:
            return
        for mini_batch in [k for k, division in self._divisions.items() if division.node == node]:
            group = self._divisions.pop(mini_batch).group
            self._release(self._isolation.forget(mini_batch, group), group)

    # Ends

    def succeed(self, event: AttemptSucceeded) -> None:
        """Record the success of a whole mini-batch, now or when its rows are stored."""
        if event.rows > event.items:
            self._warn_of_extra_rows(event)
        short = (self._short(event),) if event.items_succeeded < event.items else ()
        if self._allocation.uploads_parts:
            self._allocation.hold(Finished(event.mini_batch, (event,), short))
            return
        self._record(event)
        for failed in short:
            self._record(failed)

    def answer(self, signal: ItemsAnswered) -> None:
        """Record the answers to single items; those that failed may be tried again."""
        mini_batch = signal.mini_batch
        division = self._divisions.get(mini_batch)
        selection = self._end(division, signal)
        if division is None:
            division = self._divide(signal)
        self._add_results(division, signal)
        again: list[ItemFailures] = []
        is_free = self._tries.is_free(mini_batch, selection, signal.failures)
        for failures in signal.failures:
            is_last = not (is_free or self._tries.may_try_again(selection, failures))
            self._add_failures(division, signal, failures, is_last=is_last)
            if not is_last:
                again.append(failures)
            is_alone = selection.isolates or selection.count == 1
            division.has_huge_item |= is_alone and failures.failure.kind == "out_of_memory"
            # Beside items that have succeeded, the failed ones do not tell of a fault of all.
            if is_alone and not signal.results:
                self._count_isolated(division, failures.failure, count_of(failures.ranges))
        if signal.results:
            division.mark_succeeded(selection)
            if division.group:
                self._isolation.items_succeeded(division.group)
        else:
            division.mark_failed()
        if again:
            ranges = merged(pair for failures in again for pair in failures.ranges)
            retry = Selection(ranges, selection.tries + (not is_free))
            longest = max(again, key=lambda failures: failures.failure.retry_after_s or 0)
            self._delay(mini_batch, retry, longest.failure)
            division.waiting.append(retry)
        self._go_on(mini_batch, division)

    def fail(self, signal: AttemptErrored) -> None:
        """Record a failed attempt: its items are tried again, divided, or failed for good."""
        mini_batch, failure = signal.mini_batch, signal.failure
        division = self._divisions.get(mini_batch)
        if division is None and mini_batch in self._state.answers:
            division = self._divide_rest(signal)  # its node was lost
        selection = self._end(division, signal)
        whole = ItemFailures(selection.ranges, (), failure)
        is_free = self._tries.is_free(mini_batch, selection, (whole,))
        step = _Step.RETRY if is_free else self._step_after(failure, division, selection)
        self._warn_of_final_error(failure, selection)
        self._record_attempt(signal, division, selection, step)
        if step is _Step.RETRY:
            selection.tries += not is_free
            selection.isolates = is_free and selection.isolates
            self._delay(mini_batch, selection, failure)
        if division is not None or step in {_Step.HALVE, _Step.ISOLATE}:
            self._continue(signal, division or self._divide(signal), selection, step)
        elif step is _Step.RETRY:
            self._allocation.requeue([mini_batch], selection.due_ms)
        else:
            self._allocation.drop(mini_batch)

    def _continue(
        self, signal: AttemptErrored, division: Division, selection: Selection, step: _Step
    ) -> None:
        """Let the items of a divided mini-batch take their step after a failed attempt."""
        mini_batch, failure = signal.mini_batch, signal.failure
        match step:
            case _Step.RETRY if division.bisection:  # its search goes on with the same items
                division.bisection.give_back()
            case _Step.RETRY:
                division.waiting.append(selection)
            case _Step.HALVE:
                division.halve(selection)
            case _Step.ISOLATE:
                by_worker = isolates_in_worker(failure, self._limits) and not selection.isolates
                selection.is_last_try = not self._tries.has_left(selection)
                selection.tries += 1
                selection.due_ms = self._due(0, mini_batch, failure)
                division.isolate(selection, failure, by_worker=by_worker)
                if not self._isolation.enter(mini_batch, division.group):
                    return  # until it is known whether the fault hits all items
            case _Step.GIVE_UP:
                division.mark_failed()
                self._count_isolated(division, failure, int(selection.count == 1))
        self._count_isolated(division, failure, failure.alike)
        self._go_on(mini_batch, division)

    def _end(self, division: Division | None, signal: AttemptErrored | ItemsAnswered) -> Selection:
        """Return the items of an attempt that has ended."""
        if division is None:
            tries = self._tries.before(signal.mini_batch, signal.attempt)
            return Selection(((0, signal.items),), tries)
        selection, division.running = division.running, None
        assert selection is not None, signal
        return selection

    def _divide(self, signal: AttemptErrored | ItemsAnswered) -> Division:
        """Return the new division of a mini-batch that has run as a whole."""
        division = Division(signal.items, signal.attempt, node=signal.node)
        self._divisions[signal.mini_batch] = division
        return division

    def _divide_rest(self, signal: AttemptErrored) -> Division:
        """Return the new division of a mini-batch whose unanswered items have run."""
        answers = self._state.answers[signal.mini_batch]
        division = Division(answers.of, signal.attempt, node=signal.node)
        tries = self._tries.before(signal.mini_batch, signal.attempt)
        division.running = Selection(answers.left, tries)
        self._divisions[signal.mini_batch] = division
        return division

    def _step_after(
        self, failure: Failure, division: Division | None, selection: Selection
    ) -> _Step:
        """Return what happens to the items of a failed attempt."""
        bisects = division is not None and bool(division.bisection)
        if selection.count > 1 and is_too_large(failure, self._limits) and not bisects:
            return _Step.HALVE
        group = (division.group if division is not None else "") or failure.group
        self._isolation.renew(group)
        may_help = (
            selection.count > 1
            and (not failure.alike or self._isolation.hits_some(group))
            and may_isolate(failure, self._limits)
            and not self._isolation.hits_all(group)
        )
        if self._tries.may_try_again(selection, ItemFailures(selection.ranges, (), failure)):
            # Where a fault is known to be one of single items, the tries are theirs.
            is_of_items = survives(failure) and self._isolation.hits_some(failure.group)
            return _Step.ISOLATE if may_help and is_of_items else _Step.RETRY
        return _Step.ISOLATE if may_help else _Step.GIVE_UP

    def _record_attempt(
        self,
        signal: AttemptErrored,
        division: Division | None,
        selection: Selection,
        step: _Step,
    ) -> None:
        """Record a failed attempt, and that its items have failed for good."""
        is_last = step is _Step.GIVE_UP
        is_kept = is_last and division is not None and self._allocation.uploads_parts
        event = limits.attempt_failed_event(
            signal,
            self._state.groups.get(signal.failure.group),
            self.now,
            is_last=is_last and not is_kept,
            ranges=selection.ranges if division is not None else (),
            of=division.of if division is not None else 0,
        )
        self._record(replace(event, items=selection.count))
        if is_kept and division is not None:
            failures = ItemFailures(selection.ranges, (), signal.failure)
            self._add_failures(division, replace(signal, worker=""), failures, is_last=True)

    # Results and failures of items

    def _add_results(self, division: Division, signal: ItemsAnswered) -> None:
        duration_us, offset = max(1, signal.duration_us), signal.offset
        for first, items, rows, length, crc in signal.results:
            event = ItemsSucceeded(
                signal.mini_batch,
                signal.attempt,
                signal.worker,
                self.now,
                duration_us,
                first,
                items,
                division.of,
                rows,
                signal.part,
                offset,
                length,
                crc,
            )
            duration_us, offset = 0, offset + length
            self._keep(division, event)
            if rows > items:
                self._warn_of_extra_rows(event)
            elif rows < items:
                self._keep(division, self._short(event))

    def _add_failures(
        self,
        division: Division,
        signal: AttemptErrored | ItemsAnswered,
        failures: ItemFailures,
        *,
        is_last: bool,
    ) -> None:
        group = self._state.groups.get(failures.failure.group)
        event = limits.items_failed_event(
            signal, failures, group, self.now, of=division.of, is_last=is_last
        )
        self._keep(division, event)

    def _keep(self, division: Division, event: ItemsSucceeded | ItemsFailed) -> None:
        """Record an event; if nodes upload the rows, final ones are recorded with their part."""
        if not self._allocation.uploads_parts:
            self._record(event)
        elif isinstance(event, ItemsSucceeded):
            division.results.append(event)
        elif event.is_last:
            division.failures.append(event)
        else:
            self._record(event)

    def _short(self, event: Result) -> ItemsFailed:
        return limits.short_result_event(event, self.run_line, self.now)

    def _warn_of_extra_rows(self, event: Result) -> None:
        if self._limits.warns_of_extra_rows and not self._has_warned_of_extra_rows:
            self._has_warned_of_extra_rows = True
            text = limits.extra_rows_warning(event.mini_batch, event.items, event.rows)
            self._record(WarningRaised(self.now, text))

    def _warn_of_final_error(self, failure: Failure, selection: Selection) -> None:
        """Warn of the first error that only ``retry_on`` makes final: a name in it may be misspelled."""
        is_final = not may_retry(failure, replace(self._limits, no_retry_on=frozenset()))
        if is_final and self._tries.has_left(selection) and not self._has_warned_of_final_error:
            self._has_warned_of_final_error = True
            text = limits.final_error_warning(failure.error, self._limits.retry_on)
            self._record(WarningRaised(self.now, text))

    def _count_isolated(self, division: Division, failure: Failure, count: int = 1) -> None:
        """Count items that have failed alone: they may show that the fault hits all items."""
        division.has_huge_item |= count > 0 and failure.kind == "out_of_memory"
        group = division.group
        for _ in range(count if group else 0):
            if self._isolation.item_failed(group, failure.group):
                self._record(WarningRaised(self.now, limits.hits_all_warning(group, ALIKE)))

    # What follows

    def _due(self, tries: int, mini_batch: int, failure: Failure) -> int:
        """Return the time of the next try; 0 for no delay."""
        pause = int(self.pause_until_ms) - self.now
        delay = self._tries.delay_ms(tries, mini_batch, failure, pause)
        due = self.now + delay if delay else 0
        self.due_ms = max(self.due_ms, due)
        return due

    def _delay(self, mini_batch: int, selection: Selection, failure: Failure) -> None:
        selection.due_ms = self._due(selection.tries, mini_batch, failure)

    def _go_on(self, mini_batch: int, division: Division) -> None:
        """Run the next selection of a mini-batch, or finish it."""
        group = division.group
        if group and self._isolation.hits_all(group):
            self._fail_rest(mini_batch, division)
        if division.is_done:
            self._finish(mini_batch, division)
        else:
            self._allocation.requeue([mini_batch], division.due_ms)
        if group:
            ended = mini_batch if division.is_done else -1
            self._release(self._isolation.leave(ended, group), group)

    def _release(self, mini_batches: Iterable[int], group: str) -> None:
        """Let mini-batches go on that have waited for the trial of their group."""
        for mini_batch in mini_batches:
            self._isolation.enter(mini_batch, group)
            self._go_on(mini_batch, self._divisions[mini_batch])

    def _fail_rest(self, mini_batch: int, division: Division) -> None:
        """Fail the items of a mini-batch that have no try left: the fault hits them all."""
        rest = division.stop_isolating()
        failure = division.failure
        if rest and failure is not None:
            signal = AttemptErrored(division.node, "", mini_batch, division.attempt, 0, 0, failure)
            self._add_failures(division, signal, ItemFailures(rest, (), failure), is_last=True)

    def _finish(self, mini_batch: int, division: Division) -> None:
        """Forget the division of a mini-batch whose items are all answered."""
        del self._divisions[mini_batch]
        self.withheld.others_done(mini_batch)
        results, failures = division.results, tuple(division.failures)
        if results:
            results.sort(key=lambda event: event.first)
            self._allocation.hold(Finished(mini_batch, tuple(results), failures))
        elif self._allocation.uploads_parts:
            for event in failures:
                self._record(event)
            self._allocation.drop(mini_batch)
        limit, fitting = self._state.items_per_call, division.fitting
        if fitting and not division.has_huge_item and (not limit or fitting < limit):
            self._record(CallLimited(self.now, fitting))
