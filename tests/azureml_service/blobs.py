"""The blobs of the emulator, in Azurite."""

from __future__ import annotations

import datetime as dt
import re
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from azure.core.exceptions import ResourceExistsError
from azure.storage.blob import (
    BlobSasPermissions,
    BlobServiceClient,
    ContainerSasPermissions,
    generate_blob_sas,
    generate_container_sas,
)

from tests.azureml_service.names import ACCOUNT, BLOB_HOST, DATASTORES
from tests.azurite_process import KEY


@dataclass(frozen=True)
class Place:
    """A container and the name of a blob, or the beginning of names."""

    container: str
    path: str


def place_of(uri: str) -> Place:
    """Return the place of a URI of a datastore or of a blob.

    Raises
    ------
    ValueError
        It is neither.
    """
    match = re.match(r"azureml:(?://.*)?//?.*?datastores/([^/]+)/paths/(.*)", uri)
    if match and match[1] in DATASTORES:
        return Place(DATASTORES[match[1]], match[2])
    match = re.match(rf"https://{re.escape(BLOB_HOST)}/([^/]+)/?(.*)", uri)
    if match:
        return Place(match[1], match[2])
    msg = f"{uri!r} is in no datastore of the emulator"
    raise ValueError(msg)


class Blobs:
    """Azurite on a port of loopback.

    Parameters
    ----------
    port
        Azurite's.
    """

    def __init__(self, port: int) -> None:
        self.port = port
        url = f"http://127.0.0.1:{port}/{ACCOUNT}"
        self._service = BlobServiceClient(
            url, credential={"account_name": ACCOUNT, "account_key": KEY}
        )

    def make_containers(self, *names: str) -> None:
        """Create containers that do not exist."""
        for name in names:
            try:
                self._service.create_container(name)
            except ResourceExistsError:
                continue

    def write(self, place: Place, data: bytes) -> None:
        """Write a blob."""
        self._service.get_blob_client(place.container, place.path).upload_blob(data, overwrite=True)

    def read(self, place: Place) -> bytes:
        """Return a blob's bytes."""
        return self._service.get_blob_client(place.container, place.path).download_blob().readall()

    def names(self, place: Place) -> list[str]:
        """Return the names of the blobs that begin with a path."""
        container = self._service.get_container_client(place.container)
        return [blob.name for blob in container.list_blobs(name_starts_with=place.path)]

    def upload(self, source: Path, place: Place) -> None:
        """Write a file to a blob, or the files of a folder below a path."""
        if source.is_file():
            self.write(place, source.read_bytes())
            return
        for path in sorted(source.rglob("*")):
            if path.is_file():
                name = f"{place.path.rstrip('/')}/{path.relative_to(source).as_posix()}"
                self.write(Place(place.container, name), path.read_bytes())

    def download(self, place: Place, target: Path) -> Path:
        """Copy a blob to a file ``target``, or the blobs below a path to a folder ``target``."""
        prefix = place.path.rstrip("/")
        names = self.names(Place(place.container, prefix))
        below = [name for name in names if name.startswith(f"{prefix}/" if prefix else "")]
        if prefix in names:
            target.parent.mkdir(parents=True, exist_ok=True)
            target.write_bytes(self.read(Place(place.container, prefix)))
            return target
        target.mkdir(parents=True, exist_ok=True)
        for name in below:
            path = target / name[len(prefix) :].lstrip("/")
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_bytes(self.read(Place(place.container, name)))
        return target

    def sas_of_blob(self, place: Place, seconds: float) -> str:
        """Return the query of an address of one blob that can be read for some seconds."""
        return generate_blob_sas(
            ACCOUNT, place.container, place.path, account_key=KEY,
            permission=BlobSasPermissions(read=True), **_life(seconds),
        )  # fmt: skip

    def sas_of_container(self, container: str, seconds: float = 3600) -> str:
        """Return the query of an address of a container, whose blobs can be read, written and listed."""
        allowed = ContainerSasPermissions(
            read=True, write=True, create=True, add=True, delete=True, list=True
        )
        return generate_container_sas(
            ACCOUNT, container, account_key=KEY, permission=allowed, **_life(seconds)
        )


def _life(seconds: float) -> dict[str, Any]:
    now = dt.datetime.now(dt.timezone.utc)
    return {
        "start": now - dt.timedelta(hours=1),
        "expiry": now + dt.timedelta(seconds=seconds),
    }
