from __future__ import annotations

import sqlite3
import subprocess
import sys
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from parallelrun_jupyter import FileDataset
from parallelrun_jupyter.data.batching import BatchSpec
from parallelrun_jupyter.data.datasets import inputs
from parallelrun_jupyter.data.partitions.group_by_keys import group_by_key
from parallelrun_jupyter.errors import InputError
from parallelrun_jupyter.worker.plan_line import PlanLine


@given(st.lists(st.tuples(st.text("abé ", max_size=2), st.text("xy"))))
def test_items_are_gathered_in_order_of_first_appearance(items: list[tuple[str, str]]) -> None:
    expected: dict[str, list[str]] = {}
    for key, item in items:
        expected.setdefault(key, []).append(item)
    assert list(group_by_key(items)) == list(expected.items())
    moves = [None, *items, None]
    assert list(group_by_key(moves)) == [None, None, *expected.items()]


def test_what_cannot_be_gathered_is_said(monkeypatch: pytest.MonkeyPatch) -> None:
    def full(_name: str) -> sqlite3.Connection:
        raise sqlite3.OperationalError("database or disk is full")

    monkeypatch.setattr(sqlite3, "connect", full)
    with pytest.raises(
        InputError, match="by its partition keys: database or disk is full. It needs"
    ):
        list(group_by_key([("a", "b")]))


def test_memory_does_not_grow_with_the_number_of_items() -> None:
    """300,000 files with long paths, in 1,000 combinations: their list alone takes over 100 MB."""
    program = (
        "import resource\n"
        "from parallelrun_jupyter.data.partitions.group_by_keys import group_by_key\n"
        "most = lambda: resource.getrusage(resource.RUSAGE_SELF).ru_maxrss\n"
        "before = most()\n"
        "items = ((str(n % 1000), str(n).rjust(400)) for n in range(300_000))\n"
        "groups = sum(len(group[1]) == 300 for group in group_by_key(items) if group)\n"
        "print(groups, most() - before)\n"
    )
    command = [sys.executable, "-c", program]
    done = subprocess.run(command, capture_output=True, text=True, check=True)
    groups, grown = map(int, done.stdout.split())
    assert groups == 1000
    unit = 1 if sys.platform == "darwin" else 1024
    assert grown * unit < 60 * 1024**2


@pytest.fixture
def songs(tmp_path: Path) -> Path:
    for name in ("ada/summer/jazz", "ada/winter/jazz", "ada/winter/rock", "bob/summer/folk",
                 "bob/winter/jazz", "cid/summer/rock"):  # fmt: skip
        path = tmp_path / f"{name}.wav"
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(name)
    return tmp_path


def dataset_of(songs: Path) -> FileDataset:
    return FileDataset(songs, partition_format="{user}/{season}/{genres}.wav")


def test_a_dataset_knows_its_keys_and_their_values(songs: Path) -> None:
    dataset = dataset_of(songs)
    assert dataset.partition_keys == ["user", "season", "genres"]
    assert dataset.get_partition_key_values(["season"]) == [
        {"season": "summer"},
        {"season": "winter"},
    ]
    assert len(dataset.get_partition_key_values()) == 6
    assert FileDataset.of_spec(dataset.spec()).partition_keys == dataset.partition_keys
    assert FileDataset(songs).partition_keys == []


def test_each_combination_is_one_mini_batch_and_items_are_numbered(songs: Path) -> None:
    specs = [
        dataset_of(songs).spec(),
        FileDataset(songs, partition_format="{user}/*/{genres}.wav").spec(),
    ]
    found = list(inputs.mini_batches(specs, BatchSpec(10, keys=("user", "genres"))))
    rows = [PlanLine.decode(line) for line, _ in found]
    shown = [[str(Path(p).relative_to(songs)) for p in row.paths] for row in rows]
    assert shown[:5] == [
        ["ada/summer/jazz.wav", "ada/winter/jazz.wav"], ["ada/winter/rock.wav"],
        ["bob/summer/folk.wav"], ["bob/winter/jazz.wav"], ["cid/summer/rock.wav"],
    ]  # fmt: skip
    assert shown[5:] == shown[:5], "a mini-batch never mixes two inputs"
    assert rows[0].extra == {"keys": {"user": "ada", "genres": "jazz"}, "first": 0}
    assert [row.first for row in rows] == [0, 2, 3, 4, 5, 6, 8, 9, 10, 11]
    assert [count for _, count in found] == [2, 1, 1, 1, 1] * 2


def test_a_first_path_without_keys_is_seen_before_anything_starts(songs: Path) -> None:
    with pytest.raises(
        InputError, match=r"jazz\.wav' does not match the partition_format '{a}\.mp3'"
    ):
        FileDataset(songs, partition_format="{a}.mp3").check()
    dataset_of(songs).check()
