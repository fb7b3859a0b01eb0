"""``parallelrun mcp``: serves agents over stdin and stdout."""

from __future__ import annotations

import argparse
import importlib.util
import os
from pathlib import Path

from ...errors import ConfigError, MissingExtraError


def add_mcp_options(parser: argparse.ArgumentParser) -> None:
    """Add the options of ``mcp``."""
    add = parser.add_argument
    add("--allow-actions", action="store_true", help="Offer the tools that start, try, resume and"
        " cancel runs, too. Default: only those that read.")  # fmt: skip
    add("--root", metavar="FOLDER", help="The current directory of the server, and the only folder"
        " in which scripts, inputs and outputs of agents may be. Default: the current directory,"
        " and no limit.")  # fmt: skip


def serve_agents(options: argparse.Namespace) -> int:
    """Serve the Model Context Protocol until stdin closes.

    Returns
    -------
    int
        0. Ctrl-C ends the process with 130, at once and without a word.

    Raises
    ------
    MissingExtraError
        The package mcp is not installed, or too old.
    ConfigError
        The root is not a folder.
    """
    if not _has_package():
        msg = (
            "'parallelrun mcp' needs version 2 of the package mcp: "
            "pip install 'parallelrun-jupyter[mcp]'."
        )
        raise MissingExtraError(msg)
    root = None
    if options.root is not None:
        root = Path(options.root).expanduser().resolve()
        if not root.is_dir():
            msg = f"--root is {options.root!r}, which is not a folder; give the path of one."
            raise ConfigError(msg)
        os.chdir(root)
    from .server import serve

    return serve(root, allow_actions=options.allow_actions)


def _has_package() -> bool:
    """Return whether the package is there in a version with this interface (version 1 had another)."""
    try:
        return importlib.util.find_spec("mcp.server.mcpserver") is not None
    except ModuleNotFoundError:
        return False
