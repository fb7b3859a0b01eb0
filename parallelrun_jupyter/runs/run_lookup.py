"""Finds runs for requests from outside, such as a page or an agent: those of this home alone."""

from __future__ import annotations

import re

from ..errors import Remedy, RunNotFoundError
from .run_folder import RunFolder, find, runs_folder

_RUN_ID = re.compile(r"[0-9A-Za-z][0-9A-Za-z_-]{0,99}", re.ASCII)


def is_id(text: str) -> bool:
    """Return whether a text has the form of an id, and so cannot be a path."""
    return _RUN_ID.fullmatch(text) is not None


def find_run(run_id: str) -> RunFolder:
    """Return the folder of a run in this home.

    Raises
    ------
    RunNotFoundError
        The id is invalid or unknown, or its folder is outside the runs folder.
    """
    if not is_id(run_id):
        msg = "this is not the id of a run."
        raise RunNotFoundError(msg, remedy=[Remedy.LIST])
    folder = find(run_id)
    if folder.path.resolve().parent != runs_folder().resolve():
        msg = f"run {run_id} is a link to a folder outside {runs_folder()}."
        raise RunNotFoundError(msg)
    return folder
