"""Pipelines: a detached driver runs their steps one after the other, by the public API."""
