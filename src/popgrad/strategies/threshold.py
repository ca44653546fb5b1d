"""Threshold selection: DexPBT, Petrenko et al. 2023, arXiv 2305.12127, and the rule of Isaac Lab."""

import math
from collections.abc import Sequence
from typing import Literal, NamedTuple

import numpy as np
import numpy.typing as npt

from popgrad.core.exploit import check_survivors
from popgrad.core.explore import check_probability, mutate
from popgrad.core.plan import Plan
from popgrad.core.population import Changes, Hparams, Population
from popgrad.core.ranking import rank_members
from popgrad.core.seeding import Floats, Index, Rng
from popgrad.core.settings import check_between, check_factor_range, check_option
from popgrad.core.space import Space
from popgrad.strategies.base import Memory, Strategy

_Mask = npt.NDArray[np.bool_]

_TRIMMED = 0.2
"""Share of the lowest scores that the deviation of the rank rule leaves out, as the released code does."""


class _Settings(NamedTuple):
    """Settings that the two rules have different defaults of."""

    deviations: float
    own_probability: float
    rate: float
    factor_range: tuple[float, float]


_DEFAULTS = {
    "rank": _Settings(0.5, 0.5, 0.15, (1.1, 1.5)),
    "deviation": _Settings(0.1, 0.0, 0.25, (1.1, 2.0)),
}


def threshold(
    space: Space,
    *,
    rule: Literal["rank", "deviation"] = "rank",
    worst: float = 0.125,
    best: float = 0.3,
    deviations: float | None = None,
    margin: float = 0.05,
    own_probability: float | None = None,
    rate: float | None = None,
    factor_range: Sequence[float] | None = None,
) -> Strategy:
    """Replace members only if they are behind by more than the spread of the scores.

    Two rules, both of which copy nothing if all scores are equal:

    * "rank", the paper's, as in IsaacGymEnvs: a member among the worst draws one of the best. It
      continues from it if the gap is above `deviations` standard deviations (of the scores without
      the lowest fifth) and above `margin` times the donor's score; else it keeps its weights. Its
      hyperparameters mutate in both cases. A member that has been as good as one of the best within
      its last interval is left alone, and so are all until more than half of the members, and more
      than two, have a score.
    * "deviation", as in rl_games and Isaac Lab: leaders are above the mean by more than `deviations`
      standard deviations and more than `margin`, underperformers below it by as much. An
      underperformer continues from a random leader, or keeps its weights if there is none, and
      mutates.

    A failed member is replaced at any time, and takes its donor's hyperparameters.

    Args:
        space: Space of the hyperparameters.
        rule: "rank" or "deviation".
        worst: Share of the members that may be replaced by the rank rule, in [0, 1]; rounded up.
        best: Share of the members that may donate by the rank rule, in [0, 1]; rounded up.
        deviations: Standard deviations, 0 or more; None = the rule's own: 0.5 for rank, 0.1 for
            deviation.
        margin: By the rank rule, share of the donor's score that the gap has to exceed; by the
            deviation rule, least distance from the mean, in units of the score.
        own_probability: Probability in [0, 1] that an heir keeps its own hyperparameters, and mutates
            them (init-only ones always come with the weights); None = the rule's own: 0.5 for rank, 0
            for deviation.
        rate: Probability in [0, 1] that a hyperparameter mutates; None = the rule's own: 0.15 for
            rank, 0.25 for deviation.
        factor_range: Lowest and highest factor of a mutation, at least 1, inverted half of the time;
            None = the rule's own: 1.1 to 1.5 for rank, 1.1 to 2 for deviation.

    Raises:
        UsageError: An argument is not in its range; the message starts with its name.

    Example:
        >>> import popgrad
        >>> space = popgrad.Space({"lr": popgrad.LogUniform(1e-4, 1.0)})
        >>> population = popgrad.Population(
        ...     scores=np.array([0.9, 0.2, 0.8]),
        ...     intervals=np.array([1, 1, 1]),
        ...     steps=np.array([100, 100, 100]),
        ...     hparams=[{"lr": 0.1}, {"lr": 0.5}, {"lr": 0.2}],
        ... )
        >>> strategy = threshold(space)
        >>> plan, memory = strategy.step(Rng(seed=0), population, np.arange(3), strategy.init())
        >>> plan.sources
        (0, 0, 2)
    """
    check_option("rule", rule, tuple(_DEFAULTS))
    worst = check_between("worst", worst, 0, 1)
    best = check_between("best", best, 0, 1)
    margin = check_between("margin", margin, 0, math.inf)
    settings = _settings(rule, deviations, own_probability, rate, factor_range)

    def select(rng: Rng, population: Population, ready: Index) -> tuple[Index, _Mask]:
        """Return the [R] sources, and [R] whether each member mutates."""
        check_survivors(population, ready)
        if not np.isfinite(population.scores).any():
            return ready.copy(), np.full(len(ready), False)
        if rule == "rank":
            shares = worst, best
            return _by_rank(rng, population, ready, shares, settings.deviations, margin)
        return _by_deviation(rng, population, ready, settings.deviations, margin)

    def step(rng: Rng, population: Population, ready: Index, memory: Memory) -> tuple[Plan, Memory]:
        sources, mutants = select(rng, population, ready)
        hparams: list[Hparams] = []
        changes: list[Changes] = []

        for member, source, mutant in zip(ready.tolist(), sources.tolist(), mutants, strict=True):
            values = population.hparams[member]
            origins: Changes = dict.fromkeys(values, "kept")
            if mutant:
                values, origins = _mutated(rng, population, member, source, space, settings)
            hparams.append(values)
            changes.append(origins)
        members = tuple(ready.tolist())
        return Plan(members, tuple(sources.tolist()), tuple(hparams), tuple(changes)), memory

    return Strategy(init=dict, step=step)


def _by_rank(
    rng: Rng,
    population: Population,
    ready: Index,
    shares: tuple[float, float],
    deviations: float,
    margin: float,
) -> tuple[Index, _Mask]:
    """Return sources and mutants by the rank rule; `shares` are those of the worst and the best."""
    size = len(population)
    order = rank_members(rng, population)
    alive = np.isfinite(population.scores)
    scores = np.where(alive, population.scores, -np.inf)
    # 0.3 * 10 is a little above 3 in floats, and must not round up to 4.
    worst, best = (math.ceil(share * size - 1e-9) for share in shares)
    donors = order[: min(max(best, 1), int(alive.sum()))]
    drawn = donors[rng.integers("donor", ready, population.intervals[ready], len(donors))]

    # Members to compare: among the worst, and not as good as a donor at any time of their interval.
    place = np.argsort(order)[ready]
    peaks = _peaks(population)[ready]
    enough = alive.sum() > max(2, size // 2)
    considered = alive[ready] & (place >= size - worst) & (peaks < scores[donors].min()) & enough

    # The lowest scores are left out of the deviation, so that a diverged member does not stop all.
    living = np.sort(population.scores[alive])
    spread = living[math.floor(_TRIMMED * len(living) + 1e-9) :].std()
    ahead = scores[drawn] - scores[ready]
    far = (ahead > deviations * spread) & (ahead > margin * np.abs(scores[drawn]))

    failed = ~alive[ready]
    sources = np.where(failed | (considered & far), drawn, ready)
    return sources, failed | considered


def _by_deviation(
    rng: Rng, population: Population, ready: Index, deviations: float, margin: float
) -> tuple[Index, _Mask]:
    """Return sources and mutants by the deviation rule."""
    living = np.flatnonzero(np.isfinite(population.scores))
    scores = population.scores[living]
    cut = max(deviations * scores.std(), margin)
    leaders = living[scores > scores.mean() + cut]
    failed = ~np.isfinite(population.scores[ready])
    behind = ~failed & (np.where(failed, 0.0, population.scores[ready]) < scores.mean() - cut)

    # Without a leader, a failed member still needs a donor: one of the better half.
    donors = leaders if len(leaders) else living[scores >= np.median(scores)]
    drawn = donors[rng.integers("donor", ready, population.intervals[ready], len(donors))]
    copies = failed | (behind & (len(leaders) > 0))
    return np.where(copies, drawn, ready), failed | behind


def _peaks(population: Population) -> Floats:
    """Return the [N] best scores of each member within its last interval."""
    if not population.curves:
        return population.scores
    return np.array([np.max(curve, initial=-np.inf) for curve in population.curves])


def _mutated(
    rng: Rng,
    population: Population,
    member: int,
    source: int,
    space: Space,
    settings: _Settings,
) -> tuple[Hparams, Changes]:
    """Return mutated hyperparameters, those of the source or the member's own, and their origins."""
    generator = rng.generator("explore", member, int(population.intervals[member]))
    failed = not np.isfinite(population.scores[member])
    keeps = bool(generator.random() < settings.own_probability) and not failed
    own = {name for name, dim in space.items() if source == member or (keeps and not dim.init_only)}

    row = {name: population.hparams[member if name in own else source][name] for name in space}
    low, high = settings.factor_range
    values, origins = mutate(generator, row, space, rate=settings.rate, low=low, high=high)
    for name in own:
        if origins[name] == "inherited":
            origins[name] = "kept"
    return values, origins


def _settings(
    rule: str,
    deviations: float | None,
    own_probability: float | None,
    rate: float | None,
    factor_range: Sequence[float] | None,
) -> _Settings:
    """Return the given settings, checked; the rule's own where there is none."""
    own = _DEFAULTS[rule]
    deviations = own.deviations if deviations is None else deviations
    own_probability = own.own_probability if own_probability is None else own_probability
    return _Settings(
        check_between("deviations", deviations, 0, math.inf),
        check_probability("own_probability", own_probability),
        check_probability("rate", own.rate if rate is None else rate),
        check_factor_range(own.factor_range if factor_range is None else factor_range),
    )
