"""Where the scripts and inputs of an agent may be: in the folder of ``--root``, if it is given."""

from __future__ import annotations

import glob
import os
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from ...errors import ConfigError

OPTIONS_OF_ROOT = ("output", "source_directory")
"""Options that are paths, which must be in the root."""

REFUSED_WITH_ROOT = (
    "compute", "environment", "environment_variables", "notify", "preload",
)  # fmt: skip
"""Options that reach beyond a folder: other machines and interpreters, addresses, other modules."""

_WILD = frozenset("*?[")


def check_places(
    root: Path | None, script: str, inputs: Sequence[str], options: Mapping[str, Any]
) -> None:
    """Check that a run keeps to the root.

    Raises
    ------
    ConfigError
        A path is outside of it, or an option reaches beyond a folder.
    """
    if root is None:
        return
    for name in REFUSED_WITH_ROOT:
        if options.get(name) is not None:
            msg = (
                f"the option {name} is {options[name]!r}, but this server was started with --root {root}, "
                f"which refuses {', '.join(REFUSED_WITH_ROOT)}. Leave it out, or ask the user to start the "
                "server without --root."
            )
            raise ConfigError(msg)
    source = options.get("source_directory")
    check_path(root, "script", os.path.join(str(source), script) if source else script)
    for word in inputs:
        check_path(root, "an input", word)
        _check_links(root, word)
    for name in OPTIONS_OF_ROOT:
        if options.get(name) is not None:
            check_path(root, f"the option {name}", str(options[name]))


def check_path(root: Path | None, name: str, text: str) -> None:
    """Check that a path or glob is in the root; links count as the place that they lead to.

    Raises
    ------
    ConfigError
        It is not, or is the address of a store.
    """
    if root is None or (text and _is_in(root, text)):
        return
    msg = (
        f"{name} is {text!r}; expected a path in {root}, which this server was started with (--root). "
        "Copy the file there, or ask the user to start the server with another --root."
    )
    raise ConfigError(msg)


def _check_links(root: Path, text: str) -> None:
    """Check that no link among the matches of a glob, or in a folder, leads out of the root.

    Raises
    ------
    ConfigError
        One does.
    """
    checked: set[str] = set()
    for match in glob.iglob(os.path.join(root, os.path.expanduser(text)), recursive=True):
        is_like_others = os.path.dirname(match) in checked and not os.path.islink(match)
        checked.add(os.path.dirname(match))
        inside = (
            os.path.join(folder, name)
            for folder, folders, files in os.walk(match)
            for name in (*folders, *files)
        )
        for path in (*(() if is_like_others else (match,)), *filter(os.path.islink, inside)):
            if not Path(path).resolve().is_relative_to(root.resolve()):
                msg = (
                    f"an input is {text!r}, but {path} leads to {Path(path).resolve()}; expected files in "
                    f"{root}, which this server was started with (--root). Leave it out, copy the files "
                    "there, or ask the user to start the server with another --root."
                )
                raise ConfigError(msg)


def _is_in(root: Path, text: str) -> bool:
    if ":" in text.split("/", maxsplit=1)[0] or "\0" in text:
        return False  # an address, or a name such as file.csv:zip
    parts = Path(os.path.join(root, os.path.expanduser(text))).parts
    fixed = next((k for k, part in enumerate(parts) if _WILD & set(part)), len(parts))
    if ".." in parts[fixed:]:
        return False
    whole, start = Path(*parts), Path(*parts[:fixed])
    return all(path.resolve().is_relative_to(root.resolve()) for path in (whole, start))
