"""A Jupyter server of its own, in a process of its own, for tests."""

from __future__ import annotations

import contextlib
import json
import os
import socket
import subprocess
import sys
import time
import urllib.error
import urllib.request
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import nbformat

TOKEN = "only-for-tests"
_MODULES = {"lab": "jupyterlab", "notebook": "notebook", "server": "jupyter_server"}
_QUIET = {
    "@jupyterlab/apputils-extension:notification": {
        "fetchNews": "false",
        "checkForUpdates": False,
    }
}
_START_S = 90.0


class Jupyter:
    """A server in a process of its own, with its own settings, notebooks and home of runs."""

    def __init__(
        self,
        folder: Path,
        app: str = "lab",
        base_url: str = "/",
        options: Sequence[str] = (),
        python: str = sys.executable,
    ) -> None:
        self.app = app
        self.folder = folder
        self.notebooks = folder / "notebooks"
        self.home = folder / "home"
        self.notebooks.mkdir(parents=True)
        self.home.mkdir()
        settings = folder / "data" / "lab" / "settings"
        settings.mkdir(parents=True)
        (settings / "overrides.json").write_text(json.dumps(_QUIET))
        self.port = _free_port()
        self.url = f"http://127.0.0.1:{self.port}{base_url}"
        self._log = open(folder / "server.log", "wb")  # noqa: SIM115 - for the life of the server
        self._process = subprocess.Popen(
            [
                python, "-m", _MODULES[app],
                "--allow-root", "--no-browser", "--ip=127.0.0.1", f"--port={self.port}",
                "--ServerApp.port_retries=0", f"--IdentityProvider.token={TOKEN}",
                f"--ServerApp.root_dir={self.notebooks}", f"--ServerApp.base_url={base_url}",
                *([] if app == "server" else [f"--LabApp.app_settings_dir={settings}"]),
                *options,
            ],
            env={**os.environ, **self.variables()},
            stdout=self._log,
            stderr=self._log,
            start_new_session=True,
        )  # fmt: skip
        self._wait()

    def variables(self) -> dict[str, str]:
        """Return the environment that keeps the server apart from everything else."""
        return {
            "PARALLELRUN_HOME": str(self.home),
            "JUPYTER_CONFIG_DIR": str(self.folder / "config"),
            "JUPYTER_DATA_DIR": str(self.folder / "data"),
            "JUPYTER_RUNTIME_DIR": str(self.folder / "runtime"),
            "IPYTHONDIR": str(self.folder / "ipython"),
        }

    def _wait(self) -> None:
        deadline = time.monotonic() + _START_S
        while True:
            with contextlib.suppress(OSError, urllib.error.URLError):
                self.ask("GET", "api/status")
                return
            if time.monotonic() > deadline or self._process.poll() is not None:
                raise AssertionError((self.folder / "server.log").read_text()[-3000:])
            time.sleep(0.2)

    def ask(self, method: str, path: str, body: object = None) -> Any:
        """Ask the server, with the token; return its JSON."""
        request = urllib.request.Request(
            self.url + path,
            method=method,
            data=None if body is None else json.dumps(body).encode(),
            headers={"Authorization": f"token {TOKEN}"},
        )
        with urllib.request.urlopen(request, timeout=20) as response:
            text = response.read()
        return json.loads(text) if text else None

    def end_kernels(self) -> None:
        """End every kernel."""
        for session in self.ask("GET", "api/sessions"):
            self.ask("DELETE", f"api/sessions/{session['id']}")

    def restart_kernel(self, name: str) -> None:
        """Restart the kernel of a notebook."""
        (kernel,) = [
            session["kernel"]["id"]
            for session in self.ask("GET", "api/sessions")
            if session["path"] == name
        ]
        self.ask("POST", f"api/kernels/{kernel}/restart")

    def theme(self, name: str) -> None:
        """Choose a theme, such as ``JupyterLab Dark``."""
        path = "lab/api/settings/@jupyterlab/apputils-extension:themes"
        self.ask("PUT", path, {"raw": json.dumps({"theme": name})})

    def write_numbers(self) -> None:
        """Make the 200 small files that the notebooks of the tests run over."""
        numbers = self.notebooks / "numbers"
        numbers.mkdir()
        for number in range(200):
            (numbers / f"{number:03d}.txt").write_text(f"number {number}")

    def write(self, name: str, cells: list[str]) -> None:
        """Make a notebook of these cells."""
        notebook = nbformat.v4.new_notebook(cells=[nbformat.v4.new_code_cell(c) for c in cells])
        notebook.metadata["kernelspec"] = {
            "name": "python3", "display_name": "Python 3", "language": "python",
        }  # fmt: skip
        nbformat.write(notebook, self.notebooks / name)

    def read(self, name: str) -> Any:
        """Return a notebook as it is on the disk."""
        return nbformat.read(self.notebooks / name, as_version=4)

    def stop(self) -> None:
        """End the server and its kernels."""
        self._process.terminate()
        try:
            self._process.wait(20)
        except subprocess.TimeoutExpired:
            self._process.kill()
            self._process.wait()
        self._log.close()


def _free_port() -> int:
    with socket.socket() as found:
        found.bind(("127.0.0.1", 0))
        return int(found.getsockname()[1])
