"""The model of PB2: what the next segment of an heir gains, and the best hyperparameters for it.

In the shape descriptions n is the number of rows, D of modelled dimensions, m of places.
"""

import math
from collections.abc import Mapping, Sequence
from typing import Literal, NamedTuple

import numpy as np

from popgrad.core.exploit import Mask
from popgrad.core.explore import explored
from popgrad.core.population import Change, Hparams, Value
from popgrad.core.seeding import Floats, Index
from popgrad.core.space import Choice, Space
from popgrad.strategies.acquisition import exploration, levels, maximise
from popgrad.strategies.gaussian_process import Kernel, Points, fit, posterior
from popgrad.strategies.improvements import Improvements, fence, standardise

Categories = Literal["none", "mix", "mult"]
"""Categories in the model: "none"; "mix", in its kernel; "mult", one model for each combination."""

Picks = Mapping[str, tuple[Value, Change]]
"""Categories of an heir, by name, each with its origin."""

_FEWEST_ROWS = 2
"""Rows below which there is no model."""


class Running(NamedTuple):
    """A segment in training, or about to be.

    Attributes:
        member: Slot in the population.
        interval: Its interval.
        steps: Training steps behind the state that it starts from.
        score: Score of that state.
        hparams: Complete hyperparameters.
    """

    member: int
    interval: int
    steps: int
    score: float
    hparams: Hparams


class Model:
    """Gains of segments, as one decision sees them: fitted once, with more pending segments later.

    Args:
        space: Space of the hyperparameters.
        rows: The data.
        running: Segments in training; heirs are added as they are given hyperparameters.
        starts: Scores of the states that heirs start from.
        categories: Treatment of the categories.
    """

    def __init__(
        self,
        space: Space,
        rows: Improvements,
        running: Sequence[Running],
        starts: Sequence[float],
        categories: Categories = "none",
    ) -> None:
        self._space = space
        self._rows = rows
        self._running = list(running)
        self._categories = categories
        live = [(i, name) for i, name in enumerate(space) if explored(space[name])]
        chosen = [(i, name) for i, name in live if not isinstance(space[name], Choice)]
        self._names = [name for _, name in chosen]
        self._columns = [i for i, _ in chosen]
        self._category_columns = [i for i, name in live if isinstance(space[name], Choice)]
        self._levels = [levels(space[name]) for name in self._names]
        self._kernels: dict[tuple[int, ...], Kernel] = {}

        # Time in segments, and scores in [0, 1].
        self._unit = float(np.median(rows.lengths)) if len(rows.lengths) else 1.0
        known = np.concatenate([fence(rows.starts) if len(rows.starts) else rows.starts, starts])
        self._low = float(known.min()) if len(known) else 0.0
        self._high = float(known.max()) if len(known) else 1.0

    def suggest(
        self, rng: np.random.Generator, start: Running, picks: Picks
    ) -> tuple[dict[str, Value], dict[str, Change]]:
        """Return hyperparameters of an heir, and the origin of each.

        Args:
            rng: Generator to draw from; it is consumed.
            start: Segment of the heir, with the hyperparameters that it inherits.
            picks: Its categories.
        """
        hparams = dict(start.hparams)
        changes: dict[str, Change] = dict.fromkeys(hparams, "inherited")
        for name, (value, origin) in picks.items():
            hparams[name] = value
            changes[name] = origin

        if self._names:
            moved = self._best(rng, start._replace(hparams=hparams))
            for name in self._names:
                dim = self._space[name]
                hparams[name] = dim.sample(rng) if moved is None else dim.decode(moved[name])
                changes[name] = "resampled" if moved is None else "modelled"

        self._running.append(start._replace(hparams=hparams))
        return hparams, changes

    def _best(self, rng: np.random.Generator, start: Running) -> dict[str, float] | None:
        """Return the positions of the highest bound; None = there are too few rows."""
        (here,) = self._positions([start])
        combination = self._combination(here)
        rows = self._of_combination(self._rows.positions, combination)
        if rows.sum() < _FEWEST_ROWS:
            return None

        data = self._rows.select(rows)
        targets = standardise(data.rates)
        points = self._points(data.steps, data.starts, data.positions)
        key = tuple(combination.tolist()) if self._categories == "mult" else ()
        if key not in self._kernels:
            self._kernels[key] = fit(points, targets)

        given = posterior(self._kernels[key], points, targets, self._pending(combination))
        width = math.sqrt(exploration(len(targets)))
        place = self._points([start.steps], [start.score], here[None])

        def bound(features: Floats) -> Floats:
            places = place.select(np.zeros(len(features), np.int64))._replace(features=features)
            mean, deviation = given.predict(places)
            return mean + width * deviation

        best = maximise(rng, bound, here[self._columns], self._levels)
        return dict(zip(self._names, best.tolist(), strict=True))

    def _pending(self, combination: Index) -> Points | None:
        """Return the running segments that the model covers; None = there are none."""
        if not self._running:
            return None
        positions = self._positions(self._running)
        rows = self._of_combination(positions, combination)
        steps = [run.steps for run in self._running]
        scores = [run.score for run in self._running]
        return self._points(steps, scores, positions).select(np.flatnonzero(rows))

    def _positions(self, running: Sequence[Running]) -> Floats:
        return np.array([self._space.encode(run.hparams) for run in running])

    def _combination(self, positions: Floats) -> Index:
        """Return numbers that are equal if categories are: positions, free of rounding errors."""
        return np.rint(positions[..., self._category_columns] * 1e6).astype(np.int64)

    def _of_combination(self, positions: Floats, combination: Index) -> Mask:
        """Return whether the model of a combination covers each of the positions."""
        if self._categories != "mult":
            return np.full(len(positions), True)
        equal: Mask = (self._combination(positions) == combination).all(axis=1)
        return equal

    def _points(
        self, steps: Sequence[int] | Index, scores: Sequence[float] | Floats, positions: Floats
    ) -> Points:
        height = self._high - self._low
        contexts = (np.asarray(scores) - self._low) / (height if height > 0 else 1.0)
        shown = self._combination(positions)
        return Points(
            times=np.asarray(steps) / self._unit,
            contexts=np.clip(contexts, 0.0, 1.0),
            features=positions[:, self._columns],
            categories=shown if self._categories == "mix" else shown[:, :0],
        )
