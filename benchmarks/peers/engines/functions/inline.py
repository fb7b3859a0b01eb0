"""A plain loop over the items; one call for a DataFrame."""

from __future__ import annotations

from ...results import Results
from ...scripts.functions import score, spin
from ...values import frame_of, rows_of
from ...workload import FRAME, Workload


def run(workload: Workload, results: Results) -> None:
    """Call the function in this process."""
    if workload.kind == FRAME:
        scores = score(frame_of(workload.count, has_text=workload.has_text))
        results.returned(rows_of(scores))
    else:
        results.returned(map(str, [spin(item) for item in range(workload.count)]))
