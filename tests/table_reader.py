"""Reads plan lines as a worker does, in an interpreter of any version, and prints the tables.

``python table_reader.py < request``: the request is JSON with the folder of the worker's code and the
plan lines of each case. It runs on Python 3.7 with pandas 1.0, and imports nothing of the tests.
"""

from __future__ import annotations

import importlib.util
import json
import sys
import warnings
from typing import Any, Callable, Dict


def canonical(value: Any) -> Any:
    """Return a value of a table as JSON that is equal for equal values under every pandas."""
    import numpy as np
    import pandas as pd

    if isinstance(value, (list, tuple, np.ndarray)):
        return [canonical(one) for one in value]
    if isinstance(value, dict):
        return {str(key): canonical(one) for key, one in value.items()}
    if pd.isna(value):
        return None
    if isinstance(value, (bool, np.bool_)):
        return bool(value)
    if isinstance(value, (int, np.integer)):
        return int(value)
    if isinstance(value, (float, np.floating)):
        return "float %r" % float(value)
    if isinstance(value, bytes):
        return "bytes " + value.hex()
    if isinstance(value, str):
        return value
    shown = value.isoformat() if hasattr(value, "isoformat") else str(value)
    name = {"Timestamp": "datetime"}.get(type(value).__name__, type(value).__name__)
    return "%s %s" % (name, shown)


def described(frame: Any) -> Dict[str, Any]:
    """Return a DataFrame as JSON: columns, kinds of types, and rows."""
    return {
        "columns": list(frame.columns),
        "types": [_kind(str(dtype)) for dtype in frame.dtypes],
        "rows": [
            [canonical(value) for value in row]
            for row in zip(*(frame[name].tolist() for name in frame.columns))
        ],
        "index": [int(frame.index[0]), int(frame.index[-1])],
    }


def _kind(name: str) -> str:
    """Return the kind of a type; text and the unit of times have the names of their pandas."""
    if name.startswith(("datetime64[", "timedelta64[")):
        zone = name.rstrip("]").partition(", ")[2]
        return name.partition("[")[0] + (" in " + zone if zone else "")
    return "object" if name in ("str", "string") else name


def _answer(load: Callable[[Any], Any], bad_input: Any, row: Any) -> Dict[str, Any]:
    with warnings.catch_warnings(record=True) as said:
        warnings.simplefilter("always")
        try:
            answer = described(load(row))
        except bad_input as error:
            answer = {"refused": str(error)}
        except Exception as error:  # the test shows it
            answer = {"crashed": "%s: %s" % (type(error).__name__, error)}
    quiet = (DeprecationWarning, PendingDeprecationWarning, ImportWarning)
    answer["warnings"] = [str(one.message) for one in said if not issubclass(one.category, quiet)]
    return answer


def main() -> None:
    request = json.load(sys.stdin)
    spec = importlib.util.spec_from_file_location(
        "worker", request["worker"] + "/__init__.py", submodule_search_locations=[request["worker"]]
    )
    assert spec is not None
    sys.modules["worker"] = importlib.util.module_from_spec(spec)
    import pandas as pd
    import pyarrow as pa
    from worker.failures import BadInput
    from worker.mini_batches import load

    answers = {
        name: [_answer(load, BadInput, row) for row in rows]
        for name, rows in request["plans"].items()
    }
    json.dump({"pandas": pd.__version__, "pyarrow": pa.__version__, "cases": answers}, sys.stdout)


if __name__ == "__main__":
    main()
