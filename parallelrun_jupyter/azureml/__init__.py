"""Serves ``azureml`` to unmodified notebooks of Azure's SDK v1 if the real SDK is not installed.

It is switched on by ``%load_ext parallelrun_jupyter.azureml``, by a kernel that ``parallelrun kernel install``
created, or by the environment variable ``PARALLELRUN_AZUREML=1``.
"""

from __future__ import annotations

import sys
from typing import Any

from .loader.import_hook import install, uninstall

__all__ = ["install", "load_ipython_extension", "uninstall", "unload_ipython_extension"]


def load_ipython_extension(ipython: Any) -> None:
    """Switch the layer on in a notebook, or print why it stays off."""
    if not install():
        print(
            "The real azureml-core is installed in this environment, so the local layer stays "
            "off. To use the "
            "layer, run the notebook in an environment without azureml-core.",
            file=sys.stderr,
        )


def unload_ipython_extension(ipython: Any) -> None:
    """Switch the layer off."""
    uninstall()
