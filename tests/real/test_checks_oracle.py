"""``check`` beside azure-ai-ml: both accept the valid project, and refuse the same names."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path

import pytest

from parallelrun_jupyter.azureml_v2 import check
from tests.azure_ai_ml import AzureAiMl, python_with_azure_ai_ml
from tests.check_cases import MISTAKES, PIPELINE, write_project


@pytest.fixture(scope="module")
def azure() -> Iterator[AzureAiMl]:
    python, reason = python_with_azure_ai_ml()
    if not python:
        if "CI" in os.environ:
            pytest.fail(reason)
        pytest.skip(reason)
    with closing(AzureAiMl(python)) as process:
        yield process


def refused(azure: AzureAiMl, path: Path) -> str:
    """Return the error of azure-ai-ml; empty for a file that it accepts."""
    return str(azure.read(path).get("error", ""))


def test_azure_accepts_the_valid_project(tmp_path: Path, azure: AzureAiMl) -> None:
    write_project(tmp_path)
    assert not refused(azure, tmp_path / "pipeline.yml")
    assert check(tmp_path / "pipeline.yml") == ()


def test_most_mistakes_pass_azures_client(tmp_path: Path, azure: AzureAiMl) -> None:
    write_project(tmp_path)
    edits = [item for item in MISTAKES.values() if item.edited == "pipeline.yml"]
    passed = 0
    for number, mistake in enumerate(edits):
        path = tmp_path / f"{number}.yml"
        path.write_text(PIPELINE.replace(mistake.old, mistake.new, 1))
        passed += not refused(azure, path)
    assert 30 <= passed < len(edits)


PLACES = {
    "step": ("  report:\n", "  {}:\n"),
    "input": ("  tries: 2\n", "  tries: 2\n  {}: 2\n"),
    "output": ("page: {type: uri_folder}", "page: {{type: uri_folder}}, {}: {{type: uri_folder}}"),
    "input of a step": ("      rows: ${{parent.jobs.images", "      {}: x\n      rows: ${{{{parent.jobs.images"),
}  # fmt: skip


@pytest.mark.parametrize("place", list(PLACES))
@pytest.mark.parametrize("name", ["plain", "_a1", "Upper", "a-b", "1a", "two words", "a.b", "é"])
def test_names_that_azure_refuses_are_named(
    tmp_path: Path, azure: AzureAiMl, place: str, name: str
) -> None:
    write_project(tmp_path)
    old, new = PLACES[place]
    assert PIPELINE.count(old) == 1
    path = tmp_path / "pipeline.yml"
    path.write_text(PIPELINE.replace(old, new.format(name)))
    is_found = any("the name" in finding.message for finding in check(path))
    assert is_found or not refused(azure, path)
    if place in {"step", "input", "output"} and name != "é":
        assert is_found == bool(refused(azure, path))
