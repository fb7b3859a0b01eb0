"""Runs a function of the notebook over its data: ``map`` and ``map_batches``."""

from __future__ import annotations

import os
from collections.abc import Callable, Mapping
from inspect import isclass, isroutine
from typing import TYPE_CHECKING, Any

from ..config.run_config import ParallelRunConfig
from ..data.datasets.grid import Grid
from ..data.datasets.memory_dataset import GRID, MemoryDataset, container_of, refused
from ..errors import ConfigError, InputError
from ..formatting import nearest_hint
from ..machine import thread_caps, usable_cores
from ..worker.function_script import BATCH, ITEM, KEYWORDS
from .function_calls import Functions, calling_script
from .launcher import prepare
from .preload import modules_of_values

if TYPE_CHECKING:
    from ..config.step import Dataset, Output
    from .run import Run

_CALL_LIMIT_S = 3600
"""Default limit of a call. A loop has none, so it only ends calls that hang."""

_NOT_SETTINGS = {
    "entry_script": "the function is the script",
    "inputs": "its second argument is the input",
    "arguments": "the function finds its variables by their names; functools.partial binds others",
    "side_inputs": "the function may use variables, and paths that its workers can read",
    "use": "the function's variables travel with it",
    "update": "results of any type cannot be taken from an earlier run; submit() with a script can "
    "update",
}
"""Why some settings of `submit` are none of functions."""

_OF_OTHER_STARTS = {
    "compute_target",
    "environment",
    "environment_variables",
    "node_count",
    "preload",
}
"""Settings with which workers are not started as on this machine by default."""

_OTHER_NAMES = {
    **dict.fromkeys(
        ("n_jobs", "max_workers", "num_workers", "n_workers", "workers", "processes"),
        "process_count_per_node",
    ),
    **dict.fromkeys(("chunksize", "chunk_size", "batch_size"), "mini_batch_size"),
    **dict.fromkeys(("retries", "max_retries", "tries"), "run_max_try"),
    **dict.fromkeys(("timeout", "time_limit"), "run_invocation_timeout"),
    "initializer": "init",
}
"""Names of settings in other packages, such as joblib and `concurrent.futures`."""


def map(  # noqa: A001 - the name that people know
    function: Callable[..., Any],
    items: Any,
    *,
    init: Callable[[], Any] | None = None,
    shutdown: Callable[[], Any] | None = None,
    output: Output | None = None,
    compute: object = None,
    name: str | None = None,
    **settings: Any,
) -> Run:
    """Start a run that calls a function for each item, and return without waiting for it.

    ``run.results()`` returns the results in the order of the items, ``run.stream()`` yields them as
    they are committed. If a call raises an exception, its item fails and is retried; the other items
    are not affected.

    Parameters
    ----------
    function
        Called with one item, and with the context if it has a further parameter named ``context`` or
        ``ctx``. A generator function gives a list of what it yields. A class with ``__call__``, or a
        ``functools.partial`` of one, is made once in each worker, and its object is then called; at the
        worker's end its method ``shutdown`` or ``close`` is called, if it has one. The function travels
        by value with the variables that it uses; functions of modules are imported.
    items
        A list, range, generator, numpy array, Series, DataFrame (items are dicts of its rows), Arrow
        table, `FileDataset` (items are paths), `TabularDataset`, or a `grid`, whose combinations are
        passed as keyword arguments.
    init
        Called once in each worker, before its first item; variables that it sets with ``global`` are
        those of the function.
    shutdown
        Called in each worker at its end.
    output
        Folder or URL that receives a file with all results. It needs ``output_format``, and the function
        then returns rows: dicts, tuples or single values.
    compute, name
        As in `submit`.
    **settings
        Settings of `ParallelRunConfig`, such as ``process_count_per_node=4`` or ``run_max_try=5``.
        ``mini_batch_size`` is the number of items that travel together: by default 1 for up to 1,250
        items, and 10 files. ``run_invocation_timeout`` limits one call, to an hour by default.
        ``error_threshold`` is the number of items that may fail, by default 0; -1 for any number.

    Returns
    -------
    Run
        The handle of the run.

    Raises
    ------
    ConfigError
        A setting is wrong, or the function cannot be called so or cannot travel to the workers.
    InputError
        The items are empty, or one of them cannot be stored.
    RunFolderError, LaunchError
        As `submit`.

    Examples
    --------
    ::

        run = parallelrun.map(embed, texts)
        vectors = run.results()
    """
    is_grid = isinstance(items, Grid) or getattr(items, "container", "") == GRID
    call = KEYWORDS if is_grid else ITEM
    place = {"output": output, "compute": compute, "name": name}
    return _start(Functions("map", call, function, init, shutdown), items, settings, **place)


def map_batches(
    function: Callable[..., Any],
    data: Any,
    *,
    init: Callable[[], Any] | None = None,
    shutdown: Callable[[], Any] | None = None,
    output: Output | None = None,
    compute: object = None,
    name: str | None = None,
    **settings: Any,
) -> Run:
    """Start a run that calls a function for each part of some data, and return without waiting.

    Parameters
    ----------
    function
        Called with a part of the data, of the same type: some rows of a DataFrame with their index, a
        part of an array or list, a list of paths. It returns, or yields, one result for each item: a
        list, array, Series or DataFrame. A DataFrame, Series or Arrow table may also have more or fewer
        rows; with ``output_format`` more, since an item without a row then counts as failed.
    data
        As ``items`` of `map`.
    init, shutdown, output, compute, name, **settings
        As in `map`. ``mini_batch_rows`` (or ``mini_batch_size``) is the number of items of a part.

    Returns
    -------
    Run
        The handle of the run.

    Raises
    ------
    ConfigError, InputError, RunFolderError, LaunchError
        As in `map`.

    Examples
    --------
    ::

        run = parallelrun.map_batches(score, frame, mini_batch_rows=500)
        frame = frame.join(run.results())
    """
    functions = Functions("map_batches", BATCH, function, init, shutdown)
    place = {"output": output, "compute": compute, "name": name}
    return _start(functions, data, settings, **place)


def _start(
    functions: Functions,
    items: Any,
    settings: dict[str, Any],
    *,
    output: Any,
    compute: object,
    name: Any,
) -> Run:
    _check_settings(functions.called, settings, output)
    dataset = _dataset_of(items, functions.called)
    first = None
    if isinstance(dataset, MemoryDataset) and functions.call == KEYWORDS:
        first = dataset.combination
    functions.check(first)
    _check_names(functions, items)
    if compute is None and not _OF_OTHER_STARTS & settings.keys():
        _prepare(dataset, settings.get("process_count_per_node"))
    # Imported while the driver starts.
    from ..config.step import ParallelRunStep
    from .run_names import default_name
    from .submit import submit_script

    keeps_objects = settings.get("output_format") is None
    source = settings.get("source_directory")
    script = calling_script(functions, first, keeps_objects=keeps_objects, source_directory=source)
    config = ParallelRunConfig(
        entry_script=script.path, **{"run_invocation_timeout": _CALL_LIMIT_S, **settings}
    )
    step = ParallelRunStep(name or default_name(script.title, [dataset]), config, dataset, output)
    return submit_script(step, script, compute=compute)


def _prepare(dataset: Dataset, workers: object) -> None:
    """Start the driver of the run; its workers get the same variables as by `worker_spec`."""
    cores = usable_cores()
    if workers is None or (isinstance(workers, int) and workers > 0):
        prepare(modules_of_values([dataset]), thread_caps(workers or cores, cores, os.environ))


def _check_settings(called: str, settings: Mapping[str, Any], output: Output | None) -> None:
    names = ParallelRunConfig.class_trait_names()
    for name in settings:
        if name in _NOT_SETTINGS:
            msg = f"{called}() has no setting {name!r}: {_NOT_SETTINGS[name]}."
            raise ConfigError(msg)
        if name not in names:
            other = _OTHER_NAMES.get(name)
            hint = (
                f" It is called {other!r} here."
                if other
                else nearest_hint(name, [*names, "init", "shutdown", "output", "compute", "name"])
            )
            msg = f"{called}() has no setting {name!r}.{hint} Its settings are those of ParallelRunConfig."
            raise ConfigError(msg)
    file_name = settings.get("append_row_file_name")
    if (output is not None or file_name) and settings.get("output_format") is None:
        given = (
            f"output={output!r}" if output is not None else f"append_row_file_name={file_name!r}"
        )
        msg = (
            f"{called}() got {given} without output_format: results of any type are kept in the run's "
            "folder, and a file of your own needs a format. Add output_format='parquet' (or 'csv', "
            "'jsonl'), or leave the output out and read run.results()."
        )
        raise ConfigError(msg)


def _check_names(functions: Functions, items: Any) -> None:
    """Check that the rows of a table can be dicts: each column needs a name of its own."""
    if functions.call != ITEM:
        return
    names = list(getattr(items, "columns", ())) if hasattr(items, "iloc") else []
    names = names or list(getattr(items, "column_names", ()))
    twice = next((name for name in names if names.count(name) > 1), None)
    if twice is not None:
        msg = (
            f"two columns of the items are called {twice!r}, and map() gives each row as a dict, which "
            "can hold only one of them. Rename one, or use map_batches()."
        )
        raise InputError(msg)


def _dataset_of(items: Any, called: str) -> Dataset:
    if isinstance(items, MemoryDataset):
        return items
    if isinstance(items, str):
        msg = f"{called}() got the text {items!r:.80} as its items. For files, write FileDataset({items!r:.80})."
        raise InputError(msg)
    if isroutine(items) or isclass(items):
        msg = (
            f"{called}() got {items.__name__} as its items, not as its function; write the function "
            f"first: {called}({items.__name__}, items)."
        )
        raise InputError(msg)
    if container_of(items):
        return MemoryDataset(items)
    from ..config.step import Dataset

    if isinstance(items, Dataset):
        return items
    raise refused(items, f"{called}() got")
