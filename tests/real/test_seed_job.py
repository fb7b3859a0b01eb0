"""The job that everything started with: TensorFlow over ten thousand digits, five at a time."""

from __future__ import annotations

from pathlib import Path

import pytest

from parallelrun_jupyter import ParallelRunConfig, submit
from tests import digits
from tests.conftest import SCRIPTS
from tests.real.conftest import rows_of


@pytest.mark.parametrize("source", ["at hand", "bundled"])
def test_every_digit_once_in_order_and_as_many_right_as_the_model_can(
    tmp_path: Path, source: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    if source == "bundled":
        monkeypatch.setattr(digits, "MNIST", tmp_path / "none")
    elif not digits.MNIST.is_dir():
        return  # the bundled digits are the same test
    made = digits.write_digits(tmp_path)
    config = ParallelRunConfig(
        entry_script=str(SCRIPTS / "mnist_tf.py"),
        mini_batch_size=5,
        error_threshold=10,
        output_action="append_row",
        process_count_per_node=2,
    )
    run = submit(config, inputs=made.folder, arguments=["--model", made.model])
    assert run.wait_for_completion(show_output=False, timeout_s=300) == "Completed"
    rows = [row.split(": ") for row in rows_of(run)]
    assert [name for name, _ in rows] == [f"{k:05d}.png" for k in range(digits.COUNT)]
    right = sum(int(digit) == label for (_, digit), label in zip(rows, made.labels, strict=True))
    assert right == made.right
    assert made.right > 9_000
    snapshot = run.snapshot()
    assert (snapshot["mini_batches"], snapshot["failed"], snapshot["items_failed"]) == (2000, 0, 0)
