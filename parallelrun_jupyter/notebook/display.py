"""One output of a notebook cell, which any thread may update."""

from __future__ import annotations

import contextvars
import os
import secrets
import sys
from typing import Any


class Place:
    """One output of the running cell.

    Parameters
    ----------
    publisher
        IPython's display publisher.
    has_views
        Whether widgets may be shown. Tools that execute notebooks draw no widgets, and would store
        their state in the notebook.
    """

    #: whether a widget is also shown for a run that has ended, and stays as long as its cell
    keeps_widgets = False

    def __init__(self, publisher: Any, *, has_views: bool) -> None:
        self._publisher = publisher
        self._display_id = secrets.token_hex(8)
        self.has_views = has_views

    def is_deaf(self) -> bool:
        """Return whether a cell is running: until it ends, no message of a view is received."""
        return _running_cells.is_any

    def display(self, bundle: dict[str, Any], metadata: dict[str, Any] | None = None) -> None:
        """Publish the output under the running cell; ``metadata`` belong to parts of the bundle."""
        self._publish(bundle, metadata or {}, update=False)

    def update(self, bundle: dict[str, Any], metadata: dict[str, Any] | None = None) -> None:
        """Replace the output.

        The empty context makes the message belong to the cell that runs now. Front ends find the
        output by its display id; tools that execute notebooks only listen to the running cell.
        """
        contextvars.Context().run(self._publish, bundle, metadata or {}, update=True)

    def _publish(self, bundle: dict[str, Any], metadata: dict[str, Any], *, update: bool) -> None:
        transient = {"display_id": self._display_id}
        self._publisher.publish(bundle, metadata=metadata, transient=transient, update=update)


class _RunningCells:
    """Knows whether the kernel runs a cell, from the first view on."""

    def __init__(self) -> None:
        self.is_any = False
        self._events: Any = None

    def follow(self, shell: Any) -> None:
        """Follow the cells of this shell; called by the running one."""
        self.is_any = True
        if self._events is not shell.events:
            self._events = shell.events
            shell.events.register("pre_run_cell", self._begin)
            shell.events.register("post_run_cell", self._end)

    def _begin(self, _info: Any) -> None:
        self.is_any = True

    def _end(self, _result: Any) -> None:
        self.is_any = False


_running_cells = _RunningCells()


def kernel_place() -> Place | None:
    """Return an output of the running cell, or None if this process is not a notebook kernel."""
    ipython = sys.modules.get("IPython")
    shell: Any = ipython.get_ipython() if ipython is not None else None
    kernel: Any = getattr(shell, "kernel", None)
    if kernel is None:
        return None
    # nbclient, and with it papermill and nbconvert --execute, declares that input() is not
    # available. Voila builds on nbclient as well, and does show widgets.
    content = kernel.get_parent("shell").get("content", {}) if hasattr(kernel, "get_parent") else {}
    is_voila = os.environ.get("SERVER_SOFTWARE", "").startswith("voila")
    has_views = bool(content.get("allow_stdin", True)) or is_voila
    _running_cells.follow(shell)
    return Place(shell.display_pub, has_views=has_views)
