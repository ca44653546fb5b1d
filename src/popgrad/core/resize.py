"""Changes of the population's size: new members for a strategy, and its plan for the new size.

Members are slots 0..N-1 before a change and 0..M-1 after it. A change is part of one plan; the
sources in it are members before the change.
"""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import replace
from typing import Any

import numpy as np

from popgrad.core.plan import Entry, Plan, entries, plan_of
from popgrad.core.population import Hparams, Population
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
    completed = list(intervals)
    newest = enumerate(completed, start=len(population))

    # A column that is not known stays so.
    unscored = [np.array([np.nan])] * new
    columns: dict[str, list[Any]] = {
        "segments": [(member, count - 1) for member, count in newest],
        "metrics": [{}] * new,
        "samples": unscored,
        "curves": unscored,
        "roles": [""] * new,
    }
    longer: dict[str, Any] = {
        name: [*getattr(population, name), *column]
        for name, column in columns.items()
        if len(getattr(population, name))
    }

    return replace(
        population,
        scores=np.concatenate([population.scores, np.full(new, np.nan)]),
        intervals=np.concatenate([population.intervals, np.array(completed, np.int64)]),
        steps=np.concatenate([population.steps, np.zeros(new, np.int64)]),
        hparams=[*population.hparams, *hparams],
        **longer,
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
    by_member = entries(plan)
    for member, fresh in enumerate(hparams, start=before):
        if member not in by_member or by_member[member].source == member:
            by_member[member] = Entry(member, fresh, dict.fromkeys(fresh, "sampled"))
    return _ordered(by_member, plan)


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
    by_member = entries(plan)
    moved = {member if member < size else next(free): by_member[member] for member in staying}
    return _ordered(moved, plan)


def _ordered(by_member: Mapping[int, Entry], plan: Plan) -> Plan:
    """Return a plan of entries in the order of the members, which keeps what `plan` keeps."""
    return plan_of({member: by_member[member] for member in sorted(by_member)}, plan.keep)
