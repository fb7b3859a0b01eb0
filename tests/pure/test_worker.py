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
from hypothesis import given
from hypothesis import strategies as st

from parallelrun_jupyter.worker import protocol, status_page
from parallelrun_jupyter.worker.failures import BadResult, describe
from parallelrun_jupyter.worker.results import encode_result
from parallelrun_jupyter.worker.streams import tag_lines


@pytest.mark.parametrize(
    ("result", "rows", "text"),
    [
        (["a", 1, None], 3, b"a\n1\nNone\n"),
        (("é",), 1, "é\n".encode()),
        ([], 0, b""),
        (np.array([1.5, 2.0]), 2, b"1.5\n2.0\n"),
        (pd.Series(["x", "y"]), 2, b"x\ny\n"),
        (pd.DataFrame({"a": [1, 2], "b": ["x", "y z"]}), 2, b'1 x\n2 "y z"\n'),
    ],
)
def test_results_become_rows(result: Any, rows: int, text: bytes) -> None:
    assert encode_result(result, append_rows=True) == (rows, text)
    assert encode_result(result, append_rows=False) == (rows, b"")


@pytest.mark.parametrize(
    ("result", "kind", "message"),
    [
        (None, "no_result", r"run\(\) returned None; return a list"),
        ("text", "wrong_result", r"run\(\) returned a str; return a list"),
        ({"a": 1}, "wrong_result", r"run\(\) returned a dict"),
        (5, "wrong_result", r"run\(\) returned a int, which has no length"),
        ((x for x in "ab"), "wrong_result", r"run\(\) returned a generator, which has no length"),
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
