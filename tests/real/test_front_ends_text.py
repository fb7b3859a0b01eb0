"""IPython in a terminal, and a plain script: the same run as text."""

from __future__ import annotations

import os
import pty
import re
import select
import signal
import subprocess
import sys
import time
from pathlib import Path

from parallelrun_jupyter import Run
from tests.real.conftest import end_of

WORK = """
import time
import parallelrun_jupyter as parallelrun

def double(number):
    time.sleep(0.1)
    return 2 * number
"""
SCRIPT = f"""{WORK}
run = parallelrun.map(double, list(range(60)), process_count_per_node=2, name="doubled")
print(run.wait_for_completion())
print(sum(run.results()))
"""


class Terminal:
    """A program in a terminal of its own."""

    def __init__(self, command: list[str], folder: Path) -> None:
        self.pid, self._end = pty.fork()
        if self.pid == 0:
            os.chdir(folder)
            os.environ.update(TERM="xterm-256color", COLUMNS="120", LINES="40")
            os.environ["IPYTHONDIR"] = str(folder / "ipython")
            os.execv(command[0], command)
        self._seen = ""

    def read_until(self, pattern: str, timeout_s: float = 60) -> str:
        """Return what the program writes up to a pattern."""
        deadline = time.monotonic() + timeout_s
        while not (found := re.search(pattern, self._seen)):
            assert time.monotonic() < deadline, self._seen
            if select.select([self._end], [], [], 0.1)[0]:
                self._seen += os.read(self._end, 65536).decode(errors="replace")
        text, self._seen = self._seen[: found.end()], self._seen[found.end() :]
        return text

    def type(self, text: str) -> None:
        os.write(self._end, text.encode())

    def close(self) -> None:
        os.waitpid(self.pid, 0)
        os.close(self._end)


def test_a_run_in_ipython_in_a_terminal(tmp_path: Path) -> None:
    (tmp_path / "work.py").write_text(WORK)
    ipython = Terminal(
        [sys.executable, "-m", "IPython", "--simple-prompt", "--no-banner", "--no-confirm-exit",
         "--colors=NoColor"],
        tmp_path,
    )  # fmt: skip
    ipython.read_until(r"In \[1\]: ")
    ipython.type("%run work.py\n")
    ipython.read_until(r"In \[2\]: ")
    ipython.type("run = parallelrun.map(double, list(range(600)), process_count_per_node=2)\n")
    ipython.read_until(r"In \[3\]: ")
    ipython.type("run.wait_for_completion()\n")
    live = ipython.read_until(r"[1-9]\d* of 600 items")
    live += ipython.read_until(r"\x1b\[1A")  # it moves up and draws again
    assert "Running" in live
    ipython.type("\x03")
    ipython.read_until(r"stopped watching; run \S+ continues")
    ipython.read_until(r"In \[4\]: ")
    ipython.type("run\n")
    assert "Running" in ipython.read_until(r"In \[5\]: ")  # the last line of a cell: its state
    ipython.type("run.cancel()\n")
    ipython.read_until(r"In \[6\]: ")
    ipython.type("parallelrun.Run.attach(run.run_id).wait_for_completion()\n")
    assert "'Canceled'" in ipython.read_until(r"In \[7\]: ")
    ipython.type("exit\n")
    ipython.close()


def test_a_run_in_a_plain_script(tmp_path: Path) -> None:
    script = tmp_path / "script.py"
    script.write_text(SCRIPT)
    done = subprocess.run(
        [sys.executable, script], capture_output=True, text=True, check=True, timeout=60
    )
    *lines, state, total = done.stdout.splitlines()
    assert (state, total) == ("Completed", str(60 * 59))
    percents = [int(m[1]) for line in lines if (m := re.search(r": (\d+) % · ", line))]
    assert len(percents) >= 3
    assert percents == sorted(percents)
    assert percents[-1] == 100
    assert "\x1b" not in done.stdout


def test_ctrl_c_in_a_plain_script_leaves_the_run(tmp_path: Path) -> None:
    script = tmp_path / "script.py"
    script.write_text(SCRIPT)
    process = subprocess.Popen(
        [sys.executable, "-u", script], stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
    )
    assert process.stdout is not None
    for line in process.stdout:
        if re.search(r": [1-9]\d* % · ", line):
            break
    process.send_signal(signal.SIGINT)
    _, errors = process.communicate(timeout=60)
    [run] = Run.list()
    assert f"stopped watching; run {run.run_id} continues" in errors
    assert end_of(run) == "Completed"
