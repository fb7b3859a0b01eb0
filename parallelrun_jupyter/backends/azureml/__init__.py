"""Azure ML: a run is a job there, and its results are read as they appear."""

from __future__ import annotations

import os
from collections.abc import Callable
from functools import partial

from ...engine.node.fork_server import ForkServerCache
from ...runs.run_folder import RunFolder
from ...runs.run_record import RunRecord
from .pool import AzureMLPool

POLL_VARIABLE = "PARALLELRUN_AZUREML_POLL_S"
"""The variable with the seconds between two looks at a job; tests set it."""

_POLL_S = 2.0


def make_pool(
    folder: RunFolder,
    record: RunRecord,
    keep_rows: Callable[[bytes], tuple[int, int]],
    fork_servers: ForkServerCache | None = None,  # noqa: ARG001 - no worker runs on this machine
) -> AzureMLPool:
    """Return the pool of a run on Azure ML."""
    from .job_folder import write_job
    from .workspace import connect

    return AzureMLPool(
        folder,
        record,
        keep_rows,
        connect=partial(connect, record.placement.compute, dict(os.environ)),
        write_job=write_job,
        poll_s=float(os.environ.get(POLL_VARIABLE, _POLL_S)),
    )
