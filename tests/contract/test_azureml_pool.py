"""The contract of the pool of Azure ML: a run there is as a run here, whatever happens on the way."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.azureml_driver import drive, new_run
from tests.azureml_jobs import FolderService


@pytest.fixture
def service(tmp_path: Path) -> FolderService:
    """Return jobs in a folder."""
    return FolderService(tmp_path / "jobs")


def test_a_run_is_one_job_and_has_its_rows_in_order(service: FolderService, numbers: Path) -> None:
    run = drive(new_run("echo.py", numbers, mini_batch_size=7), lambda: service)
    snapshot = run.snapshot()
    assert snapshot["state"] == "Completed", snapshot["reason"]
    expected = "".join(f"{k:03d}.txt\n" for k in range(60))
    assert Path(snapshot["output"]).read_text() == expected
    assert len(service.requests("create")) == 1
