"""Removing runs: which ones, which never, and that nothing beside them is touched."""

from __future__ import annotations

import json
import os
import re
import shutil
import time
import warnings
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from parallelrun_jupyter import Run
from parallelrun_jupyter.client.pruning import (
    Entry,
    _oldest_over,
    filters_of,
    keep_under_limit,
    plan_pruning,
)
from parallelrun_jupyter.errors import ConfigError, RunFolderError, RunNotFoundError
from parallelrun_jupyter.files import try_lock
from parallelrun_jupyter.formatting import parse_age, parse_size
from parallelrun_jupyter.home import max_size, write_max_size
from parallelrun_jupyter.runs import removal
from parallelrun_jupyter.runs.journal import pipelines
from parallelrun_jupyter.runs.removal import remove_leftovers, remove_run
from parallelrun_jupyter.runs.run_folder import RunFolder, list_runs
from tests.journals import CREATED, Course, write_run

DAY_S = 86400.0


def ended(home: Path, number: int, days: float = 0.0, **settings: Any) -> RunFolder:
    """Write a completed run that was started some days after the first one."""
    run_id = f"20261118-1000000{number:02d}-test"
    created = CREATED + days * DAY_S
    folder = write_run(home, Course(mini_batches=3), run_id=run_id, created_at=created, **settings)
    os.utime(folder.journal, (created, created))
    return folder


def ids() -> list[str]:
    return [folder.run_id[16:18] for folder in list_runs()]


def planned(now_days: float = 100.0, **filters: Any) -> list[str]:
    pruning = plan_pruning(filters_of(**filters), now=CREATED + now_days * DAY_S)
    return [entry.folder.run_id[16:18] for entry in pruning.entries]


def test_links_are_removed_and_the_files_behind_them_stay(home: Path, tmp_path: Path) -> None:
    folder = ended(home, 1)
    kept = tmp_path / "kept"
    kept.mkdir()
    (kept / "data.txt").write_text("data")
    (folder.output / "folder").symlink_to(kept)
    (folder.output / "file").symlink_to(kept / "data.txt")
    (folder.output / "broken").symlink_to(tmp_path / "gone")
    remove_run(folder)
    assert (kept / "data.txt").read_text() == "data"
    assert os.listdir(home / "runs") == []


def test_folders_that_cannot_be_written_are_removed(home: Path) -> None:
    folder = ended(home, 1)
    (folder.script / "package").mkdir()
    (folder.script / "package" / "module.py").write_text("")
    (folder.script / "package").chmod(0o500)
    freed = remove_run(folder)
    assert freed > 0
    assert os.listdir(home / "runs") == []


def test_only_runs_of_this_home_are_removed(home: Path, tmp_path: Path) -> None:
    elsewhere = ended(tmp_path / "other", 1)
    with pytest.raises(RunFolderError, match=r"is not a run in .*; delete that folder yourself"):
        remove_run(elsewhere)
    (home / "runs").mkdir()
    link = home / "runs" / elsewhere.run_id
    link.symlink_to(elsewhere.path)
    with pytest.raises(RunFolderError, match=r"is a link to .*delete that folder yourself, and"):
        remove_run(RunFolder(link))
    plain = home / "runs" / "mine"
    plain.mkdir()
    with pytest.raises(RunFolderError, match="is not a run in"):
        remove_run(RunFolder(plain))
    assert elsewhere.record.exists()
    assert plain.exists()


def test_a_run_that_is_gone_is_named(home: Path) -> None:
    folder = ended(home, 1)
    run = Run(folder)
    assert run.delete() > 0
    with pytest.raises(RunNotFoundError, match=r"is gone: its folder .* has been removed"):
        run.delete()
    with pytest.raises(RunNotFoundError, match="has been removed"):
        run.resume()
    with pytest.raises(RunNotFoundError, match="there is no run"):
        Run.attach(run.run_id)
    for read in (run.failures, run.failed_items, run.logs, lambda: [*run.events()]):
        with pytest.raises(RunNotFoundError, match="has been removed"):
            read()  # nothing is not what the run had
    assert run.status == "Completed"  # the handle still has its last state
    assert not folder.path.exists()


def test_a_run_that_is_removed_before_its_end_is_seen_is_gone_not_interrupted(home: Path) -> None:
    folder = ended(home, 1)
    journal = folder.journal.read_bytes()
    folder.journal.write_bytes(journal[: journal.rfind(b"\n", 0, -1) + 1])
    run = Run(folder)
    folder.journal.write_bytes(journal)
    remove_run(folder)
    assert run.snapshot()["reason"] == "its folder has been removed"
    with pytest.raises(RunNotFoundError, match=r"is gone: its folder .* has been removed"):
        run.wait_for_completion(show_output=False)


def test_an_active_run_stays(home: Path) -> None:
    folder = write_run(
        home, Course(mini_batches=3), until_s=1.0, created_at=time.time(), run_id="a-b-c"
    )
    with pytest.raises(RunFolderError, match=r"is Running: .*run\.cancel\(\) ends it"):
        Run(folder).delete()
    pruning = plan_pruning(filters_of(keep=0))
    assert pruning.entries == []
    assert "run a-b-c stays: it is Running" in pruning.text()


def test_a_driver_that_holds_its_run_keeps_it(home: Path, monkeypatch: Any) -> None:
    folder = ended(home, 1)
    monkeypatch.setattr(removal, "_DRIVER_LIMIT_S", 0.05)
    held = try_lock(folder.path / "driver.lock")
    try:
        with pytest.raises(RunFolderError, match="its driver has not finished yet"):
            remove_run(folder)
    finally:
        os.close(held)
    assert folder.record.exists()
    remove_run(folder)
    assert not folder.path.exists()


def test_a_removal_that_was_killed_is_no_run_and_is_finished_later(home: Path) -> None:
    one, two = ended(home, 1), ended(home, 2)
    one.path.rename(home / "runs" / f".removed-{one.run_id}-1")  # killed right after the rename
    assert ids() == ["02"]
    with pytest.raises(RunNotFoundError):
        Run.attach(f".removed-{one.run_id}-1")
    size = sum(
        os.lstat(path).st_blocks * 512
        for path in [*(home / "runs").rglob(".removed*"), *(home / "runs").glob(".removed*/**/*")]
    )
    assert remove_leftovers() == size
    assert os.listdir(home / "runs") == [two.run_id]


def test_runs_of_pipelines_stay_until_the_pipeline_has_ended(home: Path) -> None:
    folders = [ended(home, number) for number in (1, 2, 3)]
    journal = home / "pipelines" / "p1" / "events.jsonl"
    journal.parent.mkdir(parents=True)
    one, two, _ = [folder.run_id for folder in folders]
    for event in (
        pipelines.PipelineStarted(1.0, 1),
        pipelines.StepReused(2.0, "a", "s1", one, {}),
        pipelines.StepSubmitting(3.0, "b", two, {}),
    ):
        pipelines.append_event(journal, event)
    with pytest.raises(RunFolderError, match="pipeline run p1 uses it and has not ended. Wait for"):
        remove_run(folders[0])
    assert planned(keep=0) == ["03"]
    pipelines.append_event(journal, pipelines.PipelineFinished(4.0, "Completed", ""))
    assert planned(keep=0) == ["03", "02", "01"]


def test_the_run_that_an_active_update_takes_rows_from_stays(home: Path) -> None:
    earlier = ended(home, 1)
    update = write_run(
        home, Course(mini_batches=3), until_s=1.0, created_at=time.time(),
        run_id="20261118-100000002-test", inputs={"reuse_from": earlier.run_id},
    )  # fmt: skip
    with pytest.raises(RunFolderError, match="takes rows from it and is active"):
        remove_run(earlier)
    shutil.rmtree(update.path)
    remove_run(earlier)
    assert not earlier.path.exists()


def test_filters_combine(home: Path) -> None:
    for number in range(6):
        name = "faces" if number % 2 else "digits"
        ended(home, number, days=number, name=name)
    assert ids() == ["05", "04", "03", "02", "01", "00"]
    assert planned(older_than="97d") == ["02", "01", "00"]
    assert planned(older_than=97 * DAY_S + 1, name="dig*") == ["02", "00"]
    assert planned(keep=4) == ["01", "00"]
    assert planned(keep=1, name="faces") == ["03", "01"]
    assert planned(keep=5, older_than="1w") == ["00"]
    assert planned(state="failed") == []
    assert planned(state=["completed", "failed"], keep=5) == ["00"]
    assert planned(name="100000003") == ["03"]
    size = list_runs()[0].size_bytes()
    assert planned(max_size=4 * size) == ["01", "00"]
    assert planned(max_size=4 * size, name="faces") == ["03", "01"]
    assert planned(max_size=4 * size, keep=5) == ["00"]
    assert planned(max_size="1GB") == []


def test_a_dry_run_removes_nothing_and_shows_what_stays_and_goes(home: Path) -> None:
    ended(home, 1, name="digits")
    ended(home, 2, output={"destination": "/out/predictions"})
    runs = Run.prune(keep=0)
    assert [run.run_id[16:18] for run in runs] == ["02", "01"]
    lines = repr(runs).splitlines()
    assert lines[0].split() == ["RUN", "NAME", "STATE", "STARTED", "SIZE"]
    assert lines[3].startswith("2 runs to remove, ")
    assert lines[4] == "1 run has its output file in the run's folder: removed too"
    assert lines[5] == "outputs in /out/predictions stay"
    assert ids() == ["02", "01"]
    measured = sum(folder.size_bytes() for folder in list_runs())
    removed = Run.prune(keep=0, dry_run=False)
    assert removed.size_bytes == measured
    assert "removed 2 runs, freed" in repr(removed)
    assert ids() == []
    assert repr(Run.prune(keep=0)) == "no run to remove"


@given(sizes=st.lists(st.integers(0, 50), max_size=8), limit=st.integers(0, 200))
def test_the_oldest_go_until_the_rest_fits(sizes: list[int], limit: int) -> None:
    class Sized:
        def __init__(self, size: int) -> None:
            self.size_bytes = size

    entries: list[Entry] = [Sized(size) for size in sizes]  # type: ignore[misc]
    gone = _oldest_over(entries, entries, limit)
    assert gone == entries[len(entries) - len(gone) :]
    left = sizes[: len(sizes) - len(gone)]
    assert sum(left) <= limit
    assert not gone or sum(left) + gone[0].size_bytes > limit


def test_the_limit_removes_old_runs_and_warns(home: Path, monkeypatch: Any) -> None:
    for number in range(4):
        ended(home, number, days=number)
    size = list_runs()[0].size_bytes()
    now = CREATED + 3 * DAY_S + 60
    keep_under_limit(now=now)
    assert len(ids()) == 4  # no limit is set
    write_max_size(str(2 * size))
    with pytest.warns(
        UserWarning, match=r"under .*settings\.json\): 2 old runs removed, .* freed$"
    ):
        keep_under_limit(now=now)
    assert ids() == ["03", "02"]
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        keep_under_limit(now=now)
    monkeypatch.setenv("PARALLELRUN_MAX_SIZE", "1KB")
    with pytest.warns(UserWarning, match=r"MAX_SIZE\): 1 old run removed.*still use.*all the same"):
        keep_under_limit(now=now)
    assert ids() == ["03"]  # it was active in the last hour


def test_the_limit_spares_the_run_that_an_update_will_read(home: Path, monkeypatch: Any) -> None:
    folders = [ended(home, number, days=number) for number in range(3)]
    monkeypatch.setenv("PARALLELRUN_MAX_SIZE", "1KB")
    with pytest.warns(UserWarning, match="2 old runs removed"):
        keep_under_limit({folders[0].run_id}, now=CREATED + 50 * DAY_S)
    assert ids() == ["00"]


def test_settings_are_stored_checked_and_removed(home: Path) -> None:
    assert max_size({"PARALLELRUN_HOME": str(home)}) == ("", "")
    write_max_size("20GB")
    assert json.loads((home / "settings.json").read_text()) == {"max_size": "20GB"}
    assert max_size() == ("20GB", str(home / "settings.json"))
    write_max_size("")
    assert max_size() == ("", "")
    (home / "settings.json").write_text("[]")
    with pytest.raises(ConfigError, match="is not a JSON object of the settings"):
        max_size()


@pytest.mark.parametrize(
    ("text", "size"),
    [("500MB", 500 << 20), ("1.5 gb", 3 << 29), ("2TB", 2 << 40), ("0", 0), (7, 7), ("10b", 10)],
)
def test_sizes(text: str | int, size: int) -> None:
    assert parse_size(text, "max_size") == size


@pytest.mark.parametrize("text", ["5x", "", "-1", "GB", True, "1e3"])
def test_sizes_that_are_none(text: Any) -> None:
    with pytest.raises(ConfigError, match="max_size is .*; expected a size such as 500MB, 5GB"):
        parse_size(text, "max_size")


@pytest.mark.parametrize(
    ("text", "seconds"),
    [
        ("90m", 5400),
        ("12h", 43200),
        ("30d", 30 * DAY_S),
        ("2w", 14 * DAY_S),
        (60, 60),
        ("1.5D", 129600),
    ],
)
def test_ages(text: str | int, seconds: float) -> None:
    assert parse_age(text, "older_than") == seconds


@pytest.mark.parametrize("text", ["30", "d", "30 days", -1, False, "1y"])
def test_ages_that_are_none(text: Any) -> None:
    with pytest.raises(
        ConfigError, match="older_than is .*; expected an age such as 12h, 30d or 2w"
    ):
        parse_age(text, "older_than")


@pytest.mark.parametrize(
    ("given", "expected"),
    [
        ({"keep": "3"}, "keep is '3'; expected the number of newest runs that stay"),
        ({"keep": 1.5}, "keep is 1.5; expected the number of newest runs that stay"),
        ({"name": 5}, "name is 5; expected a text in the names or ids of runs"),
        ({"state": 5}, "state is 5; expected one of Queued, "),
        ({"state": ["Failed", None]}, "state is None; expected one of Queued, "),
    ],
)
def test_a_filter_of_another_type_is_refused(given: dict[str, Any], expected: str) -> None:
    with pytest.raises(ConfigError, match=re.escape(expected)):
        Run.prune(**given)


def test_a_prune_without_a_filter_or_with_a_wrong_one_is_refused() -> None:
    with pytest.raises(ConfigError, match="prune needs a filter"):
        Run.prune()
    with pytest.raises(ConfigError, match="keep is -1; expected the number of newest runs"):
        Run.prune(keep=-1)
    with pytest.raises(ConfigError, match="Did you mean 'Failed'"):
        Run.prune(state="faild")
