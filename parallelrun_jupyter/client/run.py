"""The user's handle on a run."""

from __future__ import annotations

import os
import sys
import time
import warnings
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ..errors import (
    ConfigError,
    ParallelRunError,
    RunFailedError,
    RunInterruptedError,
    WaitTimeoutError,
)
from ..formatting import nearest_hint, text_filter
from ..notebook import live
from ..notebook.feed import settle
from ..runs import run_folder
from ..runs.journal.events import RUN_STATES, Event
from ..runs.journal.files import JournalReader
from ..runs.logs import reader
from ..runs.run_folder import RunFolder
from ..runs.snapshot.follower import POLL_S, Follower, watch
from ..runs.snapshot.snapshot import Snapshot
from ..views import text
from ..views.run_list import public, run_row, table
from .failures import attempts_frame, failure_message, groups_frame
from .results import read_frame
from .resume import resume_run
from .try_one import line_of, trial_of

if TYPE_CHECKING:
    import pandas as pd


class Run:
    """One execution, by its folder. `submit` makes one; `Run.attach` finds one again.

    It holds no process and no connection: the run goes on without it, and any number of them, in
    any notebook or terminal, see the same.
    """

    def __init__(self, folder: RunFolder) -> None:
        self._follower = Follower(folder)

    @classmethod
    def attach(cls, run_id: str) -> Run:
        """Return the handle of a run, by its id or the path of its folder.

        Raises
        ------
        RunNotFoundError
            There is no such run.
        """
        return cls(run_folder.find(run_id))

    @classmethod
    def list(
        cls,
        limit: int | None = None,
        *,
        state: str | Sequence[str] | None = None,
        name: str | None = None,
    ) -> Runs:
        """Return the runs of this home, newest first.

        Parameters
        ----------
        limit
            At most so many; None for all.
        state
            Only runs in this state, or in one of these, such as ``"Failed"``.
        name
            Only runs with this text in their name or id, whatever its case; ``*`` stands for any
            characters.

        Returns
        -------
        list of Run
            It is shown as a table: start, duration, state, progress, size on disk.

        Raises
        ------
        ConfigError
            A state that no run has, or a limit below 0.
        """
        if limit is not None and limit < 0:
            msg = f"limit is {limit}; expected the number of runs to list, such as 20."
            raise ConfigError(msg)
        states = _states(state)
        is_named = text_filter(name or "")
        runs: Runs = Runs()
        for folder in run_folder.every():
            if limit is not None and len(runs) >= limit:
                break
            try:
                run = cls(folder)
            except ParallelRunError as error:
                warnings.warn(f"left out: {error}", stacklevel=2)
                continue
            if is_named(f"{run.name}\n{run.run_id}") and (not states or run.status in states):
                runs.append(run)
        return runs

    @property
    def folder(self) -> RunFolder:
        """The run's folder."""
        return self._follower.folder

    @property
    def run_id(self) -> str:
        """The id, which sorts by time."""
        return self.folder.run_id

    @property
    def name(self) -> str:
        """The name for people."""
        return self._follower.record.name

    @property
    def status(self) -> str:
        """The state, now: one of ``journal.events.RUN_STATES``; Interrupted when its driver is gone."""
        return self.snapshot()["state"]

    def snapshot(self) -> Snapshot:
        """Return where the run stands now, as one JSON value."""
        return self._follower.refresh()

    def row(self) -> dict[str, Any]:
        """Return the run as a row of a list: a dict with its start, state, counts and size on disk."""
        snapshot = self.snapshot()
        return public(run_row(self._follower.record, snapshot, self.folder.size_bytes()))

    def __repr__(self) -> str:
        snapshot = self.snapshot()
        return f"Run({self.run_id!r}: {text.headline(snapshot)}, {text.progress_line(snapshot)})"

    def _repr_pretty_(self, printer: Any, cycle: bool) -> None:  # noqa: FBT001 - IPython's protocol
        printer.text("Run(...)" if cycle else text.text_view(self.snapshot()))

    def wait_for_completion(
        self,
        show_output: bool = True,  # noqa: FBT001, FBT002 - Azure's signature
        raise_on_error: bool = True,  # noqa: FBT001, FBT002 - Azure's signature
        timeout_s: float | None = None,
    ) -> str:
        """Wait until the run has ended, and return its state.

        Parameters
        ----------
        show_output
            Show the progress meanwhile.
        raise_on_error
            Raise when the run did not complete.
        timeout_s
            Seconds to wait at most; None for no limit.

        Raises
        ------
        RunFailedError
            The run failed; the user's own exception comes first.
        RunInterruptedError
            Its driver is gone.
        WaitTimeoutError
            It is still going after ``timeout_s``.
        KeyboardInterrupt
            Ctrl-C ends the watching, not the run.
        """
        try:
            if show_output:
                last = live.watch_here(self._follower, timeout_s)
            else:
                last = watch(self._follower, lambda _: None, every_s=0.05, timeout_s=timeout_s)
        except KeyboardInterrupt:
            print(
                f"stopped watching; run {self.run_id} goes on. "
                "run.wait_for_completion() watches again, run.cancel() ends it.",
                file=sys.stderr,
            )
            raise
        if not last["is_final"]:
            msg = (
                f"run {self.run_id} is still {last['state']} after {timeout_s:g} s; it goes on. "
                "Wait again, or end it with run.cancel()."
            )
            raise WaitTimeoutError(msg)
        settle(self.folder)
        if raise_on_error:
            self._raise_unless_completed(last)
        return last["state"]

    def _raise_unless_completed(self, last: Snapshot) -> None:
        if last["state"] == "Failed":
            raise RunFailedError(failure_message(self._follower, last), self.run_id)
        if last["state"] == "Interrupted":
            head = self._follower.state.traceback
            msg = f"run {self.run_id} was interrupted: {last['reason']}. Its rows so far are kept; run.resume() goes on."
            raise RunInterruptedError(f"{head.rstrip()}\n{msg}" if head else msg)

    def cancel(self, drain: bool = False) -> bool:  # noqa: FBT001, FBT002 - the design's signature
        """Ask the run to end.

        Parameters
        ----------
        drain
            Let the mini-batches that are running now finish; otherwise they are stopped.

        Returns
        -------
        bool
            Whether there was anything to end: a run that has ended is left as it is.
        """
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
    ) -> Run:
        """Go on with a run that has ended: the same run, in the same folder.

        Mini-batches that succeeded are kept; the others run, those that had failed with
        ``run_max_try`` new attempts, on their files as they are now: a repaired file is why one
        retries. An earlier final file is replaced by rename at the end.

        Parameters
        ----------
        failed_only
            Only those that had failed.
        entry_script
            A corrected script; the earlier one is kept beside it, and the journal says so.
        compute
            Where to go on, as in `submit`. Default: where it was.
        group
            Only those whose last attempt failed in this group of `failure_groups`; the others that
            failed stay failed, and count. Implies ``failed_only``.

        Raises
        ------
        RunFolderError
            The run is still going, or nothing is left to do.
        ConfigError
            An environment variable with a secret is not set here; the message names it. Or no
            mini-batch has failed in the group.
        InputError
            A file has changed whose rows are kept, or one that has not run yet. A run that had
            ended stays as it was, with its rows.
        EntryScriptError, LaunchError
            The corrected script cannot be used, or the driver did not start.
        """
        resume_run(
            self._follower,
            failed_only=failed_only,
            entry_script=entry_script,
            compute=compute,
            group=group,
        )
        return self

    def events(self, follow: bool = True, since: int = 0) -> Iterator[Event]:  # noqa: FBT001, FBT002 - the design's signature
        """Yield the run's events: the progress event stream that every face is built on.

        Parameters
        ----------
        follow
            Wait for further events until the run has ended; otherwise stop at the last one.
        since
            Number of events to leave out from the start.
        """
        reader = JournalReader(self.folder.journal)
        seen = 0
        while True:
            # Asked before reading: what the driver wrote until its end is then read below.
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
        """Return the last lines of what the script printed and logged.

        Parameters
        ----------
        lines
            At most so many.
        worker
            Of this worker only, such as ``n0w1``.
        mini_batch
            Only what was printed while this mini-batch ran.

        Raises
        ------
        ConfigError
            ``lines`` is below 0.
        """
        if mini_batch is not None:
            return "\n".join(reader.of_mini_batch(self.folder, mini_batch, lines))
        return "\n".join(reader.tail(self.folder, lines, worker))

    def report(self, path: str | os.PathLike[str]) -> Path:
        """Write where the run stands as one HTML file, with the views that the notebook has.

        It needs no network, no Jupyter and not this package; what it holds of the log and of single
        mini-batches is the last of it, and what had failed.

        Parameters
        ----------
        path
            The file, such as ``run.html``.

        Returns
        -------
        Path
            The absolute path.

        Raises
        ------
        OutputError
            The file cannot be written.
        """
        from ..views.report import write_report

        snapshot = self.snapshot()
        return write_report(self.folder, self._follower.state, snapshot, path)

    def to_pandas(self) -> pd.DataFrame:
        """Return the rows that ``append_row`` joined, in input order.

        They are lines as ``run()`` returned them, in one column ``row``; where the run has an
        ``output_format``, the table with its columns and types. Where the run has not completed,
        the rows of the mini-batches that succeeded so far are read, and a warning says so.

        Raises
        ------
        OutputError
            The run writes no rows (``summary_only``), or its output is gone.
        """
        return read_frame(self.folder, self._follower.record, self.snapshot())

    def failures(self) -> pd.DataFrame:
        """Return one row for each failed attempt.

        Columns: mini_batch, attempt, worker, kind, group (the error and the line that raised it),
        error, message, traceback, items (how many failed). An attempt whose group has shown ten
        tracebacks has the group's first. A mini-batch with fewer results than items has a row of
        the kind ``short_result``, whose ``items`` are those without a result.
        """
        return attempts_frame(JournalReader(self.folder.journal).read())

    def failure_groups(self) -> pd.DataFrame:
        """Return one row for each place in the user's code that raised, the costliest first.

        Columns: group (the error and the line that raised it), kind, error, message, attempts,
        mini_batches_lost, items_missing (without a result, in mini-batches that succeeded
        otherwise), first_mini_batch (-1 for failures in ``init()``), hint (what to do, where there
        is a usual cause), traceback.
        """
        self.snapshot()
        return groups_frame(self._follower.record, self._follower.state.groups.values())

    def try_one(self, mini_batch: int) -> Any:
        """Call ``init()`` and ``run()`` of the run's script on one mini-batch, in this process.

        The exception is the real one, so ``%debug`` goes to the line that raised it. The script
        sees its arguments, directory and variables, but this interpreter.

        Parameters
        ----------
        mini_batch
            Its number, as in ``run.failures()``.

        Returns
        -------
        object
            What ``run()`` returned.

        Raises
        ------
        InputError
            The run has no such mini-batch, or its files do not come from their store.
        """
        __tracebackhide__ = True
        from ..data.staging.local_copies import local_line

        record = self._follower.record
        line = local_line(line_of(self.folder, mini_batch), record.inputs.datasets)
        return trial_of(self.folder, record).run(line, mini_batch)


class Runs(list[Run]):
    """A list of runs that is shown as a table."""

    def __repr__(self) -> str:
        return table([run.row() for run in self])


def _states(state: str | Sequence[str] | None) -> set[str]:
    """Return states as events name them; an empty set for any."""
    by_word = {known.lower(): known for known in RUN_STATES}
    states = set()
    for word in [state] if isinstance(state, str) else state or ():
        if word.lower() not in by_word:
            msg = (
                f"state is {word!r}; expected one of {', '.join(RUN_STATES)}."
                f"{nearest_hint(word.capitalize(), RUN_STATES)}"
            )
            raise ConfigError(msg)
        states.add(by_word[word.lower()])
    return states
