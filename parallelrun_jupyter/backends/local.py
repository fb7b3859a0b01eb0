"""This machine: the nodes live in the driver's own process, and share its loop."""

from __future__ import annotations

import os
import selectors
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace

from ..engine.node.fork_server import CAN_FORK, ForkServer, Templates
from ..engine.node.node import Node
from ..engine.node.stager import StagerClient, staging_spec
from ..engine.node.worker_process import WorkerSpec
from ..engine.output.part_uploader import PartUploader, UploadTarget, put_spec
from ..engine.scheduling import signals
from ..engine.scheduling.limits import NodeLimits
from ..engine.scheduling.signals import Piece, Signal
from ..machine import thread_caps, visible_gpus
from ..runs.run_folder import RunFolder
from ..runs.run_record import RunRecord


class LocalPool:
    """The nodes of a run on this machine.

    Parameters
    ----------
    folder, record, keep_rows
        As of every pool.
    environ
        The variables that workers inherit.
    names
        Names of the nodes. Default: ``node_count`` of them, from ``n0`` on.
    templates
        What workers are forked from, where the run has imports to share; None starts them plainly.
    putting
        How they put parts of the output into its store; None where the rows go to the driver.
    """

    def __init__(
        self,
        folder: RunFolder,
        record: RunRecord,
        keep_rows: Callable[[bytes], tuple[int, int]],
        environ: Mapping[str, str] = os.environ,
        *,
        names: Sequence[str] = (),
        templates: Templates | None = None,
        putting: UploadTarget | None = None,
    ) -> None:
        names = names or [f"n{number}" for number in range(record.placement.node_count)]
        self._selector = selectors.DefaultSelector()
        self._woken, self._waker = os.pipe()
        os.set_blocking(self._woken, False)
        os.set_blocking(self._waker, False)
        self._selector.register(self._woken, selectors.EVENT_READ, None)
        self._putter: PartUploader | None = None
        if putting is not None:
            self._putter = PartUploader(putting, folder.path / "kept", names, self._selector)
            keep_rows = self._putter.spool.keep
        origin = time.monotonic() - (time.time() - record.created_at)
        spec = worker_spec(folder, record, environ)
        self._template: ForkServer | None = None
        if templates is not None and record.script.preload and CAN_FORK:
            self._template = templates.take(spec.python, record.script.preload, spec.environ)
            self._template.begin(self._selector)
            spec = replace(spec, template=self._template)
        self._nodes = {
            name: Node(
                name,
                record.placement.process_count_per_node,
                spec,
                NodeLimits(
                    record.limits.run_invocation_timeout,
                    record.limits.first_task_creation_timeout,
                    record.limits.task_overhead_timeout,
                ),
                selector=self._selector,
                keep_rows=keep_rows,
                origin=origin,
                staging=_staging(record, name, environ, self._selector),
            )
            for name in names
        }

    @property
    def nodes(self) -> tuple[str, ...]:
        """Names of the nodes."""
        return tuple(self._nodes)

    def assign(self, node: str, first: int, attempt: int, lines: list[bytes]) -> None:
        """Give mini-batches from ``first`` on to a node, a plan line each."""
        self._nodes[node].assign(first, attempt, lines)

    def put(self, node: str, first: int, pieces: Sequence[Piece]) -> None:
        """Let a node put the part of the output that begins with mini-batch ``first``."""
        if self._putter is not None:
            self._putter.put(node, first, pieces)

    def stop(self, *, drain: bool) -> None:
        """End the workers of all nodes."""
        for node in self._nodes.values():
            node.stop(drain=drain)

    def wait(self, timeout_s: float) -> list[Signal]:
        """Return what has happened, waiting at most so long for something to happen."""
        found: list[Signal] = []
        due = min(node.next_step_at() for node in self._nodes.values())
        if self._putter is not None:
            due = min(due, self._putter.next_step_at())
        timeout_s = max(0.0, min(timeout_s, due - time.monotonic()))
        for key, _ in self._selector.select(timeout_s):
            if key.data is None:
                self._drain_waker()
                continue
            if isinstance(key.data, ForkServer):
                found += self._take_born(key.data)
                continue
            if isinstance(key.data, PartUploader):
                found += key.data.handle(key.fd)
                continue
            for node in self._nodes.values():
                found += node.handle(key.data, key.fd)
        return found + self.step() + self._say_given_up()

    def _take_born(self, template: ForkServer) -> list[Signal]:
        """Say which workers a template has forked."""
        return [
            signals.WorkerSpawned(worker.name.rpartition("w")[0], worker.name, worker.pid)
            for worker in template.handle()
        ]

    def _say_given_up(self) -> list[Signal]:
        """Say, once, why a template forks no more."""
        if self._template is None or not self._template.reason:
            return []
        template, self._template = self._template, None
        text = f"workers are no longer forked from a template ({template.reason})"
        text = f"{text}: they are started plainly, and import for themselves"
        return [signals.Warned(text, template.traceback)]

    def step(self) -> list[Signal]:
        """Do what is due, and read nothing: whoever cannot take more rows now calls this alone."""
        found: list[Signal] = []
        now = time.monotonic()
        for node in self._nodes.values():
            if now >= node.next_step_at():
                found += node.step()
        return found + (self._putter.step() if self._putter is not None else [])

    def look_ahead(self, latency_s: float) -> None:
        """Let the nodes hold what they do in that time: whoever feeds them is far away."""
        for node in self._nodes.values():
            node.latency_s = latency_s

    @property
    def each_s(self) -> float:
        """How long a mini-batch takes, on the slowest node; 0 before the first has ended."""
        return max(node.each_s for node in self._nodes.values())

    def pause(self) -> list[Signal]:
        """Take nothing more, and give back what has not begun."""
        return [signal for node in self._nodes.values() for signal in node.pause()]

    def unpause(self) -> list[Signal]:
        """Take mini-batches again."""
        return [signal for node in self._nodes.values() for signal in node.unpause()]

    @property
    def is_idle(self) -> bool:
        """Whether no worker has anything to do, and no rows wait for the store."""
        keeps = self._putter is not None and not self._putter.is_empty
        return not keeps and all(node.is_idle for node in self._nodes.values())

    def expect(self, mini_batches: int) -> None:
        """Do nothing: this machine does not grow."""

    def bring_logs(self) -> None:
        """Do nothing: the logs are here."""

    def wake(self) -> None:
        """Let a ``wait`` return now."""
        try:
            os.write(self._waker, b"!")
        except BlockingIOError:
            pass  # full of earlier calls: it will wake

    def _drain_waker(self) -> None:
        try:
            os.read(self._woken, 4096)
        except BlockingIOError:
            pass

    def close(self) -> None:
        """End what still runs, and give everything back."""
        self.stop(drain=False)
        putter, self._putter = self._putter, None
        if putter is not None:
            putter.close()  # first of all: nothing is put from here on
        while any(node.next_step_at() != float("inf") for node in self._nodes.values()):
            self.wait(0.05)
        if self._template is not None:
            self._template.end()
        self._selector.close()
        os.close(self._woken)
        os.close(self._waker)


def _staging(
    record: RunRecord, node: str, environ: Mapping[str, str], selector: selectors.BaseSelector
) -> StagerClient | None:
    spec = staging_spec(record, node, environ)
    return StagerClient(spec, environ, selector) if spec else None


def worker_spec(folder: RunFolder, record: RunRecord, environ: Mapping[str, str]) -> WorkerSpec:
    """Return what the workers of a run on this machine are started with."""
    workers = record.placement.process_count_per_node * record.placement.node_count
    secrets = record.secret_variables()  # the driver's, to open stores with; not the script's
    merged = {k: v for k, v in environ.items() if k not in secrets}
    merged.update(record.inputs.side_variables({}))
    merged.update(record.script.recorded_variables())
    merged.update(thread_caps(workers, record.placement.cores, merged))
    folder.make_script_output(record)
    output_dir = folder.script_output(record)
    merged["AZUREML_BI_OUTPUT_PATH"] = output_dir
    snapshot = str(folder.script)
    script = record.script.path_in(snapshot)
    return WorkerSpec(
        python=record.script.python,
        environ=merged,
        logs=folder.user_logs,
        start={
            "script": script,
            "argv": [script, *record.script.argv({}, output_dir)],
            "cwd": record.script.working_directory(snapshot),
            "sys_path": record.script.import_paths(snapshot),
            "append_rows": record.output.append_rows,
            "output_format": record.output.format,
            "logging_level": record.script.logging_level,
            "roots": [snapshot, record.script.cwd]
            if record.script.source_directory is None
            else [snapshot],
            "output_dir": output_dir,
            "log_dir": str(folder.user_logs / "entry_script"),
        },
        gpus=visible_gpus(merged),
    )


def make_pool(
    folder: RunFolder,
    record: RunRecord,
    keep_rows: Callable[[bytes], tuple[int, int]],
    templates: Templates | None = None,
) -> LocalPool:
    """Make the pool of a run."""
    putting = put_spec(record, os.environ)
    return LocalPool(folder, record, keep_rows, templates=templates, putting=putting)
