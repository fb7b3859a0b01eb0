"""Cells of marimo, which is found only if a notebook of it has imported it."""

from __future__ import annotations

import sys
from typing import Any

from .display import Place


def is_shown() -> bool:
    """Return whether this thread runs a cell of a marimo notebook that has a page."""
    marimo = sys.modules.get("marimo")
    return marimo is not None and bool(marimo.running_in_notebook())


def append(shown: object) -> bool:
    """Add something to the output of the running cell; return False outside of marimo."""
    if not is_shown():
        return False
    sys.modules["marimo"].output.append(shown)
    return True


class MarimoPlace(Place):
    """An output of a cell of marimo, which draws the widget itself and keeps it for its cell."""

    keeps_widgets = True

    def __init__(self) -> None:
        super().__init__(None, has_views=True)

    def is_deaf(self) -> bool:
        """Return True: the kernel of marimo does not tell, and no other part draws the run there."""
        return True

    def display(self, bundle: dict[str, Any], metadata: dict[str, Any] | None = None) -> None:
        """Do nothing: marimo displays the widget."""

    def update(self, bundle: dict[str, Any], metadata: dict[str, Any] | None = None) -> None:
        """Do nothing: the widget is current."""


class Html:
    """HTML for marimo."""

    def __init__(self, text: str) -> None:
        self._text = text

    def _mime_(self) -> tuple[str, str]:
        return "text/html", self._text
