"""The contract of backends: the same run gives the same journal meaning and the same bytes."""

from __future__ import annotations

import json
import os
import signal
import time
from collections import defaultdict
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from parallelrun_jupyter import ParallelRunConfig, Run, submit
from parallelrun_jupyter.backends import find_backend
from parallelrun_jupyter.errors import ConfigError
from parallelrun_jupyter.runs.journal.events import (
    AttemptFailed,
    AttemptSucceeded,
    InitFailed,
    ItemsFailed,
    ItemsSucceeded,
    NodeJoined,
    PlanFinished,
    RunFinished,
    WorkerReady,
    WorkerStarted,
)
from tests.conftest import SCRIPTS
from tests.real.conftest import assert_books, end_of, rows_of

BACKENDS = ["local", "dask"]


@pytest.fixture(params=BACKENDS)
def compute(request: pytest.FixtureRequest) -> str:
    """Return the compute of each backend."""
    return place_of(request.param, request)


def place_of(backend: str, request: pytest.FixtureRequest) -> str:
    if backend == "local":
        return "local"
    address: str = request.getfixturevalue("dask_cluster").address
    return address


def start(script: str, numbers: Path, compute: str, arguments: Any = (), **values: Any) -> Run:
    defaults = {"mini_batch_size": 7, "node_count": 1, "process_count_per_node": 2}
    config = ParallelRunConfig(entry_script=str(SCRIPTS / script), **{**defaults, **values})
    return submit(config, inputs=numbers, compute=compute, arguments=arguments)


@pytest.mark.parametrize("nodes", [1, 3])
def test_every_mini_batch_once_and_the_rows_in_order(
    compute: str, nodes: int, numbers: Path, tmp_path: Path
) -> None:
    met = tmp_path / "met"
    met.mkdir()
    words = (str(met), str(2 * nodes))  # all workers begin before one goes on
    run = start("meets.py", numbers, compute, words, node_count=nodes, mini_batch_size=2)
    assert end_of(run) == "Completed"
    events = list(run.events(follow=False))
    [planned] = [e for e in events if isinstance(e, PlanFinished)]
    assert (planned.mini_batches, planned.items) == (30, 60)
    done = [e for e in events if isinstance(e, AttemptSucceeded)]
    assert sorted(e.mini_batch for e in done) == list(range(30))
    assert {e.worker.split("w")[0] for e in done} == {f"n{k}" for k in range(nodes)}
    assert isinstance(events[-1], RunFinished)
    expected = "".join(f"{k:03d}.txt\n" for k in range(60))
    assert Path(run.snapshot()["output"]).read_text() == expected


def test_workers_are_ready_before_they_work_and_belong_to_their_node(
    compute: str, numbers: Path
) -> None:
    run = start("slow.py", numbers, compute)
    assert end_of(run) == "Completed"
    seen: set[str] = set()
    started: dict[str, str] = {}
    for event in run.events(follow=False):
        if isinstance(event, WorkerStarted):
            started[event.worker] = event.node
        elif isinstance(event, WorkerReady):
            seen.add(event.worker)
        elif isinstance(event, AttemptSucceeded):
            assert event.worker in seen
    assert started == {"n0w0": "n0", "n0w1": "n0"}


def meaning_of(run: Run) -> dict[int, list[Any]]:
    """Return the attempts of each mini-batch in the journal, without the names of workers."""
    found: dict[int, list[Any]] = defaultdict(list)
    for event in run.events(follow=False):
        if isinstance(event, AttemptSucceeded):
            found[event.mini_batch].append((event.attempt, event.items, event.rows, event.crc))
        elif isinstance(event, ItemsSucceeded):
            found[event.mini_batch].append((event.attempt, event.first, event.items, event.crc))
        elif isinstance(event, AttemptFailed):
            where = event.group if event.kind in {"exception", "timeout"} else ""
            found[event.mini_batch].append(
                (event.attempt, event.items, event.is_last, event.kind, event.error, where)
            )
        elif isinstance(event, ItemsFailed):
            found[event.mini_batch].append((event.attempt, event.items, event.message, event.group))
    return dict(found)


FAULTS = ["raise=3", "once-hang=8", "exit=17", "once-kill=25", "segfault=33", "none=41", "short=50"]


@pytest.mark.parametrize("isolates", [True, False])
def test_the_same_faults_have_the_same_meaning_and_the_same_bytes(
    numbers: Path, tmp_path: Path, request: pytest.FixtureRequest, isolates: bool
) -> None:
    found: dict[str, Any] = {}
    for backend in BACKENDS:
        marks = tmp_path / backend
        marks.mkdir()
        run = start(
            "faults.py", numbers, place_of(backend, request), [marks, *FAULTS], mini_batch_size=2,
            error_threshold=-1, run_max_try=2, run_invocation_timeout=2, isolate_failures=isolates,
        )  # fmt: skip
        assert end_of(run) == "Completed"
        snapshot = run.snapshot()
        counts = {k: snapshot[k] for k in ("succeeded", "failed", "items_failed", "rows")}
        found[backend] = (meaning_of(run), counts, Path(snapshot["output"]).read_bytes())
    assert found["dask"] == found["local"]
    short = found["local"][0][25][-1]
    assert short[1:3] == (2, short[2])
    assert short[2].startswith("run() returned 0 results for 2 items at faults.py:")
    whole = {"succeeded": 26, "failed": 4, "items_failed": 10, "rows": 50}
    by_item = {"succeeded": 30, "failed": 0, "items_failed": 6, "rows": 54}
    assert found["local"][1] == (by_item if isolates else whole)


def test_an_init_that_cannot_succeed_ends_the_run(compute: str, numbers: Path) -> None:
    run = start("init_raises.py", numbers, compute)
    assert end_of(run) == "Failed"
    failed = [e for e in run.events(follow=False) if isinstance(e, InitFailed)]
    assert len(failed) >= 6
    assert run.snapshot()["reason"].startswith(f"no worker could start: {failed[0].group}")


@pytest.mark.parametrize("drain", [True, False])
def test_cancel(compute: str, drain: bool, numbers: Path) -> None:
    run = start("slow.py", numbers, compute, mini_batch_size=1)
    while not run.snapshot()["succeeded"]:
        assert not run.snapshot()["is_final"]
    run.cancel(drain=drain)
    assert end_of(run) == "Canceled"
    assert 0 < run.snapshot()["succeeded"] < 60


def test_what_the_script_prints_is_there(compute: str, numbers: Path, tmp_path: Path) -> None:
    run = start(
        "talks.py", numbers, compute, mini_batch_size=20,
        environment_variables={"MARKS": str(tmp_path)},
    )  # fmt: skip
    assert end_of(run) == "Completed"
    printed = run.logs(1000, mini_batch=1)
    assert "STDOUT #1 " in printed
    assert "#0 " not in printed


def test_rows_of_many_megabytes(numbers: Path, request: pytest.FixtureRequest) -> None:
    outputs = []
    for backend in BACKENDS:
        run = start("large_rows.py", numbers, place_of(backend, request), mini_batch_size=20)
        assert end_of(run) == "Completed"
        outputs.append(Path(run.snapshot()["output"]).read_bytes())
    assert outputs[0] == outputs[1]
    assert len(outputs[0]) > 1_000_000


def test_a_cluster_says_where_its_nodes_are(dask_cluster: Any, numbers: Path) -> None:
    run = start("echo.py", numbers, dask_cluster.address, node_count=2)
    assert end_of(run) == "Completed"
    joined = [e for e in run.events(follow=False) if isinstance(e, NodeJoined)]
    assert 1 <= len(joined) <= 2
    assert all(e.place.startswith("tcp://127.0.0.1:") for e in joined)


def test_a_link_to_nothing_costs_its_own_item_and_can_be_repaired(
    compute: str, numbers: Path, tmp_path: Path
) -> None:
    (numbers / "030-broken.txt").symlink_to(tmp_path / "nowhere")
    run = start("echo.py", numbers, compute, error_threshold=1)
    assert end_of(run) == "Completed", run.snapshot()["reason"]
    expected = "".join(f"{k:03d}.txt\n" for k in range(60))
    assert Path(run.snapshot()["output"]).read_text() == expected
    failures = run.failures()
    assert set(failures["kind"]) == {"bad_input"}
    assert set(failures["message"]) == {
        f"the input {numbers}/030-broken.txt cannot be read: No such file or directory"
    }
    assert run.snapshot()["items_failed"] == 1
    (tmp_path / "nowhere").touch()
    run.resume(failed_only=True)
    assert end_of(run) == "Completed", run.snapshot()["reason"]
    names = sorted([*(f"{k:03d}.txt" for k in range(60)), "030-broken.txt"])
    assert sorted(Path(run.snapshot()["output"]).read_text().split()) == names


@pytest.mark.parametrize("action", ["append_row", "summary_only"])
def test_a_new_output_folder_is_there_before_the_script_writes_to_it(
    compute: str, action: str, numbers: Path, tmp_path: Path
) -> None:
    output = tmp_path / "not" / "yet" / action
    config = ParallelRunConfig(
        entry_script=str(SCRIPTS / "writes_files.py"), output_action=action, mini_batch_size=20,
        node_count=1, process_count_per_node=2, run_max_try=1,
    )  # fmt: skip
    run = submit(config, inputs=numbers, output=output, compute=compute)
    assert end_of(run) == "Completed", run.snapshot()["reason"]
    written = {path.name for path in output.iterdir()}
    assert {f"{k:03d}.txt.out" for k in range(60)} <= written
    assert ("parallel_run_step.txt" in written) == (action == "append_row")


def test_a_backend_that_is_not_there_is_named() -> None:
    with pytest.raises(ConfigError, match="uses the backend 'moon', which this version of"):
        find_backend("moon")


ERRORS = {"raises": "ValueError", "answers": "KeyError", "dies": "WorkerLost"}


@given(
    kinds=st.lists(st.sampled_from(["good"] * 30 + list(ERRORS)), min_size=150, max_size=300),
    size=st.integers(1, 60),
    pauses=st.lists(st.floats(0.2, 1.0), max_size=3),
)
@settings(
    max_examples=4,
    deadline=None,
    suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow],
)
def test_poison_is_isolated_under_kills_and_resumes(
    compute: str, tmp_path_factory: Any, kinds: list[str], size: int, pauses: list[float]
) -> None:
    folder = tmp_path_factory.mktemp("items")
    for number, kind in enumerate(kinds):
        (folder / f"{number:03d}.txt").write_text(kind)
    good = [f"{k:03d}.txt" for k, kind in enumerate(kinds) if kind == "good"]
    ledger = tmp_path_factory.mktemp("ledger") / "calls"
    run = start(
        "items_fail.py", folder, compute, [ledger],
        mini_batch_size=size, run_max_try=2, retry_delay=0.05, error_threshold=-1,
    )  # fmt: skip
    for pause in pauses:
        time.sleep(pause)
        if run.snapshot()["is_final"]:
            break
        os.kill(int(json.loads(run.folder.driver.read_text())["pid"]), signal.SIGKILL)
        while run.status != "Interrupted":
            time.sleep(0.02)
        assert_books(run)
        run.resume()
    assert end_of(run) == ("Completed" if good else "Failed")
    assert not good or rows_of(run) == good
    state = assert_books(run)
    assert (state.items_succeeded, state.left) == (len(good), 0)
    failed = run.failed_items()
    numbers = [int(Path(item).stem) for item in failed["item"]]
    bad = [k for k, kind in enumerate(kinds) if kind != "good"]
    assert numbers == bad
    assert failed["error"].tolist() == [ERRORS[kinds[k]] for k in bad]
