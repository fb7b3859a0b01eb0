"""A store over a folder, found by fsspec as ``boom://``, that raises, dies or stalls when it is told to.

``BOOM_ROOT`` is the folder of its containers. ``BOOM_FATES`` names a JSON file, which may change at any
time, with the faults of ``ls``, ``get`` and ``put``. Process ``BOOM_SPARED`` has no faults.
"""

from __future__ import annotations

import json
import os
import shutil
import signal
import time
from pathlib import Path
from typing import Any

from fsspec import AbstractFileSystem


def meet_fate(what: str) -> None:
    if os.getpid() == int(os.environ["BOOM_SPARED"]):
        return
    fate = json.loads(Path(os.environ["BOOM_FATES"]).read_text()).get(what, "")
    if fate == "raise":
        msg = f"boom at {what}"
        raise RuntimeError(msg)
    if fate == "die":
        os.kill(os.getpid(), signal.SIGKILL)
    if fate == "abort":
        os.write(2, b"terminate called after throwing an instance of 'boom'\n")
        os.abort()
    if fate == "exit":
        raise SystemExit(0)
    if fate == "stall":
        time.sleep(1000)


class BoomFileSystem(AbstractFileSystem):  # type: ignore[misc]  # fsspec is untyped
    protocol = "boom"

    def _place(self, url: str) -> Path:
        return Path(os.environ["BOOM_ROOT"]) / str(self._strip_protocol(url))

    def _entry(self, path: Path) -> dict[str, Any]:
        kind = "directory" if path.is_dir() else "file"
        name = str(path.relative_to(os.environ["BOOM_ROOT"]))
        return {"name": name, "type": kind, "size": path.stat().st_size, "etag": "1"}

    def info(self, path: str, **_: Any) -> dict[str, Any]:
        place = self._place(path)
        if not place.exists():
            raise FileNotFoundError(path)
        return self._entry(place)

    def ls(self, path: str, detail: bool = True, **_: Any) -> list[Any]:
        meet_fate("ls")
        entries = [self._entry(child) for child in sorted(self._place(path).iterdir())]
        return entries if detail else [entry["name"] for entry in entries]

    def get_file(self, rpath: str, lpath: str, **_: Any) -> None:
        try:
            meet_fate("get")
        except RuntimeError:
            Path(lpath).write_bytes(b"half")
            raise
        shutil.copyfile(self._place(rpath), lpath)

    def put_file(self, lpath: str, rpath: str, **_: Any) -> None:
        shutil.copyfile(lpath, self._place(rpath))
        meet_fate("put")

    def mv(self, path1: str, path2: str, **_: Any) -> None:
        self._place(path1).rename(self._place(path2))

    def makedirs(self, path: str, exist_ok: bool = False) -> None:
        self._place(path).mkdir(parents=True, exist_ok=exist_ok)

    def rm_file(self, path: str) -> None:
        self._place(path).unlink()

    def _open(self, path: str, mode: str = "rb", **_: Any) -> Any:
        return self._place(path).open(mode)
