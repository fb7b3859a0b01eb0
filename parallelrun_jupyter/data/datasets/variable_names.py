"""Finds the name of the variable that holds an object, in the code that called this package."""

from __future__ import annotations

import sys
from types import FrameType

_PACKAGE = __name__.partition(".")[0]


def name_of(value: object) -> str:
    """Return the name of a variable of the caller that is an object; empty if there is none.

    The caller is the nearest frame outside this package. Its local variables are searched, then its
    global ones. Names with a leading underscore, such as the outputs of a notebook, do not count.
    """
    frame: FrameType | None = sys._getframe(1)  # noqa: SLF001 - inspect is slow to import
    while frame is not None and _is_own(frame.f_globals.get("__name__", "")):
        frame = frame.f_back
    if frame is None:
        return ""
    for names in (frame.f_locals, frame.f_globals):
        for name, held in list(names.items()):
            if held is value and not name.startswith("_") and name.isidentifier():
                return name
    return ""


def _is_own(module: str) -> bool:
    return module == _PACKAGE or module.startswith(f"{_PACKAGE}.")
