"""The terminal, as programs that are started."""

from __future__ import annotations

import json
import os
import pty
import re
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import pytest

from parallelrun_jupyter import ParallelRunConfig, Run, submit
from parallelrun_jupyter.commands.cli import main
from tests.conftest import SCRIPTS
from tests.real.conftest import end_of

ECHO = str(SCRIPTS / "echo.py")


def parallelrun(*words: object, cwd: Path | None = None) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-m", "parallelrun_jupyter", *map(str, words)]
    return subprocess.run(command, capture_output=True, text=True, cwd=cwd, timeout=60)


def test_a_script_may_write_to_an_output_folder_that_is_new(numbers: Path, tmp_path: Path) -> None:
    script = SCRIPTS / "writes_files.py"
    words = ("-w", 2, "--mini-batch-size", 20, "--output", tmp_path / "new", "--run-max-try", 1)
    done = parallelrun("run", script, "-i", numbers, *words)
    assert done.returncode == 0, done.stdout + done.stderr
    assert len(list((tmp_path / "new").glob("*.txt.out"))) == 60


def test_an_output_folder_that_cannot_be_made_is_said_before_anything_runs(
    numbers: Path, home: Path
) -> None:
    done = parallelrun("run", ECHO, "-i", numbers, "--output", numbers / "000.txt" / "out")
    assert done.returncode != 0
    assert "000.txt/out' could not be created (Not a directory). Give output=" in done.stderr
    assert "Traceback" not in done.stderr


def test_a_home_that_is_a_file_is_named_by_every_command(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "home").write_text("")
    monkeypatch.setenv("PARALLELRUN_HOME", str(tmp_path / "home"))
    for words in (("list",), ("watch",), ("run", ECHO, "-i", ECHO)):
        done = parallelrun(*words)
        assert done.returncode == 2, words
        assert "Set PARALLELRUN_HOME" in done.stderr
        assert "Traceback" not in done.stderr


def test_a_closed_stdout_is_no_reason_to_fail(numbers: Path) -> None:
    run = submit(ParallelRunConfig(entry_script=ECHO, process_count_per_node=1), inputs=numbers)
    end_of(run)
    for words in ("list", f"watch {run.run_id}", f"watch --json {run.run_id}"):
        command = f"{sys.executable} -m parallelrun_jupyter {words} >&-"
        done = subprocess.run(command, shell=True, stderr=subprocess.PIPE, text=True, timeout=60)
        assert (done.returncode, done.stderr) == (0, ""), words


def test_a_run_is_shown_line_by_line_where_there_is_no_terminal(numbers: Path) -> None:
    done = parallelrun("run", SCRIPTS / "slow.py", "-i", numbers, "-w", 2, "--mini-batch-size", 5)
    assert done.returncode == 0, done.stderr
    lines = done.stdout.splitlines()
    assert re.match(r"run \d{8}-\d{9}-\w{4}; Ctrl-C stops watching, not the run", lines[0])
    percents = [int(m[1]) for line in lines if (m := re.search(r": (\d+) % · ", line))]
    assert percents == sorted(percents)
    assert len(percents) <= 22
    assert percents[-1] == 100
    assert lines[-2].startswith("Completed: 100 % · 60 of 60 items · 12 of 12 mini-batches")
    assert lines[-1].startswith("60 rows in ")


def test_a_run_is_shown_in_place_on_a_terminal(numbers: Path) -> None:
    command = [sys.executable, "-m", "parallelrun_jupyter", "run", str(SCRIPTS / "slow.py"),
               "-i", str(numbers), "-w", "2", "--mini-batch-size", "5"]  # fmt: skip
    pid, terminal = pty.fork()
    if pid == 0:
        os.environ.update(TERM="xterm-256color", COLUMNS="120", LINES="40")
        os.execv(command[0], command)
    shown = b""
    try:
        while chunk := os.read(terminal, 4096):
            shown += chunk
    except OSError:  # how Linux ends a terminal
        pass
    assert os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]) == 0
    os.close(terminal)
    text = shown.decode()
    assert "\x1b[1A" in text, "it moves up and draws again"
    assert "60 of 60 items" in text
    assert "█" in text


def test_what_failed_is_printed_with_commands_for_a_terminal(numbers: Path, tmp_path: Path) -> None:
    script = tmp_path / "bad.py"
    script.write_text(
        "def run(mini_batch):\n    if mini_batch[0].endswith('000.txt'):\n"
        "        raise KeyError('first')\n    raise ValueError('second')\n"
    )
    words = ("-i", numbers, "--mini-batch-size", 30, "--run-max-try", 1, "--error-threshold", -1)
    done = parallelrun("run", script, *words)
    [run] = Run.list()
    assert (
        f"'parallelrun failures {run.run_id}' lists the failed attempts, 'parallelrun"
        in done.stderr
    )
    shown = parallelrun("failures").stdout
    assert "KeyError: 'first'" in shown
    assert "raised at bad.py:3 in run, first in mini-batch 0; " in shown
    assert re.search(
        r"raised at bad.py:4 in run, .* attempts? failed there; 59 items failed", shown
    )
    assert parallelrun("failures", run.run_id).stdout == shown


def test_list_watch_logs_and_cancel(
    start: Callable[..., Run], capsys: pytest.CaptureFixture[str]
) -> None:
    run = start("slow.py", arguments=["x"])
    assert main(["cancel", run.run_id]) == 0
    end_of(run)
    assert main(["watch"]) == 1, "a run that did not complete"
    assert main(["list"]) == 0
    shown = capsys.readouterr().out
    assert f"canceling run {run.run_id}" in shown
    [line] = [line for line in shown.splitlines() if line.startswith(run.run_id)]
    assert re.search(r"  slow on \S+  +Canceled  .*  canceled on request$", line)


def test_the_list_tells_runs_apart(start: Callable[..., Run], numbers: Path) -> None:
    config = ParallelRunConfig(entry_script=ECHO, process_count_per_node=1)
    good = submit(config, inputs=str(numbers), name="nightly [1]")
    bad = start("faults.py", arguments=[numbers.parent, "raise=5"], run_max_try=1)
    for run in (good, bad):
        end_of(run)
    table = parallelrun("list").stdout.splitlines()
    assert table[0].split() == ["RUN", "NAME", "STATE", "STARTED", "TOOK", "DONE", "SIZE"]
    row = {line.split()[0]: line for line in table[1:]}
    assert re.search(r"faults on \S+  +Failed  .*, 1 failed .* 1 item failed;", row[bad.run_id])
    assert time.strftime("%Y-%m-%d") in row[good.run_id]
    assert "60 of 60 items" in row[good.run_id]

    rows = [json.loads(line) for line in parallelrun("list", "--json").stdout.splitlines()]
    assert [row["run_id"] for row in rows] == [bad.run_id, good.run_id]
    du = subprocess.run(["du", "-sk", good.folder.path], capture_output=True, text=True, check=True)
    assert abs(rows[1]["size_bytes"] - 1024 * int(du.stdout.split()[0])) <= 1024
    assert abs(rows[1]["created_at"] - time.time()) < 60
    assert set(rows[0]) == {
        "run_id", "name", "created_at", "is_final", "state", "reason", "plan_finished",
        "mini_batches", "succeeded", "failed", "items", "items_left", "items_failed", "rows", "usd",
        "elapsed_s", "size_bytes", "output",
    }, "programs read these"  # fmt: skip
    assert set(good.row()) == set(rows[1]), "in Python the same"

    def ids(*words: str) -> list[str]:
        shown = parallelrun("list", "--json", *words).stdout.splitlines()
        return [json.loads(line)["run_id"] for line in shown]

    assert ids("--limit", "1") == [bad.run_id]
    assert ids("--state", "failed") == [bad.run_id]
    assert ids("--state", "Failed", "--state", "Completed", "-n", "5") == [bad.run_id, good.run_id]
    assert ids("--name", "NIGHTLY [") == [good.run_id]
    assert ids("--name", "n*tly", "--limit", "1") == [good.run_id], "filtered first, then counted"
    assert ids("--name", "nothing like that") == []
    assert parallelrun("list", "--name", "nothing like that").stdout == "no runs\n"


@pytest.mark.parametrize(
    "words",
    [
        ["list", "--json"],
        ["watch", "--json"],
        ["logs"],
        ["results"],
        ["failures"],
        ["report", "--to", "/dev/null"],
        ["cancel"],
    ],
)
def test_a_command_whose_reader_has_gone_ends_quietly(
    start: Callable[..., Run], tmp_path: Path, words: list[str]
) -> None:
    end_of(start("talks.py", environment_variables={"MARKS": str(tmp_path)}))
    reads, writes = os.pipe()
    os.close(reads)
    done = subprocess.run(
        [sys.executable, "-m", "parallelrun_jupyter", *words],
        stdout=writes, stderr=subprocess.PIPE, text=True, timeout=60,
    )  # fmt: skip
    os.close(writes)
    assert done.stderr == ""
    assert done.returncode == 141


def test_rows_are_printed(start: Callable[..., Run], capsys: pytest.CaptureFixture[str]) -> None:
    run = start("echo.py", mini_batch_size=7)
    end_of(run)
    rows = list(run.to_pandas()["row"])

    def printed(*words: str) -> list[str]:
        assert main(["results", *words]) == 0
        return capsys.readouterr().out.splitlines()

    first = printed()
    assert first[0].split() == ["ITEM", "ROW"]
    assert len(first) == 21
    told = [json.loads(line) for line in printed(run.run_id, "--rows", "45", "--json")]
    assert [row["cells"]["row"] for row in told] == rows[:45]
    assert [row["number"] for row in told] == list(range(45))
    [_, found] = printed("--item", "042.TXT")
    assert "042.txt" in found
    assert len(printed("--latest")) == 11
    assert printed("--item", "nothing like it") == ["no rows"]
    run.folder.final_file(run.folder.read_record()).unlink()
    assert main(["results"]) == 2
    assert "was moved or deleted, so its rows cannot be shown" in capsys.readouterr().err


def test_logs_of_one_mini_batch(
    start: Callable[..., Run], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    run = start("talks.py", environment_variables={"MARKS": str(tmp_path)})
    end_of(run)
    assert main(["logs", "--mini-batch", "9", "-n", "3"]) == 0
    lines = capsys.readouterr().out.splitlines()
    assert len(lines) == 3
    assert all(" #9 " in line for line in lines)


def test_duplicates_run_once_on_request(numbers: Path) -> None:
    for path in numbers.iterdir():
        path.write_text("0")
    words = ["run", ECHO, "--input", str(numbers), "--run-duplicates-once", "--detach"]
    run = Run.attach(parallelrun(*words).stdout.strip())
    assert end_of(run) == "Completed"
    assert run.snapshot()["duplicates_copied"] == run.snapshot()["items"] - 1


def test_what_follows_two_dashes_goes_to_the_script(numbers: Path) -> None:
    words = ["-i", numbers, "--mini-batch-size", "100", "--error-threshold=-1", "--arg=--first"]
    done = parallelrun("run", SCRIPTS / "inspects.py", "-d", *words, "--", "--top", "3")
    assert done.returncode == 0, done.stderr
    run = Run.attach(done.stdout.strip())
    assert end_of(run) == "Completed"
    assert '"--first", "--top", "3"]' in run.to_pandas()["row"][0]


def test_a_path_is_said_to_hold_a_table(tmp_path: Path) -> None:
    (tmp_path / "some.csv").write_text("a,b\n1,x\n2,y\n")
    script = tmp_path / "doubles.py"
    script.write_text("def run(frame):\n    return list(frame.a * 2)\n")
    done = parallelrun("run", script, "-d", "-i", "some.csv", "--format", "csv", cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    run = Run.attach(done.stdout.strip())
    assert end_of(run) == "Completed"
    assert list(run.to_pandas()["row"]) == ["2", "4"]


def test_types_and_missing_words_of_a_table_are_typed(tmp_path: Path) -> None:
    (tmp_path / "some.csv").write_text("a,when,n\n12,2020-01-02,1\n-,2020-01-03,-\n")
    script = tmp_path / "shows.py"
    script.write_text("def run(frame):\n    return [repr(list(row)) for row in frame.to_numpy()]\n")
    words = ("--column-types", "a=str,when=datetime", "--missing", ",-")
    table = ("-i", "some.csv", "--format", "csv", *words)
    done = parallelrun("run", script, "-d", *table, cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    run = Run.attach(done.stdout.strip())
    assert end_of(run) == "Completed"
    assert list(run.to_pandas()["row"]) == [
        "['12', Timestamp('2020-01-02 00:00:00'), 1.0]",
        "[nan, Timestamp('2020-01-03 00:00:00'), nan]",
    ]
    done = parallelrun("run", script, "-i", "some.csv", *words, cwd=tmp_path)
    assert "--column-types is for tables of the format csv or jsonl" in done.stderr


def test_a_failed_run_shows_the_users_exception(numbers: Path, tmp_path: Path) -> None:
    done = parallelrun(
        "run", SCRIPTS / "faults.py", "-i", numbers, "--run-max-try", 1, "--", tmp_path, "raise=5"
    )
    assert done.returncode == 1
    assert done.stderr.startswith("Traceback (most recent call last):")
    assert "number 5 is bad" in done.stderr
    assert "cli.py" not in done.stderr, "no frame of ours"


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["run", ECHO, "--inputt", "x"],
         "unknown option --inputt of 'parallelrun run'. Did you mean '--input'?"),
        (["run", ECHO], "--input is missing; write, for example, --input 'digits/*.png'."),
        (["run", ECHO, "-i", "/none/*.png"],
         "the glob '/none/*.png' matches no file: '/none' does not exist; '/' contains"),
        (["run", "/none.py", "-i", "/etc/hosts"], "there is no file /none.py"),
        (["run", ECHO, "-i", "/etc/hosts", "--format", "xls"], "invalid choice: 'xls'"),
        (["run", ECHO, "-i", "/etc/hosts", "--workers", "0"],
         "process_count_per_node is 0; expected a whole number from 1."),
        (["run", ECHO, "-i", "/etc/hosts", "--workers", "two"],
         "argument --workers/-w: invalid int value: 'two'"),
        (["run", ECHO, "-i", "/etc/hosts", "-w", "2", "--process-count-per-node", "3"],
         "both set the number of worker processes, so give one of them"),
        (["run", ECHO, "-i", "/etc/hosts", "--output-action", "append"], "invalid choice: 'append'"),
        (["run", ECHO, "-i", "/etc/hosts", "--environment-variables", "A"],
         "--environment-variables is 'A'; expected NAME=VALUE."),
        (["watch", "nothing"], "'parallelrun list' lists the runs."),
        (["list", "--state", "fialed"], "state is 'fialed'; expected one of Queued,"),
        (["list", "--limit", "-3"], "limit is -3; expected the number of runs to list"),
        (["logs"], "there are no runs yet; start one with 'parallelrun run SCRIPT --input PATH'."),
        (["wach"], "invalid choice: 'wach'"),
    ],
)  # fmt: skip
def test_mistakes_are_one_line_that_says_what_to_do(
    words: list[str], message: str, capsys: pytest.CaptureFixture[str], home: Path
) -> None:
    assert main(words) == 2
    shown = capsys.readouterr()
    assert message in shown.err
    assert shown.err.count("\n") == 1
    assert shown.out == ""
    assert list(home.iterdir()) == [], "nothing was started"


def test_the_demo_from_start_to_picture(tmp_path: Path) -> None:
    done = parallelrun("demo", cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    match = re.search(r"([\d,]+) of 5,188 predictions are right \(([\d.]+)%\)", done.stdout)
    assert match, done.stdout
    assert float(match[2]) > 85
    picture = tmp_path / "parallelrun-demo" / "predictions.png"
    assert picture.read_bytes().startswith(b"\x89PNG")
    assert "Next:" in done.stdout


def test_a_run_is_shown_without_waiting(start: Callable[..., Run], tmp_path: Path) -> None:
    script = tmp_path / "long.py"
    script.write_text(
        "import time\n\n\ndef run(mini_batch):\n"
        "    time.sleep(600 * ('000.txt' not in mini_batch[0]))\n    return mini_batch\n"
    )
    run = start(str(script))
    while not run.snapshot()["succeeded"]:
        time.sleep(0.01)
    active = json.loads(parallelrun("show", "--json").stdout)
    assert (active["run_id"], active["is_final"]) == (run.run_id, False)
    run.cancel()
    assert end_of(run) == "Canceled"
    shown = json.loads(parallelrun("show", run.run_id, "--json").stdout)
    row = run.row()
    extra = {"failure_groups": [], "warnings": [], "folder": str(run.folder.path)}
    assert shown == {**row, **extra, "size_bytes": shown["size_bytes"]}
    assert parallelrun("show", run.run_id).stdout.startswith(row["name"])


def test_failures_are_shown_by_group(start: Callable[..., Run], tmp_path: Path) -> None:
    script = tmp_path / "bad.py"
    script.write_text("def run(mini_batch):\n    raise ValueError('no')\n")
    run = start(str(script), run_max_try=1, error_threshold=-1, mini_batch_size=20)
    end_of(run)
    [group] = json.loads(parallelrun("show", "--json").stdout)["failure_groups"]
    assert group["error"] == "ValueError"
    assert group["message"] == "no"
    assert group["group"].startswith("ValueError at bad.py:2")
    assert group["items_lost"] == 60


def test_one_mini_batch_is_tried_in_the_terminal(numbers: Path, tmp_path: Path) -> None:
    (tmp_path / "strict.py").write_text(
        "import sys\n\ndef run(mini_batch):\n    print('from', sys.argv[1:])\n"
        "    return [1 / int(open(path).read()) for path in mini_batch]\n"
    )
    (numbers / "000.txt").write_text("0")
    config = ParallelRunConfig(
        entry_script=str(tmp_path / "strict.py"), mini_batch_size=1, run_max_try=1,
        process_count_per_node=1, error_threshold=-1,
    )  # fmt: skip
    run = submit(config, inputs=numbers, arguments=["--fast"])
    end_of(run)
    journal = run.folder.journal.read_bytes()

    done = parallelrun("try", 0)
    assert done.returncode == 1
    assert done.stdout == "from ['--fast']\n"
    assert done.stderr.startswith('Traceback (most recent call last):\n  File "')
    assert done.stderr.endswith("ZeroDivisionError: division by zero\n")
    assert "parallelrun_jupyter" not in done.stderr

    (tmp_path / "fixed.py").write_text("def run(mini_batch):\n    return ['fixed']\n")
    done = parallelrun("try", 0, run.run_id, "--entry-script", tmp_path / "fixed.py")
    assert (done.returncode, done.stderr) == (0, "")
    assert done.stdout == "run() returned 1 row for 1 item\nthe result: ['fixed']\n"

    (tmp_path / "fixed.py").write_text("def run(mini_batch):\n    return None\n")
    done = parallelrun("try", 0, "--entry-script", tmp_path / "fixed.py")
    assert done.returncode == 1
    assert done.stderr.startswith("a worker would reject the result: run() returned None")

    (tmp_path / "fixed.py").write_text("import time\n\ndef run(mini_batch):\n    time.sleep(60)\n")
    done = parallelrun("try", 0, "--entry-script", tmp_path / "fixed.py", "--timeout", 1)
    assert done.returncode == -signal.SIGALRM

    for words, message in (
        (("try", 99), f"run {run.run_id} has no mini-batch 99; they are numbered from 0 to 59."),
        (("try", 0, "--timeout", 0), "--timeout is 0; expected seconds, such as 60."),
        (("try", 0, "--entry-script", tmp_path), f"the script {tmp_path} could not be read"),
    ):
        done = parallelrun(*words)
        assert done.returncode == 2
        assert done.stderr.startswith(f"parallelrun: {message}")
    assert run.folder.journal.read_bytes() == journal
