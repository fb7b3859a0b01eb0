"""The arguments of ``run()``: the mini-batch, and a context for scripts that accept one."""

from __future__ import annotations

import os
import stat
import sys
import time

from .failures import BadInput, ItemFailed, cut
from .item_ranges import items_in
from .status_page import NONE
from .tables.reader import key_values

TYPE_CHECKING = False
if TYPE_CHECKING:  # typing is not worth its import in a worker
    from typing import Any, Callable

    from .plan_line import PlanLine
    from .status_page import StatusPage
    from .tables.selection import TableParts

    Failed = dict[int, tuple[BaseException, str]]
    """Items that failed, by their position in the argument of ``run()``: the error and its place."""

_SHOWN_CHARS = 200
"""Characters of a wrong argument in an error message."""

_MOST = (1 << 63) - 1
"""The largest number in the status page."""

_VARIADIC = 0x04
"""The flag of a code object that takes ``*args``."""


def load(line: PlanLine, parts: TableParts | None = None) -> Any:
    """Return the items of a plan line: a list of paths, or a DataFrame of rows.

    Parameters
    ----------
    line
        The plan line.
    parts
        The rows of its mini-batch, as for ``load_table``.

    Raises
    ------
    BadInput
        A table cannot be read as planned, or a path still cannot be read, as at the time of
        listing.
    """
    if _is_variable(line):
        from .memory_items import load_memory

        return load_memory(line)
    if line.is_table:
        from .tables.reader import load_table

        try:
            return load_table(line, parts)
        except BadInput:
            raise
        except Exception as error:  # pandas and pyarrow do not name the file
            more = " and %d more" % (len(line.paths) - 1) if len(line.paths) > 1 else ""
            raise BadInput(
                "the rows of %s%s could not be loaded: %s: %s"
                % (line.paths[0], more, type(error).__name__, error)
            ) from error
    if "unread" in line.extra:
        _check_repaired(line.paths[0], line.extra["unread"])
    return list(line.paths)


def _check_repaired(path: str, reason: str) -> None:
    """Check that a path that could not be read during listing can be read now."""
    try:
        is_folder = stat.S_ISDIR(os.stat(path).st_mode)
    except OSError as error:
        raise BadInput("the input %s cannot be read: %s" % (path, error.strerror))
    if is_folder:
        raise BadInput(
            "the folder %s could not be listed when the run was planned (%s): its files are not in "
            "this run. Start a new run" % (path, reason)
        )


class MiniBatchDataset:
    """The items of one mini-batch, as a dataset."""

    def __init__(self, line: PlanLine) -> None:
        self._line = line

    def __repr__(self) -> str:
        paths = list(self._line.paths)
        more = " and %d more" % (len(paths) - 1) if len(paths) > 1 else ""
        return "MiniBatchDataset(%r%s)" % (paths[0] if paths else "", more)

    def to_path(self) -> list[str]:
        """Return the paths of the files of the mini-batch.

        Raises
        ------
        TypeError
            The items are those of a variable, which is no file.
        """
        if _is_variable(self._line):
            raise TypeError("the items are those of a variable, not files; run() gets them")
        return list(self._line.paths)

    def to_pandas_dataframe(self) -> Any:
        """Return the rows of the mini-batch as a new DataFrame.

        Raises
        ------
        TypeError
            The items are files, which have no rows.
        """
        if not self._line.is_table:
            raise TypeError("the items are files, not rows of a table; to_path() has their paths")
        loaded = load(self._line)
        if hasattr(loaded, "to_pylist"):
            return loaded.to_pandas()
        if not hasattr(loaded, "columns"):
            raise TypeError("the items are not rows of a table; run() gets them")
        return loaded


class MiniBatchContext:
    """The description of a mini-batch, with Azure's names.

    Attributes
    ----------
    partition_key_value
        The values of the run's ``partition_keys``, by key; empty without keys. Times are
        ``datetime``.
    dataset
        The items of this mini-batch.
    minibatch_index
        Number of the mini-batch, from 0 in input order.
    global_row_index_lower_bound
        Number of its first item (a file, or a row of a table), from 0 over all inputs.
    """

    # Set by the rare calls that tell how far they are.
    #: the item that runs: its position in the mini-batch, and its start
    _item = (NONE, 0.0)
    #: the positions in the mini-batch of the items that `run()` received
    _positions: list[int] | None = None
    #: how much is done, and of how much, if the script tells
    _progress: tuple[int, int] | None = None

    def __init__(
        self,
        line: PlanLine,
        mini_batch: int,
        loaded: Any = None,
        failed: Failed | None = None,
        page: StatusPage | None = None,
        *,
        spend: Callable[..., None] | None = None,
        key: str = "",
    ) -> None:
        self._line = line
        self._spend = spend
        #: the first part of the idempotency key: the run
        self._key = key
        self._loaded = loaded
        self._failed = failed
        self._page = page
        self._call = page.sequence if page is not None else 0
        #: the labels of rows of a variable, as `run()` receives them
        self._index = getattr(loaded, "index", None) if _is_variable(line) else None
        self.partition_key_value = key_values(line.extra.get("keys", {}))
        self.dataset = MiniBatchDataset(line)
        self.minibatch_index = mini_batch
        self.global_row_index_lower_bound = line.first + line.ranges_of_items[0][0]

    def __repr__(self) -> str:
        return "MiniBatchContext(minibatch_index=%d, partition_key_value=%r)" % (
            self.minibatch_index,
            self.partition_key_value,
        )

    @property
    def answers_items(self) -> bool:
        """Whether the items of the run fail one by one, so that `fail` can be called."""
        return self._failed is not None

    @property
    def _raises(self) -> bool:
        """Whether the exception of an item is one of the whole call, since no other item is in it."""
        is_alone = self._page is None and self._line.item_count == 1
        return is_alone or self._failed is None

    def __getstate__(self) -> dict[str, Any]:
        """Return the attributes without the page: a copy in another process shows no progress."""
        return dict(self.__dict__, _page=None, _spend=None)

    @property
    def idempotency_key(self) -> str:
        """A text that names these items of this run, the same in each try, also after a resume.

        A server that takes such keys does the work of a request once, however often it is sent.
        """
        first, count = self.global_row_index_lower_bound, self._line.item_count
        end = "" if count == 1 else "-%d" % (first + count - 1)
        return "%s-%d%s" % (self._key or "trial", first, end)

    def spend(
        self,
        *,
        tokens: int = 0,
        input_tokens: int = 0,
        output_tokens: int = 0,
        usd: float = 0.0,
    ) -> None:
        """Tell what this call spends, before or after the server is asked; several calls add up.

        The run counts it at once, even if the attempt fails later: for ``token_limit``, ``budget`` and
        the views.

        Parameters
        ----------
        tokens
            Tokens, at the price of input tokens if ``token_prices`` is set.
        input_tokens, output_tokens
            The same, by their kind.
        usd
            US dollars, in addition to the prices of the tokens.

        Raises
        ------
        ValueError
            A number is negative, or not finite.
        """
        amounts = (tokens, input_tokens, output_tokens, usd)
        for amount in amounts:
            if not 0 <= amount < float("inf"):
                raise ValueError(
                    "context.spend(tokens=%r, input_tokens=%r, output_tokens=%r, usd=%r): expected numbers "
                    "from 0 on; the tokens and dollars that this call has used" % amounts
                )
        if self._spend is not None:
            self._spend(*amounts)

    def progress(self, done: int, of: int | None = None) -> None:
        """Tell how far this call of ``run()`` is; the views show it until the call ends.

        It writes a few bytes of shared memory and takes about a microsecond, so that a loop may call
        it in each step. Without a worker, as in `try_one`, it only checks its arguments.

        Parameters
        ----------
        done
            How much is done, from 0: epochs, pages, items, or any other unit.
        of
            How much there is to do. Default: unknown.

        Raises
        ------
        TypeError
            An argument is not a whole number.
        ValueError
            ``done`` is negative, or more than ``of``.
        """
        if type(done) is not int or not (of is None or type(of) is int):
            given = done, of
            done = _whole(done, *given)
            of = None if of is None else _whole(of, *given)
        if not 0 <= done <= (_MOST if of is None else of) <= _MOST:
            raise ValueError(
                "context.progress(%s, %s): expected how much is done, from 0, and how much there is to "
                "do, not less; leave the second out, or give None, if it is unknown"
                % (_brief(done), _brief(of))
            )
        self._progress = done, NONE if of is None else of
        page = self._page
        if page is not None and page.sequence == self._call:
            page.write_progress(self._call, (*self._progress, 0, *self._item))

    def _begin_item(self, position: int) -> None:
        """Tell that an item begins: ``run_invocation_timeout`` then limits its time alone.

        If the worker dies or is killed, this item is suspected.

        Parameters
        ----------
        position
            Its position in the list, or its row in the DataFrame, that ``run()`` received.
        """
        page = self._page
        if page is None or page.sequence != self._call:
            return
        if self._positions is None:
            self._positions = list(items_in(self._line.ranges_of_items))
        self._item = self._positions[position], time.monotonic()
        if self._progress is None:
            shown = position, len(self._positions), 1
            page.write_progress(self._call, (*shown, *self._item))
        else:
            page.write_progress(self._call, (*self._progress, 0, *self._item))

    def records(self) -> list[dict[Any, Any]]:
        """Return the rows of the mini-batch as dicts, from the columns' names to Python values.

        Each column keeps its type: whole numbers are ``int`` beside columns of floats, and a missing
        value is None. The rows come from the DataFrame that ``run()`` received, including changes
        made by ``run()``.

        Raises
        ------
        TypeError
            The items are files, which have no rows.
        """
        if not self._line.is_table:
            raise TypeError("the items are files, which have no rows; run() gets their paths")
        from .output.values import records_of

        loaded = load(self._line) if self._loaded is None else self._loaded
        if hasattr(loaded, "to_pylist"):
            records: list[dict[Any, Any]] = loaded.to_pylist()
            return records
        if not hasattr(loaded, "columns"):
            raise TypeError("the items are not rows of a table; run() gets them")
        return list(records_of(loaded))

    def fail(self, index: int, error: BaseException | str) -> None:
        """Fail one item, while the others of the mini-batch succeed.

        ``run()`` then returns one element for each item, or one for each of the other items. The
        last call for an item wins.

        Parameters
        ----------
        index
            The item: its position in the list or array, or the label of its row in the index of the
            DataFrame or Series, as ``run()`` received it.
        error
            The reason: an exception or a text.

        Raises
        ------
        RuntimeError
            The items of the run do not fail one by one.
        IndexError, TypeError
            The mini-batch has no such item, or the error is neither an exception nor a text.
        """
        if self._failed is None:
            raise RuntimeError(
                "context.fail() fails single items, but isolate_failures is off in this run: turn "
                "it on (isolate_failures=True), or raise an exception for the whole mini-batch"
            )
        item = self._position(index)
        if isinstance(error, str):
            error = ItemFailed(error)
        elif not isinstance(error, BaseException):
            raise TypeError(
                "context.fail(%r, %s): expected an exception (such as ValueError('no face')) or a "
                "text as the error, not a %s" % (index, _brief(error), type(error).__name__)
            )
        caller = sys._getframe(1)  # noqa: SLF001 - inspect is slow to import
        name = os.path.basename(caller.f_code.co_filename)
        place = "%s:%d in %s" % (name, caller.f_lineno, caller.f_code.co_name)
        self._failed[item] = (error, place)

    def _position(self, index: Any) -> int:
        if hasattr(self._index, "get_loc"):
            return self._position_of_label(index)
        count = self._line.item_count
        is_whole = hasattr(index, "__index__") and not isinstance(index, bool)
        position = index.__index__() if is_whole else -1
        if 0 <= position < count:
            return int(position)
        kind = "the position of a path in the list"
        if self._line.is_table:
            kind = "the index of a row of the DataFrame"
        if _is_variable(self._line):
            kind = "the position of an item in the part"
        span = "from 0 to %d" % (count - 1) if count > 1 else "0 for its only item"
        raise (IndexError if is_whole else TypeError)(
            "context.fail(%s, ...): expected %s that run() received, %s"
            % (_brief(index), kind, span)
        )

    def _position_of_label(self, label: Any) -> int:
        index: Any = self._index
        try:
            position = index.get_loc(label)
        except (KeyError, TypeError):
            raise IndexError(
                "context.fail(%s, ...): the index of the DataFrame or Series that run() received has no "
                "such label; for the row at a position k, give its label, index[k]" % _brief(label)
            ) from None
        if not hasattr(position, "__index__"):
            raise IndexError(
                "context.fail(%s, ...): several rows have this label; give the run an input with a "
                "unique index, such as frame.reset_index()" % _brief(label)
            )
        return int(position)


def _is_variable(line: PlanLine) -> bool:
    return line.is_table and line.table.get("format") == "memory"


def _brief(value: Any) -> str:
    """Return the beginning of the ``repr`` of a value, which may be a whole row."""
    return cut(" ".join(repr(value).split()), _SHOWN_CHARS)


def _whole(value: Any, done: Any, of: Any) -> int:
    """Return an argument of `progress` as an ``int``."""
    if hasattr(value, "__index__") and not isinstance(value, bool):
        return int(value.__index__())
    raise TypeError(
        "context.progress(%s, %s): expected whole numbers, such as progress(3, 10), not a %s; for a "
        "share, use progress(int(100 * share), 100)"
        % (_brief(done), _brief(of), type(value).__name__)
    )


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


def _takes_context(run: Callable[..., Any]) -> bool:
    """Check the signature of methods, partial functions, wrapped ones and other callables."""
    import inspect  # slower than the rest of a worker's start, and not needed for functions

    try:
        parameters = list(inspect.signature(run).parameters.values())
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
