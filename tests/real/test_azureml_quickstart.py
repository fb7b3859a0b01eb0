"""The quickstart runs on Azure ML by one more option, while everything around it is killed in turn."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from textwrap import dedent
from typing import Any

import pytest

from parallelrun_jupyter import ParallelRunConfig, submit
from parallelrun_jupyter.commands.demo import write_digits
from tests.azure_ai_ml import python_with_both
from tests.azureml_service.client_side import write_config
from tests.azureml_service.notebook import Notebook
from tests.azureml_service.service import AzureMLService
from tests.real.conftest import end_of

NOTEBOOK = Path(__file__).parents[2] / "notebooks" / "01_quickstart.ipynb"
DIGITS = 200

# Signed in with Azure's command line: DefaultAzureCredential of azure-identity asks it for tokens.
AZ = f"""#!{sys.executable}
import json, sys, time
sys.path.insert(0, {str(Path(__file__).parents[2])!r})
from tests.azureml_service.tokens import make_token
words = sys.argv[1:]
named = dict(zip(words, words[1:]))
resource = named.get("--resource") or named["--scope"].replace("/.default", "")
token = make_token(resource.rstrip("/"), 3600)
until = time.time() + 3600
text = time.strftime("%Y-%m-%d %H:%M:%S.000000", time.localtime(until))
print(json.dumps(dict(accessToken=token, expiresOn=text, expires_on=int(until), tokenType="Bearer")))
"""

SETUP = dedent("""
    import os, signal, time
    from pathlib import Path
    from IPython.core.interactiveshell import InteractiveShell
    from parallelrun_jupyter import Run

    os.environ["PARALLELRUN_AZUREML_POLL_S"] = "0.2"
    shell = InteractiveShell.instance()
    shell.run_line_magic("load_ext", "parallelrun_jupyter")

    def some_more_rows(run, count=3):
        rows = run.snapshot()["rows"]
        while run.snapshot()["rows"] < rows + count and not run.snapshot()["is_final"]:
            time.sleep(0.1)

    def rows_of(run):
        run.wait_for_completion(show_output=False, timeout_s=120)
        return Path(run.snapshot()["output"]).read_text()
""")


@pytest.fixture
def environ(azureml_service: AzureMLService, tmp_path: Path) -> dict[str, str]:
    """Return the variables of a user who is signed in."""
    az = tmp_path / "bin" / "az"
    az.parent.mkdir()
    az.write_text(AZ)
    az.chmod(0o755)
    return {
        **azureml_service.environ,
        "PARALLELRUN_HOME": str(tmp_path / "home"),
        "PATH": f"{az.parent}:/usr/bin:/bin",
        "AZURE_TOKEN_CREDENTIALS": "AzureCliCredential",
    }


@pytest.fixture
def notebooks(environ: dict[str, str]) -> Iterator[Any]:
    """Return a function that starts a notebook."""
    python, reason = python_with_both()
    if not python:
        pytest.skip(reason)
    started: list[Notebook] = []

    def start(folder: Path) -> Notebook:
        started.append(Notebook(python, environ))
        started[-1].run(SETUP, folder)
        return started[-1]

    yield start
    for notebook in started:
        notebook.close()


def cell_of_the_quickstart(folder: Path, more: str) -> str:
    """Return the cell of the notebook with further options."""
    cells = ["".join(cell["source"]) for cell in json.loads(NOTEBOOK.read_text())["cells"]]
    cell = next(text for text in cells if text.startswith("%%parallelrun"))
    return cell.replace("{folder}", str(folder)).replace(" --as run", f" {more} --as run", 1)


def test_the_quickstart_runs_there_by_one_option_and_kills_lose_nothing(
    notebooks: Any,
    environ: dict[str, str],
    azureml_service: AzureMLService,
    monkeypatch: pytest.MonkeyPatch,
    tmp_path: Path,
) -> None:
    folder = tmp_path / "work"
    folder.mkdir()
    write_digits(folder)
    for path in sorted((folder / "digits").iterdir())[DIGITS:]:
        path.unlink()
    for name, value in azureml_service.environ.items():
        monkeypatch.setenv(name, value)
    write_config(str(folder))
    azureml_service.set_script(delays={"Queued": 1})

    script = tmp_path / "classify.py"
    script.write_text(cell_of_the_quickstart(folder, "").partition("\n")[2])
    config = ParallelRunConfig(entry_script=str(script), mini_batch_size=5)
    here = submit(config, inputs=f"{folder}/digits/*.png", arguments=[str(folder / "model.npz")])
    assert end_of(here) == "Completed"
    expected = Path(here.snapshot()["output"]).read_text()
    assert len(expected.splitlines()) == DIGITS

    first = notebooks(folder)
    there = cell_of_the_quickstart(folder, "--compute azureml:cpu-cluster").replace(
        "    rows = []\n", "    __import__('time').sleep(0.3)\n    rows = []\n", 1
    )
    code = (
        "shell.run_cell(cell)\nrun = shell.user_ns['run']\nsome_more_rows(run)\nvalue = run.run_id"
    )
    run_id = first.run(code, folder, cell=there).value
    first.close()  # the notebook dies

    second = notebooks(folder)
    code = """
        run = Run.attach(run_id)
        some_more_rows(run)
        os.kill(json.loads(run.folder.driver.read_text())["pid"], signal.SIGKILL)
        while run.status != "Interrupted":
            time.sleep(0.1)
        run.resume()
        some_more_rows(run)
    """
    second.run("import json\n" + dedent(code), folder, run_id=run_id)
    azureml_service.kill()  # the network is away
    second.run("time.sleep(2)\nassert not run.snapshot()['is_final']", folder)
    azureml_service.start()
    value = second.run("value = rows_of(run)", folder).value
    assert value == expected
    runs = [one["name"] for one in azureml_service.state.values("runs") if not one["parent"]]
    jobs = [name for name in runs if name.startswith(run_id)]
    assert len(jobs) == 1

    # A colleague watches the job in a terminal.
    words = [python_with_both()[0], "-m", "parallelrun_jupyter", "watch", f"azureml:{jobs[-1]}"]
    theirs = {**os.environ, **environ, "PARALLELRUN_HOME": str(tmp_path / "theirs")}
    watched = subprocess.run(
        words, cwd=folder, env=theirs, capture_output=True, text=True, timeout=120, check=False
    )
    assert watched.returncode == 0, watched.stdout + watched.stderr
    assert f"{DIGITS // 5} of {DIGITS // 5} mini-batches" in watched.stdout
