"""marimo, Voila and papermill in an environment of their own, with the dependencies of this package.

`python_with_front_ends` builds it with uv once (250 MB), in the cache folder of the tests
(``PARALLELRUN_TEST_CACHE``, else the user's cache folder), or uses the python in
``PARALLELRUN_FRONT_ENDS``.
"""

from __future__ import annotations

import os
import sys
from importlib.metadata import requires

from tests.pandas_environments import build_environment, cache_folder

MARIMO, VOILA, PAPERMILL = "0.25.2", "0.5.13", "2.7.0"
PYTHON_VARIABLE = "PARALLELRUN_FRONT_ENDS"
PACKAGE = "parallelrun-jupyter"


def python_with_front_ends() -> tuple[str, str]:
    """Return a python that has the front ends, or "" and the reason."""
    named = os.environ.get(PYTHON_VARIABLE)
    if named:
        return named, ""
    version = ".".join(map(str, sys.version_info[:2]))
    folder = cache_folder() / f"python{version}-marimo{MARIMO}-voila{VOILA}-papermill{PAPERMILL}"
    ours = [text.partition(";")[0] for text in requires(PACKAGE) or () if "extra ==" not in text]
    packages = [
        f"marimo=={MARIMO}", f"voila=={VOILA}", f"papermill=={PAPERMILL}", "ipykernel", *ours,
    ]  # fmt: skip
    reason = build_environment(sys.executable, packages, folder)
    return ("", reason) if reason else (str(folder / "bin" / "python"), "")
