"""Checks the arguments of a script against its argparse parser, by reading it without running it."""

from __future__ import annotations

import argparse
import ast
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any, NoReturn

_ACTIONS = ("store", "store_true", "store_false", "store_const", "append", "append_const", "count", "extend")  # fmt: skip
_OPTIONS = ("nargs", "action", "required", "dest", "const")
_UNCHECKED = ("help", "default", "metavar", "choices")
_NUMBERS: dict[str, type[int | float]] = {"int": int, "float": float}
_NOT_KNOWN = ("...", "{", "$")
"""Marks of a text that stands for a value of the run."""

_PARSES = ("parse_args", "parse_known_args")
_FUNCTIONS = ast.FunctionDef | ast.AsyncFunctionDef


class _ArgumentError(Exception):
    """The arguments do not fit a parser."""


@dataclass(frozen=True, slots=True)
class WrongArguments:
    """A mistake in the arguments of a script.

    Parameters
    ----------
    message
        The message of argparse.
    line
        The line of the script that parses the arguments.
    """

    message: str
    line: int


def wrong_arguments(
    source: str, words: Sequence[str], *, runs_main: bool = False
) -> WrongArguments | None:
    """Return why a script's parser would refuse its arguments; None if it accepts them.

    None also for a script whose parser cannot be known without running it: options from variables,
    several parsers, subcommands.

    Parameters
    ----------
    source
        The text of the script.
    words
        The arguments, in which any text stands for a value that is not known yet.
    runs_main
        Whether the code below ``if __name__ == "__main__"`` runs: not in an entry script.
    """
    try:
        tree = ast.parse(source)
    except (SyntaxError, ValueError):
        return None
    parts = list(_reached(tree, runs_main=runs_main))
    found = _only_parser(parts, tree)
    if found is None:
        return None
    name, made = found
    call = _only_parse(parts, name)
    definitions = [
        node
        for node in parts
        if isinstance(node, ast.Call) and _is_call(node, name, "add_argument")
    ]
    if call is None or not isinstance(call.func, ast.Attribute):
        return None
    try:
        parser = _parser(made, definitions, _plain_names(tree))
    except (ValueError, TypeError, argparse.ArgumentError):
        return None
    try:
        _, unknown = parser.parse_known_args(list(words))
    except _ArgumentError as error:
        return WrongArguments(str(error), call.lineno)
    if unknown and call.func.attr == "parse_args":
        return WrongArguments(f"unrecognized arguments: {' '.join(unknown)}", call.lineno)
    return None


class _Parser(argparse.ArgumentParser):
    def error(self, message: str) -> NoReturn:
        raise _ArgumentError(message)


def _plain_names(tree: ast.Module) -> set[str]:
    """Return those of ``int`` and ``float`` that the script does not define itself."""
    given = {
        getattr(node, "asname", None) or getattr(node, "name", None) or getattr(node, "arg", "")
        for node in ast.walk(tree)
        if isinstance(node, ast.alias | ast.arg | _FUNCTIONS | ast.ClassDef)
    }
    given |= {
        node.id
        for node in ast.walk(tree)
        if isinstance(node, ast.Name) and not isinstance(node.ctx, ast.Load)
    }
    return set() if "*" in given else _NUMBERS.keys() - given


def _number_type(name: str) -> Callable[[str], object]:
    """Return the conversion of an option, which accepts a text that stands for another."""

    def convert(text: str) -> object:
        return text if any(mark in text for mark in _NOT_KNOWN) else _NUMBERS[name](text)

    convert.__name__ = name  # argparse says "invalid int value"
    return convert


def _parser(made: ast.Call, definitions: Sequence[ast.Call], plain_names: set[str]) -> _Parser:
    """Return a parser of the same options, which converts to the types among ``plain_names``.

    Raises
    ------
    ValueError
        An option is not written as literals.
    """
    parser = _Parser(add_help=False)
    for keyword in made.keywords:
        if keyword.arg == "allow_abbrev":
            parser.allow_abbrev = ast.literal_eval(keyword.value)
    for call in definitions:
        names = [ast.literal_eval(argument) for argument in call.args]
        settings: dict[str, Any] = {}
        for keyword in call.keywords:
            if keyword.arg in _OPTIONS:
                settings[keyword.arg] = ast.literal_eval(keyword.value)
            elif keyword.arg == "type":
                if isinstance(keyword.value, ast.Name) and keyword.value.id in plain_names:
                    settings["type"] = _number_type(keyword.value.id)
            elif keyword.arg not in _UNCHECKED:
                raise ValueError(keyword.arg)
        if settings.get("action", "store") not in _ACTIONS:
            raise ValueError(settings["action"])
        parser.add_argument(*names, **settings)
    return parser


def _reached(tree: ast.Module, *, runs_main: bool) -> Iterator[ast.AST]:
    """Yield the nodes that run: of the top level, and of the functions called from there by name."""
    functions = {node.name: node for node in tree.body if isinstance(node, _FUNCTIONS)}
    left: list[ast.AST] = [node for node in tree.body if not isinstance(node, _FUNCTIONS)]
    seen = set() if runs_main else {"init", "run"} & set(functions)
    left += [functions[name] for name in sorted(seen)]
    while left:
        node = left.pop()
        if not runs_main and isinstance(node, ast.If) and "__name__" in ast.unparse(node.test):
            left += node.orelse
            continue
        yield node
        if isinstance(node, ast.Call) and isinstance(node.func, ast.Name):
            name = node.func.id
            if name in functions and name not in seen:
                seen.add(name)
                left.append(functions[name])
        left += ast.iter_child_nodes(node)


def _only_parser(parts: Sequence[ast.AST], tree: ast.Module) -> tuple[str, ast.Call] | None:
    """Return the name of the only parser, and the call that makes it; None if there are several, or if it is not a plain one."""
    made = [
        node
        for node in ast.walk(tree)
        if isinstance(node, ast.Call)
        and getattr(node.func, "attr", getattr(node.func, "id", "")) == "ArgumentParser"
    ]
    if len(made) != 1 or any(
        keyword.arg
        not in {"description", "prog", "usage", "epilog", "formatter_class", "allow_abbrev"}
        for keyword in made[0].keywords
    ):
        return None
    names = [
        node.targets[0].id
        for node in parts
        if isinstance(node, ast.Assign)
        and node.value is made[0]
        and len(node.targets) == 1
        and isinstance(node.targets[0], ast.Name)
    ]
    if len(names) != 1:
        return None
    # Each use is a call of one of its methods: a parser that is passed on has unknown options.
    uses = [
        node
        for node in ast.walk(tree)
        if isinstance(node, ast.Name) and node.id == names[0] and isinstance(node.ctx, ast.Load)
    ]
    known = [
        node
        for node in parts
        if any(_is_call(node, names[0], method) for method in ("add_argument", *_PARSES))
    ]
    if len(uses) != len(known) or _conditional(parts, names[0]):
        return None
    return names[0], made[0]


def _conditional(parts: Sequence[ast.AST], name: str) -> bool:
    """Return whether options are added in a loop or a condition."""
    blocks = (node for node in parts if isinstance(node, ast.If | ast.For | ast.While | ast.Try))
    return any(
        _is_call(inner, name, "add_argument")
        for block in blocks
        if "__name__" not in ast.unparse(getattr(block, "test", ast.Constant(0)))
        for inner in ast.walk(block)
    )


def _only_parse(parts: Sequence[ast.AST], name: str) -> ast.Call | None:
    """Return the only call that parses the program's own arguments."""
    calls = [
        node
        for node in parts
        if isinstance(node, ast.Call) and any(_is_call(node, name, method) for method in _PARSES)
    ]
    if len(calls) != 1 or calls[0].keywords or len(calls[0].args) > 1:
        return None
    if calls[0].args and ast.unparse(calls[0].args[0]) != "sys.argv[1:]":
        return None
    return calls[0]


def _is_call(node: ast.AST, name: str, method: str) -> bool:
    return (
        isinstance(node, ast.Call)
        and isinstance(node.func, ast.Attribute)
        and node.func.attr == method
        and isinstance(node.func.value, ast.Name)
        and node.func.value.id == name
    )
