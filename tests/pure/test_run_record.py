"""``run.json`` survives a round trip, and the records of older versions stay readable."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from parallelrun_jupyter.errors import RunFolderError
from parallelrun_jupyter.runs.resume_request import ResumeRequest
from parallelrun_jupyter.runs.run_record import (
    EntryScript,
    Placement,
    RunInputs,
    RunLimits,
    RunOutput,
    RunRecord,
)
from tests import journals

RECORDED = Path(__file__).parents[1] / "recorded"


def old_record(name: str) -> RunRecord:
    return RunRecord.from_json((RECORDED / name).read_text(), name)


def test_a_record_survives_its_json() -> None:
    record = journals.record(
        script={"environment_variables": {"KEY": None, "MODE": "fast"}, "arguments": [{"side": 0}]},
        limits={"allowed_failed_percent": 2.5},
    )
    assert RunRecord.from_json(record.to_json(), "run.json") == record


def test_a_flat_record_of_a_local_run_is_read() -> None:
    assert old_record("run-record-1-local.json") == RunRecord(
        run_id="20261129-054108997-o09m",
        name="old run",
        created_at=1795930868.9976425,
        version="0.1.0",
        driver_python="/home/ada/env/bin/python",
        description="a recorded run",
        script=EntryScript(
            path="score.py",
            source_directory="/home/ada/project",
            cwd="/home/ada",
            python="/home/ada/env/bin/python",
            arguments=["--k", "5"],
            environment_variables={"API_KEY": None, "MODE": "fast"},
            logging_level="DEBUG",
        ),
        inputs=RunInputs(
            datasets=[{"kind": "files", "paths": ["/home/ada/in"]}],
            side_inputs=[{"kind": "files", "paths": ["/home/ada/side.txt"], "name": "labels"}],
            mini_batch_size=2,
        ),
        output=RunOutput(
            destination="/home/ada/out", file_name="parallel_run_step.jsonl", format="jsonl"
        ),
        placement=Placement(
            node_count=2,
            process_count_per_node=3,
            cores=2,
            requested_node_count=2,
            requested_process_count_per_node=3,
        ),
        limits=RunLimits(
            error_threshold=7,
            allowed_failed_count=2,
            run_invocation_timeout=30,
            progress_update_timeout=1230,
            run_max_try=2,
        ),
    )


def test_a_flat_record_of_a_run_on_dask_is_read() -> None:
    record = old_record("run-record-1-dask.json")
    assert record.script.is_python_named
    assert record.placement == Placement("dask", {"address": "tcp://10.0.0.5:8786"}, 0, 0, cores=2)
    assert record.output.url == "az://in/rows/parallel_run_step.parquet"
    assert record.output.in_parts
    assert record.secret_variables() == {"PARALLELRUN_ACC_IN_ACCOUNT_KEY"}


def test_records_without_retry_settings_are_read_as_runs_that_had_none() -> None:
    new = {"isolate_failures": True, "retry_delay": 2.0, "retry_on": ["A"], "no_retry_on": ["B"]}
    record = journals.record(limits={"run_max_try": 5, **new})
    assert RunRecord.from_json(record.to_json(), "run.json").limits == record.limits
    values = json.loads(record.to_json())
    assert values["schema"] == 2
    for name in new:
        del values["limits"][name]
    limits = RunRecord.from_json(json.dumps(values), "run.json").limits
    assert limits.run_max_try == 5
    assert not limits.isolate_failures
    assert (limits.retry_delay, limits.retry_on, limits.no_retry_on) == (0, [], [])
    for name in ("run-record-1-local.json", "run-record-1-dask.json"):
        older = old_record(name).limits
        assert (older.isolate_failures, older.retry_delay) == (False, 0)
        assert (older.retry_on, older.no_retry_on) == ([], [])


def test_keys_of_newer_versions_are_ignored() -> None:
    values = json.loads(journals.record().to_json())
    values["more"] = values["limits"]["more"] = 1
    assert RunRecord.from_json(json.dumps(values), "run.json") == journals.record()


@pytest.mark.parametrize("text", ["", "[]", "{}", '{"schema": 1}', '{"limits": 3}'])
def test_a_damaged_record_is_named(text: str) -> None:
    with pytest.raises(RunFolderError, match=r"x/run.json is not the record of a run \("):
        RunRecord.from_json(text, "x/run.json")


def test_a_resume_moves_a_run_to_another_compute() -> None:
    place = {"backend": "dask", "compute": {"address": "tcp://h:1"}, "node_count": 3}
    moved = ResumeRequest(place=place).applied_to(journals.record())
    assert moved.placement == Placement("dask", {"address": "tcp://h:1"}, 3, 2, cores=2)
    assert moved.limits == journals.record().limits
