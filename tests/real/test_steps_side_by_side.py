"""Independent steps of a pipeline run side by side: cores, failures, cancel, kills, the console."""

from __future__ import annotations

import json
import os
import signal
import time
from collections import Counter
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from typing import Any

import psutil
import pytest
import yaml

from parallelrun_jupyter import Run, azureml_v2
from parallelrun_jupyter.azureml_v2.execution.job_run import JobRun
from parallelrun_jupyter.errors import ConfigError, ParallelRunError, RunFailedError
from parallelrun_jupyter.machine import usable_cores
from parallelrun_jupyter.pipelines.rendering import html_table, text_lines

pytestmark = pytest.mark.skipif(usable_cores() < 2, reason="two cores run two steps")

COUNT = """
import argparse, os, time
parser = argparse.ArgumentParser()
parser.add_argument("--log")
args, _ = parser.parse_known_args()
def run(mini_batch):
    for path in mini_batch:
        with open(args.log, "a") as file:
            file.write(os.path.basename(path) + "\\n")
    time.sleep(0.15)
    return [os.path.basename(path) for path in mini_batch]
"""


def meet(own: Path, other: Path) -> str:
    """Return a command that ends only if another one runs beside it."""
    return f"touch {own}; until [ -e {other} ]; do sleep 0.05; done"


ALONE = "mkdir {lock} && sleep 0.3 && rmdir {lock}"
"""A command that fails if another one runs beside it."""


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    (tmp_path / "code").mkdir()
    (tmp_path / "code" / "count.py").write_text(COUNT)
    (tmp_path / "texts").mkdir()
    for number in range(20):
        (tmp_path / "texts" / f"{number}.txt").write_text(str(number))
    monkeypatch.chdir(tmp_path)
    return tmp_path


def command(line: str, **fields: Any) -> dict[str, Any]:
    limits = {"timeout": 60}
    return {
        "type": "command",
        "command": line,
        "environment": "azureml:b:1",
        "limits": limits,
    } | fields


def counting(folder: Path, name: str, **fields: Any) -> dict[str, Any]:
    """Return a step over mini-batches that also logs each item it is given."""
    return {
        "type": "parallel",
        "inputs": {"data": {"type": "uri_folder", "path": "./texts"}},
        "outputs": {"rows": {"type": "uri_file", "path": f"./{name}.rows"}},
        "input_data": "${{inputs.data}}",
        "mini_batch_size": "1",
        "task": {
            "type": "run_function", "code": "./code", "entry_script": "count.py",
            "environment": "azureml:b:1", "append_row_to": "${{outputs.rows}}",
            "program_arguments": f"--log {folder / name}.log",
        },
        **fields,
    }  # fmt: skip


def started(folder: Path, jobs: dict[str, Any], **settings: Any) -> JobRun:
    path = folder / "pipeline.yml"
    path.write_text(
        yaml.safe_dump({"type": "pipeline", "settings": settings, "jobs": jobs}, sort_keys=False)
    )
    return azureml_v2.run(path)


def wait_for(condition: Callable[[], Any], limit_s: float = 60) -> Any:
    deadline = time.monotonic() + limit_s
    while not (value := condition()):
        assert time.monotonic() < deadline
        time.sleep(0.05)
    return value


def statuses(job: JobRun) -> dict[str, str]:
    return {step.name: step.status for step in job.steps}


def intervals(job: JobRun) -> list[tuple[float, float]]:
    """Return when each step ran, from the journal."""
    events = [json.loads(line) for line in job.folder.journal.read_text().splitlines()]
    begin = {e["step"]: e["at"] for e in events if e["event"] == "StepPrepared"}
    end = {e["step"]: e["at"] for e in events if e["event"] == "StepFinished"}
    return sorted((begin[key], end[key]) for key in begin)


def kill_driver(job: JobRun) -> None:
    os.kill(json.loads((job.folder.path / "driver.json").read_text())["pid"], signal.SIGKILL)
    wait_for(lambda: job.status == "Interrupted")


def test_commands_that_wait_for_each_other_end_and_the_next_step_waits_for_both(
    folder: Path,
) -> None:
    out = {"made": {"type": "uri_file"}}
    jobs = {
        "left": command(
            meet(folder / "l", folder / "r") + "; echo > ${{outputs.made}}", outputs=out
        ),
        "right": command(
            meet(folder / "r", folder / "l") + "; echo > ${{outputs.made}}", outputs=out
        ),
        "both": command(
            "ls ${{inputs.a}} ${{inputs.b}}",
            inputs={
                "a": {"type": "uri_file", "path": "${{parent.jobs.left.outputs.made}}"},
                "b": {"type": "uri_file", "path": "${{parent.jobs.right.outputs.made}}"},
            },
        ),
    }
    job = started(folder, jobs)
    assert job.wait_for_completion(show_output=False, timeout_s=120) == "Completed"
    left, right, both = intervals(job)
    assert both[0] >= max(left[1], right[1])


def test_one_step_at_a_time_if_the_setting_says_so(
    folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    jobs = {name: command(ALONE.format(lock=folder / "lock")) for name in ("a", "b", "c")}
    monkeypatch.setenv("PARALLELRUN_STEPS", "none")
    with pytest.raises(ConfigError, match="PARALLELRUN_STEPS is 'none'"):
        started(folder, jobs)
    monkeypatch.setenv("PARALLELRUN_STEPS", "1")
    job = started(folder, jobs)
    monkeypatch.delenv("PARALLELRUN_STEPS")  # it is part of the run
    assert job.wait_for_completion(show_output=False, timeout_s=120) == "Completed"


def test_steps_with_a_worker_per_core_do_not_run_side_by_side_but_those_with_one_worker_do(
    folder: Path,
) -> None:
    wide = {name: counting(folder, name) for name in ("a", "b")}
    job = started(folder, wide)
    assert job.wait_for_completion(show_output=False, timeout_s=120) == "Completed"
    first, second = intervals(job)
    assert second[0] >= first[1]
    narrow = {name: counting(folder, name, max_concurrency_per_instance=1) for name in ("c", "d")}
    job = started(folder, narrow)
    assert job.wait_for_completion(show_output=False, timeout_s=120) == "Completed"
    first, second = intervals(job)
    assert second[0] < first[1]


def test_a_failed_step_does_not_end_the_one_beside_it(folder: Path) -> None:
    line = meet(folder / "bad", folder / "good") + "; echo x > ${{outputs.o}}; exit 3"
    bad = command(line, outputs={"o": {}})
    good = command(meet(folder / "good", folder / "seen"))
    needs = command("ls ${{inputs.i}}", inputs={
        "i": {"type": "uri_folder", "path": "${{parent.jobs.bad.outputs.o}}"}})  # fmt: skip
    jobs = {"bad": bad, "good": good, "needs": needs, "free": command("echo free")}
    for goes_on in (True, False):
        job = started(folder, jobs, continue_on_step_failure=goes_on, force_rerun=True)
        wait_for(lambda: statuses(job)["bad"] == "Failed")  # noqa: B023 - called at once
        assert statuses(job)["good"] == "Running"
        (folder / "seen").touch()
        with pytest.raises(RunFailedError, match="step bad failed"):
            job.wait_for_completion(show_output=False, timeout_s=60)
        free = "Completed" if goes_on else "Skipped"
        expected = {"bad": "Failed", "good": "Completed", "needs": "Skipped", "free": free}
        assert statuses(job) == expected
        (folder / "seen").unlink()
        (folder / "good").unlink()


def test_a_cancel_ends_all_running_steps(folder: Path) -> None:
    number = f"{time.time_ns() % 10**6 + 1000}.75"
    slow = (folder / "code" / "count.py").read_text().replace("0.15", "60")
    (folder / "code" / "count.py").write_text(slow)
    jobs = {
        "a": command(f"sleep {number}; echo"),
        "b": counting(folder, "b", max_concurrency_per_instance=1),
        "c": command("echo never"),
    }
    job = started(folder, jobs)
    wait_for(lambda: list(statuses(job).values())[:2] == ["Running"] * 2)
    job.cancel()
    assert job.wait_for_completion(show_output=False, timeout_s=60) == "Canceled"
    assert set(statuses(job).values()) == {"Canceled"}
    assert Run.attach(job.steps[1].run_id).status == "Canceled"
    commands = [" ".join(p.info["cmdline"] or []) for p in psutil.process_iter(["cmdline"])]
    assert not [line for line in commands if number in line]


def test_a_driver_killed_with_two_running_steps_loses_nothing_and_does_nothing_twice(
    folder: Path, home: Path
) -> None:
    jobs = {
        name: counting(folder, name, max_concurrency_per_instance=1) for name in ("left", "right")
    }
    jobs["sum"] = command(
        f"echo once >> {folder}/sum.log; "
        "cat ${{inputs.l}} ${{inputs.r}} | wc -l > " + str(folder / "sum"),
        inputs={
            "l": {"type": "uri_file", "path": "${{parent.jobs.left.outputs.rows}}"},
            "r": {"type": "uri_file", "path": "${{parent.jobs.right.outputs.rows}}"},
        },
    )
    job = started(folder, jobs)
    logs = [folder / "left.log", folder / "right.log"]
    wait_for(lambda: all(log.exists() for log in logs))
    assert list(statuses(job).values()) == ["Running", "Running", "NotStarted"]
    kill_driver(job)
    ids = [step.run_id for step in job.steps]
    job.resume()
    wait_for(lambda: job.status == "Running")
    kill_driver(job)
    job.resume()
    assert job.wait_for_completion(show_output=False, timeout_s=120) == "Completed"
    names = sorted(f"{number}.txt" for number in range(20))
    for name in ("left", "right"):
        assert sorted((folder / f"{name}.log").read_text().split()) == names
        assert sorted((folder / f"{name}.rows").read_text().split()) == names
    assert (folder / "sum").read_text().strip() == "40"
    assert (folder / "sum.log").read_text() == "once\n"
    assert [step.run_id for step in job.steps] == ids
    assert sorted(path.name for path in (home / "runs").iterdir()) == sorted(filter(None, ids))
    events = [json.loads(line) for line in job.folder.journal.read_text().splitlines()]
    finished = Counter(event["step"] for event in events if event["event"] == "StepFinished")
    assert set(finished.values()) == {1}
    assert len(finished) == 3


def test_a_canceled_job_whose_driver_died_cancels_the_runs_of_its_steps(folder: Path) -> None:
    slow = (folder / "code" / "count.py").read_text().replace("0.15", "60")
    (folder / "code" / "count.py").write_text(slow)
    job = started(folder, {"a": counting(folder, "a", max_concurrency_per_instance=1)})
    wait_for(lambda: statuses(job)["a"] == "Running")
    kill_driver(job)
    job.cancel()
    with suppress(
        ParallelRunError
    ):  # it is Canceled, if this process has seen that its driver died
        job.resume()
    assert job.wait_for_completion(show_output=False, timeout_s=60) == "Canceled"
    run = Run.attach(job.steps[0].run_id)  # its own driver reads the request after the job's end
    assert run.wait_for_completion(show_output=False, timeout_s=60) == "Canceled"


def test_views_show_all_running_steps_and_the_console_says_whose_lines_they_are(
    folder: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    def chatty(own: str, other: str) -> str:
        both = meet(folder / own, folder / other)
        return f"echo {own} begins; {both}; until [ -e {folder / 'go'} ]; do sleep 0.05; done; echo {own} ends"

    job = started(folder, {"x": command(chatty("x", "y")), "y": command(chatty("y", "x"))})
    wait_for(lambda: (folder / "x").exists() and (folder / "y").exists())
    wait_for(lambda: list(statuses(job).values()) == ["Running"] * 2)
    text = "\n".join(text_lines(job.record, job.state()))
    page = html_table(job.folder, job.record, job.state())
    assert "▶ x: Running" in text
    assert "▶ y: Running" in text
    assert page.count("<td>Running</td>") == 2
    assert "<div>x</div><pre>x begins</pre><div>y</div><pre>y begins</pre>" in page
    with pytest.raises(TimeoutError):
        job.wait_for_completion(timeout_s=0.5)
    (folder / "go").touch()
    job.wait_for_completion(timeout_s=60)
    said = capsys.readouterr().out.splitlines()
    for own, other in (("x", "y"), ("y", "x")):
        above = said[: said.index(f"{own} ends")]
        heads = {f"==> {name} <==": name for name in (own, other)}
        heads |= {f"StepRun( {name} ) Status: {s}": name for name in (own, other)
                  for s in ("Running", "Preparing", "Completed")}  # fmt: skip
        last = next(heads[line] for line in reversed(above) if line in heads)
        assert last == own
