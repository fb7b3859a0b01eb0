"""The part of a pipeline's output from which JupyterLab finds it again."""

from __future__ import annotations

from typing import TypedDict

PIPELINE_MIME = "application/vnd.parallelrun.pipeline+json"


class PipelineOutput(TypedDict):
    """A pipeline, or the place of one of its steps; ``version`` changes with any state."""

    pipeline_id: str
    step: str
    version: str
    has_ended: bool
    may_cancel: bool
