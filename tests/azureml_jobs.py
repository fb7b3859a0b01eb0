"""Jobs of Azure ML, made of runs of this machine and run here by our engine for v2 pipelines."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import zlib
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from parallelrun_jupyter import Run, azureml_v2
from parallelrun_jupyter.backends.azureml.job_folder import write_job
from parallelrun_jupyter.runs.failed_items import failed_items
from parallelrun_jupyter.runs.output.merge import merge_rows
from parallelrun_jupyter.runs.run_record import RunRecord

COMPUTE = {"compute": "cpu-cluster"}


def record_for_azureml(run: Run, **placement: Any) -> RunRecord:
    """Return the record of a run as it would be with a compute of Azure ML."""
    record = run.folder.read_record()
    values = {"process_count_per_node": 2, "compute": COMPUTE, **placement}
    return record.on(backend="azureml", node_count=1, **values)


@dataclass(frozen=True, slots=True)
class Attempt:
    """One result file: its first line, and its rows."""

    head: dict[str, Any]
    rows: bytes

    @property
    def pieces(self) -> Iterator[tuple[int, bytes]]:
        """Yield the position of the first item and the rows of each part of the mini-batch."""
        kind = self.head["reply"][0]
        if kind == "done":
            yield 0, self.rows
        elif kind == "answered":
            start = 0
            for first, _, _, length, crc in self.head["reply"][6]:
                text = self.rows[start : start + length]
                assert zlib.crc32(text) == crc
                yield first, text
                start += length

    @property
    def failures(self) -> Iterator[tuple[int, dict[str, Any], str]]:
        """Yield the position, the failure and the message of each failed item."""
        reply = self.head["reply"]
        if reply[0] == "failed":
            for item in range(reply[3]):
                yield item, reply[5], reply[5]["message"]
        elif reply[0] == "answered":
            for ranges, messages, failure in reply[7]:
                for (first, count), message in zip(ranges, messages, strict=True):
                    for item in range(first, first + count):
                        yield item, failure, message


def read_results(folder: Path) -> dict[int, list[Attempt]]:
    """Return the attempts of each mini-batch, in the order in which they were written."""
    found: dict[int, list[Attempt]] = {}
    for path in sorted(folder.glob("done/*"), key=lambda path: path.stat().st_mtime_ns):
        line, _, rows = path.read_bytes().partition(b"\n")
        head = json.loads(line)
        assert (head["length"], head["crc"]) == (len(rows), zlib.crc32(rows))
        assert path.name.startswith(f"{head['mini_batch']:08d}.{head['worker']}.")
        found.setdefault(head["mini_batch"], []).append(Attempt(head, rows))
    return found


def run_as_job(run: Run, folder: Path, **how: Any) -> tuple[dict[int, list[Attempt]], Path]:
    """Write the job of a run and run it here; return the attempts, and the folder of results."""
    write_job(run.folder, record_for_azureml(run), None, folder, **how)
    assert not [
        f for f in azureml_v2.check(str(folder / "pipeline.yml")) if f.severity == "error"
    ], "our check"
    job = azureml_v2.run(str(folder / "pipeline.yml"))
    job.wait_for_completion(show_output=False, raise_on_error=False, timeout_s=120)
    [step] = job.steps
    results = Path(step.outputs["results"])
    return read_results(results), results


_AZURE = """
import os, sys
import job_entry
plan, here, argv = sys.argv.pop(1), os.getcwd(), list(sys.argv)
job_entry.init()
for name in sorted(os.listdir(plan)):
    for _ in range(2):
        try:
            print(job_entry.run([os.path.join(plan, name)]))
            break
        except Exception as error:
            print("raised", type(error).__name__)
job_entry.shutdown()
assert (os.getcwd(), sys.argv) == (here, argv)
"""


def call_like_azure(job: Path, results: Path, python: str | Path = sys.executable) -> list[str]:
    """Call the functions of a job's entry script in one process, each mini-batch up to twice.

    Returns
    -------
    list
        The lines of its output: those of the script, and a line for each call.
    """
    inputs = {path.name: path for path in job.iterdir() if path.is_dir()}
    paths = {**inputs, "results": results, "files": results.with_name("files")}
    words = [word for name, path in paths.items() for word in (f"--parallelrun_{name}", str(path))]
    done = subprocess.run(
        [python, "-c", _AZURE, str(job / "plan"), *words],
        cwd=job / "code", capture_output=True, text=True, check=False,
        env={**os.environ, "PYTHONPATH": ""},
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    return done.stdout.splitlines()


def rows_of(attempts: dict[int, list[Attempt]], form: str = "text") -> bytes:
    """Return the output file that the last attempts make."""
    pieces = sorted((k, *piece) for k, tries in attempts.items() for piece in tries[-1].pieces)
    return b"".join(merge_rows(lambda: ((k, text) for k, _, text in pieces), form))


def failures_of(attempts: dict[int, list[Attempt]]) -> list[tuple[Any, ...]]:
    """Return the failed items: mini-batch, position, group, kind, message, last line of the traceback."""
    found = [
        (k, item, failure["group"], failure["kind"], message, _last_place(failure["traceback"]))
        for k, tries in attempts.items()
        for item, failure, message in tries[-1].failures
    ]
    return sorted(found)


def failures_of_run(run: Run) -> list[tuple[Any, ...]]:
    """Return the failed items of a run in the same form."""
    return sorted(
        (f.mini_batch, f.position, f.group, f.kind, f.message, _last_place(f.traceback))
        for f in failed_items(run.folder)
    )


def _last_place(traceback: str) -> tuple[str, ...]:
    """Return the names of files with lines in a traceback, and the type of its error.

    A run keeps the first traceback of each group.
    """
    lines = [line for line in traceback.splitlines() if "File " in line]
    error = traceback.rstrip().rpartition("\n")[2].partition(":")[0]
    return (*(line.rpartition("/")[2] for line in lines), error)
