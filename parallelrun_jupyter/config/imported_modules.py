"""The modules that a script imports, found by parsing it, without running it."""

from __future__ import annotations

import ast


def imported_modules(source: str) -> set[str]:
    """Return the first names of the modules that a text imports anywhere; none if it does not parse."""
    try:
        tree = ast.parse(source)
    except (SyntaxError, ValueError):
        return set()
    names: set[str] = set()
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            names.update(alias.name.partition(".")[0] for alias in node.names)
        elif isinstance(node, ast.ImportFrom) and node.level == 0 and node.module:
            names.add(node.module.partition(".")[0])
    return names
