"""Runs a script on one real node, without a scheduler, and collects the signals."""

from __future__ import annotations

import os
import selectors
import sys
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from parallelrun_jupyter.engine.node.node import Node
from parallelrun_jupyter.engine.node.worker_process import WorkerSpec
from parallelrun_jupyter.engine.scheduling import signals
from parallelrun_jupyter.engine.scheduling.limits import NodeLimits
from parallelrun_jupyter.engine.scheduling.signals import Signal

_TIMEOUT_S = 60.0

Answer = signals.ItemsAnswered | signals.AttemptErrored | signals.AttemptsSucceeded
ANSWERS = (signals.ItemsAnswered, signals.AttemptErrored, signals.AttemptsSucceeded)


class NodeRunner:
    """A node, usually with one worker; a context manager that stops it.

    Parameters
    ----------
    folder
        Folder for the script and its log.
    script
        The text of the script.
    python
        The interpreter of the worker.
    workers
        The number of workers.
    run_s
        Seconds until a timeout of ``run()``.
    start
        Changes of the worker's settings.
    """

    def __init__(
        self,
        folder: Path,
        script: str,
        *,
        python: str = sys.executable,
        workers: int = 1,
        run_s: float = 60.0,
        **start: Any,
    ) -> None:
        (folder / "score.py").write_text(script)
        self.log = folder / "n0w0.log"
        self._rows = bytearray()
        #: all signals of the node
        self.emitted: list[Signal] = []
        self._selector = selectors.DefaultSelector()
        words = {
            "script": str(folder / "score.py"), "argv": ["score.py"], "cwd": str(folder),
            "sys_path": [], "append_rows": True, "answers_items": True, "has_tables_only": False, "output_format": "text",
            "logging_level": "INFO", "roots": [str(folder)], "output_dir": "", "log_dir": "",
            "uses": {"folder": "", "names": {}},
            "calls": {"concurrency": 1, "by_item": False, "prices": {}, "limit_s": 60, "run_id": "r"},
        }  # fmt: skip
        spec = WorkerSpec(python, dict(os.environ), folder, {**words, **start})
        self.node = Node(
            "n0", workers, spec, NodeLimits(run_s), selector=self._selector, keep_rows=self._keep,
            origin=time.monotonic(),
        )  # fmt: skip

    def _keep(self, payload: bytes) -> tuple[int, int]:
        offset = len(self._rows)
        self._rows += payload
        return 0, offset

    def __enter__(self) -> NodeRunner:  # noqa: PYI034 - Self is new in Python 3.11
        return self

    def __exit__(self, *_: object) -> None:
        self.node.stop(drain=True)
        self._until(lambda emitted: any(isinstance(s, signals.NodeStopped) for s in emitted))
        while self.node.next_step_at() != float("inf"):
            self._turn()
        self._selector.close()

    def run(self, lines: Sequence[bytes], first: int = 0, attempt: int = 1) -> list[Any]:
        """Run mini-batches; return their answers in order, successes of bundles one by one."""
        self.node.assign(first, attempt, list(lines))
        answers: list[Any] = []

        def is_done(emitted: list[Signal]) -> bool:
            for signal in emitted:
                if isinstance(signal, signals.AttemptsSucceeded):
                    answers.extend(signal.successes)
                elif isinstance(signal, ANSWERS):
                    answers.append(signal)
                assert not isinstance(signal, signals.WorkerNotReady), signal
            return len(answers) >= len(lines)

        self._until(is_done)
        return sorted(answers, key=lambda answer: answer.mini_batch)

    def rows(self, answer: signals.ItemsAnswered) -> list[bytes]:
        """Return the rows of each range of an answer."""
        texts, at = [], answer.offset
        for result in answer.results:
            texts.append(bytes(self._rows[at : at + result.length]))
            at += result.length
        return texts

    def _until(self, is_done: Any) -> None:
        until = time.monotonic() + _TIMEOUT_S
        while not is_done(self._turn()):
            assert time.monotonic() < until, self.log.read_text() if self.log.exists() else ""

    def _turn(self) -> list[Signal]:
        emitted = self.node.step()
        for key, _ in self._selector.select(0.02):
            emitted += self.node.handle(key.data, key.fd)
        self.emitted += emitted
        return emitted
