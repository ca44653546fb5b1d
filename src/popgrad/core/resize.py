"""A population that changes its size: what a strategy is shown of new members, and what becomes of its plan.

Members are slots 0..N-1 before a change and 0..M-1 after it. A change is part of one plan, whose sources are
members before it.
"""

from collections.abc import Iterable, Mapping, Sequence

import numpy as np

from popgrad.core.population import Changes, Hparams, Plan, Population
from popgrad.core.seeding import Floats, Rng
from popgrad.core.space import Space


def sampled(space: Space, rng: Rng, intervals: Mapping[int, int]) -> list[Hparams]:
    """What new members begin with that inherit nothing, drawn from the space as the first members' is.

    Args:
        space: What is searched.
        rng: Each draws from a stream of its own.
        intervals: The first interval of each, by member; at least 1, so that no first member has its stream.
    """
    return [
        space.sample(rng.generator("sample", member, first)) for member, first in intervals.items()
    ]


def extended(
    population: Population, hparams: Sequence[Hparams], intervals: Iterable[int]
) -> Population:
    """The population with new members behind the old ones, each shown as one that has failed.

    Args:
        population: The N members that there are.
        hparams: [M - N] of the new ones.
        intervals: [M - N] that they count as completed.
    """
    new = len(hparams)
    return Population(
        np.concatenate([population.scores, np.full(new, np.nan)]),
        np.concatenate([population.intervals, np.array(list(intervals), np.int64)]),
        np.concatenate([population.steps, np.zeros(new, np.int64)]),
        [*population.hparams, *hparams],
    )


def grown(plan: Plan, before: int, hparams: Sequence[Hparams]) -> Plan:
    """A plan for a population that has grown. A new member without a donor is its own source: it is fresh.

    Args:
        plan: For the members that there were, or for all.
        before: N, how many there were.
        hparams: [M - N] of the new members, for whom the plan does not know, or has no donor.

    Returns:
        The plan for the members 0..M-1, in order.
    """
    entries = _entries(plan)
    for member, fresh in enumerate(hparams, start=before):
        if member not in entries or entries[member][0] == member:
            entries[member] = (member, fresh, dict.fromkeys(fresh, "sampled"))
    return _plan(entries)


def shrunk(plan: Plan, scores: Floats, size: int) -> Plan:
    """A plan for the best `size` members alone; each has what the plan gives it, in a slot below `size`.

    Those whose slot is not below it move, the lowest into the lowest slot that is free. Who moves and would
    have kept its state inherits it from its old slot.

    Args:
        plan: For all N members.
        scores: [N] higher is better; not finite = failed. Equal ones: the lower member stays.
        size: M, at least 1 and below N.

    Returns:
        The plan for the members 0..M-1, in order.
    """
    ranked = np.lexsort((np.arange(len(scores)), np.where(np.isfinite(scores), -scores, np.inf)))
    staying = sorted(ranked[:size].tolist())
    free = iter(sorted(set(range(size)) - set(staying)))
    entries = _entries(plan)
    return _plan({member if member < size else next(free): entries[member] for member in staying})


_Entry = tuple[int, Hparams, Changes]


def _entries(plan: Plan) -> dict[int, _Entry]:
    each = zip(plan.sources, plan.hparams, plan.changes, strict=True)
    return dict(zip(plan.members, each, strict=True))


def _plan(entries: Mapping[int, _Entry]) -> Plan:
    members = sorted(entries)
    sources, hparams, changes = zip(*(entries[member] for member in members), strict=True)
    return Plan(tuple(members), sources, hparams, changes)
