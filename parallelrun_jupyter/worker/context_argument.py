"""The second argument of ``run()``: which scripts accept a context, and a call with it."""

from __future__ import annotations

import sys

from .context import MiniBatchContext, load

TYPE_CHECKING = False
if TYPE_CHECKING:  # typing is not worth its import in a worker
    import inspect
    from typing import Any, Callable

    from .context import Failed
    from .plan_line import PlanLine
    from .status_page import StatusPage

_VARIADIC = 0x04
"""The flag of a code object that takes ``*args``."""


def _load(line: PlanLine, _: Any) -> Any:
    return load(line)


def with_context(
    run: Callable[..., Any],
    load_line: Callable[[PlanLine, Any], Any] = _load,
    page: StatusPage | None = None,
    spending: Any = None,
) -> Callable[..., Any]:
    """Return a function that calls a script's ``run`` for a plan line and its attempt.

    Without ``spending`` the number of the mini-batch is enough, in place of the attempt.

    A dict as its third argument receives the items that the script fails.

    Parameters
    ----------
    run
        The script's function.
    load_line
        Loads the mini-batch from the same two arguments.
    page
        Receives the progress within a call. Default: nothing does.
    spending
        A `Spending` that reports what calls spend. Default: nothing does.
    """
    if takes_context(run):

        def call(line: PlanLine, attempt: Any, failed: Failed | None = None) -> Any:
            loaded = load_line(line, attempt)
            spend = spending.of(attempt) if spending is not None else None
            key = spending.key if spending is not None else ""
            number = attempt if isinstance(attempt, int) else attempt.mini_batch
            return run(
                loaded, MiniBatchContext(line, number, loaded, failed, page, spend=spend, key=key)
            )

        return call
    return lambda line, attempt, _=None: run(load_line(line, attempt))


def takes_context(run: Callable[..., Any]) -> bool:
    """Return whether ``run`` accepts a context besides the mini-batch.

    It does if it has a second positional argument, or ``*args``. An argument with a default must be
    named for it (``context``, ``mini_batch_context``, ``ctx``): ``run(mini_batch, top=3)`` keeps its
    default.
    """
    code = getattr(run, "__code__", None)
    if code is not None and type(run).__name__ == "function" and not hasattr(run, "__wrapped__"):
        if code.co_argcount > 1:
            defaults = getattr(run, "__defaults__", None) or ()
            is_required = code.co_argcount - len(defaults) > 1
            return is_required or _is_context(code.co_varnames[1])
        return bool(code.co_flags & _VARIADIC)
    return _takes_context(run)


def signature_of(function: Callable[..., Any]) -> inspect.Signature:
    """Return the signature of a function, whose annotations may name what does not exist.

    From Python 3.14 on, a function can be defined with such annotations (names that only a type checker
    imports, for example), and `inspect.signature` would evaluate them.
    """
    import inspect

    if sys.version_info >= (3, 14):
        from annotationlib import Format

        return inspect.signature(function, annotation_format=Format.FORWARDREF)
    return inspect.signature(function)


def _takes_context(run: Callable[..., Any]) -> bool:
    """Check the signature of methods, partial functions, wrapped ones and other callables."""
    import inspect  # slower than the rest of a worker's start, and not needed for functions

    try:
        parameters = list(signature_of(run).parameters.values())
    except (TypeError, ValueError):
        return False  # a C function without a signature
    kinds = (inspect.Parameter.POSITIONAL_ONLY, inspect.Parameter.POSITIONAL_OR_KEYWORD)
    positional = [p for p in parameters if p.kind in kinds]
    if len(positional) > 1:
        second = positional[1]
        return second.default is inspect.Parameter.empty or _is_context(second.name)
    return any(p.kind == inspect.Parameter.VAR_POSITIONAL for p in parameters)


def _is_context(name: str) -> bool:
    return "context" in name or "ctx" in name
