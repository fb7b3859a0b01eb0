"""The messages of a driver to the process that has started it, over a socket pair."""

from __future__ import annotations

import selectors
import socket

ENDING = b"ending\n"
ENDING_WITH_IMPORTS = b"ending with imports\n"
"""The run is over, and the driver soon idle; with imports, a fork server has modules for the next run."""

IDLE = b"idle\n"
ACCEPTED = b"taken\n"


def is_readable(channel: socket.socket, timeout_s: float) -> bool:
    """Wait until data or the end can be read; return False after ``timeout_s`` seconds."""
    with selectors.DefaultSelector() as selector:  # select() refuses descriptors above 1023
        selector.register(channel, selectors.EVENT_READ)
        return bool(selector.select(timeout_s))
