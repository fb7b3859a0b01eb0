"""The files of a source directory that get into a run, links included, and their size."""

from __future__ import annotations

import os
import shutil
import socket
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from parallelrun_jupyter.errors import ConfigError
from parallelrun_jupyter.runs.source_copy import copy_source

NAMES = st.sampled_from(["a", "b.py", "c d", "__pycache__", "ü"])
TREES = st.dictionaries(st.lists(NAMES, min_size=1, max_size=3).map(tuple), st.binary(max_size=9))


def never(_: str) -> bool:
    return False


def content_of(folder: Path) -> dict[str, bytes | None]:
    return {
        str(path.relative_to(folder)): path.read_bytes() if path.is_file() else None
        for path in folder.rglob("*")
    }


@settings(max_examples=40)
@given(TREES, st.integers(0, 60))
def test_a_copy_is_that_of_copytree_or_refused_by_its_size(
    tmp_path_factory: pytest.TempPathFactory, tree: dict[tuple[str, ...], bytes], limit: int
) -> None:
    root = tmp_path_factory.mktemp("copy")
    source = root / "source"
    source.mkdir()
    for parts, data in tree.items():
        path = source.joinpath(*parts)
        if not any(parent.is_file() for parent in path.parents) and not path.exists():
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_bytes(data)
    (source / "link").symlink_to(source / "a")
    if not (source / "a").exists():
        (source / "link").unlink()
    ignore = {"__pycache__"}.__contains__
    expected = shutil.copytree(
        source, root / "expected", ignore=lambda _, names: [n for n in names if ignore(n)]
    )
    size = sum(len(data or b"") for data in content_of(expected).values())
    if size > limit:
        with pytest.raises(
            ConfigError, match="including linked files, and everything in it would be"
        ):
            copy_source(source, root / "target", ignore, limit)
    else:
        assert copy_source(source, root / "target", ignore, limit) == ""
        assert content_of(root / "target") == content_of(expected)


def test_what_a_link_leads_to_is_measured(tmp_path: Path) -> None:
    (tmp_path / "data").mkdir()
    (tmp_path / "data" / "large").write_bytes(b"x" * 1000)
    source = tmp_path / "source"
    source.mkdir()
    (source / "score.py").touch()
    for name, target in (("folder", "data"), ("file", "data/large")):
        link = source / name
        link.symlink_to(tmp_path / target)
        with pytest.raises(ConfigError, match=f"source_directory {source} contains more than"):
            copy_source(source, tmp_path / "refused", never, 999)
        assert sum(len(data or b"") for data in content_of(tmp_path / "refused").values()) <= 999
        copy_source(source, tmp_path / name, never, 1000)
        link.unlink()
    assert not (tmp_path / "folder" / "folder").is_symlink(), "what it leads to may change"
    assert (tmp_path / "folder" / "folder" / "large").stat().st_size == 1000


def test_what_cannot_be_copied_is_named_and_the_rest_is_there(tmp_path: Path) -> None:
    source = tmp_path / "source"
    (source / "deep").mkdir(parents=True)
    (source / "score.py").write_text("x = 1")
    (source / ".#score.py").symlink_to("ada@host.17:4711")  # the lock of a well-known editor
    (source / "itself").symlink_to("itself")
    (source / "deep" / "up").symlink_to(source)
    (source / "other").symlink_to(source / "deep")
    os.mkfifo(source / "pipe")
    (source / "null").symlink_to("/dev/zero")
    with socket.socket(socket.AF_UNIX) as server:
        server.bind(str(source / "socket"))
        said = copy_source(source, tmp_path / "target", never)
    assert said.startswith("not copied from source_directory: ")
    assert said.endswith(" and 4 more")
    assert "/.#score.py (No such file or directory)" in said
    copied = sorted(
        str(p.relative_to(tmp_path / "target")) for p in (tmp_path / "target").rglob("*")
    )
    assert copied == ["deep", "other", "score.py"]


def test_the_home_in_the_source_directory_is_not_copied_into_itself(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "score.py").touch()
    monkeypatch.setenv("PARALLELRUN_HOME", str(tmp_path / "home"))
    target = tmp_path / "home" / "runs" / "r" / "script"
    target.mkdir(parents=True)
    assert copy_source(tmp_path, target, never) == ""
    assert [path.name for path in target.iterdir()] == ["score.py"]
    monkeypatch.setenv("PARALLELRUN_HOME", str(tmp_path))
    assert copy_source(tmp_path, target, never) == ""
    assert not list((target / "home").glob("runs/r/script/*/"))


def test_what_may_not_be_read_is_refused_by_its_name(tmp_path: Path) -> None:
    source = tmp_path / "source"
    source.mkdir()
    (source / "secret.py").touch(mode=0o000)
    if os.access(source / "secret.py", os.R_OK):
        pytest.skip("this user reads everything")
    with pytest.raises(ConfigError, match=r"secret\.py', which could not be read \(Permission"):
        copy_source(source, tmp_path / "target", never)
