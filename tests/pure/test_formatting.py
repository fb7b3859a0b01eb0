from __future__ import annotations

import fnmatch
import json
import time
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from parallelrun_jupyter.errors import ConfigError
from parallelrun_jupyter.formatting import (
    MiniBatchSize,
    format_bytes,
    format_duration,
    looks_secret,
    nearest_hint,
    parse_mini_batch_size,
    plural,
    text_filter,
)

WORDS = json.loads((Path(__file__).parents[1] / "contract" / "words.json").read_text())


@pytest.mark.parametrize(
    ("text", "count", "has_unit"),
    [
        ("5", 5, False),
        (5, 5, False),
        ("007", 7, False),
        ("1kb", 1024, True),
        ("10mB", 10 * 1024**2, True),
        ("1GB", 1024**3, True),
        ("1 KB", 1024, True),
        (" 100 kb ", 102400, True),
    ],
)
def test_sizes_that_are_read(text: str | int, count: int, has_unit: bool) -> None:
    assert parse_mini_batch_size(text) == MiniBatchSize(count, has_unit)


@pytest.mark.parametrize(
    "text", ["0", 0, -3, "1K", "1024B", "1TB", "1.5MB", "-1", "", "1KBMB", "\uff11", True, "five"]
)
def test_sizes_that_are_refused_with_an_example(text: str | int) -> None:
    with pytest.raises(ConfigError, match=r"mini_batch_size is .* Write, for example, 5 \(files\)"):
        parse_mini_batch_size(text)


@given(
    st.integers(1, 10**6), st.sampled_from(["", "KB", "kb", "MB", "gB"]), st.text(" ", max_size=2)
)
def test_a_unit_multiplies(number: int, unit: str, space: str) -> None:
    size = parse_mini_batch_size(f"{number}{space if unit else ''}{unit}")
    assert size.count == number * {"": 1, "kb": 2**10, "mb": 2**20, "gb": 2**30}[unit.lower()]


@pytest.mark.parametrize(
    ("seconds", "text"),
    [(0, "0.0 s"), (-1, "0.0 s"), (9.94, "9.9 s"), (9.96, "10 s"), (59.4, "59 s"), (59.6, "1:00"),
     (185, "3:05"), (3600, "1:00:00"), (7385, "2:03:05")],
)  # fmt: skip
def test_durations(seconds: float, text: str) -> None:
    assert format_duration(seconds) == text


def test_plurals_and_hints() -> None:
    assert plural(1, "file") == "1 file"
    assert plural(2000, "mini-batch") == "2,000 mini-batches"
    assert nearest_hint("eror_threshold", ["error_threshold"]) == " Did you mean 'error_threshold'?"
    assert nearest_hint("xyz", ["error_threshold"]) == ""


@pytest.mark.parametrize(("size", "said"), WORDS["bytes"])
def test_sizes_for_people(size: float, said: str) -> None:
    assert format_bytes(int(size)) == said


@pytest.mark.parametrize(("wanted", "text", "is_found"), WORDS["text_filter"])
def test_texts_are_found_by_what_is_typed(wanted: str, text: str, *, is_found: bool) -> None:
    assert text_filter(wanted)(text) == is_found


@given(st.text("ab*", max_size=8), st.text("abAB", max_size=12))
def test_stars_mean_what_a_shells_mean(wanted: str, text: str) -> None:
    assert text_filter(wanted)(text) == fnmatch.fnmatchcase(text.lower(), f"*{wanted}*")


@pytest.mark.parametrize("wanted", ["(a|aa)+$", "(a+)+b", "a*" * 500, "a" * 999 + "b", "*" * 1000])
def test_no_text_to_look_for_takes_long(wanted: str) -> None:
    began = time.process_time()
    text_filter(wanted)("a" * 65536)
    assert time.process_time() - began < 0.2, "a pattern that backtracks would take for ever"


@pytest.mark.parametrize(
    ("name", "value", "is_secret"),
    [
        ("account_key", None, True),
        ("API_TOKEN", None, True),
        ("sas", None, True),
        ("headers", {}, True),
        ("HTTP_HEADERS", None, False),
        ("MODEL_SIGNATURE", None, False),
        ("client_kwargs", {"headers": {}}, True),
        ("sasquatch", None, False),
        ("account_name", {"region": "key"}, False),
    ],
)
def test_settings_that_look_like_credentials(name: str, value: object, is_secret: bool) -> None:
    assert looks_secret(name, value) == is_secret
