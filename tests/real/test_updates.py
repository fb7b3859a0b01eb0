"""An update gives what a run from nothing gives, and runs only what is new."""

from __future__ import annotations

import os
import time
from pathlib import Path
from typing import Any

import pandas as pd
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from benchmarks.update import update_once
from parallelrun_jupyter import FileDataset, ParallelRunConfig, Run, submit
from parallelrun_jupyter.client.launcher import warm_drivers
from parallelrun_jupyter.data.datasets.inputs import open_path
from parallelrun_jupyter.errors import ConfigError
from parallelrun_jupyter.runs.driver_lock import driver_is_alive
from parallelrun_jupyter.runs.journal.events import ResultsReused
from parallelrun_jupyter.runs.journal.files import JournalReader
from tests.azurite_process import Azurite
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
    ("table", "jsonl"),
    ("table", "parquet"),
    ("indexed", "parquet"),
]


@pytest.fixture
def calls(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Return the file in which the script lists the paths that it was called with."""
    path = tmp_path / "calls"
    monkeypatch.setenv("CALLS", str(path))
    return path


class Data:
    """A folder of files with old times, and the runs over it."""

    def __init__(
        self, folder: Path, calls: Path, kind: str = "text", form: str | None = None
    ) -> None:
        self.folder = folder
        self._calls = calls
        self.settings: dict[str, Any] = {"output_format": form, "mini_batch_size": 5}
        self.arguments = [kind]
        folder.mkdir(exist_ok=True)

    def write(self, name: str, text: str, time_ns: int = OLD_NS) -> None:
        path = self.folder / name
        path.parent.mkdir(exist_ok=True)
        path.write_text(text)
        os.utime(path, ns=(time_ns, time_ns))

    def start(self, script: str = "per_item.py", **options: Any) -> Run:
        self._calls.write_text("")
        config = ParallelRunConfig(
            entry_script=str(SCRIPTS / script),
            process_count_per_node=1,
            environment_variables={"CALLS": str(self._calls)},
            **self.settings,
        )
        run: Run = submit(config, inputs=self.folder, arguments=self.arguments, **options)
        return run

    def run(self, script: str = "per_item.py", **options: Any) -> Run:
        run = self.start(script, **options)
        assert end_of(run) == "Completed", run.snapshot()["reason"]
        return run

    def called(self) -> list[str]:
        """Return the files that the last run was called with."""
        lines = self._calls.read_text().splitlines()
        return sorted(os.path.relpath(path, self.folder) for path in lines)


@pytest.fixture
def data(tmp_path: Path, calls: Path, home: Path) -> Data:
    """Return thirty files."""
    del home
    data = Data(tmp_path / "in", calls)
    for number in range(30):
        data.write(f"{number:02d}.txt", f"text {number}")
    return data


def output_of(run: Run) -> bytes:
    return Path(run.snapshot()["output"]).read_bytes()


def reused(run: Run) -> ResultsReused | None:
    events = [e for e in JournalReader(run.folder.journal).read() if isinstance(e, ResultsReused)]
    return events[-1] if events else None


def assert_equal_to_a_run_from_nothing(data: Data, run: Run) -> None:
    whole = data.run()
    assert output_of(run) == output_of(whole)
    pd.testing.assert_frame_equal(run.to_pandas(), whole.to_pandas())


def counts(run: Run) -> tuple[int, int, int, int]:
    event = reused(run)
    assert event is not None
    return event.items, event.changed, event.new, event.gone


def change_some(data: Data) -> None:
    data.write("03b.txt", "new")
    data.write("12.txt", "changed!")
    os.utime(data.folder / "21.txt")  # touched
    (data.folder / "17.txt").unlink()
    (data.folder / "25.txt").rename(data.folder / "99.txt")


@pytest.mark.parametrize(("kind", "form"), FORMS)
def test_an_update_equals_a_run_from_nothing(data: Data, kind: str, form: str | None) -> None:
    data.arguments, data.settings["output_format"] = [kind], form
    first = data.run()
    change_some(data)
    update = data.run(update=True)
    event = reused(update)
    assert event is not None
    assert event.run_id == first.run_id
    assert counts(update) == (26, 2, 2, 2)
    assert data.called() == ["03b.txt", "12.txt", "21.txt", "99.txt"]
    assert_equal_to_a_run_from_nothing(data, update)
    again = data.run(update=True)
    assert counts(again) == (30, 0, 0, 0)
    assert data.called() == []
    assert output_of(again) == output_of(update)


def test_only_the_new_items_run(data: Data) -> None:
    data.run()
    change_some(data)
    data.run(update=True)
    assert data.called() == ["03b.txt", "12.txt", "21.txt", "99.txt"]


def test_rows_are_taken_from_part_files_and_failed_items_run_again(data: Data) -> None:
    data.settings.update(error_threshold=-1, run_max_try=1)
    data.write("07.txt", "")
    (data.folder / "07.txt").chmod(0)
    (data.folder / "07.txt").unlink()
    (data.folder / "07.txt").symlink_to(data.folder / "nowhere")
    first = data.run()
    assert first.folder.parts()
    (data.folder / "07.txt").unlink()
    data.write("07.txt", "repaired")
    update = data.run(update=True)
    assert counts(update) == (29, 1, 0, 0)
    assert_equal_to_a_run_from_nothing(data, update)


def test_mini_batches_with_more_rows_than_items_are_taken_whole(data: Data) -> None:
    data.arguments = ["many"]
    data.run()
    data.write("99.txt", "the last")
    update = data.run(update=True)
    assert counts(update) == (30, 0, 1, 0)
    assert data.called() == ["99.txt"]
    assert_equal_to_a_run_from_nothing(data, update)


def test_another_size_of_mini_batches_takes_the_same_rows(data: Data) -> None:
    data.run()
    data.settings["mini_batch_size"] = 7
    update = data.run(update=True)
    assert counts(update) == (30, 0, 0, 0)
    assert_equal_to_a_run_from_nothing(data, update)


@pytest.mark.parametrize("kind", ["text", "table"])
def test_an_edited_output_is_not_taken(data: Data, kind: str) -> None:
    data.arguments = [kind]
    first = data.run()
    path = Path(first.snapshot()["output"])
    text = path.read_bytes()
    path.write_bytes(text.replace(b"plain", b"plaim"))
    update = data.run(update=True)
    assert "has changed since it was published" in update.snapshot()["warnings"][0]
    assert counts(update) == (0, 0, 0, 0)
    assert len(data.called()) == 30
    assert_equal_to_a_run_from_nothing(data, update)


def test_a_removed_output_is_not_taken(data: Data) -> None:
    first = data.run()
    Path(first.snapshot()["output"]).unlink()
    update = data.run(update=True)
    assert "could not be read" in update.snapshot()["warnings"][0]
    assert len(data.called()) == 30


def test_a_file_that_was_written_during_the_earlier_run_runs_again(data: Data) -> None:
    data.write("05.txt", "from the future", time.time_ns() + 10**12)
    data.run()
    assert counts(data.run(update=True)) == (29, 1, 0, 0)


def test_files_whose_version_is_unknown_run_again(data: Data) -> None:
    first = data.run()
    versions = first.folder.plan.with_name("versions")
    versions.write_bytes(versions.read_bytes()[: 16 * 10])
    (data.folder / "03.txt").unlink()
    data.write("03.txt", "text 3")  # the same size and time
    update = data.run(update=True)
    assert counts(update) == (10, 20, 0, 0)


def test_a_touched_file_with_the_same_content_is_unchanged_by_digest(data: Data) -> None:
    with pytest.warns(UserWarning, match="update found no earlier run of this script"):
        data.run(update="digest")
    for name in ("03.txt", "12.txt", "21.txt"):
        data.write(name, f"text {int(name[:2])}", OLD_NS + 1)
    data.write("21.txt", "text XX", OLD_NS + 1)
    update = data.run(update="digest")
    assert counts(update) == (29, 1, 0, 0)
    assert_equal_to_a_run_from_nothing(data, update)
    assert counts(data.run(update="digest")) == (30, 0, 0, 0)  # takes versions, without digests
    data.write("03.txt", "text 3", OLD_NS + 2)
    assert counts(data.run(update="digest")) == (30, 0, 0, 0)
    assert counts(data.run(update=True)) == (30, 0, 0, 0)


def test_what_changes_rows_is_compared(data: Data, tmp_path: Path) -> None:
    first = data.run()

    def refused(match: str, **options: Any) -> None:
        with pytest.warns(UserWarning, match=match):
            run = data.run(update=True, **options)
        assert reused(run) is None

    data.arguments = ["text", "more"]
    refused(f"The nearest is run {first.run_id}, which differs in its arguments")
    data.arguments = ["text"]
    side = tmp_path / "side.txt"
    side.write_text("1")
    refused("side inputs", side_inputs=[str(side)])
    assert counts(data.run(update=True, side_inputs=[str(side)])) == (30, 0, 0, 0)
    side.write_text("22")
    refused("the versions of its side inputs", side_inputs=[str(side)])


def test_the_newest_run_over_the_same_paths_is_preferred(data: Data, tmp_path: Path) -> None:
    first = data.run()
    other = Data(tmp_path / "other", tmp_path / "calls")
    other.write("00.txt", "elsewhere")
    other.run()
    event = reused(data.run(update=True))
    assert event is not None
    assert (event.run_id, event.items) == (first.run_id, 30)
    third = Data(tmp_path / "third", tmp_path / "calls")
    third.write("00.txt", "new")
    assert counts(third.run(update=True)) == (0, 0, 1, 30)


def test_another_script_finds_no_run(data: Data, tmp_path: Path) -> None:
    data.run()
    script = tmp_path / "per_item.py"
    script.write_text((SCRIPTS / "per_item.py").read_text() + "\n# another\n")
    with pytest.warns(UserWarning, match="which differs in its script"):
        run = data.run(str(script), update=True)
    assert reused(run) is None


def test_a_module_beside_the_submission_counts(
    data: Data, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "helper.py").write_text("MARK = 1\n")
    script = tmp_path / "script.py"
    script.write_text("import helper\ndef run(b): return [f'{p} {helper.MARK}' for p in b]\n")
    data.run(str(script))
    # Of another size: Python takes byte code of the same second and size for current.
    (tmp_path / "helper.py").write_text("MARK = 2  # changed\n")
    with pytest.warns(UserWarning, match="its modules"):
        run = data.run(str(script), update=True)
    assert_is_marked(run, " 2")


def assert_is_marked(run: Run, mark: str) -> None:
    rows = output_of(run).decode().splitlines()
    assert len(rows) == 30
    assert all(row.endswith(mark) for row in rows)


def test_wrong_values_and_outputs_without_rows_are_refused(data: Data) -> None:
    with pytest.raises(ConfigError, match="update is 'yes'; expected True"):
        data.start(update="yes")
    data.settings["output_action"] = "summary_only"
    with pytest.raises(ConfigError, match="the run has no rows to take"):
        data.start(update=True)


def test_keys_take_whole_groups_only(tmp_path: Path, calls: Path, home: Path) -> None:
    del home
    data = Data(tmp_path / "keyed", calls, kind="sum")
    for number in range(12):
        data.write(f"{'abc'[number % 3]}/{number:02d}.txt", f"text {number}")
    del data.settings["mini_batch_size"]
    data.settings["partition_keys"] = ["group"]
    folder = data.folder

    def run(**options: Any) -> Run:
        calls.write_text("")
        config = ParallelRunConfig(
            entry_script=str(SCRIPTS / "per_item.py"),
            environment_variables={"CALLS": str(calls)},
            **data.settings,
        )
        inputs = FileDataset(str(folder), partition_format="{group}/*.txt")
        run: Run = submit(config, inputs=inputs, arguments=data.arguments, **options)
        assert end_of(run) == "Completed", run.snapshot()["reason"]
        return run

    run()
    data.write("b/99.txt", "new")
    update = run(update=True)
    assert counts(update) == (8, 0, 1, 0)
    assert data.called() == ["b/01.txt", "b/04.txt", "b/07.txt", "b/10.txt", "b/99.txt"]
    assert output_of(update) == output_of(run())


def test_a_driver_that_died_while_it_took_rows_goes_on(data: Data) -> None:
    data.settings.update(error_threshold=-1, run_max_try=1)
    (data.folder / "07.txt").unlink()
    (data.folder / "07.txt").symlink_to(data.folder / "nowhere")
    data.run()
    change_some(data)
    update = data.run(update=True)
    whole = output_of(update)
    assert counts(update) == (25, 3, 2, 2)  # the broken link counts as changed
    warm_drivers.dismiss()  # its driver ends
    wait_until(lambda: not driver_is_alive(update.folder, 0.0, time.time()), "the driver to end")
    lines = update.folder.journal.read_bytes().splitlines(keepends=True)
    taken = [
        k for k, line in enumerate(lines) if line.startswith((b'["s"', b'["r"')) and b'"",' in line
    ]
    Path(update.snapshot()["output"]).unlink()
    update.folder.journal.write_bytes(b"".join(lines[: taken[-1]]))
    update = Run.attach(update.run_id).resume()
    assert end_of(update) == "Completed"
    assert output_of(update) == whole
    assert counts(update) == (25, 3, 2, 2)  # the broken link counts as changed
    snapshot = update.snapshot()
    assert (snapshot["items_succeeded"], snapshot["items_failed"]) == (29, 1)
    assert_equal_to_a_run_from_nothing(data, update)


@pytest.mark.parametrize("form", ["csv", "jsonl", "parquet"])
def test_rows_of_tables_are_taken_by_mini_batch(tmp_path: Path, home: Path, form: str) -> None:
    del home
    script = tmp_path / "rows.py"
    script.write_text(
        "import sys\ndef run(frame):\n"
        "    open(sys.argv[1], 'a').write(f'{len(frame)}\\n')\n"
        "    return frame.assign(twice=frame['n'] * 2)\n"
    )
    folder = tmp_path / "tables"
    folder.mkdir()

    def write(name: str, start: int, count: int) -> None:
        frame = pd.DataFrame({"n": range(start, start + count), "t": "text"})
        if form == "csv":
            frame.to_csv(folder / name, index=False)
        elif form == "jsonl":
            frame.to_json(folder / name, orient="records", lines=True)
        else:
            frame.to_parquet(folder / name)

    def run(**options: Any) -> Run:
        (tmp_path / "called").write_text("")
        config = ParallelRunConfig(entry_script=str(script), mini_batch_rows=4, output_format="csv")
        inputs = open_path(str(folder), form)
        run: Run = submit(config, inputs=inputs, arguments=[str(tmp_path / "called")], **options)
        assert end_of(run) == "Completed", run.snapshot()["reason"]
        return run

    write("a", 0, 10)
    write("b", 10, 7)
    run()
    write("c", 17, 5)
    update = run(update=True)
    assert counts(update) == (17, 0, 5, 0)
    assert sorted((tmp_path / "called").read_text().split()) == ["1", "4"]
    whole = run()
    assert output_of(update) == output_of(whole)
    pd.testing.assert_frame_equal(update.to_pandas(), whole.to_pandas())


@pytest.mark.usefixtures("endpoint", "home")
def test_blobs_are_compared_by_their_etags(
    azurite: Azurite, keyed: dict[str, Any], tmp_path: Path
) -> None:
    blobs = {f"in/{number:03d}.txt": str(number) for number in range(20)}
    container = azurite.make_container(blobs)
    url = f"az://{container.container_name}/in/*.txt"
    script = tmp_path / "read.py"
    script.write_text("def run(b): return [open(p).read() for p in b]\n")

    def run(**options: Any) -> Run:
        config = ParallelRunConfig(entry_script=str(script), mini_batch_size=3)
        inputs = FileDataset(url, storage_options=keyed)
        run: Run = submit(config, inputs=inputs, **options)
        assert end_of(run) == "Completed", run.snapshot()["reason"]
        return run

    run()
    container.upload_blob("in/005.txt", "five", overwrite=True)
    container.upload_blob("in/0055.txt", "new")
    container.delete_blob("in/011.txt")
    update = run(update=True)
    assert counts(update) == (18, 1, 1, 1)
    assert output_of(update) == output_of(run())


def test_the_benchmark_of_updates(tmp_path: Path) -> None:
    _, _, called, taken, rows = update_once(tmp_path, 500)
    assert (taken, rows, called) == (500, 510, 10)


names = st.sampled_from([f"{number:02d}.txt" for number in range(24)])
listings = st.dictionaries(names, st.integers(0, 30), min_size=1, max_size=24)


@pytest.mark.parametrize(("kind", "form"), FORMS)
@settings(
    max_examples=6, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture]
)
@given(before=listings, after=listings, size=st.integers(1, 6))
def test_any_two_listings_give_what_a_run_from_nothing_gives(
    tmp_path_factory: pytest.TempPathFactory,
    calls: Path,
    home: Path,
    kind: str,
    form: str | None,
    before: dict[str, int],
    after: dict[str, int],
    size: int,
) -> None:
    del home
    data = Data(tmp_path_factory.mktemp("any"), calls, kind, form)
    data.settings["mini_batch_size"] = size
    for name, number in before.items():
        data.write(name, f"text {number}", OLD_NS + number)
    data.run()
    for path in list(data.folder.iterdir()):
        if path.name not in after:
            path.unlink()
    for name, number in after.items():
        data.write(name, f"text {number}", OLD_NS + number)
    update = data.run(update=True)
    same = sum(before.get(name) == number for name, number in after.items())
    changed = sum(name in before and before[name] != number for name, number in after.items())
    gone, new = len(before.keys() - after.keys()), len(after.keys() - before.keys())
    assert counts(update) == (same, changed, new, gone)
    whole = data.run()
    assert output_of(update) == output_of(whole)
    pd.testing.assert_frame_equal(update.to_pandas(), whole.to_pandas())
