"""Shows the calls of a worker to its node."""

from __future__ import annotations

import time

from .. import status_page

TYPE_CHECKING = False
if TYPE_CHECKING:  # typing is not worth its import in a worker
    from typing import Any

    from ..attempt import Attempt


def show(page: status_page.StatusPage, in_flight: dict[Attempt, Any]) -> None:
    """Publish the number of calls in flight, and the one that a limit of time ends first.

    Parameters
    ----------
    page
        The page that the node reads.
    in_flight
        The calls, in the order of their starts.
    """
    # Each part of an attempt that isolates has a time limit of its own.
    oldest = next((call for call in in_flight if not call.isolates), None)
    phase, mini_batch, since = status_page.WAITING, -1, time.monotonic()
    if oldest is not None:
        phase, mini_batch, since = status_page.RUNNING, oldest.mini_batch, oldest.began
    page.write_calls(len(in_flight), mini_batch, since)
    page.write(phase, mini_batch, since)
