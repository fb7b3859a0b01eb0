"""Whole runs that go well, and their outputs."""

from __future__ import annotations

import errno
import json
import os
import resource
import stat
import sys
import time
from collections.abc import Callable
from functools import partial
from pathlib import Path

import pytest

from parallelrun_jupyter import ParallelRunConfig, ParallelRunStep, Run, submit
from parallelrun_jupyter.errors import (
    ConfigError,
    EntryScriptError,
    InputError,
    LaunchError,
    RunFolderError,
    WaitTimeoutError,
)
from parallelrun_jupyter.runs.journal.events import (
    AttemptSucceeded,
    RunFinished,
    RunStarted,
    WarningRaised,
    WorkerReady,
)
from parallelrun_jupyter.runs.source_copy import copy_source
from tests.conftest import SCRIPTS
from tests.real.conftest import end_of, rows_of
from tests.real.dask_processes import wait_until

NAMES = [f"{number:03d}.txt" for number in range(60)]


@pytest.mark.parametrize("size", [1, 7, 60, 100])
def test_rows_come_in_input_order(start: Callable[..., Run], size: int) -> None:
    run = start("echo.py", mini_batch_size=size)
    assert end_of(run) == "Completed"
    assert rows_of(run) == NAMES
    snapshot = run.snapshot()
    assert (snapshot["items_succeeded"], snapshot["items_failed"], snapshot["items_left"]) == (
        60,
        0,
        0,
    )
    # The wait ends when the end is in the journal; the driver clears up after that.
    wait_until(lambda: not list(run.folder.output.glob("part-*")), "the parts to be gone")


@pytest.mark.parametrize("how", ["fork", "forkserver", "spawn"])
def test_a_script_starts_processes_of_its_own(start: Callable[..., Run], how: str) -> None:
    """Python 3.14 has another default than the earlier ones."""
    run = start("processes_of_its_own.py", mini_batch_size=30, arguments=[how])
    assert end_of(run) == "Completed"
    assert rows_of(run) == [str(number * 2) for number in range(60)]


def test_a_pipe_deep_in_the_inputs_ends_the_run_and_is_named(
    start: Callable[..., Run], numbers: Path
) -> None:
    (numbers / "z").mkdir()
    os.mkfifo(numbers / "z" / "pipe")
    run = start("reads.py", first_task_creation_timeout=60)
    assert end_of(run, timeout_s=20) == "Failed"
    assert f"the input '{numbers}/z/pipe' is not a regular file" in run.snapshot()["reason"]


def test_a_source_directory_is_measured_with_what_its_links_lead_to(
    numbers: Path, tmp_path: Path, home: Path
) -> None:
    source = tmp_path / "source"
    source.mkdir()
    (source / "score.py").write_text("def run(mini_batch):\n    return mini_batch\n")
    with open(tmp_path / "large", "wb") as file:
        file.truncate(301 << 20)  # it takes no room itself, and its copy would
    (source / "data").symlink_to(tmp_path / "large")
    config = ParallelRunConfig(entry_script="score.py", source_directory=str(source))
    with pytest.raises(ConfigError, match="contains more than 300 MB, including linked files"):
        submit(config, inputs=numbers)
    assert sum(path.stat().st_size for path in home.rglob("*") if path.is_file()) < 1 << 20
    (source / "data").unlink()
    (source / "data").symlink_to(tmp_path / "nowhere")
    with pytest.warns(UserWarning, match="not copied from source_directory: .*/data"):
        run = submit(config, inputs=numbers)
    assert end_of(run) == "Completed"


def test_the_output_goes_where_it_was_asked_to(start: Callable[..., Run], tmp_path: Path) -> None:
    target = tmp_path / "new" / "place"
    run = start("echo.py", output=target, append_row_file_name="names.txt")
    assert end_of(run) == "Completed"
    assert (target / "names.txt").read_text().splitlines() == NAMES
    assert run.snapshot()["output"] == str(target / "names.txt")


def test_summary_only_writes_no_file(start: Callable[..., Run]) -> None:
    run = start("echo.py", output_action="summary_only")
    assert end_of(run) == "Completed"
    assert run.snapshot()["items_succeeded"] == 60
    assert list(run.folder.output.iterdir()) == []
    with pytest.raises(RuntimeError, match="has output_action 'summary_only'"):
        run.to_pandas()


def test_what_the_script_says_is_in_the_logs_by_mini_batch(
    start: Callable[..., Run], tmp_path: Path
) -> None:
    marks = tmp_path / "marks"
    marks.mkdir()
    run = start("talks.py", environment_variables={"MARKS": str(marks)})
    assert end_of(run) == "Completed"
    lines = run.logs(mini_batch=17).splitlines()
    said = [line.split(" ", 4)[2:] for line in lines]
    assert all(line.split()[3] == "#17" for line in lines)
    for level, text in [
        ("STDOUT", "prints 017.txt"),
        ("STDERR", "complains 017.txt"),
        ("INFO", "scorer: info is 017.txt"),
        ("WARNING", "scorer: warning is 017.txt"),
        ("STDOUT", "a child says 017.txt"),
        ("STDOUT", "raw 017.txt"),
        ("STDOUT", "no line end 017.txt"),
    ]:
        assert [level, "#17", text] in said, lines
    assert "debug is" not in run.logs(lines=10_000), "the level is INFO"
    inits = [path.read_text() for path in marks.iterdir()]
    assert set(inits) == {"init\n"}, "init() ran once in each worker"
    everything = run.logs(lines=10_000)
    ready = [e.worker for e in run.events(follow=False) if isinstance(e, WorkerReady)]
    assert everything.count("init prints") == len(inits) >= len(ready) > 0
    assert everything.count("shutdown prints") == len(ready)
    only = run.logs(lines=10_000, worker=ready[0])
    assert only
    assert all(line.startswith(f"{ready[0]} ") for line in only.splitlines())


def test_the_worker_is_set_up_as_promised(
    start: Callable[..., Run], monkeypatch: pytest.MonkeyPatch, home: Path, tmp_path: Path
) -> None:
    monkeypatch.setenv("OMP_NUM_THREADS", "3")
    monkeypatch.delenv("MKL_NUM_THREADS", raising=False)
    monkeypatch.chdir(tmp_path)
    run = start(
        "inspects.py", mini_batch_size=100, arguments=["--x", "1"], error_threshold=-1,
        environment_variables={"TEST_PLAIN": "p", "TEST_API_KEY": "hush"},
    )  # fmt: skip
    assert end_of(run) == "Completed"
    seen = json.loads(rows_of(run)[0])
    assert seen["threads"]["OMP_NUM_THREADS"] == "3", "the user's own setting wins"
    assert seen["threads"]["MKL_NUM_THREADS"].isdigit()
    assert seen["argv"] == [seen["file"], "--x", "1"]
    assert seen["cwd"] == str(tmp_path), "without a source directory, where it was submitted"
    assert seen["home"] == str(home)
    assert seen["environ"] == {"TEST_PLAIN": "p", "TEST_API_KEY": "hush"}
    assert not any(p.endswith("parallelrun_jupyter/worker") for p in seen["path"])
    assert not {"protocol", "serve", "logging"} & set(seen["modules"]), "nothing of ours in the way"
    for path in run.folder.path.rglob("*"):
        if path.is_file() and path.suffix not in {".txt", ".rows"}:  # its rows have it
            assert b"hush" not in path.read_bytes(), f"{path} holds a secret"
    assert stat.S_IMODE(run.folder.path.stat().st_mode) == 0o700


def test_a_source_directory_is_the_working_directory_and_is_snapshotted(tmp_path: Path) -> None:
    source = tmp_path / "project"
    (source / "scoring").mkdir(parents=True)
    (source / "helper.py").write_text("def label(): return open('label.txt').read()")
    (source / "label.txt").write_text("first")
    (source / "scoring" / "beside.py").write_text("SUFFIX = '!'")
    (source / "scoring" / "score.py").write_text(
        "import helper, beside\ndef run(b):\n    return [helper.label() + beside.SUFFIX] * len(b)\n"
    )
    (source / "__pycache__").mkdir()
    (source / "__pycache__" / "old.pyc").touch()
    (tmp_path / "in.txt").write_text("x")
    config = ParallelRunConfig(
        source_directory=str(source), entry_script="scoring/score.py", process_count_per_node=1
    )
    run = submit(ParallelRunStep("mine", config, tmp_path / "in.txt"))
    (source / "label.txt").write_text("changed later")
    assert end_of(run) == "Completed"
    assert rows_of(run) == ["first!"]
    assert run.name == "mine"
    assert not (run.folder.script / "__pycache__" / "old.pyc").exists(), "byte code is not copied"


def test_events_are_a_stream(start: Callable[..., Run]) -> None:
    run = start("slow.py", inputs=None)
    followed = list(run.events())
    assert isinstance(followed[0], RunStarted)
    assert isinstance(followed[-1], RunFinished)
    done = [event.mini_batch for event in followed if isinstance(event, AttemptSucceeded)]
    assert sorted(done) == list(range(60))
    assert list(run.events(follow=False, since=5)) == followed[5:]


def test_a_run_can_be_found_again_and_cancelled(start: Callable[..., Run]) -> None:
    run = start("slow.py", mini_batch_size=1)
    again = Run.attach(run.run_id)
    while not again.snapshot()["succeeded"]:
        assert again.status in {"Queued", "Planning", "Running"}
    again.cancel()
    assert end_of(run) == "Canceled"
    assert [r.run_id for r in Run.list()] == [run.run_id]
    with pytest.warns(UserWarning, match="is Canceled: these are the rows of"):
        rows = rows_of(run)
    assert 0 < len(rows) < 60
    assert "Canceled: canceled on request" in repr(run)
    assert end_of(Run.attach(str(run.folder.path))) == "Canceled"


def test_draining_keeps_what_is_running(start: Callable[..., Run]) -> None:
    run = start("slow.py")
    while not run.snapshot()["succeeded"]:
        pass
    run.cancel(drain=True)
    assert end_of(run) == "Canceled"
    snapshot = run.snapshot()
    assert snapshot["attempts_failed"] == 0
    assert 0 < snapshot["succeeded"] < 60


def test_waiting_ends_in_time_and_the_run_goes_on(start: Callable[..., Run]) -> None:
    run = start("slow.py")
    with pytest.raises(WaitTimeoutError, match="it continues. run.wait_for_completion"):
        run.wait_for_completion(show_output=False, timeout_s=0.3)
    assert end_of(run) == "Completed"


def test_nothing_starts_when_something_is_wrong(numbers: Path, tmp_path: Path, home: Path) -> None:
    bad = tmp_path / "bad.py"
    good = str(SCRIPTS / "echo.py")
    cases = [
        (EntryScriptError, "there is no file", str(tmp_path / "none.py"), numbers),
        (EntryScriptError, "bad.py, line 1", str(bad), numbers),
        (InputError, "matches no file", good, tmp_path / "*.png"),
        (InputError, "does not exist", good, tmp_path / "none"),
        (InputError, "inputs is empty", good, None),
        (ConfigError, "entry_script is missing", None, numbers),
    ]
    bad.write_text("def run(:")
    for kind, message, script, inputs in cases:
        settings = {} if script is None else {"entry_script": script}
        with pytest.raises(kind, match=message):
            submit(ParallelRunConfig(**settings), inputs=inputs)
    with pytest.raises(ConfigError, match="'1KB', a size in bytes"):
        submit(ParallelRunConfig(entry_script=good, mini_batch_size="1KB"), inputs=numbers)
    assert list(home.iterdir()) == []


def test_compute_wins_over_compute_target_and_says_so(numbers: Path) -> None:
    config = ParallelRunConfig(entry_script=str(SCRIPTS / "echo.py"), compute_target="local")
    with pytest.warns(UserWarning, match="compute='local' is used, not compute_target='local'"):
        run = submit(config, inputs=numbers, compute="local")
    assert end_of(run) == "Completed"


def test_a_driver_that_cannot_start_says_why(
    numbers: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, home: Path
) -> None:
    fake = tmp_path / "python"
    fake.write_text("#!/bin/sh\necho No module named parallelrun_jupyter >&2\nexit 1\n")
    fake.chmod(0o755)
    monkeypatch.setattr(sys, "executable", str(fake))
    config = ParallelRunConfig(entry_script=str(SCRIPTS / "echo.py"), environment="/bin/true")
    monkeypatch.setattr("parallelrun_jupyter.environment._check_version", lambda _: None)
    with pytest.raises(
        LaunchError, match="No module named parallelrun_jupyter. It needs parallelr"
    ):
        submit(config, inputs=numbers)
    assert not list((home / "runs").iterdir()), "nothing is left of a refused start"


def test_a_full_disk_at_the_start_is_a_sentence_and_leaves_no_folder(
    numbers: Path, monkeypatch: pytest.MonkeyPatch, home: Path
) -> None:
    def fill(*_: object) -> None:
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    monkeypatch.setattr("parallelrun_jupyter.client.new_run.shutil.copyfile", fill)
    with pytest.raises(RunFolderError, match=r"could not be written \(.*No space left on device"):
        submit(ParallelRunConfig(entry_script=str(SCRIPTS / "echo.py")), inputs=numbers)
    assert not list((home / "runs").iterdir())


def test_a_blank_name_is_none(numbers: Path) -> None:
    config = ParallelRunConfig(entry_script=str(SCRIPTS / "echo.py"), process_count_per_node=1)
    run = submit(config, inputs=numbers, name="  ")
    assert run.name.startswith("echo on ")
    assert end_of(run) == "Completed"


def test_a_refused_source_directory_leaves_no_folder(
    numbers: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, home: Path
) -> None:
    source = tmp_path / "source"
    source.mkdir()
    (source / "score.py").write_text("def run(mini_batch):\n    return mini_batch\n")
    (source / "data.bin").write_bytes(bytes(1000))
    small = partial(copy_source, limit_bytes=500)
    monkeypatch.setattr("parallelrun_jupyter.client.new_run.copy_source", small)
    config = ParallelRunConfig(entry_script="score.py", source_directory=str(source))
    with pytest.raises(ConfigError, match="would be copied into the run"):
        submit(config, inputs=numbers)
    assert not list((home / "runs").iterdir())


def test_more_files_may_be_open_than_select_takes(
    start: Callable[..., Run], tmp_path: Path
) -> None:
    """The notebook's kernel holds many files, and its driver inherits the first free numbers."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    if hard != resource.RLIM_INFINITY and hard < 3000:
        pytest.skip("so many files may not be open here")
    resource.setrlimit(resource.RLIMIT_NOFILE, (3000, hard))
    held = [os.open(os.devnull, os.O_RDONLY) for _ in range(1100)]
    try:
        for _ in range(3):  # the second and the third are handed to a driver that is about to idle
            run = start("echo.py", mini_batch_size=60)
            assert end_of(run) == "Completed"
            time.sleep(0.3)
            assert not run.folder.driver_log.read_text()
    finally:
        for fd in held:
            os.close(fd)
        resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))


@pytest.mark.parametrize("preload", [None, "auto"])
@pytest.mark.parametrize("version", ["3.7", "3.8", "3.13"])
def test_workers_run_under_another_python(
    start: Callable[..., Run], version: str, preload: str | None
) -> None:
    found = sorted(Path.home().glob(f".pyenv/versions/{version}.*/bin/python"))
    if not found:
        pytest.skip(f"no Python {version} on this machine")
    environment = str(found[0])
    run = start(
        "old_python.py", environment=environment, arguments=["--model", "m1"], preload=preload
    )
    assert end_of(run) == "Completed"
    assert not [e for e in run.events(follow=False) if isinstance(e, WarningRaised)]
    assert rows_of(run) == [f"{version} m1"] * 60
    assert "model is m1" in run.logs(lines=1000)
    assert os.path.samefile(run.folder.read_record().script.python, found[0])
