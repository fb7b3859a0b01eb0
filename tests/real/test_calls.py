"""Several calls in flight in one worker, with real workers: event loops and threads."""

from __future__ import annotations

import asyncio
import collections
import json
import os
import threading
import time
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest

import parallelrun_jupyter as parallelrun
from parallelrun_jupyter import ParallelRunConfig, Run, TabularDataset, submit
from parallelrun_jupyter.runs.journal.call_events import CallsSpent
from parallelrun_jupyter.runs.journal.events import AttemptFailed, AttemptSucceeded, WarningRaised
from tests.real.conftest import end_of, rows_of

TIMEOUT_S = 60
session: Any = None


def results_of(run: Run) -> Any:
    return run.results(timeout_s=TIMEOUT_S)


def attempts_of(run: Run) -> list[tuple[int, int, str]]:
    """Return (mini-batch, attempt, how it ended) of all attempts."""
    return [
        (event.mini_batch, event.attempt, getattr(event, "kind", "succeeded"))
        for event in run.events(follow=False)
        if isinstance(event, AttemptSucceeded | AttemptFailed)
    ]


def most_at_once(spans: pd.DataFrame) -> int:
    """Return the largest number of spans that overlap, by sorting their ends."""
    marks = pd.concat([pd.Series(1, spans["begin"]), pd.Series(-1, spans["end"])])
    return int(marks.sort_index(kind="stable").cumsum().max())


@pytest.mark.parametrize("is_async", [True, False])
def test_calls_overlap_up_to_the_concurrency_in_one_process(is_async: bool) -> None:
    async def wait(item: int) -> Any:
        begin = time.monotonic()
        await asyncio.sleep(0.1)
        return begin, time.monotonic(), os.getpid(), threading.get_ident()

    def nap(item: int) -> Any:
        begin = time.monotonic()
        time.sleep(0.1)
        return begin, time.monotonic(), os.getpid(), threading.get_ident()

    run = parallelrun.map(wait if is_async else nap, range(60), concurrency=12)
    spans = pd.DataFrame(results_of(run), columns=["begin", "end", "process", "thread"])
    assert len(set(spans["process"])) == 1
    assert spans["thread"].nunique() == (1 if is_async else 12)
    assert most_at_once(spans) == 12
    assert sorted(attempts_of(run)) == [(k, 1, "succeeded") for k in range(60)]


def test_functions_of_all_kinds_are_awaited() -> None:
    class Asker:
        def __init__(self) -> None:
            self.asked = 0

        async def __call__(self, item: int) -> int:
            self.asked += 1
            await asyncio.sleep(0)
            return item * 2

        async def aclose(self) -> None:
            print("closed after", self.asked)

    async def several(item: int) -> Any:
        for k in range(item):
            await asyncio.sleep(0)
            yield k

    async def connect() -> None:
        global session  # noqa: PLW0603 - as a notebook does
        session = asyncio.get_running_loop()

    async def uses_session(item: int) -> bool:
        return session is asyncio.get_running_loop()

    run = parallelrun.map(Asker, range(20))
    assert results_of(run) == [k * 2 for k in range(20)]
    assert "closed after 20" in run.logs()
    assert results_of(parallelrun.map(several, range(4))) == [[], [0], [0, 1], [0, 1, 2]]
    assert results_of(parallelrun.map(uses_session, range(4), init=connect)) == [True] * 4

    async def embed(frame: pd.DataFrame) -> pd.DataFrame:
        await asyncio.sleep(0.01)
        doubled: pd.DataFrame = frame[["a"]] * 2
        return doubled

    frame = pd.DataFrame({"a": range(100), "b": 1.5}, index=[f"r{k}" for k in range(100)])
    run = parallelrun.map_batches(embed, frame, mini_batch_rows=7)
    pd.testing.assert_frame_equal(results_of(run), frame[["a"]] * 2)
    assert len(attempts_of(run)) == 15

    async def add(alpha: int, depth: int) -> int:
        return alpha * 10 + depth

    grid = parallelrun.grid(alpha=[1, 2], depth=[3, 4])
    assert results_of(parallelrun.map(add, grid)) == [13, 14, 23, 24]


def test_a_script_gets_items_or_mini_batches_by_the_name_of_its_parameter(tmp_path: Path) -> None:
    table = tmp_path / "table.csv"
    pd.DataFrame({"id": range(9), "word": list("abcdefghi")}).to_csv(table, index=False)
    files = tmp_path / "files"
    files.mkdir()
    for k in range(12):
        (files / f"{k:02d}.txt").write_text(str(k))

    def rows_with(text: str, inputs: Any, **settings: Any) -> list[str]:
        script = tmp_path / "ask.py"
        script.write_text("import os\n" + text)
        run = submit(ParallelRunConfig(entry_script=str(script), **settings), inputs=inputs)
        run.wait_for_completion(timeout_s=TIMEOUT_S)
        return rows_of(run)

    by_path = "async def run(path):\n    return os.path.basename(path)\n"
    assert rows_with(by_path, str(files)) == [f"{k:02d}.txt" for k in range(12)]
    by_row = "async def run(row, context):\n    return row['word'] * (row['id'] % 3)\n"
    assert rows_with(by_row, TabularDataset.from_delimited_files(str(table))) == [
        word * (k % 3) for k, word in enumerate("abcdefghi")
    ]
    by_hint = "def run(file: str):\n    return os.path.basename(file)\n"
    assert len(rows_with(by_hint, str(files), concurrency=3)) == 12
    batches = "async def run(mini_batch):\n    return [len(mini_batch)] * len(mini_batch)\n"
    assert rows_with(batches, str(files), mini_batch_size=5) == ["5"] * 10 + ["2"] * 2


def test_each_call_has_its_own_timeout_tries_and_error() -> None:
    tried: collections.Counter[int] = collections.Counter()

    async def ask(item: int) -> int:
        tried[item] += 1
        if item == 3:
            await asyncio.sleep(60)
        if item == 5 and tried[item] < 3:
            raise ConnectionError(f"try {tried[item]}")
        if item == 7:
            raise ValueError("seven")
        await asyncio.sleep(0.05)
        return tried[item]

    run = parallelrun.map(
        ask, range(30), run_invocation_timeout=1, run_max_try=3, error_threshold=-1,
        retry_delay=0.1, no_retry_on=["ValueError", "Timeout"],
    )  # fmt: skip
    answers = run.results(missing=None, timeout_s=TIMEOUT_S)
    ended = collections.Counter(attempts_of(run))
    assert ended[(3, 1, "timeout")] == 1
    assert [
        ended[(5, k, kind)] for k, kind in ((1, "exception"), (2, "exception"), (3, "succeeded"))
    ] == [1] * 3
    assert sum(ended.values()) == 32  # the others were asked once: no worker was killed
    assert [answers[k] for k in range(30) if k not in {3, 7}] == [
        3 if k == 5 else 1 for k in range(30) if k not in {3, 7}
    ]
    failures = run.failures().set_index("mini_batch")
    assert "Timeout at test_calls.py" in failures.loc[3, "group"]
    assert (
        "took longer than run_invocation_timeout = 1 s"
        in failures.loc[3, "error"] + failures.loc[3, "message"]
    )
    assert not [e for e in run.events(follow=False) if type(e).__name__ == "WorkerLost"]


def test_threads_that_hang_are_given_up_and_the_others_are_asked_once() -> None:
    def ask(item: int) -> int:
        if item in {3, 9}:
            time.sleep(600)
        time.sleep(0.05)
        return item

    run = parallelrun.map(
        ask, range(40), concurrency=8, run_invocation_timeout=1, run_max_try=1, error_threshold=-1
    )
    answers = run.results(missing=None, timeout_s=TIMEOUT_S)
    assert [k for k, answer in enumerate(answers) if answer != k] == [3, 9]
    assert len(attempts_of(run)) == 40
    failures = run.failures()
    assert set(failures["mini_batch"]) == {3, 9}
    assert "time.sleep(600)" in failures["traceback"][0]


def test_a_call_that_blocks_the_loop_is_named_and_one_that_hangs_is_killed() -> None:
    async def ask(item: int) -> int:
        await asyncio.sleep(0.01)
        if item == 5:
            time.sleep(1.8)  # noqa: ASYNC251 - a mistake on purpose
        return item

    run = parallelrun.map(ask, range(20), concurrency=10)
    assert results_of(run) == list(range(20))
    (warning,) = [e.text for e in run.events(follow=False) if isinstance(e, WarningRaised)]
    assert "the call of mini-batch 5 has blocked the event loop for" in warning
    assert "test_calls.py" in warning

    async def hang(item: int) -> int:
        await asyncio.sleep(0.2 if item != 5 else 0.01)
        if item == 5:
            time.sleep(600)  # noqa: ASYNC251 - a mistake on purpose
        return item

    run = parallelrun.map(
        hang, range(20), concurrency=10, run_invocation_timeout=2, run_max_try=1, error_threshold=-1
    )
    answers = run.results(missing=None, timeout_s=TIMEOUT_S)
    assert [k for k, answer in enumerate(answers) if answer != k] == [5]
    failed = [entry for entry in attempts_of(run) if entry[2] != "succeeded"]
    assert failed == [(5, 1, "timeout")]  # the others were given back uncharged
    assert "blocked the event loop for 2 s" in run.failures()["message"][0]


@pytest.mark.parametrize("is_async", [True, False])
def test_a_call_that_kills_its_worker_fails_and_no_other(is_async: bool) -> None:
    async def ask(item: int) -> int:
        await asyncio.sleep(0.02)
        if item == 11:
            os._exit(3)
        await asyncio.sleep(0.02)
        return item

    def plain(item: int) -> int:
        time.sleep(0.02)
        if item == 11:
            os._exit(3)
        time.sleep(0.02)
        return item

    run = parallelrun.map(
        ask if is_async else plain, range(40), concurrency=8, run_max_try=2, error_threshold=-1,
        retry_delay=0,
    )  # fmt: skip
    answers = run.results(missing=None, timeout_s=TIMEOUT_S)
    assert [k for k, answer in enumerate(answers) if answer != k] == [11]
    failed = [entry for entry in attempts_of(run) if entry[2] != "succeeded"]
    assert failed == [(11, 1, "worker_lost"), (11, 2, "worker_lost")]


def test_output_and_spending_belong_to_their_calls() -> None:
    async def ask(item: int, context: Any) -> str:
        print("begin", item, end=" ")
        context.spend(input_tokens=100, usd=0.25)
        await asyncio.sleep(0.01 * (item % 3))
        context.spend(output_tokens=item)
        print("end", item)
        return str(context.idempotency_key)

    run = parallelrun.map(ask, range(25), token_prices={"input": 2.0, "output": 10.0})
    keys = results_of(run)
    assert len(set(keys)) == 25
    assert keys[7] == f"{run.run_id}-7"
    lines = [line.partition("#")[2] for line in run.logs().splitlines() if "begin" in line]
    assert sorted(lines) == sorted(f"{k} begin {k} end {k}" for k in range(25))
    spent = pd.DataFrame(
        [row for e in run.events(follow=False) if isinstance(e, CallsSpent) for row in e.spends],
        columns=["mini_batch", "attempt", "tokens", "nano_usd"],
    ).groupby("mini_batch").sum()  # fmt: skip
    assert list(spent["tokens"]) == [100 + k for k in range(25)]
    dollars = 0.25 + (100 * 2.0 + np.arange(25) * 10.0) / 1e6
    np.testing.assert_allclose(spent["nano_usd"] / 1e9, dollars, rtol=1e-9)


def test_a_failing_mini_batch_of_calls_is_divided_until_its_item_is_alone(tmp_path: Path) -> None:
    script = tmp_path / "ask.py"
    script.write_text(
        "import asyncio, os\n"
        "async def run(mini_batch):\n"
        "    await asyncio.sleep(0.01)\n"
        "    if any(p.endswith('07.txt') for p in mini_batch):\n"
        "        raise ValueError('seven')\n"
        "    return [os.path.basename(p) for p in mini_batch]\n"
    )
    for k in range(32):
        (tmp_path / f"{k:02d}.txt").write_text("")
    config = ParallelRunConfig(
        entry_script=str(script), mini_batch_size=8, run_max_try=1, error_threshold=1, concurrency=4
    )
    run = submit(config, inputs=f"{tmp_path}/*.txt")
    run.wait_for_completion(timeout_s=TIMEOUT_S)
    assert rows_of(run) == [f"{k:02d}.txt" for k in range(32) if k != 7]
    assert list(run.failed_items()["item"].map(os.path.basename)) == ["07.txt"]


def test_a_trial_awaits_calls_and_says_what_they_spend(capsys: pytest.CaptureFixture[str]) -> None:
    async def ask(item: int, context: Any) -> int:
        await asyncio.sleep(0.01)
        context.spend(tokens=30, usd=0.002)
        return 10 // (item - 1)

    run = parallelrun.map(ask, range(4), error_threshold=-1, run_max_try=1)
    run.wait_for_completion(timeout_s=TIMEOUT_S)
    assert run.try_one(2) == [10]
    assert "it spent 30 tokens and 0.002 USD" in capsys.readouterr().out
    with pytest.raises(ZeroDivisionError):
        run.try_one(1)


def test_two_thousand_calls_in_flight_fit_into_200_mb() -> None:
    async def ask(item: int) -> Any:
        await asyncio.sleep(3)
        with open("/proc/self/status") as status:  # noqa: ASYNC230 - a file in memory
            peak = next(line for line in status if line.startswith("VmHWM"))
        return time.monotonic(), int(peak.split()[1]) / 1024

    run = parallelrun.map(ask, range(2000), concurrency=2000)
    ends = pd.DataFrame(results_of(run), columns=["end", "peak_mib"])
    assert ends["end"].max() - ends["end"].min() < 3  # all of them were in flight at once
    assert ends["peak_mib"].max() < 200


def test_settings_of_calls_are_checked() -> None:
    for name, value, expected in (
        (
            "rate_limit",
            "300",
            r"rate_limit is '300'; expected a number of calls in a time, such as",
        ),
        ("rate_limit", "0/s", "rate_limit is '0/s'"),
        ("token_limit", 5, "expected a number of tokens in a time"),
        (
            "budget",
            "20 EUR",
            "budget is '20 EUR'; expected an amount above 0 in US dollars, such as \"20 USD\"",
        ),
        ("token_prices", {"inputs": 1}, "a dict with these two names"),
        ("concurrency", 0, "concurrency is 0; expected a whole number from 1 to 10000"),
    ):
        with pytest.raises(ValueError, match=expected):
            ParallelRunConfig(**{name: value})
    config = ParallelRunConfig(
        budget="$1,200", rate_limit="90,000 per minute", token_prices="input=2.5, output=10"
    )
    assert json.loads(json.dumps(config.to_dict()))["budget"] == "$1,200"


@pytest.mark.parametrize(
    "settings",
    [{}, {"process_count_per_node": 2}, {"concurrency": 5}],
    ids=["one", "two", "threads"],
)
def test_calls_of_plain_functions_keep_to_a_rate(settings: dict[str, Any]) -> None:
    def ask(item: int) -> float:
        return time.monotonic()

    run = parallelrun.map(ask, range(60), rate_limit="30/s", **settings)
    starts = np.sort(results_of(run))
    # A busy operating system lets some begin later than was assigned, which bunches them with the next.
    in_a_second = [np.searchsorted(starts, t + 1.15) - k for k, t in enumerate(starts)]
    assert max(in_a_second) <= 30 * 1.3 + 1
    assert len(starts) - 1 > 0.95 * 30 * (starts[-1] - starts[0] - 0.5)
    with pytest.raises(ValueError, match="with one item at a time when calls are limited"):
        parallelrun.map(ask, range(60), rate_limit="30/s", mini_batch_size=7)


def test_a_cell_asks_for_each_item_of_a_variable(tmp_path: Path) -> None:
    script = tmp_path / "ask.py"
    script.write_text(
        "import asyncio\n"
        "async def run(prompt):\n"
        "    await asyncio.sleep(0.05)\n"
        "    return prompt.upper()\n"
    )
    prompts = pd.Series([f"word {k}" for k in range(30)])
    run = submit(ParallelRunConfig(entry_script=str(script)), inputs=prompts)
    run.wait_for_completion(timeout_s=TIMEOUT_S)
    assert rows_of(run) == [f"WORD {k}" for k in range(30)]
    assert len(attempts_of(run)) == 30


def test_calls_that_block_the_loop_in_turn_are_named_by_their_line() -> None:
    async def ask(item: int) -> int:
        time.sleep(0.25)  # noqa: ASYNC251 - a mistake on purpose
        return item

    run = parallelrun.map(ask, range(44))
    assert results_of(run) == list(range(44))
    (warning,) = [e.text for e in run.events(follow=False) if isinstance(e, WarningRaised)]
    assert "calls keep the event loop busy for" in warning
    assert "test_calls.py" in warning


def test_a_missing_await_fails_its_items(tmp_path: Path) -> None:
    script = tmp_path / "ask.py"
    script.write_text("import asyncio\nasync def run(path):\n    return asyncio.sleep(0, path)\n")
    (tmp_path / "a.txt").write_text("")
    run = submit(ParallelRunConfig(entry_script=str(script)), inputs=f"{tmp_path}/*.txt")
    run.wait_for_completion(timeout_s=TIMEOUT_S, raise_on_error=False)
    assert end_of(run) == "Failed"
    assert "returned a coroutine, which nothing awaits" in run.failures()["message"][0]
