"""Reads plan lines as a worker does, in an interpreter of any version, and prints the rows as JSON.

``python table_reader.py < request``: the request is JSON with the folder of the worker's code and the
plan lines of each case. It runs on Python 3.7 with pandas 1.0, and imports nothing from the tests.
"""

from __future__ import annotations

import importlib.util
import json
import sys
import warnings
from typing import Any, Callable


def canonical(value: Any) -> Any:
    """Return a value of a table as JSON that is equal for equal values under every pandas."""
    import numpy as np
    import pandas as pd

    if isinstance(value, (list, tuple, np.ndarray)):
        return [canonical(element) for element in value]
    if isinstance(value, dict):
        return {str(key): canonical(element) for key, element in value.items()}
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


def described(frame: Any) -> dict[str, Any]:
    """Return a DataFrame as JSON: columns, kinds of dtypes, and rows."""
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
    """Return a dtype without the differences between versions: names of text, units of times."""
    if name.startswith(("datetime64[", "timedelta64[")):
        zone = name.rstrip("]").partition(", ")[2]
        return name.partition("[")[0] + (" in " + zone if zone else "")
    return "object" if name in ("str", "string") else name


def _answer(load: Callable[[Any], Any], bad_input: Any, line: Any) -> dict[str, Any]:
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        try:
            answer = described(load(line))
        except bad_input as error:
            answer = {"refused": str(error)}
        except Exception as error:  # reported by the test
            answer = {"crashed": "%s: %s" % (type(error).__name__, error)}
    quiet = (DeprecationWarning, PendingDeprecationWarning, ImportWarning)
    answer["warnings"] = [
        str(item.message) for item in caught if not issubclass(item.category, quiet)
    ]
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
    from worker.context import load
    from worker.failures import BadInput
    from worker.plan_line import PlanLine

    answers = {
        name: [_answer(load, BadInput, PlanLine.of_row(row)) for row in rows]
        for name, rows in request["plans"].items()
    }
    json.dump({"pandas": pd.__version__, "pyarrow": pa.__version__, "cases": answers}, sys.stdout)


if __name__ == "__main__":
    main()
