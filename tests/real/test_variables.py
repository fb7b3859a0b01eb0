"""Variables of the notebook as the inputs of real runs."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pandas as pd
import pyarrow as pa
import pytest
from IPython.core.error import UsageError
from IPython.core.interactiveshell import InteractiveShell

import parallelrun_jupyter as parallelrun
from parallelrun_jupyter import MemoryDataset, ParallelRunConfig, Run, grid, submit
from parallelrun_jupyter.backends.dask.node import DaskNode, DataFile, NodeSpec
from parallelrun_jupyter.commands.magics import complete
from parallelrun_jupyter.data.memory_digest import digest_path
from parallelrun_jupyter.errors import ConfigError, InputError, RunFolderError
from parallelrun_jupyter.runs.failed_items import failed_items
from parallelrun_jupyter.runs.snapshot.committed_results import ResultStates
from parallelrun_jupyter.runs.snapshot.failed_item_pages import page_of, read_page
from parallelrun_jupyter.runs.snapshot.follower import Follower
from parallelrun_jupyter.runs.snapshot.mini_batches import mini_batch_detail
from parallelrun_jupyter.runs.snapshot.result_pages import ResultRow, RowQuery, result_page
from parallelrun_jupyter.views.previews import previews
from tests.pandas_environments import interpreter
from tests.real.conftest import end_of, rows_of
from tests.real.dask_processes import DaskProcesses
from tests.real.test_disk import disk  # noqa: F401 - a fixture
from tests.real.test_magic import cell, shared_shell, shell  # noqa: F401 - fixtures

LONG_S = 120


def script_of(folder: Path, text: str) -> str:
    path = folder / "score.py"
    path.write_text(text)
    return str(path)


def config_of(folder: Path, text: str, **settings: Any) -> ParallelRunConfig:
    settings = {"process_count_per_node": 2, "error_threshold": 10, **settings}
    return ParallelRunConfig(entry_script=script_of(folder, text), **settings)


def failed_names(run: Run) -> list[str | None]:
    return [item.item for item in failed_items(run.folder)]


BY_LABEL = (
    "def run(rows, context):\n"
    "    for row in rows.itertuples():\n"
    "        if row.Index in ('B', 'D'):\n"
    "            context.fail(row.Index, 'no ' + row.Index)\n"
    "    return [f'{row.Index} {row.x}' for row in rows.itertuples() if row.Index not in ('B', 'D')]\n"
)


def test_rows_of_a_frame_have_their_labels_wherever_items_are_named(tmp_path: Path) -> None:
    frame = pd.DataFrame({"x": range(6), "word": list("uvwxyz")}, index=list("ABCDEF"))
    run = submit(config_of(tmp_path, BY_LABEL, mini_batch_rows=3), inputs=frame)
    assert end_of(run) == "Completed"
    assert run.name == "score on frame"
    assert rows_of(run) == ["A 0", "C 2", "E 4", "F 5"]
    names = ["frame.loc['B'] (row 1)", "frame.loc['D'] (row 3)"]
    assert failed_names(run) == names
    state = run._follower.state
    pages = [read_page(run.folder, page_of(state, group)) for group in state.groups]
    items = sorted((item["name"], item["is_row"]) for page in pages for item in page["items"])
    assert items == [(name, True) for name in names]
    assert mini_batch_detail(run.folder, state, 1)["items"] == ["frame.iloc[3:6]"]
    [shown] = previews(run.folder, [(1, 0)])
    assert (shown["outcome"], shown["columns"]) == ("shown", [["x", "3"], ["word", "x"]])
    assert run.try_one(0) == ["A 0", "C 2"]
    done = subprocess.run(
        [sys.executable, "-m", "parallelrun_jupyter", "failures", run.run_id, "--items"],
        capture_output=True, text=True, check=True,
    )  # fmt: skip
    assert all(name in done.stdout for name in names), done.stdout


def test_items_of_a_list(tmp_path: Path) -> None:
    texts = [f"text {number}\nand more" for number in range(40)]
    flag = tmp_path / "flag"

    def length(text: str) -> int:
        if text.startswith(("text 17", "text 33")) and not flag.exists():
            raise ValueError(text)
        return len(text)

    run = parallelrun.map(length, texts, mini_batch_size=4, error_threshold=5,
                          process_count_per_node=2)  # fmt: skip
    assert end_of(run) == "Completed"
    assert run.name == "length on texts"
    assert failed_names(run) == ["texts[17]", "texts[33]"]
    assert mini_batch_detail(run.folder, run._follower.state, 4)["items"] == ["texts[16:20]"]
    [shown] = previews(run.folder, [(4, 1)])
    assert (shown["outcome"], shown["text"]) == ("shown", texts[17])
    flag.touch()
    run.resume(failed_only=True)
    assert end_of(run) == "Completed"
    assert run.results() == [len(text) for text in texts]


def page_rows(run: Run, **query: Any) -> list[ResultRow]:
    """Return the first page of the rows of a run."""
    follower = Follower(run.folder)
    follower.refresh()
    states = ResultStates.of(follower.state)
    return result_page(run.folder, follower.record, states, RowQuery(**query))["rows"]


def test_results_are_beside_their_items_and_the_pictures_at_paths(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    image = pytest.importorskip("PIL.Image")
    monkeypatch.chdir(tmp_path)
    image.new("RGB", (20, 10), "red").save("red.png")
    (tmp_path / "text.png").write_text("this is text")
    paths = ["red.png", Path("red.png"), str(tmp_path / "red.png"), "gone.png", "text.png", "a cat"]
    run = parallelrun.map(str, paths, process_count_per_node=2)
    assert end_of(run) == "Completed"
    monkeypatch.chdir("/")  # the server of the notebook may run anywhere
    rows = page_rows(run, order="first")
    assert [row["name"] for row in rows] == [f"paths[{k}]" for k in range(6)]
    assert {(row["is_value"], row["is_row"]) for row in rows} == {(True, False)}
    assert [row["name"] for row in page_rows(run, text="4")] == ["paths[4]"]
    shown = previews(run.folder, [(row["mini_batch"], row["position"]) for row in rows])
    assert [bool(each["picture"]) for each in shown] == [True, True, True, False, False, False]
    assert [each["outcome"] for each in shown] == [*["shown"] * 4, "unreadable", "shown"]
    assert [each["text"] for each in shown] == [str(path) for path in paths]


def test_results_of_a_frame_are_beside_the_names_of_its_rows(tmp_path: Path) -> None:
    frame = pd.DataFrame({"x": range(4)}, index=list("ABCD"))
    run = submit(
        config_of(tmp_path, "def run(rows): return list(rows.x)\n", mini_batch_rows=2), inputs=frame
    )
    assert end_of(run) == "Completed"
    rows = page_rows(run, order="first")
    assert [row["name"] for row in rows] == [
        f"frame.loc['{c}'] (row {k})" for k, c in enumerate("ABCD")
    ]
    assert {(row["is_value"], row["is_row"]) for row in rows} == {(False, False)}


@pytest.mark.parametrize("kind", ["array", "table", "grid", "series", "generator"])
def test_batches_of_other_variables(kind: str) -> None:
    values: Any = {
        "array": np.arange(300).reshape(100, 3),
        "table": pa.table({"a": range(100)}),
        "grid": grid(a=range(10), b=range(10)),
        "series": pd.Series(range(100), index=range(500, 600), name="s"),
        "generator": (number for number in range(100)),
    }[kind]

    def kinds(part: Any) -> list[str]:
        return [type(part).__name__] * len(part)

    run = parallelrun.map_batches(kinds, values, process_count_per_node=2)
    assert end_of(run) == "Completed"
    expected = {"array": "ndarray", "table": "Table", "series": "Series"}.get(kind, "list")
    assert list(run.results()) == [expected] * 100


def test_a_crash_is_isolated_in_a_frame() -> None:
    frame = pd.DataFrame({"x": range(64)}, index=pd.RangeIndex(1000, 1640, 10))

    def score(rows: pd.DataFrame) -> list[int]:
        for row in rows.itertuples():
            if row.x == 41:
                raise ArithmeticError(row.x)
        return [int(x) for x in rows.x]

    run = parallelrun.map_batches(score, frame, mini_batch_rows=32, error_threshold=5)
    assert end_of(run) == "Completed"
    assert failed_names(run) == ["frame.loc[1410] (row 41)"]
    found = run.results(missing=None)
    assert [x for x in found if not pd.isna(x)] == [x for x in range(64) if x != 41]


# At submit


def test_what_does_not_fit_is_said_at_submit(tmp_path: Path, home: Path) -> None:
    frame = pd.DataFrame({"a": range(3)})
    config = config_of(tmp_path, "def run(b):\n    return b\n")
    refused: list[tuple[Any, type[Exception], str]] = [
        ([1, 2], InputError, r"contains a value of the type int; .* write inputs=MemoryDataset\("),
        (
            [frame, "*.png"],
            ConfigError,
            "inputs contains files and variables of the notebook; a run's",
        ),
        ({"a": 1}, InputError, "inputs is {'a': 1}, of the type dict; .* Here: a mapping has keys"),
        (frame[:0], InputError, "is empty; give at least one item"),
        (iter([]), InputError, "given is empty; give at least one item"),
    ]
    for given, error, message in refused:
        with pytest.raises(error, match=message):
            submit(config, inputs=given)
    with pytest.raises(ConfigError, match="update is True, but the input frame is a variable: an"):
        submit(config, inputs=frame, update=True)
    keyed = config_of(tmp_path, "def run(b):\n    return b\n", partition_keys=["a"])
    with pytest.raises(
        ConfigError, match="but the input frame is a variable, which has no keys in"
    ):
        submit(keyed, inputs=frame)
    sized = config_of(tmp_path, "def run(b):\n    return b\n", mini_batch_size="1MB")
    with pytest.raises(ConfigError, match="a size in bytes; the items of frame are counted"):
        submit(sized, inputs=frame)
    assert not list((home / "runs").glob("*"))


def test_several_variables(tmp_path: Path) -> None:
    one = pd.DataFrame({"a": range(3)})
    two = np.arange(4)
    config = config_of(tmp_path, "def run(b):\n    return [type(b).__name__] * len(b)\n")
    run = submit(config, inputs=[one, two, MemoryDataset([5, 6], "three")])
    assert end_of(run) == "Completed"
    assert run.name == "score on one and 2 more"
    assert rows_of(run) == ["DataFrame"] * 3 + ["ndarray"] * 4 + ["list"] * 2


def test_a_generator_that_raises_leaves_nothing(home: Path) -> None:
    def values() -> Iterator[int]:
        yield from range(10)
        raise LookupError("the source is gone")

    with pytest.raises(LookupError, match="the source is gone"):
        parallelrun.map(str, values())
    assert not list((home / "runs").glob("*"))


def test_a_disk_that_is_full_at_submit(
    disk: Path,  # noqa: F811 - the fixture
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setenv("PARALLELRUN_HOME", str(disk))
    big = np.zeros(1_000_000)
    for values in (big, pd.DataFrame({"a": big}), [big], pa.table({"a": big})):
        with pytest.raises(RunFolderError, match="could not be written .*No space left on device"):
            parallelrun.map_batches(len, values)
        assert not list((disk / "runs").glob("*"))


# The cell

OF_ROWS = "def run(rows):\n    return [f'{word}!' for word in rows.word]\n"


def test_the_cell_takes_a_variable(shell: InteractiveShell, tmp_path: Path) -> None:  # noqa: F811
    shell.user_ns["words"] = pd.DataFrame({"word": list("abcd")})
    shell.user_ns["plain"] = ["x", "y"]
    cell(shell, "--input words --mini-batch-rows 2 --as mine", OF_ROWS)
    run = shell.user_ns["mine"]
    assert end_of(run) == "Completed"
    assert run.name == "mine on words"
    assert rows_of(run) == ["a!", "b!", "c!", "d!"]
    cell(shell, "--input plain --try --as mine", "def run(b):\n    return [x + '?' for x in b]\n")
    run = shell.user_ns["mine"]
    assert end_of(run) == "Completed"
    assert rows_of(run) == ["x?", "y?"]


def test_the_cell_and_a_path_of_the_same_name(
    shell: InteractiveShell,  # noqa: F811
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "words").touch()
    shell.user_ns["words"] = pd.DataFrame({"word": list("abcd")})
    with pytest.raises(
        UsageError, match="also a variable with the values of a frame. Write ./words"
    ):
        cell(shell, "--input words", OF_ROWS)
    (tmp_path / "words").unlink()
    with pytest.raises(UsageError, match="which are not parsed. Omit --format"):
        cell(shell, "--input words --format csv", OF_ROWS)


# Another place, another interpreter


def test_a_run_folder_that_was_moved(home: Path, tmp_path: Path) -> None:
    frame = pd.DataFrame({"x": range(30)}, index=[f"k{n}" for n in range(30)])
    flag = home / "flag"

    def score(part: pd.DataFrame) -> pd.DataFrame:
        if "k7" in part.index and not flag.exists():
            raise ValueError("seven")
        doubled: pd.DataFrame = part * 2
        return doubled

    run = parallelrun.map_batches(score, frame, mini_batch_rows=3, isolate_failures=False,
                                  error_threshold=10)  # fmt: skip
    assert end_of(run) == "Completed"
    moved = home / "elsewhere" / run.run_id
    shutil.copytree(run.folder.path, moved)  # with other times
    os.utime(moved / "data" / "0.data", (1, 1))
    run.folder.path.rename(tmp_path / "original")  # its driver may still be ending
    again = Run.attach(str(moved))
    assert failed_names(again) == [f"frame.loc['k{n}'] (row {n})" for n in (6, 7, 8)]
    assert previews(again.folder, [(2, 1)])[0]["columns"] == [["x", "7"]]
    flag.touch()
    again.resume(failed_only=True)
    assert end_of(again) == "Completed"
    pd.testing.assert_frame_equal(again.results(), frame * 2)


def test_values_that_were_changed_are_not_resumed(home: Path) -> None:
    numbers = list(range(30))

    def fails(number: int) -> int:
        return 1 // (number - 7)

    run = parallelrun.map(fails, numbers, error_threshold=10)
    assert end_of(run) == "Completed"
    data = run.folder.data / "0.data"
    assert digest_path(data).exists()
    data.write_bytes(data.read_bytes().replace(b"\x1d", b"\x1e"))
    with pytest.raises(
        InputError, match="the file with the values of numbers, .*, has changed since"
    ):
        run.resume(failed_only=True)


@pytest.mark.parametrize("version", [(3, 7), (3, 9)])
def test_a_worker_of_another_python(version: tuple[int, int], tmp_path: Path) -> None:
    python = interpreter(version)
    if not python:
        pytest.skip("this interpreter is not installed")
    config = config_of(
        tmp_path, "def run(b):\n    return [repr(x) for x in b]\n", environment=python,
        error_threshold=-1, isolate_failures=False, run_max_try=1,
    )  # fmt: skip
    values = [1, "ü", None, 2.5, b"b", True]
    run = submit(config, inputs=MemoryDataset(values))
    assert end_of(run) == "Completed"
    assert rows_of(run) == [repr(value) for value in values]
    run = submit(config, inputs=pd.DataFrame({"a": [1.5, 2.5]}))
    end_of(run)
    message = next(iter(run.snapshot()["groups"]))["message"]
    assert "stored by Python 3." in message, message
    assert f"this interpreter, Python {version[0]}.{version[1]}, cannot read them" in message


# Dask


def test_machines_that_see_no_run_folder_get_the_values(home: Path, tmp_path: Path) -> None:
    (home / "runs").mkdir()
    hidden = f'mount -t tmpfs none {home / "runs"} && exec "$@"'
    inside = ["unshare", "-m", "sh", "-c", hidden, "sh"]
    if subprocess.run([*inside, "true"], capture_output=True, check=False).returncode:
        if os.environ.get("CI"):
            pytest.fail("no mount namespaces here")
        pytest.skip("mount namespaces cannot be made here")
    frame = pd.DataFrame({"x": np.arange(2_000_000.0)})  # four pieces
    cluster = DaskProcesses(tmp_path / "dask")
    try:
        cluster.start_scheduler()
        cluster.add_worker("a", inside=inside)
        cluster.add_worker("b")
        cluster.wait_for_workers()
        script = (
            "import os\n"
            "def run(rows):\n"
            "    folder = os.environ['PARALLELRUN_DATA']\n"
            "    return [f'{os.path.islink(folder)} {rows.x.sum()}'] * len(rows)\n"
        )
        config = config_of(tmp_path, script, mini_batch_rows=100_000, node_count=2)
        run = submit(config, inputs=frame, compute=cluster.address)
        assert end_of(run, LONG_S) == "Completed", run.snapshot()["reason"]
        rows = rows_of(run)
        sums = [float(row.split()[1]) for row in rows[::100_000]]
        assert sums == [frame.x[k : k + 100_000].sum() for k in range(0, 2_000_000, 100_000)]
        assert {row.split()[0] for row in rows} == {"True", "False"}, "one of them sees the folder"
    finally:
        cluster.close()


def test_a_node_sees_files_of_the_same_size_and_time_only(tmp_path: Path) -> None:
    import asyncio

    data = tmp_path / "run" / "data"
    data.mkdir(parents=True)
    (data / "0.data").write_bytes(b"values")
    status = (data / "0.data").stat()

    def sees(file: DataFile, name: str) -> bool:
        node = object.__new__(DaskNode)
        node._thread = None
        node._scratch = tmp_path / name
        node._scratch.mkdir()
        spec = NodeSpec("", str(tmp_path / "run"), {}, 0.0, (file,))
        return asyncio.run(node.sees(spec))

    assert sees(DataFile("0.data", 6, status.st_mtime_ns), "same")
    assert not sees(DataFile("0.data", 6, status.st_mtime_ns + 1), "time")
    assert not sees(DataFile("0.data", 7, status.st_mtime_ns), "size")
    assert not sees(DataFile("1.data", 6, status.st_mtime_ns), "name")


def test_tab_completes_variables(shell: InteractiveShell) -> None:  # noqa: F811 - the fixture
    shell.user_ns["words_frame"] = pd.DataFrame({"word": ["a"]})
    shell.user_ns["words_list"] = ["a"]
    shell.user_ns["words_text"] = "a"
    shell.user_ns["words_number"] = 3
    event = SimpleNamespace(
        line="%%parallelrun --input wor",
        text_until_cursor="%%parallelrun --input wor",
        symbol="words_",
    )
    assert complete(shell, event) == ["words_frame", "words_list"]
    for name in ("words_frame", "words_list", "words_text", "words_number"):
        shell.user_ns.pop(name)


def test_a_variable_that_is_no_data(shell: InteractiveShell) -> None:  # noqa: F811 - the fixture
    shell.user_ns["mapping"] = {"a": 1}
    with pytest.raises(UsageError, match="the variable of that name is a dict, not a dataset"):
        cell(shell, "--input mapping")
    shell.user_ns["frames"] = [1]
    with pytest.raises(
        UsageError,
        match=r"there is neither such a file nor a variable of that name.*mean 'frames'\?",
    ):
        cell(shell, "--input frame")
    shell.user_ns.pop("frames")
    shell.user_ns.pop("mapping")
