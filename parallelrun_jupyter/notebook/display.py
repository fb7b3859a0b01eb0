"""The place of one output in a notebook, which any thread may update."""

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
        Whether a person may be looking: an executor of notebooks draws no widgets, and would
        store their state in the notebook.
    """

    def __init__(self, publisher: Any, *, has_views: bool) -> None:
        self._publisher = publisher
        self._display_id = secrets.token_hex(8)
        self.has_views = has_views

    def display(self, bundle: dict[str, Any]) -> None:
        """Put the output under the running cell."""
        self._publish(bundle, update=False)

    def update(self, bundle: dict[str, Any]) -> None:
        """Put something else in its place.

        An empty context makes this message belong to the cell that runs now: front ends find the
        output by its display id, and executors listen to no other cell.
        """
        contextvars.Context().run(self._publish, bundle, update=True)

    def _publish(self, bundle: dict[str, Any], *, update: bool) -> None:
        transient = {"display_id": self._display_id}
        self._publisher.publish(bundle, metadata={}, transient=transient, update=update)


def kernel_place() -> Place | None:
    """Return a place under the running cell, or None where this process is no notebook's kernel."""
    ipython = sys.modules.get("IPython")
    shell: Any = ipython.get_ipython() if ipython is not None else None
    kernel: Any = getattr(shell, "kernel", None)
    if kernel is None:
        return None
    # nbclient and what builds on it (papermill, nbconvert --execute) say that nobody can answer
    # input(); Voila, which does show widgets, builds on it too.
    content = kernel.get_parent("shell").get("content", {}) if hasattr(kernel, "get_parent") else {}
    is_voila = os.environ.get("SERVER_SOFTWARE", "").startswith("voila")
    has_views = bool(content.get("allow_stdin", True)) or is_voila
    return Place(shell.display_pub, has_views=has_views)
