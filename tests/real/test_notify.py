"""Runs that report their end: to a webhook, by mail, on the desktop; also after kills."""

from __future__ import annotations

import json
import os
import signal
import stat
import subprocess
import sys
import time
from collections import Counter
from collections.abc import Callable, Iterator
from pathlib import Path

import psutil
import pytest

import parallelrun_jupyter as parallelrun
from parallelrun_jupyter import Run
from parallelrun_jupyter.engine.notices.senders import SEND_LIMIT_S
from parallelrun_jupyter.errors import ConfigError, RunFolderError
from parallelrun_jupyter.runs.driver_lock import wait_for_release
from parallelrun_jupyter.runs.notices import Notice, notice_path, read_notice
from tests.conftest import SCRIPTS
from tests.real.conftest import end_of, rows_of
from tests.receivers import MailServer, Webhook

TOLD_LIMIT_S = 30


needs_proc = pytest.mark.skipif(sys.platform != "linux", reason="reads /proc")


def slowly(number: int) -> int:
    time.sleep(0.02)
    return number


@pytest.fixture
def webhook() -> Iterator[Webhook]:
    server = Webhook()
    yield server
    server.close()


def notice_of_end(run: Run, end: int = 1) -> Notice:
    """Wait until all receivers were told of an end of a run, or could not be."""
    deadline = time.monotonic() + SEND_LIMIT_S + TOLD_LIMIT_S
    while True:
        notice = read_notice(notice_path(run.folder, end))
        if notice is not None and not notice.untold:
            return notice
        assert time.monotonic() < deadline
        time.sleep(0.02)


def test_a_completed_run_tells_a_webhook_once(start: Callable[..., Run], webhook: Webhook) -> None:
    run = start("echo.py", notify=webhook.url)
    assert end_of(run) == "Completed"
    assert notice_of_end(run).told == {webhook.url: ""}
    [body] = webhook.bodies
    snapshot = run.snapshot()
    assert body["run_id"] == run.run_id
    assert body["id"] == f"{run.run_id}/1"
    assert body["state"] == "Completed"
    assert (body["items"], body["items_succeeded"], body["items_failed"]) == (60, 60, 0)
    assert (body["mini_batches"], body["succeeded"]) == (60, 60)
    assert body["first_failure"] is None
    assert body["elapsed_s"] == pytest.approx(snapshot["elapsed_s"], abs=0.01)
    assert body["text"].startswith(f"{snapshot['name']}: Completed after ")
    assert "60 of 60 items succeeded" in body["text"]
    assert not snapshot["warnings"]


def test_a_failed_run_tells_its_first_failure_and_its_resume_tells_again(
    start: Callable[..., Run], webhook: Webhook, tmp_path: Path
) -> None:
    script = tmp_path / "bad.py"
    script.write_text("def run(mini_batch):\n    raise ValueError('no such word')\n")
    run = start(str(script), notify=[webhook.url], run_max_try=1, error_threshold=3)
    assert end_of(run) == "Failed"
    notice_of_end(run)
    body = webhook.bodies[0]
    assert body["state"] == "Failed"
    assert body["reason"] == run.snapshot()["reason"]
    assert body["first_failure"]["error"] == "ValueError"
    assert body["first_failure"]["message"] == "no such word"
    assert "bad.py:2" in body["first_failure"]["group"]
    assert "First failure: ValueError at bad.py:2" in body["text"]
    run.resume(entry_script=SCRIPTS / "echo.py")
    assert end_of(run) == "Completed"
    notice_of_end(run, 2)
    assert [b["id"] for b in webhook.bodies] == [f"{run.run_id}/1", f"{run.run_id}/2"]
    assert webhook.bodies[1]["state"] == "Completed"


def test_a_secret_url_is_in_no_file_and_in_no_view(
    start: Callable[..., Run], webhook: Webhook, monkeypatch: pytest.MonkeyPatch, home: Path
) -> None:
    secret = "T0123/B4567/abcdEFGH8901ijklMNOP2345"
    monkeypatch.setenv("TEAM_HOOK", f"{webhook.url}/{secret}")
    run = start("echo.py", notify="env:TEAM_HOOK")
    assert end_of(run) == "Completed"
    assert notice_of_end(run).told == {"env:TEAM_HOOK": ""}
    assert webhook.paths == [f"/hook/{secret}"]
    # also in the driver's log and warnings, when it fails
    webhook.close()
    second = start("echo.py", notify="env:TEAM_HOOK")
    assert end_of(second) == "Completed"
    told = notice_of_end(second).told
    assert told["env:TEAM_HOOK"].startswith("the server could not be reached (")
    assert any("env:TEAM_HOOK was not notified" in text for text in second.snapshot()["warnings"])
    needle = b"abcdEFGH8901"
    files = [path for path in home.rglob("*") if path.is_file()]
    assert len(files) > 20
    assert [path for path in files if needle in path.read_bytes()] == []


def test_mail_goes_through_a_server_with_a_password(
    start: Callable[..., Run], monkeypatch: pytest.MonkeyPatch, home: Path
) -> None:
    server = MailServer("me", "open sesame")
    monkeypatch.setenv("PARALLELRUN_SMTP_SERVER", server.address)
    monkeypatch.setenv("PARALLELRUN_SMTP_USER", "me")
    monkeypatch.setenv("PARALLELRUN_SMTP_PASSWORD", "open sesame")
    monkeypatch.setenv("PARALLELRUN_SMTP_FROM", "runs@example.org")
    try:
        run = start("echo.py", notify="mailto:a@example.org,b@example.org")
        assert end_of(run) == "Completed"
        notice_of_end(run)
        [message] = server.messages
        assert server.recipients == [["a@example.org", "b@example.org"]]
        assert message["From"] == "runs@example.org"
        assert message["Subject"] == f"{run.snapshot()['name']}: Completed"
        assert "60 of 60 items succeeded" in message.get_content()
        monkeypatch.setenv("PARALLELRUN_SMTP_PASSWORD", "wrong")
        second = start("echo.py", notify="mailto:a@example.org")
        assert end_of(second) == "Completed"
        error = "the mail server refused the password (535)"
        assert notice_of_end(second).told == {"mailto:a@example.org": error}
        assert len(server.messages) == 1
    finally:
        server.close()
    assert not any(b"open sesame" in p.read_bytes() for p in home.rglob("*") if p.is_file())


@pytest.mark.skipif(sys.platform == "darwin", reason="macOS has osascript, which shows a notice")
def test_the_desktop_is_told_by_its_program(
    start: Callable[..., Run], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    program, seen = tmp_path / "bin" / "notify-send", tmp_path / "seen"
    program.parent.mkdir()
    program.write_text(f'#!/bin/sh\nprintf "%s\\n" "$@" > {seen}\n')
    program.chmod(program.stat().st_mode | stat.S_IXUSR)
    monkeypatch.setenv("PATH", f"{program.parent}:{os.environ['PATH']}")
    run = start("echo.py", notify="desktop")
    assert end_of(run) == "Completed"
    assert notice_of_end(run).told == {"desktop": ""}
    lines = seen.read_text().splitlines()
    assert lines[2] == f"{run.snapshot()['name']}: Completed"


def test_a_dead_receiver_delays_neither_the_end_nor_the_next_run_nor_a_resume(
    start: Callable[..., Run], tmp_path: Path
) -> None:
    dead, well = Webhook(hold_s=60), Webhook(hold_s=0)
    script = tmp_path / "bad.py"
    script.write_text("def run(mini_batch):\n    raise ValueError('x')\n")
    try:
        run = start(str(script), notify=[dead.url, well.url], run_max_try=1)
        assert end_of(run) == "Failed"
        while not dead.bodies:
            time.sleep(0.01)
        began = time.monotonic()
        second = start("echo.py")
        assert end_of(second) == "Completed"
        run.resume(entry_script=SCRIPTS / "echo.py")
        assert end_of(run) == "Completed"
        assert time.monotonic() - began < SEND_LIMIT_S
        first = read_notice(notice_path(run.folder, 1))
        assert first is not None
        assert first.told == {well.url: ""}, "the other receiver is still waited for"
        for end in (1, 2):
            told = notice_of_end(run, end).told
            assert told[well.url] == ""
            assert told[dead.url].startswith(("no answer", "it could not be reached (timed out"))
        assert Counter(b["id"] for b in well.bodies) == {f"{run.run_id}/1": 1, f"{run.run_id}/2": 1}
    finally:
        dead.close()
        well.close()


@needs_proc
def test_a_warm_driver_drives_the_next_run_while_receivers_are_waited_for(
    start: Callable[..., Run],
) -> None:
    dead = Webhook(hold_s=60)
    try:
        runs = []
        for _ in range(3):
            runs.append(start("echo.py", notify=dead.url))
            assert end_of(runs[-1]) == "Completed"
            deadline = time.monotonic() + TOLD_LIMIT_S
            while not senders_of(runs[-1]):  # it begins after the end
                assert time.monotonic() < deadline
                time.sleep(0.05)
        assert len({json.loads(run.folder.driver.read_text())["pid"] for run in runs}) == 1
    finally:
        dead.close()
    for run in runs:
        notice_of_end(run)
        wait_until_none_sends(run)


def senders_of(run: Run) -> list[psutil.Process]:
    """Return the processes that send the notices of a run."""
    path = str(notice_path(run.folder, 1))
    found = []
    for process in psutil.process_iter():
        try:
            if path in process.cmdline():
                found.append(process)
        except psutil.Error:
            continue  # it has ended, or belongs to another user
    return found


def wait_until_none_sends(run: Run) -> None:
    deadline = time.monotonic() + TOLD_LIMIT_S
    while senders_of(run):
        assert time.monotonic() < deadline
        time.sleep(0.02)


def kill_all_of(run: Run) -> None:
    """Kill the driver, and the process that tells of the end."""
    pid = int(json.loads(run.folder.driver.read_text())["pid"])
    processes = senders_of(run)
    try:
        processes.append(psutil.Process(pid))
    except psutil.NoSuchProcess:
        pass
    for process in processes:
        try:
            os.kill(process.pid, signal.SIGKILL)
        except ProcessLookupError:
            pass  # it has exited by itself
    psutil.wait_procs(processes, timeout=10)
    for process in senders_of(run):  # started by the driver in the meantime
        process.kill()
        process.wait(10)
    for path in run.folder.path.rglob(".*.tmp"):
        path.unlink()


@needs_proc
@pytest.mark.parametrize("delay_ms", [0, 1, 2, 4, 8, 15, 25, 40, 70, 120, 200, 350])
def test_kills_around_the_end_lose_no_notice(
    start: Callable[..., Run], webhook: Webhook, delay_ms: int
) -> None:
    run = start("echo.py", notify=webhook.url)
    while run.snapshot()["succeeded"] < 60 and not run.snapshot()["is_final"]:
        time.sleep(0.001)
    time.sleep(delay_ms / 1000)
    kill_all_of(run)
    wait_for_release(run.folder, TOLD_LIMIT_S)
    if run.status == "Completed":
        notice = read_notice(notice_path(run.folder, 1))
        if notice is None or notice.untold:
            with pytest.warns(UserWarning, match="driver was killed before"):
                run.resume()
    else:
        run.resume()
        assert end_of(run) == "Completed"
    last = max(run.folder.path.glob("notices/*.json"), default=None)
    notice = notice_of_end(run, int(last.stem) if last else 2)
    assert notice.told == {webhook.url: ""}
    assert rows_of(run) == [f"{number:03d}.txt" for number in range(60)]
    # At least once: a kill between the answer and the note repeats it, under the same id.
    assert {body["id"] for body in webhook.bodies} == {notice.content["id"]}
    assert 1 <= len(webhook.bodies) <= 2
    with pytest.raises(RunFolderError, match="nothing in it failed"):
        run.resume()


@needs_proc
def test_a_kill_between_the_end_and_the_note_is_made_up_for_by_a_resume(
    start: Callable[..., Run],
) -> None:
    slow = Webhook(hold_s=4.0)
    try:
        run = start("echo.py", notify=slow.url)
        assert end_of(run) == "Completed"
        while not slow.bodies:
            time.sleep(0.01)
        kill_all_of(run)
        with pytest.warns(UserWarning, match="was notified of the end, which happens now"):
            run.resume()
        notice_of_end(run)
        assert [body["id"] for body in slow.bodies] == [f"{run.run_id}/1"] * 2
    finally:
        slow.close()


def test_the_terminal_has_the_option(numbers: Path, webhook: Webhook) -> None:
    words = ["run", str(SCRIPTS / "echo.py"), "--input", str(numbers), "--notify", webhook.url]
    command = [sys.executable, "-m", "parallelrun_jupyter", *words]
    subprocess.run(command, check=True, capture_output=True, timeout=60)
    [run] = Run.list()
    notice_of_end(run)
    assert len(webhook.bodies) == 1


def test_map_passes_the_setting_on_and_a_cancel_is_an_end(webhook: Webhook) -> None:
    run = parallelrun.map(slowly, range(1000), notify=webhook.url, process_count_per_node=1)
    while not run.snapshot()["succeeded"]:
        time.sleep(0.01)
    run.cancel()
    assert end_of(run) == "Canceled"
    notice_of_end(run)
    [body] = webhook.bodies
    assert body["state"] == "Canceled"
    assert body["items"] == 1000
    assert 0 < body["items_succeeded"] == run.snapshot()["items_succeeded"] < 1000
    assert body["first_failure"] is None


def test_a_missing_variable_is_refused_at_submit(start: Callable[..., Run]) -> None:
    with pytest.raises(ConfigError) as refused:
        start("echo.py", notify="env:NO_SUCH_HOOK")
    assert str(refused.value) == (
        "notify is 'env:NO_SUCH_HOOK', but the environment variable NO_SUCH_HOOK is not set. Set it "
        "to the URL of the webhook first: os.environ['NO_SUCH_HOOK'] = ..."
    )
    assert Run.list() == []
