"""Charts as SVG text, without a library: lines over numbers, and bars beside names. Pure.

Readable in light and in dark: the colours are classes, which a media query turns around, and the background is drawn.
Series differ by colour, by dash and by the shape of their points. Source of the colours: Okabe and Ito, Color Universal
Design, https://jfly.uni-koeln.de/color/, lightened for the dark.
"""

from __future__ import annotations

import math
from typing import TYPE_CHECKING
from xml.sax.saxutils import escape

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Sequence

_WIDTH, _HEIGHT = 760, 440
_LEFT, _RIGHT, _BOTTOM = 72, 24, 58
_TITLE_Y, _LEGEND_Y, _LEGEND_STEP = 30, 54, 20
_LEGEND_KEY, _LEGEND_GAP = 38, 24
_FEW_VALUES = 6  # so many different x are ticks themselves
_WISHED_TICKS = 5
_BAR_HEIGHT, _BAR_GAP, _CHARACTER = 24, 12, 7.2

_LIGHT = ("#0072b2", "#d55e00", "#008a64", "#b0508a", "#8a6d00", "#2c8fc9")
_DARK = ("#56b4e9", "#ff8f4d", "#2fd0a4", "#e69ac4", "#f0e442", "#9ccdf0")
_DASHES = ("", "7 4", "2 3", "10 3 2 3", "1 4", "14 4")

_STYLE = (
    "<style>text{font:13px system-ui,sans-serif;fill:#1f2328}.title{font-size:16px;font-weight:600}\n"
    ".back{fill:#fff}.grid{stroke:#d8dee4}.axis{stroke:#59636e}\n"
    + "".join(f".s{number}{{stroke:{colour};fill:{colour}}}" for number, colour in enumerate(_LIGHT))
    + "\n@media(prefers-color-scheme:dark){text{fill:#e6edf3}.back{fill:#0d1117}\n"
    + ".grid{stroke:#30363d}.axis{stroke:#9198a1}\n"
    + "".join(f".s{number}{{stroke:{colour};fill:{colour}}}" for number, colour in enumerate(_DARK))
    + "}</style>"
)


def line_chart(title: str, x_label: str, y_label: str, series: dict[str, list[tuple[float, float]]]) -> str:
    """Return a whole SVG document. series: points (x, y) by name, in their order; the y axis begins at 0.

    Raises ValueError when there is no point at all.
    """
    points = [point for line in series.values() for point in line]
    if not points:
        raise ValueError(f"{title!r} has no points")
    x_ticks, y_ticks = _x_ticks([x for x, _ in points]), _ticks(0, max(y for _, y in points))
    places = list(_legend_places(series))
    top = places[-1][2] + _LEGEND_STEP
    across = _Scale(x_ticks[0], x_ticks[-1], _LEFT + 12, _WIDTH - _RIGHT - 12)
    up = _Scale(y_ticks[0], y_ticks[-1], _HEIGHT - _BOTTOM, top)
    drawn = [*_legend(places), *_grid(y_ticks, up), *_x_axis(x_ticks, across, x_label), _y_label(y_label, top)]
    for number, line in enumerate(series.values()):
        drawn += _line([(across(x), up(y)) for x, y in line], number)
    return _document(title, _HEIGHT, drawn)


def bar_chart(title: str, x_label: str, bars: dict[str, float]) -> str:
    """Return a whole SVG document of horizontal bars, in their order, each with its figure.

    Raises ValueError when there are none.
    """
    if not bars:
        raise ValueError(f"{title!r} has no bars")
    ticks = _ticks(0, max(bars.values()))
    left = 24 + _CHARACTER * max(map(len, bars))
    across = _Scale(0, ticks[-1], left, _WIDTH - _RIGHT - 48)
    bottom = _LEGEND_Y + len(bars) * (_BAR_HEIGHT + _BAR_GAP)
    drawn = [*_columns(ticks, across, bottom), _text((left + _WIDTH) / 2, bottom + 42, x_label, "middle")]
    for number, (name, value) in enumerate(bars.items()):
        y = _LEGEND_Y + number * (_BAR_HEIGHT + _BAR_GAP) + _BAR_GAP / 2
        width = across(value) - left
        drawn += [
            _text(left - 10, y + 17, name, "end"),
            f'<rect class="s0" x="{left:.1f}" y="{y:.1f}" width="{width:.1f}" height="{_BAR_HEIGHT}"/>',
            _text(left + width + 8, y + 17, _figure(value)),
        ]
    return _document(title, bottom + _BOTTOM, drawn)


class _Scale:
    """Maps low to high onto pixels; a range of nothing lies in the middle."""

    def __init__(self, low: float, high: float, start: float, end: float) -> None:
        self._low, self._high, self._start, self._end = low, high, start, end

    def __call__(self, value: float) -> float:
        if self._high == self._low:
            return (self._start + self._end) / 2
        return self._start + (value - self._low) / (self._high - self._low) * (self._end - self._start)


def _ticks(low: float, high: float) -> list[float]:
    """Return round numbers, a step of 1, 2 or 5 times a power of ten apart, that enclose the range."""
    span = high - low or abs(high) or 1.0
    power = 10.0 ** math.floor(math.log10(span / _WISHED_TICKS))
    step = next(power * factor for factor in (1, 2, 5, 10) if span <= power * factor * _WISHED_TICKS)
    return [step * number for number in range(math.floor(low / step), math.ceil((low + span) / step - 1e-9) + 1)]


def _x_ticks(values: Sequence[float]) -> list[float]:
    different = sorted(set(values))
    return different if len(different) <= _FEW_VALUES else _ticks(different[0], different[-1])


def _legend_places(names: Iterable[str]) -> Iterator[tuple[str, float, float]]:
    """Lay the names out from left to right, as many to a line as fit."""
    x, y = float(_LEFT), float(_LEGEND_Y)
    for name in names:
        width = _LEGEND_KEY + _CHARACTER * len(name)
        if x > _LEFT and x + width > _WIDTH - _RIGHT:
            x, y = float(_LEFT), y + _LEGEND_STEP
        yield name, x, y
        x += width + _LEGEND_GAP


def _legend(places: Iterable[tuple[str, float, float]]) -> Iterator[str]:
    for number, (name, x, y) in enumerate(places):
        yield from _line([(x, y), (x + 28, y)], number)
        yield _text(x + _LEGEND_KEY, y + 4, name)


def _grid(ticks: Sequence[float], up: _Scale) -> Iterator[str]:
    for tick in ticks:
        y = up(tick)
        kind = "axis" if tick == ticks[0] else "grid"
        yield f'<line class="{kind}" x1="{_LEFT}" y1="{y:.1f}" x2="{_WIDTH - _RIGHT}" y2="{y:.1f}"/>'
        yield _text(_LEFT - 8, y + 4, _figure(tick), "end")


def _x_axis(ticks: Sequence[float], across: _Scale, label: str) -> Iterator[str]:
    y = _HEIGHT - _BOTTOM
    for tick in ticks:
        yield f'<line class="axis" x1="{across(tick):.1f}" y1="{y}" x2="{across(tick):.1f}" y2="{y + 5}"/>'
        yield _text(across(tick), y + 20, _figure(tick), "middle")
    yield _text((_LEFT + _WIDTH - _RIGHT) / 2, _HEIGHT - 14, label, "middle")


def _columns(ticks: Sequence[float], across: _Scale, bottom: float) -> Iterator[str]:
    for tick in ticks:
        x = across(tick)
        kind = "axis" if tick == ticks[0] else "grid"
        yield f'<line class="{kind}" x1="{x:.1f}" y1="{_LEGEND_Y}" x2="{x:.1f}" y2="{bottom}"/>'
        yield _text(x, bottom + 20, _figure(tick), "middle")


def _y_label(label: str, top: float) -> str:
    y = (top + _HEIGHT - _BOTTOM) / 2
    return f'<text transform="rotate(-90 18 {y:.1f})" x="18" y="{y:.1f}" text-anchor="middle">{escape(label)}</text>'


def _line(points: Sequence[tuple[float, float]], number: int) -> Iterator[str]:
    kind = f"s{number % len(_LIGHT)}"
    path = " ".join(f"{x:.1f},{y:.1f}" for x, y in points)
    dash = f' stroke-dasharray="{_DASHES[number % len(_DASHES)]}"' if number % len(_DASHES) else ""
    yield f'<polyline class="{kind}" style="fill:none" stroke-width="2"{dash} points="{path}"/>'
    for x, y in points:
        yield _point(x, y, number, kind)


def _point(x: float, y: float, number: int, kind: str) -> str:
    match number % 3:
        case 0:
            return f'<circle class="{kind}" cx="{x:.1f}" cy="{y:.1f}" r="3.5"/>'
        case 1:
            return f'<rect class="{kind}" x="{x - 3:.1f}" y="{y - 3:.1f}" width="6" height="6"/>'
        case _:
            return f'<path class="{kind}" d="M{x:.1f} {y - 4:.1f}l4 7h-8z"/>'


def _text(x: float, y: float, text: str, anchor: str = "start") -> str:
    return f'<text x="{x:.1f}" y="{y:.1f}" text-anchor="{anchor}">{escape(text)}</text>'


def _figure(value: float) -> str:
    return f"{value:,.0f}" if value == round(value) else f"{value:,.3g}"


def _document(title: str, height: float, drawn: Iterable[str]) -> str:
    heading = f'<text class="title" x="{_WIDTH / 2:.0f}" y="{_TITLE_Y}" text-anchor="middle">{escape(title)}</text>'
    head = f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {_WIDTH} {height:.0f}" role="img">'
    back = f'<rect class="back" width="{_WIDTH}" height="{height:.0f}"/>'
    return "\n".join([head, f"<title>{escape(title)}</title>", _STYLE, back, heading, *drawn, "</svg>", ""])
