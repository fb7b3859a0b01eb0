"""Jobs of Azure ML of others: a run shows one of them."""

from __future__ import annotations

import os
from functools import partial

from ....runs.run_folder import RunFolder
from .. import POLL_VARIABLE
from .driver import ForeignDriver

_POLL_S = 5.0


def make_driver(folder: RunFolder) -> ForeignDriver:
    """Return the driver of a run that follows a job."""
    from ..workspace import connect_history

    compute = folder.read_record().placement.compute
    connect = partial(connect_history, compute["of"], dict(os.environ))
    return ForeignDriver(folder, connect, float(os.environ.get(POLL_VARIABLE, _POLL_S)))
