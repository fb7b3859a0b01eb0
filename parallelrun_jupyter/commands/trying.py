"""``parallelrun try``: one mini-batch in this process, with its output."""

from __future__ import annotations

import argparse
import signal
import sys
import traceback
from dataclasses import replace
from pathlib import Path
from types import TracebackType

from ..client.run import Run
from ..client.try_one import Trial, line_of, trial_of
from ..config.entry_script import check_script
from ..errors import ConfigError, EntryScriptError
from ..runs.run_record import RunRecord
from ..worker.failures import BadResult

_NOT_OF_USERS = (str(Path(__file__).parents[1]), "<frozen runpy>")
"""How the names of files begin that call the user's code."""


def add_try_options(parser: argparse.ArgumentParser) -> None:
    """Add the options of ``try``."""
    add = parser.add_argument
    add("mini_batch", metavar="N", type=int, help="Number of the mini-batch.")
    add("run", metavar="RUN", nargs="?", help="Id of the run. Default: the newest.")
    add("--entry-script", metavar="SCRIPT",
        help="A corrected script. Default: the run's own.")  # fmt: skip
    add("--timeout", type=int, metavar="SECONDS",
        help="Seconds after which the trial is killed. Default: no limit.")  # fmt: skip


def try_one(run: Run, options: argparse.Namespace) -> int:
    """Run a mini-batch in this process; the result is only printed, and the run stays as it is.

    Returns
    -------
    int
        0. An exception of the script ends the process with 1; its traceback begins in the user's code.

    Raises
    ------
    InputError
        The run has no such mini-batch.
    ConfigError
        The timeout is not a number of seconds, or the run calls a function.
    EntryScriptError
        The corrected script cannot be used.
    """
    if options.timeout is not None:
        if options.timeout < 1:
            msg = f"--timeout is {options.timeout}; expected seconds, such as 60."
            raise ConfigError(msg)
        signal.alarm(options.timeout)  # its default action ends the process, whatever it does
    record = run.folder.read_record()
    line = line_of(run.folder, options.mini_batch)
    trial = trial_of(run.folder, record)
    if options.entry_script:
        trial = _corrected(trial, record, options.entry_script)
    sys.excepthook = _print_failure
    result = trial.run(line, options.mini_batch)
    print(f"the result: {result!r:.2000}")
    return 0


def _corrected(trial: Trial, record: RunRecord, entry_script: str) -> Trial:
    if record.script.call:
        msg = f"run {record.run_id} calls a function, and --entry-script is {entry_script!r}; leave it out."
        raise ConfigError(msg)
    path = Path(entry_script).expanduser().absolute()
    try:
        source = path.read_text(encoding="utf-8-sig")
    except (OSError, UnicodeDecodeError) as error:
        msg = f"the script {path} could not be read ({error}); give the path of a Python file."
        raise EntryScriptError(msg) from error
    check_script(source, str(path))
    return replace(trial, source=source, filename=str(path))


def _print_failure(
    kind: type[BaseException], error: BaseException, frames: TracebackType | None
) -> None:
    """Print an uncaught exception, from the first line of the user's own code on."""
    sys.stdout.flush()
    if isinstance(error, BadResult):
        print(f"a worker would reject the result: {error}", file=sys.stderr)
        return
    first = frames
    while first is not None and first.tb_frame.f_code.co_filename.startswith(_NOT_OF_USERS):
        first = first.tb_next
    traceback.print_exception(kind, error, first or frames)
