from __future__ import annotations

import random
import zlib
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from parallelrun_jupyter.errors import OutputError
from parallelrun_jupyter.runs.journal.events import AttemptSucceeded
from parallelrun_jupyter.runs.output.committed_rows import (
    committed_rows,
    part_path,
    publish,
    remove_parts,
)
from parallelrun_jupyter.runs.run_folder import RunFolder
from parallelrun_jupyter.worker.output.formats import split_header, without_header


def success(mini_batch: int, part: int, offset: int, data: bytes) -> AttemptSucceeded:
    crc = zlib.crc32(data)
    return AttemptSucceeded(mini_batch, 1, "w", 0, 0, 1, 1, 1, part, offset, len(data), crc)


def write_parts(folder: RunFolder, rows: list[bytes], seed: int) -> list[AttemptSucceeded]:
    """Write rows to two parts in random order, with garbage between them."""
    folder.output.mkdir(exist_ok=True)
    rng = random.Random(seed)
    files = [part_path(folder, k).open("wb") for k in (0, 1)]
    events = []
    for mini_batch in rng.sample(range(len(rows)), len(rows)):
        part = rng.randrange(2)
        files[part].write(b"garbage of a lost attempt"[: rng.randrange(20)])
        events.append(success(mini_batch, part, files[part].tell(), rows[mini_batch]))
        files[part].write(rows[mini_batch])
    for file in files:
        file.close()
    return events


@given(st.lists(st.binary(max_size=40).map(without_header), max_size=20), st.integers(0, 99))
def test_the_final_file_holds_the_committed_rows_in_input_order(
    tmp_path_factory: pytest.TempPathFactory, rows: list[bytes], seed: int
) -> None:
    folder = RunFolder(tmp_path_factory.mktemp("run"))
    events = write_parts(folder, rows, seed)
    target = folder.path / "deep" / "rows.txt"
    size = publish(folder, committed_rows(events), target)
    assert target.read_bytes() == b"".join(row[split_header(row)[1] :] for row in rows)
    assert size == target.stat().st_size
    assert [path.name for path in target.parent.iterdir()] == ["rows.txt"]
    remove_parts(folder)
    assert list(folder.output.iterdir()) == []


def test_damaged_rows_are_never_published(tmp_path: Path) -> None:
    folder = RunFolder(tmp_path)
    events = write_parts(folder, [b"one\n", b"two\n"], 1)
    for number in (0, 1):
        path = part_path(folder, number)
        path.write_bytes(path.read_bytes().replace(b"two", b"too"))
    target = tmp_path / "rows.txt"
    target.write_text("earlier")
    with pytest.raises(OutputError, match="the rows of mini-batch 1 .* are not the committed rows"):
        publish(folder, committed_rows(events), target)
    assert target.read_text() == "earlier", "an earlier file stays"


def test_a_missing_part_is_named(tmp_path: Path) -> None:
    folder = RunFolder(tmp_path)
    rows = committed_rows([success(0, 5, 0, b"x")])
    with pytest.raises(OutputError, match=r"part-5\.rows could not be read"):
        publish(folder, rows, tmp_path / "rows.txt")


def test_an_output_that_cannot_be_written_says_that_the_rows_are_safe(tmp_path: Path) -> None:
    folder = RunFolder(tmp_path)
    (tmp_path / "file").write_text("not a folder")
    with pytest.raises(OutputError, match=r"could not be written .* The rows are safe in"):
        publish(folder, committed_rows([]), tmp_path / "file" / "rows.txt")
