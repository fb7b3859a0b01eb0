"""The worker's own modules, in this process."""

from __future__ import annotations

import os
import re
import tempfile
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from parallelrun_jupyter.worker import protocol, status_page
from parallelrun_jupyter.worker.context import load
from parallelrun_jupyter.worker.failures import BadInput, BadResult, BadSettings, describe
from parallelrun_jupyter.worker.output.results import (
    SETTINGS_FILE,
    encode_result,
    materialized,
    read_frame_options,
)
from parallelrun_jupyter.worker.plan_line import PlanLine
from parallelrun_jupyter.worker.streams import LINE_BYTES, ShownLines, tag_lines
from parallelrun_jupyter.worker.tables import reader


@pytest.mark.parametrize(
    ("result", "rows", "text"),
    [
        (["a", 1, None], 3, b"a\n1\nNone\n"),
        (("é",), 1, "é\n".encode()),
        ([], 0, b""),
        ((x for x in "ab"), 2, b"a\nb\n"),
        (map(str, [1, 2]), 2, b"1\n2\n"),
        (iter([]), 0, b""),
        (np.array([1.5, 2.0]), 2, b"1.5\n2.0\n"),
        (pd.Series(["x", "y"]), 2, b"x\ny\n"),
        (pd.DataFrame({"a": [1, 2], "b": ["x", "y z"]}), 2, b'1 x\n2 "y z"\n'),
    ],
)
def test_results_become_rows(result: Any, rows: int, text: bytes) -> None:
    result = materialized(result)
    assert encode_result(result, append_rows=True) == (rows, text)
    assert encode_result(result, append_rows=False) == (rows, b"")


def test_a_generator_is_used_up_by_a_worker_itself() -> None:
    assert encode_result((x for x in "ab"), append_rows=True) == (2, b"a\nb\n")
    assert encode_result((x for x in "ab"), append_rows=False) == (2, b"")


async def _late(mini_batch: Any) -> Any:
    return mini_batch


async def _one_by_one(mini_batch: Any) -> Any:
    yield mini_batch


def test_what_has_to_be_awaited_is_said_to_be() -> None:
    for function, kind in ((_late, "coroutine"), (_one_by_one, "async_generator")):
        with pytest.raises(BadResult, match=rf"run\(\) returned a {kind}, which nothing awaits"):
            encode_result(function([1]), append_rows=True)


@pytest.mark.parametrize(
    ("result", "kind", "message"),
    [
        (None, "no_result", r"run\(\) returned None; return a list"),
        ("text", "wrong_result", r"run\(\) returned a str; return a list"),
        ({"a": 1}, "wrong_result", r"run\(\) returned a dict"),
        (5, "wrong_result", r"run\(\) returned an int, which has no length"),
        (np.float64(5), "wrong_result", r"run\(\) returned a float64, which has no length"),
        (["\udc80"], "wrong_result", "a returned row is not valid Unicode"),
    ],
)
def test_what_is_no_result(result: Any, kind: str, message: str) -> None:
    with pytest.raises(BadResult, match=message) as caught:
        encode_result(result, append_rows=True)
    assert caught.value.kind == kind


class _Unprintable(Exception):
    def __str__(self) -> str:
        raise RuntimeError


def test_a_failure_names_the_users_own_line() -> None:
    def user_code() -> None:
        int("x y")

    try:
        user_code()
    except ValueError as error:
        failure = describe(error, [str(Path(__file__).parent)], "run")
    assert re.fullmatch(r"ValueError at test_worker\.py:\d+ in user_code", failure["group"])
    assert "invalid literal" in failure["message"]
    assert failure["traceback"].startswith("Traceback (most recent call last):")


def test_an_exception_that_cannot_be_printed_is_still_described() -> None:
    failure = describe(_Unprintable(), [], "run")
    assert failure["message"] == "<its __str__ raised RuntimeError>"
    assert failure["group"] == "_Unprintable at run()"


@pytest.mark.parametrize(
    ("text", "message"),
    [
        (
            "{}",
            "parallel_run_step.settings.json has no object 'append_row'; expected {\"append_row\"",
        ),
        ("[1]", "has no object 'append_row'"),
        ('{"append_row": {"to_csv": {}}}', "has no object 'pandas.DataFrame.to_csv'"),
        ('{"append_row": {"pandas.DataFrame.to_csv": []}}', "no object 'pandas.DataFrame.to_csv'"),
        ("{", "could not be read .*; expected JSON such as"),
        ("\udce9", "could not be read .*utf-8"),
    ],
)
def test_a_settings_file_that_is_none_is_a_sentence(
    tmp_path: Path, text: str, message: str
) -> None:
    (tmp_path / SETTINGS_FILE).write_bytes(text.encode("utf-8", "surrogateescape"))
    with pytest.raises(BadSettings, match=message) as caught:
        read_frame_options(str(tmp_path), [])
    failure = describe(caught.value, [], "start")
    assert failure["group"] == "BadSettings at the start of the worker"


def test_what_a_reader_raises_by_itself_is_bad_input_with_its_file_and_traceback(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tmp_path / "t.parquet"
    path.write_bytes(b"PAR1 and no more")

    def read(*_: Any) -> Any:
        raise OverflowError("int too big to convert")

    monkeypatch.setattr(reader, "_reader", lambda form: read)
    row = [
        "t",
        0,
        [str(path)],
        [path.stat().st_size],
        [0.0],
        [[0, 1]],
        {"format": "parquet"},
        1,
        {},
    ]
    with pytest.raises(
        BadInput, match="t.parquet could not be loaded: OverflowError: int"
    ) as caught:
        load(PlanLine.of_row(row))
    failure = describe(caught.value, [], "run")
    assert (failure["kind"], failure["group"]) == ("bad_input", "BadInput at loading")
    assert failure["traceback"].endswith("OverflowError: int too big to convert\n")
    assert "in read" in failure["traceback"]


def test_status_pages_show_what_was_written() -> None:
    with tempfile.TemporaryFile() as file:
        file.truncate(status_page.SIZE)
        mine = status_page.StatusPage(file.fileno())
        theirs = status_page.StatusPage(file.fileno())
        assert theirs.read()[0] == status_page.STARTING
        mine.write(status_page.RUNNING, 17, 5.25)
        assert theirs.read() == (status_page.RUNNING, 17, 5.25)
        mine.close()
        theirs.close()


@given(st.lists(st.binary(max_size=30).map(lambda b: b.replace(b"\n", b"")), max_size=9))
def test_lines_are_read_whole(lines: list[bytes]) -> None:
    read_end, write_end = os.pipe()
    os.write(write_end, b"".join(line + b"\n" for line in lines) + b"torn")
    os.close(write_end)
    reader = protocol.LineReader(read_end)
    assert [reader.read() for _ in lines] == lines
    assert reader.read() == b""
    os.close(read_end)


def test_every_line_of_a_log_has_its_tag() -> None:
    text = tag_lines(b"STDOUT", b"#17", b"one\ntwo\n", 1_795_416_040.1234)
    head = b"2026-11-23T06:40:40.123Z STDOUT #17 "
    assert text == head + b"one\n" + head + b"two\n"


def logged(chunks: list[bytes]) -> tuple[list[bytes], bytes]:
    """Return the lines that are logged as text comes in, and the rest that is logged at the end."""
    shown = ShownLines()
    lines: list[bytes] = []
    for chunk in chunks:
        text, _ = shown.feed(chunk)
        lines += [] if text is None else text.split(b"\n")
    return lines, shown.end() or b""


_NO_CONTROLS = bytes.maketrans(b"\r\x1b", b"..")


@given(st.lists(st.binary(max_size=20), max_size=20))
def test_lines_are_those_of_the_whole_text_however_it_comes(chunks: list[bytes]) -> None:
    chunks = [chunk.translate(_NO_CONTROLS) for chunk in chunks]
    lines, partial = logged(chunks)
    assert [*lines, partial] == b"".join(chunks).split(b"\n")


@given(
    st.lists(
        st.tuples(
            st.text(st.sampled_from("a.é漢😀 "), min_size=1, max_size=50),
            st.integers(1, 2000),
            st.sampled_from(["", "", "\n"]),
        ),
        max_size=12,
    ),
    st.integers(10_000, 300_000),
)
@settings(max_examples=50)
def test_text_without_line_ends_is_cut_between_characters_and_none_of_it_is_lost(
    parts: list[tuple[str, int, str]], size: int
) -> None:
    text = "".join(part * times + end for part, times, end in parts)
    data = text.encode()
    lines, partial = logged([data[k : k + size] for k in range(0, len(data), size)])
    for line in lines:
        line.decode()  # whole characters
    assert b"".join([*lines, partial]) == data.replace(b"\n", b"")
    longest = max(map(len, data.split(b"\n")))
    assert len(lines) == data.count(b"\n") or longest > LINE_BYTES, "only where it has to be"
