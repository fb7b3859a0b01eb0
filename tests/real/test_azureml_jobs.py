"""A job of Azure ML gives the rows and the failures of a run of this machine, byte for byte."""

from __future__ import annotations

import json
import os
from pathlib import Path
from typing import Any

import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

import parallelrun_jupyter as parallelrun
from parallelrun_jupyter import ParallelRunConfig, Run, TabularDataset, submit
from parallelrun_jupyter.data.datasets.file_dataset import FileDataset
from tests.azureml_jobs import failures_of, failures_of_run, read_results, rows_of, run_as_job

NAMES = """
import os
def run(paths):
    return [(os.path.basename(path), open(path).read()) for path in paths]
"""

ODD_ONES_FAIL = """
import os
def init():
    print("init here", os.path.basename(os.getcwd()))
def run(paths):
    result = []
    for path in paths:
        number = int(open(path).read())
        if number % 7 == 3:
            raise ValueError("number %d is odd in its way" % number)
        result.append("%s %d" % (os.path.basename(path), number * number))
    return result
"""


def ended(script: str, tmp_path: Path, inputs: Any, **settings: Any) -> Run:
    """Return a run of this machine that has ended."""
    path = tmp_path / "score.py"
    path.write_text(script)
    arguments = settings.pop("arguments", ())
    config = ParallelRunConfig(
        entry_script=str(path), process_count_per_node=2, run_max_try=1, **settings
    )
    run = submit(config, inputs=inputs, arguments=arguments)
    run.wait_for_completion(raise_on_error=False)
    return run


def output_of(run: Run) -> Path:
    return run.folder.final_file(run.folder.read_record())


def test_rows_of_files_are_those_of_a_local_run(numbers: Path, tmp_path: Path) -> None:
    run = ended(NAMES, tmp_path, f"{numbers}/*.txt", mini_batch_size=7)
    attempts, results = run_as_job(run, tmp_path / "job")
    assert rows_of(attempts) == output_of(run).read_bytes()
    assert sorted(attempts) == list(range(9))
    workers = [json.loads(path.read_text()) for path in results.glob("workers/*.json")]
    assert {worker["run_line"] for worker in workers} == {"score.py:3 in run"}
    assert all(worker["init_ms"] >= 0 and worker["pid"] > 1 for worker in workers)
    names = {tries[0].head["worker"] for tries in attempts.values()}
    assert names <= {worker["worker"] for worker in workers}


def test_failing_items_are_isolated_as_in_a_local_run(numbers: Path, tmp_path: Path) -> None:
    run = ended(ODD_ONES_FAIL, tmp_path, str(numbers), mini_batch_size=6, error_threshold=-1)
    attempts, _ = run_as_job(run, tmp_path / "job")
    failed = failures_of(attempts)
    assert failed == failures_of_run(run)
    assert [f[0] * 6 + f[1] for f in failed] == [n for n in range(60) if n % 7 == 3]
    assert failed[0][2] == "ValueError at score.py:10 in run"
    assert rows_of(attempts) == output_of(run).read_bytes()


CSV_ROWS = """
def run(frame):
    result = frame.assign(length=frame["text"].fillna("").str.len())
    if (frame["id"] == 13).any():
        raise KeyError("thirteen")
    return result
"""


@pytest.fixture
def quoted(tmp_path: Path) -> Path:
    """Return two CSV files with line ends and quotes in their fields, and 45 rows."""
    folder = tmp_path / "tables"
    folder.mkdir()
    texts = ["plain", "two\nlines", 'a "quote"', "", "umlaut ä, comma", "tail\r\n"]
    frame = pd.DataFrame({"id": range(45), "text": [texts[k % 6] for k in range(45)]})
    frame[:30].to_csv(folder / "a.csv", index=False)
    frame[30:].to_csv(folder / "b.csv", index=False)
    return folder


@pytest.mark.parametrize("form", ["text", "csv", "jsonl", "parquet"])
def test_rows_of_tables_are_those_of_a_local_run(quoted: Path, tmp_path: Path, form: str) -> None:
    table = TabularDataset.from_delimited_files(f"{quoted}/*.csv")
    given: dict[str, Any] = {} if form == "text" else {"output_format": form}
    run = ended(
        CSV_ROWS, tmp_path, table, mini_batch_rows=4, error_threshold=-1,
        # Pipelines have pandas read text as before pandas 3.
        environment_variables={"PANDAS_FUTURE_INFER_STRING": "1"}, **given,
    )  # fmt: skip
    attempts, _ = run_as_job(run, tmp_path / "job")
    assert failures_of(attempts) == failures_of_run(run)
    assert len(failures_of(attempts)) == 1
    merged, expected = rows_of(attempts, form), output_of(run).read_bytes()
    if form == "parquet":  # some bytes of its metadata are arbitrary
        one, other = (pq.read_table(pa.BufferReader(data)) for data in (merged, expected))
        assert one.schema.equals(other.schema, check_metadata=True)
        assert one.equals(other)
    else:
        assert merged == expected
    assert len(run.to_pandas()) == 44


KEYS = """
def run(paths, context):
    key = context.partition_key_value
    return ["%s %s %d" % (key["user"], key["season"], len(paths))]
"""


def test_partition_keys_reach_the_script(tmp_path: Path) -> None:
    for user in ("ada", "ben"):
        for season in ("spring", "fall"):
            for number in range(3 if user == "ada" else 1):
                path = tmp_path / "songs" / user / season / f"{number}.wav"
                path.parent.mkdir(parents=True, exist_ok=True)
                path.write_text("la")
    songs = FileDataset(f"{tmp_path}/songs", partition_format="{user}/{season}/*.wav")
    run = ended(KEYS, tmp_path, songs, partition_keys=["user", "season"], error_threshold=-1)
    attempts, _ = run_as_job(run, tmp_path / "job")
    assert rows_of(attempts) == output_of(run).read_bytes()
    assert len(attempts) == 4


def test_map_over_values_of_the_notebook(tmp_path: Path) -> None:
    factor = 3

    def times(value: dict[str, Any]) -> Any:
        if value["n"] == 11:
            raise ArithmeticError("eleven")
        return {**value, "n": value["n"] * factor, "pid": os.getppid() > 0}

    values = [{"n": k, "tags": {k}} for k in range(20)]
    run = parallelrun.map(times, values, error_threshold=-1, run_max_try=1, mini_batch_size=4)
    run.wait_for_completion(raise_on_error=False)
    attempts, _ = run_as_job(run, tmp_path / "job")
    assert failures_of(attempts) == failures_of_run(run)
    assert rows_of(attempts, "objects") == output_of(run).read_bytes()
    assert [f[4] for f in failures_of(attempts)] == ["eleven"]


BAD_INIT = """
def init():
    raise OSError("no model here")
def run(paths):
    return paths
"""


def test_a_failed_init_is_recorded(numbers: Path, tmp_path: Path) -> None:
    run = ended(BAD_INIT, tmp_path, str(numbers), mini_batch_size=30)
    attempts, results = run_as_job(run, tmp_path / "job")
    assert attempts == {}
    failures = [json.loads(p.read_text())["failure"] for p in results.glob("workers/*.json")]
    assert {f["group"] for f in failures} == {"OSError at score.py:3 in init"}
    assert {f["message"] for f in failures} == {"no model here"}
    assert "OSError at score.py:3 in init: no model here" in repr(run)


ALWAYS_FAILS = """
def run(paths):
    raise RuntimeError("always")
"""


def test_what_fails_as_a_whole_is_tried_again_by_the_job(numbers: Path, tmp_path: Path) -> None:
    path = tmp_path / "score.py"
    path.write_text(ALWAYS_FAILS)
    config = ParallelRunConfig(
        entry_script=str(path), mini_batch_size=30, run_max_try=2, error_threshold=-1, retry_delay=0
    )
    run = submit(config, inputs=str(numbers))
    run.wait_for_completion(raise_on_error=False)
    attempts, _ = run_as_job(run, tmp_path / "job")
    assert {k: len(tries) for k, tries in attempts.items()} == {0: 2, 1: 2}
    assert {f[2] for f in failures_of(attempts)} == {"RuntimeError at score.py:3 in run"}


ARGUMENTS = """
import argparse, os
parser = argparse.ArgumentParser()
parser.add_argument("--model")
parser.add_argument("--top", type=int)
parser.add_argument("--target")
def init():
    global args
    args = parser.parse_args()
def run(paths):
    with open(os.path.join(args.target, os.path.basename(paths[0])), "w") as file:
        file.write("mine")
    return ["%s %s %d" % (os.path.basename(p), open(args.model).read(), args.top) for p in paths]
"""


def test_arguments_side_inputs_and_own_files(numbers: Path, tmp_path: Path) -> None:
    from parallelrun_jupyter.config.step import OutputFolder

    model = tmp_path / "models" / "best.txt"
    model.parent.mkdir()
    model.write_text("weights")
    arguments = ["--model", FileDataset(str(model)), "--top", 3, "--target", OutputFolder()]
    run = ended(ARGUMENTS, tmp_path, str(numbers), mini_batch_size=20, arguments=arguments)
    attempts, results = run_as_job(run, tmp_path / "job")
    assert rows_of(attempts) == output_of(run).read_bytes()
    files = {path.name for path in results.with_name("files").glob("*.txt")}
    assert files == {"000.txt", "020.txt", "040.txt"}


def test_modules_beside_the_script_travel(numbers: Path, tmp_path: Path, monkeypatch: Any) -> None:
    (tmp_path / "mine").mkdir()
    (tmp_path / "mine" / "__init__.py").write_text("from helper_of_mine import square\n")
    (tmp_path / "helper_of_mine.py").write_text("def square(n):\n    return n * n\n")
    (tmp_path / "unused.py").write_text("import does_not_exist\n")
    monkeypatch.chdir(tmp_path)
    script = "import mine\ndef run(paths):\n    return [mine.square(int(open(p).read())) for p in paths]\n"
    run = ended(script, tmp_path, str(numbers), mini_batch_size=20)
    attempts, _ = run_as_job(run, tmp_path / "job")
    assert rows_of(attempts) == output_of(run).read_bytes()
    names = {path.name for path in (tmp_path / "job" / "code" / "script").iterdir()}
    assert names == {"score.py", "mine", "helper_of_mine.py"}


def test_only_some_items_and_mini_batches_are_run(numbers: Path, tmp_path: Path) -> None:
    from parallelrun_jupyter.backends.azureml.job_folder import write_job
    from parallelrun_jupyter.worker.plan_line import PlanLine
    from tests.azureml_jobs import record_for_azureml

    run = ended(NAMES, tmp_path, str(numbers), mini_batch_size=10)
    lines = run.folder.plan.read_bytes().splitlines()
    part = PlanLine.decode(lines[2]).only([[1, 2], [7, 1]]).encode()
    write_job(run.folder, record_for_azureml(run), [2, 4], tmp_path / "job", {2: part})
    plan = sorted(path.name for path in (tmp_path / "job" / "plan").iterdir())
    assert plan == ["00000002.json", "00000004.json"]
    files = sorted(path.name for path in (tmp_path / "job" / "input_0" / "numbers").iterdir())
    assert files == ["021.txt", "022.txt", "027.txt", *(f"04{k}.txt" for k in range(10))]
    job = parallelrun.azureml_v2.run(str(tmp_path / "job" / "pipeline.yml"))
    job.wait_for_completion(show_output=False)
    attempts = read_results(Path(job.steps[0].outputs["results"]))
    wanted = ["021.txt", "022.txt", "027.txt", *(f"04{k}.txt" for k in range(10))]
    rows = rows_of(attempts).decode().splitlines()
    assert [row.split("'")[1] for row in rows] == wanted
