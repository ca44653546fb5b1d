"""Changes of the population's size: new members for a strategy, and its plan for the new size.

Members are slots 0..N-1 before a change and 0..M-1 after it. A change is part of one plan; the
sources in it are members before the change.
"""

from collections.abc import Iterable, Mapping, Sequence

import numpy as np

from popgrad.core.population import Changes, Hparams, Plan, Population
from popgrad.core.seeding import Floats, Rng
from popgrad.core.space import Space


def sampled(space: Space, rng: Rng, intervals: Mapping[int, int]) -> list[Hparams]:
    """Sample the hyperparameters of new members that inherit nothing.

    Args:
        space: Space to sample from.
        rng: Random streams of the run; each new member draws from its own, as first members do.
        intervals: First interval of each new member; at least 1, so that none has a first member's
            stream.
    """
    return [
        space.sample(rng.generator("sample", member, first)) for member, first in intervals.items()
    ]


def extended(
    population: Population, hparams: Sequence[Hparams], intervals: Iterable[int]
) -> Population:
    """Append new members to a population, each shown as one that has failed.

    Args:
        population: The N members before the change.
        hparams: [M - N] hyperparameters of the new members.
        intervals: [M - N] intervals that they count as completed.
    """
    new = len(hparams)
    return Population(
        np.concatenate([population.scores, np.full(new, np.nan)]),
        np.concatenate([population.intervals, np.array(list(intervals), np.int64)]),
        np.concatenate([population.steps, np.zeros(new, np.int64)]),
        [*population.hparams, *hparams],
    )


def grown(plan: Plan, before: int, hparams: Sequence[Hparams]) -> Plan:
    """Extend a plan to new members.

    A new member without a donor is its own source: it starts fresh.

    Args:
        plan: Plan for the N members before the change, or for all M.
        before: N, the size before the change.
        hparams: [M - N] hyperparameters for new members that the plan leaves out or gives no donor.

    Returns:
        Plan for the members 0..M-1, in order.
    """
    entries = _entries(plan)
    for member, fresh in enumerate(hparams, start=before):
        if member not in entries or entries[member][0] == member:
            entries[member] = (member, fresh, dict.fromkeys(fresh, "sampled"))
    return _plan(entries)


def shrunk(plan: Plan, scores: Floats, size: int) -> Plan:
    """Reduce a plan to the best `size` members, each in a slot below `size` with what the plan gives it.

    Members in higher slots move, the lowest into the lowest free slot. One that moves and would
    have kept its state inherits it from its old slot.

    Args:
        plan: Plan for all N members.
        scores: [N] scores, higher is better; not finite = failed. Ties: the lower member stays.
        size: M, at least 1 and below N.

    Returns:
        Plan for the members 0..M-1, in order.
    """
    ranked = np.lexsort((np.arange(len(scores)), np.where(np.isfinite(scores), -scores, np.inf)))
    staying = sorted(ranked[:size].tolist())
    free = iter(sorted(set(range(size)) - set(staying)))
    entries = _entries(plan)
    return _plan({member if member < size else next(free): entries[member] for member in staying})


_Entry = tuple[int, Hparams, Changes]
"""(source, hparams, changes) of one member."""


def _entries(plan: Plan) -> dict[int, _Entry]:
    entries = zip(plan.sources, plan.hparams, plan.changes, strict=True)
    return dict(zip(plan.members, entries, strict=True))


def _plan(entries: Mapping[int, _Entry]) -> Plan:
    members = sorted(entries)
    sources, hparams, changes = zip(*(entries[member] for member in members), strict=True)
    return Plan(tuple(members), sources, hparams, changes)
