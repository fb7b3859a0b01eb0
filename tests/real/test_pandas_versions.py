"""Every pandas from 1.0 to 3 reads the same tables as pandas here, under each interpreter."""

from __future__ import annotations

import json
import os
import re
import subprocess
from functools import cache
from pathlib import Path
from typing import Any

import pytest

import parallelrun_jupyter
from tests import pandas_environments, table_reader
from tests.pandas_environments import WANTED, PandasEnvironment, build, environments, interpreter
from tests.table_cases import CASES, CUTS, Case

WORKER = Path(parallelrun_jupyter.__file__).with_name("worker")


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> dict[str, tuple[list[Any], dict[str, Any]]]:
    """Return the plan lines of every case and cut, made here, and the whole table of pandas here."""
    plans = {}
    for one in CASES:
        dataset, frame = one.make(tmp_path_factory.mktemp(one.name))
        expected = table_reader.described(frame)
        for name, cut in CUTS.items():
            lines = [json.loads(line) for line, _ in dataset.mini_batches(0, cut) if line]
            plans[f"{one.name}: {name}"] = (lines, expected)
    return plans


@cache
def failures() -> dict[PandasEnvironment, str]:
    return build(environments())


@pytest.mark.parametrize("environment", environments(), ids=str)
def test_it_reads_what_pandas_reads_here(
    environment: PandasEnvironment, made: dict[str, tuple[list[Any], dict[str, Any]]]
) -> None:
    why = failures().get(environment)
    if why and "CI" not in os.environ:
        pytest.skip(f"{environment} could not be built: {why}")
    assert not why, f"{environment} could not be built"
    request = {
        "worker": str(WORKER), "plans": {name: lines for name, (lines, _) in made.items()}
    }  # fmt: skip
    done = subprocess.run(
        [str(environment.executable), table_reader.__file__],
        input=json.dumps(request), capture_output=True, text=True, timeout=120,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    answer = json.loads(done.stdout)
    assert answer["pandas"] == environment.release.pandas
    wrong = [
        f"{one.name}: {cut}: {difference}"
        for one in CASES
        for cut in CUTS
        for name in [f"{one.name}: {cut}"]
        if (difference := _difference(one, answer, answer["cases"][name], *made[name]))
    ]
    assert not wrong, "\n".join(wrong)


def _difference(
    one: Case,
    versions: dict[str, str],
    answers: list[dict[str, Any]],
    lines: list[Any],
    expected: dict[str, Any],
) -> str:
    """Return the faults of the mini-batches of a case, compared with the whole table of pandas here."""
    crashed = [answer["crashed"] for answer in answers if "crashed" in answer]
    said = [text for answer in answers for text in answer["warnings"]]
    if crashed or said:
        return f"crashed with {crashed[:1]}" if crashed else f"warns {said[0]}"
    refused = [answer["refused"] for answer in answers if "refused" in answer]
    if refused:
        is_new = (
            int(versions["pandas"].split(".")[0]) >= one.pandas
            and int(versions["pyarrow"].split(".")[0]) >= one.pyarrow
        )
        names = lines[0][2][0] in refused[0] and one.refusal and one.refusal in refused[0]
        return "" if names and not is_new else f"refused with {refused[0]}"
    for answer, line in zip(answers, lines, strict=True):
        if answer["index"] != [0, line[7] - 1]:
            return f"the index is {answer['index']} of {line[7]} rows"
        for what in ("columns", "types"):
            if answer[what] != expected[what]:
                return f"the {what} are {answer[what]}, not {expected[what]}"
    rows = [row for answer in answers for row in answer["rows"]]
    differing = [pair for pair in zip(rows, expected["rows"], strict=True) if pair[0] != pair[1]]
    return f"{differing[0][0]} is not {differing[0][1]}" if differing else ""


def test_the_versions_that_are_wanted_are_there_where_their_interpreters_are() -> None:
    tested = {one.release.pandas for one in environments()}
    if interpreter((3, 7)) and interpreter((3, 10)) and interpreter((3, 13)):
        assert all(any(re.match(rf"{want}\b", one) for one in tested) for want in WANTED)
    assert tested, "the current interpreter has some"


def test_where_one_interpreter_is_all_it_has_every_version_that_fits(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(
        pandas_environments, "interpreter", lambda version: "python" if version == (3, 11) else ""
    )
    alone = pandas_environments.environments.__wrapped__()
    assert [one.release.pandas for one in alone] == ["1.5.3", "2.0.3", "2.2.3", "3.1.1"]
