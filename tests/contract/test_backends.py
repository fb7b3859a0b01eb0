"""What every backend owes: the same run gives the same journal meaning and the same bytes."""

from __future__ import annotations

from pathlib import Path

import pytest

from parallelrun_jupyter import ParallelRunConfig, submit
from parallelrun_jupyter.backends import find_backend
from parallelrun_jupyter.errors import ConfigError
from parallelrun_jupyter.events import AttemptSucceeded, PlanFinished, RunFinished
from tests.conftest import SCRIPTS
from tests.real.conftest import end_of

BACKENDS = ["local"]


@pytest.mark.parametrize("backend", BACKENDS)
@pytest.mark.parametrize("nodes", [1, 3])
def test_every_mini_batch_once_and_the_rows_in_order(
    backend: str, nodes: int, numbers: Path
) -> None:
    config = ParallelRunConfig(
        entry_script=str(SCRIPTS / "slow.py"),
        mini_batch_size=7,
        node_count=nodes,
        process_count_per_node=2,
    )
    run = submit(config, inputs=numbers, compute=backend)
    assert end_of(run) == "Completed"
    events = list(run.events(follow=False))
    [planned] = [e for e in events if isinstance(e, PlanFinished)]
    assert (planned.mini_batches, planned.items) == (9, 60)
    done = [e for e in events if isinstance(e, AttemptSucceeded)]
    assert sorted(e.mini_batch for e in done) == list(range(9))
    assert {e.worker.split("w")[0] for e in done} == {f"n{k}" for k in range(nodes)}
    assert isinstance(events[-1], RunFinished)
    expected = "".join(f"{k:03d}.txt\n" for k in range(60))
    assert Path(run.snapshot()["output"]).read_text() == expected


def test_a_backend_that_is_not_there_is_named() -> None:
    with pytest.raises(ConfigError, match="names the backend 'moon', which this version does not"):
        find_backend("moon")
