"""The cluster: a process for each job, which runs it with this package's own engine on this machine.

``python -m tests.azureml_service.cluster STATE AZURITE_PORT`` reads the names of jobs from its standard
input. Its processes are forks, which start fast, and they outlive the service.
"""

from __future__ import annotations

import os
import signal
import sys
import time
import traceback
import uuid
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from parallelrun_jupyter import azureml_v2
from parallelrun_jupyter.azureml_v2 import JobRun, StepRun
from parallelrun_jupyter.runs.journal.files import JournalReader
from parallelrun_jupyter.runs.run_folder import find
from tests.azureml_service.blobs import Blobs, Place, place_of
from tests.azureml_service.logs import WORK, StepLogs
from tests.azureml_service.names import ARTIFACT_CONTAINER, DATA_CONTAINER, artifacts_of, uri_of
from tests.azureml_service.script import Script
from tests.azureml_service.state import State, Value
from tests.azureml_service.wire import Writer, compute_of, output_uri, parent_output

_JOB_ERROR = (
    "Pipeline has failed child jobs. Failed nodes: {}. For more details and logs, please go to the job "
    "detail page and check the child jobs."
)
_STEP_ERROR = "Execution failed. Please check logs/readme.txt for the layout of logs."
"""As in Azure, an error does not have the user's exception, which only the log files have."""

_ENDS = ("Completed", "Failed", "Canceled", "Skipped", "Interrupted")


@dataclass
class _Step:
    """A step that has begun: its run in the history, and its own files once the engine runs it."""

    name: str
    run: Value
    node: dict[str, Any]
    logs: StepLogs | None = None
    journal: JournalReader | None = None
    is_done: bool = False


class Cluster:
    """Runs one job.

    Parameters
    ----------
    state, blobs
        Where the service and the cluster meet.
    name
        The job's.
    """

    def __init__(self, state: State, blobs: Blobs, name: str) -> None:
        self._state = state
        self._blobs = blobs
        self._name = name
        self._job = state.read("jobs", name) or {}
        self._run = state.read("runs", name) or {}
        self._steps: dict[str, _Step] = {}
        self._uploaded: dict[tuple[str, str], str] = {}
        self._lines = ""
        self._writer = Writer(state, blobs, state.folder / "work" / name)

    @property
    def _script(self) -> Script:
        return Script.of(self._state.read("script", "script"))

    def run(self) -> None:
        """Run the job to its end."""
        try:
            self._run_job()
        except Exception:
            for step in self._steps.values():
                self._set(step.run, status="Failed", ended=self._now())
            self._end("Failed", traceback.format_exc())
            raise

    def _run_job(self) -> None:
        self._say(f"pipeline run {self._name} is accepted")
        for state in ("NotStarted", "Preparing"):
            if not self._stay([self._run], state):
                self._end("Canceled", "")
                return
        nodes = self._job["properties"]["jobs"]
        path = self._writer.write(self._job)
        self._set(self._run, status="Running", started=self._now())
        first = [
            self._begin(name) for name, node in nodes.items() if "parent.jobs" not in str(node)
        ]
        for state in ("NotStarted", "Queued", "Preparing", "Starting"):
            if not self._stay([step.run for step in first], state):
                for step in first:
                    self._set(step.run, status="Canceled", ended=self._now())
                self._end("Canceled", "")
                return
        self._follow(azureml_v2.run(path, compute="local"))

    # States

    def _now(self) -> float:
        return time.time() + self._script.skew_hours * 3600

    def _set(self, run: Value, **changes: Any) -> None:
        run.update(changes)
        course = run.setdefault("course", [])
        if course[-1:] != [run["status"]]:
            course.append(run["status"])
        self._state.write("runs", run["name"], run)

    def _is_canceled(self) -> bool:
        names = [self._name, *(step.run["name"] for step in self._steps.values())]
        return any(self._state.read("cancels", name) for name in names)

    def _stay(self, runs: list[Value], state: str) -> bool:
        """Keep runs in a state for its time; return whether the job continues."""
        for run in runs:
            self._set(run, status=state)
        until = time.monotonic() + self._script.delays.get(state, 0)
        while time.monotonic() < until:
            if self._is_canceled():
                return False
            time.sleep(0.02)
        return not self._is_canceled()

    def _begin(self, name: str) -> _Step:
        node = self._job["properties"]["jobs"][name]
        run = {
            "name": str(uuid.uuid4()), "parent": self._name, "type": "azureml.StepRun",
            "status": "NotStarted", "display_name": name, "experiment": self._run["experiment"],
            "created": self._now(), "started": 0, "ended": 0, "error": None, "outputs": {}, "tags": {},
            "properties": {"azureml.moduleName": name, "azureml.pipelinerunid": self._name},
            "compute": compute_of(node), "definition": {"target": compute_of(node), "node": node},
        }  # fmt: skip
        self._steps[name] = _Step(name, run, node)
        self._set(run)
        self._say(f"step {name} is submitted as run {run['name']}")
        return self._steps[name]

    def _end(self, state: str, reason: str) -> None:
        self._say(f"pipeline run {self._name} is {state}")
        self._set(self._run, status=state, error=reason or None, ended=self._now())

    # The run of our own engine

    def _follow(self, job: JobRun) -> None:
        is_asked = False
        while True:
            status = job.status
            if self._is_canceled() and not is_asked:
                is_asked = True
                self._set(self._run, status="CancelRequested")
                job.cancel()
            for step in job.steps:
                self._follow_step(step)
            if status in _ENDS:
                break
            time.sleep(self._script.tick_s)
        self._collect_outputs()
        self._stay([self._run], "Finalizing")
        is_failed = status in {"Failed", "Interrupted"}
        names = ", ".join(f"/{step.name}" for step in job.steps if step.status == "Failed")
        self._end("Failed" if is_failed else status, _JOB_ERROR.format(names) if is_failed else "")

    def _collect_outputs(self) -> None:
        """Give the job the outputs of its steps that are its own."""
        outputs = {}
        for step in self._steps.values():
            for name, one in (step.node.get("outputs") or {}).items():
                bound = parent_output(one)
                if bound and name in step.run["outputs"]:
                    outputs[bound] = step.run["outputs"][name]
        self._set(self._run, outputs=outputs)

    def _follow_step(self, step: StepRun) -> None:
        if step.status in {"NotStarted", "Skipped"}:
            return
        mine = self._steps.get(step.name) or self._begin(step.name)
        if mine.is_done:
            return
        if step.status == "Running" and mine.run["status"] != "Running":
            self._set(mine.run, status="Running", started=self._now())
        if step.run_id and mine.logs is None:
            folder = find(step.run_id)
            created_at = folder.read_record().created_at
            shown = self._writer.shown(f"{WORK}/{folder.run_id}/cap/data-capability/wd")
            mine.logs = StepLogs(folder, created_at, self._script, shown)
            mine.journal = JournalReader(folder.journal)
        if step.status in _ENDS:
            self._finish_step(mine, step)
        else:
            self._write_logs(mine, step)
            self._upload_mounted(mine, step)

    def _upload_mounted(self, mine: _Step, step: StepRun) -> None:
        """Upload the new files of outputs that are mounted: a mounted store has them when they are closed."""
        for name, folder in step.outputs.items():
            one = (mine.node.get("outputs") or {}).get(name) or {}
            if one.get("mode") != "ReadWriteMount" or not os.path.isdir(folder):
                continue
            _, place = self._place_of_output(mine, name)
            for path in Path(folder).rglob("*"):
                state = path.stat()
                stamp = f"{state.st_size} {state.st_mtime_ns}"
                if path.is_file() and self._uploaded.get((name, str(path))) != stamp:
                    self._uploaded[name, str(path)] = stamp
                    blob = f"{place.path.rstrip('/')}/{path.relative_to(folder).as_posix()}"
                    self._blobs.write(Place(place.container, blob), path.read_bytes())

    def _finish_step(self, mine: _Step, step: StepRun) -> None:
        mine.is_done = True
        if not mine.run["started"]:
            self._set(mine.run, started=self._now())
        self._set(mine.run, status="Finalizing")
        self._write_logs(mine, step, at_end=True)
        outputs = {}
        for name, path in step.outputs.items():
            if os.path.exists(path):
                outputs[name] = self._upload(mine, name, Path(path))
        self._stay([mine.run], "Finalizing")
        self._say(f"step {mine.name} is {step.status}")
        reason = _STEP_ERROR if step.status == "Failed" else ""
        self._set(
            mine.run, status=step.status, outputs=outputs, error=reason or None, ended=self._now()
        )

    def _upload(self, mine: _Step, name: str, path: Path) -> Value:
        uri, place = self._place_of_output(mine, name)
        self._blobs.upload(path, place)
        kind = "uri_file" if path.is_file() else "uri_folder"
        end = "" if path.is_file() else "/"
        return {"type": kind, "uri": uri or uri_of(f"{place.path}{end}"), "path": place.path}

    def _place_of_output(self, mine: _Step, name: str) -> tuple[str, Place]:
        """Return the URI that the job gives to an output, if it does, and its place."""
        uri = output_uri(self._job, mine.node, name)
        run = mine.run["name"]
        uri = uri.replace("${{name}}", run).replace("${{default_datastore}}", "workspaceblobstore")
        return uri, place_of(uri) if uri else Place(DATA_CONTAINER, f"azureml/{run}/{name}")

    # Log files

    def _say(self, text: str) -> None:
        stamp = time.strftime("%Y-%m-%d %H:%M:%SZ", time.gmtime(self._now()))
        self._lines += f"[{stamp}] {text}\n"
        self._put(self._name, {"logs/azureml/executionlogs.txt": self._lines})

    def _write_logs(self, mine: _Step, step: StepRun, *, at_end: bool = False) -> None:
        files = {}
        if step.log.exists():
            files["user_logs/std_log.txt"] = step.log.read_text(errors="replace")
        if mine.logs is not None and mine.journal is not None:
            mine.logs.script = self._script
            mine.logs.apply(mine.journal.read())
            mine.logs.tables(at_end=at_end)
            files["user_logs/std_log_0.txt"] = f"{mine.name} runs.\n" + (
                "It has ended.\n" if at_end else ""
            )
            files.update(mine.logs.files)
        self._put(mine.run["name"], files)

    def _put(self, run: str, files: dict[str, str]) -> None:
        """Upload the files that have changed."""
        for path, text in files.items():
            if self._uploaded.get((run, path)) != text:
                self._uploaded[run, path] = text
                place = Place(ARTIFACT_CONTAINER, f"{artifacts_of(run)}{path}")
                self._blobs.write(place, text.encode(errors="replace"))


def main(folder: Path, azurite_port: int) -> None:
    """Fork a process for each job that a line of the standard input names, until its end."""
    signal.signal(signal.SIGCHLD, signal.SIG_IGN)  # they are not waited for
    for line in sys.stdin:
        job = line.strip()
        if os.fork() == 0:
            signal.signal(signal.SIGCHLD, signal.SIG_DFL)
            _run_alone(State(folder), azurite_port, job)


def _run_alone(state: State, azurite_port: int, job: str) -> None:
    """Run a job in this new process, and end it."""
    os.setsid()
    status = 1
    try:
        log = os.open(state.folder / f"cluster-{job}.log", os.O_WRONLY | os.O_CREAT | os.O_APPEND)
        for descriptor, target in ((os.open(os.devnull, os.O_RDONLY), 0), (log, 1), (log, 2)):
            os.dup2(descriptor, target)
        state.write("clusters", job, {"pid": os.getpid()})
        Cluster(state, Blobs(azurite_port), job).run()
        status = 0
    except Exception:
        traceback.print_exc()
    finally:
        sys.stdout.flush()
        sys.stderr.flush()
        os._exit(status)


if __name__ == "__main__":
    main(Path(sys.argv[1]), int(sys.argv[2]))
