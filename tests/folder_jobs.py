"""Jobs of Azure ML in folders of this machine: a `JobService` without Azure, for tests of the pool.

A job is run by the package's own runner of v2 files, in a process that outlives the driver::

    ROOT/NAME/job/         the copy of the folder that was submitted
    ROOT/NAME/state.json   state, error, and the paths of the results, of the script's files, and of the logs
    ROOT/NAME/cancel       a request
    ROOT/fate.json         what happens to the next jobs: see `Fate`
    ROOT/requests.txt      one line for each request: a verb and a name

``python -m tests.folder_jobs ROOT/NAME`` runs one.
"""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
import time
from collections import Counter
from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from parallelrun_jupyter import azureml_v2
from parallelrun_jupyter.backends.azureml.service import JobNotFoundError, JobStatus
from parallelrun_jupyter.files import write_atomically
from parallelrun_jupyter.runs.run_folder import find

_POLL_S = 0.05


@dataclass
class Fate:
    """What happens to a job.

    Parameters
    ----------
    ends_after
        It ends once this number of results is there; 0: never before its end.
    state, error
        Its state then.
    queued_s
        Seconds in the queue.
    has_table
        Whether there is a table of the mini-batches that were run.
    """

    ends_after: int = 0
    state: str = "Canceled"
    error: str = ""
    queued_s: float = 0.0
    has_table: bool = True


class FolderService:
    """The jobs in a folder."""

    def __init__(self, root: Path) -> None:
        self.root = root
        root.mkdir(parents=True, exist_ok=True)
        self._processes: list[subprocess.Popen[bytes]] = []

    def close(self) -> None:
        """Cancel the jobs, and wait for their ends."""
        for path in self.root.glob("*/state.json"):
            (path.parent / "cancel").touch()
        for path in self.root.glob("*/state.json"):
            deadline = time.monotonic() + 30
            while not self.is_over(path.parent.name) and time.monotonic() < deadline:
                time.sleep(_POLL_S)
        for process in self._processes:
            process.wait(30)

    def _note(self, verb: str, name: str) -> None:
        with open(self.root / "requests.txt", "a", encoding="utf-8") as file:
            file.write(f"{verb} {name}\n")

    def requests(self, verb: str) -> list[str]:
        """Return the names of the jobs that a request was made for, in order."""
        text = (self.root / "requests.txt").read_text(encoding="utf-8")
        pairs = [line.split() for line in text.splitlines()]
        return [name for one, name in pairs if one == verb]

    def set_fate(self, fate: Fate) -> None:
        """Set the fate of the next jobs."""
        write_atomically(self.root / "fate.json", json.dumps(asdict(fate)))

    def _folder(self, name: str) -> Path:
        folder = self.root / name
        if not (folder / "state.json").exists():
            msg = f"there is no job {name}"
            raise JobNotFoundError(msg)
        return folder

    def _state(self, name: str) -> dict[str, Any]:
        state: dict[str, Any] = json.loads((self._folder(name) / "state.json").read_text())
        return state

    def submit(self, job: Path, name: str) -> None:
        folder = self.root / name
        self._note("submit", name)
        if folder.exists():
            return
        draft = self.root / f".{name}.{os.getpid()}"
        shutil.copytree(job, draft / "job")
        fate = self.root / "fate.json"
        if fate.exists():
            shutil.copy(fate, draft / "fate.json")
        write_atomically(draft / "state.json", json.dumps({"state": "NotStarted"}))
        draft.rename(folder)
        self._note("create", name)
        environ = {**os.environ, "PARALLELRUN_HOME": str(folder / "home"), "TMPDIR": str(folder)}
        with open(folder / "log.txt", "wb") as log:
            process = subprocess.Popen(
                [sys.executable, "-m", "tests.folder_jobs", str(folder)],
                stdin=subprocess.DEVNULL, stdout=log, stderr=log, env=environ,
                start_new_session=True,
            )  # fmt: skip
        self._processes.append(process)

    def status(self, name: str) -> JobStatus:
        state = self._state(name)
        return JobStatus(
            state["state"],
            "run",
            state.get("detail", ""),
            state.get("error", ""),
            f"https://ml/{name}",
        )

    def list_results(self, name: str) -> Mapping[str, int]:
        results = self._state(name).get("results")
        if results is None:
            return {}
        root = Path(results)
        return {str(p.relative_to(root)): p.stat().st_size for p in root.rglob("*") if p.is_file()}

    def read_result(self, name: str, path: str) -> bytes:
        self._note("read", path)
        try:
            return (Path(self._state(name)["results"]) / path).read_bytes()
        except FileNotFoundError:
            msg = f"there is no {path}"
            raise JobNotFoundError(msg) from None

    def list_logs(self, name: str) -> Mapping[str, str]:
        state = self._state(name)
        if "run" not in state:
            return {}
        run = Path(state["run"])
        found = {
            f"logs/user/stdout/0/{path.stem}.stdout.txt": str(path)
            for path in (run / "logs" / "user").glob("*.log")
        }
        table = run / "reports" / "processed_mini-batches.csv"
        if table.exists() and state.get("has_table"):
            found[f"logs/sys/job_report/{table.name}"] = str(table)
        return found

    def read_log(self, address: str, offset: int) -> bytes:
        with open(address, "rb") as file:
            file.seek(offset)
            return file.read()

    def cancel(self, name: str) -> None:
        self._note("cancel", name)
        (self._folder(name) / "cancel").touch()

    def download_files(self, name: str, target: Path) -> None:
        files = self._state(name).get("files")
        if files:
            shutil.copytree(files, target, dirs_exist_ok=True)

    def is_over(self, name: str) -> bool:
        """Return whether a job has ended."""
        return self._state(name)["state"] in {"Completed", "Failed", "Canceled"}


class Faulty:
    """A service whose requests raise first what a test says.

    Parameters
    ----------
    service
        The service.
    fault
        Called with the name of each request and how often it was made before; raises, or does not.
    """

    def __init__(self, service: FolderService, fault: Callable[[str, int], None]) -> None:
        self._service = service
        self._fault = fault
        self._counts: Counter[str] = Counter()

    def __getattr__(self, name: str) -> Any:
        method = getattr(self._service, name)

        def call(*arguments: Any) -> Any:
            count = self._counts[name]
            self._counts[name] += 1
            self._fault(name, count)
            return method(*arguments)

        return call


def _write(folder: Path, **values: Any) -> None:
    path = folder / "state.json"
    state = {**json.loads(path.read_text()), **values}
    write_atomically(path, json.dumps(state))


def run_job(folder: Path) -> None:
    """Run one job to its end."""
    path = folder / "fate.json"
    fate = Fate(**json.loads(path.read_text())) if path.exists() else Fate()
    _write(folder, state="Queued", has_table=fate.has_table)
    ends_at = time.monotonic() + fate.queued_s
    while time.monotonic() < ends_at and not (folder / "cancel").exists():
        time.sleep(_POLL_S)
    if (folder / "cancel").exists():
        _write(folder, state="Canceled")
        return
    job = azureml_v2.run(folder / "job" / "pipeline.yml")
    end = ""
    while True:
        [step] = job.steps
        facts: dict[str, str] = {
            name: step.outputs[name] for name in ("results", "files") if name in step.outputs
        }
        if step.run_id:
            facts["run"] = str(find(step.run_id).path)
        is_over = job.status in {"Completed", "Failed", "Canceled", "Interrupted"}
        if is_over:
            state = end or job.status
            error = fate.error if end else step.reason
            _write(folder, state=state, error=error, **facts)
            return
        _write(folder, state="Running" if "results" in facts else "Preparing", **facts)
        done = Path(facts.get("results", "-")) / "done"
        if fate.ends_after and done.exists() and len(os.listdir(done)) >= fate.ends_after:
            end = fate.state
        if end or (folder / "cancel").exists():
            job.cancel()
        time.sleep(_POLL_S)


if __name__ == "__main__":
    try:
        run_job(Path(sys.argv[1]))
    except BaseException as error:
        _write(Path(sys.argv[1]), state="Failed", error=f"{type(error).__name__}: {error}")
        raise
