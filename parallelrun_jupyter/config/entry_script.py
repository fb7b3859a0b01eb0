"""Checks an entry script before anything starts, without running it."""

from __future__ import annotations

import ast
import re
from collections.abc import Iterable

from ..errors import EntryScriptError
from ..formatting import nearest_hint

_CALLED = {
    "init": "def init(): asyncio.run(load())",
    "run": "def run(mini_batch): return asyncio.run(score(mini_batch))",
    "shutdown": "def shutdown(): asyncio.run(close())",
}
"""The functions that workers call, and how each one can call an async function."""
_OF_IPYTHON = re.compile(
    r"[%!?]|\w+(?:\s*,\s*\w+)*\s*=\s*[%!]|(?:pip|conda|mamba) +install\b|[\w.]+\?{1,2}\s*$"
)
"""How a line begins that is no Python: %magic, !command, x = !command, pip install, name?"""


def check_script(source: str, name: str) -> None:
    """See that an entry script is Python and defines ``run``.

    Parameters
    ----------
    source
        The text of the script.
    name
        What to call it in messages.

    Raises
    ------
    EntryScriptError
        A syntax error, with its line; no ``run`` at the top level; a ``run`` that takes neither
        (mini_batch) nor (mini_batch, context); or an async ``init``, ``run`` or ``shutdown``.
    """
    try:
        tree = ast.parse(source, filename=name)
    except SyntaxError as error:
        line = (error.text or "").strip()
        msg = f"{name}, line {error.lineno}: {error.msg}: {line}{_habit(line)}"
        raise EntryScriptError(msg) from None
    names = set(_defined(tree.body))
    if "run" not in names and "*" not in names:
        functions = [n.name for n in tree.body if isinstance(n, ast.FunctionDef)]
        msg = (
            f"{name} defines no function run(mini_batch).{nearest_hint('run', functions)} "
            "Write: def run(mini_batch): return [...]  (one element for each item)."
        )
        raise EntryScriptError(msg)
    for node in tree.body:
        if isinstance(node, ast.AsyncFunctionDef) and node.name in _CALLED:
            msg = (
                f"{name}, line {node.lineno}: {node.name} is async; expected a plain function, "
                f"since nothing would await it. Rename it, and write: {_CALLED[node.name]}"
            )
            raise EntryScriptError(msg)
        if isinstance(node, ast.FunctionDef) and node.name == "run":
            _check_parameters(node, name)


def _habit(line: str) -> str:
    """Return what to do about a line that only IPython understands; '' for any other line."""
    match = _OF_IPYTHON.match(line)
    if match:
        start = match.end() - 1 if "=" in match[0] else 0
        return (
            f". {line[start:].split(maxsplit=1)[0]} is a command of IPython (a magic or a shell command); an entry "
            "script is plain Python for other processes. Move the line to a cell of its own."
        )
    return ""


def imported_modules(source: str, beside: Iterable[str]) -> list[str]:
    """Return the modules that a script imports at its top level and in ``init``, in order, each once.

    Parameters
    ----------
    source
        The text of the script. One that cannot be read imports nothing.
    beside
        Names of the files and folders beside it: its own modules, which may have changed when the
        next run imports them.
    """
    try:
        tree = ast.parse(source)
    except SyntaxError:
        return []
    own = {name.removesuffix(".py") for name in beside}
    found = [name for node in _statements(tree.body) for name in _modules_of(node)]
    return [name for name in dict.fromkeys(found) if name.partition(".")[0] not in own]


def _modules_of(node: ast.stmt) -> list[str]:
    if isinstance(node, ast.Import):
        return [alias.name for alias in node.names]
    if isinstance(node, ast.ImportFrom) and node.level == 0 and node.module != "__future__":
        return [node.module or ""]
    return []


def _statements(body: Iterable[ast.stmt]) -> Iterable[ast.stmt]:
    """Yield statements, and those inside of ``init()`` and of if, try and with blocks."""
    for node in body:
        yield node
        if isinstance(node, ast.If | ast.Try | ast.With):
            for field in ("body", "orelse", "finalbody"):
                yield from _statements(getattr(node, field, ()))
        elif isinstance(node, ast.FunctionDef) and node.name == "init":
            yield from _statements(node.body)


def _check_parameters(node: ast.FunctionDef, name: str) -> None:
    arguments = node.args
    positional = len(arguments.posonlyargs) + len(arguments.args)
    required = positional - len(arguments.defaults)
    by_name = [
        a.arg for a, d in zip(arguments.kwonlyargs, arguments.kw_defaults, strict=True) if d is None
    ]
    if (positional == 0 and arguments.vararg is None) or required > 2 or by_name:
        given = ast.unparse(arguments)
        msg = (
            f"{name}, line {node.lineno}: run({given}) is called with the mini-batch, or with the "
            "mini-batch and its context. Write: def run(mini_batch) or def run(mini_batch, context)."
        )
        raise EntryScriptError(msg)


def _defined(body: Iterable[ast.stmt]) -> Iterable[str]:
    """Yield the names that statements bind, looking into if, try and with blocks."""
    for node in body:
        match node:
            case ast.FunctionDef() | ast.AsyncFunctionDef() | ast.ClassDef():
                yield node.name
            case ast.Import() | ast.ImportFrom():
                yield from (alias.asname or alias.name for alias in node.names)
            case ast.Assign():
                found = (n for t in node.targets for n in ast.walk(t))
                yield from (n.id for n in found if isinstance(n, ast.Name))
            case ast.AnnAssign(target=ast.Name(id=name)):
                yield name
            case ast.If() | ast.For() | ast.While():
                yield from _defined([*node.body, *node.orelse])
            case ast.With():
                yield from _defined(node.body)
            case ast.Try():
                handlers = [statement for h in node.handlers for statement in h.body]
                yield from _defined([*node.body, *handlers, *node.orelse, *node.finalbody])
