"""Which steps of a pipeline may run side by side: what they need, and the cores that they use."""

from __future__ import annotations

from typing import Any

import pytest

from parallelrun_jupyter.errors import ConfigError
from parallelrun_jupyter.pipelines.concurrency import cores_of, needed_by, steps_limit
from parallelrun_jupyter.pipelines.folder import InputRecord, PipelineRecord, StepRecord


def step(kind: str = "parallel", **fields: Any) -> StepRecord:
    values: dict[str, Any] = {
        "key": "00-a", "name": "a", "kind": kind, "script": "", "settings": {}, "environment": {},
        "arguments": [], "inputs": [], "side_inputs": [], "outputs": [], "variables": {},
        "allow_reuse": True, "after": [], **fields,
    }  # fmt: skip
    return StepRecord(**values)


def pipeline(**parameters: Any) -> PipelineRecord:
    return PipelineRecord("id", "n", "e", "/w", 0.0, "1", "python", parameters, [])


def test_a_step_needs_the_steps_whose_outputs_it_reads_in_any_place() -> None:
    reading = step(
        after=["00-x"],
        inputs=[InputRecord("data", {"output": ["01-made", "rows"]})],
        arguments=["--model", {"join": ["a", {"output": ["02-deep", "model"]}]}, {"input": "data"}],
    )
    assert needed_by(reading) == {"00-x", "01-made", "02-deep"}
    assert needed_by(step()) == set()


@pytest.mark.parametrize(
    ("fields", "cores"),
    [
        ({}, 8),
        ({"settings": {"process_count_per_node": 3}}, 3),
        ({"settings": {"process_count_per_node": "3", "node_count": 2}}, 6),
        ({"settings": {"node_count": 2}}, 16),
        ({"settings": {"process_count_per_node": {"parameter": "workers"}}}, 5),
        ({"settings": {"process_count_per_node": "many"}}, 8),  # the step itself is refused
        ({"compute": "tcp://127.0.0.1:8786"}, 0),
        ({"kind": "command"}, 1),
        ({"kind": "script"}, 1),
    ],
)
def test_the_cores_of_a_step(fields: dict[str, Any], cores: int) -> None:
    assert cores_of(step(**fields), pipeline(workers=5), 8) == cores


def test_the_limit_is_a_whole_number() -> None:
    assert steps_limit({}) == 0
    assert steps_limit({"PARALLELRUN_STEPS": " 2 "}) == 2
    for text in ("0", "-1", "two", "1.5"):
        with pytest.raises(ConfigError, match="expected a whole number from 1") as failure:
            steps_limit({"PARALLELRUN_STEPS": text})
        assert text in str(failure.value)
