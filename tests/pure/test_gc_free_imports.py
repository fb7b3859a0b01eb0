from __future__ import annotations

import gc
import importlib
import sys
import traceback
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from parallelrun_jupyter.worker.gc_free_imports import GcFreeImports

SAYS = "import gc\nwas = gc.isenabled()\n"


@pytest.fixture
def packages(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """Return a folder of modules, all of which go afterwards."""
    folder = tmp_path / "packages"
    (folder / "heavy_one").mkdir(parents=True)
    (folder / "heavy_one" / "__init__.py").write_text(SAYS + "from . import part\n")
    (folder / "heavy_one" / "part.py").write_text(SAYS)
    (folder / "broken_one.py").write_text("import heavy_one\n1 / 0\n")
    (folder / "mine_one.py").write_text(SAYS + "import heavy_one\nafter = gc.isenabled()\n")
    monkeypatch.syspath_prepend(str(folder))
    importlib.invalidate_caches()
    yield folder
    for name in [name for name in sys.modules if name.partition(".")[0].endswith("_one")]:
        del sys.modules[name]


@pytest.fixture
def imports(packages: Path) -> Iterator[GcFreeImports]:
    imports = GcFreeImports([str(packages / "none")])
    imports.install()
    yield imports
    imports.remove()
    assert imports not in sys.meta_path
    gc.unfreeze()


def test_nothing_is_collected_while_a_package_is_imported(imports: GcFreeImports) -> None:
    heavy: Any = importlib.import_module("heavy_one")
    assert (heavy.was, heavy.part.was) == (False, False)
    assert gc.isenabled()
    assert gc.get_freeze_count() > 0
    assert "exec_module" not in vars(heavy.__spec__.loader)


def test_a_collector_that_was_off_stays_off(imports: GcFreeImports) -> None:
    gc.disable()
    try:
        importlib.import_module("heavy_one")
        assert not gc.isenabled()
    finally:
        gc.enable()


def test_own_modules_run_as_ever_and_what_they_import_does_not(
    packages: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    own = tmp_path / "own"
    own.mkdir()
    (packages / "mine_one.py").rename(own / "mine_one.py")
    monkeypatch.syspath_prepend(str(own))
    imports = GcFreeImports([str(own)])
    imports.install()
    try:
        mine: Any = importlib.import_module("mine_one")
    finally:
        imports.remove()
        gc.unfreeze()
    assert mine.was
    assert not mine.heavy_one.was
    assert mine.after


def test_an_import_that_fails_shows_only_its_own_frames(imports: GcFreeImports) -> None:
    with pytest.raises(ZeroDivisionError) as caught:
        exec("import broken_one", {})
    files = [Path(f.filename).name for f in traceback.extract_tb(caught.value.__traceback__)]
    assert files[-2:] == ["<string>", "broken_one.py"]
    assert gc.isenabled()
    with pytest.raises(ModuleNotFoundError, match="No module named 'absent_one'"):
        importlib.import_module("absent_one")


def test_what_is_no_source_file_is_left_alone(imports: GcFreeImports) -> None:
    assert imports.find_spec("sys").loader is not None
    assert imports.find_spec("absent_one") is None
