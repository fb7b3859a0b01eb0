"""OpenTelemetry: the events of a run as spans and metrics, sent by a process of its own."""
