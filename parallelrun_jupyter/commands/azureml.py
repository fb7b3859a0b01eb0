"""``azureml``: jobs of Azure ML's SDK v2 on this machine, in the terminal and the notebook."""

from __future__ import annotations

import argparse
import os
import shlex
from typing import TYPE_CHECKING, Any

from ..errors import ConfigError
from .option_parser import OptionParser

if TYPE_CHECKING:
    from ..azureml_v2.execution.deployment_run import DeploymentRun
    from ..azureml_v2.execution.job_run import JobRun

FAILED = 1


def add_azureml_commands(commands: Any) -> None:
    """Add ``azureml`` and ``migrate`` to the terminal's commands."""
    _add_migrate(commands)
    azureml = commands.add_parser("azureml", help="jobs of Azure ML's SDK v2, on this machine")
    kinds = azureml.add_subparsers(metavar="COMMAND", required=True)
    run = kinds.add_parser(
        "run",
        help="start the pipeline job of FILE and watch it",
        description="Start a pipeline job, as 'az ml job create --file FILE' does in Azure, and watch it.",
    )
    _add_run_options(run)
    run.add_argument("--detach", "-d", action="store_true", help="Do not watch; print the job id.")
    run.set_defaults(parser=run, command=_run_and_watch)
    invoke = kinds.add_parser(
        "invoke",
        help="score the files of a folder with the batch deployment of FILE",
        description="Start a batch deployment, as 'az ml batch-endpoint invoke' does in Azure, and watch it.",
    )
    _add_invoke_options(invoke)
    invoke.add_argument("--detach", "-d", action="store_true", help="Do not watch; print the id.")
    invoke.set_defaults(parser=invoke, command=_invoke_and_watch)
    listing = kinds.add_parser("list", help="the jobs and the pipelines of SDK v1, newest first")
    listing.set_defaults(parser=listing, command=_list)
    for name, command, text in (
        ("watch", _watch, "watch a job until it ends"),
        ("cancel", _cancel, "cancel a job and its running steps"),
        ("resume", _resume, "continue a job that lost its driver, and watch it"),
    ):
        parser = kinds.add_parser(name, help=text)
        _add_job(parser)
        parser.set_defaults(parser=parser, command=command)


def _add_job(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("job", metavar="JOB", help="Id of the job.")


def _add_migrate(commands: Any) -> None:
    parser = commands.add_parser(
        "migrate",
        help="write a run, or a notebook of SDK v1, as a job of Azure ML's SDK v2",
        description="Write a run, a pipeline of SDK v1, or the notebook that submits one, as a folder with "
        "pipeline.yml, code/ and conda.yml. The cells of a notebook run up to the first that submits; "
        "nothing is submitted.",
    )
    parser.add_argument("source", metavar="SOURCE", help="Id of a run, or a notebook (.ipynb).")
    parser.add_argument("--to", metavar="FOLDER", required=True, help="A new or empty folder.")
    parser.set_defaults(parser=parser, command=_migrate)


def _migrate(options: argparse.Namespace) -> int:
    from ..azureml_v2.migration.migrate import migrate

    migrated = migrate(options.source, options.to)
    for note in migrated.notes:
        print(f"note: {note}.")
    print(f"wrote {migrated.job}")
    job = shlex.quote(os.fspath(migrated.job))
    print(f"here:     parallelrun azureml run {job}")
    print(f"in Azure: az ml job create --file {job}")
    return 0


def _add_run_options(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("file", metavar="FILE", help="YAML file of a job of 'type: pipeline'.")
    parser.add_argument(
        "--set", action="append", metavar="NAME=VALUE", default=[],
        help="Set a value of the file first, such as jobs.score.mini_batch_size=5. Repeatable.",
    )  # fmt: skip
    parser.add_argument(
        "--input", "-i", action="append", metavar="NAME=VALUE", default=[],
        help="Set an input of the pipeline: a path, or a literal. Repeatable.",
    )  # fmt: skip
    parser.add_argument(
        "--compute", default="",
        help="Where the steps run: local, a named compute, or tcp://SCHEDULER of Dask. Default: a named "
        "compute with the name in the file, else local, this machine.",
    )  # fmt: skip


def _add_invoke_options(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("file", metavar="FILE", help="YAML file of a batch deployment.")
    parser.add_argument(
        "--input", "-i", action="append", metavar="PATH", default=[],
        help="Folder, file, glob or URL with the files to score; for a pipeline component, NAME=VALUE, "
        "repeatable.",
    )  # fmt: skip
    parser.add_argument(
        "--output", "-o", metavar="DIR",
        help="Folder that receives the predictions. Default: the run's own folder.",
    )  # fmt: skip
    parser.add_argument(
        "--set", action="append", metavar="NAME=VALUE", default=[],
        help="Set a value of the file first, such as settings.mini_batch_size=5. Repeatable.",
    )  # fmt: skip
    parser.add_argument(
        "--compute", default="",
        help="Where it runs: local, a named compute, or tcp://SCHEDULER of Dask. Default: a named "
        "compute with the name in the file, else local, this machine.",
    )  # fmt: skip


def invoke(options: argparse.Namespace) -> DeploymentRun | JobRun:
    """Start the deployment of a command line.

    Raises
    ------
    ConfigError
        The file has mistakes, or the inputs are not those of the deployment.
    """
    from ..azureml_v2.execution.invoke import invoke as invoke_deployment
    from ..azureml_v2.reader.tree import split_overrides

    return invoke_deployment(
        options.file, input=_input_of(options.input), output=options.output,
        set=split_overrides(options.set), compute=options.compute,
    )  # fmt: skip


def _input_of(texts: list[str]) -> str | dict[str, str] | None:
    """Return the one path, the inputs by name, or None without any."""
    if not texts:
        return None
    first, sign, _ = texts[0].partition("=")
    if len(texts) == 1 and not (sign and first.isidentifier() and not os.path.exists(texts[0])):
        return texts[0]
    return dict(_pair(text) for text in texts)


def start(options: argparse.Namespace) -> JobRun:
    """Start the job of a command line.

    Raises
    ------
    JobFileError
        The file has mistakes.
    """
    from ..azureml_v2.execution.start import run  # a fifth of a second that other commands save
    from ..azureml_v2.reader.tree import split_overrides

    inputs = dict(_pair(text) for text in options.input)
    return run(
        options.file, set=split_overrides(options.set), inputs=inputs, compute=options.compute
    )


def _pair(text: str) -> tuple[str, str]:
    name, sign, value = text.partition("=")
    if not sign or not name.strip():
        msg = f"--input is {text!r}; expected NAME=VALUE, such as data=./digits."
        raise ConfigError(msg)
    return name.strip(), value


def start_in_notebook(words: list[str], names: dict[str, Any]) -> None:
    """Run a command of ``%parallelrun azureml``: ``run`` and ``invoke`` start, bind and show a job.

    The others take the id of a job, or the variable of one.

    Parameters
    ----------
    words
        The words after ``azureml``.
    names
        The notebook's variables.

    Raises
    ------
    ConfigError
        The command is unknown, or the file has mistakes.
    """
    command = words[0] if words else ""
    parser = OptionParser(
        prog=f"%parallelrun azureml {command}", add_help=False, allow_abbrev=False
    )
    match command:
        case "run" | "invoke":
            _start_and_bind(command, parser, words[1:], names)
        case "list":
            _list(parser.parse_args(words[1:]))
        case "watch" | "cancel" | "resume":
            _add_job(parser)
            _continue_in_notebook(command, parser.parse_args(words[1:]), names)
        case _:
            msg = (
                f"unknown command {' '.join(words)!r}; write %parallelrun azureml run FILE, "
                "%parallelrun azureml invoke FILE --input FOLDER, %parallelrun azureml list, or "
                "%parallelrun azureml watch | cancel | resume JOB."
            )
            raise ConfigError(msg)


def _continue_in_notebook(command: str, options: argparse.Namespace, names: dict[str, Any]) -> None:
    options.job = getattr(names.get(options.job), "run_id", options.job)
    if command == "cancel":
        _cancel(options)
        return
    job = _job(options)
    if command == "resume":
        job.resume()
    _show(job)


def _start_and_bind(
    command: str, parser: OptionParser, words: list[str], names: dict[str, Any]
) -> None:
    is_run = command == "run"
    (_add_run_options if is_run else _add_invoke_options)(parser)
    default = "job" if is_run else "run"
    parser.add_argument(
        "--as", dest="variable", metavar="NAME", default=default,
        help=f"Variable that receives the run. Default: {default}.",
    )  # fmt: skip
    options = parser.parse_args(words)
    if not options.variable.isidentifier():
        msg = f"--as is {options.variable!r}; expected the name of a variable, such as {default!r}."
        raise ConfigError(msg)
    started = start(options) if is_run else invoke(options)
    names[options.variable] = started
    _show(started)


def _show(started: DeploymentRun | JobRun) -> None:
    """Show a run live under the cell; elsewhere, print its state."""
    from ..azureml_v2.execution.job_run import JobRun
    from ..notebook.live import in_notebook
    from ..notebook.run_details import RunDetails

    if isinstance(started, JobRun):
        started.show()
    elif in_notebook():
        RunDetails(started).show()
    else:
        print(repr(started))


def _run_and_watch(options: argparse.Namespace) -> int:
    job = start(options)
    if options.detach:
        print(job.run_id)
        return 0
    print(f"job {job.run_id}; Ctrl-C stops watching, not the job", flush=True)
    return _end(job)


def _invoke_and_watch(options: argparse.Namespace) -> int:
    started = invoke(options)
    if options.detach:
        print(started.run_id)
        return 0
    print(f"run {started.run_id}; Ctrl-C stops watching, not the run", flush=True)
    return _end(started)


def _job(options: argparse.Namespace) -> JobRun:
    from ..azureml_v2.execution.job_run import JobRun

    return JobRun(options.job)


def _watch(options: argparse.Namespace) -> int:
    return _end(_job(options))


def _list(_: argparse.Namespace) -> int:
    from ..pipelines.rendering import job_table

    print(job_table())
    return 0


def _end(job: DeploymentRun | JobRun) -> int:
    return 0 if job.wait_for_completion() == "Completed" else FAILED


def _cancel(options: argparse.Namespace) -> int:
    job = _job(options)
    state = job.state()
    if state.is_final and state.state != "Interrupted":
        print(f"job {job.run_id} has ended: {state.state}")
        return 0
    job.cancel()
    print(f"canceling job {job.run_id}")
    return 0


def _resume(options: argparse.Namespace) -> int:
    job = _job(options)
    job.resume()
    print(f"job {job.run_id}; Ctrl-C stops watching, not the job", flush=True)
    return _end(job)
