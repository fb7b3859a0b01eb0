"""Starts the run that options describe, for the terminal and for agents."""

from __future__ import annotations

import argparse
from collections.abc import Sequence
from pathlib import Path

from ..client.run import Run
from ..client.submit import submit
from .options import config_of, inputs_of, reading_of, update_of


def start(script: str, options: argparse.Namespace, arguments: Sequence[str]) -> Run | Path:
    """Start a run of a script; with ``--dry-run``, return the path of the job that was written.

    Raises
    ------
    ConfigError, InputError, EntryScriptError, MissingExtraError, RunFolderError, LaunchError
        As `submit`.
    """
    run: Run | Path = submit(
        config_of(options, entry_script=script),
        inputs=inputs_of(options.input, options.format, reading=reading_of(options)),
        output=options.output,
        arguments=[*(options.arg or ()), *arguments],
        compute=options.compute,
        name=options.name,
        update=update_of(options),
        run_duplicates_once=options.run_duplicates_once,
        dry_run=options.dry_run,
    )
    return run
