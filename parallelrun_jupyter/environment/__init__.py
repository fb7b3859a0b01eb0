"""The interpreter that runs the entry script."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path

from ..errors import ConfigError

OLDEST_WORKER = (3, 7)


@dataclass(frozen=True, slots=True)
class Environment:
    """The interpreter of a run's workers.

    Parameters
    ----------
    python
        Path of a python, 3.7 or newer, or its name on the PATH. Default: this interpreter.
    name
        Its name in messages. Default: the path.
    """

    python: str = sys.executable
    name: str = ""

    def resolve(self) -> str:
        """Return the absolute path of the interpreter, and check its version.

        Raises
        ------
        ConfigError
            It does not exist, does not start, or is older than Python 3.7.
        """
        executable = shutil.which(os.path.expanduser(self.python))
        if executable is None:
            msg = (
                f"environment names the interpreter {self.python!r}, which is not an executable "
                "file. Give the path of a python, for example environment='/opt/py37/bin/python'."
            )
            raise ConfigError(msg)
        path = os.path.abspath(executable)
        if path != os.path.abspath(sys.executable):
            _check_version(path)
        return path


def _check_version(path: str) -> None:
    code = "import sys; print(*sys.version_info[:2])"
    try:
        answer = subprocess.run(
            [path, "-c", code], capture_output=True, text=True, timeout=60, check=True
        )
        major, minor = (int(part) for part in answer.stdout.split())
    except (OSError, ValueError, subprocess.SubprocessError) as error:
        msg = (
            f"environment names {path!r}, which did not answer as a Python interpreter "
            f"({type(error).__name__}). Try it in a terminal: {path} --version"
        )
        raise ConfigError(msg) from error
    if (major, minor) < OLDEST_WORKER:
        msg = (
            f"environment names {path!r}, Python {major}.{minor}; workers need Python 3.7 or newer."
        )
        raise ConfigError(msg)


def as_environment(value: object) -> Environment:
    """Return the Environment of an ``environment`` setting; None is this interpreter.

    Raises
    ------
    ConfigError
        The setting is neither None, a path nor an Environment.
    """
    if value is None:
        return Environment()
    if isinstance(value, Environment):
        return value
    if isinstance(value, str | os.PathLike):
        path = Path(value).expanduser()
        if path.is_dir():  # the folder of a virtual environment
            path = path / "bin" / "python"
        return Environment(python=str(path) if os.sep in str(value) else str(value))
    msg = (
        f"environment is {value!r}; expected None (this interpreter), the path of a python, "
        "or an Environment."
    )
    raise ConfigError(msg)
