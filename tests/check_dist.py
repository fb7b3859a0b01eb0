"""Check the sdist and the wheel of a release: ``python -m tests.check_dist dist``.

The wheel is installed into a temporary environment of its own, and the terminal's command is run there.
"""

from __future__ import annotations

import os
import subprocess
import sys
import tarfile
import tempfile
import zipfile
from pathlib import Path

from parallelrun_jupyter.version import __version__

IN_WHEEL = (
    "parallelrun_jupyter/__init__.py",
    "parallelrun_jupyter/py.typed",
    "parallelrun_jupyter/views/static/widget.js",
    "parallelrun_azureml.pth",
    "share/jupyter/labextensions/parallelrun-jupyter/package.json",
    "share/jupyter/labextensions/parallelrun-jupyter/install.json",
    "etc/jupyter/jupyter_server_config.d/parallelrun_jupyter.json",
    "dist-info/licenses/LICENSE",
)
IN_SDIST = (
    "pyproject.toml",
    "hatch_build.py",
    "labextension/src/index.ts",
    "tests/conftest.py",
    "CHANGELOG.md",
    "SECURITY.md",
)


def missing_from(names: list[str], expected: tuple[str, ...]) -> list[str]:
    return [wanted for wanted in expected if not any(name.endswith(wanted) for name in names)]


def check(folder: Path) -> list[str]:
    """Return the faults of the packages in a folder."""
    wheels, sdists = sorted(folder.glob("*.whl")), sorted(folder.glob("*.tar.gz"))
    if len(wheels) != 1 or len(sdists) != 1:
        return [f"{folder} holds {len(wheels)} wheels and {len(sdists)} sdists, not one of each"]
    wheel, sdist = wheels[0], sdists[0]
    wrong = [
        f"{path.name} is not of version {__version__}"
        for path in (wheel, sdist)
        if f"parallelrun_jupyter-{__version__}" not in path.name
    ]
    with zipfile.ZipFile(wheel) as archive:
        names = archive.namelist()
    wrong += [f"{wheel.name} lacks {name}" for name in missing_from(names, IN_WHEEL)]
    wrong += [f"{wheel.name} holds {name}" for name in names if name.startswith("tests/")]
    with tarfile.open(sdist) as archive:
        wrong += [f"{sdist.name} lacks {n}" for n in missing_from(archive.getnames(), IN_SDIST)]
    return wrong or starts(wheel)


def starts(wheel: Path) -> list[str]:
    """Install the wheel in a new environment; return the errors of its first start."""
    uv = str(Path(sys.executable).with_name("uv"))
    clean = {name: value for name, value in os.environ.items() if name != "PYTHONPATH"}
    with tempfile.TemporaryDirectory() as place:
        python = str(Path(place) / "bin" / "python")
        for command in (
            [uv, "venv", "--quiet", "--python", sys.executable, place],
            [uv, "pip", "install", "--quiet", "--python", python, str(wheel.resolve())],
            [str(Path(place) / "bin" / "parallelrun"), "list"],
            [python, "-c", "import parallelrun_jupyter as p; [getattr(p, name) for name in p.__all__]"],
        ):  # fmt: skip
            done = subprocess.run(
                command, capture_output=True, text=True, cwd=place,
                env={**clean, "PARALLELRUN_HOME": place},
            )  # fmt: skip
            if done.returncode:
                return [f"{' '.join(command)}: {(done.stdout + done.stderr).strip()}"]
    return []


if __name__ == "__main__":
    problems = check(Path(sys.argv[1]))
    if problems:
        sys.exit("\n".join(problems))
    print(f"{sys.argv[1]}: both packages of version {__version__} are complete")
