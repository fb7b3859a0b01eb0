"""What ``run(mini_batch, context)`` is told of its mini-batch, and which scripts are told."""

from __future__ import annotations

from .mini_batches import load
from .tables.column_layout import key_values

TYPE_CHECKING = False
if TYPE_CHECKING:  # typing is not worth its import in a worker
    from typing import Any, Callable

    from .plan_line import PlanLine

_VARIADIC = 0x04
"""The flag of a code object that takes ``*args``."""


class MiniBatchDataset:
    """The part of the input that is in a mini-batch, and nothing beside it."""

    def __init__(self, line: PlanLine) -> None:
        self._line = line

    def __repr__(self) -> str:
        paths = self.to_path()
        more = " and %d more" % (len(paths) - 1) if len(paths) > 1 else ""
        return "MiniBatchDataset(%r%s)" % (paths[0] if paths else "", more)

    def to_path(self) -> list[str]:
        """Return the paths of the files that the mini-batch is of."""
        return list(self._line.paths)

    def to_pandas_dataframe(self) -> Any:
        """Return the rows of the mini-batch as a DataFrame of its own.

        Raises
        ------
        TypeError
            The mini-batch is of files, which have no rows.
        """
        if not self._line.is_table:
            raise TypeError("the input is files, which are no table; to_path() has their paths")
        return load(self._line)


class MiniBatchContext:
    """What is known of a mini-batch beside its items, with Azure's names.

    Attributes
    ----------
    partition_key_value
        The values of the run's ``partition_keys``, by key; empty where there are none. Times are
        ``datetime``.
    dataset
        The part of the input that is in this mini-batch.
    minibatch_index
        Number of the mini-batch, from 0 in input order.
    global_row_index_lower_bound
        Number of its first item (a file, or a row of a table), from 0 over all inputs.
    """

    def __init__(self, line: PlanLine, mini_batch: int, loaded: Any = None) -> None:
        self._line = line
        self._loaded = loaded
        self.partition_key_value = key_values(line.extra.get("keys", {}))
        self.dataset = MiniBatchDataset(line)
        self.minibatch_index = mini_batch
        self.global_row_index_lower_bound = line.first

    def __repr__(self) -> str:
        return "MiniBatchContext(minibatch_index=%d, partition_key_value=%r)" % (
            self.minibatch_index,
            self.partition_key_value,
        )

    def records(self) -> list[dict[Any, Any]]:
        """Return the rows of the mini-batch as dicts, from the columns' names to Python values.

        Each column keeps its own type: whole numbers are ``int`` beside columns of floats, and a
        missing value is None. The rows are those of the DataFrame that ``run()`` was called with,
        with what it has changed in it since.

        Raises
        ------
        TypeError
            The mini-batch is of files, which have no rows.
        """
        if not self._line.is_table:
            raise TypeError("the input is files, which have no rows; run() gets their paths")
        from .output.row_records import records_of

        return records_of(load(self._line) if self._loaded is None else self._loaded)


def _load(line: PlanLine, _: int) -> Any:
    return load(line)


def with_context(
    run: Callable[..., Any], load_line: Callable[[PlanLine, int], Any] = _load
) -> Callable[[PlanLine, int], Any]:
    """Return what calls a script's ``run`` on a plan line and the mini-batch's number.

    Parameters
    ----------
    run
        The script's function.
    load_line
        Makes the mini-batch from the same two.
    """
    if takes_context(run):

        def call(line: PlanLine, mini_batch: int) -> Any:
            loaded = load_line(line, mini_batch)
            return run(loaded, MiniBatchContext(line, mini_batch, loaded))

        return call
    return lambda line, mini_batch: run(load_line(line, mini_batch))


def takes_context(run: Callable[..., Any]) -> bool:
    """Say whether ``run`` is called with a context beside the mini-batch.

    It is, when it takes a second positional argument. One that has a default gets it only when its
    name says so (``context``, ``mini_batch_context``, ``ctx``): ``run(mini_batch, top=3)`` was
    written before, and means something else. ``*args`` gets it.
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
    """Ask the signature: of methods, partial functions, wrapped ones and other callables."""
    import inspect  # takes longer than all else of a worker's start, so not for plain functions

    try:
        parameters = list(inspect.signature(run).parameters.values())
    except (TypeError, ValueError):
        return False  # one written in C that does not tell
    kinds = (inspect.Parameter.POSITIONAL_ONLY, inspect.Parameter.POSITIONAL_OR_KEYWORD)
    positional = [p for p in parameters if p.kind in kinds]
    if len(positional) > 1:
        second = positional[1]
        return second.default is inspect.Parameter.empty or _is_context(second.name)
    return any(p.kind == inspect.Parameter.VAR_POSITIONAL for p in parameters)


def _is_context(name: str) -> bool:
    return "context" in name or "ctx" in name
