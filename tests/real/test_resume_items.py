"""A resume runs just the items that failed; their rows land at their place in the output."""

from __future__ import annotations

import os
import time
from collections import Counter
from collections.abc import Callable
from pathlib import Path

import pytest
from azure.storage.blob import ContainerClient

from parallelrun_jupyter import FileDataset, ParallelRunConfig, Run, submit
from parallelrun_jupyter.errors import ConfigError, InputError, RunFolderError
from parallelrun_jupyter.runs.journal.events import RowsDropped, RunResumed
from tests.azurite_process import Azurite
from tests.real.conftest import end_of, rows_of
from tests.real.test_resume import version_of

SCRIPT = """
import os, sys
def run(mini_batch):
    return [row_of(path) for path in mini_batch]
def row_of(path):
    with open(sys.argv[1], "a") as log:
        log.write(os.path.basename(path) + "\\n")
    text = open(path).read()
    if text == "poison":
        raise RuntimeError("poison")
    return f"{os.path.basename(path)}={int(text) * 2}"
"""

ANSWERS = (
    SCRIPT
    + """
alone = row_of
def row_of(path):
    try:
        return alone(path)
    except Exception as error:
        return error
"""
)


def expected(*missing: int) -> list[str]:
    return [f"{k:03d}.txt={2 * k}" for k in range(60) if k not in missing]


@pytest.mark.parametrize("text", [SCRIPT, ANSWERS], ids=["isolated", "answered"])
def test_repaired_files_run_alone_and_their_rows_land_at_their_place(
    start: Callable[..., Run], numbers: Path, tmp_path: Path, text: str
) -> None:
    for broken in (7, 33, 34):
        (numbers / f"{broken:03d}.txt").write_text("not a number")
    script, log = tmp_path / "reads.py", tmp_path / "log"
    script.write_text(text)
    run = start(
        str(script), mini_batch_size=10, run_max_try=1, error_threshold=5, arguments=[log],
        output=tmp_path / "out",
    )  # fmt: skip
    assert end_of(run) == "Completed", run.snapshot()["reason"]
    assert rows_of(run) == expected(7, 33, 34)
    assert run.snapshot()["can_resume"]
    before = run.snapshot(), run.folder.journal.read_bytes()
    # A file whose rows are kept, in a mini-batch with a failed item.
    times = os.stat(numbers / "006.txt")
    (numbers / "006.txt").write_text("6000")
    with pytest.raises(InputError, match=r"006\.txt' has changed .*rows that mini-batch 0 made"):
        run.resume(failed_only=True)
    assert (run.snapshot(), run.folder.journal.read_bytes()) == before
    (numbers / "006.txt").write_text("6")
    os.utime(numbers / "006.txt", ns=(times.st_atime_ns, times.st_mtime_ns))
    version_of(run, 6, numbers / "006.txt")
    (numbers / "007.txt").write_text("7")
    (numbers / "033.txt").write_text("33")
    log.unlink()
    run.resume(failed_only=True)
    assert end_of(run) == "Completed", run.snapshot()["reason"]
    assert set(log.read_text().split()) == {"007.txt", "033.txt", "034.txt"}
    assert rows_of(run) == expected(34)
    snapshot = run.snapshot()
    assert (snapshot["items_succeeded"], snapshot["items_failed"]) == (59, 1)
    assert any("2 inputs of failed items have changed" in w for w in snapshot["warnings"])
    (numbers / "034.txt").write_text("34")
    run.resume()
    assert end_of(run) == "Completed"
    assert rows_of(run) == expected()
    until = time.monotonic() + 30
    while run.folder.parts():  # nothing failed, so that no resume needs them
        assert time.monotonic() < until
        time.sleep(0.02)
    with pytest.raises(RunFolderError, match="nothing in it failed"):
        run.resume(failed_only=True)


def test_items_of_one_group_run_again_and_others_in_their_mini_batch_do_not(
    start: Callable[..., Run], numbers: Path, tmp_path: Path
) -> None:
    (numbers / "003.txt").write_text("not a number")
    (numbers / "005.txt").write_text("poison")
    script, log = tmp_path / "reads.py", tmp_path / "log"
    script.write_text(SCRIPT)
    run = start(str(script), mini_batch_size=10, run_max_try=1, error_threshold=5, arguments=[log])
    assert end_of(run) == "Completed", run.snapshot()["reason"]
    assert rows_of(run) == expected(3, 5)
    [poison] = [group for group in run.failure_groups()["group"] if "RuntimeError" in group]
    for number in (3, 5):
        (numbers / f"{number:03d}.txt").write_text(f"{number}")
    log.unlink()
    run.resume(group=poison)
    assert end_of(run) == "Completed", run.snapshot()["reason"]
    assert log.read_text().split() == ["005.txt"]
    assert rows_of(run) == expected(3)
    with pytest.raises(ConfigError, match="no failed item of run"):
        run.resume(group=poison)
    run.resume(failed_only=True)
    assert end_of(run) == "Completed", run.snapshot()["reason"]
    assert rows_of(run) == expected()


def test_short_results_are_dropped_when_their_mini_batches_run_again(
    start: Callable[..., Run], tmp_path: Path
) -> None:
    text = (
        "import os\n"
        "def run(mini_batch):\n"
        "    names = [os.path.basename(path) for path in mini_batch]\n"
        "    return [n for n in names if n not in {'012.txt', '013.txt', '044.txt'}]\n"
    )
    script, fixed = tmp_path / "few.py", tmp_path / "all.py"
    script.write_text(text)
    fixed.write_text(text.replace("n not in", "n in names or"))
    run = start(str(script), mini_batch_size=10, error_threshold=-1)
    assert end_of(run) == "Completed"
    assert len(rows_of(run)) == 57
    assert not run.snapshot()["can_resume"], "a plain resume keeps them"
    with pytest.raises(RunFolderError, match=r"resume\(failed_only=True, entry_script=\.\.\.\)"):
        run.resume(entry_script=fixed)
    run.resume(failed_only=True, entry_script=fixed)
    assert end_of(run) == "Completed", run.snapshot()["reason"]
    assert rows_of(run) == [f"{k:03d}.txt" for k in range(60)]
    snapshot = run.snapshot()
    assert (snapshot["items_succeeded"], snapshot["items_failed"]) == (60, 0)
    events = list(run.events(follow=False))
    [resumed] = [e for e in events if isinstance(e, RunResumed)]
    assert (resumed.failed_only, resumed.mini_batches) == (True, 2)
    dropped = [e for e in events if isinstance(e, RowsDropped)]
    assert Counter(e.mini_batch for e in dropped) == Counter([1, 4])
    with pytest.raises(RunFolderError, match="nothing in it failed"):
        run.resume(failed_only=True)


def test_a_run_that_failed_for_short_results_goes_on_with_a_corrected_script(
    start: Callable[..., Run], tmp_path: Path
) -> None:
    text = "def run(mini_batch):\n    return ['row'] * (len(mini_batch) - 1)\n"
    script, fixed = tmp_path / "few.py", tmp_path / "all.py"
    script.write_text(text)
    fixed.write_text(text.replace(" - 1", ""))
    run = start(str(script), mini_batch_size=10, error_threshold=0)
    assert end_of(run) == "Failed"
    with pytest.raises(RunFolderError, match="runs those mini-batches again"):
        run.resume()
    run.resume(failed_only=True, entry_script=fixed)
    end = end_of(run)
    if end == "Failed":  # some mini-batches had not run before
        assert "had not finished before" in run.snapshot()["reason"]
        run.resume()
        end = end_of(run)
    assert end == "Completed", run.snapshot()["reason"]
    assert rows_of(run) == ["row"] * 60


@pytest.mark.usefixtures("endpoint")
def test_repaired_blobs_run_alone_while_blobs_whose_rows_are_kept_may_not_change(
    start: Callable[..., Run], azurite: Azurite, keyed: dict[str, str], tmp_path: Path
) -> None:
    texts = {f"in/{k:03d}.txt": "broken" if k in {4, 17} else f"{k}" for k in range(20)}
    container: ContainerClient = azurite.make_container(texts)
    script, log = tmp_path / "reads.py", tmp_path / "log"
    script.write_text(SCRIPT)
    inputs = FileDataset(f"az://{container.container_name}/in", storage_options=keyed)
    run = start(
        str(script), inputs=inputs, mini_batch_size=10, run_max_try=1, error_threshold=5,
        arguments=[log],
    )  # fmt: skip
    assert end_of(run) == "Completed", run.snapshot()["reason"]
    assert rows_of(run) == [row for row in expected(4, 17) if row < "020"]
    container.upload_blob("in/004.txt", "4", overwrite=True)
    log.unlink()
    run.resume(failed_only=True)
    assert end_of(run) == "Completed", run.snapshot()["reason"]
    assert set(log.read_text().split()) == {"004.txt", "017.txt"}
    assert rows_of(run) == [row for row in expected(17) if row < "020"]
    container.upload_blob("in/017.txt", "17", overwrite=True)
    container.upload_blob("in/004.txt", "400", overwrite=True)
    with pytest.raises(InputError, match=r"in/004\.txt' has changed .*mini-batch 0 made from it"):
        run.resume(failed_only=True)
    assert run.status == "Completed"


def test_a_resume_may_tolerate_more_failures_and_a_later_one_keeps_that(tmp_path: Path) -> None:
    script = tmp_path / "odd.py"
    script.write_text(
        "def run(mini_batch):\n"
        "    return [1 // (len(open(path).read()) % 2) for path in mini_batch]\n"
    )
    for number in range(12):
        (tmp_path / f"{number:02}.txt").write_text("x" * number)
    config = ParallelRunConfig(
        entry_script=str(script), mini_batch_size=3, run_max_try=1, process_count_per_node=1
    )
    run = submit(config, inputs=str(tmp_path / "*.txt"))
    assert end_of(run) == "Failed"
    with pytest.raises(ConfigError, match="error_threshold is -2"):
        run.resume(error_threshold=-2)
    assert end_of(run.resume(error_threshold=6)) == "Completed"
    assert run.snapshot()["error_threshold"] == 6
    assert sorted(run.failed_items()["item"]) == sorted(
        str(tmp_path / f"{number:02}.txt") for number in range(0, 12, 2)
    )
    assert end_of(run.resume(failed_only=True)) == "Completed"
