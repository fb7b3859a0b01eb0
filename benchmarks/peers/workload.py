"""A workload as an engine receives it, and the lower bound of its time."""

from __future__ import annotations

import importlib
import os
from dataclasses import dataclass, field
from pathlib import Path
from types import ModuleType
from typing import Any

from .scripts.faults import WORK_S

SCRIPT, TABLE, ITEMS = "script", "table", "items"
FRAME, FIRST, ENDPOINT = "frame", "first", "endpoint"
"""What an engine is asked for: an entry script over files or over the DataFrames of a table, a function over
items or over the parts of a DataFrame in memory, again and again the first result of a function over items,
or calls that wait for a server."""

CSV, JSON_LINES, PARQUET = "csv", "json-lines", "parquet"

FRAME_ROWS = 4_500
"""Rows of about 1 MB of the tables, for engines that want to be told a number of rows."""


@dataclass(frozen=True)
class Workload:
    """A workload, the same for all engines.

    Parameters
    ----------
    name
        Its name in the table.
    script
        A module of ``scripts``.
    source
        The folder of the files, or a CSV file; of functions a path beside which the right rows are.
    size
        Files of a mini-batch; of a table it is about 1 MB.
    workers
        Processes.
    timeout_s, retries
        Seconds per call of ``run``, if the workload sets them.
    format
        Of a table: `CSV`, `JSON_LINES` or `PARQUET`.
    is_quoted
        Whether the texts of a table hold line ends.
    environ
        Variables of the script.
    amount, unit
        The amount of work, for the rate.
    failures
        Which mini-batches cannot succeed, and how each of them fails.
    limit_s
        Seconds after which the measurement is stopped; None for no limit.
    kind
        What is asked for: `SCRIPT`, `TABLE`, `ITEMS`, `FRAME`, `FIRST` or `ENDPOINT`.
    count
        Of functions: the number of items, or of rows of the DataFrame.
    samples
        How often the first result is measured in one process, after a call that does not count.
    has_text
        Whether the DataFrame has a column of texts beside its numbers.
    rate
        Calls in a second that the server permits; a tenth of them may come at once.
    latency_s
        Seconds that the server takes for an answer.
    about
        What is compared, for the table.
    """

    name: str
    script: str
    source: str
    size: int = 1
    workers: int = 2
    timeout_s: int | None = None
    retries: int = 0
    format: str = CSV
    is_quoted: bool = False
    environ: dict[str, str] = field(default_factory=dict)
    amount: float = 0
    unit: str = "mini-batches"
    failures: dict[str, str] = field(default_factory=dict)
    limit_s: float | None = None
    kind: str = SCRIPT
    count: int = 0
    samples: int = 0
    has_text: bool = False
    rate: int = 0
    latency_s: float = 0.0
    about: str = ""

    @property
    def is_table(self) -> bool:
        """Whether ``run`` gets DataFrames."""
        return self.kind == TABLE

    @property
    def module(self) -> str:
        """The script's name for ``import``."""
        return f"benchmarks.peers.scripts.{self.script}"

    @property
    def path(self) -> str:
        """The script's file."""
        return str(Path(__file__).parent / "scripts" / f"{self.script}.py")

    def load(self) -> ModuleType:
        """Return the script as a module; ``init()`` was not called."""
        return importlib.import_module(self.module)

    def mini_batches(self) -> list[list[str]]:
        """List the files, in order, as mini-batches: every engine does so while its clock runs."""
        paths = []
        for folder, folders, names in os.walk(self.source):
            folders.sort()
            paths += [os.path.join(folder, name) for name in sorted(names)]
        return [paths[k : k + self.size] for k in range(0, len(paths), self.size)]

    def frames(self) -> Any:
        """Return an iterator of DataFrames: how pandas reads a table that is too large for memory."""
        import pandas as pd

        if self.format == JSON_LINES:
            return pd.read_json(self.source, lines=True, chunksize=FRAME_ROWS)
        if self.format == PARQUET:
            from pyarrow.parquet import ParquetFile

            batches = ParquetFile(self.source).iter_batches(FRAME_ROWS)
            return (batch.to_pandas() for batch in batches)
        return pd.read_csv(self.source, chunksize=FRAME_ROWS)

    def inputs(self) -> Any:
        """Yield the mini-batches in order."""
        return self.frames() if self.is_table else self.mini_batches()

    def expected(self) -> list[bytes]:
        """Return the right rows, in the order of the input."""
        rows = Path(f"{self.source}.expected").read_bytes().splitlines()
        return [row for k, row in enumerate(rows) if str(k) not in self.failures]

    def bound_s(self) -> float | None:
        """Return the least seconds of sleeping; None if a plain loop is measured instead."""
        if self.script == "sleeps":
            return sum(int(row[5:8]) for row in self.expected()) / 1000 / self.workers
        if self.script == "faults":
            hangs = sum(name.endswith("-hang.txt") for name in os.listdir(self.source))
            slept = len(self.expected()) * WORK_S + hangs * (self.timeout_s or 0)
            return slept / self.workers
        if self.kind == ENDPOINT:
            return (self.count - self.rate / 10) / self.rate + self.latency_s
        return None

    @property
    def has_plain_loop(self) -> bool:
        """Whether a plain loop is measured, for the bound."""
        return self.kind != FIRST and self.bound_s() is None
