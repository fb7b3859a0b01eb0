"""What calls spend and how long they take, folded from the journal, against a count by hand."""

from __future__ import annotations

import math
from pathlib import Path
from statistics import fmean, pstdev
from tempfile import TemporaryDirectory

import pytest
from hypothesis import given
from hypothesis import strategies as st

from parallelrun_jupyter.runs.journal.call_events import CallsLimited, CallsSpent
from parallelrun_jupyter.runs.journal.events import AttemptFailed, AttemptSucceeded
from parallelrun_jupyter.runs.journal.files import read_state, write_state
from parallelrun_jupyter.runs.journal.state import RunState
from parallelrun_jupyter.runs.run_folder import RunFolder

SPENDS = st.lists(
    st.one_of(
        st.tuples(st.just("spend"), st.integers(0, 3), st.integers(0, 900), st.integers(0, 10**10)),
        st.tuples(st.just("end"), st.integers(0, 3), st.just(0), st.just(0)),
    ),
    max_size=60,
)


@given(SPENDS, st.integers(0, 60))
def test_what_calls_spend_adds_up_by_attempt(
    steps: list[tuple[str, int, int, int]], cut: int
) -> None:
    state, attempts = RunState(), dict.fromkeys(range(4), 1)
    by_attempt: dict[tuple[int, int], int] = {}
    tokens_spent = 0
    for number, (kind, mini_batch, tokens, money) in enumerate(steps):
        attempt = attempts[mini_batch]
        if kind == "spend":
            state.apply(CallsSpent(1, ((mini_batch, attempt, tokens, money),)))
            key = mini_batch, attempt
            by_attempt[key] = by_attempt.get(key, 0) + money
            tokens_spent += tokens
        else:
            attempts[mini_batch] += 1
            rest = (2, 10, 1, False, "throttled", "E", "", "E at s.py:1", "")
            state.apply(AttemptFailed(mini_batch, attempt, "n0w0", *rest))
        if number == cut:
            with TemporaryDirectory() as folder:
                run = RunFolder(Path(folder))
                run.journal.write_bytes(b"12345")
                write_state(run, state, 5)
                assert read_state(run) == (state, 5)
    if not by_attempt:
        assert state.calls is None
        return
    calls = state.calls
    assert calls is not None
    assert calls.nano_usd == sum(by_attempt.values())
    assert calls.tokens == tokens_spent
    assert calls.calls_spent == len(by_attempt)
    usd = [money / 1e9 for money in by_attempt.values()]
    assert calls.mean_usd == pytest.approx(fmean(usd))
    assert calls.sd_usd == pytest.approx(pstdev(usd), abs=1e-4)
    assert calls.open.keys() == {k for k, attempt in by_attempt if attempt == attempts[k]}


@given(st.lists(st.integers(1, 10**9), min_size=1, max_size=80), st.floats(0.01, 1))
def test_quantiles_of_durations_are_exact_to_one_percent(us: list[int], share: float) -> None:
    state = RunState()
    state.apply(CallsLimited(0, 50, 1.0, 0.0, 0))
    for mini_batch, duration_us in enumerate(us):
        row = (1, "n0w0", 5, duration_us, 1, 1, 1, 1, 0, 3, 0)
        state.apply(AttemptSucceeded(mini_batch, *row))
    assert state.calls is not None
    exact = sorted(us)[max(1, math.ceil(share * len(us))) - 1] / 1e6
    assert state.calls.quantile_s(share) == pytest.approx(exact, rel=0.0101)
