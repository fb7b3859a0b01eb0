"""The errors that this package raises on purpose.

::

    ParallelRunError
    ├── ConfigError         (ValueError)    a setting, an option or an argument is wrong
    ├── InputError          (ValueError)    an input is missing, empty or unreadable
    ├── EntryScriptError    (ValueError)    the entry script cannot be used
    ├── MissingExtraError   (ImportError)   an optional package is needed; names the command
    ├── OutsideSurfaceError (ImportError)   a name in azureml that this package does not provide
    ├── EnvironmentBuildError (RuntimeError)  an environment's packages could not be installed
    ├── RunNotFoundError    (LookupError)   no run with that id in this home
    ├── RunFolderError      (RuntimeError)  a run folder is damaged or already in use
    ├── LaunchError         (RuntimeError)  the driver process did not start
    ├── OutputError         (RuntimeError)  rows cannot be read or published
    ├── RunFailedError      (RuntimeError)  a waited-for run failed; shows the user's exception first
    ├── RunInterruptedError (RuntimeError)  a waited-for run lost its driver
    └── WaitTimeoutError    (TimeoutError)  the run is still active after ``timeout_s``

A message names the value, the expected value and the next step. A next step that is an action on
the run is a `Remedy`: the same error recommends ``run.resume()`` in Python and ``'parallelrun
resume ID'`` in a terminal.
"""

from __future__ import annotations

from collections.abc import Sequence
from enum import Enum
from typing import Literal, TypeAlias

Interface: TypeAlias = Literal["python", "terminal", "cell", "panel", "agent"]
"""An interface that shows errors: the Python API, the terminal, a magic, JupyterLab's views, an agent's tools."""


class Remedy(Enum):
    """An action recommended by an error; the value describes its effect."""

    WAIT = "waits until it ends"
    CANCEL = "ends it"
    RESUME = "runs the remaining mini-batches"
    TOLERATE = "runs all of them and lists each item that fails"
    FAILURES = "lists the failed attempts"
    FAILURE_GROUPS = "lists the groups"
    FAILED_ITEMS = "lists the failed items"
    RESULTS = "returns the results that exist"
    LOGS = "shows the script's output"
    LIST = "lists the runs"


_PYTHON = {
    Remedy.WAIT: "run.wait_for_completion()",
    Remedy.CANCEL: "run.cancel()",
    Remedy.RESUME: "run.resume()",
    Remedy.TOLERATE: "run.resume(error_threshold=-1)",
    Remedy.FAILURES: "run.failures()",
    Remedy.FAILURE_GROUPS: "run.failure_groups()",
    Remedy.FAILED_ITEMS: "run.failed_items()",
    Remedy.RESULTS: "run.results(missing=None)",
    Remedy.LOGS: "run.logs()",
    Remedy.LIST: "Run.list()",
}
_NAMES: dict[Interface, dict[Remedy, str]] = {
    "python": _PYTHON,
    "terminal": {
        Remedy.WAIT: "'parallelrun watch{run}'",
        Remedy.CANCEL: "'parallelrun cancel{run}'",
        Remedy.RESUME: "'parallelrun resume{run}'",
        Remedy.TOLERATE: "'parallelrun resume{run} --error-threshold -1'",
        Remedy.FAILURES: "'parallelrun failures{run}'",
        Remedy.FAILURE_GROUPS: "'parallelrun failures{run}'",
        Remedy.FAILED_ITEMS: "'parallelrun failures{run} --items'",
        Remedy.LOGS: "'parallelrun logs{run}'",
        Remedy.LIST: "'parallelrun list'",
    },
    "cell": {
        **_PYTHON,
        Remedy.CANCEL: "%parallelrun cancel{run}",
        Remedy.RESUME: "%parallelrun resume{run}",
        Remedy.LOGS: "%parallelrun logs{run}",
        Remedy.LIST: "%parallelrun list",
    },
    "panel": {Remedy.CANCEL: "Cancel", Remedy.RESUME: "Resume"},
    "agent": {
        Remedy.WAIT: "wait_for_run",
        Remedy.CANCEL: "cancel_run",
        Remedy.RESUME: "resume_run",
        Remedy.TOLERATE: "resume_run with error_threshold -1",
        Remedy.FAILURES: "show_failures",
        Remedy.FAILURE_GROUPS: "show_failures",
        Remedy.FAILED_ITEMS: "show_failures",
        Remedy.RESULTS: "show_results",
        Remedy.LOGS: "show_logs",
        Remedy.LIST: "list_runs",
    },
}
"""How each interface names an action; one without a name is not recommended there."""


def visible(text: str) -> str:
    r"""Return text that UTF-8 can encode, with lone surrogates escaped.

    A file name whose bytes are not UTF-8 has such surrogates. They are shown as ``caf\udce9.txt``;
    unescaped, they would raise when the text is encoded.
    """
    return text if text.isascii() else text.encode("utf-8", "backslashreplace").decode("utf-8")


class ParallelRunError(Exception):
    """Base class of the errors that parallelrun-jupyter raises on purpose.

    Parameters
    ----------
    message
        The cause, without the remedies.
    run_id
        The run that the error is about; "" for none.
    remedy
        Actions that may help, most useful first. ``str(error)`` appends them in Python's words.
    """

    def __init__(
        self, message: str = "", run_id: str = "", *, remedy: Sequence[Remedy] = ()
    ) -> None:
        super().__init__(message)
        self.run_id = run_id
        self.remedy = tuple(remedy)

    def worded(self, interface: Interface) -> str:
        """Return the message, with the remedies named as ``interface`` names them."""
        run = f" {self.run_id}" if self.run_id else ""
        names = _NAMES[interface]
        clauses = [
            f"{names[action].format(run=run)} {action.value}"
            for action in self.remedy
            if action in names
        ]
        message = visible(super().__str__())
        return f"{message} {', '.join(clauses)}." if clauses else message

    def __str__(self) -> str:
        return self.worded("python")

    def _render_traceback_(self) -> list[str]:
        # IPython calls this: a user's mistake needs the message, not our frames.
        return [f"{type(self).__name__}: {self}"]


class ConfigError(ParallelRunError, ValueError):
    """A setting, an option or an argument has a value that cannot be used."""


class InputError(ParallelRunError, ValueError):
    """An input is missing, empty or unreadable."""


class EntryScriptError(ParallelRunError, ValueError):
    """The entry script cannot be used: missing, not Python, or without ``run``."""


class MissingExtraError(ParallelRunError, ImportError):
    """An optional package is not installed; the message names the command."""


class OutsideSurfaceError(ParallelRunError, ImportError):
    """An imported name of ``azureml`` is not supported; the message names a replacement."""


class EnvironmentBuildError(ParallelRunError, RuntimeError):
    """The packages of an environment could not be installed; quotes the installer."""


class RunNotFoundError(ParallelRunError, LookupError):
    """No run with that id exists in this home."""


class RunFolderError(ParallelRunError, RuntimeError):
    """A run folder is damaged, or another driver holds it."""


class LaunchError(ParallelRunError, RuntimeError):
    """The driver process did not start."""


class OutputError(ParallelRunError, RuntimeError):
    """The rows of a run cannot be read or published."""


class RunFailedError(ParallelRunError, RuntimeError):
    """A run that was waited for has failed: the user's own exception first, then its effect."""


class RunInterruptedError(ParallelRunError, RuntimeError):
    """A run that was waited for has lost its driver process."""


class WaitTimeoutError(ParallelRunError, TimeoutError):
    """The run is still active after the caller's timeout."""
