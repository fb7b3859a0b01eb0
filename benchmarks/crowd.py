"""The cost of the driver with two hundred simulated nodes and a million mini-batches."""

from __future__ import annotations

import json
from pathlib import Path

from .measure import Figure, run_program

FILES = 100_000
NODES = 200
RATE = 5_000

DRIVER = """
import json, os, resource, sys, time, zlib
from collections import deque
import psutil
from parallelrun_jupyter import ParallelRunConfig, submit
from parallelrun_jupyter.engine.scheduling import signals as sg
from parallelrun_jupyter.engine.driver import Driver
from parallelrun_jupyter.client import submit as submission
folder, files = sys.argv[1:3]
times, nodes, rate, batch, size = map(int, sys.argv[3:8])
os.environ["PARALLELRUN_HOME"] = os.path.join(folder, "home")
submission.launch = lambda *_: None  # this process is the driver
config = ParallelRunConfig(entry_script=os.path.join(folder, "empty.py"), mini_batch_size=size,
                           node_count=nodes, process_count_per_node=8)
run = submit(config, inputs=[files] * times)
ROWS = b"a row of an output\\n" * size
CRC = zlib.crc32(ROWS)

class Crowd:
    # Each node holds sixteen mini-batches; `rate` of them finish each second, in turn.
    def __init__(self, folder, record, keep_rows):
        self.names = [f"n{k}" for k in range(nodes)]
        self.nodes = ()
        self.held = {name: deque() for name in self.names}
        self.ready = deque()
        self.keep_rows = keep_rows
        self.began = None
        self.done = 0
        self.first = [s for name in self.names for s in (
            sg.NodeConnected(name, "nowhere"),
            *(sg.WorkerSpawned(name, f"{name}w{w}", 1) for w in range(8)),
            *(sg.WorkerInitialized(name, f"{name}w{w}", 1) for w in range(8)),
            sg.NodeOffered(name, 8, 16))]
        self.stopping = False
        self.looked = time.monotonic()
        self.rss = []
    def assign(self, node, first, attempt, lines, *, after_ms=0, every_ms=0):
        self.ready.extend((node, first + k, attempt) for k in range(len(lines)))
    def stop(self, *, drain):
        self.stopping = True
    def wait(self, timeout_s):
        if self.first:
            found, self.first = self.first, []
            return found
        if self.stopping:
            return [sg.NodeStopped(name) for name in self.names]
        now = time.monotonic()
        self.began = self.began or now
        due = int((now - self.began) * rate) - self.done if rate else len(self.ready)
        if due <= 0 or not self.ready:
            if not rate and self.ready:
                due = 1
            else:
                time.sleep(min(timeout_s, 0.005))
                return []
        found = []
        if now > self.looked + 1:
            self.looked = now
            self.rss.append((self.done, psutil.Process().memory_info().rss))
            found += [sg.WorkersSampled(name, tuple((f"{name}w{w}", "running", self.done + w, 5)
                                                for w in range(8))) for name in self.names]
        take = min(due, len(self.ready), 2000)
        self.done += take
        messages = {}
        for _ in range(take):
            node, k, attempt = self.ready.popleft()
            mine = messages.setdefault((node, _ // batch if batch > 1 else k), [])
            mine.append(sg.Success(k, attempt, size, size, 1000, len(ROWS), CRC))
        for (node, _), successes in messages.items():
            part, offset = self.keep_rows(ROWS * len(successes))
            found.append(sg.AttemptsSucceeded(node, f"{node}w0", tuple(successes), part, offset))
        return found
    def wake(self): pass
    def fetch_logs(self): pass
    def set_mini_batches_left(self, count): pass
    def close(self): pass

made = []
def make_pool(folder, record, keep_rows):
    made.append(Crowd(folder, record, keep_rows))
    return made[0]

wall, cpu = time.monotonic(), time.process_time()
driver = Driver(run.folder, make_pool)
driver.run()
wall, cpu = time.monotonic() - wall, time.process_time() - cpu
unit = 1 if sys.platform == "darwin" else 1024
peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * unit
driver.close()
assert run.status == "Completed" and run.snapshot()["succeeded"] * size == times * 100_000
print(json.dumps([wall, cpu, made[0].rss, peak, str(run.folder.path)]))
"""
"""A driver with simulated nodes in its process: folder, files, times, nodes, rate, results in a message,
items in a mini-batch."""


def make_files(folder: Path) -> Path:
    """Make 100,000 empty files and a script; return the folder of the files."""
    files = folder / "scale-files"
    if not files.is_dir():
        for number in range(FILES):
            part = files / f"{number // 1000:03d}"
            if number % 1000 == 0:
                part.mkdir(parents=True)
            (part / f"{number:06d}.txt").touch()
    (folder / "empty.py").write_text("def run(mini_batch):\n    return mini_batch\n")
    return files


def measure(folder: Path, rounds: int) -> list[Figure]:
    """Return the figures of many nodes; one round, since it is long."""
    del rounds
    files = make_files(folder)
    print(
        f"1,000,000 mini-batches on {NODES} nodes at {RATE:,} a second, each a message of its own"
    )
    wall, cpu, rss, *_ = json.loads(run_program(DRIVER, folder, files, 10, NODES, RATE, 1, 1))
    early = next(size for done, size in rss if done >= 100_000)
    late = rss[-1][1]
    print(f"  {wall:.0f} s, {cpu:.0f} s of CPU; {early / 1e6:.0f} MB at first, {late / 1e6:.0f} MB")
    fast, fast_cpu, *_ = json.loads(run_program(DRIVER, folder, files, 10, NODES, 0, 1, 1))
    print(f"  as fast as it goes: {1_000_000 / fast:,.0f} a second, {fast_cpu:.0f} s of CPU")
    return [
        Figure(f"share of a core at {RATE:,} mini-batches a second from {NODES} nodes",
               [cpu / wall], "limit", [0.6], "core", 1),
        Figure("growth of the driver for each mini-batch, from the first 100,000 on",
               [(late - early) / 900_000], "limit", [32.0], "B", 1),
        Figure("CPU for each mini-batch, as fast as it goes", [fast_cpu], "limit", [120.0],
               "µs", 1),
    ]  # fmt: skip
