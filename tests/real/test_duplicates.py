"""Duplicates of content run once, and the output is that of a run of everything."""

from __future__ import annotations

import json
import os
import signal
import time
from pathlib import Path
from typing import Any

import pandas as pd
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from parallelrun_jupyter import FileDataset, ParallelRunConfig, Run, TabularDataset, submit
from parallelrun_jupyter.client.launcher import warm_drivers
from parallelrun_jupyter.errors import ConfigError
from parallelrun_jupyter.runs.driver_lock import driver_is_alive
from parallelrun_jupyter.runs.journal.events import DuplicatesCopied
from parallelrun_jupyter.runs.journal.files import JournalReader
from parallelrun_jupyter.runs.output.earlier_rows import UPDATE_PART
from tests.conftest import SCRIPTS
from tests.real.conftest import end_of
from tests.real.dask_processes import wait_until

OLD_NS = 1_600_000_000_000_000_123
FORMS = [
    ("text", None),
    ("records", "jsonl"),
    ("table", None),
    ("table", "csv"),
    ("indexed", "csv"),
    ("table", "parquet"),
]


class Data:
    """A folder of files, and the runs over it; the script lists the files that it is called with."""

    def __init__(self, base: Path, kind: str = "text", form: str | None = None) -> None:
        self.folder = base / "in"
        self._calls = base / "calls"
        self.settings: dict[str, Any] = {"output_format": form, "mini_batch_size": 5}
        self.script = "by_content.py"
        self.arguments = [kind]
        self.folder.mkdir(parents=True)

    def write(self, name: str, text: str) -> None:
        path = self.folder / name
        path.write_text(text)
        os.utime(path, ns=(OLD_NS, OLD_NS))

    def start(self, **options: Any) -> Run:
        self._calls.write_text("")
        config = ParallelRunConfig(
            entry_script=str(SCRIPTS / self.script),
            process_count_per_node=2,
            environment_variables={"CALLS": str(self._calls)},
            **self.settings,
        )
        run: Run = submit(config, inputs=self.folder, arguments=self.arguments, **options)
        return run

    def run(self, **options: Any) -> Run:
        run = self.start(**options)
        assert end_of(run) == "Completed", run.snapshot()["reason"]
        return run

    def run_once(self, **options: Any) -> Run:
        return self.run(run_duplicates_once=True, **options)

    def called(self) -> list[str]:
        """Return the files that the script was called with since the last start, with repetitions."""
        lines = self._calls.read_text().splitlines()
        return sorted(os.path.relpath(path, self.folder) for path in lines)

    def firsts(self) -> list[str]:
        """Return the first file of each content."""
        names: dict[bytes, str] = {}
        for path in sorted(self.folder.iterdir()):
            names.setdefault(path.read_bytes(), path.name)
        return sorted(names.values())


@pytest.fixture
def data(tmp_path: Path, home: Path) -> Data:
    """Return sixty files with eight contents, one of them empty."""
    del home
    data = Data(tmp_path)
    for number in range(60):
        data.write(f"{number:02d}.txt", f"text {number * number % 11}" if number % 7 else "")
    return data


def output_of(run: Run) -> bytes:
    return Path(run.snapshot()["output"]).read_bytes()


def copied(run: Run) -> int:
    events = JournalReader(run.folder.journal).read()
    return sum(event.items for event in events if isinstance(event, DuplicatesCopied))


def assert_equal_to_a_run_of_everything(data: Data, run: Run) -> None:
    whole = data.run()
    assert output_of(run) == output_of(whole)
    pd.testing.assert_frame_equal(run.to_pandas(), whole.to_pandas())


@pytest.mark.parametrize(("kind", "form"), FORMS)
def test_the_output_is_that_of_a_run_of_everything(data: Data, kind: str, form: str | None) -> None:
    data.arguments, data.settings["output_format"] = [kind], form
    run = data.run_once()
    assert data.called() == data.firsts()
    assert len(data.firsts()) < 10
    assert copied(run) == run.snapshot()["duplicates_copied"] == 60 - len(data.firsts())
    assert run.snapshot()["items_succeeded"] == 60
    assert_equal_to_a_run_of_everything(data, run)


def test_a_row_with_the_name_of_its_file_has_that_of_the_first(data: Data) -> None:
    data.arguments = ["name"]
    assert set(output_of(data.run_once()).decode().split()) == set(data.firsts())


def test_a_single_item_may_have_several_rows(data: Data) -> None:
    data.arguments, data.settings["mini_batch_size"] = ["many"], 1
    run = data.run_once()
    assert data.called() == data.firsts()
    assert_equal_to_a_run_of_everything(data, run)


def test_duplicates_of_rows_that_are_not_clear_run(data: Data) -> None:
    data.arguments = ["many"]
    run = data.run_once()
    assert set(data.called()) >= set(data.firsts())
    assert_equal_to_a_run_of_everything(data, run)


def test_duplicates_of_a_file_that_failed_run_and_fail_by_themselves(data: Data) -> None:
    data.settings.update(error_threshold=-1, run_max_try=1)
    for number in (3, 17, 44):
        data.write(f"{number:02d}.txt", "poison")
    run = data.run_once()
    assert [os.path.basename(item) for item in run.failed_items()["item"]] == [
        "03.txt",
        "17.txt",
        "44.txt",
    ]
    called = data.called()
    assert {"17.txt", "44.txt"} <= set(called) <= {*data.firsts(), "17.txt", "44.txt"}
    assert_equal_to_a_run_of_everything(data, run)


def test_failed_files_that_were_repaired_run_once(data: Data) -> None:
    data.settings.update(error_threshold=-1, run_max_try=1)
    names = ["03.txt", "17.txt", "44.txt"]
    for name in names:
        data.write(name, "poison")
    run = data.run_once()
    (data.folder.parent / "calls").write_text("")
    for name in names:
        data.write(name, "repaired by hand")
    run.resume(failed_only=True)
    assert end_of(run) == "Completed"
    assert data.called() == ["03.txt"]
    assert run.snapshot()["items_failed"] == 0
    assert_equal_to_a_run_of_everything(data, run)


def test_rows_of_an_update_serve_as_first_ones(data: Data) -> None:
    data.run()
    for name, text in (("97.txt", "text 5"), ("98.txt", ""), ("70.txt", "new"), ("71.txt", "new")):
        data.write(name, text)
    update = data.run_once(update=True)
    assert data.called() == ["70.txt"]
    assert copied(update) == 3
    assert update.snapshot()["reused"]["items"] == 60  # type: ignore[index] # it is an update
    assert_equal_to_a_run_of_everything(data, update)


def test_an_update_of_everything_takes_no_copied_rows(data: Data) -> None:
    first = data.run_once()
    with pytest.warns(UserWarning, match=f"run {first.run_id}, which differs in its run_dup"):
        data.run(update=True)
    update = data.run_once(update=True)
    assert data.called() == []
    assert copied(update) == 0
    assert output_of(update) == output_of(first)


@pytest.mark.parametrize("form", [None, "csv", "parquet"])
@pytest.mark.parametrize("updates", [False, True])
def test_a_driver_that_is_killed_while_it_copies_goes_on(
    data: Data, form: str | None, *, updates: bool
) -> None:
    data.settings["output_format"] = form
    data.arguments = ["table" if form else "text"]
    data.settings.update(error_threshold=-1, run_max_try=1)
    data.write("59.txt", "poison")  # so that the part files are kept
    if updates:
        data.run()
        for number in range(60, 90):
            data.write(f"{number}.txt", f"later {number % 4}")
    run = data.run_once(update=updates)
    whole, number = output_of(run), copied(run)
    warm_drivers.dismiss()  # its driver ends
    wait_until(lambda: not driver_is_alive(run.folder, 0.0, time.time()), "the driver to end")
    lines = run.folder.journal.read_bytes().splitlines(keepends=True)
    taken = [
        k
        for k, line in enumerate(lines)
        if line.startswith((b'["s"', b'["r"')) and f",{UPDATE_PART},".encode() in line
    ]
    # The journal ends in the middle of the results, before their number is recorded.
    Path(run.snapshot()["output"]).unlink()
    run.folder.journal.write_bytes(b"".join(lines[: taken[-2]]))
    run.folder.state.unlink()
    again = Run.attach(run.run_id).resume()
    assert end_of(again) == "Completed", again.snapshot()["reason"]
    assert output_of(again) == whole
    assert 0 < copied(again) <= number
    assert_equal_to_a_run_of_everything(data, again)


@pytest.mark.parametrize("form", [None, "csv", "parquet"])
def test_a_killed_driver_is_resumed(data: Data, form: str | None) -> None:
    data.settings["output_format"] = form
    data.arguments = ["table" if form else "text", "slow"]
    data.settings["mini_batch_size"] = 2
    run = data.start(run_duplicates_once=True)
    wait_until(lambda: run.snapshot()["items_succeeded"] > 1, "the first rows")
    os.kill(json.loads(run.folder.driver.read_text())["pid"], signal.SIGKILL)
    wait_until(lambda: run.snapshot()["state"] == "Interrupted", "the end of the driver")
    run.resume()
    assert end_of(run) == "Completed"
    assert set(data.called()) == set(data.firsts())
    assert_equal_to_a_run_of_everything(data, run)


@settings(
    max_examples=8, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture]
)
@given(
    contents=st.lists(st.integers(0, 9), min_size=1, max_size=30),
    size=st.integers(1, 6),
    form=st.sampled_from(FORMS),
)
def test_any_contents_give_what_a_run_of_everything_gives(
    tmp_path_factory: pytest.TempPathFactory,
    home: Path,
    contents: list[int],
    size: int,
    form: tuple[str, str | None],
) -> None:
    del home
    data = Data(tmp_path_factory.mktemp("any"), *form)
    data.settings.update(mini_batch_size=size, error_threshold=-1, run_max_try=1)
    for number, content in enumerate(contents):
        data.write(f"{number:02d}.txt", f"text {content}" if content else "poison")
    run = data.start(run_duplicates_once=True)
    state = end_of(run)
    failed = contents.count(0)
    assert run.snapshot()["items_failed"] == failed
    whole = data.start()
    assert end_of(whole) == state
    if state == "Completed":
        assert output_of(run) == output_of(whole)


def test_inputs_and_outputs_without_copies_are_refused(data: Data, tmp_path: Path) -> None:
    def refused(match: str, **options: Any) -> None:
        config = ParallelRunConfig(entry_script=str(SCRIPTS / data.script), **data.settings)
        options = {"inputs": data.folder, **options}
        with pytest.raises(ConfigError, match=match):
            submit(config, run_duplicates_once=True, **options)
        assert not Run.list()

    table = tmp_path / "table.csv"
    table.write_text("a\n1\n")
    del data.settings["mini_batch_size"]
    csv = TabularDataset.from_delimited_files(str(table))
    refused("is a table: only files are compared, not rows", inputs=csv)
    keyed = FileDataset(str(data.folder), partition_format="{name}.txt")
    data.settings["partition_keys"] = ["name"]
    refused("partition_keys is .'name'.: run.. receives the whole group", inputs=keyed)
    del data.settings["partition_keys"]
    data.settings["output_action"] = "summary_only"
    refused("there are no rows to copy. Use output_action='append_row', or omit")
