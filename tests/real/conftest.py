"""Real runs: driver, workers and all."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from parallelrun_jupyter import ParallelRunConfig, Run, submit
from parallelrun_jupyter.runs.journal.state import RunState
from tests.azure_ai_ml import python_with_both
from tests.azureml_service.notebook import Notebook
from tests.azureml_service.service import AzureMLService
from tests.azurite_process import ACCOUNT, KEY, Azurite
from tests.conftest import SCRIPTS

TIMEOUT_S = 60


@pytest.fixture(scope="session")
def azurite(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Azurite]:
    """Return a store on loopback, one for all tests: each makes containers of its own."""
    store = Azurite(tmp_path_factory.mktemp("azurite"))
    yield store
    store.close()


@pytest.fixture(scope="module")
def opened() -> Iterator[Any]:
    """Return a browser."""
    from tests.real.jupyter_pages import browser  # playwright is not installed everywhere

    with browser() as found:
        yield found


@pytest.fixture(scope="session")
def azureml_emulator(
    azurite: Azurite, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[AzureMLService]:
    """Return an emulator of Azure ML, one for all tests."""
    service = AzureMLService(tmp_path_factory.mktemp("azureml"), azurite.port)
    yield service
    service.close()


@pytest.fixture
def azureml_service(azureml_emulator: AzureMLService) -> AzureMLService:
    """Return the emulator of Azure ML without faults."""
    azureml_emulator.reset()
    return azureml_emulator


@pytest.fixture(scope="session")
def azureml_notebook(
    azureml_emulator: AzureMLService, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Notebook]:
    """Return a process with the real client of Azure ML, one for all tests."""
    python, reason = python_with_both()
    if not python:
        if "CI" in os.environ:
            pytest.fail(reason)
        pytest.skip(reason)
    home = tmp_path_factory.mktemp("notebook")
    notebook = Notebook(python, {**azureml_emulator.environ, "PARALLELRUN_HOME": str(home)})
    yield notebook
    notebook.close()


@pytest.fixture
def endpoint(azurite: Azurite, monkeypatch: pytest.MonkeyPatch) -> str:
    """Make Azurite the store of all blobs, and clear all other credentials."""
    for name in os.environ:
        if name.startswith("AZURE_"):
            monkeypatch.delenv(name)
    monkeypatch.setenv("PARALLELRUN_BLOB_ENDPOINT", azurite.endpoint)
    return azurite.endpoint


@pytest.fixture
def keyed() -> dict[str, str]:
    """Return the storage options that open the account of the tests."""
    return {"account_name": ACCOUNT, "account_key": KEY}


@pytest.fixture
def start(numbers: Path) -> Callable[..., Run]:
    """Return a function that submits an entry script of the tests over the numbers."""

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


def assert_books(run: Run) -> RunState:
    """Check at every prefix of the journal: items in = succeeded + failed + left."""
    state = RunState()
    for event in run.events(follow=False):
        state.apply(event)
        assert state.planned_items >= state.items_succeeded + state.items_failed >= 0
        assert state.planned >= state.done
    return state
