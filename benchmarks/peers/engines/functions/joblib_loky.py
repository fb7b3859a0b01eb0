"""joblib on loky, with batches of the size that it finds for itself, and its memory maps.

Parts of a DataFrame that are larger than 1 MB are mapped: by default each is written when it is sent. Its
documentation advises to write the whole array once, and to send parts of the map: that is ``dumps``.
"""

from __future__ import annotations

import time
from typing import Any

import joblib
import numpy as np
import pandas as pd
from joblib import Parallel, delayed

from ...results import Results
from ...scripts.functions import FEATURES, score, spin
from ...values import frame_of, rows_of, slices
from ...workload import FIRST, FRAME, Workload


def run(workload: Workload, results: Results, *, dumps: bool = False) -> None:
    """Call the function by `Parallel`."""
    if workload.kind == FRAME:
        frame = frame_of(workload.count, has_text=workload.has_text)
        score_parts = _score_map if dumps else _score_frame
        results.returned(rows_of(score_parts(frame, workload, results)))
    elif workload.kind == FIRST:
        for _ in range(workload.samples + 1):
            began = time.perf_counter()
            parallel = Parallel(n_jobs=workload.workers, return_as="generator")
            found = parallel(delayed(spin)(item) for item in range(workload.count))
            values = [next(found)]
            results.samples.append(time.perf_counter() - began)
            values += found
        results.returned(map(str, values))
    else:
        parallel = Parallel(n_jobs=workload.workers)
        found = parallel(delayed(spin)(item) for item in range(workload.count))
        results.returned(map(str, found))


def _score_frame(frame: Any, workload: Workload, _: Results) -> Any:
    parallel = Parallel(n_jobs=workload.workers)
    parts = slices(workload.count)
    return np.concatenate(parallel(delayed(score)(frame.iloc[part]) for part in parts))


def _score_map(frame: Any, workload: Workload, results: Results) -> Any:
    path = results.folder / "frame.mmap"
    joblib.dump(frame.to_numpy(), path)
    values = joblib.load(path, mmap_mode="r")
    parallel = Parallel(n_jobs=workload.workers)
    parts = slices(workload.count)
    return np.concatenate(parallel(delayed(_score_array)(values[part]) for part in parts))


def _score_array(values: Any) -> Any:
    return score(pd.DataFrame(values, columns=FEATURES, copy=False)).to_numpy()
