"""Progress bars in the logs of real workers, however they are written."""

from __future__ import annotations

import time
from pathlib import Path

from parallelrun_jupyter import ParallelRunConfig, Run, submit
from tests.real.conftest import end_of

BARS = """
import os, subprocess, sys, time
def run(mini_batch):
    print("loading")
    for k in range(20001):
        sys.stderr.write("\\rpython %d/20000" % k)
    sys.stderr.write("\\n")
    for k in range(2001):
        os.write(1, b"native %d/2000\\r" % k)
    os.write(1, b"\\n")
    code = "for k in range(501): print('child %d/500' % k, end=chr(13))\\nprint()"
    subprocess.run([sys.executable, "-c", code], check=True)
    print("dos lines\\r\\nstay\\r")
    print("not ended 7/9", end="\\r")
    return mini_batch
"""

LASTS = """
import os, sys, time
def run(mini_batch):
    for k in range(100):
        print("%d/1000" % k, end="\\r", file=sys.stderr, flush=True)
    print("text", flush=True)
    while not os.path.exists(FLAG):
        print("200/1000", end="\\r", file=sys.stderr, flush=True)
        time.sleep(0.05)
    return mini_batch
"""


def start(folder: Path, text: str) -> Run:
    (folder / "data").mkdir()
    (folder / "data" / "one").touch()
    (folder / "bars.py").write_text(text)
    config = ParallelRunConfig(entry_script=str(folder / "bars.py"), process_count_per_node=1)
    return submit(config, inputs=str(folder / "data"))


def said(run: Run) -> list[str]:
    return [line.split(" ", 4)[4] for line in run.logs().split("\n")]


def test_every_bar_is_a_line_in_a_log_that_stays_small(tmp_path: Path) -> None:
    run = start(tmp_path, BARS)
    assert end_of(run) == "Completed"
    shown = said(run)
    for line in ("loading", "python 20000/20000", "native 2000/2000", "child 500/500", "dos lines",
                 "stay", "not ended 7/9"):  # fmt: skip
        assert shown.count(line) == 1, shown
    assert len(shown) == 7
    assert all("Z STD" in line for line in run.logs().split("\n")), "each with its time"
    assert shown == [line.split(" ", 4)[4] for line in run.logs(mini_batch=0).split("\n")]
    [log] = run.folder.user_logs.iterdir()
    assert log.stat().st_size < 2000, "300 kB were written"


def test_a_bar_is_seen_while_it_goes_on(tmp_path: Path) -> None:
    flag = tmp_path / "flag"
    run = start(tmp_path, LASTS.replace("FLAG", repr(str(flag))))
    until = time.monotonic() + 30
    while "200/1000" not in run.logs() and time.monotonic() < until:
        time.sleep(0.1)
    assert said(run) in (["text", "200/1000"], ["200/1000", "text"])
    flag.touch()
    assert end_of(run) == "Completed"
    assert said(run) == ["text", "200/1000"]
