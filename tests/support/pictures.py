"""Whether a page still looks as in its committed picture, also with the fonts of another Chromium.

Both pictures are scaled down to cells of 20 by 20 pixels, about a line's height. Blurred letters change the
mean of no cell by 12 levels of 255, and a page that is a pixel off that of 4 cells in 1,000. One cell in 100
may be different: without a card it is 12 in 100, and with cards that are 30 pixels lower 6.
"""

from pathlib import Path

from PIL import Image, ImageChops

CELL_PX = 20
LEVELS = 12
"""By how much of 255 the mean of a cell may be different in any colour."""
SHARE = 0.01
"""Of the cells, that may be different by more."""


def different_cells(one: Path, other: Path) -> float:
    """The share of cells that are different: 1.0 if the pictures have different sizes."""
    with Image.open(one) as first, Image.open(other) as second:
        if first.size != second.size:
            return 1.0
        grid = (first.width // CELL_PX, first.height // CELL_PX)
        means = [each.convert("RGB").resize(grid, Image.Resampling.BOX) for each in (first, second)]
    bands = ImageChops.difference(*means).split()
    most = bands[0]
    for band in bands[1:]:
        most = ImageChops.lighter(most, band)
    return sum(most.histogram()[LEVELS + 1 :]) / (grid[0] * grid[1])
