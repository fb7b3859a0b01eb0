"""``@entry``: marks a function of a notebook as an entry script."""

from __future__ import annotations

import types
from collections.abc import Callable
from typing import Any, TypeVar, overload

from ..errors import EntryScriptError
from ..worker.context_argument import signature_of

_MARK = "__parallelrun_entry__"

_Function = TypeVar("_Function", bound=Callable[..., Any])


@overload
def entry(run: _Function, /) -> _Function: ...


@overload
def entry(
    *, init: Callable[[], Any] | None = None, shutdown: Callable[[], Any] | None = None
) -> Callable[[_Function], _Function]: ...


def entry(
    run: Any = None,
    /,
    *,
    init: Callable[[], Any] | None = None,
    shutdown: Callable[[], Any] | None = None,
) -> Any:
    """Mark a function of a notebook as an entry script.

    It can still be called. Give it as ``entry_script`` to a `ParallelRunConfig`: it then travels to the
    workers by value, with the variables and functions of the notebook that it uses.

    Parameters
    ----------
    run
        The function: ``run(mini_batch)`` or ``run(mini_batch, context)``, under any name.
    init
        Called once in each worker, before the first mini-batch. Global variables that it sets are
        those of ``run``.
    shutdown
        Called once in each worker, at the end.

    Returns
    -------
    function
        ``run`` itself; with keywords alone, the decorator.

    Raises
    ------
    EntryScriptError
        A function cannot be called with these arguments.

    Examples
    --------
    ::

        import parallelrun_jupyter as parallelrun

        @parallelrun.entry
        def score(mini_batch):
            return [len(open(path).read()) for path in mini_batch]

        config = parallelrun.ParallelRunConfig(entry_script=score)
        run = parallelrun.submit(config, inputs="texts/*.txt")
    """
    for role, function in (("init", init), ("shutdown", shutdown)):
        if function is not None:
            _check(function, role, 0, f"a function without parameters for @entry({role}=...)")

    def mark(function: Any) -> Any:
        _check(function, "run", 1, "def run(mini_batch) or def run(mini_batch, context)")
        setattr(function, _MARK, {"init": init, "shutdown": shutdown})
        return function

    return mark if run is None else mark(run)


def is_entry(value: object) -> bool:
    """Return whether a value is a function that `entry` has marked."""
    return isinstance(value, types.FunctionType) and hasattr(value, _MARK)


def functions_of(run: Any) -> dict[str, Callable[..., Any]]:
    """Return the functions of an entry script by role: ``run``, and ``init`` and ``shutdown`` if given."""
    others = {role: function for role, function in getattr(run, _MARK).items() if function}
    return {"run": run, **others}


def _check(function: Any, role: str, arguments: int, expected: str) -> None:
    """Check that a function can be called by a worker."""
    name = getattr(function, "__name__", repr(function))
    if not callable(function) or (role == "run" and not isinstance(function, types.FunctionType)):
        msg = f"@entry was given {function!r} as {role}; expected a function. Write {expected}."
        raise EntryScriptError(msg)
    try:
        signature = signature_of(function)
    except (TypeError, ValueError):
        return  # a callable of a C extension has none
    for count in (arguments, arguments + 1) if role == "run" else (arguments,):
        try:
            signature.bind(*range(count))
        except TypeError:
            continue
        return
    called = "with the mini-batch, or with it and its context" if arguments else "without arguments"
    parameters = ", ".join(
        str(one.replace(annotation=one.empty)) for one in signature.parameters.values()
    )
    msg = f"{name}({parameters}) is called {called}. Write {expected}."
    raise EntryScriptError(msg)
