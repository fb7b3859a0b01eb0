"""The engines: each module runs a workload as its documentation tells its users to.

``run(workload, results, **options)`` is called with the engine imported and nothing started. What is asked
for by `workload.Workload.kind` has engines of its own.
"""

from __future__ import annotations

import importlib.util
from dataclasses import dataclass, field
from typing import Any

from ..workload import ENDPOINT, FIRST, FRAME, ITEMS, SCRIPT, TABLE, Workload


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
        Scripts or workloads for which the variant is none, and why.
    install
        The command that installs the imports, if they are not in the extra ``bench``.
    """

    module: str
    needs: tuple[str, ...] = ()
    options: dict[str, Any] = field(default_factory=dict)
    leaves_out: dict[str, str] = field(default_factory=dict)
    install: str = "pip install -e '.[bench]'"

    def missing(self) -> list[str]:
        """Return the packages that are not installed."""
        return [name for name in self.needs if importlib.util.find_spec(name) is None]

    def why_not(self, workload: Workload) -> str:
        """Return why the engine does not take part; empty if it does."""
        return self.leaves_out.get(workload.script, self.leaves_out.get(workload.name, ""))


_DASK, _RAY, _DATASETS = ("distributed", "dask"), ("ray", "pyarrow"), ("datasets",)
_CHUNKS = "chunks are for many short calls"
_TEXT = "texts cannot be mapped"

_POOLS = {
    "ours": Engine("ours"),
    "executor": Engine("executor"),
    "pebble": Engine("pebble_pool", ("pebble",)),
    "joblib": Engine("joblib_loky", ("joblib",)),
    "dask": Engine("dask_cluster", _DASK),
    "ray": Engine("ray_data", _RAY),
    "datasets": Engine("hf_datasets", _DATASETS),
}

_SCRIPT = {
    **_POOLS,
    "executor-chunks": Engine(
        "executor",
        options={"chunks_a_worker": 16},
        leaves_out={"sleeps": _CHUNKS, "faults": _CHUNKS},
    ),
}

_TABLE = {
    **_POOLS,
    "polars-bound": Engine("bounds", ("polars",), {"reader": "polars"}),
    "pyarrow-bound": Engine("bounds", ("pyarrow",), {"reader": "pyarrow"}),
}

_ITEMS = {
    "ours": Engine("functions.ours"),
    **{
        f"executor-{size}": Engine("functions.executor", options={"chunksize": size})
        for size in (16, 64, 256)
    },
    "joblib": Engine("functions.joblib_loky", ("joblib",)),
    "dask": Engine("functions.dask_cluster", _DASK),
    "dask-bag": Engine("functions.dask_cluster", _DASK, {"in_bag": True}),
    "ray": Engine("functions.ray_tasks", _RAY),
    "ray-pool": Engine("functions.ray_tasks", _RAY, {"in_pool": True}),
    "datasets": Engine("functions.hf_datasets", _DATASETS),
}

_FRAME = {
    "ours": Engine("functions.ours"),
    "executor": Engine("functions.executor"),
    "joblib": Engine("functions.joblib_loky", ("joblib",)),
    "joblib-dump": Engine(
        "functions.joblib_loky", ("joblib",), {"dumps": True}, {"frame-text": _TEXT}
    ),
    "dask": Engine("functions.dask_cluster", ("dask.dataframe", *_DASK)),
    "ray": Engine("functions.ray_tasks", _RAY),
    "datasets": Engine("functions.hf_datasets", _DATASETS),
}

_FIRST = {
    "ours": Engine("functions.ours"),
    "executor": Engine("functions.executor"),
    "joblib": Engine("functions.joblib_loky", ("joblib",)),
    "dask": Engine("functions.dask_cluster", _DASK),
    "ray": Engine("functions.ray_tasks", _RAY),
}

_ENDPOINT = {
    "ours": Engine("endpoint.ours"),
    "asyncio": Engine("endpoint.asyncio_script"),
    "httpx": Engine("endpoint.httpx_script", ("httpx",)),
    "httpx-threads": Engine("endpoint.httpx_script", ("httpx",), {"in_threads": True}),
    # They bring many packages: install them in an environment of their own.
    "curator": Engine(
        "endpoint.curator_llm", ("bespokelabs",), install="pip install bespokelabs-curator"
    ),
    "daft": Engine("endpoint.daft_column", ("daft",), install="pip install daft"),
}

ENGINES = {
    SCRIPT: _SCRIPT, TABLE: _TABLE, ITEMS: _ITEMS, FRAME: _FRAME, FIRST: _FIRST,
    ENDPOINT: _ENDPOINT,
}  # fmt: skip
"""For each kind of workload, the engines by name; ours first."""

NAMES = list(dict.fromkeys(name for engines in ENGINES.values() for name in engines))
"""The names of all engines."""

INLINE = {
    SCRIPT: Engine("inline"), TABLE: Engine("inline"), ITEMS: Engine("functions.inline"),
    FRAME: Engine("functions.inline"),
}  # fmt: skip
"""A plain loop, from which the bound is made."""
