"""``%%parallelrun`` and ``%parallelrun`` in a notebook."""

from __future__ import annotations

import argparse
import glob
import os
import tempfile
from collections.abc import Mapping
from functools import partial
from pathlib import Path
from typing import Any

from IPython.core.error import UsageError
from IPython.core.magic import Magics, line_cell_magic, magics_class
from IPython.display import display

from ..client.calls import calls_of, cut_of
from ..client.run import Run
from ..client.run_names import default_name
from ..client.script import Script
from ..client.submit import submit_script
from ..client.try_one import Trial, copies
from ..config.call_form import form_of_source
from ..config.entry_script import check_script
from ..config.step import ParallelRunStep
from ..data.batching import BatchSpec
from ..data.datasets.inputs import is_dataset, mini_batches
from ..data.datasets.memory_dataset import (
    ARRAY,
    FRAME,
    GRID,
    SERIES,
    TABLE,
    MemoryDataset,
    container_of,
)
from ..data.staging.local_copies import local_line
from ..errors import ConfigError, ParallelRunError, RunFailedError
from ..machine import usable_cores
from ..notebook.live import in_notebook
from ..notebook.run_details import RunDetails
from .azureml import start_in_notebook
from .cell import (
    CELL,
    check_names,
    names_like,
    padded,
    uses_of,
    with_comments_below,
    words_of,
)
from .checking import add_check_options, check_files
from .housekeeping import add_config_options, add_prune_options, configure, prune
from .listing import add_list_options, list_of_runs
from .option_parser import OptionParser, split_script_arguments
from .options import (
    add_resume_options,
    cell_options,
    config_of,
    inputs_of,
    reading_of,
    update_of,
)

_COMMANDS = (
    "list",
    "show",
    "logs",
    "cancel",
    "resume",
    "try",
    "compare",
    "prune",
    "config",
    "azureml",
    "check",
)
_IPYTHON_NAMES = {"In", "Out"}
_EXAMPLES = """
Run the cell, an entry script with init() and run(mini_batch), over many files. The cell is checked
first. The run then starts in processes of its own and continues when the kernel ends; the cell
returns without waiting for it. The variable named by --as holds the Run.

Examples:

    %%parallelrun --input "digits/*.png" --mini-batch-size 5 --workers 2 --as run
    def init(): ...
    def run(mini_batch): return [...]

    %%parallelrun -i texts/ --use weights,labels      # variables of the notebook, by value

    %%parallelrun -i images/ -i more/*.jpg --error-threshold 10 --output predictions/ -- --top 3

    songs = FileDataset("songs/", partition_format="{user}/{season}/*.wav")   # in another cell
    %%parallelrun --input songs --partition-keys user

    %%parallelrun --input frame --mini-batch-rows 500      # a DataFrame of the notebook

Then, in other cells:

    run.wait_for_completion(), run.to_pandas(), run.failures(), run.cancel()
    %parallelrun list [--state Failed]
    %parallelrun show | logs | cancel [--drain] | resume [--failed-only] [RUN]
    %parallelrun try 17 [RUN]    runs mini-batch 17 in the kernel, so that %debug works
    %parallelrun compare RUN OTHER    settings, counts, times, and the items whose rows differ
    %parallelrun prune --older-than 30d [--keep 50] [--max-size 5GB]    shows the runs; --yes removes them
    %parallelrun config max-size 20GB    keeps the runs under this size
    %parallelrun azureml run pipeline.yml [--input data=PATH] [--set NAME=VALUE]    a job of Azure ML v2
    %parallelrun azureml invoke deployment.yml --input FOLDER [--output DIR]    a batch deployment
    %parallelrun azureml list | watch JOB | cancel JOB | resume JOB
    %parallelrun check pipeline.yml    finds mistakes before it runs
"""


@magics_class
class ParallelRunMagics(Magics):
    """The magics. They report a user's mistake in one line, with a remedy."""

    @line_cell_magic
    def parallelrun(self, line: str, cell: str | None = None) -> None:
        """Run a cell, or a command on a run; the help of the options replaces this text below."""
        __tracebackhide__ = True  # IPython then begins the traceback in the user's own code
        try:
            if cell is None:
                self._line(line)
            else:
                self._cell(line, cell)
        except RunFailedError as error:
            raise error from None  # the script failed, not the command line: no UsageError
        except ParallelRunError as error:
            raise UsageError(error.worded("cell")) from None

    def _cell(self, line: str, cell: str) -> None:
        __tracebackhide__ = True
        parser = cell_options()
        words, script_words = split_script_arguments(words_of(line, cell))
        options = parser.parse_args(words)
        if not options.variable.isidentifier():
            msg = f"--as is {options.variable!r}; expected the name of a variable, such as 'run'."
            raise ConfigError(msg)
        inputs = inputs_of(options.input, options.format, self._names(), reading_of(options))
        cell = padded(cell, self._typed())
        names = self._own_names()
        script = self._script(options.source_directory, cell, uses_of(options.use, names))
        check_names(cell, script.path.name, names, list(script.uses))
        config = config_of(options, entry_script=script.path.name)
        step = ParallelRunStep(
            options.name or self._default_name(options, inputs), config, inputs, options.output,
            arguments=[*(options.arg or ()), *script_words],
        )  # fmt: skip
        if options.try_first:
            self._try_first(step, script)
        if options.dry_run is not None:
            self._dry_run(step, script, options)
            return
        run = submit_script(
            step, script, compute=options.compute, update=update_of(options),
            run_duplicates_once=options.run_duplicates_once,
        )  # fmt: skip
        self._names()[options.variable] = run
        if options.wait:
            run.wait_for_completion(show_output=True)
        else:
            waiting = f"{options.variable}.wait_for_completion() shows it live"
            self._show(run, f"started run {run.run_id}; {waiting}")

    @staticmethod
    def _dry_run(step: ParallelRunStep, script: Script, options: argparse.Namespace) -> None:
        from ..client.dry_run import write_dry_run

        path = write_dry_run(
            step, script, options.dry_run, compute=options.compute, update=update_of(options),
            run_duplicates_once=options.run_duplicates_once,
        )  # fmt: skip
        print(f"wrote {path}; nothing is submitted. To submit it: !az ml job create -f {path}")

    def _default_name(self, options: argparse.Namespace, inputs: list[Any]) -> str:
        names = self._names()
        words = [word if is_dataset(names.get(word)) else "" for word in options.input]
        return default_name(_cell_name(options.variable, names), inputs, words)

    def _typed(self) -> str:
        """Return the newest cell of the history, as it was typed."""
        history = getattr(self.shell, "history_manager", None)
        return "" if history is None else str(history.input_hist_raw[-1])

    def _own_names(self) -> dict[str, Any]:
        """Return the variables that the notebook's cells have made."""
        hidden = getattr(self.shell, "user_ns_hidden", {})
        names = self._names()
        return {key: value for key, value in names.items() if value is not hidden.get(key, hidden)}

    @staticmethod
    def _try_first(step: ParallelRunStep, script: Script) -> None:
        """Run the first mini-batch in the kernel, so that %debug can inspect its exception."""
        __tracebackhide__ = True
        cell = script.text or ""
        check_script(cell, "cell.py")
        step.inputs[0].check()
        cwd = os.getcwd()
        # A temporary output folder, since the run processes this mini-batch again.
        with tempfile.TemporaryDirectory(prefix="parallelrun-try-") as output:
            calls = calls_of(step.config, form_of_source(cell), "")
            cut = cut_of(step, calls, "")
            spec = _spec_for_trial(step, cut, Path(output))
            planned = mini_batches([spec], cut)
            line = next((line for line, _ in planned if line), b"")
            variables = {
                **(step.config.environment_variables or {}),
                "AZUREML_BI_OUTPUT_PATH": output,
            }
            values = partial(copies, script.uses)
            path = os.path.join(cwd, "cell.py")
            trial = Trial(
                cell, path, step.arguments, cwd, [cwd], variables, values=values, calls=calls
            )
            trial.run(local_line(line, [spec]))

    @staticmethod
    def _script(source_directory: str | None, cell: str, uses: Mapping[str, Any]) -> Script:
        source = Path(source_directory).expanduser().absolute() if source_directory else None
        if source is not None and not source.is_dir():
            msg = f"--source-directory is {source_directory!r}, which is not a folder."
            raise ConfigError(msg)
        path = (source or Path.cwd()) / "cell.py"
        return Script(path, text=cell, source_directory=source, uses=uses)

    def _line(self, line: str) -> None:
        __tracebackhide__ = True
        command, *words = words_of(line) or [""]
        match command:
            case "list":
                self._list(words)
            case "show":
                run = self._run_of(words)
                self._show(run, repr(run))
            case "logs":
                print(self._run_of(words).logs())
            case "cancel":
                self._cancel(words)
            case "resume":
                self._resume(words)
            case "try":
                self._try(words)
            case "compare":
                self._compare(words)
            case "prune" | "config" | "check":
                _as_in_terminal(command, words)
            case "azureml":
                start_in_notebook(words, self._names())
            case _:
                unknown = f"unknown command {command!r}; " if command else ""
                commands = " | ".join(_COMMANDS)
                msg = f"{unknown}write %parallelrun {commands}, or %%parallelrun for a cell."
                raise ConfigError(msg)

    @staticmethod
    def _show(run: Run, text: str) -> None:
        """Show a run live in a notebook; elsewhere, print its state as text."""
        if in_notebook():
            RunDetails(run).show()
        else:
            print(text)

    @staticmethod
    def _list(words: list[str]) -> None:
        parser = _line_parser("list")
        add_list_options(parser)
        print(list_of_runs(parser.parse_args(words)))

    def _cancel(self, words: list[str]) -> None:
        drain = "--drain" in words
        run = self._run_of([word for word in words if word != "--drain"])
        if run.cancel(drain=drain):
            drained = "; running mini-batches finish first" if drain else ""
            print(f"canceling run {run.run_id}{drained}")
        else:
            print(f"run {run.run_id} has already ended: {run.status}")

    def _resume(self, words: list[str]) -> None:
        parser = _line_parser("resume")
        parser.add_argument("run", nargs="*")
        add_resume_options(parser)
        options = parser.parse_args(words)
        run = self._run_of(options.run).resume(
            failed_only=options.failed_only,
            entry_script=options.entry_script,
            compute=options.compute,
            group=options.group,
            error_threshold=options.error_threshold,
            budget=options.budget,
        )
        self._show(run, f"resumed run {run.run_id}; run.wait_for_completion() shows it live")

    def _try(self, words: list[str]) -> None:
        __tracebackhide__ = True
        if not words or not words[0].isdigit():
            msg = "name a mini-batch: %parallelrun try 17, or %parallelrun try 17 RUN."
            raise ConfigError(msg)
        self._names()["_"] = self._run_of(words[1:]).try_one(int(words[0]))

    def _compare(self, words: list[str]) -> None:
        if len(words) != 2:
            msg = "name two runs, by their variables or ids: %parallelrun compare RUN OTHER."
            raise ConfigError(msg)
        this, other = (self._run_of([word]) for word in words)
        display(this.compare(other))

    def _names(self) -> dict[str, Any]:
        """Return the variables of the notebook."""
        shell = self.shell
        return {} if shell is None else shell.user_ns

    def _run_of(self, words: list[str]) -> Run:
        """Return the run named by a variable or an id; without either, the newest run."""
        if len(words) > 1:
            msg = f"{' '.join(words)!r} is more than one run; name one, or none for the newest."
            raise ConfigError(msg)
        if words:
            value = self._names().get(words[0])
            return value if isinstance(value, Run) else Run.attach(words[0])
        newest = Run.list(1)
        if not newest:
            msg = "there are no runs yet; start one with %%parallelrun."
            raise ConfigError(msg)
        return newest[0]


def _spec_for_trial(step: ParallelRunStep, cut: BatchSpec, folder: Path) -> dict[str, Any]:
    """Return the spec of the first input; of a variable, its first mini-batch is stored in a folder."""
    dataset = step.inputs[0]
    if isinstance(dataset, MemoryDataset):
        rows = cut.size or dataset.batch_rows(usable_cores(), is_batched=True)
        dataset = dataset.first(rows)
        dataset.store(folder / "values", 0, rows)
    return dataset.spec()


def _cell_name(variable: str, names: Mapping[str, Any]) -> str:
    """Return the name of a cell's script: its variable, or the notebook if that is ``run``.

    Jupyter's server names the notebook in an environment variable, VS Code in one of the notebook's.
    """
    if variable != "run":
        return variable
    path = names.get("__vsc_ipynb_file__") or os.environ.get("JPY_SESSION_NAME", "")
    name, suffix = os.path.splitext(os.path.basename(str(path)))
    return name if suffix else "cell"  # a console has an id without a suffix


ParallelRunMagics.parallelrun.__doc__ = f"{_EXAMPLES}\n{cell_options().format_help()}"


def _is_data(name: str, value: object) -> bool:
    """Return whether a variable is offered as an input: a table, an array, a list or a range."""
    if name.startswith("_"):
        return False
    return type(value) in {list, range} or container_of(value) in {
        FRAME,
        SERIES,
        TABLE,
        ARRAY,
        GRID,
    }


def _as_in_terminal(command: str, words: list[str]) -> None:
    parser = _line_parser(command)
    if command == "check":
        add_check_options(parser)
        check_files(parser.parse_args(words))
    elif command == "prune":
        add_prune_options(parser)
        prune(parser.parse_args(words))
    else:
        add_config_options(parser)
        configure(parser.parse_args(words))


def _line_parser(command: str) -> OptionParser:
    return OptionParser(prog=f"%parallelrun {command}", add_help=False, allow_abbrev=False)


def complete(shell: Any, event: Any) -> list[str]:
    """Complete the options of the magics and their values on tab."""
    before = event.line[: len(event.text_until_cursor)] if event.text_until_cursor else event.line
    words = before.split()
    if not before.lstrip().startswith(CELL):
        return [word for word in _COMMANDS if word.startswith(event.symbol)]
    parser = cell_options()
    at_new_word = before[-1:].isspace()
    previous = words[-1] if at_new_word else words[-2] if len(words) > 1 else ""
    if previous in {"--input", "-i"}:
        return _inputs_like(event.symbol, shell.user_ns)
    if previous == "--use":
        hidden = shell.user_ns_hidden
        names = {key: value for key, value in shell.user_ns.items() if key not in hidden}
        return names_like(event.symbol, names)
    values = parser.values_of(previous)
    return [word for word in values or parser.flags() if word.startswith(event.symbol)]


def _inputs_like(start: str, names: dict[str, Any]) -> list[str]:
    """Return the variables with datasets or data, and the paths, that begin with ``start``."""
    like = [name for name in names if name.startswith(start) and name not in _IPYTHON_NAMES]
    variables = [name for name in like if is_dataset(names[name]) or _is_data(name, names[name])]
    paths = sorted(glob.glob(glob.escape(start) + "*"))
    return variables + [f"{path}/" if os.path.isdir(path) else path for path in paths]


def _not_first(line: str) -> None:  # noqa: ARG001 - IPython passes it
    """Refuse a ``%%parallelrun`` below other code, which IPython reads as a line of its own."""
    msg = (
        f"{CELL} is not in the first line of its cell, so IPython cannot give it the lines below. Move "
        "the code above it to a cell of its own; only comments and other cell magics, such as %%time, "
        "may precede it."
    )
    raise UsageError(msg)


def load(ipython: Any) -> None:
    """Register the magics and their completion."""
    ipython.register_magics(ParallelRunMagics)
    ipython.register_magic_function(_not_first, "line", CELL[1:])
    transforms = ipython.input_transformers_cleanup
    if with_comments_below not in transforms:
        transforms.append(with_comments_below)
    for key in (CELL, "%parallelrun"):
        ipython.set_hook("complete_command", complete, str_key=key)
