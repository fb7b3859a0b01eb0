"""A plot on two logarithmic axes as SVG text: light or dark, as the page that shows it."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

_WIDTH, _HEIGHT = 560, 330
_LEFT, _RIGHT, _TOP, _BOTTOM = 62, 40, 64, 44

_STYLE = (
    "<style>svg{color-scheme:light dark}"
    "text{font:12px system-ui,sans-serif;fill:light-dark(#333,#ddd)}"
    ".grid{stroke:light-dark(#ddd,#444)}.line{fill:none;stroke-width:2}</style>"
)
_COLOURS = ("#0072b2", "#d55e00")


@dataclass(frozen=True)
class Series:
    """Measured points, in the order of x, with a label."""

    name: str
    points: Sequence[tuple[float, float]]


def exponent(points: Sequence[tuple[float, float]]) -> float:
    """Return the slope of a straight line through the points, both axes logarithmic."""
    xs = [math.log(x) for x, _ in points]
    ys = [math.log(y) for _, y in points]
    x0, y0 = sum(xs) / len(xs), sum(ys) / len(ys)
    above = sum((x - x0) * (y - y0) for x, y in zip(xs, ys, strict=True))
    return above / sum((x - x0) ** 2 for x in xs)


def draw(title: str, x_name: str, series: Sequence[Series]) -> str:
    """Return the SVG of some series over the same x."""
    xs = [x for one in series for x, _ in one.points]
    ys = [y for one in series for _, y in one.points]
    low, high = math.floor(math.log10(min(ys))), math.ceil(math.log10(max(ys)))
    left, right = math.log10(min(xs)), math.log10(max(xs))

    def place(x: float, y: float) -> tuple[float, float]:
        across = (math.log10(x) - left) / (right - left)
        up = (math.log10(y) - low) / max(1, high - low)
        return (
            _LEFT + across * (_WIDTH - _LEFT - _RIGHT),
            _HEIGHT - _BOTTOM - up * (_HEIGHT - _TOP - _BOTTOM),
        )

    parts = [
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {_WIDTH} {_HEIGHT}" role="img">',
        f"<title>{title}</title>{_STYLE}",
        f'<text x="{_LEFT}" y="18">{title}</text>',
        f'<text x="{_WIDTH // 2}" y="{_HEIGHT - 6}" text-anchor="middle">{x_name}</text>',
    ]
    for power in range(low, high + 1):
        _, y = place(min(xs), 10**power)
        parts.append(
            f'<line class="grid" x1="{_LEFT}" x2="{_WIDTH - _RIGHT}" y1="{y:.1f}" y2="{y:.1f}"/>'
            f'<text x="{_LEFT - 6}" y="{y + 4:.1f}" text-anchor="end">{10.0**power:g}</text>'
        )
    for x in sorted(set(xs)):
        across, _ = place(x, 10**low)
        parts.append(
            f'<text x="{across:.1f}" y="{_HEIGHT - 26}" text-anchor="middle">{x:,.0f}</text>'
        )
    for number, one in enumerate(series):
        parts.append(_drawn(one, _COLOURS[number], [place(x, y) for x, y in one.points], number))
    return "\n".join([*parts, "</svg>", ""])


def _drawn(one: Series, color: str, places: list[tuple[float, float]], number: int) -> str:
    """Return the line, the points and the name of a series."""
    line = " ".join(f"{x:.1f},{y:.1f}" for x, y in places)
    marks = "".join(
        f'<circle cx="{x:.1f}" cy="{y:.1f}" r="3.5" fill="{color}"/>'
        if number == 0
        else f'<rect x="{x - 3.5:.1f}" y="{y - 3.5:.1f}" width="7" height="7" fill="{color}"/>'
        for x, y in places
    )
    name = f"{'●' if number == 0 else '■'} {one.name}"
    return (
        f'<polyline class="line" points="{line}" stroke="{color}"/>{marks}'
        f'<text x="{_LEFT}" y="{36 + 16 * number}" style="fill:{color}">{name}</text>'
    )
