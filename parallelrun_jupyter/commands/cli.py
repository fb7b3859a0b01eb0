"""The ``parallelrun`` command of the terminal.

Few modules are imported here: ``parallelrun list`` needs few, and is often called.
"""

from __future__ import annotations

import argparse
import io
import os
import sys
from collections.abc import Sequence

from ..errors import ParallelRunError, RunFailedError
from .listing import list_parser
from .option_parser import split_script_arguments

FAILED = 1
USAGE = 2
INTERRUPTED = 130
CLOSED = 141
"""The exit status of SIGPIPE: stdout was closed, as by ``| head``."""


def main(words: Sequence[str]) -> int:
    """Run a command; return its exit status (0 done, 1 the run failed, 2 wrong usage)."""
    if sys.stdout is None:  # closed by the shell: >&-
        sys.stdout = open(os.devnull, "w", encoding="utf-8")  # noqa: SIM115 - until the end
    try:
        try:
            status = _main(words)
        finally:
            sys.stdout.flush()  # at the interpreter's exit an error could not be caught
    except BrokenPipeError:
        _discard_output()
        return CLOSED
    return status


def _discard_output() -> None:
    """Redirect the streams, so that flushing them at the interpreter's exit raises no error."""
    devnull = os.open(os.devnull, os.O_WRONLY)
    for stream in (sys.stdout, sys.stderr):
        try:
            stream.flush()
        except BrokenPipeError:
            os.dup2(devnull, stream.fileno())
    os.close(devnull)


def _main(words: Sequence[str]) -> int:
    ours, script_words = split_script_arguments(words)
    parser: argparse.ArgumentParser
    if ours[:1] == ["list"]:
        parser, ours = list_parser(), ours[1:]
    else:
        from .terminal import make_parser

        parser = make_parser()
    if not words:
        parser.print_help(sys.stderr)
        return USAGE
    try:
        options, unknown = parser.parse_known_args(ours)
        if unknown:
            options.parser.error(f"unrecognized arguments: {' '.join(unknown)}")
        if script_words:
            options.script_words = script_words
        status: int = options.command(options)
    except RunFailedError as error:
        print(error.worded("terminal"), file=sys.stderr)
        return FAILED
    except ParallelRunError as error:
        print(f"parallelrun: {error.worded('terminal')}", file=sys.stderr)
        return USAGE
    except KeyboardInterrupt:
        return INTERRUPTED
    return status


def console() -> int:
    """Run the ``parallelrun`` program with the arguments of this process.

    Characters that the terminal cannot encode are escaped.
    """
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, io.TextIOWrapper):
            stream.reconfigure(errors="backslashreplace")
    return main(sys.argv[1:])
