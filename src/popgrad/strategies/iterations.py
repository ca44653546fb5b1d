"""Iterations of IPBT: the memory between its decisions.

Chebykin et al. 2025, arXiv 2511.09190. An iteration is PBT with one interval, from a start to a
restart.
"""

import math
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from typing import Any, cast

import numpy as np

from popgrad.core.population import Population, SegmentId
from popgrad.core.seeding import Index, Rng
from popgrad.core.space import Space
from popgrad.strategies.base import Memory
from popgrad.strategies.restarts import Origin

STARTERS = 2
"""Members that start an iteration, for each one that continues it."""


@dataclass(frozen=True)
class Iteration:
    """An iteration, and what is kept of those before it.

    Attributes:
        length: Configured intervals in each of its intervals.
        starts: Whether its first round trains, with the extra members.
        size: Members of the population; 0 = before the first decision.
        active: Members that train; the others rest.
        lineages: Row of `origins` that each member descends from, by member.
        origins: Starts of all iterations, in order.
        started: Member-intervals that the run had spent when it started.
        series: Best score of each round; empty if another restart does not fit.
        without_gain: Rounds in a row without a gain.
        rest: Second part of a remainder of the budget that is split in two; 0 = there is none.
        best: Best member of the iterations before it at their ends; None = it is the first.
        best_score: Its score.
    """

    length: int = 1
    starts: bool = True
    size: int = 0
    active: tuple[int, ...] = ()
    lineages: Mapping[int, int] = field(default_factory=dict)
    origins: tuple[Origin, ...] = ()
    started: int = 0
    series: tuple[float, ...] = ()
    without_gain: int = 0
    rest: int = 0
    best: SegmentId | None = None
    best_score: float = 0.0

    @classmethod
    def from_memory(cls, memory: Memory) -> "Iteration":
        """Return what `memory` has written; an empty memory is that before the first decision."""
        stored = dict(cast(Mapping[str, Any], memory))
        if not stored:
            return cls()
        stored["active"] = tuple(stored["active"])
        stored["lineages"] = {int(member): row for member, row in stored["lineages"].items()}
        stored["origins"] = tuple(
            Origin(time, tuple(positions), best) for time, positions, best in stored["origins"]
        )
        stored["series"] = tuple(stored["series"])
        stored["best"] = None if stored["best"] is None else tuple(stored["best"])
        return cls(**stored)

    def memory(self) -> Memory:
        """Return plain JSON."""
        return {
            **vars(self),
            "active": list(self.active),
            "lineages": {str(member): row for member, row in self.lineages.items()},
            "origins": [[time, list(positions), best] for time, positions, best in self.origins],
            "series": list(self.series),
            "best": None if self.best is None else list(self.best),
        }

    @property
    def keep(self) -> tuple[SegmentId, ...]:
        """Segments whose states stay."""
        return () if self.best is None else (self.best,)

    def ranked(self, rng: Rng, population: Population) -> Index:
        """Return the living active members, the best first; if none lives, all living ones."""
        order = ranking(rng, population)
        living = order[np.isfinite(population.scores[order])]
        active = living[np.isin(living, self.active)]
        return active if len(active) else living

    def inherited(self, sources: Index) -> "Iteration":
        """Return the iteration with the lineages after a round in which members inherit.

        Args:
            sources: [N] sources.
        """
        lineages = {
            member: self.lineages[int(sources[member])]
            for member in self.active
            if int(sources[member]) in self.lineages
        }
        return replace(self, lineages=lineages)

    def doubled(self, population: Population) -> "Iteration":
        """Return the iteration that a restart starts, with an interval twice as long."""
        kept = self
        scores = population.scores[list(self.active)]
        if np.isfinite(scores).any() and len(population.segments):
            member = self.active[int(np.nanargmax(np.where(np.isfinite(scores), scores, np.nan)))]
            score = float(population.scores[member])
            if self.best is None or score > self.best_score:
                kept = replace(self, best=population.segments[member], best_score=score)
        return replace(
            kept,
            length=2 * self.length,
            starts=True,
            active=tuple(range(len(population))),
            lineages={},
            started=population.budget.spent,
            series=(),
            without_gain=0,
        )


def paid(size: int) -> int:
    """Return the members that continue an iteration, of all: half of them, rounded up."""
    return math.ceil(size / STARTERS)


def ranking(rng: Rng, population: Population) -> Index:
    """Return [N] members, the best first; equal scores in the order of a draw, failed ones last."""
    members = np.arange(len(population))
    ties = rng.uniform("ranking", members, population.intervals)
    scores = np.where(np.isfinite(population.scores), population.scores, -np.inf)
    return np.lexsort((ties, -scores))


def after_round(rng: Rng, iteration: Iteration, population: Population, space: Space) -> Iteration:
    """Return the iteration after a round: its members, its series, and the scores of its starts.

    After the first round, and if the population has another size, the best half is active.

    Args:
        rng: Random streams of the run.
        iteration: The iteration at the last decision.
        population: All N members.
        space: Space of the hyperparameters.
    """
    if iteration.starts or iteration.size != len(population):
        best = ranking(rng, population)[: paid(len(population))]
        active = tuple(sorted(best.tolist()))
        iteration = replace(iteration, active=active, size=len(population))
    living = [member for member in iteration.active if np.isfinite(population.scores[member])]
    scores = {member: float(population.scores[member]) for member in living}

    origins = list(iteration.origins)
    lineages = dict(iteration.lineages)
    if iteration.starts:
        for member in living:
            lineages[member] = len(origins)
            positions = tuple(space.encode(population.hparams[member]).tolist())
            origins.append(Origin(iteration.started, positions, scores[member]))
    for member in living:
        if member in lineages:
            origin = origins[lineages[member]]
            origins[lineages[member]] = origin._replace(best=max(origin.best, scores[member]))

    series = (*iteration.series, max(scores.values())) if scores else iteration.series
    return replace(
        iteration, starts=False, lineages=lineages, origins=tuple(origins), series=series
    )
