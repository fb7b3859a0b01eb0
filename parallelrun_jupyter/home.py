"""The home: the folder of all runs, with the file of named computes."""

from __future__ import annotations

import json
import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from .errors import ConfigError
from .files import write_atomically

HOME_VARIABLE = "PARALLELRUN_HOME"


def home(environ: Mapping[str, str] = os.environ) -> Path:
    """Return the home: ``PARALLELRUN_HOME``, or by default a folder in the user's data folder."""
    path = environ.get(HOME_VARIABLE, "").strip()
    if path:
        return Path(path).expanduser().absolute()
    from platformdirs import user_data_path

    return user_data_path("parallelrun", appauthor=False)


def read_computes(environ: Mapping[str, str] = os.environ) -> dict[str, dict[str, Any]]:
    """Return the settings of the named computes, from ``computes.json``.

    Raises
    ------
    ConfigError
        The file is damaged.
    """
    path = home(environ) / "computes.json"
    try:
        computes = json.loads(path.read_text(encoding="utf-8"))
    except FileNotFoundError:
        return {}
    except (OSError, ValueError) as error:
        msg = (
            f"{path} could not be read ({error}); expected the named computes as a JSON object. "
            "Correct or delete the file."
        )
        raise ConfigError(msg) from error
    if not isinstance(computes, dict) or not all(isinstance(v, dict) for v in computes.values()):
        msg = (
            f"{path} is not a JSON object of named computes; delete it and use name_compute again."
        )
        raise ConfigError(msg)
    return computes


def write_computes(computes: Mapping[str, Any], environ: Mapping[str, str] = os.environ) -> None:
    """Write the settings of the named computes to ``computes.json``."""
    path = home(environ) / "computes.json"
    path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
    write_atomically(path, json.dumps(computes, indent=1), mode=0o600)
