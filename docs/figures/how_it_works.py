"""The picture of docs/how-it-works.md: the packages in rows.

python docs/figures/how_it_works.py
"""

from pathlib import Path

import matplotlib

matplotlib.use("Agg")
from matplotlib import pyplot
from matplotlib.axes import Axes
from matplotlib.patches import FancyBboxPatch

FILE = Path(__file__).with_name("how-it-works.png")

BLUE, ORANGE, GREEN, GREY = "#dbe9f6", "#fde7cf", "#e3f1dd", "#eeeeee"

ROWS = [
    ("what a user calls", BLUE, ["popgrad: the public names", "cli: commands and options"]),
    ("in a browser", BLUE, ["dashboard: a server that only reads records"]),
    ("many runs", BLUE, ["comparison: benchmarks, what helped and how sure that is"]),
    ("a whole run", BLUE, ["runs: run, resume, load, replay", "doctor: checks of a run"]),
    (
        "other libraries",
        BLUE,
        ["trackers: TensorBoard, MLflow, W&B", "integrations: Lightning, Transformers, SB3"],
    ),
    (
        "train it, show it",
        ORANGE,
        [
            "engine: submit, collect, decide, apply",
            "reports: tables, figures",
            "loops: scripts of users",
        ],
    ),
    (
        "the parts",
        ORANGE,
        [
            "strategies: make decisions",
            "executors: hold states, train",
            "store: journal, checkpoints",
            "views: JSON for pages",
        ],
    ),
    (
        "what they work on",
        GREEN,
        ["tasks: what a member trains", "record: what a run has done", "config: all keys"],
    ),
    (
        "leaves",
        GREY,
        [
            "data: readers, splits",
            "nn: live modules",
            "metrics: of a split",
            "state: as plain data",
            "hardware: cores, devices",
            "statistics: intervals",
        ],
    ),
    ("gates", GREY, ["gates: code, paths and sizes of files that may be foreign"]),
    ("pure", GREY, ["core: population, plan, segment, space, seeds; no files, no clock"]),
]
"""Rows from the top: title, colour, and each package with its purpose."""

WIDTH = 10.0
HEIGHT = 0.72
GAP = 0.3


def main() -> None:
    """Draw the rows, and write the picture."""
    figure, axes = pyplot.subplots(figsize=(10.8, 7.2))
    for number, (title, colour, packages) in enumerate(ROWS):
        bottom = -number * (HEIGHT + GAP)
        _draw_row(axes, bottom, title, colour, packages)

    lowest = -(len(ROWS) - 1) * (HEIGHT + GAP)
    _draw_arrow(axes, HEIGHT, lowest)
    axes.set_xlim(-2.1, WIDTH + 0.9)
    axes.set_ylim(lowest - 0.15, HEIGHT + 0.15)
    axes.axis("off")
    # Without the version of matplotlib, equal pictures are equal files.
    metadata = {"Software": None}
    figure.savefig(FILE, dpi=130, bbox_inches="tight", facecolor="white", metadata=metadata)


def _draw_row(axes: Axes, bottom: float, title: str, colour: str, packages: list[str]) -> None:
    middle = bottom + HEIGHT / 2
    axes.text(-0.2, middle, title, ha="right", va="center", fontsize=10.5, color="#555555")

    width = (WIDTH - 0.2 * (len(packages) - 1)) / len(packages)
    for column, package in enumerate(packages):
        left = column * (width + 0.2)
        box = FancyBboxPatch(
            (left + 0.05, bottom),
            width - 0.1,
            HEIGHT,
            boxstyle="round,pad=0.05",
            fc=colour,
            ec="#999999",
        )
        axes.add_patch(box)

        name, _, purpose = package.partition(": ")
        centred = {"ha": "center", "va": "center"}
        lift = 0.15 if purpose else 0.0
        axes.text(left + width / 2, middle + lift, name, fontsize=12, weight="bold", **centred)
        axes.text(left + width / 2, middle - 0.18, purpose, fontsize=9.5, **centred)


def _draw_arrow(axes: Axes, top: float, bottom: float) -> None:
    """Draw the one direction of all imports, beside the rows."""
    right = WIDTH + 0.35
    axes.annotate(
        "",
        xy=(right, bottom),
        xytext=(right, top),
        arrowprops={"arrowstyle": "-|>", "color": "#777777", "lw": 2.0, "mutation_scale": 18},
    )
    middle = (top + bottom) / 2
    axes.text(
        right + 0.25,
        middle,
        "imports go down only",
        rotation=270,
        ha="center",
        va="center",
        fontsize=11,
        color="#555555",
    )


if __name__ == "__main__":
    main()
