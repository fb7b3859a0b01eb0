"""Switches the layer on if the environment variable ``PARALLELRUN_AZUREML`` is set.

``parallelrun_azureml.pth``, installed beside the package, imports this module when an interpreter
starts with the variable set. Other interpreters only read their environment.
"""

from __future__ import annotations

import os
import sys
from collections.abc import Mapping

SWITCH_VARIABLE = "PARALLELRUN_AZUREML"
_OFF = {"", "0", "false", "no", "off"}


def is_on(environ: Mapping[str, str] = os.environ) -> bool:
    """Return whether the variable switches the layer on."""
    return environ.get(SWITCH_VARIABLE, "").strip().lower() not in _OFF


def switch() -> None:
    """Switch the layer on if the variable is set."""
    if is_on():
        from .import_hook import install

        if not install():
            print(
                f"{SWITCH_VARIABLE} is set, but the real azureml-core is installed", file=sys.stderr
            )


switch()
