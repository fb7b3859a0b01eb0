"""Pipelines: a detached driver runs their steps, independent ones side by side, through the public API."""
