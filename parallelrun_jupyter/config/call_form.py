"""How ``run()`` is called: awaited or not, for a mini-batch or for one item."""

from __future__ import annotations

import ast
from dataclasses import dataclass
from typing import Any

from ..worker.context_argument import signature_of
from ..worker.script import is_async

ITEM_NAMES = frozenset({"item", "path", "row", "prompt", "text"})
"""Names of a first parameter that gets one item; any other gets the mini-batch."""

ITEM_ANNOTATIONS = frozenset({"str", "dict"})
"""Annotations of a first parameter that gets one item; of ``dict[...]``, too."""

DEFAULT_CONCURRENCY = 50
"""Calls of an async ``run()`` in flight in one worker."""


@dataclass(frozen=True, slots=True)
class CallForm:
    """The form of a script's ``run()``.

    Parameters
    ----------
    is_async
        Whether its calls are awaited.
    names_item
        Whether its first parameter is one of an item. It then gets one, if its calls are awaited or
        several are in flight.
    """

    is_async: bool = False
    names_item: bool = False


def form_of_source(source: str) -> CallForm:
    """Return the form of ``run`` in a script, by reading it; a plain one if it is not found."""
    try:
        body = ast.parse(source).body
    except (SyntaxError, ValueError):
        return CallForm()
    for node in reversed(body):
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef) and node.name == "run":
            parameters = [*node.args.posonlyargs, *node.args.args]
            names_item = bool(parameters) and _names_item(
                parameters[0].arg, _annotation(parameters[0].annotation)
            )
            return CallForm(isinstance(node, ast.AsyncFunctionDef), names_item)
    return CallForm()


def form_of_function(function: Any) -> CallForm:
    """Return the form of a function of the notebook that is ``run``."""
    try:
        parameters = list(signature_of(function).parameters.values())
    except (TypeError, ValueError):
        parameters = []
    names_item = False
    if parameters:
        hint = parameters[0].annotation
        named = getattr(hint, "__name__", "") or getattr(hint, "__forward_arg__", "")
        text = hint if isinstance(hint, str) else named
        names_item = _names_item(parameters[0].name, text)
    return CallForm(is_async(function), names_item)


def _annotation(node: ast.expr | None) -> str:
    if isinstance(node, ast.Constant) and isinstance(node.value, str):
        return node.value
    return ast.unparse(node) if node is not None else ""


def _names_item(name: str, annotation: str) -> bool:
    return name in ITEM_NAMES or annotation.partition("[")[0].strip() in ITEM_ANNOTATIONS
