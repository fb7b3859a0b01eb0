"""Runs a function of the notebook over its data: ``map`` and ``map_batches``."""

from __future__ import annotations

import inspect
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

from ..config.run_config import ParallelRunConfig
from ..config.step import ParallelRunStep
from ..data.datasets.file_dataset import FileDataset
from ..data.datasets.memory_dataset import EXPECTED, GRID, MemoryDataset, container_of
from ..data.datasets.tabular_dataset import TabularDataset
from ..errors import ConfigError, InputError
from ..worker import function_script
from ..worker.function_script import BATCH, FILE, ITEM, KEYWORDS
from .run import Run
from .submit import Script, default_name, submit_script

_CONTEXT_NAMES = {"context", "ctx", "mini_batch_context"}
_NOT_SETTINGS = {"entry_script", "source_directory", "environment"}


def map(  # noqa: A001 - the name that people know
    function: Callable[..., Any],
    items: Any,
    *,
    init: Callable[[], Any] | None = None,
    shutdown: Callable[[], Any] | None = None,
    compute: object = None,
    name: str | None = None,
    **settings: Any,
) -> Run:
    """Start a run that calls a function for each item, and return without waiting for it.

    ``run.results()`` returns the results in the order of the items.

    Parameters
    ----------
    function
        Called with one item, and with the context if it has a second parameter ``context``. A class is
        made once in each worker, without arguments; its object is then called. The function travels by
        value, with the variables that it uses; functions of imported modules are imported.
    items
        A list, range, generator, numpy array, Series, DataFrame (items are dicts of its rows), Arrow
        table, `FileDataset` (paths), or a `grid` (keyword arguments).
    init
        Called once in each worker, before its first item; it may set variables of the function with
        ``global``.
    shutdown
        Called in each worker at the end.
    compute, name
        As in `submit`.
    **settings
        Settings of `ParallelRunConfig`, such as ``process_count_per_node=4`` or ``run_max_try=5``.
        ``mini_batch_size`` is the number of items that travel together, by default 1 for up to 5,000
        items; ``run_invocation_timeout`` is the limit of one call.

    Raises
    ------
    ConfigError
        A setting is wrong, or the function cannot travel to the workers.
    InputError
        There are no items, or one of them cannot be stored.

    Examples
    --------
    ::

        run = parallelrun.map(embed, texts)
        vectors = run.results()
    """
    return _start(function, items, False, init, shutdown, compute, name, settings)


def map_batches(
    function: Callable[..., Any],
    data: Any,
    *,
    init: Callable[[], Any] | None = None,
    shutdown: Callable[[], Any] | None = None,
    compute: object = None,
    name: str | None = None,
    **settings: Any,
) -> Run:
    """Start a run that calls a function for each part of some data, and return without waiting.

    Parameters
    ----------
    function
        Called with a part of the data, of the same type: some rows of a DataFrame with their index, a
        part of an array or list. It returns one result for each item: a list, array, Series or
        DataFrame. A DataFrame or Series may also have more or fewer rows.
    data
        As in `map`.
    init, shutdown, compute, name, **settings
        As in `map`. ``mini_batch_rows`` (or ``mini_batch_size``) is the number of items of a part.

    Raises
    ------
    ConfigError, InputError
        As in `map`.

    Examples
    --------
    ::

        run = parallelrun.map_batches(score, frame, mini_batch_rows=500)
        frame = frame.join(run.results())
    """
    return _start(function, data, True, init, shutdown, compute, name, settings)


def _start(
    function: Callable[..., Any],
    items: Any,
    is_batched: bool,  # noqa: FBT001 - private
    init: Callable[[], Any] | None,
    shutdown: Callable[[], Any] | None,
    compute: object,
    name: str | None,
    settings: dict[str, Any],
) -> Run:
    called = "map_batches" if is_batched else "map"
    _check(function, settings, called)
    dataset = _dataset_of(items, called)
    is_grid = isinstance(dataset, MemoryDataset) and dataset.container == GRID
    call = BATCH if is_batched else KEYWORDS if is_grid else ITEM
    title = getattr(function, "__name__", type(function).__name__)
    config = ParallelRunConfig(entry_script=f"{title}.py", **settings)
    step = ParallelRunStep(name or default_name(title, [dataset]), config, dataset)
    about = {
        "function": function,
        "init": init,
        "shutdown": shutdown,
        "call": call,
        "context": _context_parameter(function),
    }
    script = Script(
        Path.cwd() / "map_script.py",
        text=inspect.getsource(function_script),
        files={FILE: _dump(about, title)},
        call=call,
    )
    return submit_script(step, script, compute=compute)


def _context_parameter(function: Callable[..., Any]) -> str:
    """Return the name of the parameter that gets the context; empty if there is none."""
    called = function.__call__ if isinstance(function, type) else function
    try:
        names = inspect.signature(called).parameters
    except (TypeError, ValueError):
        return ""  # a C function without a signature
    return next((name for name in names if name in _CONTEXT_NAMES), "")


def _dump(about: dict[str, Any], title: str) -> bytes:
    import cloudpickle

    try:
        data: bytes = cloudpickle.dumps(about)
    except Exception as error:
        msg = (
            f"{title} cannot travel to the workers ({type(error).__name__}: {error}): it uses a "
            "variable that cannot be pickled. Make that in init=, which runs in each worker."
        )
        raise ConfigError(msg) from error
    return data


def _check(function: Callable[..., Any], settings: dict[str, Any], called: str) -> None:
    if not callable(function):
        msg = f"{called}() got {function!r:.80} as its function; expected a function, such as {called}(score, items)."
        raise ConfigError(msg)
    wrong = _NOT_SETTINGS & set(settings)
    if wrong:
        listed = ", ".join(sorted(wrong))
        msg = f"{called}() has no setting {listed}: the function is the script, in this interpreter ({sys.executable})."
        raise ConfigError(msg)


def _dataset_of(items: Any, called: str) -> FileDataset | TabularDataset | MemoryDataset:
    if isinstance(items, FileDataset | TabularDataset | MemoryDataset):
        return items
    if not container_of(items):
        is_text = isinstance(items, str)
        hint = f" For files, write FileDataset({items!r})." if is_text else ""
        msg = f"{called}() got {items!r:.80} as its items; {EXPECTED}{hint}"
        raise InputError(msg)
    return MemoryDataset(items)
