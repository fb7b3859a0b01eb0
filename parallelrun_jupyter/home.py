"""The home: the folder that holds the runs, and the named computes in it."""

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
    """Return the folder that holds the runs: ``PARALLELRUN_HOME``, else the user data folder."""
    given = environ.get(HOME_VARIABLE, "").strip()
    if given:
        return Path(given).expanduser().absolute()
    from platformdirs import user_data_path

    return user_data_path("parallelrun", appauthor=False)


def read_computes(environ: Mapping[str, str] = os.environ) -> dict[str, dict[str, Any]]:
    """Return the named computes: what ``computes.json`` of the home says of each.

    Raises
    ------
    ConfigError
        The file is damaged.
    """
    path = home(environ) / "computes.json"
    try:
        found = json.loads(path.read_text(encoding="utf-8"))
    except FileNotFoundError:
        return {}
    except (OSError, ValueError) as error:
        msg = f"{path} could not be read ({error}); it holds the named computes as a JSON object."
        raise ConfigError(msg) from error
    if not isinstance(found, dict) or not all(isinstance(v, dict) for v in found.values()):
        msg = f"{path} is no JSON object of named computes; name them anew with name_compute."
        raise ConfigError(msg)
    return found


def write_computes(computes: Mapping[str, Any], environ: Mapping[str, str] = os.environ) -> None:
    """Write ``computes.json``, so that readers see the old text or the new."""
    path = home(environ) / "computes.json"
    path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
    write_atomically(path, json.dumps(computes, indent=1), mode=0o600)
