"""Pipelines: a detached driver runs their steps one after another through the public API."""
