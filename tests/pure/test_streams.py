"""Output of a script becomes lines as a terminal shows them: a bar is one line, text stays."""

from __future__ import annotations

import itertools

from hypothesis import given
from hypothesis import strategies as st

from parallelrun_jupyter.worker.streams import ShownLines, tag_lines


def lines_of(data: bytes, cuts: list[int] | None = None) -> list[bytes]:
    """Return the lines of a text that is written in pieces."""
    shown = ShownLines()
    edges = sorted({0, len(data), *(cut % (len(data) + 1) for cut in cuts or ())})
    texts = [shown.feed(data[a:b])[0] for a, b in itertools.pairwise(edges)]
    texts.append(shown.end())
    return [line for text in texts if text is not None for line in text.split(b"\n")]


WRITTEN = st.lists(
    st.sampled_from([b"a", b"bc", b" ", b"\n", b"\r", b"\r\n", b"\x1b[A", b"\x1b[2A", b"\x1b[K",
                     b"\x1b[31m", b"\x1b", "\u00fc".encode()]), max_size=30
).map(b"".join)  # fmt: skip


@given(WRITTEN, st.lists(st.integers(0, 1000), max_size=6))
def test_it_does_not_matter_how_the_text_was_cut(data: bytes, cuts: list[int]) -> None:
    assert lines_of(data, cuts) == lines_of(data)


@given(st.lists(st.binary(max_size=5).filter(lambda b: not {10, 13, 27} & set(b)), min_size=1))
def test_text_without_bars_stays_as_it_is(lines: list[bytes]) -> None:
    expected = lines if lines[-1] else lines[:-1]
    assert lines_of(b"\n".join(lines)) == expected
    assert lines_of(b"\r\n".join(lines)) == expected, "line ends of Windows are no bars"


def test_a_bar_is_one_line_its_last_state() -> None:
    before = b"".join(b"\r%d/150" % k for k in range(151))
    after = b"".join(b"%d/150\r" % k for k in range(151))
    for bar in (before, after, before + b"\n", after + b"\n", before + b"\r\n"):
        assert lines_of(b"loading\n" + bar) == [b"loading", b"150/150"]
    assert lines_of(before + b"\ndone\n") == [b"150/150", b"done"]


def test_what_stands_behind_a_bar_is_kept() -> None:
    assert lines_of(b"\r 10 %\r 20 %WARNING: odd\n\r 30 %\n") == [b" 20 %WARNING: odd", b" 30 %"]


def test_a_bar_that_is_wiped_out_leaves_no_line() -> None:
    assert lines_of(b"\r50 %\r    \rnext\n") == [b"next"]
    assert lines_of(b"\r50 %\r\x1b[Knext\n") == [b"next"]
    assert lines_of(b"\r50 %\r    \r") == []
    assert lines_of(b"\n\n") == [b"", b""], "blank lines that are no bars stay"


def write_bars(names: list[bytes], steps: int, say_at: int = -1) -> bytes:
    """Return the output of tqdm for several bars: down to the row of each, its state, and up again."""
    data = b""
    for step in range(steps):
        if step == say_at:
            clear = b"".join(b"\n" * k + b"\r      \r" + b"\x1b[A" * k for k in range(len(names)))
            data += clear + b"a message\n"
        for row, name in enumerate(names):
            data += b"\n" * row + b"\r%b %d/%d" % (name, step + 1, steps) + b"\x1b[A" * row
    return data + b"\n" * len(names)


def test_bars_in_several_rows_keep_a_row_each() -> None:
    lines = lines_of(write_bars([b"all", b"one", b"two"], 50, say_at=20) + b"after\n")
    ends = [b"all 50/50", b"one 50/50", b"two 50/50", b"after"]
    assert lines[-4:] == ends
    # The states before the first move up had been lines by then: nothing had told of a second bar.
    assert [line for line in lines[:-4] if b"1/50" not in line] == [b"a message"]
    assert len(lines) <= 4 + 1 + 2


def test_the_states_of_a_bar_that_goes_on_are_few_in_a_day() -> None:
    now = [0.0]
    shown = ShownLines(lambda: now[0])
    states = []
    for second in range(86_400):
        now[0] = 1.0 + second
        lines, state = shown.feed(b"\r%d s" % second)
        assert lines is None
        states += [state] if state is not None else []
    assert states[0] == b"0 s", "at once"
    assert states[1] == b"2 s"
    assert len(states) < 250
    seconds = [int(state.split()[0]) for state in states]
    assert all(b - a <= max(2, b / 19 + 1) for a, b in itertools.pairwise(seconds))
    assert shown.end() == b"86399 s"


def test_many_short_bars_are_not_logged_twice_each() -> None:
    now = [0.0]
    shown = ShownLines(lambda: now[0])
    states = 0
    for k in range(1000):
        now[0] = k * 0.01
        states += shown.feed(b"\r1/2\r2/2")[1] is not None
        assert shown.end() == b"2/2"
    assert states <= 6, "one in two seconds"


def test_text_without_a_line_end_takes_no_more_memory_than_a_long_line() -> None:
    shown = ShownLines()
    for data in (b".", b"\r.", b"\x1b[A\n."):
        kept = b""
        for _ in range(300):
            shown.feed(data * 1000)
            kept = max(kept, *(row.text for row in shown._rows), key=len)
        assert len(kept) < 200_000
        assert len(shown._rows) <= 32
        shown.end()


def test_a_traceback_with_returns_in_it_loses_none_of_its_text() -> None:
    text = tag_lines(b"ERROR", b"#1", b"ValueError: 'a\r\nb\rc'\n", 0.0)
    assert [line.split(b" ", 3)[3] for line in text.splitlines()] == [
        b"ValueError: 'a",
        b"b",
        b"c'",
    ]
    assert b"\r" not in text
