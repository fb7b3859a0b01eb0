"""Settings of runs whose calls wait for a server: rates, prices and a budget."""

from __future__ import annotations

import math
import re
from collections.abc import Mapping
from typing import Any, ClassVar

from ..errors import ConfigError
from .settings import Setting

_TIMES_S = {
    "s": 1,
    "sec": 1,
    "second": 1,
    "min": 60,
    "m": 60,
    "minute": 60,
    "h": 3600,
    "hour": 3600,
}
_RATE = re.compile(r"(\d[\d_,]*(?:\.\d+)?)\s*(?:/|per)\s*([a-z]+)", re.ASCII | re.IGNORECASE)
_MONEY = re.compile(r"(?:\$\s*)?(\d[\d_,]*(?:\.\d+)?)\s*(?:usd|\$)?", re.ASCII | re.IGNORECASE)
_PRICE = re.compile(r"(input|output)\s*=\s*(\d+(?:\.\d+)?)", re.ASCII | re.IGNORECASE)
PRICE_NAMES = ("input", "output")


def parse_rate(value: str) -> float:
    """Return a rate per second.

    Parameters
    ----------
    value
        A number and a time: ``"300/min"``, ``"5/s"``, ``"10000/h"``, ``"90,000 per minute"``.

    Raises
    ------
    ValueError
        The text is not a rate above 0.
    """
    match = _RATE.fullmatch(value.strip())
    if match is None or match[2].lower() not in _TIMES_S:
        raise ValueError(value)
    count = _number(match[1])
    if count <= 0:
        raise ValueError(value)
    return count / _TIMES_S[match[2].lower()]


def parse_budget(value: float | str) -> float:
    """Return US dollars, from a number or a text such as ``"20 USD"``.

    Raises
    ------
    ValueError
        It is not an amount above 0.
    """
    if isinstance(value, str):
        match = _MONEY.fullmatch(value.strip())
        if match is None:
            raise ValueError(value)
        value = _number(match[1])
    if not 0 < value < math.inf:
        raise ValueError(value)
    return float(value)


def parse_prices(value: float | str | Mapping[str, float]) -> dict[str, float]:
    """Return the prices of a million tokens in US dollars, as ``{"input": ..., "output": ...}``.

    Raises
    ------
    ValueError
        They are not one number, or the prices of input and output.
    """
    if isinstance(value, str):
        pairs = [_PRICE.fullmatch(part.strip()) for part in value.split(",")]
        if all(pairs):
            value = {match[1].lower(): float(match[2]) for match in pairs if match}
        else:
            value = parse_budget(value)
    if not isinstance(value, Mapping):
        value = dict.fromkeys(PRICE_NAMES, float(value))
    if not value or set(value) - set(PRICE_NAMES):
        raise ValueError(value)
    prices = {name: float(value.get(name, 0.0)) for name in PRICE_NAMES}
    if not all(0 <= price < math.inf for price in prices.values()):
        raise ValueError(value)
    return prices


def _number(text: str) -> float:
    return float(text.replace(",", "").replace("_", ""))


class RateSetting(Setting):
    """A number in a time."""

    def __init__(self, what: str, text: str) -> None:
        super().__init__(None, text)
        self._what = what

    @property
    def expected(self) -> str:  # type: ignore[override] # each instance has its own
        """What is expected, for the error."""
        return f'a number of {self._what} in a time, such as "300/min", "5/s" or "10000/h"'

    def accepts(self, value: Any) -> bool:
        """Return whether a value is valid."""
        return _is_parsed(parse_rate, value, str)


class BudgetSetting(Setting):
    """An amount of money."""

    expected: ClassVar[str] = 'an amount above 0 in US dollars, such as "20 USD" or 20'

    def accepts(self, value: Any) -> bool:
        """Return whether a value is valid."""
        return _is_parsed(parse_budget, value, (str, int, float))


class PricesSetting(Setting):
    """The prices of tokens."""

    expected: ClassVar[str] = (
        "US dollars for a million tokens: a number such as 0.15, or a text such as "
        '"input=2.5, output=10", or a dict with these two names'
    )

    def accepts(self, value: Any) -> bool:
        """Return whether a value is valid."""
        return _is_parsed(parse_prices, value, (str, int, float, dict))


def _is_parsed(parse: Any, value: Any, kinds: Any) -> bool:
    if isinstance(value, bool) or not isinstance(value, kinds):
        return False
    try:
        parse(value)
    except (ValueError, TypeError, ConfigError):
        return False
    return True
