"""Values given to a script by value, in real workers."""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import parallelrun_jupyter as parallelrun
from parallelrun_jupyter import ParallelRunConfig, Run, submit
from parallelrun_jupyter.errors import ConfigError
from tests.pandas_environments import build, environments
from tests.real.conftest import end_of, rows_of
from tests.real.dask_processes import DaskProcesses

ARRAY_MB = 200
SHARES = """
import time
def _pss_mb():
    with open("/proc/self/smaps_rollup") as file:
        [line] = [line for line in file if line.startswith("Pss:")]
    return int(line.split()[1]) / 1024
def run(mini_batch):
    total = float(weights.sum())
    time.sleep(3)  # until each worker has read all of it
    pss = _pss_mb()
    time.sleep(1)
    weights[0] = 5
    return [f"{total} {pss}"]
"""
ADDS = """
import json
import sys
def run(mini_batch):
    words["n"] += int(array[1])
    array[0] = 9  # a copy of this worker
    return ["%d.%d %d %s" % (*sys.version_info[:2], int(array.sum()), words) for _ in mini_batch]
"""


def start(tmp_path: Path, text: str, inputs: Path, use: Any, **settings: Any) -> Run:
    compute = settings.pop("compute", None)
    script = tmp_path / "score.py"
    script.write_text(text)
    settings = {"process_count_per_node": 1, "run_max_try": 1, **settings}
    config = ParallelRunConfig(entry_script=str(script), **settings)
    return submit(config, inputs=inputs, use=use, compute=compute)


@pytest.mark.skipif(not Path("/proc/self/smaps_rollup").exists(), reason="needs Linux")
def test_workers_of_a_machine_share_a_large_array(tmp_path: Path) -> None:
    weights = np.ones(ARRAY_MB << 17)  # 8 bytes each
    items = tmp_path / "items"
    items.mkdir()
    for number in range(4):
        (items / str(number)).touch()
    with pytest.warns(UserWarning, match=r"given by value have 200 MB \(weights 200 MB\)"):
        run = start(
            tmp_path, SHARES, items, {"weights": weights}, process_count_per_node=4, mini_batch_size=1
        )  # fmt: skip
    assert end_of(run, 120) == "Completed", run.snapshot()["reason"]
    rows = [row.split() for row in rows_of(run)]
    assert {total for total, _ in rows} == {str(float(weights.size))}
    assert (
        len({event.worker for event in run.events(follow=False) if hasattr(event, "worker")}) == 4
    )
    pss = [float(mb) for _, mb in rows]
    print("proportional memory of 4 workers in MB:", pss)
    assert sum(pss) < 2 * ARRAY_MB, "four copies would be four times as much"
    assert weights[0] == 1, "the notebook's own array is untouched"


def test_plain_data_reaches_python_3_7_without_cloudpickle(numbers: Path, tmp_path: Path) -> None:
    old = [found for found in environments() if found.python == (3, 7)][:1]
    if not old or build(old):
        pytest.skip("no Python 3.7 with numpy on this machine")
    array = np.arange(100_000)
    use = {"array": array, "words": {"n": 1, "list": [1.5, None, "text"]}}
    environment = str(old[0].executable)
    run = start(tmp_path, ADDS, numbers, use, environment=environment, mini_batch_size=60)
    assert end_of(run) == "Completed", run.snapshot()["reason"]
    expected = {"n": 2, "list": [1.5, None, "text"]}
    assert set(rows_of(run)) == {f"3.7 {array.sum() + 9} {expected}"}
    refused = start(
        tmp_path, ADDS, numbers, {**use, "helper": make_helper()}, environment=environment
    )
    assert end_of(refused) == "Failed"
    [message] = refused.failure_groups()["message"]
    ours = "{}.{}".format(*sys.version_info)
    assert message.startswith(
        f"'helper' is code of the notebook's Python {ours}, and the workers' inter"
    )
    assert "Leave environment out" in message


def test_an_interpreter_without_cloudpickle_says_how_to_install_it(
    numbers: Path, tmp_path: Path
) -> None:
    same = [found for found in environments() if found.python == sys.version_info[:2]][:1]
    if not same or build(same):
        pytest.skip("no other environment of this Python version")
    environment = str(same[0].executable)
    run = start(tmp_path, ADDS, numbers, {"helper": make_helper()}, environment=environment)
    assert end_of(run) == "Failed"
    [message] = run.failure_groups()["message"]
    assert message.startswith("'helper' is a function or a class of the notebook, and the workers'")
    assert f"Install it there: {environment} -m pip install cloudpickle." in message


def make_helper() -> Any:
    """Return a function that travels by value, since no module has it."""
    names: dict[str, Any] = {"__name__": "__main__"}
    exec("def helper(x):\n    return x + 1\n", names)
    return names["helper"]


CALLS = (
    "def run(mini_batch):\n    return [helper(int(array[k])) for k, _ in enumerate(mini_batch)]\n"
)


def test_dask_nodes_get_the_values_too(
    dask_cluster: DaskProcesses, numbers: Path, tmp_path: Path
) -> None:
    use = {"array": np.arange(100_000), "helper": make_helper()}
    run = start(tmp_path, CALLS, numbers, use, compute=dask_cluster.address, mini_batch_size=60)
    assert end_of(run) == "Completed", run.snapshot()["reason"]
    assert rows_of(run) == [str(k + 1) for k in range(60)]


@pytest.mark.parametrize("where", ["local", "dask"])
def test_an_entry_function_runs_resumes_and_is_tried(
    dask_cluster: DaskProcesses, numbers: Path, tmp_path: Path, where: str
) -> None:
    names: dict[str, Any] = {"__name__": "__main__", "mended": str(tmp_path / "mended")}
    exec(  # as in a notebook, whose functions are in no module
        "import os\n"
        "def load():\n    global count\n    count = 10\n"
        "def score(mini_batch, context):\n"
        "    if context.minibatch_index == 2 and not os.path.exists(mended):\n"
        "        raise OSError('not yet')\n"
        "    return [count + int(os.path.basename(path)[:3]) for path in mini_batch]\n",
        names,
    )
    score = parallelrun.entry(init=names["load"])(names["score"])
    config = ParallelRunConfig(
        entry_script=score, mini_batch_size=20, run_max_try=1, process_count_per_node=1
    )
    run = submit(config, inputs=numbers, compute=dask_cluster.address if where == "dask" else None)
    assert end_of(run) == "Failed"
    (tmp_path / "mended").touch()
    assert run.try_one(2) == list(range(50, 70))
    run.resume()
    assert end_of(run) == "Completed"
    assert rows_of(run) == [str(k + 10) for k in range(60)]


def test_a_plain_function_is_told_how_to_become_one_and_yaml_has_none() -> None:
    with pytest.raises(ConfigError) as caught:
        ParallelRunConfig(entry_script=make_helper())
    assert str(caught.value) == (
        "entry_script is the function 'helper'; expected a path, or a function marked with @entry. Write "
        "@parallelrun.entry above its def, after import parallelrun_jupyter as parallelrun."
    )
    config = ParallelRunConfig(entry_script=parallelrun.entry(make_helper()))
    assert repr(config) == "ParallelRunConfig(entry_script='<function helper>')"
    with pytest.raises(
        ConfigError, match="which YAML cannot represent. Write the function to a file"
    ):
        config.save_to_yaml("config.yml")


def test_an_update_sees_other_values(numbers: Path, tmp_path: Path) -> None:
    text = "def run(mini_batch):\n    return [k for _ in mini_batch]\n"
    script = tmp_path / "score.py"
    script.write_text(text)
    config = ParallelRunConfig(entry_script=str(script), process_count_per_node=1)

    def rows(k: int, **options: Any) -> list[str]:
        run = submit(config, inputs=numbers, use={"k": k}, **options)
        assert end_of(run) == "Completed"
        return rows_of(run)

    assert rows(1) == ["1"] * 60
    with pytest.warns(UserWarning, match="differs in the values given with use"):
        assert rows(2, update=True) == ["2"] * 60
    assert rows(2, update=True) == ["2"] * 60


def test_a_warm_driver_forks_workers_for_functions_of_the_notebook(numbers: Path) -> None:
    names: dict[str, Any] = {"__name__": "__main__"}
    exec(
        "import json\ndef score(mini_batch):\n    return [json.dumps(len(mini_batch))] * 60\n",
        names,
    )
    config = ParallelRunConfig(
        entry_script=parallelrun.entry(names["score"]),
        mini_batch_size=60,
        process_count_per_node=1,
        preload="auto",
    )
    pids = []
    for _ in range(2):
        run = submit(config, inputs=numbers)
        assert end_of(run) == "Completed"
        assert rows_of(run) == ["60"] * 60
        assert run.folder.read_record().script.preload == ["cloudpickle", "json"]
        pids.append(json.loads(run.folder.driver.read_text())["pid"])
    assert pids[0] == pids[1], "the second run has the driver of the first"
