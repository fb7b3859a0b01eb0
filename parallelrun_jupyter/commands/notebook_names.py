"""Finds the names of a notebook that a cell uses and does not define, by reading the cell."""

from __future__ import annotations

import ast
import builtins
import re
import symtable
import types
from collections.abc import Iterable, Mapping
from typing import Any

from ..data.datasets.inputs import is_dataset

_DYNAMIC = {"globals", "exec", "eval", "vars"}
"""Who calls one of these may define names in ways that cannot be read."""

_OF_IPYTHON = {"get_ipython", "display"}
_NUMBERED = re.compile(r"_+(?:i*\d*)")
_LONGEST_VALUE = 60


def uses_of(source: str, names: Mapping[str, Any]) -> dict[str, int]:
    """Return those of ``names`` that a cell uses and does not define, with the first line of each.

    Parameters
    ----------
    source
        The text of the cell. One that cannot be read, or that may define names in ways that cannot
        be read (``import *``, ``exec``), uses none.
    names
        The notebook's variables.
    """
    try:
        tree = ast.parse(source)
        table = symtable.symtable(source, "cell", "exec")
    except (SyntaxError, ValueError):
        return {}
    if any(
        isinstance(node, ast.ImportFrom) and node.names[0].name == "*" for node in ast.walk(tree)
    ):
        return {}
    defined, used = set(_defined(table)), set(_used(table))
    if used & _DYNAMIC:
        return {}
    known = (set(dir(builtins)) - _OF_IPYTHON) | defined
    wanted = {n for n in used - known if n in names and not _NUMBERED.fullmatch(n)}
    lines: dict[str, int] = {}
    for node in _evaluated(tree):
        if isinstance(node, ast.Name) and isinstance(node.ctx, ast.Load) and node.id in wanted:
            lines[node.id] = min(node.lineno, lines.get(node.id, node.lineno))
    return dict(sorted(lines.items(), key=lambda pair: (pair[1], pair[0])))


def what_to_write(name: str, value: object) -> str:
    """Return what to do about a variable of the notebook that a cell needs."""
    if isinstance(value, types.ModuleType):
        same = value.__name__ == name
        imported = f"import {name}" if same else f"import {value.__name__} as {name}"
        return f"write '{imported}' in the cell"
    if isinstance(value, type | types.FunctionType | types.BuiltinFunctionType):
        module = value.__module__
        if module in {"__main__", "builtins", None}:
            return f"define {name} in the cell, or import it from a file beside the notebook"
        same = value.__name__ == name
        imported = name if same else f"{value.__name__} as {name}"
        return f"write 'from {module} import {imported}' in the cell"
    if is_dataset(value):
        return f"give {name} with --input, and run() is given its items"
    if isinstance(value, str | int | float | bool | None) and len(repr(value)) <= _LONGEST_VALUE:
        return f"write '{name} = {value!r}' in the cell, or pass it as an argument after --"
    return f"make {name} in the cell's init(), or save it to a file that init() reads"


def _scopes(table: symtable.SymbolTable) -> Iterable[symtable.SymbolTable]:
    yield table
    for child in table.get_children():
        yield from _scopes(child)


def _defined(table: symtable.SymbolTable) -> Iterable[str]:
    """Yield the names that the cell binds at its top, or by a ``global`` statement."""
    for scope in _scopes(table):
        for symbol in scope.get_symbols():
            is_top = scope is table or symbol.is_declared_global()
            if is_top and (symbol.is_assigned() or symbol.is_imported() or symbol.is_namespace()):
                yield symbol.get_name()


def _used(table: symtable.SymbolTable) -> Iterable[str]:
    """Yield the names that are looked up among the cell's own and the builtins."""
    for scope in _scopes(table):
        for symbol in scope.get_symbols():
            if symbol.is_referenced() and (scope is table or symbol.is_global()):
                yield symbol.get_name()


def _evaluated(tree: ast.Module) -> Iterable[ast.AST]:
    """Yield the nodes that are evaluated: hints are not, after ``from __future__ import annotations``."""
    is_lazy = any(
        isinstance(node, ast.ImportFrom)
        and node.module == "__future__"
        and any(alias.name == "annotations" for alias in node.names)
        for node in tree.body
    )
    if is_lazy:
        for node in ast.walk(tree):
            if isinstance(node, ast.arg | ast.AnnAssign):
                node.annotation = ast.Constant(None)
            elif isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef):
                node.returns = None
    return ast.walk(tree)
