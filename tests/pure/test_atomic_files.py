"""Atomic writes of files, and locks between processes."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from parallelrun_jupyter.files import lock, replacing, try_lock, write_atomically


def test_a_file_is_replaced_whole(tmp_path: Path) -> None:
    path = tmp_path / "a"
    write_atomically(path, "old")
    with replacing(path) as temporary:
        temporary.write_text("new")
        assert path.read_text() == "old"
    assert path.read_text() == "new"
    assert list(tmp_path.iterdir()) == [path]


def test_an_error_keeps_the_old_file_and_leaves_no_other(tmp_path: Path) -> None:
    path = tmp_path / "a"
    path.write_text("old")

    def fail() -> None:
        with replacing(path) as temporary:
            temporary.write_text("half")
            raise OSError(28, "No space left on device")

    with pytest.raises(OSError, match="No space left"):
        fail()
    assert path.read_text() == "old"
    assert list(tmp_path.iterdir()) == [path]


def test_an_owner_overwrites_what_its_killed_attempt_left(tmp_path: Path) -> None:
    path = tmp_path / "a"
    with replacing(path, owner="run") as temporary:
        name = temporary.name
        temporary.write_text("x")
    assert name == ".a.run.tmp"


def test_a_secret_file_is_never_readable_by_others(tmp_path: Path) -> None:
    path = tmp_path / "a"
    write_atomically(path, "x", mode=0o600)
    assert path.stat().st_mode & 0o777 == 0o600


def test_a_lock_excludes_others_until_it_is_released(tmp_path: Path) -> None:
    path = tmp_path / "a.lock"
    with lock(path), pytest.raises(BlockingIOError):
        try_lock(path)
    fd = try_lock(path)
    with pytest.raises(BlockingIOError):
        try_lock(path)
    os.close(fd)
    os.close(try_lock(path))
