"""A strategy that uses every part of the seam: what the engine, executors and the record have to obey."""

import numpy as np

from popgrad.core.plan import Entry, Plan, Transform, plan_of
from popgrad.core.population import FRESH, Population
from popgrad.core.seeding import Index, Rng
from popgrad.core.space import Space
from popgrad.strategies.base import Memory, Start, Strategy

SHRINK = Transform("shrink-perturb", {"keep": 0.9, "noise": 0.1})


def scripted(space: Space) -> Strategy:
    """Twice the members start; each decision uses other parts, which depend on scores and history."""

    def step(rng: Rng, population: Population, ready: Index, memory: Memory) -> tuple[Plan, Memory]:
        number = int(memory["number"])  # type: ignore[call-overload]
        best = int(np.nanargmax(population.scores))
        entries = {
            member: Entry(member, population.hparams[member], {}, role=role(member, number))
            for member in map(int, ready)
        }

        if number == 0:
            _rest(entries, len(population) // 2)
        elif number == 1:
            # A fresh member, one from the archive, and longer intervals.
            sampled = space.sample(rng.generator("scripted", 0, number))
            entries[0] = entries[0]._replace(source=len(population), hparams=sampled)
            entries[1] = entries[1]._replace(source=FRESH, hparams=sampled)
            entries = {member: own._replace(length=2) for member, own in entries.items()}
            _rest(entries, 2)
        elif number == 2:
            # All from the archived best of the first decision, transformed.
            entries = {
                member: own._replace(source=len(population), transform=SHRINK)
                for member, own in entries.items()
            }

        heard = {"rows": len(population.history), "mean": mean_gain(population)}
        keep = population.archive.segments or (population.segments[best],)
        return plan_of(entries, keep), {"number": number + 1, "heard": heard}

    return Strategy(
        init=lambda: {"number": 0},
        step=step,
        start=lambda size: Start(
            2 * size, tuple(role(member, -1) for member in range(2 * size)), True, 3
        ),
        shares_budget=True,
        together=True,
    )


def role(member: int, number: int) -> str:
    """The role of a member after a decision."""
    return f"{'even' if member % 2 == 0 else 'odd'} {number}"


def mean_gain(population: Population) -> float:
    """A number that depends on all rows of the history, on curves, samples and metrics."""
    history = population.history
    gains = (history.scores - history.starts) * (1 + np.arange(len(history)))
    within = sum(float(curve.sum()) for curve in population.curves)
    samples = sum(float(own @ np.arange(1, len(own) + 1)) for own in population.samples)
    metrics = sum(sum(own.values()) for own in population.metrics)
    return float(np.nansum(gains)) + within + samples + metrics


def _rest(entries: dict[int, Entry], since: int) -> None:
    for member in entries:
        if member >= since:
            entries[member] = entries[member]._replace(rests=True)
