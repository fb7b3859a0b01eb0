"""Runs a plain script of a pipeline, with the same names to import as an entry script has."""

from __future__ import annotations

import os
import runpy
import sys

from . import azureml_names, azureml_user
from .azureml_script import read_context
from .model_store import link_models
from .parent import die_with_parent


def main(words: list[str]) -> int:
    """Run the script at ``words[0]`` with the other words as its arguments, as ``__main__``."""
    die_with_parent(os.getppid())
    script = words[0]
    context = read_context()
    cwd = os.getcwd()
    azureml_user.install(
        {
            "output_dir": cwd,
            "log_dir": os.path.join(cwd, "logs"),
            "agent_name": "script",
            "working_dir": cwd,
        }
    )
    azureml_names.install()
    if context.get("workspace_folder"):
        link_models(context["workspace_folder"])
    sys.argv[:] = words
    sys.path.insert(0, os.path.dirname(script))
    if cwd not in sys.path:
        sys.path.insert(1, cwd)
    runpy.run_path(script, run_name="__main__")
    return 0
