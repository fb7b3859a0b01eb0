"""A receiver of OTLP over HTTP on loopback, in place of a collector."""

from __future__ import annotations

from collections import Counter
from typing import Any

from opentelemetry.proto.collector.metrics.v1.metrics_service_pb2 import (
    ExportMetricsServiceRequest,
)
from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceRequest

from tests.post_server import PostServer


def value_of(value: Any) -> Any:
    """Return the Python value of a protobuf's AnyValue."""
    return getattr(value, value.WhichOneof("value"))


def attributes_of(thing: Any) -> dict[str, Any]:
    """Return the attributes of a span, resource or data point."""
    return {pair.key: value_of(pair.value) for pair in thing.attributes}


class Receiver(PostServer):
    """Keeps the spans, and the last value of each series of metrics."""

    def __init__(self, hold_s: float = 0.0) -> None:
        self.spans: list[Any] = []
        self.resources: list[dict[str, Any]] = []
        #: by instance, metric and outcome
        self.series: dict[tuple[str, str, str], Any] = {}
        self.requests: Counter[str] = Counter()
        super().__init__(hold_s=hold_s)

    @property
    def endpoint(self) -> str:
        """The value of ``OTEL_EXPORTER_OTLP_ENDPOINT``."""
        return self.origin

    def take(self, path: str, body: bytes) -> None:
        """Count a request, and keep its spans or metrics."""
        self.requests[path] += 1
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
