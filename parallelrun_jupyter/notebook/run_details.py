"""``RunDetails(run).show()``: a run, live, under the cell."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Any, Protocol, runtime_checkable

from ..runs.journal.state import RunState
from ..runs.run_folder import Folder, RunFolder
from ..runs.snapshot.follower import Follower
from ..runs.snapshot.snapshot import Snapshot
from ..views.mime_bundle import RunOutput, run_output, saved_bundle
from ..views.queries import QueryContext
from ..views.saved_rows import saved_rows
from . import marimo_cells
from .display import Place, kernel_place
from .feed import Feed, follow

if TYPE_CHECKING:
    from .widget import RunWidget


class HasFolder(Protocol):
    """A run, or another object with a run folder."""

    @property
    def folder(self) -> RunFolder:
        """The run folder."""


@runtime_checkable
class ShowsItself(Protocol):
    """A run with a view of its own: a pipeline."""

    @property
    def folder(self) -> Folder:
        """The folder of the run."""

    def show(self) -> None:
        """Show it live."""

    def _repr_mimebundle_(self, **arguments: Any) -> dict[str, Any]:
        """Return its current state."""


class RunDetails:
    """The live view of a run: progress, failures, workers and logs, in every front end.

    Parameters
    ----------
    run
        A `Run`; or a job of Azure's SDK v2, which shows its steps.

    Examples
    --------
    >>> RunDetails(run).show()  # doctest: +SKIP
    """

    def __init__(self, run: HasFolder | ShowsItself) -> None:
        self._view: ShowsItself | None = None
        if not isinstance(run.folder, RunFolder):
            assert isinstance(run, ShowsItself)  # the folder is that of a pipeline
            self._view = run
            return
        self._folder = run.folder
        self._resume: Callable[..., Any] | None = getattr(run, "resume", None)

    def show(self) -> None:
        """Show the run under the cell and return; the view stays live until the run ends.

        Outside of a notebook, print the current state once.
        """
        if self._view is not None:
            self._view.show()
            return
        place = kernel_place()
        if place is not None:
            CellOutput(self._folder, place, self._resume).open()
        elif not marimo_cells.append(self):
            print(self)

    def _ipython_display_(self) -> None:
        self.show()

    def _display_(self) -> object:
        """Return what marimo displays: the widget, which marimo draws as its own; else the state.

        The state is for marimo without a page, such as a notebook that runs as a script.
        """
        if self._view is not None or not marimo_cells.is_shown():
            return marimo_cells.Html(self._repr_mimebundle_()["text/html"])
        output = CellOutput(self._folder, marimo_cells.MarimoPlace(), self._resume)
        output.open()
        return output.widget

    def _repr_mimebundle_(self, **_: Any) -> dict[str, Any]:
        """Return the current state as a MIME bundle, for front ends that call this."""
        if self._view is not None:
            return self._view._repr_mimebundle_()
        follower = Follower(self._folder)
        output = run_output(follower.refresh())
        return saved_bundle(output, saved_rows(self._folder, follower.state))

    def __str__(self) -> str:
        text: str = self._repr_mimebundle_()["text/plain"]
        return text

    def __repr__(self) -> str:
        folder = self._folder if self._view is None else self._view.folder
        return f"RunDetails({folder.run_id!r})"


class CellOutput:
    """One cell output that shows a run: its live widget, and the bundle that is saved."""

    def __init__(
        self, folder: RunFolder, place: Place, resume: Callable[..., Any] | None = None
    ) -> None:
        self._folder = folder
        self._place = place
        self._resume = resume
        self._feed: Feed | None = None
        self._stage = 0
        self._widget: RunWidget | None = None

    @property
    def widget(self) -> RunWidget | None:
        """The live widget, if the front end is shown one."""
        return self._widget

    def open(self) -> None:
        """Publish the output, and follow the run unless it has ended."""
        self._feed = feed = follow(self._folder)
        first = feed.latest
        output = run_output(first)
        self._stage = output["stage"]
        if self._place.has_views and (self._place.keeps_widgets or not first["is_final"]):
            from .widget import RunWidget

            resume = self._resume_run if self._resume is not None else None
            self._widget = RunWidget(QueryContext(self._folder, self._state, resume), output, feed)
            self._widget.stays = self._place.keeps_widgets
        self._place.display(*self._bundle(output))
        if not first["is_final"] and not feed.add(self):
            # The run ended after the first snapshot.
            self.show(feed.latest)
            self.end("")

    def _state(self) -> RunState:
        """Return the fold that answers the queries of the views."""
        return self._feed.state if self._feed is not None else RunState()

    def _resume_run(self, failed_only: bool, group: str | None) -> None:  # noqa: FBT001 - one of two ways to resume
        """Resume the run, and follow it again."""
        if self._resume is not None:
            self._resume(failed_only=failed_only, group=group)
        self._feed = feed = follow(self._folder)
        self._stage = 0
        if self._widget is not None:
            self._widget.follow_again(feed)
        if not feed.add(self):
            self.show(feed.latest)
            self.end("")

    def _bundle(self, output: RunOutput) -> tuple[dict[str, Any], dict[str, Any]]:
        """Return the output's bundle and metadata; at the end without a widget, which needs the kernel."""
        bundle = saved_bundle(output, saved_rows(self._folder, self._state()))
        if self._widget is None or output["snapshot"]["is_final"]:
            return bundle, {}
        return {**self._widget.view_mime(), **bundle}, self._widget.view_metadata()

    def is_live(self) -> bool:
        """Return whether a view of the widget is open."""
        return self._widget is not None and self._widget.is_live()

    def show(self, snapshot: Snapshot) -> None:
        """Draw a snapshot; at each new stage of the run, also update the saved bundle."""
        output = run_output(snapshot)
        if self._widget is not None:
            self._widget.show(output, unasked=self._place.is_deaf())
        if output["stage"] > self._stage:
            self._stage = output["stage"]
            self._place.update(*self._bundle(output))

    def end(self, problem: str) -> None:
        """Finish the widget; ``problem`` is shown if it is not empty."""
        if self._widget is not None:
            self._widget.finish(problem)
