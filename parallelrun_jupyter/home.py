"""The home: the folder of all runs, with the files of named computes and of settings."""

from __future__ import annotations

import json
import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from .errors import ConfigError
from .files import write_atomically

HOME_VARIABLE = "PARALLELRUN_HOME"
MAX_SIZE_VARIABLE = "PARALLELRUN_MAX_SIZE"


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
    computes = _read_object(path, "the named computes")
    if not all(isinstance(v, dict) for v in computes.values()):
        msg = (
            f"{path} is not a JSON object of named computes; delete it and use name_compute again."
        )
        raise ConfigError(msg)
    return computes


def write_computes(computes: Mapping[str, Any], environ: Mapping[str, str] = os.environ) -> None:
    """Write the settings of the named computes to ``computes.json``."""
    _write_object(home(environ) / "computes.json", computes)


def max_size(environ: Mapping[str, str] = os.environ) -> tuple[str, str]:
    """Return the size that the runs of this home are kept under, and its source; ("", "") for none.

    The source is the environment variable ``PARALLELRUN_MAX_SIZE``, else ``settings.json``.

    Raises
    ------
    ConfigError
        The file is damaged.
    """
    text = environ.get(MAX_SIZE_VARIABLE, "").strip()
    if text:
        return text, MAX_SIZE_VARIABLE
    path = home(environ) / "settings.json"
    text = str(_read_object(path, "the settings").get("max_size", ""))
    return (text, str(path)) if text else ("", "")


def write_max_size(text: str, environ: Mapping[str, str] = os.environ) -> None:
    """Store the size that the runs of this home are kept under in ``settings.json``; "" for none.

    Raises
    ------
    ConfigError
        The file is damaged.
    """
    path = home(environ) / "settings.json"
    settings = _read_object(path, "the settings")
    settings.pop("max_size", None)
    _write_object(path, settings | ({"max_size": text} if text else {}))


def _read_object(path: Path, what: str) -> dict[str, Any]:
    try:
        values = json.loads(path.read_text(encoding="utf-8"))
    except FileNotFoundError:
        return {}
    except (OSError, ValueError) as error:
        msg = (
            f"{path} could not be read ({error}); expected {what} as a JSON object. "
            "Correct or delete the file."
        )
        raise ConfigError(msg) from error
    if not isinstance(values, dict):
        msg = f"{path} is not a JSON object of {what}; correct or delete the file."
        raise ConfigError(msg)
    return values


def _write_object(path: Path, values: Mapping[str, Any]) -> None:
    path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
    write_atomically(path, json.dumps(values, indent=1), mode=0o600)
