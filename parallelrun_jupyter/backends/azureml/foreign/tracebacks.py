"""The tracebacks in Azure's error files: text in, values out. No input or output."""

from __future__ import annotations

import re
from dataclasses import dataclass

_START = "Traceback (most recent call last):"
_STAMP = re.compile(r"\d{4}-\d\d-\d\d[T ]\d\d:\d\d:\d\d")
_FRAME = re.compile(r'\s+File "(?P<path>.+)", line (?P<line>\d+), in (?P<name>.+)')
_ERROR = re.compile(r"(?P<name>[A-Za-z_][\w.]*)(?::\s?(?P<message>.*))?", re.DOTALL)
_LINKS = (
    "During handling of the above exception, another exception occurred:",
    "The above exception was the direct cause of the following exception:",
)
_NOT_OF_THE_USER = re.compile(
    r"/(?:site|dist)-packages/|/lib(?:64)?/python\d|/lib/pypy\d|azureml[_-]?sys|azureml_user|"
    r"parallelrun_worker|driver/amlbi_|<frozen "
)

MESSAGE_CHARS = 2000
TRACEBACK_CHARS = 16_000


@dataclass(frozen=True, slots=True)
class Trace:
    """A traceback: its text, the type and the message of the error, and the line of the user's code.

    ``place`` is as in ``score.py:12 in run``; empty if no line is the user's.
    """

    text: str
    error: str
    message: str
    place: str

    @property
    def group(self) -> str:
        """The group of the failure, as those of other runs are named."""
        return f"{self.error} at {self.place or 'run()'}"


def tracebacks_in(text: str, *, is_last: bool = False) -> list[Trace]:
    """Return the tracebacks of an error file, in order; a torn line at its end is left out.

    Parameters
    ----------
    text
        The file, as far as it is written.
    is_last
        Whether it is written to its end.
    """
    lines = text.splitlines()
    if not is_last and lines and not text.endswith(("\n", "\r")):
        del lines[-1]
    found = (_trace_of(block) for block in _blocks(lines))
    return [trace for trace in found if trace is not None]


def _blocks(lines: list[str]) -> list[list[str]]:
    """Return the lines of each traceback; those of its causes come first."""
    blocks: list[list[str]] = []
    block: list[str] | None = None
    for line in lines:
        if _START in line:
            if block is None or not _is_linked(block):
                block = []
                blocks.append(block)
            block.append(line[line.index(_START) :])
        elif block is not None and _STAMP.match(line):
            block = None
        elif block is not None:
            block.append(line)
    return blocks


def _is_linked(block: list[str]) -> bool:
    """Return whether the next traceback belongs to the same error."""
    last = next((line for line in reversed(block) if line.strip()), "")
    return last.strip() in _LINKS


def _trace_of(block: list[str]) -> Trace | None:
    """Return a traceback; None if the line of its error is missing."""
    while block and (not block[-1].strip() or block[-1].strip() in _LINKS):
        block = block[:-1]
    starts = [k for k, line in enumerate(block) if line == _START]
    if not starts:
        return None
    end = next((k for k in range(starts[-1] + 1, len(block)) if block[k][:1].strip()), None)
    if end is None:
        return None
    error = _ERROR.fullmatch("\n".join(block[end:]))
    if error is None:
        return None
    name = error["name"].rpartition(".")[2]
    message = (error["message"] or "").strip()[:MESSAGE_CHARS]
    text = "\n".join(block)
    return Trace(text[-TRACEBACK_CHARS:], name, message, _place_of(block, starts))


def _place_of(block: list[str], starts: list[int]) -> str:
    """Return the innermost line of the user's code, of the last traceback that has one."""
    ends = [*starts[1:], len(block)]
    for start, end in reversed(list(zip(starts, ends, strict=True))):
        for line in reversed(block[start:end]):
            frame = _FRAME.fullmatch(line)
            if frame and not _NOT_OF_THE_USER.search(frame["path"]):
                file = re.split(r"[/\\]", frame["path"])[-1]
                return f"{file}:{frame['line']} in {frame['name']}"
    return ""
