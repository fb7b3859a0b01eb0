"""Tests which numbers the fast parser of pandas before 3 reads exactly."""

from __future__ import annotations

from hypothesis import example, given
from hypothesis import strategies as st

from parallelrun_jupyter.worker.tables.number_forms import may_round_twice

_NUMBERS = st.from_regex(r"[+-]?[0-9]{0,18}\.?[0-9]{1,18}(?:[eE][+-]?[0-9]{1,2})?", fullmatch=True)


def _as_the_fast_parser(text: str) -> float:
    """Return the digits as a float, times a power of ten: two steps, each of which may round."""
    digits, _, exponent = text.lower().partition("e")
    whole, _, fraction = digits.partition(".")
    power = int(exponent or 0) - len(fraction)
    number = float(abs(int(whole + fraction)))
    number = number * 10.0**power if power > 0 else number / 10.0**-power
    return -number if text.startswith("-") else number


@given(st.lists(_NUMBERS, min_size=1, max_size=20))
@example(["9007199254740993"])
@example(["1.5", "x1e23"])
@example(["0" * 131070 + "1.5", "9007199254740993"])
def test_numbers_that_round_once_are_read_as_by_python(texts: list[str]) -> None:
    table = "".join(f"{text},x\n" for text in texts).encode()
    if not may_round_twice(table):
        for text in texts:
            assert _as_the_fast_parser(text) == float(text)


def test_plain_numbers_are_read_by_the_fast_parser() -> None:
    assert not may_round_twice(b"1.25,-0.000001,123456789012345,1.5 e,be1,12:30:59\n" * 10_000)


def test_a_long_number_is_found_at_each_place_of_a_text() -> None:
    for length in (0, 1, 131_060, 131_071, 131_072, 131_080, 262_144):
        for number in (b"0.12345678901234567", b"1e23"):
            assert may_round_twice(b"a" * length + b"," + number + b",a")
