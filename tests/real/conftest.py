"""Real runs: driver, workers and all."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from parallelrun_jupyter import ParallelRunConfig, Run, submit
from tests.conftest import SCRIPTS

TIMEOUT_S = 60


@pytest.fixture
def start(numbers: Path) -> Callable[..., Run]:
    """Return what submits an entry script of the tests over the numbers."""

    def submit_script(
        script: str, *, inputs: Any = None, arguments: Any = (), output: Any = None, **settings: Any
    ) -> Run:
        settings.setdefault("process_count_per_node", 2)
        settings.setdefault("mini_batch_size", 1)
        config = ParallelRunConfig(entry_script=str(SCRIPTS / script), **settings)
        return submit(config, inputs=inputs or numbers, arguments=arguments, output=output)

    return submit_script


def end_of(run: Run, timeout_s: float = TIMEOUT_S) -> str:
    """Wait for the end of a run and return its state."""
    return run.wait_for_completion(show_output=False, raise_on_error=False, timeout_s=timeout_s)


def rows_of(run: Run) -> list[str]:
    """Return the rows of a completed run."""
    return list(run.to_pandas()["row"])
