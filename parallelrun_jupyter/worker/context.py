"""The context of ``run(mini_batch, context)``, and the check whether a script takes one."""

from __future__ import annotations

from .mini_batches import extra_of, load
from .tables.reader import key_values

TYPE_CHECKING = False
if TYPE_CHECKING:  # typing is not worth its import in a worker
    from typing import Any, Callable

_VARIADIC = 0x04
"""The flag of a code object that takes ``*args``."""


class MiniBatchDataset:
    """The items of one mini-batch, as a dataset."""

    def __init__(self, row: list[Any]) -> None:
        self._row = row

    def __repr__(self) -> str:
        paths = self.to_path()
        more = " and %d more" % (len(paths) - 1) if len(paths) > 1 else ""
        return "MiniBatchDataset(%r%s)" % (paths[0] if paths else "", more)

    def to_path(self) -> list[str]:
        """Return the paths of the files of the mini-batch."""
        return list(self._row[2])

    def to_pandas_dataframe(self) -> Any:
        """Return the rows of the mini-batch as a new DataFrame.

        Raises
        ------
        TypeError
            The items are files, which have no rows.
        """
        if self._row[0] == "f":
            raise TypeError("the items are files, not rows of a table; to_path() has their paths")
        return load(self._row)


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

    def __init__(self, row: list[Any], mini_batch: int, loaded: Any = None) -> None:
        extra = extra_of(row)
        self._row = row
        self._loaded = loaded
        self.partition_key_value = key_values(extra.get("keys", {}))
        self.dataset = MiniBatchDataset(row)
        self.minibatch_index = mini_batch
        self.global_row_index_lower_bound = extra.get("first", 0)

    def __repr__(self) -> str:
        return "MiniBatchContext(minibatch_index=%d, partition_key_value=%r)" % (
            self.minibatch_index,
            self.partition_key_value,
        )

    def records(self) -> list[dict[Any, Any]]:
        """Return the rows of the mini-batch as dicts, from the columns' names to Python values.

        Each column keeps its type: whole numbers are ``int`` beside columns of floats, and a missing
        value is None. The rows are those of the DataFrame that ``run()`` received, including its
        changes.

        Raises
        ------
        TypeError
            The items are files, which have no rows.
        """
        if self._row[0] == "f":
            raise TypeError("the items are files, which have no rows; run() gets their paths")
        from .output.values import records_of

        return list(records_of(load(self._row) if self._loaded is None else self._loaded))


def _load(row: list[Any], _: int) -> Any:
    return load(row)


def with_context(
    run: Callable[..., Any], load_row: Callable[[list[Any], int], Any] = _load
) -> Callable[[list[Any], int], Any]:
    """Return a function that calls a script's ``run`` for a plan line and a mini-batch number.

    Parameters
    ----------
    run
        The script's function.
    load_row
        Loads the mini-batch from the same two arguments.
    """
    if takes_context(run):

        def call(row: list[Any], mini_batch: int) -> Any:
            loaded = load_row(row, mini_batch)
            return run(loaded, MiniBatchContext(row, mini_batch, loaded))

        return call
    return lambda row, mini_batch: run(load_row(row, mini_batch))


def takes_context(run: Callable[..., Any]) -> bool:
    """Return whether ``run`` takes a context beside the mini-batch.

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
