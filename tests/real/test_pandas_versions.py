"""Every pandas from 1.0 to 3 reads the same rows as pandas here, under each installed interpreter."""

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
    """Return the plan lines of every case and cut, and the expected rows, both made by pandas here."""
    plans = {}
    for case in CASES:
        dataset, frame = case.make(tmp_path_factory.mktemp(case.name))
        expected = table_reader.described(frame)
        for name, cut in CUTS.items():
            lines = [json.loads(line) for line, _ in dataset.mini_batches(0, cut) if line]
            plans[f"{case.name}: {name}"] = (lines, expected)
    return plans


@cache
def failures() -> dict[PandasEnvironment, str]:
    return build(environments())


@pytest.mark.parametrize("environment", environments(), ids=str)
def test_it_reads_the_same_rows_as_pandas_here(
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
        f"{name}: {difference}"
        for case in CASES
        for cut in CUTS
        for name in [f"{case.name}: {cut}"]
        if (difference := _difference(case, answer, answer["cases"][name], *made[name]))
    ]
    assert not wrong, "\n".join(wrong)


def _difference(
    case: Case,
    versions: dict[str, str],
    answers: list[dict[str, Any]],
    lines: list[Any],
    expected: dict[str, Any],
) -> str:
    """Return the first difference between the mini-batches of a case and the expected rows, or ""."""
    crashed = [answer["crashed"] for answer in answers if "crashed" in answer]
    warned = [text for answer in answers for text in answer["warnings"]]
    if crashed or warned:
        return f"crashed with {crashed[:1]}" if crashed else f"warns {warned[0]}"
    refused = [answer["refused"] for answer in answers if "refused" in answer]
    if refused:
        is_new = (
            int(versions["pandas"].split(".")[0]) >= case.pandas
            and int(versions["pyarrow"].split(".")[0]) >= case.pyarrow
        )
        names = lines[0][2][0] in refused[0] and case.refusal and case.refusal in refused[0]
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


def test_every_wanted_version_is_tested_if_an_interpreter_supports_it() -> None:
    tested = {environment.release.pandas for environment in environments()}
    if interpreter((3, 7)) and interpreter((3, 10)) and interpreter((3, 13)):
        assert all(any(re.match(rf"{want}\b", version) for version in tested) for want in WANTED)
    assert tested, "the current interpreter supports one"


def test_a_single_interpreter_gets_every_wanted_version_that_it_supports(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(
        pandas_environments, "interpreter", lambda version: "python" if version == (3, 11) else ""
    )
    alone = pandas_environments.environments.__wrapped__()
    assert [environment.release.pandas for environment in alone] == [
        "1.5.3",
        "2.0.3",
        "2.2.3",
        "3.1.1",
    ]
