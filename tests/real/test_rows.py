"""Rows written are rows read, through workers, driver and disk."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pandas as pd
import pytest

from parallelrun_jupyter import Run
from tests.conftest import SCRIPTS
from tests.entry_scripts.returns import TEXTS
from tests.real.conftest import end_of, rows_of
from tests.real.dask_processes import wait_until

EXPECTED = [TEXTS[number % len(TEXTS)] for number in range(60)]


def table_of(numbers: range) -> pd.DataFrame:
    gaps = [None if number % 3 else 2**60 + number for number in numbers]
    texts = pd.Series([TEXTS[number % len(TEXTS)] for number in numbers], dtype="str")
    ids = pd.array(gaps, dtype="Int64")
    frame: pd.DataFrame = pd.DataFrame({"text": texts, "id": ids, "x": 0.1})
    return frame


def test_text_with_line_ends_is_a_row_each_and_the_file_holds_its_bytes(
    start: Callable[..., Run], tmp_path: Path
) -> None:
    run = start("returns.py", arguments=["texts"], mini_batch_size=4, output=tmp_path / "out")
    assert end_of(run) == "Completed"
    assert rows_of(run) == EXPECTED
    output = Path(run.snapshot()["output"])
    assert output.read_bytes().decode() == "".join(f"{text}\n" for text in EXPECTED)
    assert [path.name for path in output.parent.iterdir()] == [output.name]
    output.write_bytes(b"another run's\n")
    with pytest.warns(UserWarning, match="is not as the run wrote it"):
        assert rows_of(run) == ["another run's"]


@pytest.mark.parametrize("form", ["csv", "jsonl", "parquet"])
def test_a_table_comes_back_as_it_was_also_before_the_end_and_after_a_resume(
    start: Callable[..., Run], tmp_path: Path, form: str
) -> None:
    settings = {"mini_batch_size": 4, "output_format": form, "run_max_try": 1}
    run = start("returns.py", arguments=["table", "bad"], output=tmp_path / "out", **settings)
    assert end_of(run) == "Failed"
    with pytest.warns(UserWarning, match="are the rows of"):
        part = run.to_pandas()
    assert set(part["text"]) <= set(TEXTS)
    assert part["id"].dtype == "Int64"
    script = tmp_path / "returns.py"
    script.write_text((SCRIPTS / "returns.py").read_text().replace('"bad" in sys.argv', "False"))
    run.resume(entry_script=script)
    assert end_of(run) == "Completed", run.snapshot()["reason"]
    pd.testing.assert_frame_equal(run.to_pandas(), table_of(range(60)))


def test_rows_are_kept_twice_only_as_long_as_a_resume_may_want_them(
    start: Callable[..., Run],
) -> None:
    settings = {"mini_batch_size": 4, "run_max_try": 1, "error_threshold": -1}
    run = start("returns.py", arguments=["texts", "bad"], **settings)
    assert end_of(run) == "Completed"
    sizes = [path.stat().st_size for path in run.folder.output.glob("part-*")]
    assert (
        sum(path.stat().st_size for path in run.folder.parts())
        == sum(sizes)
        > Path(run.snapshot()["output"]).stat().st_size
    )
    whole = start("returns.py", arguments=["texts"], mini_batch_size=4)
    assert end_of(whole) == "Completed"
    wait_until(lambda: not whole.folder.parts(), "the parts to go, behind the end")


@pytest.mark.parametrize("form", ["csv", "parquet"])
def test_types_that_clash_end_the_run_when_they_come_and_the_remedy_works(
    start: Callable[..., Run], tmp_path: Path, form: str
) -> None:
    script = (SCRIPTS / "returns.py").read_text()
    if form == "csv":  # there, types differ freely; columns do not
        script = script.replace('{"x":', '{"x%d" % (number_of(numbers)):') + (
            "\n\ndef number_of(numbers):\n    return numbers[0] % 7 == 5\n"
        )
    path = tmp_path / "clashes.py"
    path.write_text(script)
    run = start(str(path), arguments=["clash"], output_format=form)
    assert end_of(run) == "Failed"
    snapshot = run.snapshot()
    assert "returned for mini-batch" in snapshot["reason"]
    assert "(astype, reindex) and submit again" in snapshot["reason"]
    assert snapshot["succeeded"] < 30, "of 60 that take 0.3 s each"
    path.write_text(script.replace("number % 7 == 5", "False").replace("% 7 == 5", "< 0"))
    path.write_text(path.read_text().replace("time.sleep(0.3)", ""))
    again = start(str(path), arguments=["clash"], output_format=form)
    assert end_of(again) == "Completed"
    assert again.to_pandas().iloc[:, 0].tolist() == list(range(60))
