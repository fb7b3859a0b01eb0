"""YAML as a tree of values with places, and overrides of single values."""

from __future__ import annotations

import os
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any

import yaml

from ..model.places import Place
from ..model.problems import JobFileError, Problem

_MAX_NODES = 200_000
"""Nodes of a file with its aliases written out; a guard against files made to fill the memory."""


@dataclass(slots=True)
class Node:
    """A value of a YAML file.

    Parameters
    ----------
    value
        None, bool, int, float or str; a list of nodes; or a dict of nodes by key.
    place
        Its place.
    keys
        The places of the keys of a dict.
    text
        The source of a scalar, to locate pieces of it.
    """

    value: Any
    place: Place
    keys: dict[str, Place] = field(default_factory=dict)
    text: str = ""

    def plain(self) -> Any:
        """Return the value without places."""
        if isinstance(self.value, dict):
            return {key: node.plain() for key, node in self.value.items()}
        if isinstance(self.value, list):
            return [node.plain() for node in self.value]
        return self.value

    def locate(self, piece: str, number: int) -> Place:
        """Return the place of the n-th occurrence of a piece of a scalar's text."""
        at = -1
        for _ in range(number + 1):
            at = self.text.find(piece, at + 1)
            if at < 0:
                return self.place
        before = self.text[:at]
        lines = before.count("\n")
        column = len(before) - before.rfind("\n") if lines else self.place.column + at
        return Place(self.place.file, self.place.line + lines, column)


def read_overridden(
    path: str, overrides: Mapping[str, Any] | None, text: str | None = None
) -> Node:
    """Read a YAML file as `read_tree` does, and replace values by their dotted names.

    Raises
    ------
    JobFileError
        The file is no YAML, or has no place for a value.
    """
    tree = read_tree(path, text)
    for name, value in (overrides or {}).items():
        override(tree, name, value)
    return tree


def read_tree(path: str, text: str | None = None) -> Node:
    """Read a YAML file.

    Parameters
    ----------
    path
        The file.
    text
        Its content, if it is not to be read from the disk.

    Raises
    ------
    JobFileError
        The file cannot be read, is not YAML, or is not a mapping.
    """
    if text is None:
        try:
            with open(path, encoding="utf-8-sig") as file:
                text = file.read()
        except (OSError, UnicodeDecodeError) as error:
            raise _error(Place(path), f"the file could not be read: {_reason(error)}") from error
    loader = yaml.SafeLoader(text)
    try:
        root = loader.get_single_node()
        tree = None if root is None else _Builder(path, text, loader).node(root)
    except JobFileError:
        raise
    except yaml.MarkedYAMLError as error:
        mark = error.problem_mark or error.context_mark
        place = Place(path, mark.line + 1, mark.column + 1) if mark else Place(path)
        problem = str(error.problem or error.context)
        hint = ". YAML has no tabs: indent by spaces." if "\\t" in problem else ""
        raise _error(place, f"this is not YAML: {problem}{hint}") from error
    except (yaml.YAMLError, ValueError, RecursionError) as error:
        raise _error(Place(path), f"this is not YAML: {error}") from error
    finally:
        loader.dispose()
    if tree is None or not isinstance(tree.value, dict):
        given = "empty" if tree is None or tree.value is None else "not a mapping"
        message = f"the file is {given}; expected a mapping such as 'type: pipeline'."
        raise _error(Place(path, 1, 1), message)
    return tree


def _reason(error: OSError | UnicodeDecodeError) -> str:
    if isinstance(error, OSError):
        return error.strerror or str(error)
    return f"its byte {error.start} is not UTF-8; save it as UTF-8."


def _error(place: Place, message: str) -> JobFileError:
    return JobFileError([Problem(place, message)])


class _Builder:
    """Turns PyYAML's nodes into ours; an alias is the same node as its anchor."""

    def __init__(self, path: str, text: str, loader: yaml.SafeLoader) -> None:
        self._path = path
        self._text = text
        self._loader = loader
        self._above: set[int] = set()
        self._count = 0

    def node(self, node: yaml.Node) -> Node:
        place = self._place(node)
        self._count += 1
        if id(node) in self._above:
            raise _error(place, "this value contains itself, by an alias; write it out.")
        if self._count > _MAX_NODES:
            raise _error(place, f"the file has over {_MAX_NODES:,} values; divide it.")
        self._above.add(id(node))
        try:
            return self._converted(node, place)
        finally:
            self._above.discard(id(node))

    def _converted(self, node: yaml.Node, place: Place) -> Node:
        if isinstance(node, yaml.MappingNode):
            self._refuse_duplicates(node)
            self._loader.flatten_mapping(node)
            keys, values = {}, {}
            for key_node, value_node in node.value:
                key = str(self._loader.construct_object(key_node, deep=True))
                keys[key] = self._place(key_node)
                values[key] = self.node(value_node)
            return Node(values, place, keys)
        if isinstance(node, yaml.SequenceNode):
            return Node([self.node(item) for item in node.value], place)
        value = self._loader.construct_object(node)
        if value is not None and not isinstance(value, bool | int | float | str):
            value = node.value  # a date stays the text that it is
        text = self._text[node.start_mark.index : node.end_mark.index]
        return Node(value, place, text=text)

    def _refuse_duplicates(self, node: yaml.MappingNode) -> None:
        seen: dict[str, Place] = {}
        for key_node, _ in node.value:
            if not isinstance(key_node, yaml.ScalarNode):
                raise _error(
                    self._place(key_node), "a key is a mapping or a list; expected a name."
                )
            name = key_node.value
            if name in seen and name != "<<":
                message = (
                    f"{name!r} is here twice, first at line {seen[name].line}; keep one of them."
                )
                raise _error(self._place(key_node), message)
            seen[name] = self._place(key_node)

    def _place(self, node: yaml.Node) -> Place:
        return Place(self._path, node.start_mark.line + 1, node.start_mark.column + 1)


def tree_of(value: Any, place: Place) -> Node:
    """Return a plain value as a tree whose nodes all have the same place."""
    if isinstance(value, Mapping):
        values = {str(key): tree_of(item, place) for key, item in value.items()}
        return Node(values, place, dict.fromkeys(values, place))
    if isinstance(value, list | tuple):
        return Node([tree_of(item, place) for item in value], place)
    if isinstance(value, os.PathLike):
        value = os.fspath(value)
    return Node(value, place, text=value if isinstance(value, str) else "")


def override(root: Node, name: str, value: Any) -> None:
    """Set one value in a tree, as ``--set jobs.score.compute=local`` does.

    Parameters
    ----------
    root
        The tree; it is changed.
    name
        The keys, joined by dots; a list's elements have numbers. Missing mappings are made.
    value
        A plain value.

    Raises
    ------
    JobFileError
        The name leads through a value that is neither a mapping nor a list.
    """
    place = Place(f"--set {name}")
    node = root
    keys = name.split(".")
    if not all(keys):
        raise _error(place, "expected NAME=VALUE, such as jobs.score.mini_batch_size=5.")
    for key in keys[:-1]:
        node = _child(node, key, place)
    last = keys[-1]
    if isinstance(node.value, list):
        node.value[_index(node, last, place)] = tree_of(value, place)
    else:
        _as_mapping(node, place)[last] = tree_of(value, place)
        node.keys[last] = place


def _child(node: Node, key: str, place: Place) -> Node:
    if isinstance(node.value, list):
        child: Node = node.value[_index(node, key, place)]
        return child
    values = _as_mapping(node, place)
    if key not in values:
        values[key] = Node({}, place)
        node.keys[key] = place
    found: Node = values[key]
    return found


def _as_mapping(node: Node, place: Place) -> dict[str, Node]:
    if node.value is None:
        node.value = {}
    if not isinstance(node.value, dict):
        message = f"it leads through {node.plain()!r} of {node.place}, which has no parts; set that as a whole."
        raise _error(place, message)
    mapping: dict[str, Node] = node.value
    return mapping


def _index(node: Node, key: str, place: Place) -> int:
    if key.isdecimal() and int(key) < len(node.value):
        return int(key)
    message = f"{key!r} is not an element of the list of {node.place}, which has {len(node.value)}."
    raise _error(place, message)


def split_overrides(texts: list[str]) -> dict[str, Any]:
    """Return the overrides of a command line, ``NAME=VALUE`` each; values are read as YAML.

    Raises
    ------
    JobFileError
        A text has no ``=``, or its value is not YAML.
    """
    return dict(_split(text) for text in texts)


def _split(text: str) -> tuple[str, Any]:
    name, sign, value = text.partition("=")
    if not sign or not name.strip():
        message = "expected NAME=VALUE, such as jobs.score.mini_batch_size=5."
        raise _error(Place(f"--set {text}"), message)
    try:
        return name.strip(), yaml.safe_load(value) if value else ""
    except yaml.YAMLError:
        return name.strip(), value  # such as a glob, which YAML takes for an alias


def walk(node: Node) -> Iterator[Node]:
    """Yield a node and all nodes below it."""
    yield node
    below = node.value.values() if isinstance(node.value, dict) else node.value
    if isinstance(below, str) or not hasattr(below, "__iter__"):
        return
    for child in below:
        yield from walk(child)
