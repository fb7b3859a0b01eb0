"""The environment variable ``PARALLELRUN_AZUREML``, read when an interpreter starts.

A line of ``parallelrun_azureml.pth``, beside the package, imports this where the variable is set;
where it is not, an interpreter's start costs one look at its environment.
"""

from __future__ import annotations

import os
import sys
from collections.abc import Mapping

SWITCH_VARIABLE = "PARALLELRUN_AZUREML"
_OFF = {"", "0", "false", "no", "off"}


def is_on(environ: Mapping[str, str] = os.environ) -> bool:
    """Say whether the variable switches the layer on."""
    return environ.get(SWITCH_VARIABLE, "").strip().lower() not in _OFF


def switch() -> None:
    """Switch the layer on where the variable says so."""
    if is_on():
        from .import_hook import install

        if not install():
            print(f"{SWITCH_VARIABLE} is set, but the real azureml-core is here", file=sys.stderr)


switch()
