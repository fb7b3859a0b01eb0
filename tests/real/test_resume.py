"""Going on after an end: nothing that succeeded runs again, nothing is lost, nothing is twice."""

from __future__ import annotations

import json
import os
import random
import signal
import struct
import time
from collections import Counter
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import psutil
import pytest

from parallelrun_jupyter import ParallelRunConfig, Run, submit
from parallelrun_jupyter.commands.demo import write_digits
from parallelrun_jupyter.engine.node.fork_server import WORKER_FOLDER
from parallelrun_jupyter.errors import ConfigError, InputError, RunFailedError, RunFolderError
from parallelrun_jupyter.runs.journal.events import AttemptSucceeded, RunResumed
from tests.conftest import SCRIPTS
from tests.real.conftest import end_of, rows_of

NAMES = [f"{number:03d}.txt" for number in range(60)]


def driver_pid(run: Run) -> int:
    return int(json.loads(run.folder.driver.read_text())["pid"])


def successes(run: Run) -> Counter[int]:
    return Counter(
        e.mini_batch for e in run.events(follow=False) if isinstance(e, AttemptSucceeded)
    )


def wait_for(run: Run, count: int) -> None:
    while run.snapshot()["succeeded"] < count:
        assert not run.snapshot()["is_final"]
        time.sleep(0.01)


def test_a_canceled_run_goes_on(start: Callable[..., Run]) -> None:
    run = start("slow.py")
    wait_for(run, 5)
    run.cancel()
    assert end_of(run) == "Canceled"
    kept = run.snapshot()["succeeded"]
    assert run.resume() is run
    assert end_of(run) == "Completed"
    assert rows_of(run) == NAMES
    assert successes(run) == Counter(range(60))
    [resumed] = [e for e in run.events(follow=False) if isinstance(e, RunResumed)]
    assert resumed.mini_batches == 60 - kept


def test_a_killed_driver_is_seen_within_seconds_and_the_run_goes_on(
    start: Callable[..., Run],
) -> None:
    run = start("slow.py")
    wait_for(run, 5)
    pid = driver_pid(run)
    workers = psutil.Process(pid).children(recursive=True)
    os.kill(pid, signal.SIGKILL)
    until = time.monotonic() + 30
    while run.status != "Interrupted":
        assert time.monotonic() < until
    assert run.snapshot()["reason"].startswith("driver lost")
    _, alive = psutil.wait_procs(workers, timeout=20)
    assert not alive, "workers do not outlive their driver"
    run.resume()
    assert end_of(run) == "Completed"
    assert rows_of(run) == NAMES
    assert successes(run) == Counter(range(60))


def test_failed_only_with_a_corrected_script(start: Callable[..., Run], tmp_path: Path) -> None:
    run = start("faults.py", arguments=[tmp_path, "raise=5", "raise=6"], run_max_try=2,
                error_threshold=-1)  # fmt: skip
    assert end_of(run) == "Completed"
    assert len(rows_of(run)) == 58
    fixed = tmp_path / "fixed.py"
    fixed.write_text((SCRIPTS / "faults.py").read_text().replace('kind == "raise"', "False"))
    run.resume(failed_only=True, entry_script=fixed)
    assert end_of(run) == "Completed"
    assert rows_of(run) == NAMES
    assert run.snapshot()["items_failed"] == 0
    assert sorted(run.failures()["attempt"]) == [1, 1, 2, 2]
    [resumed] = [e for e in run.events(follow=False) if isinstance(e, RunResumed)]
    assert (resumed.failed_only, resumed.mini_batches, len(resumed.script)) == (True, 2, 64)
    assert (run.folder.script / "faults.py.1.before").read_text() == (
        SCRIPTS / "faults.py"
    ).read_text()
    with pytest.raises(RunFolderError, match="nothing in it failed: there is nothing to resume"):
        run.resume()
    journal = run.folder.journal.read_bytes()
    with pytest.warns(UserWarning, match="corrected script has nothing to run. Submit it as a new"):
        assert run.resume(entry_script=fixed) is run
    assert (run.status, run.folder.journal.read_bytes()) == ("Completed", journal)


def test_one_group_of_failures_is_retried_with_a_corrected_script(
    start: Callable[..., Run], tmp_path: Path
) -> None:
    text = (
        "import os\n"
        "def run(mini_batch):\n"
        "    number = int(open(mini_batch[0]).read())\n"
        "    if number in (5, 6):\n        1 / 0\n"
        "    if number == 7:\n        {}['seven']\n"
        "    return [os.path.basename(path) for path in mini_batch]\n"
    )
    script = tmp_path / "groups.py"
    script.write_text(text)
    fixed = tmp_path / "fixed.py"
    run = start(str(script), run_max_try=1, error_threshold=-1)
    assert end_of(run) == "Completed"
    assert run.snapshot()["failed"] == 3
    divided, missing = "ZeroDivisionError at groups.py:5 in run", "KeyError at groups.py:7 in run"
    with pytest.raises(ConfigError, match=rf"groups.py:6 in run'. Did you mean '{divided}'\?"):
        run.resume(group=divided.replace(":5", ":6"))
    fixed.write_text(text.replace("1 / 0", "pass").replace("{}['seven']", "{}['still']"))
    assert run.resume(group=divided, entry_script=fixed) is run
    assert end_of(run) == "Completed"
    assert rows_of(run) == [name for name in NAMES if name != "007.txt"]
    assert (run.snapshot()["failed"], run.snapshot()["items_failed"]) == (1, 1)
    assert successes(run) == Counter({k: 1 for k in range(60) if k != 7})
    [resumed] = [e for e in run.events(follow=False) if isinstance(e, RunResumed)]
    assert (resumed.failed_only, resumed.mini_batches, resumed.group) == (True, 2, divided)
    with pytest.raises(ConfigError, match=rf"The groups are: '{missing}'\. run\.failure_groups"):
        run.resume(group=divided)
    fixed.write_text(text.replace("{}['seven']", "pass"))
    run.resume(group=missing, entry_script=fixed)
    assert end_of(run) == "Completed"
    assert rows_of(run) == NAMES


def test_a_run_that_failed_goes_on_with_new_attempts(
    start: Callable[..., Run], tmp_path: Path
) -> None:
    run = start("faults.py", arguments=[tmp_path, "raise=5"], run_max_try=2)
    assert end_of(run) == "Failed"
    run.resume()
    with pytest.raises(RunFailedError):
        run.wait_for_completion(show_output=False)
    assert sorted(run.failures()["attempt"]) == [1, 2, 3, 4]


@pytest.mark.parametrize("change", ["edit", "remove"])
def test_inputs_that_changed_are_a_clear_error_and_the_run_stays_as_it_was(
    start: Callable[..., Run], numbers: Path, tmp_path: Path, change: str
) -> None:
    run = start("slow.py")
    wait_for(run, 3)
    run.cancel()
    end_of(run)
    before = run.folder.journal.read_bytes(), run.snapshot()
    if change == "edit":
        (numbers / "059.txt").write_text("something else")
    else:
        (numbers / "059.txt").unlink()
    other = tmp_path / "other.py"
    other.write_text("def run(mini_batch):\n    return ['other'] * len(mini_batch)\n")
    with pytest.raises(
        InputError, match=r"059\.txt' (has changed|no longer exists) since the run was"
    ):
        run.resume(entry_script=other)
    assert (run.folder.journal.read_bytes(), run.snapshot()) == before
    assert (run.folder.script / "slow.py").read_bytes() == (SCRIPTS / "slow.py").read_bytes()
    (numbers / "059.txt").write_text("59")
    os.utime(numbers / "059.txt", ns=(0, 1))  # another version, with the same content
    with pytest.raises(InputError, match="was not resumed and is unchanged"):
        run.resume()


READS = """
import os
def run(mini_batch):
    texts = [open(path).read() for path in mini_batch]
    return [f"{os.path.basename(p)}={int(text) * 2}" for p, text in zip(mini_batch, texts)]
"""


def test_a_repaired_file_is_retried_and_a_changed_one_whose_rows_are_kept_is_refused(
    start: Callable[..., Run], numbers: Path, tmp_path: Path
) -> None:
    for broken in (7, 33):
        (numbers / f"{broken:03d}.txt").write_text("not a number")
    script = tmp_path / "reads.py"
    script.write_text(READS)
    output = tmp_path / "out"
    run = start(str(script), run_max_try=1, error_threshold=5, output=output)
    assert end_of(run) == "Completed"
    assert len(rows_of(run)) == 58
    before = run.snapshot(), run.folder.journal.read_bytes(), rows_of(run)
    (numbers / "020.txt").write_text("2000")
    with pytest.raises(InputError, match=r"020\.txt' has changed .*rows that mini-batch 20 made"):
        run.resume(failed_only=True)
    assert (run.snapshot(), run.folder.journal.read_bytes(), rows_of(run)) == before
    (numbers / "020.txt").write_text("20")
    whole = os.stat(numbers / "019.txt")
    os.utime(numbers / "020.txt", ns=(whole.st_atime_ns, whole.st_mtime_ns))
    version_of(run, 20, numbers / "020.txt")
    (numbers / "007.txt").write_text("7")
    assert run.resume(failed_only=True) is run
    assert end_of(run) == "Completed"
    snapshot = run.snapshot()
    assert any("1 input of failed items has changed" in w for w in snapshot["warnings"])
    assert any("007.txt" in w for w in snapshot["warnings"])
    assert (snapshot["items_succeeded"], snapshot["items_failed"]) == (59, 1)
    expected = [f"{k:03d}.txt={2 * k}" for k in range(60) if k != 33]
    assert rows_of(run) == expected
    (numbers / "033.txt").write_text("33")
    run.resume()
    assert end_of(run) == "Completed"
    assert rows_of(run) == [f"{k:03d}.txt={2 * k}" for k in range(60)]
    (numbers / "007.txt").write_text("8")
    with pytest.raises(RunFolderError, match="nothing in it failed"):
        run.resume()


def version_of(run: Run, number: int, path: Path) -> None:
    """Record the present version of a restored file as its planned version."""
    now = os.stat(path)
    with open(run.folder.path / "versions", "r+b") as versions:
        versions.seek(16 * number)
        versions.write(struct.pack("<qq", now.st_size, now.st_mtime_ns))


def test_a_running_run_is_not_resumed(start: Callable[..., Run]) -> None:
    run = start("slow.py")
    wait_for(run, 1)
    with pytest.raises(RunFolderError, match="it is still active, and cannot be resumed. run.wait"):
        run.resume()
    assert end_of(run) == "Completed"


def test_of_resumes_at_once_one_completes_the_run_and_the_others_leave_it_as_it_is(
    start: Callable[..., Run], tmp_path: Path
) -> None:
    poor = tmp_path / "repaired.txt"
    poor.write_text("poor")
    script = tmp_path / "score.py"
    script.write_text(
        "def run(mini_batch):\n"
        "    assert open(mini_batch[0]).read() != 'poor'\n"
        "    return [open(mini_batch[0]).read()]\n"
    )
    config = ParallelRunConfig(entry_script=script, process_count_per_node=1, error_threshold=1)
    run = submit(config, inputs=[str(SCRIPTS / "echo.py"), str(poor)])
    assert end_of(run) == "Completed"
    poor.write_text("good")

    def ask(_: int) -> str:
        try:
            return Run.attach(run.run_id).resume(failed_only=True).run_id
        except (InputError, RunFolderError) as error:
            return str(error)

    with ThreadPoolExecutor(3) as pool:
        answers = list(pool.map(ask, range(3)))
    time.sleep(1)  # a driver that came late would have acted within this time
    assert set(answers) == {run.run_id}, "what one of them started is what all wanted"
    assert end_of(run) == "Completed"
    assert rows_of(run)[-1] == "good"
    assert run.snapshot()["items_failed"] == 0
    resumed = [e for e in run.events(follow=False) if isinstance(e, RunResumed)]
    assert len(resumed) == 1


def test_secrets_are_asked_for_by_name(
    start: Callable[..., Run], monkeypatch: pytest.MonkeyPatch
) -> None:
    run = start("slow.py", environment_variables={"MY_API_KEY": "hush"})
    wait_for(run, 1)
    run.cancel()
    end_of(run)
    with pytest.raises(ConfigError, match=r"MY_API_KEY, whose value is not stored on disk"):
        run.resume()
    monkeypatch.setenv("MY_API_KEY", "hush")
    run.resume()
    assert end_of(run) == "Completed"


def test_a_listing_that_was_cut_off_goes_on(start: Callable[..., Run]) -> None:
    run = start("slow.py")
    wait_for(run, 5)
    os.kill(driver_pid(run), signal.SIGKILL)
    while run.status != "Interrupted":
        pass
    lines = run.folder.plan.read_bytes().splitlines(keepends=True)
    run.folder.plan.write_bytes(b"".join(lines[:40]) + lines[40][:17])
    run.resume()
    assert end_of(run) == "Completed"
    assert rows_of(run) == NAMES
    assert run.folder.plan.read_bytes() == b"".join(lines)


KILLS = int(os.environ.get("STORM_KILLS", "10"))
"""``make storm`` asks for more."""


def test_a_storm_of_kills_changes_no_byte(tmp_path: Path) -> None:
    rng = random.Random(KILLS)
    write_digits(tmp_path)
    config = ParallelRunConfig(
        entry_script=tmp_path / "classify.py", mini_batch_size=5, process_count_per_node=2,
        run_max_try=100,
    )  # fmt: skip
    inputs = [tmp_path / "digits"] * max(1, KILLS // 10)
    digits: dict[str, Any] = {"inputs": inputs, "arguments": [tmp_path / "model.npz"]}
    quiet = submit(config, output=tmp_path / "quiet", **digits)
    assert end_of(quiet) == "Completed"
    run = submit(config, output=tmp_path / "storm", **digits)
    kills = resumes = 0
    while (status := run.status) != "Completed":
        assert status not in {"Failed", "Canceled"}, run.snapshot()["reason"]
        time.sleep(rng.uniform(0.02, 0.25))
        if status == "Interrupted":
            run.resume()
            resumes += 1
        elif kills < KILLS:
            kills += kill_one(run, rng)
    assert kills >= KILLS * 3 // 4, "the run was over too soon to be tried"
    assert resumes > 0
    mini_batches = run.snapshot()["mini_batches"]
    assert successes(run) == Counter(range(mini_batches))
    name = "parallel_run_step.txt"
    assert (tmp_path / "storm" / name).read_bytes() == (tmp_path / "quiet" / name).read_bytes()


def kill_one(run: Run, rng: random.Random) -> int:
    """Kill the driver or one of its workers; return how many were killed."""
    try:
        driver = psutil.Process(driver_pid(run))
        workers = [p for p in driver.children() if str(WORKER_FOLDER) in p.cmdline()]
        rng.choice([driver, *workers, *workers]).kill()
    except (psutil.NoSuchProcess, FileNotFoundError):
        return 0
    return 1


def test_resumes_that_a_limit_ends_reach_all_good_items(tmp_path: Path) -> None:
    """With one bad item in each mini-batch, each resume is ended by the first one that it tries."""
    for k in range(30):
        (tmp_path / f"{k:02}.txt").write_text("bad" if k % 5 == 2 else "good")
    script = tmp_path / "score.py"
    script.write_text(
        "def run(mini_batch):\n"
        "    for path in mini_batch:\n"
        "        assert open(path).read() == 'good', path\n"
        "    return mini_batch\n"
    )
    config = ParallelRunConfig(
        entry_script=str(script),
        mini_batch_size=5,
        process_count_per_node=1,
        no_retry_on=["AssertionError"],
    )
    run = submit(config, inputs=str(tmp_path / "*.txt"))
    good = []
    for _ in range(7):
        run.wait_for_completion(show_output=False, raise_on_error=False)
        good.append(run.snapshot()["items_succeeded"])
        if good[-1] == 24:
            break
        run.resume()
    assert good[-1] == 24, good
    with pytest.raises(RunFailedError, match=r"run.resume\(error_threshold=-1\) runs all of them"):
        run.wait_for_completion(show_output=False)
