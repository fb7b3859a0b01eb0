"""Reads the fields of one mapping by name and type, and notes problems instead of stopping."""

from __future__ import annotations

import os
import re
from collections.abc import Callable, Iterable, Mapping
from pathlib import Path
from typing import Any

from ...formatting import nearest_hint
from ..model.expressions import Binding, Text, parse
from ..model.places import Place, Places
from ..model.problems import JobFileError, Problem
from ..model.values import Literal, Number
from .tree import Node

_ALWAYS = ("$schema",)
_REMOTE = (
    "azureml:",
    "http:",
    "https:",
    "wasb:",
    "wasbs:",
    "abfs:",
    "abfss:",
    "adl:",
    "git+",
    "az:",
)
_LOCAL_WITH_PREFIX = re.compile(r"azureml:(\.|/(?!/))")


class Source:
    """The file that is read: its folder, and the problems found so far.

    Parameters
    ----------
    file
        Path of the file, as given.
    problems
        Receives the problems.
    """

    def __init__(self, file: str, problems: list[Problem]) -> None:
        self.file = file
        self.folder = os.path.dirname(os.path.abspath(file))
        self.problems = problems

    def add(self, place: Place, message: str) -> None:
        """Note a problem."""
        self.problems.append(Problem(place, message))

    def path(self, text: str) -> str:
        """Return an absolute path, relative to the file's folder; names and URLs are unchanged."""
        if _LOCAL_WITH_PREFIX.match(text):  # as azure-ai-ml writes the paths of its objects
            text = text.removeprefix("azureml:")
        if text.startswith(_REMOTE) or "://" in text or text.startswith("${{"):
            return text
        text = text.removeprefix("file:")
        return os.path.normpath(os.path.join(self.folder, os.path.expanduser(text))) if text else ""


class Fields:
    """The fields of a mapping. `end` reports those that were not asked for.

    Parameters
    ----------
    node
        The mapping; another value is a problem, and has no fields.
    source
        The file.
    kind
        The object in words, for messages: ``a parallel step``.
    """

    def __init__(self, node: Node, source: Source, kind: str) -> None:
        self.node = node
        self.source = source
        self.kind = kind
        self._asked: dict[str, None] = dict.fromkeys(_ALWAYS)
        self._values: dict[str, Node] = {}
        if isinstance(node.value, dict):
            self._values = node.value
        elif node.value is not None:
            source.add(node.place, f"{kind} is {shown(node)}; expected a mapping of its fields.")

    def __contains__(self, name: str) -> bool:
        return name in self._values

    def get(self, name: str) -> Node | None:
        """Return the node of a field; None if it is missing or empty."""
        self._asked[name] = None
        node = self._values.get(name)
        return None if node is None or node.value is None else node

    def wrong(self, name: str, node: Node, expected: str) -> None:
        """Note that a field has a wrong value."""
        self.source.add(node.place, f"{name} is {shown(node)}; expected {expected}.")

    def text(self, name: str) -> str:
        """Return a text; a number is taken as it was written. Default: empty."""
        node = self.get(name)
        if node is None:
            return ""
        if isinstance(node.value, dict | list):
            self.wrong(name, node, "a text")
            return ""
        return scalar_text(node)

    def choice(self, name: str, choices: Iterable[str]) -> str:
        """Return one of some words, or an expression. Default: empty."""
        node = self.get(name)
        text = self.text(name)
        if node is None or not text or text.startswith("${{"):
            return text
        words = tuple(choices)
        if text not in words:
            hint = nearest_hint(text, words)
            message = f"{name} is {shown(node)}; expected one of {', '.join(words)}.{hint}"
            self.source.add(node.place, message)
            return ""
        return text

    def path(self, name: str) -> str:
        """Return a path, absolute if it is local. Default: empty."""
        return self.source.path(self.text(name))

    def template(self, name: str) -> Text | None:
        """Return a text with expressions. Default: None."""
        node = self.get(name)
        if node is None or isinstance(node.value, dict | list):
            if node is not None:
                self.wrong(name, node, "a text")
            return None
        return template_of(node, self.source)

    def number(self, name: str) -> Number | None:
        """Return a whole number, also if it is written as a text, or a binding. Default: None."""
        node = self.get(name)
        if node is None:
            return None
        value = node.value
        if isinstance(value, str):
            if "${{" in value:
                text = template_of(node, self.source)
                if text is not None and text.binding is not None:
                    return text.binding
                if text is None:
                    return None  # the expression's own problem is noted
            try:
                return int(value)
            except ValueError:
                value = None
        if isinstance(value, int) and not isinstance(value, bool):
            return value
        if isinstance(value, float) and value.is_integer():
            return int(value)
        self.wrong(name, node, "a whole number or ${{parent.inputs.NAME}}")
        return None

    def flag(self, name: str) -> bool | None:
        """Return true or false; yes and no are YAML's words for them. Default: None."""
        node = self.get(name)
        if node is None:
            return None
        word = str(node.value).lower()
        if word in {"true", "false"}:
            return word == "true"
        self.wrong(name, node, "true or false")
        return None

    def literal(self, name: str) -> Literal | None:
        """Return a text, a number, true or false. Default: None."""
        node = self.get(name)
        if node is None:
            return None
        if isinstance(node.value, dict | list):
            self.wrong(name, node, "a text, a number, true or false")
            return None
        value: Literal = node.value
        return value

    def texts(self, name: str) -> tuple[str, ...] | None:
        """Return a list of texts. Default: None."""
        node = self.get(name)
        if node is None:
            return None
        if not isinstance(node.value, list):
            self.wrong(name, node, "a list, such as [first, second]")
            return None
        texts = []
        for item in node.value:
            if isinstance(item.value, dict | list) or item.value is None:
                self.wrong(f"an element of {name}", item, "a text")
            else:
                texts.append(scalar_text(item))
        return tuple(texts)

    def plain(self, name: str) -> Mapping[str, Any]:
        """Return a mapping as it is. Default: empty."""
        node = self.mapping(name)
        return node.plain() if node else {}

    def mapping(self, name: str) -> Node | None:
        """Return the node of a mapping. Default: None."""
        node = self.get(name)
        if node is not None and not isinstance(node.value, dict):
            self.wrong(name, node, "a mapping")
            return None
        return node

    def names(self, name: str) -> dict[str, str]:
        """Return a mapping of texts. Default: empty."""
        node = self.mapping(name)
        texts = {}
        for key, item in (node.value if node else {}).items():
            if isinstance(item.value, dict | list):
                self.wrong(f"{name}.{key}", item, "a text")
            else:
                texts[key] = scalar_text(item)
        return texts

    def entries(self, name: str) -> dict[str, Node]:
        """Return the nodes of a mapping by key, also empty ones. Default: empty."""
        node = self.mapping(name)
        entries: dict[str, Node] = node.value if node else {}
        return entries

    def nested(self, name: str, kind: str) -> Fields | None:
        """Return the fields of a mapping. Default: None."""
        node = self.get(name)
        return None if node is None else Fields(node, self.source, kind)

    def ignore(self, *names: str) -> None:
        """Allow fields that are not read."""
        self._asked.update(dict.fromkeys(names))

    def require(self, *names: str) -> None:
        """Note each field that is missing."""
        for name in names:
            if self.get(name) is None:
                self.source.add(self.node.place, f"{self.kind} has no {name}; add '{name}: ...'.")

    def end(self) -> Places:
        """Report the fields that were not asked for; return the places of all fields."""
        for name, place in self.node.keys.items():
            if name not in self._asked and name in self._values:
                names = [known for known in self._asked if known not in _ALWAYS]
                hint = nearest_hint(name, names) or f" Its fields are: {', '.join(sorted(names))}."
                self.source.add(place, f"{name!r} is not a field of {self.kind}.{hint}")
        return places_of(self.node)


def places_of(node: Node) -> Places:
    """Return the places of a mapping's values and of all values below them."""
    fields: dict[str, Place] = {}

    def add(prefix: str, node: Node) -> None:
        pairs: Iterable[tuple[str, Node]] = ()
        if isinstance(node.value, dict):
            pairs = node.value.items()
        elif isinstance(node.value, list):
            pairs = ((str(number), item) for number, item in enumerate(node.value))
        for key, item in pairs:
            fields[prefix + key] = (
                item.place if item.value is not None else node.keys.get(key, item.place)
            )
            add(f"{prefix}{key}.", item)

    add("", node)
    return Places(node.place, fields)


def template_of(node: Node, source: Source) -> Text | None:
    """Return a scalar as a text with expressions; None if one is malformed, which is noted."""
    try:
        return parse(scalar_text(node), node.place, node.locate)
    except JobFileError as error:
        source.problems += error.problems
        return None


def binding_of(node: Node, source: Source) -> Binding | None:
    """Return the binding that a scalar consists of; None if it is something else."""
    if isinstance(node.value, str) and "${{" in node.value:
        text = template_of(node, source)
        return text.binding if text else None
    return None


def scalar_text(node: Node) -> str:
    """Return a scalar as text, as Azure's client writes it: true becomes ``True``."""
    return (
        node.value if isinstance(node.value, str) else "" if node.value is None else str(node.value)
    )


def shown(node: Node) -> str:
    """Return a value for a message, in at most 60 characters."""
    if isinstance(node.value, dict):
        return "a mapping"
    if isinstance(node.value, list):
        return "a list"
    text = repr(node.value)
    return text if len(text) <= 60 else f"{text[:57]}..."


def each(entries: Mapping[str, Node], read: Callable[[str, Node], Any]) -> dict[str, Any]:
    """Return the values read from named nodes, without those that are None."""
    values = {name: read(name, node) for name, node in entries.items()}
    return {name: value for name, value in values.items() if value is not None}


def exists(path: str) -> bool:
    """Return whether a local path exists; URLs and names count as existing."""
    return path.startswith(_REMOTE) or "://" in path or Path(path).exists()


def near_path(path: str) -> str:
    """Return a hint to the name in its folder that is most like that of a path; "" for none."""
    folder, name = os.path.split(path)
    return nearest_hint(name, os.listdir(folder)) if os.path.isdir(folder) else ""


def missing_folder(name: str, path: str) -> str:
    """Return the message for a field that names a folder that does not exist."""
    hint = near_path(path)
    return (
        f"{name} is the folder {path}, which does not exist.{hint} Paths are relative to the file."
    )
