"""All errors that this package raises deliberately.

::

    ParallelRunError
    ├── ConfigError         (ValueError)    a setting, an option or an argument is wrong
    ├── InputError          (ValueError)    an input is missing, empty or unreadable
    ├── EntryScriptError    (ValueError)    the entry script cannot be used
    ├── MissingExtraError   (ImportError)   an optional package is needed; names the command
    ├── OutsideSurfaceError (ImportError)   a name of azureml without a counterpart in this package
    ├── EnvironmentBuildError (RuntimeError)  an environment's packages could not be installed
    ├── RunNotFoundError    (LookupError)   no run with this id in the home
    ├── RunFolderError      (RuntimeError)  a run folder is damaged or already in use
    ├── LaunchError         (RuntimeError)  the driver process did not start
    ├── OutputError         (RuntimeError)  rows cannot be read or published
    ├── RunFailedError      (RuntimeError)  a waited-for run failed; shows the user's exception first
    ├── RunInterruptedError (RuntimeError)  a waited-for run lost its driver
    └── WaitTimeoutError    (TimeoutError)  the run has not ended after ``timeout_s``

A message gives the actual value, the expected one, and a remedy.
"""

from __future__ import annotations


def visible(text: str) -> str:
    r"""Return text that can be encoded as UTF-8, with lone surrogates replaced by escapes.

    A file name whose bytes are not UTF-8 contains such surrogates. It is shown as
    ``caf\udce9.txt``; unescaped, it could not be encoded.
    """
    return text if text.isascii() else text.encode("utf-8", "backslashreplace").decode("utf-8")


class ParallelRunError(Exception):
    """Base of all errors that parallelrun-jupyter raises deliberately."""

    def __str__(self) -> str:
        return visible(super().__str__())

    def _render_traceback_(self) -> list[str]:
        # Called by IPython: for a mistake of the user, the message is enough.
        return [f"{type(self).__name__}: {self}"]


class ConfigError(ParallelRunError, ValueError):
    """A setting, an option or an argument has an invalid value."""


class InputError(ParallelRunError, ValueError):
    """An input is missing, empty or unreadable."""


class EntryScriptError(ParallelRunError, ValueError):
    """The entry script cannot be used: missing, not Python, or without ``run``."""


class MissingExtraError(ParallelRunError, ImportError):
    """An optional package is not installed; the message names the command."""


class OutsideSurfaceError(ParallelRunError, ImportError):
    """A name of ``azureml`` has no counterpart here; the message names an alternative."""


class EnvironmentBuildError(ParallelRunError, RuntimeError):
    """The packages of an environment could not be installed; includes the installer's output."""


class RunNotFoundError(ParallelRunError, LookupError):
    """No run with this id exists in the home."""


class RunFolderError(ParallelRunError, RuntimeError):
    """A run folder is damaged, or another driver holds it."""


class LaunchError(ParallelRunError, RuntimeError):
    """The driver process did not start."""


class OutputError(ParallelRunError, RuntimeError):
    """The rows of a run cannot be read or published."""


class RunFailedError(ParallelRunError, RuntimeError):
    """A run that was waited for has failed.

    Parameters
    ----------
    message
        The user's own exception, followed by its effect on the run.
    run_id
        The run that failed.
    """

    def __init__(self, message: str, run_id: str = "") -> None:
        super().__init__(message, run_id)
        self.run_id = run_id

    def __str__(self) -> str:
        return visible(str(self.args[0]))


class RunInterruptedError(ParallelRunError, RuntimeError):
    """A run that was waited for has lost its driver process."""


class WaitTimeoutError(ParallelRunError, TimeoutError):
    """The run has not ended within the caller's timeout."""
