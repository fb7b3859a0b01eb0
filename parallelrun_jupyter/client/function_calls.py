"""How workers call a function of the notebook: checks before the start, and the script that calls it."""

from __future__ import annotations

import inspect
from collections.abc import Mapping
from dataclasses import dataclass, replace
from functools import partial
from itertools import islice
from pathlib import Path
from typing import Any

from ..config.call_form import CallForm
from ..errors import ConfigError
from ..worker.context_argument import signature_of
from ..worker.function_script import BATCH, ITEM, KEYWORDS, name_of
from ..worker.script import is_async
from .script import FUNCTIONS, Script, script_of_functions

_CONTEXT_NAMES = {"context", "ctx", "mini_batch_context"}

_SCRIPT = """
try:
    from _parallelrun_worker.function_script import functions_of
except ImportError:  # in the notebook, for a trial
    from parallelrun_jupyter.worker.function_script import functions_of

init, run, shutdown = functions_of(
    {functions}, {call!r}, {context!r}, is_made={is_made}, keeps_objects={keeps_objects}
)
"""


@dataclass(frozen=True, slots=True)
class Functions:
    """The functions of a run.

    Parameters
    ----------
    called
        The name of the function of ours that got them, for messages.
    call
        What a call of the function gets.
    function, init, shutdown
        The user's functions.
    """

    called: str
    call: str
    function: Any
    init: Any = None
    shutdown: Any = None

    @property
    def by_role(self) -> dict[str, Any]:
        """The functions that are given, by role."""
        others = {"init": self.init, "shutdown": self.shutdown}
        return {"function": self.function, **{k: f for k, f in others.items() if f is not None}}

    @property
    def is_made(self) -> bool:
        """Whether the function makes the object to call: a class whose objects can be called."""
        kind = _inner(self.function)
        return isinstance(kind, type) and any("__call__" in vars(base) for base in kind.__mro__)

    @property
    def target(self) -> Any:
        """What is called for each item: the function, or the method of an object."""
        return _WithoutSelf(_inner(self.function).__call__) if self.is_made else self.function

    @property
    def is_async(self) -> bool:
        """Whether its calls are awaited."""
        target = self.target
        return is_async(target.function if self.is_made else target)

    def check(self, first: Mapping[str, Any] | None) -> None:
        """Check that workers can call the functions.

        Parameters
        ----------
        first
            The first item, if items are passed as keyword arguments.

        Raises
        ------
        ConfigError
            One cannot be called, or has other parameters.
        """
        if not callable(self.function):
            msg = (
                f"{self.called}() got {self.function!r:.80} as its function; expected a function, such "
                f"as {self.called}(score, items)."
            )
            raise ConfigError(msg)
        for role in ("init", "shutdown"):
            if role in self.by_role:
                function = self.by_role[role]
                self._check_function(function, role)
                if not _binds(function):
                    msg = (
                        f"{role} is {name_of(function)}{signature_of(function)}, and it is called "
                        "without arguments. functools.partial binds them."
                    )
                    raise ConfigError(msg)
        target, name = self.target, name_of(self.function)
        self._check_function(target.function if self.is_made else target, name)
        if self.is_made and not _binds(self.function):
            msg = (
                f"{name}{signature_of(self.function)} is made once in each worker, without arguments. "
                f"Give the others by functools.partial({name}, ...), or give an object of the class."
            )
            raise ConfigError(msg)
        self._check_call(target, name, first)

    def _check_call(self, target: Any, name: str, first: Mapping[str, Any] | None) -> None:
        context = self.context_parameter(first)
        keywords = {**(first or {}), **({context: None} if context else {})}
        if _binds(target, *(() if self.call == KEYWORDS else (None,)), **keywords):
            return
        given = "mini_batch" if self.call == BATCH else "item"
        what = "with one mini-batch" if self.call == BATCH else "with one item"
        if self.call == KEYWORDS:
            given = ", ".join(first or ())
            what = f"with the keyword arguments {given}"
        defined = f"{'async ' if self.is_async else ''}def {name}({given}):"
        example = f"lambda {given}:" if name == "<lambda>" else defined
        msg = (
            f"{self.called}() calls {name}{signature_of(target)} {what}. Write {example} ... "
            "functools.partial binds further arguments."
        )
        if self.call == ITEM:
            msg += " If the items are tuples, unpack them in the function: a, b = item."
        raise ConfigError(msg)

    def _check_function(self, function: Any, name: str) -> None:
        """Check that a function is one."""
        if not callable(function):
            msg = f"{self.called}() got {function!r:.80} as {name}; expected a function without parameters."
            raise ConfigError(msg)

    def context_parameter(self, first: Mapping[str, Any] | None) -> str:
        """Return the name of the parameter that gets the context; empty if there is none.

        The parameter that gets the item is none, nor is one that has its value already.
        """
        try:
            parameters = signature_of(self.target).parameters.values()
        except (TypeError, ValueError):
            return ""  # a C function without a signature
        kinds = (inspect.Parameter.POSITIONAL_OR_KEYWORD, inspect.Parameter.KEYWORD_ONLY)
        others = islice(parameters, 0 if self.call == KEYWORDS else 1, None)
        bound = self.function.keywords if isinstance(self.function, partial) else {}
        taken = {*bound, *(first or {})}
        named = (p.name for p in others if p.kind in kinds and p.name not in taken)
        return next((name for name in named if name in _CONTEXT_NAMES), "")


def calling_script(
    functions: Functions,
    first: Mapping[str, Any] | None,
    *,
    keeps_objects: bool,
    source_directory: Any = None,
) -> Script:
    """Return the script that calls functions for items; ``first`` is as for `Functions.check`."""
    text = _SCRIPT.format(
        functions=FUNCTIONS,
        call=functions.call,
        context=functions.context_parameter(first),
        is_made=functions.is_made,
        keeps_objects=keeps_objects,
    )
    title = name_of(functions.function)
    title = "lambda" if title == "<lambda>" else title
    folder = None if source_directory is None else Path(source_directory).expanduser().absolute()
    script = script_of_functions(functions.by_role, title, text, folder)
    # Workers that are forked after its import load the function at once.
    return replace(
        script,
        call=functions.call,
        preload=("cloudpickle", *script.preload),
        form=CallForm(functions.is_async),
    )


def _inner(function: Any) -> Any:
    """Return the function inside partial functions."""
    while isinstance(function, partial):
        function = function.func
    return function


class _WithoutSelf:
    """A function whose signature lacks its first parameter."""

    def __init__(self, function: Any) -> None:
        self.function = function
        signature = signature_of(function)
        self.__signature__ = signature.replace(parameters=list(signature.parameters.values())[1:])

    def __call__(self, *args: Any, **kwargs: Any) -> Any:
        return self.function(*args, **kwargs)


def _binds(function: Any, /, *arguments: Any, **keywords: Any) -> bool:
    try:
        signature_of(function).bind(*arguments, **keywords)
    except TypeError:
        return False
    except ValueError:
        return True  # a C function without a signature
    return True
