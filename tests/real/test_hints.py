"""Hints about failures that have a usual cause, with the exceptions that Python really raises."""

from __future__ import annotations

import pickle
import subprocess
import sys
from pathlib import Path

import pytest

from parallelrun_jupyter import ParallelRunConfig, submit
from parallelrun_jupyter.commands.cli import main
from parallelrun_jupyter.errors import RunFailedError
from tests.real.conftest import end_of

MAKES_MODEL = """
import pickle
class Model:
    pass
pickle.dump(Model(), open("model.pkl", "wb"))
"""

CASES = {
    "pickled": (
        "import pickle\ndef init():\n    pickle.load(open('model.pkl', 'rb'))\n"
        "def run(mini_batch): return mini_batch\n",
        "was pickled where Model was defined in a notebook or in a program's own script",
    ),
    "beside": (
        "from pathlib import Path\ndef init():\n"
        "    (Path(__file__).parent / 'model' / 'weights.txt').read_text()\n"
        "def run(mini_batch): return mini_batch\n",
        "The run has a copy of the script alone, so there is nothing else beside __file__. Give "
        "source_directory",
    ),
    "rows": (
        "def run(mini_batch):\n    return [r for _, r in mini_batch.iterrows()]\n",
        "run() received a list of paths, not a table: some.csv was not declared as a table. Write "
        "--format csv, or inputs=TabularDataset.from_delimited_files('some.csv')",
    ),
    "attribute": ("def run(mini_batch):\n    return mini_batch.a.tolist()\n", "--format csv"),
    "column": ("def run(mini_batch):\n    return mini_batch['a']\n", "--format csv"),
    "item": ("def run(mini_batch):\n    return [x['a'] for x in mini_batch]\n", "--format csv"),
    "async": (
        "async def run(row):\n    return row['a']\n",
        "run() received a path, not a row: some.csv was not declared as a table. Write --format csv, or "
        "inputs=TabularDataset.from_delimited_files('some.csv'), and run() receives each row as a dict.",
    ),
    "loop": (
        "import asyncio\nasync def run(path):\n    return asyncio.run(asyncio.sleep(0))\n",
        "An async function runs in the event loop of its worker: await the coroutine there",
    ),
    "records": ("def run(mini_batch, context):\n    return context.records()\n", "--format csv"),
    "short": (
        "def run(mini_batch):\n    return []\n",
        "start a new run with a larger error_threshold (-1 allows any number)",
    ),
    "module": (
        "import no_such_module_here\ndef run(mini_batch): return mini_batch\n",
        "If it is a file beside the script, give source_directory to copy it too.",
    ),
}


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "some.csv").write_text("a,b\n1,x\n2,y\n")
    (tmp_path / "model").mkdir()
    (tmp_path / "model" / "weights.txt").write_text("1")
    subprocess.run([sys.executable, "-c", MAKES_MODEL], check=True, cwd=tmp_path)
    return tmp_path


def config_of(text: str, **settings: object) -> ParallelRunConfig:
    Path("score.py").write_text(text)
    return ParallelRunConfig(
        entry_script="score.py", process_count_per_node=1, run_max_try=1, **settings
    )


@pytest.mark.parametrize("case", CASES)
def test_a_failure_with_a_usual_cause_says_what_to_do(
    folder: Path, case: str, capsys: pytest.CaptureFixture[str]
) -> None:
    text, hint = CASES[case]
    run = submit(config_of(text), inputs="some.csv")
    with pytest.raises(RunFailedError) as caught:
        run.wait_for_completion(show_output=False)
    assert f"\nhint: {hint}" in str(caught.value) or hint in str(caught.value)
    assert hint in run.failure_groups()["hint"][0]
    assert hint in run.snapshot()["groups"][0]["hint"], "for the window"
    assert main(["failures", run.run_id]) == 0
    assert hint in capsys.readouterr().out


def test_what_the_hints_say_to_do_works(folder: Path) -> None:
    text, _ = CASES["beside"]
    (folder / "source").mkdir()
    (folder / "model").rename(folder / "source" / "model")
    (folder / "source" / "score.py").write_text(text)
    config = ParallelRunConfig(entry_script="score.py", source_directory="source")
    assert end_of(submit(config, inputs="some.csv")) == "Completed"

    (folder / "model_classes.py").write_text("class Model:\n    pass\n")
    code = "import pickle, model_classes as m; pickle.dump(m.Model(), open('model.pkl', 'wb'))"
    subprocess.run([sys.executable, "-c", code], check=True, cwd=folder)
    assert b"model_classes" in (folder / "model.pkl").read_bytes()
    assert end_of(submit(config_of(CASES["pickled"][0]), inputs="some.csv")) == "Completed"
    with pytest.raises(ModuleNotFoundError):
        pickle.loads((folder / "model.pkl").read_bytes())


def test_a_failure_of_the_users_own_has_no_hint(folder: Path) -> None:
    run = submit(config_of("def run(b):\n    raise ValueError('mine')\n"), inputs="some.csv")
    end_of(run)
    assert list(run.failure_groups()["hint"]) == [""]
    with pytest.raises(RunFailedError) as caught:
        run.wait_for_completion(show_output=False)
    assert "hint:" not in str(caught.value)
