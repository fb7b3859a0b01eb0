"""Items that fail, in real runs: pictures, tables, memory, deaths, kills of drivers and workers."""

from __future__ import annotations

import io
import json
import os
import random
import sys
from collections import Counter
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest

from parallelrun_jupyter import ParallelRunConfig, TabularDataset, submit
from parallelrun_jupyter.runs.journal import events as ev
from tests.conftest import SCRIPTS
from tests.real.conftest import assert_books, end_of, rows_of


def script(tmp_path: Path, text: str) -> str:
    path = tmp_path / "score.py"
    path.write_text(text)
    return str(path)


PICTURES = """
import os
from PIL import Image

def run(mini_batch):
    rows = []
    for path in mini_batch:
        with Image.open(path) as image:
            image.load()
        rows.append(os.path.basename(path))
    return rows
"""


def test_truncated_pictures_fail_and_their_neighbors_do_not(tmp_path: Path) -> None:
    image = pytest.importorskip("PIL.Image")
    folder = tmp_path / "in"
    folder.mkdir()
    rng = random.Random(7)
    broken = {f"{k:04d}.jpg" for k in rng.sample(range(600), 12)}
    pixels = np.random.default_rng(0).integers(0, 255, (48, 48, 3), dtype=np.uint8)
    buffer = io.BytesIO()
    image.fromarray(pixels).save(buffer, "JPEG")
    data = buffer.getvalue()
    for number in range(600):
        name = f"{number:04d}.jpg"
        (folder / name).write_bytes(data[: len(data) // 2] if name in broken else data)
    config = ParallelRunConfig(
        entry_script=script(tmp_path, PICTURES), mini_batch_size=20, error_threshold=-1
    )
    run = submit(config, inputs=str(folder))
    assert end_of(run) == "Completed"
    names = [f"{k:04d}.jpg" for k in range(600)]
    assert rows_of(run) == [name for name in names if name not in broken]
    failed = run.failed_items()
    assert {os.path.basename(item) for item in failed["item"]} == broken
    assert set(failed["error"]) == {"OSError"}
    assert failed["message"].str.contains("truncated").all()
    assert_books(run)

    for name in broken:
        (folder / name).write_bytes(data)
    run.resume(failed_only=True)
    assert end_of(run) == "Completed"
    assert rows_of(run) == names, "the repaired pictures are at their places"
    assert run.failed_items().empty
    assert_books(run)


BAD_ROWS = """
def run(mini_batch):
    return [1 / row.number if row.number else row.missing for row in mini_batch.itertuples()]
"""


@pytest.mark.parametrize("form", [None, "csv", "jsonl", "parquet"])
def test_rows_that_raise_fail_alone_in_every_format(tmp_path: Path, form: str | None) -> None:
    rng = random.Random(3)
    numbers = [0 if rng.random() < 0.02 else k + 1 for k in range(2000)]
    pd.DataFrame({"number": numbers}).to_csv(tmp_path / "rows.csv", index=False)
    config = ParallelRunConfig(
        entry_script=script(tmp_path, BAD_ROWS),
        mini_batch_rows=100,
        error_threshold=-1,
        output_format=form,
    )
    table = TabularDataset.from_delimited_files(tmp_path / "rows.csv")
    run = submit(config, inputs=table)
    assert end_of(run) == "Completed"
    good = [1 / number for number in numbers if number]
    assert [float(value) for value in run.to_pandas().iloc[:, 0]] == good
    assert run.snapshot()["items_failed"] == numbers.count(0)
    failed = run.failed_items()
    positions = failed["mini_batch"] * 100 + failed["position"]
    assert positions.tolist() == [k for k, number in enumerate(numbers) if not number]
    assert set(failed["error"]) == {"AttributeError"}


CHANGES_CELLS = """
def run(mini_batch):
    results = []
    for number, value in zip(mini_batch.number, mini_batch.value):
        value["tags"].append(value.pop("key"))
        if number in (3, 40):
            raise ValueError(number)
        results.append(value["tags"])
    return results
"""


def test_parts_do_not_see_how_a_script_has_changed_cells_in_place(tmp_path: Path) -> None:
    values = [{"number": k, "value": {"key": k, "tags": [-k]}} for k in range(64)]
    path = tmp_path / "rows.jsonl"
    path.write_text("".join(json.dumps(value) + "\n" for value in values))
    config = ParallelRunConfig(
        entry_script=script(tmp_path, CHANGES_CELLS), mini_batch_size="1MB", error_threshold=-1
    )
    run = submit(config, inputs=TabularDataset.from_json_lines_files(path))
    assert end_of(run) == "Completed"
    assert rows_of(run) == [str([-k, k]) for k in range(64) if k not in {3, 40}]
    failed = run.failed_items()
    assert list(zip(failed["position"], failed["error"], strict=True)) == [(3, "ValueError"), (40, "ValueError")]  # fmt: skip


OPTIONAL_KEYS = """
import os

def run(mini_batch):
    numbers = [int(os.path.basename(path)[:-4]) for path in mini_batch]
    if not {3, 14, 17}.isdisjoint(numbers):
        raise ValueError("bad")
    return [{"b": k, "a": 2**60 + k} if k % 10 == 0 else {"a": k} for k in numbers]
"""


@pytest.mark.parametrize("form", ["csv", "parquet", "jsonl"])
def test_parts_of_dicts_with_optional_keys_are_one_table(
    numbers: Path, tmp_path: Path, form: str
) -> None:
    config = ParallelRunConfig(
        entry_script=script(tmp_path, OPTIONAL_KEYS),
        mini_batch_size=10,
        error_threshold=-1,
        output_format=form,
    )
    run = submit(config, inputs=numbers)
    assert end_of(run) == "Completed", run.snapshot()["reason"]
    table = run.to_pandas()
    expected = [k for k in range(60) if k not in {3, 14, 17}]
    assert table["a"].tolist() == [k if k % 10 else 2**60 + k for k in expected]
    assert table["b"].dropna().tolist() == [0, 10, 20, 30, 40, 50]


OPTIONAL_KEYS_AND_DEATHS = """
import os

def run(mini_batch):
    for path in mini_batch:
        k = int(os.path.basename(path)[:-4])
        if k == 27:
            os._exit(3)
        row = {"a": k}
        if k % 20 in (9, 18):
            row.update(n=2**60 + k, text="%03d" % k)
        yield ValueError(k) if k == 33 else row
"""


@pytest.mark.parametrize("form", ["csv", "parquet"])
def test_attempts_of_dicts_with_optional_keys_are_one_table(
    numbers: Path, tmp_path: Path, form: str
) -> None:
    config = ParallelRunConfig(
        entry_script=script(tmp_path, OPTIONAL_KEYS_AND_DEATHS),
        mini_batch_size=20,
        run_max_try=2,
        error_threshold=-1,
        output_format=form,
    )
    run = submit(config, inputs=numbers)
    assert end_of(run) == "Completed", run.snapshot()["reason"]
    ranges = [e for e in run.events(follow=False) if isinstance(e, ev.ItemsSucceeded)]
    assert len({event.attempt for event in ranges}) > 1
    table = run.to_pandas()
    expected = [k for k in range(60) if k not in {27, 33}]
    assert table["a"].tolist() == expected
    assert str(table["n"].dtype) == "Int64"
    with_keys = [k for k in expected if k % 20 in {9, 18}]
    assert table["n"].dropna().tolist() == [2**60 + k for k in with_keys]
    assert table["text"].dropna().tolist() == [f"{k:03d}" for k in with_keys]
    assert list(run.failed_items()["error"]) == ["WorkerLost", "ValueError"]
    assert_books(run)


def test_a_csv_with_rows_that_cannot_be_read(tmp_path: Path) -> None:
    lines = [f"{k},{k * k}" for k in range(400)]
    lines[130] = "130,many,fields,too,many"
    lines[299] = "299,no number"
    (tmp_path / "rows.csv").write_text("\n".join(["a,b", *lines]) + "\n")
    config = ParallelRunConfig(
        entry_script=script(tmp_path, "def run(frame):\n    return list(frame.a + frame.b)\n"),
        mini_batch_rows=50,
        error_threshold=-1,
    )
    types = {"a": "int64", "b": "int64"}
    table = TabularDataset.from_delimited_files(tmp_path / "rows.csv", column_types=types)
    run = submit(config, inputs=table)
    assert end_of(run) == "Completed"
    assert [int(row) for row in rows_of(run)] == [
        k + k * k for k in range(400) if k not in {130, 299}
    ]
    failed = run.failed_items()
    assert (failed["mini_batch"] * 50 + failed["position"]).tolist() == [130, 299]
    assert set(failed["kind"]) == {"bad_input"}


MEMORY = """
import os, resource

def init():
    limit = 1 << 30
    resource.setrlimit(resource.RLIMIT_AS, (limit, resource.RLIM_INFINITY))

def run(mini_batch):
    data = bytearray(len(mini_batch) * (40 << 20))
    return [os.path.basename(path) for path in mini_batch]
"""


def test_what_does_not_fit_into_memory_runs_in_halves(numbers: Path, tmp_path: Path) -> None:
    config = ParallelRunConfig(
        entry_script=script(tmp_path, MEMORY), mini_batch_size=30, run_max_try=1
    )
    run = submit(config, inputs=numbers)
    assert end_of(run) == "Completed"
    assert rows_of(run) == [f"{k:03d}.txt" for k in range(60)]
    limits = [e.items for e in run.events(follow=False) if isinstance(e, ev.CallLimited)]
    assert limits
    assert limits[-1] in {14, 15}
    assert run.snapshot()["items_per_call"] == limits[-1]


STAND_IN = """
class OutOfMemoryError(RuntimeError):
    pass

OutOfMemoryError.__module__ = "torch.cuda"

def run(mini_batch):
    if len(mini_batch) > 4:
        raise OutOfMemoryError("CUDA out of memory. Tried to allocate 2.00 GiB")
    return list(mini_batch)
"""


def test_an_error_like_that_of_torch_halves_too(numbers: Path, tmp_path: Path) -> None:
    config = ParallelRunConfig(
        entry_script=script(tmp_path, STAND_IN), mini_batch_size=20, run_max_try=1
    )
    run = submit(config, inputs=numbers)
    assert end_of(run) == "Completed"
    assert len(rows_of(run)) == 60
    assert run.snapshot()["items_per_call"] in {2, 3}


def write_kinds(folder: Path, kinds: list[str]) -> list[str]:
    folder.mkdir()
    for number, kind in enumerate(kinds):
        (folder / f"{number:03d}.txt").write_text(kind)
    return [f"{k:03d}.txt" for k, kind in enumerate(kinds) if kind == "good"]


def drawn(rng: random.Random, count: int, kinds: list[str], share: float) -> list[str]:
    return [rng.choice(kinds) if rng.random() < share else "good" for _ in range(count)]


def test_every_kind_of_failure_is_isolated(tmp_path: Path) -> None:
    rng = random.Random(11)
    kinds = drawn(rng, 200, ["raises", "answers", "dies"], 0.05)
    kinds[77] = "hangs"
    good = write_kinds(tmp_path / "in", kinds)
    ledger = tmp_path / "ledger"
    config = ParallelRunConfig(
        entry_script=str(SCRIPTS / "items_fail.py"),
        mini_batch_size=25,
        run_max_try=1,
        run_invocation_timeout=1,
        error_threshold=-1,
    )
    run = submit(config, inputs=str(tmp_path / "in"), arguments=[str(ledger)])
    assert end_of(run) == "Completed"
    assert rows_of(run) == good
    failed = run.failed_items()
    expected = {
        "raises": "ValueError",
        "answers": "KeyError",
        "dies": "WorkerLost",
        "hangs": "Timeout",
    }
    errors = {k: expected[kind] for k, kind in enumerate(kinds) if kind != "good"}
    positions = (failed["mini_batch"] * 25 + failed["position"]).tolist()
    assert dict(zip(positions, failed["error"], strict=True)) == errors
    assert_books(run)


def test_a_missing_model_costs_few_calls(tmp_path: Path) -> None:
    write_kinds(tmp_path / "in", ["raises"] * 600)
    ledger = tmp_path / "ledger"
    config = ParallelRunConfig(
        entry_script=str(SCRIPTS / "items_fail.py"),
        mini_batch_size=50,
        run_max_try=1,
        error_threshold=-1,
        process_count_per_node=3,
    )
    run = submit(config, inputs=str(tmp_path / "in"), arguments=[str(ledger)])
    assert end_of(run) == "Failed"
    assert run.snapshot()["items_failed"] == 600
    calls = ledger.read_text().count("\n")
    assert calls <= 12 + 25, "one mini-batch was divided, the others were not"


def test_a_delay_that_the_script_asks_for_is_kept(tmp_path: Path, numbers: Path) -> None:
    text = """
import os, time
from parallelrun_jupyter import RetryAfter

def run(mini_batch, context):
    marker = os.path.join(os.path.dirname(__file__), "seen-%d" % context.minibatch_index)
    if context.minibatch_index == 3 and not os.path.exists(marker):
        with open(marker, "w") as file:
            file.write(repr(time.time()))
        raise RetryAfter(1.5)
    if context.minibatch_index == 3:
        with open(marker) as file:
            assert time.time() - float(file.read()) >= 1.5
    return list(mini_batch)
"""
    config = ParallelRunConfig(
        entry_script=script(tmp_path, text), mini_batch_size=5, run_max_try=2
    )
    run = submit(config, inputs=numbers)
    assert end_of(run) == "Completed"


def test_final_errors_are_not_retried(tmp_path: Path, numbers: Path) -> None:
    text = """
import sys

def run(mini_batch, context):
    with open(sys.argv[1], "a") as file:
        file.write("%d\\n" % context.minibatch_index)
    if context.minibatch_index == 1:
        raise ConnectionResetError("down")
    if context.minibatch_index == 2:
        raise ValueError("wrong")
    return list(mini_batch)
"""
    ledger = tmp_path / "ledger"
    config = ParallelRunConfig(
        entry_script=script(tmp_path, text),
        mini_batch_size=1,
        run_max_try=3,
        retry_delay=0,
        retry_on="ConnectionError",
        error_threshold=-1,
    )
    run = submit(config, inputs=numbers, arguments=[str(ledger)])
    assert end_of(run) == "Completed"
    calls: Any = Counter(map(int, ledger.read_text().split()))
    assert (calls[0], calls[1], calls[2]) == (1, 3, 1)


def test_workers_of_old_interpreters_isolate_too(tmp_path: Path) -> None:
    pythons = sorted(Path.home().glob(".pyenv/versions/3.7.*/bin/python"))
    if not pythons:
        pytest.skip("no Python 3.7 on this machine")
    assert sys.version_info >= (3, 10)
    good = write_kinds(tmp_path / "in", ["good", "raises", "good", "answers", "good", "dies"] * 4)
    config = ParallelRunConfig(
        entry_script=str(SCRIPTS / "items_fail.py"),
        environment=str(pythons[0]),
        mini_batch_size=8,
        run_max_try=1,
        error_threshold=-1,
    )
    run = submit(config, inputs=str(tmp_path / "in"), arguments=[str(tmp_path / "ledger")])
    assert end_of(run) == "Completed"
    assert rows_of(run) == good
