"""A node's messages arrive whole and in order, and their size is bounded."""

from __future__ import annotations

import pickle

from hypothesis import given
from hypothesis import strategies as st

from parallelrun_jupyter.backends.dask.mailbox import Inbox, Message, Outbox
from parallelrun_jupyter.engine.scheduling import signals as sg

CHUNK = 100


def success(number: int, part: int, offset: int, length: int) -> sg.AttemptsSucceeded:
    row = sg.Success(number, 1, 1, 1, 10, length, 0)
    return sg.AttemptsSucceeded("n0", "n0w0", (row,), part, offset)


@given(st.lists(st.integers(0, 450), max_size=40), st.randoms())
def test_rows_arrive_with_their_signals_whatever_their_size(sizes: list[int], rng: object) -> None:
    outbox = Outbox(chunk_bytes=CHUNK, full_bytes=500)
    part = bytearray()

    def keep(rows: bytes) -> tuple[int, int]:
        part.extend(rows)
        return 7, len(part) - len(rows)

    inbox = Inbox(keep)
    found: list[sg.Signal] = []

    def carry() -> None:
        news = pickle.loads(pickle.dumps(outbox.take()))
        assert sum(map(len, news.rows)) + len(news.piece) <= CHUNK
        found.extend(inbox.signals_of(news))

    rows = [bytes([number % 251]) * size for number, size in enumerate(sizes)]
    for number, data in enumerate(rows):
        place = outbox.keep_rows(data) if data else (0, 0)
        outbox.put([success(number, *place, len(data)), sg.WorkersSampled("n0", ())])
        if rng.random() < 0.5:  # type: ignore[attr-defined]
            carry()
    while outbox.has_messages:
        carry()
    assert not outbox.is_full
    assert outbox.take() == Message()
    assert len(found) == 2 * len(sizes)
    said = [s for s in found if isinstance(s, sg.AttemptsSucceeded)]
    assert [s.successes[0].mini_batch for s in said] == list(range(len(sizes)))
    for data, signal in zip(rows, said, strict=True):
        assert signal.part == (7 if data else 0)
        assert bytes(part[signal.offset : signal.offset + len(data)]) == data


def test_a_full_outbox_says_so_until_it_is_emptied() -> None:
    outbox = Outbox(chunk_bytes=CHUNK, full_bytes=250)
    for number in range(3):
        assert not outbox.is_full
        outbox.put([success(number, *outbox.keep_rows(bytes(90)), 90)])
    assert outbox.is_full
    outbox.take()
    assert not outbox.is_full
