"""The pictures of docs/plots.md: each figure of one run on digits, and the lineage on a dark background.

python docs/figures/plots.py
"""

from pathlib import Path

import matplotlib.style
from PIL import Image

import popgrad
from popgrad.runs.plot import PLOTS

FOLDER = Path(__file__).parents[1] / "images" / "plots"
DOTS = 80
"""Dots an inch: the page shows them about 800 wide."""
COLOURS = 256
"""Colours of a picture, which makes the files half as large."""


def main() -> None:
    """Train the population, and write the pictures."""
    FOLDER.mkdir(parents=True, exist_ok=True)
    result = popgrad.run("digits", population=10, intervals=20, progress=False)
    for name in PLOTS:
        save(result, name, FOLDER / f"{name}.png")
    with matplotlib.style.context("dark_background"):
        save(result, "lineage", FOLDER / "lineage-dark.png")


def save(result: popgrad.Result, name: str, path: Path) -> None:
    """Write a figure as a small PNG."""
    result.plot.draw(name).savefig(path, dpi=DOTS)
    with Image.open(path) as picture:
        picture.convert("RGB").quantize(COLOURS).save(path, optimize=True)


if __name__ == "__main__":
    main()
