"""What a run will have cost at its end, from what its calls have spent so far."""

from __future__ import annotations

import math
from typing import NamedTuple

LEAST_CALLS = 5
"""Calls that must have spent money before a forecast is made."""

_TWO_SIDED_95 = 1.959964


class Spent(NamedTuple):
    """What calls have spent so far, in US dollars, and how far the run is.

    Parameters
    ----------
    usd, usd_squared
        Sum, and sum of the squares, of what each call has spent.
    calls
        Number of calls that have spent.
    in_flight
        Calls that have not ended.
    mini_batches, items
        Those that calls have answered, also with a failure.
    mini_batches_left, items_left
        Those without an answer.
    """

    usd: float
    usd_squared: float
    calls: int
    in_flight: int
    mini_batches: int
    items: int
    mini_batches_left: int
    items_left: int


def forecast(spent: Spent) -> tuple[float, float] | None:
    """Return the least and the most that the whole run costs, in US dollars, with 95 % confidence.

    The items left cost as much each as those answered so far, attempts that failed included. The
    interval spans the chance in the costs of the items left, and the error of the mean so far. Its
    upper end also allows for calls that cost as much as they are long: those in flight are longer
    than the mean, by the square of the coefficient of variation, since long ones last over more looks.

    Returns
    -------
    tuple or None
        None while too little is known: fewer than `LEAST_CALLS` calls have spent, or fewer than twice
        as many as are in flight, since the quickest calls end first and may cost less than the others.
    """
    few = spent.calls < max(LEAST_CALLS, 2 * spent.in_flight)
    if few or not spent.items or not spent.mini_batches or spent.usd <= 0:
        return None
    rest = spent.items_left * spent.usd / spent.items
    tries = spent.calls / spent.mini_batches  # calls that spend, for each mini-batch
    mean = spent.usd / spent.calls
    variance = max(0.0, spent.usd_squared / spent.calls - mean**2)
    variance *= spent.calls / (spent.calls - 1)
    of_one = tries * variance + abs(tries**2 - tries) * mean**2
    left = spent.mini_batches_left
    error = math.sqrt(of_one * left * (1 + left / spent.mini_batches))
    error *= _student(spent.calls - 1)
    longer = variance / mean**2 * spent.in_flight * tries * mean
    longer *= 1 + left / spent.mini_batches
    return spent.usd + max(0.0, rest - error), spent.usd + rest + longer + error


def _student(freedom: int) -> float:
    """Return the two-sided 95 % quantile of Student's t, to 1 percent from 4 degrees of freedom on."""
    z = _TWO_SIDED_95
    return (
        z
        + (z**3 + z) / (4 * freedom)
        + (5 * z**5 + 16 * z**3 + 3 * z) / (96 * freedom**2)
        + (3 * z**7 + 19 * z**5 + 17 * z**3 - 15 * z) / (384 * freedom**3)
    )
