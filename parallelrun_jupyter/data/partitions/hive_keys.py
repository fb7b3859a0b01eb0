"""Keys in the folders of a table, such as ``year=2024/part.parquet``: how Spark and pyarrow write them."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from typing import Any
from urllib.parse import unquote

from ..local.listing import MAGIC
from .path_format import MISSING

_WHOLE_NUMBER = re.compile(r"-?(0|[1-9]\d{0,17})")


class HiveKeys:
    """The keys of the files below some paths.

    Parameters
    ----------
    paths
        Files, folders and globs, as given. Keys are taken from the folders below the first path
        that a file is in; the folders that the path itself names are the user's own choice.
    """

    def __init__(self, paths: Sequence[str]) -> None:
        self._paths = set(paths)
        self._roots = sorted({_root(path) for path in paths} | set(paths), key=len)

    def of(self, path: str) -> dict[str, str | None]:
        """Return the keys of a file, by name; None is what has no value."""
        if path in self._paths:
            return {}
        root = next((root for root in self._roots if path.startswith(f"{root.rstrip('/')}/")), path)
        pairs = [folder.partition("=") for folder in path[len(root) :].split("/")[:-1]]
        return {
            unquote(name): None if value == MISSING else unquote(value)
            for name, equals, value in pairs
            if name and equals
        }


def _root(path: str) -> str:
    """Return the part of a path before its first folder that is a pattern."""
    found = MAGIC.search(path)
    return path[: path.rfind("/", 0, found.start())] if found else path


def key_columns(keys: Sequence[Mapping[str, str | None]]) -> list[dict[str, Any]]:
    """Return what the plan lines of each file say of its keys, as columns; nothing without any.

    A key of which all values are whole numbers is one, as pandas has it; but no value with a leading
    zero is a number. A file without a key that others have has no value there.

    Parameters
    ----------
    keys
        The keys of each file.
    """
    names = list(dict.fromkeys(name for one in keys for name in one))
    types = {name: _type([one.get(name) for one in keys]) for name in names}
    return [
        {
            "key_columns": {name: _value(one.get(name), types[name]) for name in names},
            "key_types": types,
        }
        if names
        else {}
        for one in keys
    ]


def _type(values: list[str | None]) -> str:
    texts = [value for value in values if value is not None]
    if not texts or not all(_WHOLE_NUMBER.fullmatch(text) for text in texts):
        return "str"
    return "int64" if len(texts) == len(values) else "Int64"


def _value(text: str | None, decided: str) -> str | int | None:
    return int(text) if text is not None and decided != "str" else text
