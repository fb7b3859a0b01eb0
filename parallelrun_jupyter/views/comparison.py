"""The comparison of two runs as text and as HTML, from plain tables."""

from __future__ import annotations

import html
from collections.abc import Sequence
from typing import Any, NamedTuple

from .text import plain

_CELL_CHARS = 60
_SHOWN_ROWS = 20


class ComparisonTable(NamedTuple):
    """A part of a comparison: its title, the heads of its columns, its rows, and a note for none.

    ``more`` is the number of rows that are not among ``rows``.
    """

    title: str
    heads: Sequence[str]
    rows: Sequence[Sequence[Any]]
    nothing: str
    more: int = 0


def comparison_text(title: str, tables: Sequence[ComparisonTable], notes: Sequence[str]) -> str:
    """Return a comparison as text."""
    return "\n\n".join([title, *map(_text_of, tables), *([_notes(notes)] if notes else [])])


def comparison_html(title: str, tables: Sequence[ComparisonTable], notes: Sequence[str]) -> str:
    """Return a comparison as HTML."""
    parts = [f"<p><b>{_escaped(title)}</b></p>", *map(_html_of, tables)]
    parts += [f"<p>{_escaped(note)}</p>" for note in notes]
    return f"<div>{''.join(parts)}</div>"


def _notes(notes: Sequence[str]) -> str:
    return "\n".join(f"note: {plain(note)}" for note in notes)


def _shown(table: ComparisonTable) -> tuple[list[list[str]], str]:
    """Return the cells of the first rows, and a line about the others."""
    rows = [[cell_text(cell) for cell in row] for row in table.rows[:_SHOWN_ROWS]]
    more = table.more + max(0, len(table.rows) - _SHOWN_ROWS)
    return rows, f"and {more:,} more" if more else ""


def _text_of(table: ComparisonTable) -> str:
    rows, more = _shown(table)
    if not rows:
        return f"{table.title}: {table.nothing}"
    cells = [list(table.heads), *([plain(cell) for cell in row] for row in rows)]
    widths = [max(len(row[k]) for row in cells) for k in range(len(table.heads))]
    lines = ("  ".join(f"{cell:<{widths[k]}}" for k, cell in enumerate(row)) for row in cells)
    return "\n".join(
        [table.title, *(f"  {line.rstrip()}" for line in lines), *([f"  {more}"] if more else [])]
    )


def _html_of(table: ComparisonTable) -> str:
    rows, more = _shown(table)
    if not rows:
        return f"<p>{_escaped(table.title)}: {_escaped(table.nothing)}</p>"
    head = "".join(f'<th style="text-align: left">{_escaped(name)}</th>' for name in table.heads)
    cells = [
        [f'<td style="text-align: left">{_escaped(cell)}</td>' for cell in row] for row in rows
    ]
    body = "".join(f"<tr>{''.join(row)}</tr>" for row in cells)
    rest = f"<p>{_escaped(more)}</p>" if more else ""
    return (
        f"<p>{_escaped(table.title)}</p><table><thead><tr>{head}</tr></thead>"
        f"<tbody>{body}</tbody></table>{rest}"
    )


def cell_text(value: Any) -> str:
    """Return a value as a short text of one line; a missing one is a dash."""
    if value is None:
        return "-"
    if isinstance(value, bool):
        return str(value)
    if isinstance(value, int):
        return f"{value:,}"
    if isinstance(value, float):
        return f"{value:,.3g}" if abs(value) < 1000 else f"{value:,.0f}"
    text = " ⏎ ".join(str(value).split("\n"))
    if len(text) <= _CELL_CHARS:
        return text
    kept = _CELL_CHARS - 3
    return f"{text[: kept // 2]}...{text[-(kept - kept // 2) :]}"


def _escaped(text: str) -> str:
    return html.escape(plain(text))
