"""How a hyperparameter lies on an axis: its place, its scale, its ticks."""

from collections.abc import Sequence
from typing import Any

import numpy as np
from matplotlib.axes import Axes
from matplotlib.ticker import FixedLocator, FuncFormatter, NullLocator

from popgrad.core.population import Segment
from popgrad.core.seeding import Floats
from popgrad.core.space import Choice, Dimension, Ordinal

TITLE, LABEL, TICKS = 13, 12, 10
"""Font sizes in points, given each time because a user's matplotlibrc must not change a figure."""
GRID = "#E6E6E6"
MARGIN = 0.05  # of the axis, on each side, as matplotlib's own
_NINES = (0.0, 0.5, 0.8, *(1 - 10.0**-n for n in range(1, 8)))  # the ticks of a one-minus axis


def place(
    segments: Sequence[Segment], name: str, dimension: Dimension, spread: float = 0.0
) -> Floats:
    """[S] each segment's place on the axis of hyperparameter `name`: the value, or the number of the option.

    Args:
        segments: S segments, at least one.
        name: The hyperparameter.
        dimension: Its dimension.
        spread: Over which part of the room between two options the members are spread, so that points do not
            cover each other; 0 to 1.
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
    """Set label, scale and ticks of the axis `which` ("x" or "y").

    Args:
        axes: The panel.
        which: "x" or "y".
        label: The name beside the axis.
        dimension: The hyperparameter's; None = a plain number.
        values: What is drawn along it, from `place`.
    """
    axis = getattr(axes, f"{which}axis")
    rescale, limit = getattr(axes, f"set_{which}scale"), getattr(axes, f"set_{which}lim")
    axis.label.set(text=label, size=LABEL)
    if isinstance(dimension, Choice | Ordinal):
        names = [str(option) for option in dimension.options]
        axis.set_major_locator(FixedLocator(range(len(names))))
        axis.set_major_formatter(FuncFormatter(lambda at, _: names[round(at)]))
        limit(-0.5, len(names) - 0.5)
    elif dimension is not None and dimension.scale == "log":
        rescale("log")
    elif dimension is not None and dimension.scale == "one-minus":
        rescale("function", functions=(_nines, _from_nines))
        low, high = _nines(values.min()), _nines(values.max())
        margin = (
            MARGIN * (high - low) or 0.1
        )  # matplotlib's own would reach beyond 1, where the scale ends
        limit(_from_nines(low - margin), _from_nines(high + margin))
        axis.set_major_locator(FixedLocator(_NINES))
        axis.set_minor_locator(NullLocator())
        axis.set_major_formatter(FuncFormatter(lambda x, _: f"{x:.7g}"))
    axes.tick_params(which="both", labelsize=TICKS)
    axes.grid(visible=True, color=GRID, linewidth=0.6)
    axes.set_axisbelow(True)


def _nines(x: Any) -> Any:
    """How many nines: 0.9 is 1, 0.99 is 2. Floats end at about 16."""
    return -np.log10(np.maximum(1 - np.asarray(x, dtype=np.float64), 1e-16))


def _from_nines(n: Any) -> Any:
    return 1 - 10.0 ** -np.asarray(n, dtype=np.float64)
