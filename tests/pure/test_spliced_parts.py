"""Parts whose rows belong between each other's rows become one output in input order."""

from __future__ import annotations

import json
import random
import zlib
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import fsspec
import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from parallelrun_jupyter.client.results import _frame_of_parts
from parallelrun_jupyter.data.storage.object_store import ObjectStore
from parallelrun_jupyter.data.storage.storage import StorageSpec
from parallelrun_jupyter.engine.output import part_process, splicer
from parallelrun_jupyter.engine.output.part_process import publish, upload_part
from parallelrun_jupyter.engine.output.publisher import Publisher
from parallelrun_jupyter.errors import InputError, OutputError
from parallelrun_jupyter.runs.journal.events import (
    IN_STORE,
    AttemptSucceeded,
    Event,
    ItemsSucceeded,
    PartStored,
    RowsDropped,
)
from parallelrun_jupyter.runs.journal.files import JournalReader, JournalWriter
from parallelrun_jupyter.runs.output import merge
from parallelrun_jupyter.runs.output.manifest import MANIFEST, read_manifest
from parallelrun_jupyter.runs.output.stored_parts import PartIndex, read_spliced
from parallelrun_jupyter.runs.run_folder import RunFolder
from parallelrun_jupyter.worker.output.formats import encode_table
from tests import journals

URL = "memory://out/rows.parquet"
STORAGE = {"protocol": "memory", "options": {}, "secrets": {}}
OF = 6
"""Items in each mini-batch."""

Key = tuple[int, int]


class Output:
    """A run with an output in parts in a store, without a driver."""

    def __init__(self, path: Path) -> None:
        files = fsspec.filesystem("memory")
        files.store.clear()
        self.store = ObjectStore(StorageSpec.of_spec(STORAGE))
        self.folder = RunFolder(path)
        self.folder.output.mkdir()
        output = {"destination": "memory://out", "file_name": "rows.parquet", "storage": STORAGE}
        self.record = journals.record(output={**output, "in_parts": True, "format": "parquet"})
        self.journal = JournalWriter(self.folder.journal)
        self._parts = 0

    def put(
        self, results: dict[Key, tuple[int, list[Any]]], rng: random.Random | None = None
    ) -> str:
        """Store a part with results: number of items and rows, by mini-batch and first item."""
        path = self.folder.path / "spool.rows"
        pieces, data, total = [], b"", 0
        events: list[AttemptSucceeded | ItemsSucceeded] = []
        for (mini_batch, first), (items, values) in sorted(results.items()):
            rows = encode_table(pd.DataFrame({"n": values}), "parquet", {}) if values else b""
            if rows:
                pieces.append([mini_batch, 0, len(data), len(rows), zlib.crc32(rows)])
            data += rows
            counts = len(values), IN_STORE, total, len(rows), 0
            if items == OF:
                done = min(items, len(values))
                events.append(AttemptSucceeded(mini_batch, 1, "w", 0, 0, items, done, *counts))
            else:
                events.append(ItemsSucceeded(mini_batch, 1, "w", 0, 0, first, items, OF, *counts))
            total += len(values)
        path.write_bytes(data)
        lowest = min(results)[0]
        self._parts += 1
        suffix = f"{(rng or random.Random(0)).randrange(16):x}{self._parts:011x}"
        name = f"part-{lowest:09d}-{suffix}.parquet" if pieces else ""
        size_bytes = 0
        if pieces:
            job = {"url": f"{URL}/{name}", "files": [str(path)], "pieces": pieces,
                   "temporary": str(self.folder.path / "part.parquet")}  # fmt: skip
            stored, size_bytes = upload_part(job, self.store)
            assert stored == total
        if rng:
            rng.shuffle(events)
        part = PartStored(0, name, lowest, len(events), total, size_bytes)
        self.journal.append([*events, part])
        return name

    def drop(self, key: Key, items: int, rows: int) -> None:
        mini_batch, first = key
        self.journal.append(
            [RowsDropped(0, mini_batch, first, items, OF, min(items, rows), rows, "")]
        )

    def job(self) -> dict[str, Any]:
        """Return the job of publishing, as the driver writes it."""
        index = PartIndex()
        for event in JournalReader(self.folder.journal).read():
            index.note(event)
        Publisher.for_parts(self.folder, self.record, index, lambda _: None)
        job: dict[str, Any] = json.loads((self.folder.output / "publish.json").read_text())
        return job

    def publish(self) -> dict[str, Any]:
        """Publish, and return the manifest."""
        rows, _ = publish(self.job(), self.store, lambda: None)
        manifest: dict[str, Any] = json.loads(self.store.files.cat_file(f"{URL}/{MANIFEST}"))
        assert manifest["rows"] == rows == sum(part["rows"] for part in manifest["parts"])
        return manifest

    def names(self) -> list[str]:
        files = self.store.files.find("/out")
        return sorted(path.rpartition("/")[2] for path in files if MANIFEST not in path)

    def rows(self) -> list[Any]:
        """Return the rows that a reader sees before they are published."""
        frame = _frame_of_parts(self.folder, self.record, is_published=False)
        return frame["n"].tolist() if len(frame) else []


@pytest.fixture
def output(tmp_path: Path) -> Iterator[Output]:
    made = Output(tmp_path)
    yield made
    made.journal.close()
    made.store.files.store.clear()


class Course:
    """Random results in random parts; ``live`` has the rows that count."""

    def __init__(self, output: Output, rng: random.Random, mini_batches: int) -> None:
        self.output = output
        self.rng = rng
        self.mini_batches = mini_batches
        self.live: dict[Key, tuple[int, list[Any]]] = {}
        self._number = 0

    def expected(self) -> list[Any]:
        return [value for _, (_, values) in sorted(self.live.items()) for value in values]

    def answer_some(self) -> None:
        """Let some of the missing items succeed, and store their rows in a few parts."""
        new: dict[Key, tuple[int, list[Any]]] = {}
        for mini_batch in range(self.mini_batches):
            if self.rng.random() < 0.3:
                continue
            for first, items in self._missing(mini_batch):
                if self.rng.random() < 0.7:
                    count = self.rng.choice([items, items, items, 0, items + 1])
                    new[mini_batch, first] = items, [self._value() for _ in range(count)]
        self.live.update(new)
        keys = sorted(new)
        if self.rng.random() < 0.5:
            self.rng.shuffle(keys)
        while keys:
            size = self.rng.randint(1, len(keys))
            self.output.put({key: new[key] for key in keys[:size]}, self.rng)
            del keys[:size]

    def _value(self) -> Any:
        self._number += 1
        return self._number + (0.5 if self.rng.random() < 0.02 else 0)

    def _missing(self, mini_batch: int) -> Iterator[tuple[int, int]]:
        """Yield the missing items of a mini-batch, at random in one range or in some."""
        done = {
            position
            for (k, first), (items, _) in self.live.items()
            for position in range(first, first + items)
            if k == mini_batch
        }
        first = 0
        while first < OF:
            size = self.rng.choice([1, 2, OF])
            end = first
            while end < min(OF, first + size) and end not in done:
                end += 1
            if end > first:
                yield first, end - first
            first = max(end, first + 1)

    def drop_some(self) -> None:
        for key in sorted(self.live):
            if self.rng.random() < 0.15:
                items, values = self.live.pop(key)
                self.output.drop(key, items, len(values))


@settings(max_examples=150, deadline=None)
@given(
    rng=st.randoms(use_true_random=False),
    mini_batches=st.integers(1, 12),
    rounds=st.integers(1, 5),
    part_bytes=st.sampled_from([1, 2000, 1 << 27]),
)
def test_any_results_in_any_parts_become_one_output_in_input_order(
    tmp_path_factory: pytest.TempPathFactory,
    rng: random.Random,
    mini_batches: int,
    rounds: int,
    part_bytes: int,
) -> None:
    output = Output(tmp_path_factory.mktemp("run"))
    course = Course(output, rng, mini_batches)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(splicer, "SPLICED_BYTES", part_bytes)
        patch.setattr(merge, "_ROW_GROUP_BYTES", 60)
        for _ in range(rounds):
            course.drop_some()
            course.answer_some()
            expected = course.expected()
            assert output.rows() == expected
            if rng.random() < 0.6:
                manifest = output.publish()
                assert output.rows() == expected, "also when a later driver has begun"
                names = read_manifest(json.dumps(manifest), output.record.run_id, URL)
                assert names == output.names() == sorted(names)
                having = {k for (k, _), (_, values) in course.live.items() if values}
                assert len(having) <= manifest["mini_batches"]
                if names:
                    assert pd.read_parquet(URL)["n"].tolist() == expected
                assert not list(output.folder.output.glob("publish.part*"))
    output.journal.close()


def test_parts_that_need_no_splicing_are_left_as_they_are(output: Output) -> None:
    a = output.put({(0, 0): (OF, [1]), (1, 0): (2, [2, 3])})
    b = output.put({(1, 2): (4, [4]), (2, 0): (2, [5]), (2, 5): (1, [9])})
    c = output.put({(3, 0): (OF, [10])})
    before = {name: output.store.files.cat_file(f"{URL}/{name}") for name in (a, b, c)}
    manifest = output.publish()
    assert output.names() == [a, b, c]
    assert manifest["mini_batches"] == 4, "mini-batch 1 is in two parts"
    later = output.put({(2, 2): (3, [6, 7, 8])})
    assert output.rows() == list(range(1, 11))
    manifest = output.publish()
    [first, spliced, last] = output.names()
    assert (first, last) == (a, c)
    assert spliced not in {b, later}
    assert {name: output.store.files.cat_file(f"{URL}/{name}") for name in (a, c)} == {
        name: before[name] for name in (a, c)
    }
    assert [part["mini_batches"] for part in manifest["parts"]] == [2, 2, 1]
    assert manifest["mini_batches"] == 4
    [recorded] = read_spliced(output.folder.spliced_parts)
    assert (recorded.name, set(recorded.sources)) == (spliced, {b, later})
    assert pd.read_parquet(URL)["n"].tolist() == list(range(1, 11))
    assert output.publish() == manifest, "once more, as after a crash"


def test_dropped_rows_are_gone_and_a_part_of_nothing_else_too(output: Output) -> None:
    output.put({(0, 0): (OF, [1]), (1, 0): (OF, [2] * OF)})
    gone = output.put({(2, 0): (OF, [0])})
    output.drop((0, 0), OF, 1)
    output.drop((2, 0), OF, 1)
    assert output.rows() == [2] * OF
    manifest = output.publish()
    assert (manifest["rows"], manifest["mini_batches"]) == (OF, 1)
    assert gone not in output.names()
    output.put({(0, 0): (OF, [1] * OF), (2, 0): (OF, [3] * OF)})
    assert output.rows() == [1] * OF + [2] * OF + [3] * OF
    output.publish()
    assert pd.read_parquet(URL)["n"].tolist() == [1] * OF + [2] * OF + [3] * OF


@pytest.mark.parametrize("step", range(14))
def test_whenever_splicing_is_cut_off_it_can_be_done_again(
    output: Output, step: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    output.put({(0, 0): (2, [1, 2]), (0, 3): (3, [4, 5, 6])})
    output.put({(1, 0): (OF, [7.5])})
    output.put({(0, 2): (1, [3])})
    output.publish()
    output.drop((1, 0), OF, 1)
    output.put({(1, 0): (3, [7, 8, 9]), (2, 0): (OF, [11])})
    output.put({(1, 3): (3, [10])})
    steps = iter(range(100))

    def cut(function: Any) -> Any:
        def call(*values: Any) -> Any:
            if next(steps) == step:
                raise InputError("cut off")
            return function(*values)

        return call

    with monkeypatch.context() as patch:
        for module, name in (
            (part_process, "put_file"), (part_process, "_delete"), (part_process, "_schema_of"),
            (splicer, "put_file"), (part_process, "write_spliced"),
        ):  # fmt: skip
            patch.setattr(module, name, cut(getattr(module, name)))
        try:
            output.publish()
        except InputError:
            assert output.rows() == list(range(1, 12))
    output.publish()
    assert pd.read_parquet(URL)["n"].tolist() == list(range(1, 12))
    assert output.rows() == list(range(1, 12))


def test_a_damaged_record_of_spliced_parts_is_a_clear_error(output: Output) -> None:
    output.put({(0, 0): (OF, [1])})
    output.folder.spliced_parts.write_text('[{"name": 1}]')
    with pytest.raises(OutputError, match="does not describe parts of the output"):
        output.rows()


def test_the_memory_of_an_index_is_that_of_its_parts() -> None:
    index = PartIndex()
    events: list[Event] = [
        AttemptSucceeded(k, 1, "w", 0, 0, 1, 1, 1, IN_STORE, k % 100, 9, 0) for k in range(1000)
    ]
    for number in range(10):
        for event in events[100 * number : 100 * number + 100]:
            index.note(event)
        index.note(PartStored(0, f"part-{number}", 100 * number, 100, 100, 1))
    groups = index.groups()
    assert all(is_as_it_is for _, is_as_it_is in groups)
    assert [(g[0].low, g[0].high, g[0].mini_batches) for g, _ in groups] == [
        ((100 * k, 0), (100 * k + 99, 0), 100) for k in range(10)
    ]


@given(st.integers(1, 1 << 48), st.integers(0, 1 << 20), st.text(max_size=5))
def test_a_new_name_sorts_before_any_next_part(later: int, first: int, seed: str) -> None:
    before = f"part-{first:09d}-{later & ((1 << 48) - 1) or 1:012x}.parquet"
    name = splicer._new_name(first, seed, before)
    assert name < before
    assert part_process._OURS.fullmatch(name)
    again = splicer._new_name(first, seed, name)
    assert again < name
