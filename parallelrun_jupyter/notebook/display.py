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

    def __init__(self, publisher: Any, *, has_views: bool) -> None:
        self._publisher = publisher
        self._display_id = secrets.token_hex(8)
        self.has_views = has_views

    def display(self, bundle: dict[str, Any]) -> None:
        """Publish the output under the running cell."""
        self._publish(bundle, update=False)

    def update(self, bundle: dict[str, Any]) -> None:
        """Replace the output.

        The empty context makes the message belong to the cell that runs now. Front ends find the
        output by its display id; tools that execute notebooks only listen to the running cell.
        """
        contextvars.Context().run(self._publish, bundle, update=True)

    def _publish(self, bundle: dict[str, Any], *, update: bool) -> None:
        transient = {"display_id": self._display_id}
        self._publisher.publish(bundle, metadata={}, transient=transient, update=update)


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
    return Place(shell.display_pub, has_views=has_views)
