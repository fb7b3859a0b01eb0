"""The parser of options that are several names."""

from __future__ import annotations

import argparse
from collections.abc import Callable, Iterable


def names_of(known: Iterable[str]) -> Callable[[str], list[str]]:
    """Return a parser of comma-separated names, which must be among these."""

    def names(text: str) -> list[str]:
        given = [name.strip() for name in text.split(",")]
        unknown = [name for name in given if name not in known]
        if unknown:
            msg = f"{unknown[0]!r} is none of {', '.join(known)}"
            raise argparse.ArgumentTypeError(msg)
        return given

    return names
