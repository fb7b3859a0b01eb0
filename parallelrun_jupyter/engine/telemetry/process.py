"""A process that follows a journal and sends it as OpenTelemetry's traces and metrics.

``python -m parallelrun_jupyter.engine.telemetry.process FOLDER OFFSET DRIVER`` reads the journal of a run
from an offset on, what one driver writes. It ends when the run has, or its driver, and has sent the rest;
a receiver that does not answer holds up nothing else. The standard variables ``OTEL_EXPORTER_OTLP_*``
configure the exporters.
"""

from __future__ import annotations

import hashlib
import os
import signal
import sys
import time
from collections.abc import Iterable
from pathlib import Path
from typing import Any

from opentelemetry import trace
from opentelemetry.exporter.otlp.proto.http.metric_exporter import OTLPMetricExporter
from opentelemetry.exporter.otlp.proto.http.trace_exporter import OTLPSpanExporter
from opentelemetry.metrics import CallbackOptions, Observation
from opentelemetry.sdk.metrics import MeterProvider
from opentelemetry.sdk.metrics.export import PeriodicExportingMetricReader
from opentelemetry.sdk.resources import Resource
from opentelemetry.sdk.trace import TracerProvider
from opentelemetry.sdk.trace.export import BatchSpanProcessor
from opentelemetry.sdk.trace.id_generator import IdGenerator

from ...config.telemetry import spans_of
from ...runs.journal.files import JournalReader
from ...runs.run_folder import RunFolder
from ...runs.run_record import RunRecord
from ...version import __version__
from .fold import SpanData, TelemetryFold

_POLL_S = 0.5
_END_LIMIT_S = 30
_FLUSHED_SPANS = 500
"""Spans between two flushes: the SDK's queue drops spans above 2,048."""

_DRAINED_DURATIONS = 10_000

_SCOPE = "parallelrun_jupyter"
_BOUNDARIES_S = (0.01, 0.03, 0.1, 0.3, 1.0, 3.0, 10.0, 30.0, 100.0, 300.0, 1000.0, 3600.0)


class _Ids(IdGenerator):
    """Gives the spans the ids that were chosen for them."""

    def __init__(self, trace_id: int) -> None:
        self._trace_id = trace_id
        self.next_span = 0

    def generate_trace_id(self) -> int:
        """Return the id of the run's trace."""
        return self._trace_id

    def generate_span_id(self) -> int:
        """Return the id chosen for the next span."""
        return self.next_span


def trace_id_of(run_id: str) -> int:
    """Return the id of the trace of a run, the same for all of its drivers."""
    return _number(run_id, 16)


def span_id_of(run_id: str, *parts: object) -> int:
    """Return the id of a span of a run; without parts that of its first driver, the root."""
    return _number("/".join(map(str, (run_id, "span", *parts))), 8)


def _number(text: str, size_bytes: int) -> int:
    digest = hashlib.sha256(text.encode("utf-8", "backslashreplace")).digest()
    return int.from_bytes(digest[:size_bytes], "big") or 1


class Sender:
    """Sends spans and counts.

    Parameters
    ----------
    record
        The run.
    fold
        The fold whose spans and counts are sent.
    driver
        The offset in the journal at which the driver began; 0 for the first one.
    """

    def __init__(self, record: RunRecord, fold: TelemetryFold, driver: int) -> None:
        self._record = record
        self._fold = fold
        self._driver = driver
        self._unflushed = 0
        run_id = record.run_id
        self._ids = _Ids(trace_id_of(run_id))
        resource = Resource.create(
            {
                "service.name": os.environ.get("OTEL_SERVICE_NAME") or "parallelrun",
                "service.instance.id": f"{run_id}/{driver}",
                "parallelrun.run.id": run_id,
                "parallelrun.run.name": record.name,
            }
        )
        self._spans = TracerProvider(resource=resource, id_generator=self._ids)
        self._spans.add_span_processor(BatchSpanProcessor(OTLPSpanExporter()))
        self._tracer = self._spans.get_tracer(_SCOPE, __version__)
        reader = PeriodicExportingMetricReader(OTLPMetricExporter())
        self._metrics = MeterProvider([reader], resource)
        meter = self._metrics.get_meter(_SCOPE, __version__)
        self._items = meter.create_counter("parallelrun.items", "{item}", "Items by outcome")
        self._attempts = meter.create_counter(
            "parallelrun.attempts", "{attempt}", "Attempts by outcome"
        )
        self._durations = meter.create_histogram(
            "parallelrun.attempt.duration", "s", "Durations of calls of run()",
            explicit_bucket_boundaries_advisory=_BOUNDARIES_S,
        )  # fmt: skip
        meter.create_observable_gauge(
            "parallelrun.workers", [self._workers], "{worker}", "Worker processes"
        )

    def _workers(self, _: CallbackOptions) -> Iterable[Observation]:
        return [Observation(len(self._fold.workers))]

    def send_spans(self, spans: Iterable[SpanData]) -> None:
        """Send spans, in batches."""
        for span in spans:
            self._send(span)
            self._unflushed += 1
            if self._unflushed >= _FLUSHED_SPANS:
                self._spans.force_flush()
                self._unflushed = 0

    def send_counts(self) -> None:
        """Add the counts of the fold to the metrics, and clear them."""
        fold = self._fold
        for counter, counts in ((self._items, fold.items), (self._attempts, fold.attempts)):
            for outcome, count in counts.items():
                if count:
                    counter.add(count, {"outcome": outcome})
            counts.clear()
        for outcome, seconds in fold.durations_s:
            self._durations.record(seconds, {"outcome": outcome})
        fold.durations_s.clear()

    def close(self) -> None:
        """Send the rest, in bounded time."""
        signal.alarm(_END_LIMIT_S)
        self._spans.shutdown()
        self._metrics.shutdown()

    def _send(self, span: SpanData) -> None:
        run_id, is_run = self._record.run_id, span.name == "run"
        root = span_id_of(run_id)
        own = root if self._driver == 0 else span_id_of(run_id, self._driver)
        if is_run:
            self._ids.next_span, parent = own, root if self._driver else 0
        else:
            key = (self._driver, span.mini_batch)
            self._ids.next_span = span_id_of(
                run_id, *key, *((span.attempt, span.end_ms) if span.attempt else ())
            )
            parent = span_id_of(run_id, *key) if span.in_mini_batch else own
        attributes: dict[str, Any] = dict(span.attributes)
        if is_run:
            attributes |= {
                "parallelrun.run.id": run_id,
                "parallelrun.run.name": self._record.name,
                "parallelrun.run.resumed": bool(self._driver),
            }
        made = self._tracer.start_span(
            span.name,
            self._context(parent),
            attributes=attributes,
            start_time=self._time_ns(span.start_ms),
        )
        if span.error:
            made.set_status(trace.Status(trace.StatusCode.ERROR, span.error))
        made.end(self._time_ns(max(span.start_ms, span.end_ms)))

    def _context(self, parent: int) -> Any:
        if not parent:
            return trace.set_span_in_context(trace.INVALID_SPAN)
        flags = trace.TraceFlags(trace.TraceFlags.SAMPLED)
        context = trace.SpanContext(
            self._ids.generate_trace_id(), parent, is_remote=False, trace_flags=flags
        )
        return trace.set_span_in_context(trace.NonRecordingSpan(context))

    def _time_ns(self, at_ms: float) -> int:
        return int(self._record.created_at * 1e9 + at_ms * 1e6)


def follow(folder: RunFolder, offset: int, driver_pid: int) -> None:
    """Send what a driver writes until the run has ended, or the driver."""
    fold = TelemetryFold(spans_of(os.environ))
    sender = Sender(folder.read_record(), fold, offset)
    reader = JournalReader(folder.journal, offset)
    while True:
        has_driver = os.getppid() == driver_pid  # before the read: what it wrote is then read
        for event in reader.read():
            sender.send_spans(fold.apply(event))
            if len(fold.durations_s) >= _DRAINED_DURATIONS:
                sender.send_counts()
            if fold.is_over:
                break
        sender.send_counts()
        if fold.is_over or not has_driver:
            break
        time.sleep(_POLL_S)
    if fold.has_started:
        sender.send_spans(fold.finish())
        sender.send_counts()
    sender.close()


def main() -> None:
    """Follow the run of the command line."""
    os.nice(10)  # the workers come first
    folder, offset, driver_pid = sys.argv[1:4]
    follow(RunFolder(Path(folder)), int(offset), int(driver_pid))


if __name__ == "__main__":
    main()
