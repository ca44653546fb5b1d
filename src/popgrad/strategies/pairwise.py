"""Pairwise learning: GPBT-PL, Bai and Cheng 2024, arXiv 2404.08233, by the rule of PBT-CSO in EvoRL."""

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np

from popgrad.core.exploit import check_survivors
from popgrad.core.explore import check_probability, explored
from popgrad.core.plan import Plan
from popgrad.core.population import Change, Changes, Hparams, Population, Value
from popgrad.core.ranking import draw_other
from popgrad.core.seeding import Floats, Index, Rng
from popgrad.core.settings import check_between
from popgrad.core.space import Choice, Space
from popgrad.strategies.base import Memory, Strategy


class _Settings(NamedTuple):
    inertia: float
    attraction: float
    resample_probability: float


def pairwise(
    space: Space,
    *,
    inertia: float = 1.0,
    attraction: float = 1.0,
    resample_probability: float = 0.0,
) -> Strategy:
    """Pair the members at random; the loser of a pair inherits, and learns from the winner.

    Half of the members are replaced at each decision, by winners that need not be among the best,
    which keeps more of the population's variety than truncation. The loser takes the winner's
    weights. Its hyperparameters h move towards the winner's g with a velocity v of their own, as in
    a competitive swarm: v <- inertia * r1 * v + attraction * r2 * (g - h), then h <- h + v, with r1
    and r2 uniform in [0, 1] for each hyperparameter. They are positions in [0, 1] along the scale of
    their dimension, so a learning rate moves in decades, and stay in their range. A choice, which has
    no order, becomes the winner's half of the time. Members with equal scores keep what they have, and so
    does one that is left over. A failed member is always a loser.

    All members have to decide at once: it cannot be used in mode "async".

    Args:
        space: Space of the hyperparameters.
        inertia: Weight of the former velocity, 0 or more.
        attraction: Weight of the difference to the winner, 0 or more.
        resample_probability: Probability in [0, 1] that a hyperparameter is resampled instead. The
            released code of GPBT-PL has 0.25, PBT-CSO has none. Without it, values that no member has
            are seldom tried once the members have become alike.

    Raises:
        UsageError: An argument is not in its range; the message starts with its name.

    Example:
        >>> import popgrad
        >>> space = popgrad.Space({"momentum": popgrad.Uniform(0.0, 1.0)})
        >>> population = popgrad.Population(
        ...     scores=np.array([0.9, 0.2]),
        ...     intervals=np.array([1, 1]),
        ...     steps=np.array([100, 100]),
        ...     hparams=[{"momentum": 0.5}, {"momentum": 0.25}],
        ... )
        >>> strategy = pairwise(space)
        >>> plan, memory = strategy.step(Rng(seed=0), population, np.arange(2), strategy.init())
        >>> plan.sources
        (0, 0)
        >>> 0.25 < plan.hparams[1]["momentum"] < 0.5
        True
    """
    settings = _Settings(
        check_between("inertia", inertia, 0, float("inf")),
        check_between("attraction", attraction, 0, float("inf")),
        check_probability("resample_probability", resample_probability),
    )

    def step(rng: Rng, population: Population, ready: Index, memory: Memory) -> tuple[Plan, Memory]:
        check_survivors(population, ready)
        sources = _sources(rng, population, ready)
        velocities = _velocities(memory, len(population), len(space))
        hparams: list[Hparams] = []
        changes: list[Changes] = []

        for member, source in zip(ready.tolist(), sources.tolist(), strict=True):
            values = population.hparams[member]
            origins: Changes = dict.fromkeys(values, "kept")
            if source != member:
                generator = rng.generator("explore", member, int(population.intervals[member]))
                values, origins, velocities[member] = _learn(
                    generator,
                    values,
                    population.hparams[source],
                    velocities[member],
                    space,
                    settings,
                )
            hparams.append(values)
            changes.append(origins)

        members = tuple(ready.tolist())
        plan = Plan(members, tuple(sources.tolist()), tuple(hparams), tuple(changes))
        return plan, {"velocities": velocities.tolist()}

    return Strategy(init=lambda: {"velocities": []}, step=step, together=True)


def _sources(rng: Rng, population: Population, ready: Index) -> Index:
    """Return [R] sources: the winner of its pair for a loser, the member itself for all others."""
    scores = population.scores[ready]
    alive = np.isfinite(scores)
    scores = np.where(alive, scores, -np.inf)

    # Neighbours in a random order are a pair; the last of an odd number is left over.
    order = np.argsort(rng.uniform("pair", ready, population.intervals[ready]), kind="stable")
    rivals = np.arange(len(ready))
    even, odd = order[: len(order) // 2 * 2 : 2], order[1::2]
    rivals[even], rivals[odd] = odd, even
    sources = np.where(scores[rivals] > scores, ready[rivals], ready)

    # A failed member that met another one, or none, takes any living donor.
    living = np.flatnonzero(np.isfinite(population.scores))
    donors = draw_other(rng, "donor", population, ready, living)
    return np.where(~alive & (sources == ready), donors, sources)


def _velocities(memory: Memory, size: int, dimensions: int) -> Floats:
    """Return [N, D] velocities from the memory; a new member has none yet."""
    stored = memory["velocities"]
    velocities = np.zeros((size, dimensions))
    if isinstance(stored, Sequence) and len(stored):
        rows = np.array(stored, dtype=np.float64)[:size]
        velocities[: len(rows)] = rows
    return velocities


def _learn(
    rng: np.random.Generator,
    own: Hparams,
    better: Hparams,
    velocity: Floats,
    space: Space,
    settings: _Settings,
) -> tuple[dict[str, Value], dict[str, Change], Floats]:
    """Return the loser's new hyperparameters, the origin of each, and its [D] velocity after it."""
    target = space.encode(better)
    position = space.encode(own)
    inertia = settings.inertia * rng.random(len(space))
    attraction = settings.attraction * rng.random(len(space))
    moved = inertia * velocity + attraction * (target - position)
    values: dict[str, Value] = {}
    changes: dict[str, Change] = {}

    for i, (name, dimension) in enumerate(space.items()):
        resampled = rng.random() < settings.resample_probability
        imitates = rng.random() < 0.5
        if not explored(dimension):
            values[name], changes[name] = better[name], "inherited"
            moved[i] = 0.0
        elif resampled:
            values[name], changes[name] = dimension.sample(rng), "resampled"
            moved[i] = 0.0
        elif isinstance(dimension, Choice):
            values[name] = better[name] if imitates else own[name]
            changes[name] = "inherited" if imitates else "kept"
            moved[i] = 0.0
        else:
            values[name], changes[name] = dimension.decode(position[i] + moved[i]), "moved"
    return values, changes, moved
