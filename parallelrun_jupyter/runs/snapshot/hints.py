"""Hints: remedies for failures with a common cause."""

from __future__ import annotations

import os
import re

from ..journal.failure_groups import FailureGroup
from ..run_record import RunRecord

CELL = "cell.py"
"""File name of a notebook cell as an entry script."""

_NAME = re.compile(r"name '(\w+)' is not defined")
_PICKLED = re.compile(r"Can't get attribute '([\w.]+)' on <module '__main__'")
_MODULE = re.compile(r"No module named '([\w.]+)'")
_NO_FILE = re.compile(r"No such file or directory: '([^']+)'")
_IPYTHON_NAMES = {"display", "get_ipython"}
_MAGIC = re.compile(r"^\s*(?:\w+\s*=\s*)?[%!]\w", re.MULTILINE)
_TABLE_USES = re.compile(
    r"'(?:list|str)' object has no attribute '(?:apply|assign|astype|at|columns|describe|drop|"
    r"drop_duplicates|dropna|dtypes|empty|fillna|groupby|head|iat|iloc|info|isna|isnull|iterrows|"
    r"itertuples|loc|merge|query|rename|reset_index|select_dtypes|set_index|shape|sort_values|"
    r"tail|to_csv|to_dict|to_numpy|to_records|values)'"
    r"|list indices must be integers or slices, not (?:str|list)"
    r"|string indices must be integers"
    r"|the (?:items are|input is) files, which have no rows"  # context.records(), now and in old runs
)
_REFUSAL = re.compile(r"\b(?:429|503)\b|Too Many Requests", re.IGNORECASE)
_LOOP = re.compile(
    r"asyncio\.run\(\) cannot be called from a running|[Tt]his event loop is already running"
    r"|Cannot run the event loop while another loop is running"
)
_LIST_USE = re.compile(r"'list' object has no attribute '\w+'")
"""Raised in run() itself, so the list is likely its mini-batch, as in df.price."""

_TABLE_FILES = re.compile(r"\.(csv|tsv|parquet|jsonl|ndjson)(?:\.gz)?$", re.IGNORECASE)
_FORMATS = {"tsv": "csv", "ndjson": "jsonl"}
_MAKERS = {
    "csv": "from_delimited_files",
    "parquet": "from_parquet_files",
    "jsonl": "from_json_lines_files",
}


def hint_of(record: RunRecord, group: FailureGroup) -> str:
    """Return a remedy for a group of failures, in sentences; '' without a known cause."""
    for find in (
        _throttled, _hidden_refusal, _notebook_name, _pickled_in_main, _magic, _table_as_paths, _beside, _elsewhere, _missing, _own_loop, _short, _slow,
    ):  # fmt: skip
        hint = find(record, group)
        if hint:
            return hint
    return ""


def _throttled(record: RunRecord, group: FailureGroup) -> str:
    if group.kind != "throttled":
        return ""
    again = "These calls were tried again without using up tries"
    if record.calls.rate_per_s:
        return (
            "The server said 429 or 503: it permits fewer calls than rate_limit, or counts those of "
            f"others too. {again}. A lower rate_limit avoids the pauses."
        )
    return (
        "The server said 429 or 503: it permits fewer calls than it got. "
        f'{again}. Give its limit, as in rate_limit="300/min", and no call is refused.'
    )


def _hidden_refusal(record: RunRecord, group: FailureGroup) -> str:
    """Return a remedy for a 429 that the script turned into an error of its own."""
    is_async = record.calls.concurrency > 1
    if group.kind != "exception" or not is_async or not _REFUSAL.search(group.message):
        return ""
    return (
        "If the server said 429 or 503, let the error of the client leave run(), as with "
        "raise_for_status(), or raise RetryAfter(seconds): the calls then wait, and use up no tries."
    )


def _notebook_name(record: RunRecord, group: FailureGroup) -> str:
    match = _NAME.search(group.message)
    if group.error != "NameError" or not match or record.script.path != CELL:
        return ""
    if match[1] in _IPYTHON_NAMES:
        return (
            f"{match[1]} exists in notebooks only, and the cell runs in processes of its own: "
            "remove it, or print() the value to the log."
        )
    return (
        "The cell runs in processes of its own, which do not see the variables of the notebook: "
        f"define or import {match[1]} in the cell, or give its value with --use {match[1]}."
    )


def _pickled_in_main(record: RunRecord, group: FailureGroup) -> str:
    match = _PICKLED.search(group.message)
    if not match:
        return ""
    name = match[1].partition(".")[0]
    is_cell = record.script.path == CELL
    place = "beside the notebook" if is_cell else "beside the script"
    option = f"--use {name}" if is_cell else f"use={{{name!r}: {name}}}"
    return (
        f"The loaded object was pickled where {match[1]} was defined in a notebook or in a "
        f"program's own script; a worker has another __main__. Give the class with {option}. Or move "
        f"{match[1]} to a file {place}, such as model_classes.py, import it from there, and pickle the "
        "object again. Give the folder as source_directory."
    )


def _magic(_record: RunRecord, group: FailureGroup) -> str:
    if group.error != "SyntaxError" or not _MAGIC.search(group.traceback):
        return ""
    return (
        "Lines that begin with % or ! are commands of IPython; an entry script is plain Python. "
        "Move them to a cell of their own."
    )


def _table_as_paths(record: RunRecord, group: FailureGroup) -> str:
    is_column = group.group.endswith(" in run") and _LIST_USE.search(group.message)
    is_table_use = is_column or _TABLE_USES.search(group.message)
    if group.error not in {"AttributeError", "TypeError"} or not is_table_use:
        return ""
    files = [
        path
        for spec in record.inputs.datasets
        if spec.get("kind") == "files"
        for path in spec.get("paths", ())
    ]
    ends = [(path, match[1].lower()) for path in files if (match := _TABLE_FILES.search(path))]
    if not ends:
        return ""
    path, end = ends[0]
    form = _FORMATS.get(end, end)
    name = path.rsplit("/", 1)[-1]
    received, receives = "a list of paths, not a table", "a DataFrame"
    if record.calls.by_item:
        received, receives = "a path, not a row", "each row as a dict"
    return (
        f"run() received {received}: {name} was not declared as a table. Write --format {form}, or "
        f"inputs=TabularDataset.{_MAKERS[form]}({name!r}), and run() receives {receives}."
    )


def _own_loop(_record: RunRecord, group: FailureGroup) -> str:
    """Return a remedy for an event loop within the one that runs the calls."""
    if group.error != "RuntimeError" or not _LOOP.search(group.message):
        return ""
    return (
        "An async function runs in the event loop of its worker: await the coroutine there, in place of "
        "asyncio.run(...)."
    )


def _beside(record: RunRecord, group: FailureGroup) -> str:
    """Return a remedy for a path that was built from ``__file__``."""
    if record.script.source_directory is not None:
        return ""
    if f"{record.run_id}/script/" not in group.message:
        return ""
    kind = "cell" if record.script.path == CELL else "script"
    return (
        f"The run has a copy of the {kind} alone, so there is nothing else beside __file__. Give "
        "source_directory (--source-directory .) to copy its folder too, or use a path relative to "
        f"the current directory, {record.script.cwd}."
    )


def _elsewhere(record: RunRecord, group: FailureGroup) -> str:
    """Return a remedy for a file that this machine has, and a node of a cluster has not."""
    match = _NO_FILE.search(group.message)
    if record.placement.backend != "dask" or not match:
        return ""
    if not os.path.exists(os.path.join(record.script.cwd, match[1])):
        return ""
    if os.path.isabs(match[1]):
        return (
            f"{match[1]} exists on this machine, and not on the node that ran it. Put it on a file system "
            "that all nodes have, or in an object store."
        )
    return (
        f"{match[1]} exists on this machine, in {record.script.cwd}, and not on the node that ran it. Give "
        "source_directory to send it along, or its absolute path on a file system that all nodes have."
    )


def _missing(record: RunRecord, group: FailureGroup) -> str:
    match = _MODULE.search(group.message)
    if group.error != "ModuleNotFoundError" or not match:
        return ""
    if record.placement.backend == "azureml":
        return (
            "Add it to the environment of the job, and start a new run: AzureMLCompute(environment="
            "'conda.yml'), or an environment of the workspace that has it, 'azureml:NAME@latest'. If it "
            "is a file beside the script, give source_directory to copy it too."
        )
    install = f"Install it for the workers' Python, {record.script.python}"
    if record.script.source_directory is not None:
        return f"{install}, or add it to the source directory."
    return f"{install}. If it is a file beside the script, give source_directory to copy it too."


def _short(record: RunRecord, group: FailureGroup) -> str:
    if not group.items_missing or record.limits.error_threshold < 0:
        return ""
    return (
        "Return one element for each item; for an item without a result it may be None or an empty "
        "text. If the script leaves items out on purpose, start a new run with a larger "
        "error_threshold (-1 allows any number). A resume keeps these mini-batches as they are."
    )


def _slow(record: RunRecord, group: FailureGroup) -> str:
    if group.kind != "timeout" or not record.script.call:
        return ""
    return (
        "If a call needs more time, start a new run with a larger run_invocation_timeout, in seconds: "
        f"this one has {record.limits.run_invocation_timeout:g}."
    )
