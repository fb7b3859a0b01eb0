"""Fresh environments with the wheel: each installed Python, beside old and new JupyterLab and ipywidgets.

`ENVIRONMENTS` lists them; `built` builds the wheel once and makes all of them with uv, for as long as
they are needed. The oldest Python gets the oldest packages, the newest one the newest; the Pythons
between them get the other pairs in turn. They lie beside uv's cache, which makes them links of its files.
"""

from __future__ import annotations

import contextlib
import subprocess
import tempfile
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path

from tests.pandas_environments import (
    Version,
    cache_folder,
    interpreter,
    make_environment,
    uv_program,
)

ROOT = Path(__file__).parents[1]
PYTHONS = tuple((3, minor) for minor in range(10, 15))
OLD_LAB, OLD_WIDGETS = "4.4.0", "8.1.0"
"""The oldest that pyproject.toml allows; tests/real/test_wheel.py compares."""


@dataclass(frozen=True)
class WheelEnvironment:
    """A Python and the packages beside the wheel; an empty version is the newest."""

    python: Version
    lab: str
    widgets: str

    def __str__(self) -> str:
        lab, widgets = self.lab or "newest", self.widgets or "newest"
        return f"python{self.python[0]}.{self.python[1]}-jupyterlab_{lab}-ipywidgets_{widgets}"

    @property
    def packages(self) -> list[str]:
        """The requirements beside the wheel."""
        return [
            f"jupyterlab=={self.lab}" if self.lab else "jupyterlab",
            f"ipywidgets=={self.widgets}" if self.widgets else "ipywidgets",
        ]


def choose(pythons: Sequence[Version]) -> list[WheelEnvironment]:
    """Return the environments for these Pythons, from the oldest to the newest."""
    chosen = []
    for place, python in enumerate(pythons):
        if python == pythons[0]:
            chosen.append(WheelEnvironment(python, OLD_LAB, OLD_WIDGETS))
        if python == pythons[-1]:
            chosen.append(WheelEnvironment(python, "", ""))
        elif python == pythons[0]:
            continue
        elif place % 2:
            chosen.append(WheelEnvironment(python, OLD_LAB, ""))
        else:
            chosen.append(WheelEnvironment(python, "", OLD_WIDGETS))
    return chosen


FOUND = [python for python in PYTHONS if interpreter(python)]
MISSING = [python for python in PYTHONS if not interpreter(python)]
ENVIRONMENTS = choose(FOUND)


@contextlib.contextmanager
def built(
    wanted: Sequence[WheelEnvironment] = ENVIRONMENTS,
) -> Iterator[dict[WheelEnvironment, Path | str]]:
    """Give the folder of each environment, or the reason why it could not be made."""
    if not uv_program():
        yield dict.fromkeys(wanted, "uv is missing: pip install 'parallelrun-jupyter[test]'")
        return
    cache_folder().mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=cache_folder(), prefix="wheel-") as place:
        wheel = build_wheel(Path(place) / "dist")

        def make(environment: WheelEnvironment) -> Path | str:
            folder = Path(place) / str(environment)
            packages = [f"{wheel}[jupyter]", *environment.packages]
            return make_environment(interpreter(environment.python), packages, folder) or folder

        with ThreadPoolExecutor(2, thread_name_prefix="Thread-environments") as threads:
            folders = list(threads.map(make, wanted))
        yield dict(zip(wanted, folders, strict=True))


def build_wheel(folder: Path) -> Path:
    """Build the wheel of this checkout; return its path."""
    command = [uv_program(), "build", "--wheel", "--quiet", "--out-dir", str(folder), str(ROOT)]
    done = subprocess.run(command, capture_output=True, text=True, timeout=600)
    assert done.returncode == 0, done.stderr
    (wheel,) = folder.glob("*.whl")
    return wheel
