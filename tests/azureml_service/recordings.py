"""Recordings of jobs: the answers of the service over time, in a small file that plays on any machine.

A `Recorder` watches a job of the emulator, or a real one; a `Player` gives any reader the same answers by
its own clock, without a network.
"""

from __future__ import annotations

import json
import re
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any
from urllib.parse import quote, unquote, urlsplit

from tests.azureml_service.names import WORKSPACE, WORKSPACE_ID

SCHEMA = 1
TERMINAL = {"Completed", "Failed", "Canceled"}
_PERSONAL = {"createdBy", "lastModifiedBy", "userId", "services", "runUuid", "rootRunUuid"}
_SECRET = re.compile(r"\?[^\s\"']*sig=[^\s\"']*")


class Recorder:
    """Watches one job.

    Parameters
    ----------
    job
        Its name.
    history
        The address of its workspace in the run history; ``/runs/NAME`` follows.
    fetch
        Returns the bytes at an address, with whatever the service asks for, such as a token.
    """

    def __init__(self, job: str, history: str, fetch: Callable[[str], bytes]) -> None:
        self.job = job
        self._history = history
        self._fetch = fetch
        self._started: float | None = None
        self._moments: list[dict[str, Any]] = []
        self._runs: dict[str, Any] = {}
        self._logs: dict[tuple[str, str], tuple[bytes, int]] = {}
        """The bytes of each log, and how many its recorded text has."""

    def observe(self) -> str:
        """Write down all changes since the last time; return the status of the job."""
        now = time.monotonic()
        self._started = now if self._started is None else self._started
        status = str(self._get(self.job)["status"])
        children = self._get(self.job, "/children")["value"]
        changed: dict[str, Any] = {}
        logs: dict[str, dict[str, Any]] = {}
        for run in [self.job, *(child["runId"] for child in children)]:
            details = self._get(run, "/details")
            files = details.pop("logFiles")
            value = _scrubbed({"run": self._get(run), "details": details})
            new_values = _changes(self._runs.get(run, {}), value)
            if new_values:
                self._runs[run], changed[run] = value, new_values
            new = self._new_text(run, files)
            if new:
                logs[run] = new
        if changed or logs:
            at = round(now - self._started, 3)
            self._moments.append({"at": at, "runs": changed, "logs": logs})
        return status

    def record(self, every_s: float = 0.2, timeout_s: float = 120) -> None:
        """Observe the job until it has ended."""
        until = time.monotonic() + timeout_s
        while self.observe() not in TERMINAL and time.monotonic() < until:
            time.sleep(every_s)
        self.observe()

    def write(self, path: Path) -> None:
        """Write the recording."""
        value = {"schema": SCHEMA, "job": self.job, "moments": self._moments}
        path.write_text(json.dumps(value, indent=1, sort_keys=True) + "\n")

    def _get(self, run: str, end: str = "") -> dict[str, Any]:
        value: dict[str, Any] = json.loads(self._fetch(f"{self._history}/runs/{run}{end}"))
        return value

    def _new_text(self, run: str, files: dict[str, str]) -> dict[str, Any]:
        """Return the new texts, each with its position."""
        new = {}
        for path, url in files.items():
            data = self._fetch(url)
            known, end = self._logs.get((run, path), (b"", 0))
            if data == known and (run, path) in self._logs:
                continue
            if not data.startswith(known):
                known, end = b"", 0
            text = data[len(known) :].decode(errors="replace")
            new[path] = [end, text]
            self._logs[run, path] = data, end + len(text.encode())
        return new


def _changes(before: dict[str, Any], after: dict[str, Any]) -> dict[str, Any]:
    """Return the values of two levels that have changed."""
    found = {
        part: {name: one for name, one in values.items() if before.get(part, {}).get(name, _NONE) != one}
        for part, values in after.items()
    }  # fmt: skip
    return {part: values for part, values in found.items() if values}


_NONE = object()


def _scrubbed(value: Any) -> Any:
    """Return a value without people and signatures."""
    if isinstance(value, dict):
        return {name: _scrubbed(one) for name, one in value.items() if name not in _PERSONAL}
    if isinstance(value, list):
        return [_scrubbed(one) for one in value]
    return _SECRET.sub("", value) if isinstance(value, str) else value


@dataclass(frozen=True)
class Reply:
    """An answer: its status, its headers and its body."""

    status: int
    headers: dict[str, str] = field(default_factory=dict)
    body: bytes = b""


class Player:
    """Answers as the service did at a time of the recording.

    Parameters
    ----------
    path
        The recording.
    base
        The address that it claims to have.

    Attributes
    ----------
    at
        Seconds since the start of the recording, which a test sets.
    """

    def __init__(self, path: Path, base: str = "https://recorded.test") -> None:
        value = json.loads(path.read_text())
        assert value["schema"] == SCHEMA, f"{path} has the schema {value['schema']}, not {SCHEMA}"
        self.job: str = value["job"]
        self.base = base
        self.at = 0.0
        self._moments: list[dict[str, Any]] = value["moments"]

    @property
    def history(self) -> str:
        """The address of the workspace in the run history."""
        return f"{self.base}/history/v1.0{WORKSPACE_ID}"

    @property
    def duration_s(self) -> float:
        """The time of the last change."""
        at: float = self._moments[-1]["at"]
        return at

    @property
    def times(self) -> list[float]:
        """The times of all changes."""
        return [moment["at"] for moment in self._moments]

    def answer(self, method: str, url: str, headers: dict[str, str] | None = None) -> Reply:
        """Return the answer to a request at this time."""
        path = unquote(urlsplit(url).path)
        if method != "GET":
            return _json(405, {"error": {"code": "NotAllowed", "message": "this is a recording"}})
        log = re.fullmatch(r"/log/([^/]+)/(.*)", path)
        if log:
            return self._log(log[1], log[2], {n.lower(): v for n, v in (headers or {}).items()})
        if path == WORKSPACE_ID:
            discovery = {"discoveryUrl": f"{self.base}/discovery"}
            return _json(200, {"id": path, "name": WORKSPACE, "properties": discovery})
        if path.startswith("/discovery"):
            return _json(200, {"api": self.base, "history": self.base})
        asked = re.fullmatch(r".*/(?:runs|jobs)/([^/]+?)(/details|/children)?", path)
        return self._run(asked[1], asked[2] or "", path) if asked else _json(404, {})

    def _past(self) -> Iterator[dict[str, Any]]:
        return (moment for moment in self._moments if moment["at"] <= self.at)

    def _run(self, name: str, end: str, path: str) -> Reply:
        runs: dict[str, Any] = {}
        for moment in self._past():
            for run, parts in moment["runs"].items():
                known = runs.setdefault(run, {"run": {}, "details": {}})
                for part, values in parts.items():
                    known[part] = {**known[part], **values}
        if name not in runs:
            return _json(404, {"error": {"code": "UserError", "message": f"no run {name!r}"}})
        if end == "/children":
            children = [
                one["run"] for one in runs.values() if one["run"].get("parentRunId") == name
            ]
            return _json(200, {"value": children})
        if end == "/details":
            base = f"{self.base}/log/{quote(name)}"
            paths = {one for moment in self._past() for one in moment["logs"].get(name, ())}
            files = {one: f"{base}/{quote(one)}?sig=recorded" for one in sorted(paths)}
            return _json(200, {**runs[name]["details"], "logFiles": files})
        if "/jobs/" in path:
            properties = {"jobType": "Pipeline", "status": runs[name]["run"]["status"]}
            is_child = bool(runs[name]["run"].get("parentRunId"))
            return _json(200, {"name": name, "properties": None if is_child else properties})
        return _json(200, runs[name]["run"])

    def _log(self, run: str, path: str, headers: dict[str, str]) -> Reply:
        data = None
        for moment in self._past():
            start, text = moment["logs"].get(run, {}).get(path, (0, None))
            if text is not None:
                data = (data or b"")[:start] + text.encode()
        if data is None:
            return Reply(404, {"x-ms-error-code": "BlobNotFound"})
        asked = re.fullmatch(r"bytes=(\d+)-(\d*)", headers.get("range", ""))
        if not asked:
            return Reply(200, {"Content-Type": "text/plain"}, data)
        first, last = int(asked[1]), int(asked[2] or len(data) - 1)
        if first >= len(data):
            return Reply(
                416, {"x-ms-error-code": "InvalidRange", "Content-Range": f"bytes */{len(data)}"}
            )
        part = data[first : last + 1]
        span = f"bytes {first}-{first + len(part) - 1}/{len(data)}"
        return Reply(206, {"Content-Type": "text/plain", "Content-Range": span}, part)

    @contextmanager
    def serve(self) -> Iterator[str]:
        """Answer on loopback over plain HTTP; give the address, which is also `base` meanwhile."""
        handler = type("Handler", (_Handler,), {"player": self})
        server = ThreadingHTTPServer(("127.0.0.1", 0), handler)
        thread = threading.Thread(target=server.serve_forever, args=(0.02,))
        thread.start()
        before, self.base = self.base, f"http://127.0.0.1:{server.server_port}"
        try:
            yield self.base
        finally:
            self.base = before
            server.shutdown()
            thread.join()
            server.server_close()


class _Handler(BaseHTTPRequestHandler):
    player: Player

    def log_message(self, *_: Any) -> None:
        pass

    def _handle(self) -> None:
        reply = self.player.answer(self.command, self.path, dict(self.headers.items()))
        self.send_response_only(reply.status)
        for name, value in {**reply.headers, "Content-Length": str(len(reply.body))}.items():
            self.send_header(name, value)
        self.end_headers()
        self.wfile.write(reply.body)

    do_GET = do_POST = do_PUT = _handle  # noqa: N815


def _json(status: int, value: Any) -> Reply:
    headers = {"Content-Type": "application/json; charset=utf-8"}
    return Reply(status, headers, json.dumps(value).encode())
