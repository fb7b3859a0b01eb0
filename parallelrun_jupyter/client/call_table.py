"""The table of the calls of a run."""

from __future__ import annotations

from typing import TYPE_CHECKING

from ..runs.ended_calls import OUTCOMES, EndedCalls
from ..runs.journal.files import JournalReader
from ..runs.run_folder import RunFolder

if TYPE_CHECKING:
    import pandas as pd


def calls_frame(folder: RunFolder, created_at: float) -> pd.DataFrame:
    """Return a row for each call of a run that has ended, in the order of their ends."""
    import numpy as np
    import pandas as pd

    calls = EndedCalls()
    calls.read(JournalReader(folder.journal).read())
    column = {
        name: np.array(getattr(calls, name), "int64")
        for name in (
            "mini_batches", "attempts", "workers", "ended_ms", "durations_us", "outcomes", "tokens",
            "nano_usd",
        )
    }  # fmt: skip
    ended_us = round(created_at * 1e6) + column["ended_ms"] * 1000
    took_us = column["durations_us"]
    ended = pd.Series(pd.to_datetime(ended_us, unit="us", utc=True))
    took = pd.Series(pd.to_timedelta(np.maximum(took_us, 0), unit="us"))
    text = pd.StringDtype("python")  # rows share the texts of names
    names = np.array([*calls.worker_names, ""], dtype=object)
    frame = pd.DataFrame(
        {
            "mini_batch": column["mini_batches"],
            "item": pd.Series(calls.items(folder), dtype=text),
            "attempt": column["attempts"],
            "worker": pd.Series(names[column["workers"]], dtype=text),
            "started_at": (ended - took).where(took_us >= 0),
            "ended_at": ended,
            "seconds": np.where(took_us >= 0, took_us / 1e6, np.nan),
            "outcome": pd.Series(np.array(OUTCOMES, dtype=object)[column["outcomes"]], dtype=text),
            "tokens": column["tokens"],
            "usd": column["nano_usd"] / 1e9,
        }
    )
    ordered: pd.DataFrame = frame.sort_values("ended_at", kind="stable", ignore_index=True)
    return ordered
