"""The inputs of a job in Azure ML: the folders that it mounts, and the paths of files in them."""

from __future__ import annotations

import os
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from ...data.walker import MAGIC
from ...errors import InputError

OUTSIDE = "_"
"""The folder, in an input, of files that are not below its own folder."""

_PUBLIC_ENDPOINT = "blob.core.windows.net"


@dataclass(frozen=True, slots=True)
class JobInput:
    """An input that a job mounts.

    Parameters
    ----------
    name
        Its name in the job.
    root
        The folder, or the URL of one, whose files keep their paths below it in the mounted folder.
    url
        The folder in Azure's form, for an input in a store; empty for local files.
    """

    name: str
    root: str
    url: str = ""

    def relative(self, path: str) -> str:
        """Return the path of a file in the mounted folder, with slashes."""
        if self.url:
            return path[len(self.root) :].lstrip("/")
        root = self.root.rstrip("/") + "/"
        if path.startswith(root):
            return path[len(root) :]
        return f"{OUTSIDE}/{path.lstrip('/')}"

    def link(self, target: Path, paths: Iterable[str]) -> None:
        """Link local files into a folder; one that cannot be read is left out, and fails in the job.

        Raises
        ------
        InputError
            The name of a file is not valid Unicode, which stores need.
        """
        for path in paths:
            relative = self.relative(path)
            _check_name(path)
            place = target / relative
            place.parent.mkdir(parents=True, exist_ok=True)
            real = os.path.realpath(path)
            if os.path.isfile(real) and not os.path.lexists(place):
                os.symlink(real, place)

    def section(self) -> dict[str, str]:
        """Return the input as a part of the job's file."""
        path = self.url or f"./{self.name}"
        return {"type": "uri_folder", "path": path, "mode": "ro_mount"}


def job_input(name: str, spec: Mapping[str, Any]) -> JobInput:
    """Return the input of a job for a dataset.

    Parameters
    ----------
    name
        Its name in the job.
    spec
        The dataset in the run's record.

    Raises
    ------
    InputError
        It is in a store that Azure ML does not mount.
    """
    storage = spec.get("storage")
    if not storage:
        common = os.path.commonpath([_fixed_folder(path) for path in spec["paths"]])
        # Its own name is kept: scripts read labels from the names of folders.
        return JobInput(name, os.path.dirname(common))
    if storage["protocol"] != "az":
        msg = (
            f"the input {spec['paths'][0]!r} is in a store that Azure ML does not mount; expected files "
            "of this machine, or of Azure's blob storage (az://, abfss://, wasbs://). Copy them there."
        )
        raise InputError(msg)
    # As local paths, which commonpath compares by whole names.
    folders = ["/" + _fixed_url(url).partition("://")[2] for url in spec["paths"]]
    container, _, inside = os.path.commonpath(folders).lstrip("/").partition("/")
    if not container:
        msg = (
            f"the input {spec['paths'][0]!r} and its other paths are in several containers, which Azure "
            "ML cannot mount as one folder. Give a FileDataset for each: inputs=[FileDataset(...), ...]."
        )
        raise InputError(msg)
    # The name of the folder is kept, if it is not the container.
    parent, slash, _ = inside.rpartition("/")
    kept = f"az://{container}{'/' if slash else ''}{parent}"
    host = _host_of(storage["options"])
    return JobInput(name, kept, f"wasbs://{container}@{host}/{parent}")


def _host_of(options: Mapping[str, Any]) -> str:
    endpoint = str(options.get("blob_endpoint") or "")
    return (
        endpoint.partition("://")[2].rstrip("/")
        or f"{options.get('account_name', '')}.{_PUBLIC_ENDPOINT}"
    )


def _fixed_folder(path: str) -> str:
    """Return the folder with all files of a local path: a folder, a file or a glob."""
    if os.path.isdir(path):
        return path
    is_glob = MAGIC.search(path) and not os.path.lexists(path)
    return os.path.dirname(MAGIC.split(path)[0] if is_glob else path)


def _fixed_url(url: str) -> str:
    """Return the folder with all files of a URL, which may be that of a file or a glob."""
    has_glob = MAGIC.search(url) is not None
    return MAGIC.split(url)[0].rpartition("/")[0] if has_glob else url.rstrip("/")


def _check_name(path: str) -> None:
    try:
        path.encode("utf-8")
    except UnicodeEncodeError as error:
        msg = (
            f"the name of the input {path!a} is not valid Unicode, and Azure's stores have only such "
            "names. Rename the file, or run it here: compute='local'."
        )
        raise InputError(msg) from error
