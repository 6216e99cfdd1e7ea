"""Plots for a page: where each bar stands. The templates write them down as SVG.

Sizes are in units of the plot, which grows and shrinks with the page.
"""

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Final

WIDTH: Final = 720
_ROW: Final = 24
_LABELS: Final = 260
_AMOUNTS: Final = 70
_HEIGHT: Final = 160
_FOOT: Final = 24
_HEAD: Final = 18
_MAX_COLUMN: Final = 48


@dataclass(frozen=True, slots=True)
class PlotBar:
    """One bar: a rectangle, and what it stands for."""

    label: str
    amount: int
    x: float
    y: float
    width: float
    height: float


@dataclass(frozen=True, slots=True)
class Plot:
    """Some bars on an area of `WIDTH` by `height`."""

    title: str
    bars: tuple[PlotBar, ...]
    height: float
    is_upright: bool
    """Columns side by side, as over days; else rows, with a label before each."""

    @property
    def width(self) -> int:
        """How wide the whole area is."""
        return WIDTH

    @property
    def first_and_last(self) -> tuple[PlotBar, ...]:
        """The columns that are labelled: all labels would not fit."""
        return self.bars if len(self.bars) < 3 else (self.bars[0], self.bars[-1])

    @property
    def most(self) -> int:
        """The greatest amount."""
        return max((each.amount for each in self.bars), default=0)


def rows(title: str, amounts: Iterable[tuple[str, int]]) -> Plot:
    """Lying bars, one below the other, for amounts of anything. No amount is below 0."""
    found = list(amounts)
    scale = (WIDTH - _LABELS - _AMOUNTS) / max(1, max((amount for _, amount in found), default=1))
    bars = [
        PlotBar(label, amount, _LABELS, number * _ROW + 4, round(amount * scale, 1), _ROW - 8)
        for number, (label, amount) in enumerate(found)
    ]
    return Plot(title, tuple(bars), len(bars) * _ROW, is_upright=False)


def columns(title: str, amounts: Iterable[tuple[str, int]]) -> Plot:
    """Upright bars, side by side, for amounts over time. No amount is below 0."""
    found = list(amounts)
    scale = _HEIGHT / max(1, max((amount for _, amount in found), default=1))
    step = min(WIDTH / max(1, len(found)), _MAX_COLUMN)
    bars = [
        PlotBar(
            label,
            amount,
            round(number * step, 2),
            round(_HEAD + _HEIGHT - amount * scale, 1),
            round(step * 0.8, 2),
            round(amount * scale, 1),
        )
        for number, (label, amount) in enumerate(found)
    ]
    return Plot(title, tuple(bars), _HEAD + _HEIGHT + _FOOT, is_upright=True)
