"""The commands of the terminal, all but their start."""

from __future__ import annotations

import argparse
import json
import sys
from pathlib import Path
from typing import Any

from ..client.failures import failures_text, items_text
from ..client.run import Run
from ..errors import ConfigError
from ..notebook.live import watch_json
from ..runs.failed_items import FailedItem, failed_items
from ..runs.output.failed_items_file import failed_items_file
from ..runs.run_folder import RunFolder
from ..runs.run_record import RunRecord
from ..runs.snapshot.follower import Follower
from ..runs.snapshot.result_pages import RowQuery
from ..version import __version__
from ..views.text import plain
from .agents.command import add_mcp_options, serve_agents
from .azureml import add_azureml_commands
from .checking import add_check
from .housekeeping import add_config_options, add_prune_options, configure, prune
from .kernelspec import install_kernel
from .listing import add_list_options, print_list
from .option_parser import OptionParser
from .options import (
    add_resume_options,
    run_options,
)
from .shown_rows import pages_of, rows_as_json, rows_as_table
from .shown_run import run_as_json, run_as_text
from .starting import start
from .trying import add_try_options, try_one

FAILED = 1

_REPORT_FILE = (
    "Path of the file. A name that ends in .json is a recording for pages of your own, with the player "
    "beside it. Default: run.html."
)


def make_parser() -> OptionParser:
    """Return the parser of the whole command line."""
    parser = OptionParser(
        prog="parallelrun", description="Run a script over many mini-batches, and watch it."
    )
    parser.set_defaults(parser=parser)
    parser.add_argument("--version", action="version", version=f"parallelrun {__version__}")
    commands = parser.add_subparsers(metavar="COMMAND", required=True)

    _add_start(commands)
    _add_watching(commands)
    _add_results(commands)
    _add_ending(commands)
    _add_housekeeping(commands)
    _add_agents(commands)
    _add_kernel(commands)
    add_azureml_commands(commands)
    add_check(commands)
    demo = commands.add_parser("demo", help="classify real handwritten digits, in half a minute")
    demo.add_argument(
        "--folder",
        type=Path,
        default=Path("parallelrun-demo"),
        help="Folder for its files. Default: parallelrun-demo.",
    )
    demo.add_argument(
        "--open", action="store_true", help="Open the quickstart notebook at the end."
    )
    demo.set_defaults(parser=demo, command=_demo)
    return parser


def _add_start(commands: Any) -> None:
    run = commands.add_parser(
        "run",
        parents=[run_options("parallelrun run")],
        help="start a run of SCRIPT and watch it",
        description="Start a run and watch it. Arguments after a bare -- go to the script.",
    )
    run.add_argument("script", metavar="SCRIPT", help="Script with init() and run(mini_batch).")
    run.add_argument("--detach", "-d", action="store_true", help="Do not watch; print the run id.")
    run.set_defaults(parser=run, command=_run, script_words=[])


def _add_watching(commands: Any) -> None:
    runs = commands.add_parser("list", help="list the runs, newest first")
    add_list_options(runs)
    runs.set_defaults(parser=runs, command=print_list)

    show = commands.add_parser("show", help="print the progress of a run, without waiting for it")
    _add_run(show)
    show.add_argument("--json", action="store_true", help="Print a JSON object, for programs.")
    show.set_defaults(parser=show, command=_show)

    watching = commands.add_parser("watch", help="watch a run until it ends")
    _add_run(watching)
    watching.add_argument(
        "--json", action="store_true", help="Print a JSON snapshot per line at each change."
    )
    watching.set_defaults(parser=watching, command=_watch)

    report = commands.add_parser("report", help="write a run as one HTML file, which plays it")
    _add_run(report)
    report.add_argument("--to", metavar="FILE", default="run.html", help=_REPORT_FILE)
    report.set_defaults(parser=report, command=_report)

    failures = commands.add_parser(
        "failures", help="print the failures, grouped by the line that raised them"
    )
    _add_run(failures)
    failures.add_argument(
        "--items", action="store_true", help="Print the failed items instead of the groups."
    )
    failures.add_argument(
        "--json", action="store_true", help="Print all failed items, as a JSON object per line."
    )
    failures.set_defaults(parser=failures, command=_failures)

    logs = commands.add_parser("logs", help="print the output of the script")
    _add_run(logs)
    logs.add_argument(
        "--lines",
        "-n",
        type=int,
        default=100,
        metavar="N",
        help="Maximum number of lines. Default: 100.",
    )
    logs.add_argument("--worker", metavar="WORKER", help="Only lines of this worker, such as n0w1.")
    logs.add_argument(
        "--mini-batch", type=int, metavar="N", help="Only lines printed while this mini-batch ran."
    )
    logs.set_defaults(parser=logs, command=_logs)


def _add_results(commands: Any) -> None:
    results = commands.add_parser(
        "results", help="print some rows of the output, also while the run is active"
    )
    _add_run(results)
    results.add_argument(
        "--latest", action="store_true", help="The rows committed last. Default: the first rows."
    )
    results.add_argument(
        "--item",
        metavar="TEXT",
        default="",
        help="Only rows of items with this text in their path, where * matches any characters, or "
        "with this number.",
    )
    results.add_argument(
        "--rows", type=int, default=20, metavar="N", help="Maximum number of rows. Default: 20."
    )
    results.add_argument("--json", action="store_true", help="Print a JSON object per row.")
    results.set_defaults(parser=results, command=_results)


def _add_ending(commands: Any) -> None:
    cancel = commands.add_parser("cancel", help="cancel a run")
    _add_run(cancel)
    cancel.add_argument("--drain", action="store_true", help="Let running mini-batches finish.")
    cancel.set_defaults(parser=cancel, command=_cancel)

    resume = commands.add_parser("resume", help="resume a run that has ended")
    _add_run(resume)
    add_resume_options(resume)
    resume.set_defaults(parser=resume, command=_resume)

    trying = commands.add_parser(
        "try",
        help="run one mini-batch of a run here, with the output of the script",
        description="Run one mini-batch in this process. The run stays as it is.",
    )
    add_try_options(trying)
    trying.set_defaults(parser=trying, command=lambda options: try_one(_run_of(options), options))


def _add_housekeeping(commands: Any) -> None:
    compare = commands.add_parser(
        "compare", help="compare two runs: settings, counts, times, and items whose rows differ"
    )
    compare.add_argument("run", metavar="RUN", help="Id of the run.")
    compare.add_argument("other", metavar="OTHER", help="Id of the other run.")
    compare.set_defaults(parser=compare, command=_compare)

    pruning = commands.add_parser(
        "prune",
        help="remove old runs from the disk, after showing them",
        description="Show the runs that pass all filters, and remove them after a question.",
    )
    add_prune_options(pruning)
    pruning.set_defaults(parser=pruning, command=prune)

    config = commands.add_parser("config", help="show or change a setting of the home")
    add_config_options(config)
    config.set_defaults(parser=config, command=configure)


def _add_agents(commands: Any) -> None:
    mcp = commands.add_parser(
        "mcp",
        help="a server of the Model Context Protocol, for agents",
        description="Serve the Model Context Protocol over stdin and stdout, until stdin closes.",
    )
    add_mcp_options(mcp)
    mcp.set_defaults(parser=mcp, command=serve_agents)


def _add_kernel(commands: Any) -> None:
    kernel = commands.add_parser(
        "kernel", help="a Jupyter kernel for notebooks of Azure ML's SDK v1"
    )
    kinds = kernel.add_subparsers(metavar="COMMAND", required=True)
    install = kinds.add_parser(
        "install", help="install the kernel: 'import azureml' works from the first cell"
    )
    install.add_argument(
        "--name",
        default="parallelrun-azureml",
        help="Name of the kernel. Notebooks that name this kernel, such as python38-azureml, open "
        "without asking for one. Default: parallelrun-azureml.",
    )
    install.add_argument("--display-name", default="", help="Name shown in Jupyter.")
    install.add_argument("--prefix", help="Folder of an environment. Default: the user's folder.")
    install.add_argument("--sys-prefix", action="store_true", help="Install into this environment.")
    install.set_defaults(parser=install, command=_install_kernel)


def _add_run(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("run", metavar="RUN", nargs="?", help="Id of the run. Default: the newest.")


def _run_of(options: argparse.Namespace) -> Run:
    if options.run:
        return Run.attach(options.run)
    newest = Run.list(1)
    if not newest:
        msg = "there are no runs yet; start one with 'parallelrun run SCRIPT --input PATH'."
        raise ConfigError(msg)
    return newest[0]


def _run(options: argparse.Namespace) -> int:
    run = start(options.script, options, options.script_words)
    if isinstance(run, Path):
        print(f"wrote {run}; nothing is submitted. To submit it: az ml job create -f {run}")
        return 0
    if options.detach:
        print(run.run_id)
        return 0
    for line in replaced_lines(run.folder, run.folder.read_record()):
        print(line)
    return _wait(run)


def replaced_lines(folder: RunFolder, record: RunRecord) -> list[str]:
    """Return a note if the output of a new run will replace a file that was there before."""
    path = folder.final_file(record)
    is_local = record.output.destination is not None and record.output.storage is None
    if not (is_local and record.output.append_rows and path.is_file()):
        return []
    if path.stat().st_mtime >= record.created_at:
        return []
    return [plain(f"note: when the run completes, it replaces {path}, which exists already")]


def _wait(run: Run) -> int:
    print(f"run {run.run_id}; Ctrl-C stops watching, not the run", flush=True)
    return 0 if run.wait_for_completion(show_output=True) == "Completed" else FAILED


def _show(options: argparse.Namespace) -> int:
    run = _run_of(options)
    print(run_as_json(run) if options.json else run_as_text(run))
    return 0


def _watch(options: argparse.Namespace) -> int:
    run = _run_of(options)
    if not options.json:
        return _wait(run)
    last = watch_json(Follower(run.folder), sys.stdout)
    return 0 if last["state"] == "Completed" else FAILED


def _report(options: argparse.Namespace) -> int:
    run = _run_of(options)
    save = run.recording().save if options.to.lower().endswith(".json") else run.report
    print(save(options.to))
    return 0


def _results(options: argparse.Namespace) -> int:
    query = RowQuery("latest" if options.latest else "first", options.item.strip())
    pages = pages_of(Follower(_run_of(options).folder), query, options.rows)
    if options.json:
        for line in rows_as_json(pages, options.rows):
            print(line)
        return 0
    print(rows_as_table(pages, options.rows))
    return 0


def _failures(options: argparse.Namespace) -> int:
    follower = Follower(_run_of(options).folder)
    follower.refresh()
    if options.items or options.json:
        _print_items(follower, as_json=options.json)
        return 0
    groups = follower.state.groups.values()
    if groups and not follower.state.items_failed:
        print("No item has failed for good. Earlier attempts did:\n")
    print(failures_text(follower.record, groups) or "no failures")
    return 0


def _print_items(follower: Follower, *, as_json: bool) -> None:
    items = failed_items(follower.folder)
    if as_json:
        for item in items:
            print(json.dumps(item_fields(item), separators=(",", ":")))
        return
    number = follower.state.items_failed
    path = failed_items_file(follower.folder, follower.record)
    more = plain(str(path or f"parallelrun failures {follower.folder.run_id} --json"))
    print(items_text(items, number, more) if number else "no failed items")


def item_fields(item: FailedItem) -> dict[str, Any]:
    """Return the fields of a failed item for programs."""
    return {name: value for name, value in item._asdict().items() if name != "log"}


def _logs(options: argparse.Namespace) -> int:
    run = _run_of(options)
    text = run.logs(options.lines, worker=options.worker, mini_batch=options.mini_batch)
    for line in text.split("\n") if text else ():
        print(plain(line))
    return 0


def _cancel(options: argparse.Namespace) -> int:
    run = _run_of(options)
    if run.cancel(drain=options.drain):
        print(f"canceling run {run.run_id}")
    else:
        print(f"run {run.run_id} has already ended: {run.status}")
    return 0


def _resume(options: argparse.Namespace) -> int:
    run = _run_of(options).resume(
        failed_only=options.failed_only,
        entry_script=options.entry_script,
        compute=options.compute,
        group=options.group,
        error_threshold=options.error_threshold,
        budget=options.budget,
    )
    return _wait(run)


def _compare(options: argparse.Namespace) -> int:
    print(Run.attach(options.run).compare(options.other))
    return 0


def _install_kernel(options: argparse.Namespace) -> int:
    prefix = sys.prefix if options.sys_prefix else options.prefix
    folder = install_kernel(options.name, options.display_name, prefix)
    print(f"installed the kernel {options.name} in {folder}")
    return 0


def _demo(options: argparse.Namespace) -> int:
    from .demo import run_demo

    return run_demo(options.folder, opens=options.open)
