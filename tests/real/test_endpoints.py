"""Calls of a server: its ledger, which knows nothing of the run, says what the journal says."""

from __future__ import annotations

import os
import random
import resource
import time
from collections import Counter
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import psutil
import pytest

import parallelrun_jupyter as parallelrun
from parallelrun_jupyter import Run
from parallelrun_jupyter.runs.journal.call_events import CallsHeld
from parallelrun_jupyter.runs.journal.events import (
    AttemptFailed,
    AttemptSucceeded,
    ItemsFailed,
    ItemsSucceeded,
)
from tests.endpoints.asking import CLIENTS, asks, prompt_of
from tests.endpoints.client import Client
from tests.endpoints.process import Endpoint, Ledger
from tests.real.conftest import TIMEOUT_S, assert_books, end_of
from tests.real.dask_processes import DaskProcesses
from tests.real.test_resume import driver_pid

Serve = Callable[..., Endpoint]

SEEDS = int(os.environ.get("STORM_KILLS", "30")) // 10
"""``make storm`` asks for more storms."""

PERMITTED = {"kind": "window", "count": 78, "seconds": 1}
"""For runs with 60 calls a second: a busy machine may deliver requests 300 ms late, and then together."""

KNOWN_AFTER_S = 0.15
"""Requests may arrive so long after a refusal: the worker does not know of it yet."""


@pytest.fixture
def serve(tmp_path: Path) -> Iterator[Serve]:
    """Return a function that starts a server with a script."""
    servers: list[Endpoint] = []

    def start(**script: Any) -> Endpoint:
        folder = tmp_path / f"server-{len(servers)}"
        folder.mkdir()
        servers.append(Endpoint(folder, **script))
        return servers[-1]

    yield start
    for server in servers:
        server.close()


def started(server: Endpoint, count: int, client: str = "own", **settings: Any) -> Run:
    options = {key: settings.pop(key) for key in ("usd", "has_key") if key in settings}
    settings = {"concurrency": 20, "retry_delay": 0.05, "process_count_per_node": 1, **settings}
    return parallelrun.map(asks(server.port, client, **options), range(count), **settings)


def answers(count: int) -> list[str]:
    return [prompt_of(item) for item in range(count)]


def attempts_of(run: Run) -> Counter[int]:
    """Return the number of attempts of each mini-batch, which is an item here."""
    kinds = AttemptSucceeded | AttemptFailed | ItemsSucceeded | ItemsFailed
    events = [event for event in run.events(follow=False) if isinstance(event, kinds)]
    return Counter(number for number, _ in {(one.mini_batch, one.attempt) for one in events})


def assert_same_books(run: Run, ledger: Ledger, count: int) -> None:
    """Each request is an attempt of the journal, and the tokens are those that the server billed."""
    state = assert_books(run)
    assert {int(item): number for item, number in ledger.requests().items()} == attempts_of(run)
    assert not ledger.missing(range(count))
    assert state.calls is not None
    assert state.calls.tokens == ledger.tokens


FAULTS = ["500", "cut-before", "cut-after", "503", "429:0.2", "503:0.1"]


@pytest.mark.parametrize("client", CLIENTS)
def test_the_ledger_says_what_the_journal_says(serve: Serve, client: str) -> None:
    rng = random.Random(5)
    faults = {str(item): rng.choices(FAULTS, k=rng.choice([1, 1, 2])) for item in range(0, 60, 6)}
    server = serve(latency_s=0.02, sigma=0.5, faults=faults)
    run = started(server, 60, client)
    assert run.results(timeout_s=TIMEOUT_S) == answers(60)
    ledger = server.ledger()
    assert_same_books(run, ledger, 60)
    assert ledger.billed_again() == 0  # the keys: an answer that was lost is not billed again
    retried = {item: 1 + len(told) for item, told in faults.items()}
    assert {item: n for item, n in ledger.requests().items() if n > 1} == retried
    assert 1 < ledger.frame["in_flight"].max() <= 20


def test_without_keys_a_lost_answer_is_billed_again(serve: Serve) -> None:
    server = serve(latency_s=0.02, faults={"3": ["cut-after"], "5": ["cut-before"]})
    run = started(server, 10, has_key=False)
    assert run.results(timeout_s=TIMEOUT_S) == answers(10)
    assert server.ledger().bills() == Counter({str(k): 2 if k == 3 else 1 for k in range(10)})


@pytest.mark.parametrize("client", CLIENTS)
def test_retry_after_is_honored_by_all_calls(serve: Serve, client: str) -> None:
    form = "date" if client == "httpx" else "seconds"
    server = serve(latency_s=0.4, retry_after=form, faults={"30": ["429:1.5"]})
    run = started(server, 60, client, concurrency=10)
    assert run.results(timeout_s=TIMEOUT_S) == answers(60)
    ledger = server.ledger()
    [refusal] = ledger.frame.loc[ledger.frame["status"] == 429].to_dict("records")
    began = refusal["at"]
    assert ledger.arrivals_between(0, began) >= 30
    assert ledger.arrivals_between(began + KNOWN_AFTER_S, began + 1.4) == 0
    assert_same_books(run, ledger, 60)


def test_the_permitted_rate_is_used_and_never_exceeded(serve: Serve) -> None:
    server = serve(latency_s=0.1, limits=[PERMITTED])
    run = started(server, 600, rate_limit="60/s", process_count_per_node=2)
    assert run.results(timeout_s=TIMEOUT_S) == answers(600)
    ledger = server.ledger()
    assert ledger.count(429) == 0
    assert ledger.most_in_window(1) <= 78
    began = ledger.frame["arrived"].min()
    assert ledger.arrivals_between(began + 1, began + 9) >= 0.95 * 8 * 60
    assert_same_books(run, ledger, 600)


def test_two_nodes_of_a_cluster_share_the_rate(serve: Serve, tmp_path: Path) -> None:
    cluster = DaskProcesses(tmp_path / "cluster")
    try:
        address = cluster.start_scheduler()
        for name in ("a", "b"):
            cluster.add_worker(name)
        server = serve(latency_s=0.1, limits=[PERMITTED])
        run = started(server, 300, rate_limit="60/s", compute=address)
        assert run.results(timeout_s=TIMEOUT_S) == answers(300)
    finally:
        cluster.close()
    ledger = server.ledger()
    assert ledger.count(429) == 0
    assert ledger.most_in_window(1) <= 78
    began = ledger.frame["arrived"].min()
    assert ledger.arrivals_between(began + 1, began + 4) >= 0.9 * 3 * 60
    assert_same_books(run, ledger, 300)
    workers = {one.worker for one in run.events(follow=False) if isinstance(one, AttemptSucceeded)}
    assert len({name.partition("w")[0] for name in workers}) == 2


def test_a_limit_that_is_not_known_is_found(serve: Serve) -> None:
    """The server refuses what is too much; the items are answered all the same, none failed."""
    limit = {"kind": "bucket", "count": 20, "seconds": 0.2}
    server = serve(latency_s=0.05, limits=[limit], most_in_flight=15, retry_after_s=0.3)
    run = started(server, 300, concurrency=40)
    assert run.results(timeout_s=TIMEOUT_S) == answers(300)
    ledger = server.ledger()
    assert ledger.count(429, 503) > 0
    assert ledger.count(200) == 300
    assert ledger.count(429, 503) < 300
    assert_same_books(run, ledger, 300)


def test_tokens_are_limited_over_all_workers(serve: Serve) -> None:
    server = serve(latency_s=0.02, answer_tokens=93)  # and the 7 words of a prompt
    run = started(server, 300, token_limit="10000/s", process_count_per_node=2)
    assert run.results(timeout_s=TIMEOUT_S) == answers(300)
    ledger = server.ledger()
    assert ledger.tokens == 30_000
    began = ledger.frame["arrived"].min()
    # Some start before the first has told what it costs, and a second's worth may be saved.
    assert ledger.arrivals_between(began, began + 1) <= 220
    assert ledger.arrivals_between(began + 1, began + 2) <= 110
    assert_same_books(run, ledger, 300)


def test_a_budget_ends_the_run_and_a_larger_one_resumes_it(serve: Serve) -> None:
    server = serve(latency_s=0.02)
    run = started(server, 300, usd=0.01, budget="1 USD")
    assert end_of(run) != "Completed"
    assert "budget" in str(run.snapshot()["reason"])
    first = server.ledger()
    assert 99 <= first.count(200) <= 101
    assert sum(row is not None for row in run.results(missing=None)) == first.count(200)
    resumed = run.resume(budget="20 USD")
    assert resumed.results(timeout_s=TIMEOUT_S) == answers(300)
    ledger = server.ledger()
    assert_same_books(run, ledger, 300)
    assert ledger.count(200) == 300


def test_many_texts_in_a_call_are_one_request(serve: Serve) -> None:
    server = serve(latency_s=0.02, faults={"text 20": ["500"]})
    port = server.port

    async def embed(texts: list[str]) -> list[list[float]]:
        client = Client(port)
        answer = await client.post("/v1/embeddings", {"input": texts})
        client.close()
        return [one["embedding"] for one in answer["data"]]

    texts = [f"text {number}" for number in range(100)]
    run = parallelrun.map_batches(embed, texts, mini_batch_size=20, retry_delay=0.05)
    vectors = run.results(timeout_s=TIMEOUT_S)
    assert vectors == [[float(text.count(vowel)) for vowel in "aeiou"] for text in texts]
    ledger = server.ledger()
    assert ledger.count() == 6
    assert sorted(map(len, ledger.frame["items"])) == [20] * 6


@pytest.mark.parametrize("client", ["own", "urllib"])
def test_a_call_that_hangs_costs_its_own_item_a_try(serve: Serve, client: str) -> None:
    server = serve(latency_s=0.02, faults={"7": ["hang"]})
    run = started(server, 40, client, run_invocation_timeout=2)
    assert run.results(timeout_s=TIMEOUT_S) == answers(40)
    failed = [event for event in run.events(follow=False) if isinstance(event, AttemptFailed)]
    assert [(event.mini_batch, event.kind) for event in failed] == [(7, "timeout")]
    ledger = server.ledger()
    assert ledger.requests()["7"] == 2
    assert ledger.billed_again() == 0


def test_two_thousand_calls_are_in_flight_in_a_small_worker(serve: Serve) -> None:
    server = serve(latency_s=3.0)
    port = server.port

    class Measured:
        def __init__(self) -> None:
            self.client = Client(port)

        async def __call__(self, item: int) -> int:
            await self.client.post("/v1/call", {"id": item, "prompt": prompt_of(item)})
            return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss

    run = parallelrun.map(Measured, range(2_000), concurrency=2_000)
    kilobytes = run.results(timeout_s=TIMEOUT_S)
    assert server.state()["most_in_flight"] > 1_900
    assert max(kilobytes) < 200_000
    assert server.ledger().count(200) == 2_000


class Storm:
    """Kills the worker or the driver of a run at random moments, and resumes it."""

    def __init__(self, run: Run, seed: int) -> None:
        self.run = run
        self.kills: Counter[str] = Counter()
        self._rng = random.Random(seed)

    def rage(self, most: int) -> None:
        """Kill until the run has completed, or so often."""
        while self.kills.total() < most and not self.run.snapshot()["is_final"]:
            time.sleep(self._rng.uniform(0.1, 0.6))
            self._strike(self._rng.choice(["worker", "driver"]))

    def _strike(self, kind: str) -> None:
        try:
            driver = psutil.Process(driver_pid(self.run))
            workers = [p for p in driver.children(recursive=True) if "worker" in str(p.cmdline())]
            victim = driver if kind == "driver" else self._rng.choice(workers)
            victim.kill()
        except (psutil.NoSuchProcess, FileNotFoundError, IndexError):
            return  # the run has ended, or its next worker has not started
        self.kills[kind] += 1
        if kind == "driver" and end_of(self.run) != "Completed":
            self.run.resume()


@pytest.mark.parametrize("seed", range(SEEDS))
def test_after_a_storm_of_kills_each_item_is_answered_and_billed_once(
    serve: Serve, seed: int
) -> None:
    server = serve(latency_s=0.1, sigma=0.4)
    run = started(server, 400, concurrency=25, rate_limit="150/s")
    storm = Storm(run, seed)
    storm.rage(6)
    assert run.results(timeout_s=TIMEOUT_S) == answers(400)
    assert storm.kills.total() >= 2
    ledger = server.ledger()
    assert not ledger.missing(range(400))
    assert ledger.billed_again() == 0
    keys = ledger.frame.assign(item=ledger.frame["items"].str[0]).groupby("item")["key"]
    assert keys.nunique().max() == 1
    assert ledger.frame["key"].nunique() == 400
    # Asked again was no more than what was in flight when something was killed.
    asked_again = ledger.count() - 400
    assert asked_again <= storm.kills.total() * 25
    assert ledger.count() - attempts_of(run).total() <= storm.kills.total() * 25
    assert_books(run)


def test_a_resumed_run_keeps_to_the_pause_that_the_server_asked_for(serve: Serve) -> None:
    server = serve(latency_s=0.1, faults={"30": ["429:8"]})
    run = started(server, 100, concurrency=10)
    while not any(isinstance(e, CallsHeld) and e.until_ms for e in run.events(follow=False)):
        time.sleep(0.05)
    psutil.Process(driver_pid(run)).kill()
    assert end_of(run) != "Completed"
    run.resume()
    assert run.results(timeout_s=TIMEOUT_S) == answers(100)
    ledger = server.ledger()
    [refusal] = ledger.frame.loc[ledger.frame["status"] == 429].to_dict("records")
    began = refusal["at"]
    assert ledger.arrivals_between(began + KNOWN_AFTER_S, began + 7.9) == 0


def test_parts_of_a_mini_batch_keep_to_the_rate(serve: Serve) -> None:
    server = serve(latency_s=0.02)
    port = server.port

    async def embed(texts: list[str]) -> list[str]:
        client = Client(port)
        await client.post("/v1/embeddings", {"input": texts})
        client.close()
        if "text 7" in texts:
            raise ValueError("seven")
        return texts

    texts = [f"text {number}" for number in range(40)]
    run = parallelrun.map_batches(
        embed, texts, mini_batch_size=20, rate_limit="10/s", run_max_try=1, error_threshold=-1
    )
    assert run.results(missing=None, timeout_s=TIMEOUT_S) == [
        None if number == 7 else text for number, text in enumerate(texts)
    ]
    ledger = server.ledger()
    assert ledger.count() > 5
    assert ledger.most_in_window(1) <= 12
    journal = sum(attempts_of(run).values())
    assert journal == ledger.count()
