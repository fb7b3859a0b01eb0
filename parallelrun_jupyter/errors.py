"""Every error this package raises on purpose.

::

    ParallelRunError
    ├── ConfigError         (ValueError)    a setting, an option or an argument is wrong
    ├── InputError          (ValueError)    an input is missing, empty or unreadable
    ├── EntryScriptError    (ValueError)    the entry script cannot be used
    ├── MissingExtraError   (ImportError)   an optional package is needed; names the command
    ├── OutsideSurfaceError (ImportError)   a name of azureml that this package does not have
    ├── EnvironmentBuildError (RuntimeError)  an environment's packages could not be installed
    ├── RunNotFoundError    (LookupError)   no run of that id in this home
    ├── RunFolderError      (RuntimeError)  a run folder is damaged or already in use
    ├── LaunchError         (RuntimeError)  the driver process did not start
    ├── OutputError         (RuntimeError)  rows cannot be read or published
    ├── RunFailedError      (RuntimeError)  a waited-for run failed; shows the user's exception first
    ├── RunInterruptedError (RuntimeError)  a waited-for run lost its driver
    └── WaitTimeoutError    (TimeoutError)  the run is still going after ``timeout_s``

A message says what was given, what was expected and what to do next.
"""

from __future__ import annotations


def visible(text: str) -> str:
    r"""Return text that UTF-8 can hold, with escapes in the place of lone surrogates.

    A file name whose bytes are not UTF-8 has such surrogates. They are shown as ``caf\udce9.txt``;
    written as they are, they would fail wherever text is encoded.
    """
    return text if text.isascii() else text.encode("utf-8", "backslashreplace").decode("utf-8")


class ParallelRunError(Exception):
    """Base of the errors that parallelrun-jupyter raises on purpose."""

    def __str__(self) -> str:
        return visible(super().__str__())

    def _render_traceback_(self) -> list[str]:
        # IPython asks for this: a mistake of the user needs the sentence, not our frames.
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
    """A name of ``azureml`` is imported that has no counterpart here; says what to use instead."""


class EnvironmentBuildError(ParallelRunError, RuntimeError):
    """The packages of an environment could not be installed; has the installer's own words."""


class RunNotFoundError(ParallelRunError, LookupError):
    """No run of that id exists in this home."""


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
        What to show: the user's own exception first, then what it did to the run.
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
    """The run is still going after the time that the caller gave it."""
