"""azure-ai-ml in an environment of its own, as an oracle: it reads job files and prints their wire form.

`python_with_azure_ai_ml` builds the environment with uv once (255 MB), in the cache folder of the tests
(``PARALLELRUN_TEST_CACHE``, else the user's cache folder), or uses the python in
``PARALLELRUN_AZURE_AI_ML``. Its process reads paths and writes JSON, one line each.

The environment also has the dependencies of this package, as a user's has: there the objects of
azure-ai-ml run on this machine.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
from importlib.metadata import requires
from pathlib import Path
from typing import Any

from tests.pandas_environments import build_environment, cache_folder

VERSION = "1.35.2"
PYTHON_VARIABLE = "PARALLELRUN_AZURE_AI_ML"
PACKAGE = "parallelrun-jupyter"

_SERVER = """
import json, logging, os, sys, warnings
replies = os.fdopen(os.dup(1), "w")
os.dup2(2, 1)
logging.disable(logging.CRITICAL)
warnings.simplefilter("ignore")
from azure.ai.ml import load_job
for line in sys.stdin:
    path, overrides = json.loads(line)
    try:
        job = load_job(path, params_override=[{name: value} for name, value in overrides.items()])
        wire = job._to_rest_object().properties.as_dict()
        steps = {}
        for name, node in wire.pop("jobs").items():
            component = node.pop("componentId", None)
            plain = component._to_dict() if hasattr(component, "_to_dict") else component
            steps[name] = {"node": node, "component": plain}
        mistakes = [str(error) for error in job._validate()._errors]
        reply = {"job": wire, "steps": steps, "mistakes": mistakes}
    except Exception as error:
        reply = {"error": f"{type(error).__name__}: {error}"}
    replies.write(json.dumps(reply, default=str) + "\\n")
    replies.flush()
"""


class AzureAiMl:
    """The process of azure-ai-ml."""

    def __init__(self, python: str) -> None:
        environ = {**os.environ, "AZURE_EXTENSION_DIR": "", "PYTHONPATH": ""}
        self._process = subprocess.Popen(
            [python, "-c", _SERVER], stdin=subprocess.PIPE, stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL, text=True, env=environ,
        )  # fmt: skip

    def read(self, path: Path, overrides: dict[str, Any] | None = None) -> dict[str, Any]:
        """Return the wire form of a job: ``job``, ``steps`` and its ``mistakes``, or ``error``."""
        assert self._process.stdin is not None
        assert self._process.stdout is not None
        self._process.stdin.write(json.dumps([str(path), overrides or {}]) + "\n")
        self._process.stdin.flush()
        reply: dict[str, Any] = json.loads(self._process.stdout.readline())
        return reply

    def close(self) -> None:
        """End the process."""
        self._process.communicate(timeout=20)


def python_with_azure_ai_ml() -> tuple[str, str]:
    """Return a python with azure-ai-ml and the dependencies of this package, or "" and the reason."""
    named = os.environ.get(PYTHON_VARIABLE)
    if named:
        return named, ""
    version = ".".join(map(str, sys.version_info[:2]))
    folder = cache_folder() / f"python{version}-azure-ai-ml{VERSION}-and-ours"
    ours = [text.partition(";")[0] for text in requires(PACKAGE) or () if "extra ==" not in text]
    packages = [f"azure-ai-ml=={VERSION}", *ours, "ipykernel"]
    reason = build_environment(sys.executable, packages, folder)
    return ("", reason) if reason else (str(folder / "bin" / "python"), "")


python_with_both = python_with_azure_ai_ml
"""The same, for tests that run this package in it."""
