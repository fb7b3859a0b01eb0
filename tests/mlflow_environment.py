"""mlflow in an environment of its own: it saves models, scores them by hand, and runs workers.

`python_with_mlflow` builds the environment with uv once (600 MB, mostly scikit-learn and pyarrow), in
the cache folder of the tests (``PARALLELRUN_TEST_CACHE``, else the user's cache folder), or uses the
python in ``PARALLELRUN_MLFLOW``.
"""

from __future__ import annotations

import os
import sys

from tests.pandas_environments import build_environment, cache_folder

VERSION = "3.5.1"
PYTHON_VARIABLE = "PARALLELRUN_MLFLOW"
_PACKAGES = [
    f"mlflow-skinny=={VERSION}", "scikit-learn", "pandas<3", "numpy", "pyarrow", "pillow",
]  # fmt: skip


def python_with_mlflow() -> tuple[str, str]:
    """Return a python that has mlflow, or "" and the reason."""
    named = os.environ.get(PYTHON_VARIABLE)
    if named:
        return named, ""
    version = ".".join(map(str, sys.version_info[:2]))
    folder = cache_folder() / f"python{version}-mlflow{VERSION}"
    reason = build_environment(sys.executable, _PACKAGES, folder)
    return ("", reason) if reason else (str(folder / "bin" / "python"), "")
