"""The user's handle on a run."""

from __future__ import annotations

import os
import sys
import time
from collections.abc import Callable, Iterator
from typing import TYPE_CHECKING, Any

from ..errors import Remedy, RunInterruptedError, WaitTimeoutError
from ..notebook import live
from ..notebook.feed import settle
from ..notebook.run_details import RunDetails
from ..runs.failed_items import failed_items
from ..runs.journal.events import Event
from ..runs.journal.files import JournalReader
from ..runs.logs import reader
from ..runs.snapshot.attempts import failed_attempts
from ..runs.snapshot.follower import POLL_S, wait_for_end
from ..runs.snapshot.snapshot import Snapshot
from ..views import text
from .corrections import corrected_functions
from .failures import attempts_frame, failure_of, first_failure, groups_frame, items_frame
from .function_results import RAISE, import_readers, read_results
from .kept_run import KeptRun
from .result_values import check_objects
from .results import read_frame
from .resume import resume_run
from .try_one import line_of, trial_of

if TYPE_CHECKING:
    import pandas as pd


class Run(KeptRun):
    """The handle of a run, returned by `submit`, `Run.attach` and `Run.list`.

    It reads the run's folder and holds no process or connection. The run continues without it, and
    handles in other notebooks and terminals show the same run.

    Examples
    --------
    ::

        run.wait_for_completion(show_output=True)  # shows progress until the run ends
        run.to_pandas()                            # the rows that the script returned
        run.results()                              # of map and map_batches: what the function returned
        for item, result in run.stream(): ...      # the same, as they are committed
        run.failed_items()                         # one row for each failed item
        run.failures()                             # one row for each failed attempt
        run.calls()                                # one row for each call: seconds, tokens, cost
        run.try_one(17)                            # mini-batch 17 in this process; %debug works
        run.resume(failed_only=True)               # retries only the items that failed
        run.compare(earlier)                       # settings, counts, times and rows that differ
        run.delete()                               # removes the run from the disk
    """

    def __repr__(self) -> str:
        snapshot = self.snapshot()
        return f"Run({self.run_id!r}: {text.headline(snapshot)}, {text.progress_line(snapshot)})"

    def _repr_pretty_(self, printer: Any, cycle: bool) -> None:  # noqa: FBT001 - IPython's protocol
        printer.text("Run(...)" if cycle else text.text_view(self.snapshot()))

    def _ipython_display_(self) -> None:
        # The last line of a cell shows the live view; in a terminal, the same text as _repr_pretty_.
        RunDetails(self).show()

    def wait_for_completion(
        self,
        show_output: bool = True,  # noqa: FBT001, FBT002 - Azure's signature
        raise_on_error: bool = True,  # noqa: FBT001, FBT002 - Azure's signature
        timeout_s: float | None = None,
    ) -> str:
        """Wait until the run ends, and return its state.

        Parameters
        ----------
        show_output
            Show progress while waiting.
        raise_on_error
            Raise an error if the run fails or is interrupted.
        timeout_s
            Maximum time to wait, in seconds. Default: no limit.

        Returns
        -------
        str
            ``"Completed"`` or ``"Canceled"``; with ``raise_on_error=False`` also ``"Failed"`` or
            ``"Interrupted"``.

        Raises
        ------
        RunFailedError
            The run failed. The message begins with the script's own exception.
        RunInterruptedError
            The run's driver process has died.
        RunNotFoundError
            The run was removed before this process saw its end.
        WaitTimeoutError
            The run is still active after ``timeout_s``; it continues.
        KeyboardInterrupt
            Ctrl-C was pressed. It stops the waiting, not the run.
        """
        try:
            if show_output:
                last = live.watch_here(self._follower, timeout_s)
            else:
                last = wait_for_end(self._follower, timeout_s)
        except KeyboardInterrupt:
            print(
                f"stopped watching; run {self.run_id} continues. "
                "run.wait_for_completion() watches again, run.cancel() ends it.",
                file=sys.stderr,
            )
            raise
        if not last["is_final"]:
            msg = f"run {self.run_id} is still {last['state']} after {timeout_s:g} s; it continues."
            raise WaitTimeoutError(msg, self.run_id, remedy=[Remedy.WAIT, Remedy.CANCEL])
        settle(self.folder)
        if raise_on_error:
            self._raise_unless_completed(last)
        return last["state"]

    def _raise_unless_completed(self, last: Snapshot) -> None:
        if last["state"] == "Failed":
            raise failure_of(self._follower, last)
        if last["state"] == "Interrupted":
            self.folder.check_exists()
            head = self._follower.state.traceback
            msg = f"run {self.run_id} was interrupted: {last['reason']}. Its rows so far are kept."
            raise RunInterruptedError(
                f"{head.rstrip()}\n{msg}" if head else msg, self.run_id, remedy=[Remedy.RESUME]
            )

    def cancel(self, drain: bool = False) -> bool:  # noqa: FBT001, FBT002 - the design's signature
        """Request that the run ends.

        Parameters
        ----------
        drain
            Let mini-batches that are running finish. Default: stop them.

        Returns
        -------
        bool
            False if the run had already ended.
        """
        self.folder.check_exists()
        if self.snapshot()["is_final"]:
            return False
        self.folder.request("cancel-drain" if drain else "cancel")
        return True

    def resume(
        self,
        failed_only: bool = False,  # noqa: FBT001, FBT002 - the design's signature
        entry_script: str | os.PathLike[str] | None = None,
        compute: object = None,
        *,
        group: str | None = None,
        error_threshold: int | None = None,
        budget: float | str | None = None,
        rate_limit: str | None = None,
        token_limit: str | None = None,
        concurrency: int | None = None,
        function: Callable[..., Any] | None = None,
        init: Callable[[], Any] | None = None,
        shutdown: Callable[[], Any] | None = None,
    ) -> Run:
        """Continue a run that has ended: the same run, in the same folder.

        Items that succeeded are kept. The others run; those that failed get ``run_max_try`` new
        attempts and read their input files again, so a repaired file is enough. Their rows are
        put at their place in the output; if the run had an output file, the new one replaces it
        atomically.

        Parameters
        ----------
        failed_only
            Run only the items that failed. If ``run()`` returned fewer elements than items, it is
            unknown which items failed: these mini-batches run again as a whole, and their earlier
            rows are dropped. Default: such results are kept, since a script may leave out rows.
        entry_script
            Path of a corrected script. The earlier one is kept beside it in the run's folder.
        compute
            Where to continue, as in `submit`. Default: the compute used before.
        group
            Run only the items that failed in this group of `failure_groups`. The others that
            failed stay failed and still count. Implies ``failed_only``.
        error_threshold
            Number of failed items to tolerate from now on; -1 for any number. Default: as before.
        budget, rate_limit, token_limit, concurrency
            As in `ParallelRunConfig`, from now on; what the run has spent already counts. Default: as before.
        function, init, shutdown
            The corrected function of a run of `map` or `map_batches`, with the ``init`` and ``shutdown``
            that it needs: none of the earlier functions is used then.

        Returns
        -------
        Run
            This handle.

        Raises
        ------
        RunFolderError
            The run is still active, has nothing left to run, or has spent its budget.
        ConfigError
            An environment variable that holds a secret is not set in this process, or no item
            failed in ``group``, or the corrected function is not one for the run.
        InputError
            An input has changed, and its rows are kept or it has not run yet. The run is unchanged.
        EntryScriptError
            The corrected script cannot be used.
        LaunchError
            The driver did not start.
        """
        resume_run(
            self._follower,
            failed_only=failed_only,
            entry_script=entry_script,
            compute=compute,
            group=group,
            error_threshold=error_threshold,
            call_settings=(budget, rate_limit, token_limit, concurrency),
            functions=corrected_functions(function, init, shutdown),
        )
        return self

    def events(self, follow: bool = True, since: int = 0) -> Iterator[Event]:  # noqa: FBT001, FBT002 - the design's signature
        """Yield the events of the run's journal, such as attempts that succeeded or failed.

        Parameters
        ----------
        follow
            Wait for further events until the run ends. False: stop at the last recorded one.
        since
            Number of events to skip at the start.

        Raises
        ------
        RunNotFoundError
            The run has been removed.
        """
        self.folder.check_exists()
        reader = JournalReader(self.folder.journal)
        seen = 0
        while True:
            # Checked before reading, so that the driver's last events are read below.
            is_over = not follow or self.snapshot()["is_final"]
            for event in reader.read():
                seen += 1
                if seen > since:
                    yield event
            if is_over:
                return
            time.sleep(POLL_S)

    def logs(
        self, lines: int = 100, *, worker: str | None = None, mini_batch: int | None = None
    ) -> str:
        """Return the last lines that the script printed or logged.

        Parameters
        ----------
        lines
            Maximum number of lines.
        worker
            Only lines of this worker, such as ``n0w1``.
        mini_batch
            Only lines printed while this mini-batch ran.

        Raises
        ------
        ConfigError
            ``lines`` is below 0.
        RunNotFoundError
            The run has been removed.
        """
        self.folder.check_exists()
        if mini_batch is not None:
            return "\n".join(reader.of_mini_batch(self.folder, mini_batch, lines))
        return "\n".join(reader.tail(self.folder, lines, worker))

    def to_pandas(self) -> pd.DataFrame:
        """Return the rows that ``run()`` returned, in input order.

        Without ``output_format``, one column ``row`` holds each row as text; with it, the table
        has its own columns and types. If the run has not completed, the rows committed so far are
        returned, with a warning.

        Raises
        ------
        OutputError
            The run writes no rows (``summary_only``), or its output has been removed.
        """
        return read_frame(self.folder, self._follower.record, self.snapshot())

    def results(self, *, missing: Any = RAISE, timeout_s: float | None = None) -> Any:
        """Wait for a run of `map` or `map_batches`, and return its results in input order.

        Parameters
        ----------
        missing
            The result of an item that has none, since it failed or the run was canceled, or whose result
            cannot be read back here, such as None or ``float("nan")``. Default: an error. If DataFrames or Series are joined, the rows of these
            items are left out.
        timeout_s
            Maximum time to wait, in seconds. Default: no limit.

        Returns
        -------
        list, array, Series, DataFrame or Arrow table
            Of `map` a list, for a Series or a DataFrame a Series with its index. Of `map_batches` what
            the function returned, joined: arrays; DataFrames or Series as by ``pandas.concat``, with the
            index of the input unless they have their own; Arrow tables; else a list. Lists and
            one-dimensional arrays for a Series or a DataFrame are a Series with its index.

        Raises
        ------
        RunFailedError, RunInterruptedError, WaitTimeoutError
            As `wait_for_completion`; the first two only without ``missing``.
        OutputError
            An item has no result, or one that cannot be read back; results of mini-batches cannot be
            joined; or the run is not one of a function.
        """
        self.folder.check_exists()
        check_objects(self.folder, self._follower.record)
        import_readers(self._follower.record)
        self.wait_for_completion(
            show_output=False, raise_on_error=missing is RAISE, timeout_s=timeout_s
        )
        snapshot = self.snapshot()
        failure = first_failure(self._follower) if snapshot["items_failed"] else ""
        return read_results(self.folder, self._follower.record, snapshot["items"], failure, missing)

    def stream(
        self, *, ordered: bool = True, timeout_s: float | None = None
    ) -> Iterator[tuple[Any, Any]]:
        """Yield the results of `map` or `map_batches` as they are committed, each with its item.

        Results of earlier commits come first, so that it may be called at any time, and in several
        places at once. Only the results of one mini-batch are in memory. Items that failed are left out.

        Parameters
        ----------
        ordered
            Yield them in input order; False: in the order of their commits, without waiting for slow
            items before them.
        timeout_s
            Maximum time to wait for a further result, in seconds. Default: no limit.

        Yields
        ------
        tuple
            The item and its result. Of `map_batches`, the items of a mini-batch (or of those of its
            items that succeeded together) as the function got them, and what it returned for them.

        Raises
        ------
        RunFailedError, RunInterruptedError
            After the last result: the run failed, or its driver process has died.
        WaitTimeoutError
            No result was committed for ``timeout_s``; the run continues.
        OutputError
            The run is not one of a function, its results have been removed, or one of them cannot be read
            back.
        """
        from .result_stream import ResultStream

        self.folder.check_exists()
        stream = ResultStream(self._follower, is_ordered=ordered)
        return self._streamed(stream.pairs(timeout_s))

    def _streamed(self, pairs: Iterator[tuple[Any, Any]]) -> Iterator[tuple[Any, Any]]:
        try:
            yield from pairs
        except FileNotFoundError:
            self.folder.check_exists()
            raise
        self._raise_unless_completed(self.snapshot())

    def failed_items(self, *, logs: bool = False) -> pd.DataFrame:
        """Return one row for each item that has failed, in input order.

        Items that have succeeded later, or will run again, are not among them. It does not wait for
        the end of an active run, whose list is incomplete: call `wait_for_completion` or `results`
        before. A run with an output folder also writes the rows there when it ends: as
        ``failed_items.parquet``, or without pyarrow as ``failed_items.csv``.

        Parameters
        ----------
        logs
            Add a column ``log``: the last five lines logged in the failed attempt. This reads the
            logs.

        Returns
        -------
        pandas.DataFrame
            Columns: item (path or URL of a file, or ``PATH: row N``, counted from 0, with
            the partition after it in a run by keys), mini_batch,
            position (in the mini-batch, from 0), number (in the run, from 0), error, message, place
            (the line that raised it, such as ``score.py:12 in run``), group, kind, tries (attempts
            in which the item failed), traceback. If ``run()`` returned fewer results than items,
            it is unknown which items have none: each missing result has a row of kind
            ``short_result`` without item, position and number.

        Raises
        ------
        RunNotFoundError
            The run has been removed.
        """
        self.folder.check_exists()
        return items_frame(failed_items(self.folder, logs=logs), logs=logs)

    def failures(self) -> pd.DataFrame:
        """Return one row for each failed attempt; an attempt whose items failed differently has more.

        Columns: mini_batch, attempt, worker, kind, group (the error and the line that raised it),
        error, message, traceback, items (the number that failed). Only the first ten tracebacks of
        a group are stored; further attempts show the first one. A mini-batch with fewer results
        than items has a row of kind ``short_result``; its ``items`` counts the missing results.
        Items that were not run on their own, since all alike had failed, have a row without a
        worker. `failed_items` lists the items.

        Raises
        ------
        RunNotFoundError
            The run has been removed.
        """
        self.folder.check_exists()
        return attempts_frame(failed_attempts(self.folder.journal))

    def failure_groups(self) -> pd.DataFrame:
        """Return one row for each line of code that raised an error, the costliest first.

        Columns: group (the error and the line that raised it), kind, error, message, attempts,
        mini_batches_lost (that failed as a whole), items_lost (items that failed for good, theirs
        included), items_missing (items without a result in mini-batches that succeeded),
        first_mini_batch (-1 for failures in ``init()``), hint (a remedy, if the cause is a common
        one), traceback.
        """
        self.snapshot()
        return groups_frame(self._follower.record, self._follower.state.groups.values())

    def try_one(self, mini_batch: int) -> Any:
        """Call the script's ``init()`` and ``run()`` on one mini-batch, in this process.

        An exception of the script is raised unchanged, so ``%debug`` stops at the line that raised
        it. The script gets its arguments, directory and environment variables, but runs in this
        interpreter.

        Parameters
        ----------
        mini_batch
            Number of the mini-batch, as in ``run.failures()``.

        Returns
        -------
        object
            The value that ``run()`` returned.

        Raises
        ------
        InputError
            The run has no such mini-batch, or its files could not be downloaded.
        """
        __tracebackhide__ = True
        line = line_of(self.folder, mini_batch)
        return trial_of(self.folder, self._follower.record).run(line, mini_batch)
