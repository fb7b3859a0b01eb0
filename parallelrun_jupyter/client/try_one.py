"""Runs one mini-batch in this process, so that tracebacks are complete and debuggers work."""

from __future__ import annotations

import contextlib
import linecache
import os
import sys
import tempfile
import types
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ..errors import InputError, Remedy
from ..formatting import plural
from ..runs.run_folder import RunFolder
from ..runs.run_record import RunCalls, RunRecord
from ..worker.answers import answers_of
from ..worker.calls.by_item import by_item
from ..worker.context import load
from ..worker.context_argument import with_context
from ..worker.failures import BadInput, TypesDiffer, message_of
from ..worker.output.formats import TEXT
from ..worker.output.results import encode_result, materialized
from ..worker.plan_line import END_MARK, PlanLine
from ..worker.uses import load_uses
from .trial_calls import TrialLoop, TrialSpending

if TYPE_CHECKING:
    from ..worker.context import Failed

_SHOWN_ITEMS = 10


@dataclass(frozen=True, slots=True)
class Trial:
    """A script with the arguments, directory and variables that a worker would give it.

    ``values`` loads the variables that it gets by value. ``calls`` are the settings of its calls.
    """

    source: str
    filename: str
    arguments: Sequence[str]
    cwd: str
    sys_path: Sequence[str]
    variables: Mapping[str, str]
    answers_items: bool = True
    form: str = TEXT
    values: Callable[[], Mapping[str, Any]] = dict
    calls: RunCalls | None = None

    def run(self, line: bytes, mini_batch: int = 0) -> Any:
        """Call ``init()`` and ``run()`` on a mini-batch; return the result of ``run()``.

        Parameters
        ----------
        line
            The mini-batch as a line of the plan.
        mini_batch
            Its number, for the context argument that ``run()`` may have.

        Raises
        ------
        BadResult
            A worker would reject the result.
        Exception
            The exception of the user's code, unchanged.
        """
        __tracebackhide__ = True  # IPython then begins the traceback in the user's own code
        # A cell has no file: tracebacks and debuggers read its lines from the cache.
        lines = self.source.splitlines(keepends=True)
        linecache.cache[self.filename] = (len(self.source), None, lines, self.filename)
        with self._surroundings():
            module = types.ModuleType(Path(self.filename).stem)
            module.__file__ = self.filename
            module.__dict__.update(self.values())
            exec(compile(self.source, self.filename, "exec"), module.__dict__)  # noqa: S102 - the user asked for it
            plan_line = PlanLine.decode(line)
            failed: Failed | None = {} if self.answers_items else None
            run = module.run
            if self.calls is not None and self.calls.by_item:
                run = by_item(run)
            spending = TrialSpending(self.calls)
            with TrialLoop() as loop:
                if hasattr(module, "init"):
                    loop.finish(module.init())
                call = with_context(run, spending=spending)
                result = materialized(loop.finish(call(plan_line, mini_batch, failed)))
        answers = answers_of(result, plan_line, failed, self.form)
        pieces = [elements for _, _, elements in answers.pieces]
        rows = sum(
            encode_result(elements, append_rows=True, form=self.form)[0] for elements in pieces
        )
        items = plural(plan_line.item_count, "item")
        spent = f"; {spending.text}" if spending.text else ""
        print(f"run() returned {plural(rows, 'row')} for {items}{spent}")
        if answers.failed:
            print(_failed_text(answers.failed, items))
        return result

    @contextlib.contextmanager
    def _surroundings(self) -> Iterator[None]:
        """Set the script's argv, directory, sys.path and variables; restore them at the end."""
        argv, path, cwd, environ = sys.argv[:], sys.path[:], os.getcwd(), dict(os.environ)
        try:
            sys.argv[:] = [self.filename, *self.arguments]
            sys.path[:0] = self.sys_path
            os.chdir(self.cwd)
            os.environ.update(self.variables)
            yield
        finally:
            sys.argv[:], sys.path[:] = argv, path
            os.chdir(cwd)
            os.environ.clear()
            os.environ.update(environ)


def copies(values: Mapping[str, Any]) -> dict[str, Any]:
    """Return copies of variables, as workers get them.

    Raises
    ------
    ConfigError
        A value cannot be pickled.
    """
    if not values:
        return {}
    from .by_value import pack, write  # cloudpickle takes a while to import

    packed = {name: pack(value, name) for name, value in values.items()}
    with tempfile.TemporaryDirectory(prefix="parallelrun-try-") as folder:
        write(Path(folder), packed)
        return load_uses(folder, {name: one.python for name, one in packed.items()})


def _failed_text(failed: Sequence[tuple[int, BaseException, str]], items: str) -> str:
    """Return a sentence about the items that failed: how many, and the first of them."""
    shown = [
        f"item {position}: {type(error).__name__}: {message_of(error)}"
        for position, error, _ in failed[:_SHOWN_ITEMS]
    ]
    more = f"; and {len(failed) - len(shown)} more" if len(failed) > len(shown) else ""
    return f"{len(failed)} of {items} failed: {'; '.join(shown)}{more}"


def trial_of(folder: RunFolder, record: RunRecord) -> Trial:
    """Return the trial of a run: the snapshot of its script, with corrections."""
    snapshot = str(folder.script)
    path = record.script.path_in(snapshot)
    paths = side_paths(record.inputs.side_inputs)
    folder.make_script_output(record)
    output = folder.script_output(record)
    return Trial(
        source=Path(path).read_text(encoding="utf-8-sig"),
        filename=path,
        arguments=record.script.argv(paths, output),
        cwd=record.script.working_directory(snapshot),
        sys_path=record.script.import_paths(snapshot),
        variables={
            **record.inputs.side_variables(paths),
            **record.script.recorded_variables(),
            "AZUREML_BI_OUTPUT_PATH": output,
        },
        # The first exception of a function is raised, for %debug.
        answers_items=record.limits.isolate_failures and not record.script.call,
        form=record.output.format if record.script.call else TEXT,
        values=partial(load_uses, str(folder.uses), record.script.uses),
        calls=record.calls,
    )


def side_paths(side_inputs: Sequence[Mapping[str, Any]]) -> dict[int, str]:
    """Download the side inputs that are in stores; return their local paths by number."""
    remote = {k: spec for k, spec in enumerate(side_inputs) if spec.get("storage")}
    if not remote:
        return {}
    from ..data.staging.local_copies import local_root

    return {number: local_root(spec) for number, spec in remote.items()}


def line_of(folder: RunFolder, mini_batch: int) -> bytes:
    """Return the plan line of a mini-batch of a run, with local paths.

    If its column types are only assumed, and its rows have others, they are inferred from all rows
    of the input, as they would be when the run is resumed.

    Raises
    ------
    InputError
        The run has no such mini-batch, or has not planned it yet; or its files could not be
        downloaded, or not be read.
    """
    from ..data.staging.local_copies import local_line

    specs = folder.read_record().inputs.datasets
    planned = _planned_line(folder, mini_batch)
    line = local_line(planned, specs)
    if not _is_in_doubt(line):
        return line
    print("The column types are not known yet: they are inferred from all rows of the input.")
    from ..engine.planning.assumed_plan import AssumedPlan

    plan = AssumedPlan(folder.read_record(), folder.plan)
    return local_line(plan.line_of_all_rows(planned), specs)


def _is_in_doubt(line: bytes) -> bool:
    """Return whether rows may have other column types than those that were assumed for them."""
    plan_line = PlanLine.decode(line)
    if not plan_line.is_table or "assumed" not in plan_line.table:
        return False
    try:
        load(plan_line)
    except TypesDiffer:
        return True
    except BadInput:
        pass  # the trial raises it
    return False


def _planned_line(folder: RunFolder, mini_batch: int) -> bytes:
    """Return the plan line of a mini-batch of a run.

    Raises
    ------
    InputError
        The run has no such mini-batch, or has not planned it yet.
    """
    count = 0
    try:
        with open(folder.plan, "rb") as lines:
            for count, line in enumerate(lines):
                if count == mini_batch and line.endswith(b"\n") and not line.startswith(END_MARK):
                    return line
    except FileNotFoundError:
        pass  # nothing is planned yet
    if folder.read_record().is_followed:
        msg = (
            f"run {folder.run_id} shows a job of Azure ML of others: its script and inputs are not here, so "
            "no mini-batch can be run here."
        )
        raise InputError(msg, folder.run_id, remedy=[Remedy.FAILURES])
    msg = (
        f"run {folder.run_id} has no mini-batch {mini_batch!r}; they are numbered from 0 to "
        f"{max(0, count - 1):,}."
    )
    raise InputError(msg, folder.run_id, remedy=[Remedy.FAILURES])
