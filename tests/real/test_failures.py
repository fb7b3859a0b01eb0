"""Errors of a script as a user sees them, through real processes, in every front end."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from parallelrun_jupyter import ParallelRunConfig, Run, TabularDataset, submit
from parallelrun_jupyter.engine.node.fork_server import WORKER_FOLDER
from parallelrun_jupyter.errors import ConfigError, RunFailedError, RunFolderError
from parallelrun_jupyter.runs.snapshot.follower import Follower
from parallelrun_jupyter.views.mime_bundle import run_output, saved_bundle
from parallelrun_jupyter.views.queries import QueryContext, answer
from parallelrun_jupyter.worker.output.results import SETTINGS_FILE
from parallelrun_jupyter.worker.status_page import SIZE
from tests.real.conftest import end_of, rows_of

Start = Callable[..., Run]


@pytest.fixture
def start_text(tmp_path: Path, numbers: Path) -> Start:
    """Return a function that submits the text of a script over the 60 numbers, in two mini-batches."""

    def submit_text(
        text: str, *, inputs: Any = None, arguments: Any = (), output: Any = None, **settings: Any
    ) -> Run:
        source = tmp_path / "src"
        source.mkdir(exist_ok=True)
        (source / "score.py").write_text(text)
        settings = {
            "mini_batch_size": 30,
            "process_count_per_node": 1,
            "run_max_try": 1,
            **settings,
        }
        config = ParallelRunConfig(
            entry_script="score.py", source_directory=str(source), **settings
        )
        return submit(config, inputs=inputs or numbers, arguments=arguments, output=output)

    return submit_text


def message_of(run: Run) -> str:
    """Return the error of a wait for a run that fails."""
    with pytest.raises(RunFailedError) as caught:
        run.wait_for_completion(show_output=False)
    return str(caught.value)


def test_a_short_result_is_said_everywhere(start_text: Start) -> None:
    run = start_text(
        "import os\n\ndef run(mini_batch):\n"
        "    return [p for p in mini_batch if p.endswith('07.txt')]\n"
    )
    said = "run() returned 1 result for 30 items at score.py:3"
    group = "ShortResult at score.py:3 in run"
    message = message_of(run)
    assert message.splitlines()[0] == f"ShortResult: {said}"
    assert "1 mini-batch, 29 items without a result" in message
    assert f"29 items failed; error_threshold allows 0: {said}" in message
    [failure] = run.failures().to_dict("records")
    assert (failure["mini_batch"], failure["items"], failure["kind"]) == (0, 29, "short_result")
    assert (failure["group"], failure["message"]) == (group, said)
    [row] = run.failure_groups().to_dict("records")
    assert (row["group"], row["attempts"], row["items_missing"]) == (group, 1, 29)
    assert f"ERROR #0 ShortResult: {said}" in run.logs(mini_batch=0)
    follower = Follower(run.folder)
    snapshot = follower.refresh()
    assert (snapshot["succeeded"], snapshot["rows"], snapshot["items_failed"]) == (1, 1, 29)
    bundle = saved_bundle(run_output(snapshot))
    for face in ("text/plain", "text/html"):
        assert said in bundle[face]
        assert "29 items without a result" in bundle[face]
        assert "run.resume()" not in bundle[face], "it would be refused"
    assert not snapshot["can_resume"]
    asked = QueryContext(run.folder, lambda: follower.state)
    shown: Any = answer(asked, {"ask": "failures", "group": group})
    assert [(r["mini_batch"], r["message"], r["items"]) for r in shown["rows"]] == [(0, said, 29)]
    detail: Any = answer(asked, {"ask": "mini_batch", "mini_batch": 0})
    assert [(a["succeeded"], a["message"]) for a in detail["attempts"]] == [(True, said)]
    with pytest.raises(RunFolderError, match="29 items without a result in mini-batches that"):
        run.resume()
    assert run.status == "Failed"
    report = run.folder.reports / "job_error.txt"
    until = time.monotonic() + 30
    while not (report.exists() and said in report.read_text()):
        assert time.monotonic() < until, "the report of errors names it"


RAISES = "import asyncio, sys\n{head}\ndef init():\n    {init}\ndef run(mini_batch):\n    {run}\n"


@pytest.mark.parametrize("raised", ["KeyboardInterrupt('no')", "asyncio.CancelledError('no')",
                                    "GeneratorExit('no')", "SystemExit('no')"])  # fmt: skip
@pytest.mark.parametrize(
    ("place", "line"), [("head", "2 in <module>"), ("init", "4 in init"), ("run", "6 in run")]
)
def test_every_exception_is_the_users(
    start_text: Start, raised: str, place: str, line: str
) -> None:
    lines = {"head": "", "init": "pass", "run": "return mini_batch", place: f"raise {raised}"}
    name = raised.partition("(")[0].rpartition(".")[2]
    run = start_text(RAISES.format(**lines))
    text = message_of(run)
    assert f"{name}: no" in text.replace("asyncio.exceptions.", "")
    assert f"raised at score.py:{line}" in text
    assert list(run.failure_groups()["group"]) == [f"{name} at score.py:{line}"]


ARGUMENTS = """
import argparse

def init():
    parser = argparse.ArgumentParser()
    parser.add_argument("--model", required=True)
    parser.add_argument("--top", type=int, default=3)
    parser.parse_args()

def run(mini_batch):
    return mini_batch
"""


@pytest.mark.parametrize("words", [[], ["--model", "m", "--top", "three"], ["--model", "m", "--x"]])
def test_what_argparse_says_is_the_reason(
    start_text: Start, tmp_path: Path, words: list[str]
) -> None:
    run = start_text(ARGUMENTS, arguments=words)
    message = message_of(run)
    plain = tmp_path / "src" / "plain.py"
    plain.write_text((tmp_path / "src" / "score.py").read_text() + "\ninit()\n")
    done = subprocess.run([sys.executable, plain, *words], capture_output=True, text=True)
    sentence = done.stderr.splitlines()[-1].partition(": ")[2]
    assert done.returncode == 2
    assert f"SystemExit: score.py: {sentence} (sys.exit(2) was called)" in message
    assert "raised at score.py:8 in init" in message
    assert sentence in run.logs()


def test_a_shutdown_that_fails_is_a_warning(start_text: Start) -> None:
    run = start_text(
        "def run(mini_batch):\n    return mini_batch\ndef shutdown():\n    raise KeyboardInterrupt\n"
    )
    assert end_of(run) == "Completed"
    [warning] = run.snapshot()["warnings"]
    assert warning == "shutdown() of n0w0 failed: KeyboardInterrupt at score.py:4 in shutdown"
    assert "line 4, in shutdown" in run.logs()


@pytest.mark.parametrize(
    ("ending", "code"), [("sys.exit(3)", 3), ("return mini_batch", 0), ("raise ValueError", 1)]
)
def test_a_forked_child_that_comes_back_is_no_second_worker(
    start_text: Start, ending: str, code: int
) -> None:
    run = start_text(
        "import os, sys\ndef run(mini_batch):\n    pid = os.fork()\n    if pid == 0:\n"
        f"        {ending}\n"
        "    status = os.waitpid(pid, 0)[1]\n    return [os.WEXITSTATUS(status)] * len(mini_batch)\n"
    )
    assert end_of(run) == "Completed"
    assert rows_of(run) == [str(code)] * 60


def test_a_timeout_is_one_though_the_script_makes_an_exception_of_its_signal(
    start_text: Start,
) -> None:
    run = start_text(
        "import signal, sys, time\ndef init():\n"
        "    signal.signal(signal.SIGTERM, lambda *args: sys.exit(0))\n"
        "def run(mini_batch):\n    time.sleep(100)\n",
        run_invocation_timeout=1, mini_batch_size=100, isolate_failures=False,
    )  # fmt: skip
    assert "run() took longer than run_invocation_timeout = 1 s" in message_of(run)
    [failure] = run.failures().to_dict("records")
    assert failure["kind"] == "timeout"
    assert failure["group"].startswith("Timeout at score.py:")
    assert "time.sleep(100)" in failure["traceback"]


def test_the_last_words_of_a_process_are_in_its_failure(start_text: Start) -> None:
    run = start_text(
        "import os\ndef run(mini_batch):\n"
        "    os.write(2, b'no license for this\\n')\n    os._exit(0)\n",
        isolate_failures=False,
    )
    assert "died with exit code 0: the script or a library ended" in message_of(run)
    assert list(run.failures()["message"].str.rpartition(": ")[2]) == ["no license for this"]


def test_a_generator_is_a_result_and_an_async_init_is_awaited(start_text: Start) -> None:
    run = start_text(
        "import os\ndef run(mini_batch):\n    for p in mini_batch:\n        yield p[-6:]\n"
    )
    assert end_of(run) == "Completed"
    assert rows_of(run) == [f"{number:02d}.txt" for number in range(60)]
    assert run.try_one(1)[0] == "30.txt"
    run = start_text(
        "async def load():\n    global word\n    word = 'ready'\ninit = load\n"
        "def run(mini_batch): return [word for _ in mini_batch]\n"
    )
    assert end_of(run) == "Completed"
    assert set(rows_of(run)) == {"ready"}


def test_a_settings_file_of_another_form_is_refused_at_submit(
    start_text: Start, tmp_path: Path
) -> None:
    (tmp_path / "src").mkdir()
    (tmp_path / "src" / SETTINGS_FILE).write_text('{"append_rows": {}}')
    with pytest.raises(ConfigError, match="has no object 'append_row'; expected {"):
        start_text("def run(mini_batch): return mini_batch")
    run = start_text("def run(mini_batch): return mini_batch", output_action="summary_only")
    assert end_of(run) == "Completed", "nothing is written with it"


def test_a_worker_that_cannot_start_says_why(tmp_path: Path) -> None:
    (tmp_path / SETTINGS_FILE).write_text("{}")
    words = {
        "script": str(tmp_path / "score.py"), "argv": [], "cwd": str(tmp_path), "sys_path": [],
        "log": str(tmp_path / "w.log"), "append_rows": True, "answers_items": True, "has_tables_only": False, "output_format": "text",
        "logging_level": "INFO", "roots": [], "output_dir": "", "log_dir": "", "agent_name": "", "uses": {"names": {}},
        "calls": {"concurrency": 1, "by_item": False, "prices": {}, "limit_s": 60, "run_id": "r"},
    }  # fmt: skip
    for change, said in (
        ({}, "has no object 'append_row'"),
        ({"cwd": "/no/such/folder"}, "No such file or directory: '/no/such/folder'"),
        ({"log": "/no/such/folder/w.log"}, "No such file or directory: '/no/such/folder/w.log'"),
    ):
        kind, failure = _first_reply({**words, **change})
        assert kind == "init_failed"
        assert said in failure["message"]
        assert failure["group"].endswith(" at the start of the worker")


def _first_reply(words: dict[str, Any]) -> Any:
    """Start a worker with these words; return the first message that it sends."""
    commands_out, commands = os.pipe()
    replies, replies_in = os.pipe()
    with tempfile.TemporaryFile() as page, tempfile.TemporaryFile() as dump:
        page.truncate(SIZE)
        fds = (commands_out, replies_in, page.fileno(), dump.fileno())
        process = subprocess.Popen([sys.executable, WORKER_FOLDER, *map(str, fds)], pass_fds=fds)
    os.close(commands_out)
    os.close(replies_in)
    os.write(commands, json.dumps(["start", words]).encode() + b"\n")
    with open(replies, "rb") as file:
        reply = json.loads(file.readline())
    os.close(commands)
    assert process.wait(20) == 1
    return reply


@pytest.mark.skipif(sys.platform != "linux", reason="macOS has no file names that are not UTF-8")
def test_names_that_are_no_utf8_are_shown_with_escapes_in_every_face(
    start_text: Start, tmp_path: Path
) -> None:
    odd = os.fsdecode(b"caf\xe9")
    inputs = tmp_path / f"{odd}-in"
    inputs.mkdir()
    (inputs / f"{odd}0.txt").touch()
    (inputs / f"{odd}1.txt").touch()
    run = start_text(
        "def run(mini_batch):\n    print(mini_batch[0])\n    if '1.txt' in mini_batch[0]:\n"
        "        raise ValueError('bad ' + mini_batch[0])\n    return [len(mini_batch)]\n",
        inputs=str(inputs), output=str(tmp_path / f"{odd}-out"), mini_batch_size=1,
        error_threshold=-1,
    )  # fmt: skip
    assert end_of(run) == "Completed"
    assert list(run.to_pandas()["row"]) == ["1"]
    bad = f"bad {inputs}/{odd}1.txt".replace(odd, "caf\\udce9")
    assert list(run.failures()["message"]) == list(run.failure_groups()["message"]) == [bad]
    assert f"ValueError: {bad}" in run.logs()
    follower = Follower(run.folder)
    shown = saved_bundle(run_output(follower.refresh()))
    asked = QueryContext(run.folder, lambda: follower.state)
    shown["detail"] = answer(asked, {"ask": "mini_batch", "mini_batch": 1})
    assert json.dumps(shown, ensure_ascii=False).encode("utf-8").count(b"caf\\\\udce91.txt") >= 4
    assert run.report(tmp_path / "run.html").stat().st_size > 1000
    until = time.monotonic() + 30
    while not (run.folder.reports / "job_error.txt").exists():
        assert time.monotonic() < until
    assert "caf\\udce9-out" in (run.folder.reports / "job_result.txt").read_text()
    assert run.status == "Completed", "what follows the end of a run cannot fail it"
    for words in (["failures", run.run_id], ["watch", run.run_id], ["logs", run.run_id], ["list"]):
        done = subprocess.run(
            [sys.executable, "-m", "parallelrun_jupyter", *words], capture_output=True, check=True
        )
        assert done.stdout.decode("utf-8")
    terminal = {**os.environ, "PYTHONIOENCODING": "ascii"}
    words = [sys.executable, "-m", "parallelrun_jupyter", "failures", run.run_id]
    done = subprocess.run(words, capture_output=True, check=True, env=terminal)
    assert b"caf\\udce91.txt" in done.stdout


def test_rows_of_a_table_are_records_with_their_types(start_text: Start, tmp_path: Path) -> None:
    table = tmp_path / "sweep.csv"
    table.write_text("width,rate,name\n256,0.5,a\n512,,\n")
    run = start_text(
        "def run(mini_batch, context):\n    return [repr(row) for row in context.records()]\n",
        inputs=TabularDataset.from_delimited_files(str(table)), mini_batch_size="1MB",
    )  # fmt: skip
    assert end_of(run) == "Completed"
    assert rows_of(run) == [
        "{'width': 256, 'rate': 0.5, 'name': 'a'}",
        "{'width': 512, 'rate': None, 'name': None}",
    ]
    assert run.try_one(0) == rows_of(run)
