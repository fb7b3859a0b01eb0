"""Traces and metrics, received by a real OTLP receiver: they equal the journal's counts."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from collections import Counter
from collections.abc import Callable, Iterator
from pathlib import Path

import psutil
import pytest

from parallelrun_jupyter import Run
from parallelrun_jupyter.engine.telemetry.process import span_id_of, trace_id_of
from parallelrun_jupyter.errors import ConfigError, MissingExtraError
from parallelrun_jupyter.runs.driver_lock import wait_for_release
from parallelrun_jupyter.runs.journal.events import (
    AttemptFailed,
    AttemptSucceeded,
    ItemsFailed,
    ItemsSucceeded,
    WorkerStarted,
)
from tests.otlp_receiver import Receiver, attributes_of
from tests.real.conftest import end_of

_LIMIT_S = 60

FAILS_ONCE = """
import os, pathlib, time
def run(mini_batch):
    time.sleep({seconds})
    number = int(pathlib.Path(mini_batch[0]).stem)
    seen = pathlib.Path({folder!r}, str(number))
    if number % 10 == 0 and not seen.exists():
        seen.touch()
        raise KeyError(number)
    if number == 33:
        raise ValueError("never")
    return [number]
"""


@pytest.fixture
def receiver(monkeypatch: pytest.MonkeyPatch) -> Iterator[Receiver]:
    one = Receiver()
    monkeypatch.setenv("PARALLELRUN_TELEMETRY", "otlp")
    monkeypatch.setenv("OTEL_EXPORTER_OTLP_ENDPOINT", one.endpoint)
    yield one
    one.close()


def script(folder: Path, seconds: float = 0.0) -> str:
    (folder / "seen").mkdir()
    path = folder / "fails_once.py"
    path.write_text(FAILS_ONCE.format(folder=str(folder / "seen"), seconds=seconds))
    return str(path)


def wait_for_spans(receiver: Receiver, name: str, count: int) -> None:
    deadline = time.monotonic() + _LIMIT_S
    while len(receiver.named(name)) < count or ("parallelrun.items", "succeeded") not in {
        key[1:] for key in receiver.series
    }:
        assert time.monotonic() < deadline, [span.name for span in receiver.spans]
        time.sleep(0.05)
    time.sleep(0.5)  # the metrics follow the spans


def attempts_of(run: Run) -> list[AttemptSucceeded | AttemptFailed]:
    kinds = AttemptSucceeded | AttemptFailed
    return [event for event in run.events(follow=False) if isinstance(event, kinds)]


def test_the_spans_and_counts_are_those_of_the_journal(
    start: Callable[..., Run], receiver: Receiver, tmp_path: Path
) -> None:
    run = start(script(tmp_path), error_threshold=1, run_max_try=2, retry_delay=0)
    assert end_of(run) == "Completed"
    wait_for_spans(receiver, "run", 1)
    [root] = receiver.named("run")
    assert int.from_bytes(root.trace_id, "big") == trace_id_of(run.run_id)
    assert not root.parent_span_id
    record, snapshot = run.folder.read_record(), run.snapshot()
    assert attributes_of(root)["parallelrun.run.state"] == "Completed"
    assert root.end_time_unix_nano / 1e9 == pytest.approx(
        record.created_at + snapshot["elapsed_s"], abs=0.01
    )
    started = [event for event in run.events(follow=False) if isinstance(event, WorkerStarted)]
    nodes = {event.worker: event.node for event in started}
    expected = Counter(
        (
            event.mini_batch,
            event.attempt,
            event.worker,
            nodes[event.worker],
            event.items,
            getattr(event, "error", ""),
        )
        for event in attempts_of(run)
    )
    names = ("mini_batch", "attempt", "worker", "node", "items")
    sent: Counter[tuple[object, ...]] = Counter()
    for span in receiver.named("attempt"):
        of = attributes_of(span)
        shown = (*(of[f"parallelrun.{name}"] for name in names), of.get("error.type", ""))
        sent[shown] += 1
        assert span.trace_id == root.trace_id
    assert sent == expected
    # each span's duration is that in the journal, to the microsecond
    durations = sorted(event.duration_us for event in attempts_of(run))
    spans = receiver.named("attempt")
    assert sorted(
        round((s.end_time_unix_nano - s.start_time_unix_nano) / 1000) for s in spans
    ) == pytest.approx(durations, abs=1)
    # attempts of a mini-batch with several of them are in a span of their own
    retried = {event.mini_batch for event in attempts_of(run) if event.attempt > 1}
    assert len(retried) == 7
    parents = {span.span_id: span for span in receiver.named("mini-batch")}
    assert {attributes_of(s)["parallelrun.mini_batch"] for s in parents.values()} == retried
    for span in spans:
        mini_batch = attributes_of(span)["parallelrun.mini_batch"]
        if mini_batch in retried:
            parent = parents[span.parent_span_id]
            assert attributes_of(parent)["parallelrun.mini_batch"] == mini_batch
            assert attributes_of(parent)["parallelrun.attempts"] == 2
            assert parent.parent_span_id == root.span_id
        else:
            assert span.parent_span_id == root.span_id
    assert receiver.total("parallelrun.items", "succeeded") == 59
    assert receiver.total("parallelrun.items", "failed") == snapshot["items_failed"] == 1
    failed = sum(isinstance(event, AttemptFailed) for event in attempts_of(run))
    assert receiver.total("parallelrun.attempts", "succeeded") == 59
    assert receiver.total("parallelrun.attempts", "failed") == failed == 8
    [histogram] = [
        point
        for key, point in receiver.series.items()
        if key[1:] == ("parallelrun.attempt.duration", "succeeded")
    ]
    assert histogram.count == 59
    total_s = sum(e.duration_us for e in attempts_of(run) if isinstance(e, AttemptSucceeded)) / 1e6
    assert histogram.sum == pytest.approx(total_s)
    assert receiver.resources[0]["service.name"] == "parallelrun"
    assert receiver.resources[0]["parallelrun.run.id"] == run.run_id


def test_items_that_fail_one_by_one_are_counted(
    start: Callable[..., Run], receiver: Receiver, tmp_path: Path
) -> None:
    path = tmp_path / "odd.py"
    path.write_text(
        "import pathlib\n"
        "def run(mini_batch):\n"
        "    numbers = [int(pathlib.Path(p).stem) for p in mini_batch]\n"
        "    return [ValueError(n) if n % 7 == 3 else 1 / (n != 8) for n in numbers]\n"
    )
    run = start(str(path), mini_batch_size=10, error_threshold=-1, run_max_try=2, retry_delay=0)
    assert end_of(run) == "Completed"
    wait_for_spans(receiver, "run", 1)
    failed = sum(number % 7 == 3 or number == 8 for number in range(60))
    assert run.snapshot()["items_failed"] == failed
    assert receiver.total("parallelrun.items", "failed") == failed
    assert receiver.total("parallelrun.items", "succeeded") == 60 - failed
    # each attempt of the journal is one span: an attempt is a mini-batch, a number and a worker
    kinds = AttemptSucceeded | AttemptFailed | ItemsSucceeded | ItemsFailed
    tried = {
        (e.mini_batch, e.attempt, e.worker)
        for e in run.events(follow=False)
        if isinstance(e, kinds) and e.worker
    }
    spans = [attributes_of(span) for span in receiver.named("attempt")]
    names = ("mini_batch", "attempt", "worker")
    assert {tuple(of[f"parallelrun.{name}"] for name in names) for of in spans} == tried


def test_a_resume_after_a_kill_continues_the_trace(
    start: Callable[..., Run], receiver: Receiver, tmp_path: Path
) -> None:
    run = start(script(tmp_path, 0.05), error_threshold=1, run_max_try=2, retry_delay=0)
    while run.snapshot()["succeeded"] < 15:
        time.sleep(0.01)
    pid = int(json.loads(run.folder.driver.read_text())["pid"])
    process = psutil.Process(pid)
    os.kill(pid, signal.SIGKILL)
    psutil.wait_procs([process], timeout=10)
    wait_for_release(run.folder, 10)
    run.resume()
    assert end_of(run) == "Completed"
    wait_for_spans(receiver, "run", 2)
    first, second = sorted(receiver.named("run"), key=lambda span: span.start_time_unix_nano)
    assert first.trace_id == second.trace_id
    assert int.from_bytes(first.span_id, "big") == span_id_of(run.run_id)
    assert second.parent_span_id == first.span_id
    assert attributes_of(first)["parallelrun.run.state"] == "Interrupted"
    assert attributes_of(second)["parallelrun.run.state"] == "Completed"
    assert {span.trace_id for span in receiver.spans} == {first.trace_id}
    of_spans = Counter(
        (attributes_of(s)["parallelrun.mini_batch"], attributes_of(s)["parallelrun.attempt"])
        for s in receiver.named("attempt")
    )
    assert of_spans == Counter((e.mini_batch, e.attempt) for e in attempts_of(run))
    assert receiver.total("parallelrun.items", "succeeded") == 59
    assert receiver.total("parallelrun.items", "failed") == 1
    assert len({span.span_id for span in receiver.spans}) == len(receiver.spans)


def test_spans_have_a_limit_and_counts_do_not(
    start: Callable[..., Run], receiver: Receiver, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("PARALLELRUN_TELEMETRY_SPANS", "5")
    run = start(script(tmp_path), error_threshold=1, run_max_try=2, retry_delay=0)
    assert end_of(run) == "Completed"
    wait_for_spans(receiver, "run", 1)
    outcomes = Counter(attributes_of(s)["parallelrun.outcome"] for s in receiver.named("attempt"))
    assert outcomes == {"succeeded": 5, "failed": 5}
    [root] = receiver.named("run")
    left_out = len(attempts_of(run)) + 7 - 10 - len(receiver.named("mini-batch"))
    assert attributes_of(root)["parallelrun.spans_left_out"] == pytest.approx(left_out, abs=3)
    assert receiver.total("parallelrun.attempts", "succeeded") == 59


def test_a_receiver_that_does_not_answer_delays_nothing(
    start: Callable[..., Run], monkeypatch: pytest.MonkeyPatch
) -> None:
    dead = Receiver(hold_s=60)
    monkeypatch.setenv("PARALLELRUN_TELEMETRY", "otlp")
    monkeypatch.setenv("OTEL_EXPORTER_OTLP_ENDPOINT", dead.endpoint)
    monkeypatch.setenv("OTEL_EXPORTER_OTLP_TIMEOUT", "3")
    try:
        for _ in range(2):
            began = time.monotonic()
            run = start("echo.py")
            assert end_of(run) == "Completed"
            wait_for_release(run.folder, 10)
            assert time.monotonic() - began < 15
        deadline = time.monotonic() + _LIMIT_S
        while not dead.requests:
            assert time.monotonic() < deadline
            time.sleep(0.05)
    finally:
        dead.close()


def test_nothing_is_imported_when_it_is_off_nor_by_the_driver_when_it_is_on() -> None:
    program = (
        "import sys, parallelrun_jupyter.client.driving as d; d.import_driver();"
        "import parallelrun_jupyter.client.submit; import parallelrun_jupyter.engine.driver;"
        "print([m for m in sys.modules if 'opentelemetry' in m or 'engine.telemetry' in m"
        " or 'engine.notice' in m])"
    )
    for value in ("", "otlp"):
        environ = {**os.environ, "PARALLELRUN_TELEMETRY": value}
        done = subprocess.run(
            [sys.executable, "-c", program], env=environ, capture_output=True, text=True, check=True
        )
        assert done.stdout.strip() == "[]"


def test_a_wrong_value_or_a_missing_package_is_refused(
    start: Callable[..., Run], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("PARALLELRUN_TELEMETRY", "jaeger")
    with pytest.raises(ConfigError) as wrong:
        start("echo.py")
    assert str(wrong.value) == (
        "PARALLELRUN_TELEMETRY is 'jaeger'; expected 'otlp', or no such variable to switch it off."
    )
    monkeypatch.setenv("PARALLELRUN_TELEMETRY", "otlp")
    monkeypatch.setenv("PARALLELRUN_TELEMETRY_SPANS", "many")
    with pytest.raises(ConfigError) as spans:
        start("echo.py")
    assert str(spans.value) == (
        "PARALLELRUN_TELEMETRY_SPANS is 'many'; expected a whole number from 0."
    )
    monkeypatch.delenv("PARALLELRUN_TELEMETRY_SPANS")
    monkeypatch.setattr("importlib.util.find_spec", lambda _: None)
    with pytest.raises(MissingExtraError, match=r"pip install 'parallelrun-jupyter\[telemetry\]'"):
        start("echo.py")
    assert Run.list() == []
