"""Axes of a hyperparameter: positions, scale and ticks."""

from collections.abc import Sequence
from typing import Any, Literal

import numpy as np
from matplotlib.axes import Axes
from matplotlib.ticker import FixedLocator, FuncFormatter, MaxNLocator, NullLocator

from popgrad.core.seeding import Floats
from popgrad.core.segment import Segment
from popgrad.core.space import Choice, Dimension, Ordinal
from popgrad.record.record import Record
from popgrad.reports.style import OTHERS, TICK_LENGTH, plain_text, worst_shown

# Font sizes in points; explicit, because a user's matplotlibrc must not change a figure.
TITLE = 13
LABEL = 12
TICKS = 10
GRID = "#E6E6E6"  # of figures that are drawn on white
MARGIN = 0.05  # of the axis, on each side, as matplotlib's own
NINES = (0.0, 0.5, 0.8, *(1 - 10.0**-n for n in range(1, 8)))  # the ticks of a one-minus axis


def positions(
    segments: Sequence[Segment], name: str, dimension: Dimension, spread: float = 0.0
) -> Floats:
    """Return [S] positions of segments on the axis of a hyperparameter: values, or numbers of options.

    Args:
        segments: [S] segments, at least one.
        name: Name of the hyperparameter.
        dimension: Dimension of the hyperparameter.
        spread: Share, in [0, 1], of the distance between two options over which members are spread,
            so that points do not cover each other.
    """
    values = [segment.hparams[name] for segment in segments]
    if not isinstance(dimension, Choice | Ordinal):
        return np.array(values, dtype=np.float64)
    last = len(dimension.options) - 1
    at = np.array([dimension.encode(value) * last for value in values], dtype=np.float64)
    members = np.array([segment.member for segment in segments], dtype=np.float64)
    offsets: Floats = ((members + 0.5) / (members.max() + 1) - 0.5) * spread
    return at + offsets


def dress(axes: Axes, which: str, label: str, dimension: Dimension | None, values: Floats) -> None:
    """Set label, scale and ticks of an axis.

    Args:
        axes: Panel of the figure.
        which: "x" or "y".
        label: Label of the axis.
        dimension: Dimension of the hyperparameter; None = a plain number.
        values: Values drawn along the axis, from `positions`.
    """
    axis = getattr(axes, f"{which}axis")
    rescale = getattr(axes, f"set_{which}scale")
    limit = getattr(axes, f"set_{which}lim")
    axis.label.set(text=plain_text(label), size=LABEL)

    if isinstance(dimension, Choice | Ordinal):
        names = [plain_text(str(option), TICK_LENGTH) for option in dimension.options]
        axis.set_major_locator(FixedLocator(range(len(names))))
        axis.set_major_formatter(FuncFormatter(lambda at, _: names[round(at)]))
        limit(-0.5, len(names) - 0.5)
    elif dimension is not None and dimension.scale == "log":
        rescale("log")
    elif dimension is not None and dimension.scale == "one-minus":
        rescale("function", functions=(nines, from_nines))
        low, high = nines(values.min()), nines(values.max())
        # matplotlib's own margin would reach beyond 1, where the scale ends.
        margin = MARGIN * (high - low) or 0.1
        limit(from_nines(low - margin), from_nines(high + margin))
        axis.set_major_locator(FixedLocator(NINES))
        axis.set_minor_locator(NullLocator())
        axis.set_major_formatter(FuncFormatter(lambda x, _: f"{x:.7g}"))
    elif dimension is not None and dimension.kind == "integer":
        axis.set_major_locator(MaxNLocator(integer=True, nbins="auto", steps=[1, 2, 5, 10]))

    axes.tick_params(which="both", labelsize=TICKS)
    draw_grid(axes)


def draw_grid(axes: Axes, which: Literal["both", "x", "y"] = "both") -> None:
    """Draw faint lines behind the content, on a light or a dark background."""
    axes.grid(visible=True, axis=which, color=OTHERS, alpha=0.25, linewidth=0.6)
    axes.set_axisbelow(True)


def limit_height(axes: Axes, record: Record) -> None:
    """Cut the axis of the metric that ranks if a few bad values would flatten all others, with a note.

    Args:
        axes: Panel whose vertical axis is the metric.
        record: Record with at least one segment.
    """
    scores = np.array([segment.score for segment in record.segments])
    alive = scores[np.isfinite(scores)]
    if not len(alive):
        return

    low = worst_shown(alive)
    high = float(alive.max())
    if 0 < 3 * (high - low) < high - float(alive.min()):
        margin = MARGIN * (high - low)
        ends = sorted(map(record.ranking.shown, (low - margin, high + margin)))
        axes.set_ylim(*ends)
        axes.yaxis.label.set_text(f"{axes.get_ylabel()}\n(the worst are off the scale)")


def nines(x: Any) -> Any:
    """Count the nines: 0.9 is 1, 0.99 is 2. Floats end at about 16."""
    return -np.log10(np.maximum(1 - np.asarray(x, dtype=np.float64), 1e-16))


def from_nines(n: Any) -> Any:
    """Return the number with so many nines."""
    return 1 - 10.0 ** -np.asarray(n, dtype=np.float64)
