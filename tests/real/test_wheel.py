"""The wheel in fresh environments: each installed Python, old and new JupyterLab and ipywidgets."""

from __future__ import annotations

import os
import re
import subprocess
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import nbformat
import pytest
from packaging.version import Version

from parallelrun_jupyter.version import __version__
from tests import wheel_environments
from tests.pandas_environments import uv_program
from tests.wheel_environments import ENVIRONMENTS, MISSING, PYTHONS, ROOT, WheelEnvironment

SCRIPT = """
def run(mini_batch):
    return [int(open(path).read()) * 2 for path in mini_batch]
"""
CELL = f"%%parallelrun --input numbers --mini-batch-size 4 --workers 2 --as run\n{SCRIPT}"
ROWS = "".join(f"{number * 2}\n" for number in range(60))

IMPORT_ALL = """
import importlib, pkgutil, parallelrun_jupyter
missing = set()
for module in pkgutil.walk_packages(parallelrun_jupyter.__path__, "parallelrun_jupyter."):
    try:
        importlib.import_module(module.name)
    except ModuleNotFoundError as error:
        missing.add(error.name)
print(*sorted(missing))
"""
OF_EXTRAS = {"azure", "mcp", "opentelemetry", "pyarrow"}
"""What modules of the package import that only an extra installs: each is imported when it is used."""


@pytest.fixture(scope="module")
def folders() -> Iterator[dict[WheelEnvironment, Path | str]]:
    with wheel_environments.built() as made:
        yield made


@pytest.fixture(params=ENVIRONMENTS, ids=str)
def installed(
    folders: dict[WheelEnvironment, Path | str], request: pytest.FixtureRequest
) -> Installed:
    made = folders[request.param]
    if isinstance(made, str) and "CI" not in os.environ:
        pytest.skip(f"{request.param} could not be made: {made}")
    assert isinstance(made, Path), f"{request.param} could not be made: {made}"
    return Installed(request.param, made, request.getfixturevalue("tmp_path"))


class Installed:
    """An environment with the wheel, as somebody uses it who has nothing else."""

    def __init__(self, environment: WheelEnvironment, folder: Path, place: Path) -> None:
        self.environment = environment
        self.programs = folder / "bin"
        self.place = place
        self.environ = {
            name: value
            for name, value in os.environ.items()
            if not name.startswith(("PYTHON", "JUPYTER", "COV_", "VIRTUAL_ENV", "XDG_"))
        } | {
            "HOME": str(place),
            "PATH": f"{self.programs}{os.pathsep}{os.environ['PATH']}",
            "NO_COLOR": "1",
        }

    def run(self, *command: str) -> str:
        """Run a program of the environment; return all it prints."""
        done = subprocess.run(
            [str(self.programs / command[0]), *command[1:]], cwd=self.place, env=self.environ,
            stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, timeout=180,
        )  # fmt: skip
        words = re.sub(r"\x1b\[\d+m", "", done.stdout)
        assert done.returncode == 0, f"{self.environment}: {' '.join(command)}: {words}"
        return words


def test_it_works_in_a_fresh_environment(installed: Installed, numbers: Path) -> None:
    assert numbers.parent == installed.place
    checks = (
        packages_fit,
        imports_without_warnings,
        has_a_command,
        has_a_magic,
        is_a_labextension,
        is_a_server_extension,
    )
    with ThreadPoolExecutor(2, thread_name_prefix="Thread-checks") as threads:
        for check in [threads.submit(check, installed) for check in checks]:
            check.result()


def packages_fit(installed: Installed) -> None:
    python = str(installed.programs / "python")
    done = subprocess.run(
        [uv_program(), "pip", "check", "--python", python],
        capture_output=True, text=True, timeout=60,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    code = "import jupyterlab as l, ipywidgets as w; print(l.__version__, w.__version__)"
    lab, widgets = map(Version, installed.run("python", "-c", code).split())
    wanted = installed.environment
    assert lab == Version(wanted.lab) if wanted.lab else lab >= Version("4.6")
    assert widgets == Version(wanted.widgets) if wanted.widgets else widgets >= Version("8.1.8")


def imports_without_warnings(installed: Installed) -> None:
    """Import the package, and all of its modules, with each warning an error."""
    assert installed.run("python", "-W", "error", "-c", "import parallelrun_jupyter") == ""
    missing = installed.run("python", "-W", "error", "-c", IMPORT_ALL).split()
    assert set(missing) <= OF_EXTRAS, missing


def has_a_command(installed: Installed) -> None:
    assert installed.run("parallelrun", "--version") == f"parallelrun {__version__}\n"
    (installed.place / "double.py").write_text(SCRIPT)
    words = installed.run(
        "parallelrun", "run", "double.py", "--input", "numbers", "--mini-batch-size", "4",
        "--workers", "2", "--output", "rows",
    )  # fmt: skip
    assert "60 of 60 items" in words
    assert (installed.place / "rows" / "parallel_run_step.txt").read_text() == ROWS


def has_a_magic(installed: Installed) -> None:
    path = installed.place / "double.ipynb"
    cells = (
        "import sys, warnings\nwarnings.simplefilter('error')\n%load_ext parallelrun_jupyter",
        CELL,
        "run.wait_for_completion(show_output=False)\nprint(*run.to_pandas()['row'], sys.prefix)",
    )
    written = nbformat.v4.new_notebook(cells=[nbformat.v4.new_code_cell(cell) for cell in cells])
    written.metadata["kernelspec"] = {"name": "python3", "display_name": "Python 3"}
    nbformat.write(written, path)
    installed.run("jupyter", "execute", "--inplace", path.name)
    loaded, view, rows = nbformat.read(path, as_version=4).cells
    assert loaded.outputs == []
    (saved,) = view.outputs
    assert saved.data["application/vnd.parallelrun.run+json"]["headline"] == "Completed"
    assert rows.outputs[0].text.split() == [*ROWS.split(), str(installed.programs.parent)]


def is_a_labextension(installed: Installed) -> None:
    words = installed.run("jupyter", "labextension", "list")
    line = (
        rf"parallelrun-jupyter v{re.escape(__version__)} enabled OK \(python, parallelrun_jupyter\)"
    )
    assert re.search(line, words), words


def is_a_server_extension(installed: Installed) -> None:
    words = installed.run("jupyter", "server", "extension", "list")
    assert re.search(r"^ *parallelrun_jupyter\.server enabled$", words, re.MULTILINE), words
    line = rf"^ *parallelrun_jupyter\.server {re.escape(__version__)} OK$"
    assert re.search(line, words, re.MULTILINE), words


@pytest.mark.parametrize("python", MISSING, ids="{0[0]}.{0[1]}".format)
def test_it_works_in_a_python_that_is_not_here(python: tuple[int, int]) -> None:
    pytest.skip(f"Python {python[0]}.{python[1]} is not installed: uv python install, or pyenv")


def test_the_oldest_packages_are_those_that_are_allowed() -> None:
    project = (ROOT / "pyproject.toml").read_text()
    for package, oldest in (
        ("jupyterlab", wheel_environments.OLD_LAB),
        ("ipywidgets", wheel_environments.OLD_WIDGETS),
    ):
        assert f'"{package}>={oldest.removesuffix(".0")}"' in project
    for python in PYTHONS:
        assert f'"Programming Language :: Python :: {python[0]}.{python[1]}"' in project


def test_each_python_and_each_pair_of_packages_is_covered() -> None:
    chosen = wheel_environments.choose(PYTHONS)
    assert {environment.python for environment in chosen} == set(PYTHONS)
    assert len({(environment.lab, environment.widgets) for environment in chosen}) == 4
    old = WheelEnvironment(PYTHONS[0], wheel_environments.OLD_LAB, wheel_environments.OLD_WIDGETS)
    assert chosen[0] == old
    assert chosen[-1] == WheelEnvironment(PYTHONS[-1], "", "")
    assert len(wheel_environments.choose([(3, 12)])) == 2
