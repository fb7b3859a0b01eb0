"""Runs a function of the notebook over its data: ``map`` and ``map_batches``."""

from __future__ import annotations

import inspect
from collections.abc import Callable, Mapping
from dataclasses import replace
from functools import partial
from itertools import islice
from typing import Any

from ..config.run_config import ParallelRunConfig
from ..config.step import Output, ParallelRunStep
from ..data.datasets.file_dataset import FileDataset
from ..data.datasets.memory_dataset import EXPECTED, Grid, MemoryDataset, container_of
from ..data.datasets.tabular_dataset import TabularDataset
from ..errors import ConfigError, InputError
from ..formatting import nearest_hint
from ..worker.function_script import BATCH, ITEM, KEYWORDS, name_of
from .run import Run
from .script import FUNCTIONS, Script, script_of_functions
from .submit import default_name, submit_script

_CONTEXT_NAMES = {"context", "ctx", "mini_batch_context"}

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

_SCRIPT = """
try:
    from _parallelrun_worker.function_script import functions_of
except ImportError:  # in the notebook, for a trial
    from parallelrun_jupyter.worker.function_script import functions_of

init, run, shutdown = functions_of(
    {functions}, {call!r}, {context!r}, is_made={is_made}, keeps_objects={keeps_objects}
)
"""


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
        ``mini_batch_size`` is the number of items that travel together: by default 1 for up to 5,000
        items. ``run_invocation_timeout`` limits one call, in seconds.

    Returns
    -------
    Run
        The handle of the run.

    Raises
    ------
    ConfigError
        A setting is wrong, or the function cannot be called so or cannot travel to the workers.
    InputError
        There are no items, or one of them cannot be stored.
    RunFolderError, LaunchError
        As `submit`.

    Examples
    --------
    ::

        run = parallelrun.map(embed, texts)
        vectors = run.results()
    """
    call = KEYWORDS if isinstance(items, Grid) else ITEM
    functions = _functions(function, init, shutdown)
    place = {"output": output, "compute": compute, "name": name}
    return _start("map", functions, items, call, settings, **place)


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
        rows.
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
    functions = _functions(function, init, shutdown)
    place = {"output": output, "compute": compute, "name": name}
    return _start("map_batches", functions, data, BATCH, settings, **place)


def _functions(function: Any, init: Any, shutdown: Any) -> dict[str, Any]:
    others = {"init": init, "shutdown": shutdown}
    return {"function": function, **{role: f for role, f in others.items() if f is not None}}


def _start(
    called: str,
    functions: dict[str, Any],
    items: Any,
    call: str,
    settings: dict[str, Any],
    *,
    output: Any,
    compute: object,
    name: Any,
) -> Run:
    _check_settings(called, settings, output)
    dataset = _dataset_of(items, called)
    script = _script_of(called, functions, items, call, settings)
    config = ParallelRunConfig(entry_script=script.path, **settings)
    step = ParallelRunStep(name or default_name(script.title, [dataset]), config, dataset, output)
    return submit_script(step, script, compute=compute)


def _check_settings(called: str, settings: Mapping[str, Any], output: Output | None) -> None:
    names = ParallelRunConfig.class_trait_names()
    for name in settings:
        if name in _NOT_SETTINGS:
            msg = f"{called}() has no setting {name!r}: {_NOT_SETTINGS[name]}."
            raise ConfigError(msg)
        if name not in names:
            hint = nearest_hint(name, [*names, "init", "shutdown", "output", "compute", "name"])
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


def _script_of(
    called: str, functions: dict[str, Any], items: Any, call: str, settings: Mapping[str, Any]
) -> Script:
    """Return the generated script; check the functions before."""
    function = functions["function"]
    if not callable(function):
        msg = (
            f"{called}() got {function!r:.80} as its function; expected a function, such as "
            f"{called}(score, items)."
        )
        raise ConfigError(msg)
    for role in ("init", "shutdown"):
        if role in functions:
            _check_plain(functions[role], role, called)
    is_made = _is_made(function)
    target = _called_by_workers(function) if is_made else function
    _check_function(called, function, target, items, call, is_made=is_made)
    text = _SCRIPT.format(
        functions=FUNCTIONS,
        call=call,
        context=_context_parameter(target, _names(items) if call == KEYWORDS else None),
        is_made=is_made,
        keeps_objects=settings.get("output_format") is None,
    )
    title = name_of(function)
    source = settings.get("source_directory")
    script = script_of_functions(
        functions, "lambda" if title == "<lambda>" else title, text, _folder(source)
    )
    return replace(script, call=call)


def _folder(source: Any) -> Any:
    from pathlib import Path

    return None if source is None else Path(source).expanduser().absolute()


def _is_made(function: Any) -> bool:
    """Return whether a function makes the object to call: a class whose objects can be called."""
    while isinstance(function, partial):
        function = function.func
    return isinstance(function, type) and any("__call__" in vars(kind) for kind in function.__mro__)


def _called_by_workers(function: Any) -> Any:
    """Return the method that is called of the objects of a class, without ``self``."""
    while isinstance(function, partial):
        function = function.func
    return _WithoutSelf(function.__call__)


class _WithoutSelf:
    """A function whose signature lacks its first parameter."""

    def __init__(self, function: Any) -> None:
        self.function = function
        signature = inspect.signature(function)
        self.__signature__ = signature.replace(parameters=list(signature.parameters.values())[1:])

    def __call__(self, *args: Any, **kwargs: Any) -> Any:
        return self.function(*args, **kwargs)


def _parameters(function: Any) -> Mapping[str, inspect.Parameter] | None:
    try:
        return inspect.signature(function).parameters
    except (TypeError, ValueError):
        return None  # a C function without a signature


def _context_parameter(function: Any, keywords: set[str] | None) -> str:
    """Return the name of the parameter that gets the context; empty if there is none.

    Parameters
    ----------
    function
        The function.
    keywords
        The parameters that an item fills; None if an item is the first argument.
    """
    parameters = _parameters(function) or {}
    bound = function.keywords if isinstance(function, partial) else {}
    kinds = (inspect.Parameter.POSITIONAL_OR_KEYWORD, inspect.Parameter.KEYWORD_ONLY)
    named = [
        p.name
        for p in islice(parameters.values(), 1 if keywords is None else 0, None)
        if p.kind in kinds
    ]
    taken = {*bound, *(keywords or ())}
    return next((name for name in named if name in _CONTEXT_NAMES and name not in taken), "")


def _names(items: Any) -> set[str]:
    return set(next(iter(items), {}))


def _check_function(
    called: str, function: Any, target: Any, items: Any, call: str, *, is_made: bool
) -> None:
    """Check that a worker can make the object of a class, and call the function.

    Raises
    ------
    ConfigError
        It cannot, or the function is async.
    """
    name = name_of(function)
    inner = target.function if isinstance(target, _WithoutSelf) else target
    _check_plain(inner, name, called)
    if is_made and not _binds(function):
        msg = (
            f"{name}{_shown_signature(function)} is made once in each worker, without arguments. Give "
            f"the others by functools.partial({name}, ...), or give an object of the class."
        )
        raise ConfigError(msg)
    context = _context_parameter(target, _names(items) if call == KEYWORDS else None)
    also = {context: None} if context else {}
    if call == KEYWORDS:
        arguments: tuple[Any, ...] = ()
        keywords = {**next(iter(items), {}), **also}
        what = f"with the keyword arguments {', '.join(sorted(_names(items)))}"
    else:
        arguments, keywords = (None,), also
        what = "with one mini-batch" if call == BATCH else "with one item"
    if not _binds(target, *arguments, **keywords):
        example = "a grid with those names" if call == KEYWORDS else f"def {name}(item): ..."
        msg = (
            f"{called}() calls {name}{_shown_signature(target)} {what}. Write {example}; "
            "functools.partial binds further arguments."
        )
        raise ConfigError(msg)


def _binds(function: Any, *arguments: Any, **keywords: Any) -> bool:
    try:
        inspect.signature(function).bind(*arguments, **keywords)
    except TypeError:
        return False
    except ValueError:
        return True  # a C function without a signature
    return True


def _shown_signature(function: Any) -> str:
    return str(inspect.signature(function))


def _check_plain(function: Any, name: str, called: str) -> None:
    """Check that a function is not async."""
    if not callable(function):
        msg = f"{called}() got {function!r:.80} as {name}; expected a function without parameters."
        raise ConfigError(msg)
    while isinstance(function, partial):
        function = function.func
    if not isinstance(function, type) and not inspect.isroutine(function):
        function = getattr(type(function), "__call__", function)  # noqa: B004 - not a test
    if inspect.iscoroutinefunction(function) or inspect.isasyncgenfunction(function):
        msg = (
            f"{name} is async, and workers do not await it. Write a plain function that returns "
            f"asyncio.run({name}(...)), and give that to {called}()."
        )
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
