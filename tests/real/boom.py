"""The store ``boom://`` of the tests: install its plugin, and choose its faults."""

from __future__ import annotations

import json
import os
import shutil
import sys
from pathlib import Path

import fsspec
import pytest

_SOURCE = Path(__file__).parent / "plugins" / "boomfs.py"


class BoomStore:
    """The store, with one container, ``box``, of 20 files; the test's own process is spared."""

    url = "boom://box"

    def __init__(self, folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        site = folder / "site"
        info = site / "boomfs-1.dist-info"
        info.mkdir(parents=True)
        shutil.copyfile(_SOURCE, site / "boomfs.py")
        (info / "METADATA").write_text("Metadata-Version: 2.1\nName: boomfs\nVersion: 1\n")
        (info / "entry_points.txt").write_text("[fsspec.specs]\nboom = boomfs.BoomFileSystem\n")
        self.root = folder / "boom"
        self._fates = folder / "fates.json"
        self.tell()
        monkeypatch.setenv("PYTHONPATH", str(site), prepend=os.pathsep)
        monkeypatch.setenv("BOOM_ROOT", str(self.root))
        monkeypatch.setenv("BOOM_FATES", str(self._fates))
        monkeypatch.setenv("BOOM_SPARED", str(os.getpid()))
        monkeypatch.syspath_prepend(str(site))
        sys.modules.pop("boomfs", None)
        fsspec.register_implementation("boom", "boomfs.BoomFileSystem", clobber=True)
        box = self.root / "box"
        box.mkdir(parents=True)
        for number in range(20):
            (box / f"{number:02d}.txt").write_text(str(number))

    def tell(self, **fates: str) -> None:
        """Set the fault of each later ls, get and put: raise, die, abort, exit or stall."""
        temporary = self._fates.with_suffix(".new")
        temporary.write_text(json.dumps(fates))
        temporary.replace(self._fates)


@pytest.fixture
def boom(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> BoomStore:
    return BoomStore(tmp_path / "store", monkeypatch)
