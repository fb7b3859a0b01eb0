"""Runs a plain script of a pipeline, which can import the same names as an entry script."""

from __future__ import annotations

import os
import runpy
import sys

from .azureml import finder
from .azureml.core import read_context
from .azureml.model_store import link_models
from .parent import die_with_parent


def main(words: list[str]) -> int:
    """Run a script as ``__main__``; ``words`` are its parent's process id, its path, its arguments."""
    die_with_parent(int(words[0]))  # os.getppid() may already be another process
    words = words[1:]
    script = words[0]
    context = read_context()
    cwd = os.getcwd()
    finder.install(
        {
            "output_dir": cwd,
            "log_dir": os.path.join(cwd, "logs"),
            "agent_name": "script",
            "working_dir": cwd,
        }
    )
    if context.get("workspace_folder"):
        link_models(context["workspace_folder"])
    sys.argv[:] = words
    sys.path.insert(0, os.path.dirname(script))
    if cwd not in sys.path:
        sys.path.insert(1, cwd)
    runpy.run_path(script, run_name="__main__")
    return 0
