"""The page "Jobs of Azure ML v2": its files are written, and its commands and cells run, in its order."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import pytest

from parallelrun_jupyter.commands.cli import main

PAGE = Path(__file__).parents[2] / "docs" / "azureml-v2.md"
BLOCK = re.compile(r"^```(\w+)(?: file=(\S+))?\n(.*?)^```$", re.MULTILINE | re.DOTALL)
TEXTS = {"a.txt": "one", "b.txt": "three", "c.txt": "eleven"}
LENGTHS = sorted(f"{name},{len(text)}" for name, text in TEXTS.items())
LONG = sorted(f"{name},{len(text) > 4}" for name, text in TEXTS.items())


def test_every_example_of_the_page_runs(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "texts").mkdir()
    for name, text in TEXTS.items():
        (tmp_path / "texts" / name).write_text(text)
    names: dict[str, Any] = {}
    count = {"files": 0, "commands": 0, "cells": 0}
    for language, file, text in BLOCK.findall(PAGE.read_text()):
        if file:
            (tmp_path / file).parent.mkdir(exist_ok=True)
            (tmp_path / file).write_text(text)
            count["files"] += 1
        elif language == "console":
            for line in text.splitlines():
                words = line.split()
                assert words[:2] == ["$", "parallelrun"]
                assert main(words[2:]) == 0, line
                count["commands"] += 1
        elif "MLClient(" not in text:  # the line of Azure's client, and the one in its place
            exec(text, names)
            count["cells"] += 1
    assert count == {"files": 6, "commands": 4, "cells": 4}
    out = capsys.readouterr().out
    assert (
        out.count(f"output lengths: {tmp_path / 'lengths.csv'}") == 3
    )  # the terminal's two, and stream
    assert "note: compute cpu-cluster is a compute of Azure; its steps run on this machine." in out
    assert sorted((tmp_path / "lengths.csv").read_text().split()) == names["lengths"] == LENGTHS
    assert sorted((tmp_path / "scores" / "long.csv").read_text().split()) == names["long"] == LONG
    assert names["by_endpoint"] == LONG
    assert names["ml_client"].jobs.get(names["job"].name).status == "Completed"
