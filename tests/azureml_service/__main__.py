"""The process of the service: ``python -m tests.azureml_service STATE AZURITE_PORT [PORT PROXY_PORT]``."""

from __future__ import annotations

import os
import subprocess
import sys
import threading
from pathlib import Path

from tests.azureml_service.answers import Answer, Request, Routes
from tests.azureml_service.blobs import Blobs
from tests.azureml_service.certificates import write_certificate
from tests.azureml_service.jobs import JobRoutes
from tests.azureml_service.ledger import Ledger
from tests.azureml_service.names import ARTIFACT_CONTAINER, DATA_CONTAINER
from tests.azureml_service.script import Fault, Faults
from tests.azureml_service.server import Proxy, TlsServer
from tests.azureml_service.state import State
from tests.azureml_service.workspace import WorkspaceRoutes


def main(folder: Path, azurite_port: int, port: int = 0, proxy_port: int = 0) -> None:
    """Serve until the process is killed."""
    state, blobs = State(folder), Blobs(azurite_port)
    blobs.make_containers(DATA_CONTAINER, ARTIFACT_CONTAINER)
    ledger, routes = Ledger(folder / "requests.jsonl"), Routes()
    kept = (state.read("faults", "faults") or {}).get("faults", [])
    faults = Faults([Fault(**one) for one in kept])
    certificate = write_certificate(folder)
    server = TlsServer(port, certificate, routes, faults, ledger, azurite_port)
    proxy = Proxy(proxy_port, server.server_port, ledger)
    url = f"https://localhost:{server.server_port}"

    words = [sys.executable, "-m", "tests.azureml_service.cluster", str(folder), str(azurite_port)]
    environ = {**os.environ, "PARALLELRUN_HOME": str(folder / "home")}
    cluster = subprocess.Popen(words, stdin=subprocess.PIPE, text=True, env=environ)

    starting = threading.Lock()

    def start(job: str) -> None:
        assert cluster.stdin is not None
        with starting:
            cluster.stdin.write(f"{job}\n")
            cluster.stdin.flush()

    def set_faults(request: Request) -> Answer:
        state.write("faults", "faults", {"faults": request.body})
        faults.set([Fault(**one) for one in request.body])
        return Answer(200)

    routes.add("PUT", "/_control/faults", set_faults)
    WorkspaceRoutes(state, blobs, url).add_to(routes)
    JobRoutes(state, blobs, url, start).add_to(routes)
    threading.Thread(target=proxy.serve_forever, daemon=True).start()
    ports = {"port": server.server_port, "proxy_port": proxy.server_port, "pid": os.getpid()}
    state.write("service", "service", ports)
    server.serve_forever()


if __name__ == "__main__":
    main(Path(sys.argv[1]), *map(int, sys.argv[2:]))
