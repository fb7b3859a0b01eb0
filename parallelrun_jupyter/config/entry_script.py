"""Checks an entry script before a run starts by parsing it, without running it."""

from __future__ import annotations

import ast
import builtins
import re
import symtable
import warnings
from collections.abc import Iterable, Mapping
from typing import Any

from ..errors import EntryScriptError
from ..formatting import nearest_hint

_IPYTHON_LINE = re.compile(
    r"[%!?]|\w+(?:\s*,\s*\w+)*\s*=\s*[%!]|(?:pip|conda|mamba) +install\b|[\w.]+\?{1,2}\s*$"
)
"""The start of a line that only IPython accepts: %magic, !command, x = !command, pip install, name?"""

_OWN_CELL = "Move the line to a cell of its own"
_REMEDIES = (
    (
        re.compile(r"%(?:matplotlib|pylab)\b"),
        "Leave the line out: the processes have no display for plots",
    ),
    (re.compile(r"[%!]?\s*(?:pip|conda|mamba) +install"), f"{_OWN_CELL}, and run it first"),
    (re.compile(r"%%"), "Write it above %%parallelrun, in the first line of the cell"),
    (re.compile(r"!"), f"{_OWN_CELL}, or call subprocess.run(...)"),
    (re.compile(r"\?|[\w.]+\?"), f"{_OWN_CELL}: it shows help in the notebook"),
    (
        re.compile(r"%time\b|%timeit\b"),
        "Write the statement without it; times of run() are in the view",
    ),
    (re.compile(""), _OWN_CELL),
)
"""Remedies by the command, the first match counts."""

_DYNAMIC = {"globals", "exec", "eval", "vars"}
"""Functions that may define names in ways that parsing cannot see."""

_IPYTHON_BUILTINS = {"get_ipython", "display"}
_HISTORY_NAME = re.compile(r"_+(?:i*\d*)")
_NOTHING = object()


def check_script(source: str, name: str) -> None:
    """Check that an entry script is valid Python and defines ``run``.

    Parameters
    ----------
    source
        The text of the script.
    name
        The script's name in error messages.

    Raises
    ------
    EntryScriptError
        The script has a syntax error (the message gives the line), defines no ``run`` at its top
        level, or has a ``run`` that accepts neither (mini_batch) nor (mini_batch, context).
    """
    try:
        tree = ast.parse(source, filename=name)
        table = symtable.symtable(source, name, "exec")
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # the workers show them
            compile(
                tree, name, "exec"
            )  # finds what parsing accepts: await and return outside of functions
    except SyntaxError as error:
        line = (error.text or _line(source, error.lineno)).strip()
        hint = _ipython_hint(line) or _await_hint(error.msg)
        msg = f"{name}, line {error.lineno}: {error.msg}: {line}{hint}"
        raise EntryScriptError(msg) from None
    if "run" not in _defined(table) and not _has_star_import(tree):
        functions = [
            n.name for n in tree.body if isinstance(n, ast.FunctionDef | ast.AsyncFunctionDef)
        ]
        msg = (
            f"{name} defines no function run(mini_batch).{nearest_hint('run', functions)} "
            "Write: def run(mini_batch): return [...]  (one element for each item)."
        )
        raise EntryScriptError(msg)
    for node in tree.body:
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef) and node.name == "run":
            _check_parameters(node, name)


def _line(source: str, number: int | None) -> str:
    lines = source.splitlines()
    return lines[number - 1] if number is not None and number <= len(lines) else ""


def _await_hint(message: str) -> str:
    """Return a hint about an ``await`` that only a notebook runs; "" for any other error."""
    if "outside" not in message or not message.startswith(("'await'", "'async")):
        return ""
    return (
        ". A notebook awaits at the top of a cell; an entry script is plain Python. Write it in "
        "async def init(), which is awaited once in each worker, or in async def run()."
    )


def _ipython_hint(line: str) -> str:
    """Return a hint about a line that only IPython accepts; "" for any other line."""
    match = _IPYTHON_LINE.match(line)
    if not match:
        return ""
    start = match.end() - 1 if "=" in match[0] else 0
    command = line[start:].split(maxsplit=1)[0]
    remedy = next(text for pattern, text in _REMEDIES if pattern.match(line[start:]))
    return (
        f". {command} is a command of IPython (a magic or a shell command); an entry script is "
        f"plain Python for other processes. {remedy}."
    )


def _check_parameters(node: ast.FunctionDef | ast.AsyncFunctionDef, name: str) -> None:
    arguments = node.args
    positional = len(arguments.posonlyargs) + len(arguments.args)
    required = positional - len(arguments.defaults)
    required_by_name = [
        a.arg for a, d in zip(arguments.kwonlyargs, arguments.kw_defaults, strict=True) if d is None
    ]
    if (positional == 0 and arguments.vararg is None) or required > 2 or required_by_name:
        msg = (
            f"{name}, line {node.lineno}: run({ast.unparse(arguments)}) is called with the "
            "mini-batch, or with the mini-batch and its context. Write: def run(mini_batch) or "
            "def run(mini_batch, context)."
        )
        raise EntryScriptError(msg)


def imported_modules(source: str, siblings: Iterable[str]) -> list[str]:
    """Return the modules that a script imports at its top level and in ``init``, in order.

    Parameters
    ----------
    source
        The text of the script. A script with a syntax error imports nothing.
    siblings
        Names of the files and folders beside the script. They are left out: the next run may find
        them changed.
    """
    try:
        tree = ast.parse(source)
    except SyntaxError:
        return []
    own = {name.removesuffix(".py") for name in siblings}
    names = dict.fromkeys(name for node in _statements(tree.body) for name in _modules_of(node))
    return [name for name in names if name.partition(".")[0] not in own]


def _modules_of(node: ast.stmt) -> list[str]:
    if isinstance(node, ast.Import):
        return [alias.name for alias in node.names]
    if isinstance(node, ast.ImportFrom) and node.level == 0 and node.module != "__future__":
        return [node.module or ""]
    return []


def _statements(body: Iterable[ast.stmt]) -> Iterable[ast.stmt]:
    """Yield statements, also those inside ``init()`` and if, try and with blocks."""
    for node in body:
        yield node
        if isinstance(node, ast.If | ast.Try | ast.With):
            for field in ("body", "orelse", "finalbody"):
                yield from _statements(getattr(node, field, ()))
        elif isinstance(node, ast.FunctionDef) and node.name == "init":
            yield from _statements(node.body)


def notebook_names(source: str, names: Mapping[str, Any]) -> dict[str, int]:
    """Return the notebook's variables that a cell uses without defining them.

    Parameters
    ----------
    source
        The text of the cell. A cell with a syntax error uses none; neither does one that may define
        names in ways that parsing cannot see (``import *``, ``exec``).
    names
        The notebook's variables.

    Returns
    -------
    dict
        The number of the first line that uses each name, sorted by line.
    """
    try:
        tree = ast.parse(source)
        table = symtable.symtable(source, "cell", "exec")
    except (SyntaxError, ValueError):
        return {}
    used = _used(table)
    if _has_star_import(tree) or used & _DYNAMIC:
        return {}
    unset = used - _defined(table)
    missing = {n for n in unset if n in names and not _means_the_same(n, names[n])}
    lines: dict[str, int] = {}
    for node in _evaluated(tree):
        if isinstance(node, ast.Name) and isinstance(node.ctx, ast.Load) and node.id in missing:
            lines[node.id] = min(node.lineno, lines.get(node.id, node.lineno))
    return dict(sorted(lines.items(), key=lambda pair: (pair[1], pair[0])))


def _means_the_same(name: str, value: object) -> bool:
    """Return whether a name is one of Python, and not one that the notebook has given a value."""
    if name in _IPYTHON_BUILTINS:
        return False
    if name == "print" and callable(value):  # another print, such as that of rich, prints as well
        return True
    return bool(_HISTORY_NAME.fullmatch(name)) or value is getattr(builtins, name, _NOTHING)


def _has_star_import(tree: ast.Module) -> bool:
    return any(
        isinstance(node, ast.ImportFrom) and node.names[0].name == "*" for node in ast.walk(tree)
    )


def _scopes(table: symtable.SymbolTable) -> Iterable[symtable.SymbolTable]:
    yield table
    for child in table.get_children():
        yield from _scopes(child)


def _defined(table: symtable.SymbolTable) -> set[str]:
    """Return the names bound at the top level, or by a ``global`` statement."""
    return {
        symbol.get_name()
        for scope in _scopes(table)
        for symbol in scope.get_symbols()
        if (scope is table or symbol.is_declared_global())
        and (symbol.is_assigned() or symbol.is_imported() or symbol.is_namespace())
    }


def _used(table: symtable.SymbolTable) -> set[str]:
    """Return the names that are looked up among the module's globals and the builtins."""
    return {
        symbol.get_name()
        for scope in _scopes(table)
        for symbol in scope.get_symbols()
        if symbol.is_referenced() and (scope is table or symbol.is_global())
    }


def _evaluated(tree: ast.Module) -> Iterable[ast.AST]:
    """Yield the evaluated nodes: not hints, after ``from __future__ import annotations``."""
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
