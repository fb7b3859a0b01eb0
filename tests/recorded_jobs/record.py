"""Records jobs of the emulator: ``python -m tests.recorded_jobs.record [NAME ...]``.

Each recording has the answers of the service over time, and ``books``: what the emulator's own engine
wrote of the run, by which a reader of the recording is checked.
"""

from __future__ import annotations

import json
import sys
import tempfile
from pathlib import Path
from typing import Any

from parallelrun_jupyter.runs.journal.events import AttemptFailed, AttemptSucceeded
from parallelrun_jupyter.runs.journal.files import JournalReader
from parallelrun_jupyter.runs.journal.state import RunState
from parallelrun_jupyter.runs.run_folder import RunFolder
from tests.azureml_service.recordings import Recorder
from tests.azureml_service.service import AzureMLService
from tests.azureml_service.submission import send_job
from tests.azurite_process import Azurite

FOLDER = Path(__file__).parent
JOBS: dict[str, tuple[dict[str, Any], dict[str, Any], str]] = {
    "completed": ({}, {}, "--seconds 0.3"),
    "failed": ({}, {"mini_batch_error_threshold": 1}, "--seconds 0.3 --bad 7 --worse 31"),
    "timeouts": ({}, {"timeout": 2, "max_retries": 2}, "--seconds 0.2 --slow 7"),
    "frozen": ({"overview_stops_after": 3}, {}, "--seconds 0.6 --bad 42"),
    "rotated": (
        {"overview_rotates_after": 5, "table_at_end": True, "skew_hours": 7, "unknown_lines": True},
        {},
        "--seconds 0.5 --bad 7",
    ),
}  # fmt: skip
"""The script of the emulator, the settings of the job, and its arguments, by the name of the recording."""

FIGURES = (
    "planned", "planned_items", "succeeded", "failed", "left", "items_succeeded", "items_failed",
    "attempts_failed",
)  # fmt: skip

SCRIPT = """
import argparse, pathlib, time

def init():
    global options
    parser = argparse.ArgumentParser()
    parser.add_argument("--bad", type=int, default=-1)
    parser.add_argument("--worse", type=int, default=-1)
    parser.add_argument("--slow", type=int, default=-1)
    parser.add_argument("--seconds", type=float, default=0)
    options, _ = parser.parse_known_args()
    print("the script is ready")

def run(paths):
    time.sleep(options.seconds)
    numbers = [int(pathlib.Path(path).read_text()) for path in paths]
    if options.slow in numbers:
        time.sleep(20)
    return [double(number) for number in numbers]

def double(number):
    if number == options.bad:
        raise ValueError(f"number {number} is bad")
    if number == options.worse:
        raise KeyError(number)
    return 2 * number
"""


def books_of(service: AzureMLService) -> dict[str, Any]:
    """Return what the emulator's own engine wrote of its newest run."""
    folder = RunFolder(max((service.folder / "home" / "runs").iterdir()))
    events = list(JournalReader(folder.journal).read())
    state = RunState()
    state.apply_all(events)
    figures: dict[str, Any] = {name: getattr(state, name) for name in FIGURES}
    return {**figures, "attempts": attempts_in(events)}


def attempts_in(events: Any) -> list[list[Any]]:
    """Return the attempts: mini-batch, number, items, those with a result, group, message, duration."""
    found: list[list[Any]] = []
    for event in events:
        ended = [round(event.duration_us / 1e6, 6)] if hasattr(event, "duration_us") else []
        if isinstance(event, AttemptSucceeded):
            found.append(
                [
                    event.mini_batch,
                    event.attempt,
                    event.items,
                    event.items_succeeded,
                    "",
                    "",
                    *ended,
                ]
            )
        elif isinstance(event, AttemptFailed):
            found.append(
                [
                    event.mini_batch,
                    event.attempt,
                    event.items,
                    0,
                    event.group,
                    event.message,
                    *ended,
                ]
            )
    return sorted(found)


def record(service: AzureMLService, name: str, folder: Path) -> None:
    """Run a job and write its recording."""
    script, settings, arguments = JOBS[name]
    service.reset()
    service.set_script(overview_every_s=0.1, **script)
    job = send_job(
        service, folder / "code" / "score.py", folder / "numbers", arguments=arguments, **settings
    )
    recorder = Recorder(job, service.history, service.fetch)
    recorder.record(every_s=0.3)
    path = FOLDER / f"{name}.json"
    recorder.write(path)
    value = {**json.loads(path.read_text()), "books": books_of(service)}
    path.write_text(json.dumps(value, indent=1, sort_keys=True) + "\n")
    print(name, len(value["moments"]), path.stat().st_size, {k: value["books"][k] for k in FIGURES})


def main(names: list[str]) -> None:
    """Record the jobs of some names."""
    with tempfile.TemporaryDirectory() as text:
        folder = Path(text)
        (folder / "code").mkdir()
        (folder / "code" / "score.py").write_text(SCRIPT)
        (folder / "numbers").mkdir()
        for k in range(60):
            (folder / "numbers" / f"{k:03d}.txt").write_text(str(k))
        for name in ("azurite", "azureml"):
            (folder / name).mkdir()
        azurite = Azurite(folder / "azurite")
        service = AzureMLService(folder / "azureml", azurite.port)
        try:
            for job in names or list(JOBS):
                record(service, job, folder)
        finally:
            service.close()
            azurite.close()


if __name__ == "__main__":
    main(sys.argv[1:])
