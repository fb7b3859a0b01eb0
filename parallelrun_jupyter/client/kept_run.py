"""Runs as the home keeps them: found, listed, measured, compared, saved as pages, and removed."""

from __future__ import annotations

import os
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

from ..config.azureml_compute import PREFIX
from ..errors import ConfigError
from ..notebook.run_details import RunDetails
from ..runs import run_folder
from ..runs.removal import remove_run
from ..runs.run_folder import RunFolder
from ..runs.snapshot.follower import Follower
from ..runs.snapshot.snapshot import Snapshot
from ..views.run_list import table
from .pruning import Pruning, filters_of, plan_pruning
from .run_selection import row_of, selected_runs

if TYPE_CHECKING:
    import pandas as pd
    from typing_extensions import Self

    from ..views.report import RecordedRun
    from .comparison import Comparison

_R = TypeVar("_R", bound="KeptRun")


class KeptRun:
    """A run of this home; `Run` adds the methods that work with it."""

    def __init__(self, folder: RunFolder) -> None:
        self._follower = Follower(folder)

    def _display_(self) -> object:
        # marimo's protocol: the last line of a cell shows the live view.
        return RunDetails(self)._display_()

    @classmethod
    def attach(cls, run_id: str, *, compute: object = None) -> Self:
        """Return the handle of an existing run, or of a job of Azure ML.

        Parameters
        ----------
        run_id
            The run's id, or the path of its folder. ``azureml:NAME`` is a job of Azure ML, of yours or of
            others, and ``azureml:NAME/STEP`` one of its parallel steps: a run is made that shows it.
        compute
            For a job, an `AzureMLCompute` with its workspace and your credential. Default: the
            ``config.json`` of the current directory or one above it.

        Raises
        ------
        RunNotFoundError
            No run has that id; the message suggests the nearest one. Or the workspace has no such job.
        ConfigError
            The name of the job, its step or ``compute`` is wrong.
        MissingExtraError
            Azure's client is not installed.
        RunFolderError
            Azure ML does not answer, or refuses to show the job.
        LaunchError
            The driver that follows the job did not start.
        """
        if isinstance(run_id, str) and run_id.startswith(PREFIX):
            from .foreign_jobs import attach_job

            return cls(attach_job(run_id, compute))
        if compute is not None:
            msg = f"compute is for jobs of Azure ML, such as 'azureml:NAME'; {run_id!r} is a run."
            raise ConfigError(msg)
        return cls(run_folder.find(run_id))

    @classmethod
    def list(
        cls,
        limit: int | None = None,
        *,
        state: str | Sequence[str] | None = None,
        name: str | None = None,
    ) -> Runs[Self]:
        """Return the runs of this home, newest first.

        Parameters
        ----------
        limit
            Maximum number of runs. Default: all.
        state
            Only runs in this state or in one of these states, such as ``"Failed"``.
        name
            Only runs with this text in their name or id. Case is ignored, and ``*`` matches any
            characters.

        Returns
        -------
        list of Run
            Displayed as a table: name, state, start, duration, progress, size on disk.

        Raises
        ------
        ConfigError
            The state is unknown, or the limit is below 0.
        """
        runs: Runs[Self] = Runs()
        runs.extend(selected_runs(cls, limit, state=state, name=name))
        return runs

    @classmethod
    def prune(
        cls,
        older_than: float | str | None = None,
        *,
        keep: int | None = None,
        max_size: int | str | None = None,
        state: str | Sequence[str] | None = None,
        name: str | None = None,
        dry_run: bool = True,
    ) -> PrunedRuns[Self]:
        """Remove the runs that pass all filters; by default only show them.

        Active runs stay, and so do runs that an active run or a pipeline that has not ended uses.
        Output files outside of the runs' folders stay.

        Parameters
        ----------
        older_than
            Only runs that were started longer ago: ``"12h"``, ``"30d"``, ``"2w"``, or seconds.
        keep
            This number of newest runs stays, among those with the state and the name.
        max_size
            Only so many of the oldest that all runs of the home are at most this size: ``"5GB"``,
            or bytes.
        state, name
            As in `list`.
        dry_run
            Only return the runs. False: remove them.

        Returns
        -------
        list of Run
            Displayed as a table with the sizes. After a removal, their folders are gone.

        Raises
        ------
        ConfigError
            A filter is wrong, or there is none.
        """
        filters = filters_of(
            older_than=older_than, keep=keep, max_size=max_size, state=state, name=name
        )
        pruning = plan_pruning(filters)
        runs = PrunedRuns([cls(entry.folder) for entry in pruning.entries], pruning)
        if not dry_run:
            runs.carry_out()
        return runs

    @property
    def folder(self) -> RunFolder:
        """The run's folder."""
        return self._follower.folder

    @property
    def run_id(self) -> str:
        """The run's id; ids sort by start time."""
        return self.folder.run_id

    @property
    def name(self) -> str:
        """The run's name, as passed to `submit`."""
        return self._follower.record.name

    @property
    def status(self) -> str:
        """The current state.

        Queued, Planning, Running, Finalizing, Completed, Failed, Canceled or Interrupted (the
        driver process has died).
        """
        return self._follower.status()

    def snapshot(self) -> Snapshot:
        """Return the current progress as a JSON value: counts, rates, workers, failures.

        Its size is bounded, independent of the number of mini-batches.
        """
        return self._follower.refresh()

    def row(self) -> dict[str, Any]:
        """Return a summary as a dict: name, start, state, counts, size on disk in bytes."""
        return row_of(self._follower)

    def calls(self) -> pd.DataFrame:
        """Return one row for each call that has ended: how long it took, and what it spent.

        A call is an attempt of a mini-batch, so that calls that were tried again have several rows.
        It works for every run, also an active one, and does not wait. The cost of a run is the sum of
        ``usd``, without calls that have not ended, such as those of a worker that was killed.

        Returns
        -------
        pandas.DataFrame
            In the order of their ends. Columns: mini_batch, item (the first one of the call, as in
            ``failed_items``), number (its position among all items, from 0), attempt (from 1), worker, started_at and ended_at (UTC), seconds,
            outcome (``succeeded``, ``failed``, ``throttled``: a server asked for fewer calls, or
            ``timeout``), tokens, usd (US dollars). started_at and seconds are missing if all items of
            a mini-batch failed one by one.

        Raises
        ------
        RunNotFoundError
            The run has been removed.

        Examples
        --------
        ::

            calls = run.calls()
            calls.usd.sum()                         # US dollars spent by the calls that have ended
            calls.groupby("number").usd.sum()       # of each item, its failed attempts included
            calls[calls.outcome == "succeeded"].seconds.quantile([0.5, 0.95])
        """
        from .call_table import calls_frame  # imported on use, as below

        self.folder.check_exists()
        return calls_frame(self.folder, self._follower.record.created_at)

    def compare(self, other: KeptRun | str, *, limit: int = 1000) -> Comparison:
        """Compare this run with another one.

        Items are matched by path, rows of tables by file and number, and items of a variable by its
        name and number; if both runs have one variable with the same number of items, by number. So
        the runs may have other mini-batches and other inputs. Results of `map` and `map_batches` are
        compared by their values, which may load pickles of this user. Rows are read from the outputs or, of a run that has not
        completed, from the rows so far.

        Parameters
        ----------
        other
            The other run, or its id.
        limit
            Maximum number of differing items in the result.

        Returns
        -------
        Comparison
            Displayed as tables; ``settings``, ``counts``, ``times`` and ``items`` are DataFrames.

        Raises
        ------
        ConfigError
            ``other`` is neither a run nor an id, or the limit is below 0.
        RunNotFoundError
            A run does not exist, or has been removed.
        """
        folder = getattr(other, "folder", None)
        if isinstance(other, str):
            folder = run_folder.find(other)
        if not isinstance(folder, RunFolder):
            msg = (
                f"compare was given {other!r}; expected a run, or the id of one, such as "
                f"{self.run_id!r}."
            )
            raise ConfigError(msg)
        from .comparison import (
            Comparison,  # imported on use: notebooks load this module at their start
        )

        return Comparison(self.folder, folder, limit)

    def report(self, path: str | os.PathLike[str], *, play: bool | None = None) -> Path:
        """Write the run as one HTML file, which shows the views of the notebook and plays the run.

        The file works in any browser, without network, Jupyter or this package. It contains the
        last lines of the log, and the details of failed and recent mini-batches.

        Parameters
        ----------
        path
            The file, such as ``run.html``.
        play
            Whether the file contains the past of the run, at most 400 kB of it. None: if it takes a few
            seconds at most to read, for up to about 400,000 mini-batches.

        Returns
        -------
        Path
            The absolute path of the file.

        Raises
        ------
        OutputError
            The file cannot be written.
        """
        from ..views.report import write_report

        snapshot = self.snapshot()
        return write_report(self.folder, self._follower.state, snapshot, path, with_past=play)

    def recording(self) -> RecordedRun:
        """Return a recording of the run up to now, for pages of your own.

        In a notebook, a cell that ends with it plays the run, also where the saved notebook is opened
        without this package, as long as scripts run there. Its output takes about 200 kB.

        Raises
        ------
        RunNotFoundError
            The run's folder has been removed.

        Examples
        --------
        >>> run.recording().save("site/run.json")  # doctest: +SKIP
        PosixPath('/home/ada/site/run.json')
        """
        from ..views.recording import take_recording
        from ..views.report import RecordedRun

        snapshot = self.snapshot()
        return RecordedRun(
            take_recording(self.folder, self._follower.state, snapshot, with_past=True)
        )

    def delete(self) -> int:
        """Remove the run's folder: its settings, journal, logs, and the rows and files in it.

        An output outside of the folder stays.

        Returns
        -------
        int
            The bytes that were freed.

        Raises
        ------
        RunFolderError
            The run is active, is used by an active run or by a pipeline that has not ended, or is
            not in this home.
        RunNotFoundError
            The run has been removed already.
        """
        self.snapshot()  # this handle keeps the last state
        return remove_run(self.folder)


class Runs(list[_R]):
    """A list of runs, displayed as a table."""

    def __repr__(self) -> str:
        return table([run.row() for run in self])


class PrunedRuns(Runs[_R]):
    """The runs that `Run.prune` would remove or has removed, displayed as a table with sizes."""

    def __init__(self, runs: Sequence[_R], pruning: Pruning) -> None:
        super().__init__(runs)
        self._pruning = pruning
        self._text = pruning.text()
        #: bytes that the removal frees, or has freed
        self.size_bytes = pruning.size_bytes

    def carry_out(self) -> str:
        """Remove the runs, and return the result in words."""
        removed = self._pruning.carry_out()
        self.size_bytes = removed.size_bytes
        self._text = f"{self._text}\n{removed.text()}"
        return removed.text()

    def __repr__(self) -> str:
        return self._text
