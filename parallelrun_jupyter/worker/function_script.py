"""Calls a function of the notebook for the items of mini-batches: the script of `map` and `map_batches`.

The generated entry script of such a run takes its functions from here. They are in the worker's own
package, so that the frames above the user's function are in no traceback and in no failure group.
"""

from __future__ import annotations

from functools import partial

from .failures import BadResult, line_of
from .output.objects import is_arrow
from .output.results import counted
from .script import is_async
from .single_items import single_items

TYPE_CHECKING = False
if TYPE_CHECKING:  # typing is not worth its import in a worker
    from typing import Any, Callable, Iterator

ITEM, KEYWORDS, BATCH = "item", "keywords", "batch"
"""What a call of the function gets: an item, an item as keyword arguments, or a mini-batch."""


def functions_of(
    functions: dict[str, Any],
    call: str,
    context_name: str = "",
    *,
    is_made: bool,
    keeps_objects: bool,
) -> tuple[Callable[[], Any], Callable[..., Any], Callable[[], Any]]:
    """Return ``init``, ``run`` and ``shutdown`` of an entry script.

    Parameters
    ----------
    functions
        The user's functions by role: ``function``, and ``init`` and ``shutdown`` if given.
    call
        What a call of the function gets.
    context_name
        The function's parameter for the context; empty if it has none.
    is_made
        Whether the function makes the object to call, once in a worker: it is a class with ``__call__``.
    keeps_objects
        Whether results are kept as they are, so that each belongs to an item; else they are rows of a
        table.
    """
    caller = _Caller(functions, call, context_name, is_made=is_made, keeps_objects=keeps_objects)

    # Plain functions: their parameters are known at once.
    def run_plain(mini_batch: Any, context: Any) -> Any:
        __tracebackhide__ = True  # of IPython, for a trial in the notebook
        return caller.run(mini_batch, context)

    async def run_async(mini_batch: Any, context: Any) -> Any:
        __tracebackhide__ = True
        return await caller.run_async(mini_batch, context)

    function = functions["function"]
    is_class = is_made and isinstance(function, type)
    called = vars(function).get("__call__") if is_class else function
    run: Any = run_async if is_async(called) else run_plain
    # The place of failures without a frame: `line_of` reads it as of a partial function.
    vars(run)["func"] = called
    if any(map(is_async, (called, functions.get("init"), functions.get("shutdown")))):
        return caller.init_async, run, caller.shutdown_async
    return caller.init, run, caller.shutdown


class _Caller:
    """Calls the functions of a run in one worker."""

    def __init__(
        self,
        functions: dict[str, Any],
        call: str,
        context_name: str,
        *,
        is_made: bool,
        keeps_objects: bool,
    ) -> None:
        self._functions = functions
        self._function = functions["function"]
        self._call = call
        self._context_name = context_name
        self._is_made = is_made
        self._keeps_objects = keeps_objects

    def init(self) -> None:
        """Call the user's ``init``, and make the object."""
        if "init" in self._functions:
            self._functions["init"]()
        if self._is_made:
            self._function = self._function()

    async def init_async(self) -> None:
        """Do as `init`, and await the user's ``init``."""
        if "init" in self._functions:
            await _awaited(self._functions["init"]())
        if self._is_made:
            self._function = self._function()

    def _function_for(self, context: Any) -> Any:
        """Return the function of one argument to call in a mini-batch."""
        function = self._function
        if self._context_name:
            function = partial(function, **{self._context_name: context})
        return _with_keywords(function) if self._call == KEYWORDS else function

    def _of_batch(self, result: Any, items: int) -> Any:
        function = self._functions["function"]
        return _batch_result(result, items, function, keeps_objects=self._keeps_objects)

    async def run_async(self, mini_batch: Any, context: Any) -> Any:
        """Do as `run`, and await the function."""
        __tracebackhide__ = True
        from .calls.by_item import collected

        function = self._function_for(context)
        if self._call == BATCH:
            return self._of_batch(await collected(function(mini_batch)), len(mini_batch))
        items = list(single_items(mini_batch))
        results = []
        for item in items:
            try:
                results.append(await collected(function(item)))
            except Exception as error:
                if context._raises:  # noqa: SLF001 - not for scripts
                    raise
                results.append(error)
        return results

    def run(self, mini_batch: Any, context: Any) -> Any:
        """Call the function for each item of a mini-batch, or once for all of them."""
        __tracebackhide__ = True
        function = self._function_for(context)
        if self._call == BATCH:
            return self._of_batch(function(mini_batch), len(mini_batch))
        begin = context._begin_item  # noqa: SLF001 - not for scripts
        results = []
        for position, item in enumerate(single_items(mini_batch)):
            begin(position)
            try:
                result = function(item)
                kind = type(result)
                if kind.__module__ == "builtins" and hasattr(kind, "__next__"):
                    result = list(result)  # a generator, or such as zip()
                results.append(result)
            except MemoryError:
                raise  # the worker frees the results so far, and runs the items alone
            except Exception as error:
                if context._raises:  # noqa: SLF001 - not for scripts
                    raise
                results.append(error)
        return results

    def shutdown(self) -> None:
        """Call the user's ``shutdown``, and that of the object or its ``close``."""
        for end in self._ends():
            end()

    async def shutdown_async(self) -> None:
        """Do as `shutdown`, and await what is async."""
        for end in self._ends():
            await _awaited(end())

    def _ends(self) -> Iterator[Any]:
        if "shutdown" in self._functions:
            yield self._functions["shutdown"]
        if self._is_made:
            names = ("shutdown", "aclose", "close")
            methods = (getattr(self._function, name, None) for name in names)
            yield from [method for method in methods if method is not None][:1]


async def _awaited(result: Any) -> None:
    if hasattr(type(result), "__await__"):
        await result


def name_of(function: Any) -> str:
    """Return the name of a function in messages."""
    while hasattr(function, "func"):  # a partial function
        function = function.func
    return str(getattr(function, "__name__", type(function).__name__))


def _with_keywords(function: Any) -> Any:
    def call(item: dict[str, Any]) -> Any:
        __tracebackhide__ = True
        return function(**item)

    return call


def _batch_result(result: Any, items: int, function: Any, *, keeps_objects: bool) -> Any:
    """Return the result of a function of a mini-batch: one element for each item, or a table.

    Raises
    ------
    BadResult
        It is neither.
    """
    kind, name, place = "wrong_result", name_of(function), line_of(function)
    try:
        result = counted(result)
    except BadResult as error:
        message = str(error).replace("run()", name + "()", 1)
        raise BadResult(error.kind, message, place) from None
    if hasattr(result, "iter_rows"):
        package = type(result).__module__.partition(".")[0]
        message = (
            "%s() returned a DataFrame of %s; return a list, an array, a DataFrame of pandas, or an Arrow "
            "table, such as its to_arrow()" % (name, package)
        )
        raise BadResult(kind, message, place)
    rows = len(result)
    if rows == items or not keeps_objects:
        return result
    if hasattr(result, "iloc") or is_arrow(result):
        return WholeTable(result, items)
    message = (
        "%s() returned %d result%s for %d item%s; expected one for each item, or a table (a DataFrame, a "
        "Series), which may have any number of rows"
        % (name, rows, "s" * (rows != 1), items, "s" * (items != 1))
    )
    raise BadResult(kind, message, place)


class WholeTable:
    """A table that stands for the items of a mini-batch, but has another number of rows.

    Attributes
    ----------
    value
        The DataFrame or Series.
    """

    is_whole = True

    def __init__(self, value: Any, items: int) -> None:
        self.value = value
        self._items = items

    def __len__(self) -> int:
        return self._items

    def divided(self, counts: list[int]) -> list[WholeTable]:
        """Return the table for the first of several ranges of items, and none of its rows for others."""
        rows = self.value.slice if is_arrow(self.value) else self.value.iloc.__getitem__
        none = rows(0, 0) if is_arrow(self.value) else rows(slice(0))
        return [WholeTable(none if k else self.value, count) for k, count in enumerate(counts)]

    def __iter__(self) -> Iterator[Any]:
        return iter(())  # no element is an exception
