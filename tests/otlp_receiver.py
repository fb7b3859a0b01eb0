"""A receiver of OTLP over HTTP on loopback, in place of a collector."""

from __future__ import annotations

import threading
from collections import Counter
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

from opentelemetry.proto.collector.metrics.v1.metrics_service_pb2 import (
    ExportMetricsServiceRequest,
)
from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceRequest


def value_of(value: Any) -> Any:
    """Return the Python value of a protobuf's AnyValue."""
    return getattr(value, value.WhichOneof("value"))


def attributes_of(thing: Any) -> dict[str, Any]:
    """Return the attributes of a span, resource or data point."""
    return {pair.key: value_of(pair.value) for pair in thing.attributes}


class Receiver:
    """Keeps the spans, and the last value of each series of metrics.

    Parameters
    ----------
    hold_s
        Seconds before it answers.
    """

    def __init__(self, hold_s: float = 0.0) -> None:
        self.spans: list[Any] = []
        self.resources: list[dict[str, Any]] = []
        #: by instance, metric and outcome
        self.series: dict[tuple[str, str, str], Any] = {}
        self.requests: Counter[str] = Counter()
        self._stop = threading.Event()
        receiver = self

        class Handler(BaseHTTPRequestHandler):
            def do_POST(self) -> None:
                body = self.rfile.read(int(self.headers["Content-Length"]))
                receiver.requests[self.path] += 1
                receiver._stop.wait(hold_s)
                receiver._take(self.path, body)
                try:
                    self.send_response(200)
                    self.end_headers()
                except OSError:
                    pass  # the sender has given up

            def log_message(self, *_: Any) -> None:
                pass

        self._server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self._thread = threading.Thread(target=self._server.serve_forever, args=(0.05,))
        self._thread.start()

    @property
    def endpoint(self) -> str:
        """The value of ``OTEL_EXPORTER_OTLP_ENDPOINT``."""
        return f"http://127.0.0.1:{self._server.server_port}"

    def _take(self, path: str, body: bytes) -> None:
        if path == "/v1/traces":
            for part in ExportTraceServiceRequest.FromString(body).resource_spans:
                self.resources.append(attributes_of(part.resource))
                self.spans += [span for scope in part.scope_spans for span in scope.spans]
            return
        for part in ExportMetricsServiceRequest.FromString(body).resource_metrics:
            instance = attributes_of(part.resource)["service.instance.id"]
            for metric in (metric for scope in part.scope_metrics for metric in scope.metrics):
                for point in getattr(metric, metric.WhichOneof("data")).data_points:
                    outcome = attributes_of(point).get("outcome", "")
                    self.series[instance, metric.name, outcome] = point

    def total(self, metric: str, outcome: str) -> int:
        """Return the sum of a counter over all drivers."""
        return sum(
            point.as_int for key, point in self.series.items() if key[1:] == (metric, outcome)
        )

    def named(self, name: str) -> list[Any]:
        """Return the spans of a name."""
        return [span for span in self.spans if span.name == name]

    def close(self) -> None:
        """Stop it."""
        self._stop.set()
        self._server.shutdown()
        self._thread.join()
        self._server.server_close()
