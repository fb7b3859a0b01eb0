"""The engines: each module runs a workload as its documentation tells its users to.

``run(workload, results, **options)`` is called with the engine imported and nothing started.
"""

from __future__ import annotations

import importlib.util
from dataclasses import dataclass, field
from typing import Any


@dataclass(frozen=True)
class Engine:
    """An engine as the table names it.

    Parameters
    ----------
    module
        Its module here.
    needs
        Its imports, in the order of the check.
    options
        Arguments of its ``run`` beside the workload.
    leaves_out
        Scripts for which the variant is none, and why.
    """

    module: str
    needs: tuple[str, ...] = ()
    options: dict[str, Any] = field(default_factory=dict)
    leaves_out: dict[str, str] = field(default_factory=dict)

    def missing(self) -> list[str]:
        """Return the packages that are not installed."""
        return [name for name in self.needs if importlib.util.find_spec(name) is None]


_CHUNKS = "chunks are for many short calls"

ENGINES = {
    "ours": Engine("ours"),
    "executor": Engine("executor"),
    "executor-chunks": Engine(
        "executor",
        options={"chunks_a_worker": 16},
        leaves_out={"table": _CHUNKS, "sleeps": _CHUNKS, "faults": _CHUNKS},
    ),
    "pebble": Engine("pebble_pool", ("pebble",)),
    "joblib": Engine("joblib_loky", ("joblib",)),
    "dask": Engine("dask_cluster", ("distributed", "dask")),
    "ray": Engine("ray_data", ("ray", "pyarrow")),
}
"""By name; ours first."""

INLINE = Engine("inline")
"""A plain loop, from which the bound is made."""
