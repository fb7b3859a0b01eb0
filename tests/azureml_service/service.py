"""The emulator for a test: its process, its environment, its script, its faults and its ledger."""

from __future__ import annotations

import http.client
import json
import os
import signal
import ssl
import subprocess
import sys
import time
from collections.abc import Mapping
from dataclasses import asdict, replace
from http import HTTPStatus
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit, urlunsplit

import psutil

from tests.azureml_service.blobs import Blobs
from tests.azureml_service.client_side import URL_VARIABLE, WORKSPACE_VARIABLE
from tests.azureml_service.names import GROUP, SUBSCRIPTION, WORKSPACE, WORKSPACE_ID
from tests.azureml_service.script import Fault, Script
from tests.azureml_service.state import State, Value
from tests.azureml_service.tokens import make_token

REPOSITORY = Path(__file__).parents[2]
_START_S = 60.0


class RefusedError(Exception):
    """An answer that is an error: its ``status`` and its ``headers``."""

    def __init__(self, status: int, headers: dict[str, str]) -> None:
        super().__init__(status)
        self.status = status
        self.headers = headers


class AzureMLService:
    """A running emulator. Its state, in a folder, survives `kill` and `start`.

    Parameters
    ----------
    folder
        A folder for its state.
    azurite_port
        The port of the store of blobs.
    """

    def __init__(self, folder: Path, azurite_port: int) -> None:
        self.folder = folder
        self._ledger_start = 0
        self.azurite_port = azurite_port
        self.state = State(folder)
        self.blobs = Blobs(azurite_port)
        self._process: subprocess.Popen[bytes] | None = None
        self._ports: Value = {}
        self.start()

    # Process

    def start(self) -> None:
        """Start the service, at the address that it had before."""
        self.state.remove("service", "service")
        ports = [self._ports["port"], self._ports["proxy_port"]] if self._ports else []
        words = [
            sys.executable,
            "-m",
            "tests.azureml_service",
            self.folder,
            self.azurite_port,
            *ports,
        ]
        path = os.pathsep.join(filter(None, (str(REPOSITORY), os.environ.get("PYTHONPATH"))))
        home = str(self.folder / "home")
        with open(self.folder / "service.log", "ab") as log:
            self._process = subprocess.Popen(
                [str(word) for word in words], stdin=subprocess.DEVNULL, stdout=log, stderr=log,
                cwd=REPOSITORY, env={**os.environ, "PYTHONPATH": path, "PARALLELRUN_HOME": home},
            )  # fmt: skip
        until = time.monotonic() + _START_S
        while (ports_now := self.state.read("service", "service")) is None:
            if self._process.poll() is not None or time.monotonic() > until:
                self.kill()
                raise RuntimeError((self.folder / "service.log").read_text())
            time.sleep(0.02)
        self._ports = ports_now

    def kill(self) -> None:
        """Kill the service; jobs continue on their clusters."""
        if self._process is not None:
            self._process.kill()
            self._process.wait()
            self._process = None

    def close(self) -> None:
        """Kill the service, its clusters and their runs."""
        self.kill()
        home = str(self.folder / "home")
        for process in psutil.process_iter():
            try:
                if process.environ().get("PARALLELRUN_HOME") == home:
                    process.send_signal(signal.SIGKILL)
            except psutil.Error:
                continue

    # Where it is

    @property
    def url(self) -> str:
        """Its address, of ARM as of the run history."""
        return f"https://localhost:{self._ports['port']}"

    @property
    def history(self) -> str:
        """The address of the run history of the workspace; ``/runs/NAME`` follows."""
        return f"{self.url}/history/v1.0{WORKSPACE_ID}"

    @property
    def ca_bundle(self) -> Path:
        """The certificate that its clients trust."""
        return self.folder / "ca.pem"

    @property
    def environ(self) -> dict[str, str]:
        """The variables of a process that is to reach it, and nothing else on the network."""
        proxy = f"http://127.0.0.1:{self._ports['proxy_port']}"
        own = {
            URL_VARIABLE: self.url, WORKSPACE_VARIABLE: f"{SUBSCRIPTION}/{GROUP}/{WORKSPACE}",
            "REQUESTS_CA_BUNDLE": str(self.ca_bundle), "SSL_CERT_FILE": str(self.ca_bundle),
            "HTTPS_PROXY": proxy, "HTTP_PROXY": proxy, "NO_PROXY": "localhost,127.0.0.1",
            "https_proxy": proxy, "http_proxy": proxy, "no_proxy": "localhost,127.0.0.1",
            "ARM_CLOUD_METADATA_URL": f"{self.url}/metadata/endpoints?api-version=2019-05-01",
            "AZUREML_RUN_POLLING_INTERVAL_MIN": "1", "AZUREML_RUN_POLLING_INTERVAL_MAX": "1",
        }  # fmt: skip
        path = os.pathsep.join(filter(None, (str(REPOSITORY), os.environ.get("PYTHONPATH"))))
        return {**own, "PYTHONPATH": path}

    # The script of a test

    @property
    def script(self) -> Script:
        """The pace and the faults of its jobs."""
        return Script.of(self.state.read("script", "script"))

    def set_script(self, **changes: Any) -> None:
        """Change fields of the script; running jobs follow it too."""
        self.state.write("script", "script", replace(self.script, **changes).as_value())

    def set_faults(self, *faults: Fault) -> None:
        """Replace the faults of requests."""
        self._ask("PUT", f"{self.url}/_control/faults", [asdict(fault) for fault in faults])

    def reset(self) -> None:
        """Remove all faults and the script, and begin a new ledger."""
        self._ledger_start = len(self._ledger_lines())
        self.state.remove("script", "script")
        self.set_faults()

    def _ask(
        self, method: str, url: str, value: Any = None, headers: Mapping[str, str] | None = None
    ) -> bytes:
        """Return the body of an answer, as a reader without proxies gets it."""
        parts = urlsplit(url)
        context = ssl.create_default_context(cafile=self.ca_bundle)
        connection = http.client.HTTPSConnection(parts.netloc, timeout=30, context=context)
        try:
            body = None if value is None else json.dumps(value)
            path = urlunsplit(("", "", parts.path, parts.query, ""))
            connection.request(method, path, body, {**_authorization(url), **(headers or {})})
            answer = connection.getresponse()
            content = answer.read()
        finally:
            connection.close()
        if answer.status >= HTTPStatus.BAD_REQUEST:
            raise RefusedError(answer.status, dict(answer.getheaders()))
        return content

    # Its answers and its state

    def requests(self) -> list[Value]:
        """Return ``at``, ``method``, ``host``, ``path`` and ``status`` of each request since `reset`."""
        return [json.loads(line) for line in self._ledger_lines()[self._ledger_start :]]

    def _ledger_lines(self) -> list[str]:
        ledger = self.folder / "requests.jsonl"
        return ledger.read_text().splitlines() if ledger.exists() else []

    def fetch(self, url: str, headers: Mapping[str, str] | None = None) -> bytes:
        """Return the bytes at an address of the service.

        Raises
        ------
        RefusedError
            The answer is an error.
        """
        return self._ask("GET", url, headers=headers)

    def get(self, url: str) -> Any:
        """Return the JSON at an address of the service."""
        return json.loads(self.fetch(url))

    def put(self, path: str, properties: Value) -> None:
        """Write a resource of the workspace, such as ``/jobs/NAME``."""
        url = f"{self.url}{WORKSPACE_ID}{path}"
        headers = {**_authorization(url), "x-azureml-token": make_token(url)}
        self._ask("PUT", url, {"properties": properties}, headers)

    def cancel(self, job: str) -> None:
        """Ask for the end of a job."""
        self._ask("POST", f"{self.url}{WORKSPACE_ID}/jobs/{job}/cancel")

    def log_of(self, job: str) -> str:
        """Return the output of the process of a job: its exception, if it has crashed."""
        path = self.folder / f"cluster-{job}.log"
        return path.read_text() if path.exists() else ""

    def run(self, name: str) -> Value:
        """Return a run of the history, as the cluster wrote it."""
        return self.state.read("runs", name) or {}

    def children(self, name: str) -> list[Value]:
        """Return the runs of a job's steps."""
        return [run for run in self.state.values("runs") if run["parent"] == name]


def _authorization(url: str) -> dict[str, str]:
    """Return the header of a request; an address with a signature must have none."""
    return {} if "sig=" in url else {"Authorization": f"Bearer {make_token(url)}"}
