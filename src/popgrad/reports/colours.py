"""Colours of segments: by the metric that ranks, or by a hyperparameter on its own scale."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Literal

import matplotlib
import numpy as np
from matplotlib.axes import Axes
from matplotlib.cm import ScalarMappable
from matplotlib.colors import BoundaryNorm, Colormap, FuncNorm, ListedColormap, LogNorm, Normalize
from matplotlib.figure import Figure
from matplotlib.ticker import FixedLocator

from popgrad.core.seeding import Floats
from popgrad.core.space import Choice, Dimension, Ordinal
from popgrad.record.record import Record
from popgrad.reports.axes import LABEL, NINES, TICKS, from_nines, nines, positions
from popgrad.reports.style import (
    COLOURS,
    KINDS,
    LOWEST_SHOWN,
    TICK_LENGTH,
    WINNER,
    metric_values,
    plain_text,
    worst_shown,
)

_CHARACTERS = 12
"""Characters of a label that fit an inch."""


@dataclass(frozen=True)
class Colours:
    """Colours of the segments of a record.

    Attributes:
        values: [S] values that the colours show; not finite = none.
        map: Colour map.
        norm: Range of the colours.
        label: Words for the values.
        extend: Ends of the colour bar beyond which there are values.
        options: Names of the options, if the values are their numbers; () = plain numbers.
        ticks: Ticks of the colour bar; () = as the scale suggests.
    """

    values: Floats
    map: Colormap
    norm: Normalize
    label: str
    extend: Literal["neither", "min", "max"] = "neither"
    options: tuple[str, ...] = ()
    ticks: tuple[float, ...] = ()

    def rgba(self) -> Floats:
        """Return [S, 4] colours; of a value that is not finite, no colour at all."""
        masked = np.ma.masked_invalid(self.values)
        return np.asarray(self.map(self.norm(masked)), dtype=np.float64)

    def draw_bar(self, figure: Figure, panels: Sequence[Axes], **options: Any) -> Any:
        """Draw the bar that explains the colours beside some panels."""
        shown = ScalarMappable(self.norm, self.map)
        bar = figure.colorbar(shown, ax=panels, extend=self.extend, **options)
        label = plain_text(self.label)
        inches = figure.get_figheight() * sum(panel.get_position().height for panel in panels)
        if len(label) > _CHARACTERS * inches:
            label = label.partition("; ")[0]
        bar.set_label(label, size=LABEL)
        bar.ax.tick_params(labelsize=TICKS)
        if self.options:
            labels = [plain_text(name, TICK_LENGTH) for name in self.options]
            bar.set_ticks(range(len(labels)), labels=labels)
            bar.ax.tick_params(which="both", length=0)
        elif self.ticks:
            bar.ax.yaxis.set_major_locator(FixedLocator(self.ticks))
            bar.ax.yaxis.set_major_formatter(lambda value, _: f"{value:.7g}")
            bar.ax.minorticks_off()
        return bar


def score_colours(record: Record) -> Colours:
    """Return colours by the metric that ranks, brightest the best; they end at the worst 5 %."""
    norm, limit = _score_norm(record)
    lowest_is_best = record.ranking.minimize
    label = record.ranking.label
    extend: Literal["neither", "min", "max"] = "neither"
    if limit is not None:
        extend = "max" if lowest_is_best else "min"
        beyond = "above" if lowest_is_best else "below"
        label += f"; darkest: {beyond} {limit:.4g}, the worst {LOWEST_SHOWN} %"
    colour_map = matplotlib.colormaps[f"{COLOURS}_r" if lowest_is_best else COLOURS]
    return Colours(metric_values(record.segments, record), colour_map, norm, label, extend)


def _score_norm(record: Record) -> tuple[Normalize, float | None]:
    """Return the range of the colours, and where it ends if some values lie beyond; None = none do."""
    scores = np.array([segment.score for segment in record.segments])
    alive = scores[np.isfinite(scores)]
    if not len(alive):
        return Normalize(0.0, 1.0), None

    worst = worst_shown(alive)
    high = float(alive.max())
    # If all scores are equal, any range will do.
    margin = 0.0 if worst < high else 0.01 * max(abs(high), 1.0)
    low, high = sorted(map(record.ranking.shown, (worst - margin, high + margin)))
    beyond = bool((alive < worst).any())
    return Normalize(low, high), record.ranking.shown(worst) if beyond else None


def hparam_colours(record: Record, name: str) -> Colours:
    """Return colours by a hyperparameter, along its scale.

    Args:
        record: Record with at least one segment.
        name: Name of a hyperparameter of the space.
    """
    dimension = record.space[name]
    values = positions(record.segments, name, dimension)
    viridis = matplotlib.colormaps[COLOURS]
    if isinstance(dimension, Choice | Ordinal):
        names = tuple(map(str, dimension.options))
        edges = np.arange(len(names) + 1) - 0.5
        listed = _listed(len(names), ordered=isinstance(dimension, Ordinal))
        return Colours(values, listed, BoundaryNorm(edges, len(names)), name, options=names)

    norm = _norm(dimension, float(values.min()), float(values.max()))
    ticks: tuple[float, ...] = ()
    if dimension.scale == "one-minus":
        ticks = tuple(tick for tick in NINES if norm.vmin <= tick <= norm.vmax)
    return Colours(values, viridis, norm, name, ticks=ticks)


def _listed(count: int, *, ordered: bool) -> Colormap:
    """Return a colour for each of several options."""
    kinds = (WINNER, *KINDS)
    if ordered or count > len(kinds):
        places = np.linspace(0, 1, count)
        return ListedColormap(matplotlib.colormaps[COLOURS](places))
    return ListedColormap(kinds[:count])


def _norm(dimension: Dimension, low: float, high: float) -> Any:
    """Return the range of the colours of a number, along its scale."""
    if low == high:
        margin = 0.01 * max(abs(low), 1e-12)
        return Normalize(low - margin, high + margin)
    if dimension.scale == "log":
        return LogNorm(low, high)
    if dimension.scale == "one-minus":
        return FuncNorm((nines, from_nines), low, high)
    return Normalize(low, high)
