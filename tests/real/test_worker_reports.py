"""When a worker reports: several finished mini-batches together, and none of them too late."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import tempfile
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import pytest

from parallelrun_jupyter.engine.node.fork_server import WORKER_FOLDER
from parallelrun_jupyter.worker.plan_line import PlanLine
from parallelrun_jupyter.worker.protocol import encode
from parallelrun_jupyter.worker.status_page import SIZE

Send = Callable[..., list[list[Any]]]


@pytest.fixture
def send(tmp_path: Path) -> Iterator[Send]:
    """Return a function that sends commands in one write to a worker, and returns its replies to the end."""
    (tmp_path / "script.py").write_text(
        "import time\ndef run(mini_batch):\n    time.sleep(float(mini_batch[0]))\n    return mini_batch\n"
    )
    start = {
        "script": str(tmp_path / "script.py"), "argv": ["script.py"], "cwd": str(tmp_path),
        "sys_path": [], "log": str(tmp_path / "w.log"), "append_rows": True, "answers_items": True, "has_tables_only": False,
        "output_format": "text", "logging_level": "INFO", "roots": [str(tmp_path)],
        "output_dir": str(tmp_path), "log_dir": str(tmp_path), "agent_name": "process000",
        "uses": {"folder": "", "names": []},
        "calls": {"concurrency": 1, "by_item": False, "prices": {}, "limit_s": 60, "run_id": "r"},
    }  # fmt: skip
    with ExitStack() as files:
        page, dump = (files.enter_context(tempfile.TemporaryFile()) for _ in range(2))
        page.truncate(SIZE)
        commands_out, commands = os.pipe()
        replies_out, replies_in = os.pipe()
        passed = (commands_out, replies_in, page.fileno(), dump.fileno())
        words = [sys.executable, str(WORKER_FOLDER), *map(str, passed)]
        process = subprocess.Popen(words, pass_fds=passed, stdin=subprocess.DEVNULL)
        files.callback(process.wait, 10)
        os.close(commands_out)
        os.close(replies_in)
        replies = files.enter_context(os.fdopen(replies_out, "rb"))
        files.callback(os.close, commands)
        os.write(commands, encode(["start", start]))
        assert json.loads(replies.readline())[0] == "ready"

        def send(*messages: list[Any]) -> list[list[Any]]:
            os.write(commands, b"".join(map(encode, [*messages, ["stop"]])))
            found = []
            while line := replies.readline():
                found.append(json.loads(line))
                replies.read(found[-1][2] if found[-1][0] == "done" else 0)
            return found

        yield send


def bundle(first: int, count: int, report_after: int, seconds: float = 0.0) -> list[Any]:
    line = json.loads(PlanLine(0, [str(seconds)], [], []).encode())
    return ["run", [[first + k, 1, line] for k in range(count)], report_after]


def reported(replies: list[list[Any]]) -> list[list[int]]:
    """Return the mini-batches of each report; the end must follow them."""
    assert [reply[0] for reply in replies] == ["done"] * (len(replies) - 1) + ["stopped"]
    return [[row[0] for row in reply[3]] for reply in replies[:-1]]


def test_so_many_are_reported_together_as_the_node_says(send: Send) -> None:
    replies = send(bundle(0, 4, 3), bundle(4, 4, 3))
    assert reported(replies) == [[0, 1, 2], [3, 4, 5], [6, 7]]


def test_what_is_finished_is_reported_before_the_end(send: Send) -> None:
    assert reported(send(bundle(0, 2, 8))) == [[0, 1]]


def test_a_slow_one_is_not_waited_for_with_those_that_follow(send: Send) -> None:
    assert reported(send(bundle(0, 3, 8, seconds=0.06))) == [[0], [1], [2]]
