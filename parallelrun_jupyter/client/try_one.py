"""Runs one mini-batch in this very process: the real traceback, and a debugger that works."""

from __future__ import annotations

import contextlib
import linecache
import os
import sys
import types
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from ..errors import InputError
from ..formatting import plural
from ..runs.run_folder import RunFolder
from ..runs.run_record import RunRecord
from ..worker.context import with_context
from ..worker.output.results import encode_result, taken
from ..worker.plan_line import END_MARK, PlanLine
from ..worker.script import call_plainly


@dataclass(frozen=True, slots=True)
class Trial:
    """What to call, and where: as a worker would, but in this process."""

    source: str
    filename: str
    arguments: Sequence[str]
    cwd: str
    sys_path: Sequence[str]
    variables: Mapping[str, str]

    def run(self, line: bytes, mini_batch: int = 0) -> Any:
        """Call ``init()`` and ``run()`` on the mini-batch of a plan line; return what ``run()`` did.

        ``mini_batch`` is its number, which a context tells.

        Raises
        ------
        BadResult
            The result is none that a worker would take.
        Exception
            What the user's code raises, untouched.
        """
        __tracebackhide__ = True  # IPython then begins the traceback in the user's own code
        # A cell has no file; its lines are put where tracebacks and debuggers look for them.
        lines = self.source.splitlines(keepends=True)
        linecache.cache[self.filename] = (len(self.source), None, lines, self.filename)
        with self._surroundings():
            module = types.ModuleType(Path(self.filename).stem)
            module.__file__ = self.filename
            exec(compile(self.source, self.filename, "exec"), module.__dict__)  # noqa: S102 - as asked
            call_plainly(module, "init")
            plan_line = PlanLine.decode(line)
            result = taken(with_context(module.run)(plan_line, mini_batch))
        rows, _ = encode_result(result, append_rows=True)
        print(f"run() returned {plural(rows, 'row')} for {plural(plan_line.item_count, 'item')}")
        return result

    @contextlib.contextmanager
    def _surroundings(self) -> Iterator[None]:
        """Give the script its argv, directory, paths and variables, and take them back."""
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


def trial_of(folder: RunFolder, record: RunRecord) -> Trial:
    """Return the trial of a run: its script as it was snapshotted, or corrected."""
    snapshot = str(folder.script)
    path = record.script_path(snapshot)
    paths = side_paths(record.side_inputs)
    given = {k: v for k, v in record.environment_variables.items() if v is not None}
    folder.make_script_output(record)
    output = folder.script_output(record)
    return Trial(
        source=Path(path).read_text(encoding="utf-8-sig"),
        filename=path,
        arguments=record.script_arguments(paths, output),
        cwd=record.working_directory(snapshot),
        sys_path=record.import_paths(snapshot),
        variables={
            **record.side_variables(paths),
            **given,
            "AZUREML_BI_OUTPUT_PATH": output,
        },
    )


def side_paths(side_inputs: Sequence[Mapping[str, Any]]) -> dict[int, str]:
    """Return local paths of the side inputs that are in stores, brought here now."""
    remote = {k: spec for k, spec in enumerate(side_inputs) if spec.get("storage")}
    if not remote:
        return {}
    from ..data.staging.local_copies import local_root

    return {number: local_root(spec) for number, spec in remote.items()}


def line_of(folder: RunFolder, mini_batch: int) -> bytes:
    """Return the plan line of a mini-batch of a run.

    Raises
    ------
    InputError
        The run has no such mini-batch (yet).
    """
    count = 0
    try:
        with open(folder.plan, "rb") as lines:
            for count, line in enumerate(lines):
                if count == mini_batch and line.endswith(b"\n") and not line.startswith(END_MARK):
                    return line
    except FileNotFoundError:
        pass  # nothing is planned yet: said below
    msg = (
        f"run {folder.run_id} has no mini-batch {mini_batch!r}; its numbers go from 0 to "
        f"{max(0, count - 1):,}. run.failures() names those that failed."
    )
    raise InputError(msg)
