"""The sources of the front end: types from Python, small bundles, readable files."""

from __future__ import annotations

import importlib.util
import json
import re
import shutil
from pathlib import Path
from typing import Any

import pytest

from parallelrun_jupyter.formatting import format_duration, plural
from parallelrun_jupyter.views.typescript import TARGET, typescript

ROOT = Path(__file__).parents[2]
LAB = ROOT / "labextension"
STATIC = ROOT / "parallelrun_jupyter" / "views" / "static"
SOURCES = sorted((LAB / "src").rglob("*.ts"))
WORDS = json.loads((ROOT / "tests" / "contract" / "words.json").read_text())
FLOORS = ("model", "views", "lab")


def test_the_types_are_those_of_python() -> None:
    stale = "run python -m parallelrun_jupyter.views.typescript"
    assert TARGET.read_text(encoding="utf-8") == typescript(), stale


@pytest.mark.parametrize(("seconds", "said"), WORDS["duration"])
def test_durations_are_said_as_in_the_page(seconds: float, said: str) -> None:
    assert format_duration(seconds) == said


@pytest.mark.parametrize(("count", "noun", "said"), WORDS["plural"])
def test_counts_are_said_as_in_the_page(count: int, noun: str, said: str) -> None:
    assert plural(count, noun) == said


@pytest.fixture(scope="module")
def hook() -> Any:
    """Return the build hook, which is not a module of the package."""
    pytest.importorskip("hatchling")
    spec = importlib.util.spec_from_file_location("hatch_build", ROOT / "hatch_build.py")
    assert spec
    assert spec.loader
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def test_what_is_built_is_built_again_when_a_source_changes(hook: Any, tmp_path: Path) -> None:
    for name in hook._SOURCES:
        copy = shutil.copytree if (LAB / name).is_dir() else shutil.copy
        (tmp_path / "labextension").mkdir(exist_ok=True)
        copy(LAB / name, tmp_path / "labextension" / name)
    for name in (*hook._BUNDLES, hook._STAMP):
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).write_text("made")
    assert not hook.is_built(tmp_path), "nobody knows what it was built from"
    stamp = json.dumps({"sha256": hook.digest_of(tmp_path)})
    (tmp_path / hook._STAMP).write_text(stamp)
    assert hook.is_built(tmp_path)
    source = tmp_path / "labextension" / "src" / "widget.ts"
    source.write_text(source.read_text() + "// changed\n")
    assert not hook.is_built(tmp_path)
    (tmp_path / hook._STAMP).write_text(json.dumps({"sha256": hook.digest_of(tmp_path)}))
    (tmp_path / hook._BUNDLES[1]).unlink()
    assert not hook.is_built(tmp_path)


def test_a_build_without_npm_says_what_to_do(
    hook: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("PATH", str(tmp_path))
    with pytest.raises(
        RuntimeError, match="npm is missing: install without --no-build-isolation, or"
    ):
        hook.build(tmp_path)


def test_the_bundles_are_small_and_of_these_sources(hook: Any) -> None:
    assert hook.is_built(ROOT), "the front end is not built of these sources: pip install -e ."
    assert (STATIC / "widget.js").stat().st_size <= 60_000
    assert (STATIC / "player.js").stat().st_size <= 60_000
    assert (STATIC / "widget.css").stat().st_size <= 20_000
    lab = ROOT / "parallelrun_jupyter" / "labextension" / "static"
    chunks = sorted(path.stat().st_size for path in lab.glob("*.js"))
    assert chunks[-1] <= 90_000  # JupyterLab loads it
    assert sum(chunks) <= 125_000  # with those for JupyterLite


def test_the_widget_asks_no_other_machine() -> None:
    code = (STATIC / "widget.js").read_text() + (STATIC / "widget.css").read_text()
    code = code.replace("http://www.w3.org/2000/svg", "")  # the name of a namespace, not an address
    assert not re.search(r"https?://|import\(|\beval\b|innerHTML|insertAdjacentHTML", code)


@pytest.mark.parametrize("path", SOURCES, ids=lambda path: path.name)
def test_sources_are_short_and_import_downward(path: Path) -> None:
    text = path.read_text(encoding="utf-8")
    assert len(text.splitlines()) <= (
        400 if path.name == "wire.ts" else 250
    )  # that one is generated
    assert not re.search(r"\bany\b(?=[;,)\]>=]| \|)|innerHTML|outerHTML|document\.write", text)
    floor = path.parent.name
    for imported in re.findall(r"from '(\.[^']+)'", text):
        target = (path.parent / imported).resolve().parent.name
        allowed = {"model": {"model"}, "views": {"model", "views"}, "lab": set(FLOORS)}
        if floor in allowed:
            assert target in allowed[floor], f"{path.name} imports {imported}"


def test_the_lock_file_names_no_machine() -> None:
    lock = (LAB / "package-lock.json").read_text()
    assert '"resolved"' not in lock
    assert "omit-lockfile-registry-resolved=true" in (LAB / ".npmrc").read_text()
