"""``load_job`` and ``load_component``, as azure-ai-ml has them, by our own reader."""

from __future__ import annotations

import os
from collections.abc import Iterable, Mapping
from typing import Any

from ..model.deployments import BatchEndpoint, Deployment
from ..model.jobs import Component, PipelineJob
from ..reader import deployments
from ..reader import jobs as reader


def load_job(
    source: str | os.PathLike[str], *, params_override: Iterable[Mapping[str, Any]] | None = None
) -> PipelineJob:
    """Read a pipeline job from a YAML file, without azure-ai-ml.

    Parameters
    ----------
    source
        Path of the file. Paths in it are relative to its folder.
    params_override
        Values to set first, by dotted name: ``[{"jobs.score.mini_batch_size": "5"}]``.

    Raises
    ------
    JobFileError
        The file has mistakes; the message has file, line and column of each.
    """
    return reader.load_job(source, _overrides(params_override))


def load_component(
    source: str | os.PathLike[str], *, params_override: Iterable[Mapping[str, Any]] | None = None
) -> Component:
    """Read a component from a YAML file, without azure-ai-ml.

    Parameters
    ----------
    source, params_override
        As for `load_job`.

    Raises
    ------
    JobFileError
        As for `load_job`.
    """
    return reader.load_component(source, _overrides(params_override))


def load_batch_deployment(
    source: str | os.PathLike[str], *, params_override: Iterable[Mapping[str, Any]] | None = None
) -> Deployment:
    """Read a batch deployment from a YAML file, without azure-ai-ml.

    Parameters
    ----------
    source, params_override
        As for `load_job`.

    Raises
    ------
    JobFileError
        As for `load_job`.
    """
    return deployments.load_deployment(source, _overrides(params_override))


def load_batch_endpoint(
    source: str | os.PathLike[str], *, params_override: Iterable[Mapping[str, Any]] | None = None
) -> BatchEndpoint:
    """Read a batch endpoint from a YAML file, without azure-ai-ml.

    Parameters
    ----------
    source, params_override
        As for `load_job`.

    Raises
    ------
    JobFileError
        As for `load_job`.
    """
    return deployments.load_endpoint(source, _overrides(params_override))


def _overrides(items: Iterable[Mapping[str, Any]] | None) -> dict[str, Any]:
    return {name: value for item in items or () for name, value in item.items()}
