"""Calls a script's ``run`` with one item in place of a mini-batch."""

from __future__ import annotations

from ..context_argument import takes_context
from ..failures import BadResult
from ..output.results import is_coroutine
from ..script import is_async
from ..single_items import single_items

TYPE_CHECKING = False
if TYPE_CHECKING:  # typing is not worth its import in a worker
    from typing import Any, Callable


def by_item(run: Callable[..., Any]) -> Callable[..., Any]:
    """Return a ``run(mini_batch, context)`` for mini-batches of one item.

    Parameters
    ----------
    run
        Takes an item (a path, a row as a dict, a value of a variable), and perhaps the context. What
        it returns is the row of the item; what a generator yields is a list.
    """
    has_context = takes_context(run)

    def call(mini_batch: Any, context: Any) -> Any:
        __tracebackhide__ = True
        (item,) = single_items(mini_batch)
        return run(item, context) if has_context else run(item)

    if is_async(run):

        async def run_async(mini_batch: Any, context: Any) -> Any:
            __tracebackhide__ = True
            return [_checked(await collected(call(mini_batch, context)))]

        called = run_async  # type: Any
    else:

        def run_plain(mini_batch: Any, context: Any) -> Any:
            __tracebackhide__ = True
            result = call(mini_batch, context)
            return [_checked(list(result) if hasattr(type(result), "__next__") else result)]

        called = run_plain
    called.func = run  # the place of failures without a frame
    run_batch: Callable[..., Any] = called
    return run_batch


def _checked(result: Any) -> Any:
    """Return the row of an item.

    Raises
    ------
    BadResult
        An await is missing: the row would be the text of a coroutine.
    """
    kind = type(result)
    if hasattr(kind, "__await__") or hasattr(kind, "__anext__"):
        is_coroutine(result)
        raise BadResult(
            "wrong_result",
            "run(item) returned a %s, which nothing awaits: await what it calls, in an async def run"
            % kind.__name__,
        )
    return result


async def collected(result: Any) -> Any:
    """Return what an async function returns, or the list of what an asynchronous generator yields."""
    if hasattr(type(result), "__anext__"):
        return [element async for element in result]
    return await result
