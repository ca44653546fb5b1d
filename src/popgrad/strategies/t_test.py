"""T-test selection: Jaderberg et al. 2017, arXiv 1711.09846, section 4.1.1."""

from collections.abc import Mapping, Sequence

import numpy as np

from popgrad.core.errors import UsageError
from popgrad.core.exploit import check_survivors
from popgrad.core.explore import FACTORS, perturbation
from popgrad.core.generation import generation
from popgrad.core.plan import Plan
from popgrad.core.population import Population
from popgrad.core.ranking import draw_other
from popgrad.core.seeding import Floats, Index, Rng
from popgrad.core.settings import check_between
from popgrad.core.space import Space
from popgrad.strategies.base import Memory, Strategy


def t_test(
    space: Space,
    *,
    alpha: float = 0.05,
    factors: Sequence[float] | Mapping[str, Sequence[float]] = FACTORS,
    resample_probability: float = 0.0,
) -> Strategy:
    """Let each member draw another one, and continue from it if it is significantly better.

    Welch's t-test (1947), one-sided: the drawn member's mean score has to be higher than noise
    explains, given the samples that each score is the mean of. The paper compares the last ten
    episodic rewards; it gives no level, 0.05 is the usual one. With ten samples each, a member that
    is no better replaces another one in 5 % of the comparisons, one that is better by a standard
    deviation in 69 %.

    A task gives samples by returning a list for the metric that ranks: `{"reward": [1.0, 3.5, 2.0]}`.
    A failed member is replaced without a test.

    Args:
        space: Space of the hyperparameters.
        alpha: Level of the test in [0, 1]: share of copies among comparisons of equal members.
        factors: Factors of a hyperparameter; one is drawn for each. Or a table of factors by name,
            with those of all others under "default".
        resample_probability: Probability in [0, 1] that a hyperparameter is resampled instead.

    Raises:
        UsageError: An argument is not in its range; or, at a decision, a score has fewer than two
            samples, so that there is nothing to test.

    Example:
        >>> import popgrad
        >>> space = popgrad.Space({"lr": popgrad.LogUniform(1e-4, 1.0)})
        >>> population = popgrad.Population(
        ...     scores=np.array([0.9, 0.2]),
        ...     intervals=np.array([1, 1]),
        ...     steps=np.array([100, 100]),
        ...     hparams=[{"lr": 0.1}, {"lr": 0.5}],
        ...     samples=[np.array([0.8, 0.9, 1.0]), np.array([0.1, 0.2, 0.3])],
        ... )
        >>> strategy = t_test(space, factors=[0.5])
        >>> plan, memory = strategy.step(Rng(seed=0), population, np.arange(2), strategy.init())
        >>> plan.sources, plan.hparams
        ((0, 0), ({'lr': 0.1}, {'lr': 0.05}))
    """
    alpha = check_between("alpha", alpha, 0, 1)
    explore = perturbation(space, factors, resample_probability)

    def exploit(rng: Rng, population: Population, ready: Index) -> Index:
        check_survivors(population, ready)
        living = np.isfinite(population.scores)
        others = draw_other(rng, "opponent", population, ready, np.flatnonzero(living))

        # A failed member has nothing to test, and takes what it has drawn.
        sources = np.where(living[ready], ready, others)
        tested = np.flatnonzero(living[ready] & (others != ready))
        own = [_samples(population, member) for member in ready[tested].tolist()]
        drawn = [_samples(population, member) for member in others[tested].tolist()]
        better = tested[welch_p(own, drawn) < alpha]
        sources[better] = others[better]
        return sources

    def step(rng: Rng, population: Population, ready: Index, memory: Memory) -> tuple[Plan, Memory]:
        return generation(rng, population, ready, exploit=exploit, explore=explore), memory

    return Strategy(init=dict, step=step)


def welch_p(lower: Sequence[Floats], higher: Sequence[Floats]) -> Floats:
    """Return p values of Welch's t-test that the second mean of each pair is the higher one.

    Args:
        lower: [T] samples of the first of each pair, each [n] with n at least 2.
        higher: [T] samples of the second.

    Returns:
        [T] probabilities, under equal means, of a difference as large as the one seen. Without any
        spread in a pair: 0 if the second mean is higher, else 1.

    Example:
        >>> p = welch_p([np.array([1.0, 2.0, 3.0])], [np.array([2.0, 3.0, 4.0])])
        >>> p.round(4)
        array([0.1439])
    """
    # SciPy takes its time to load, and only this strategy needs it at a decision.
    from scipy.special import stdtr

    counts = np.array([[len(samples) for samples in group] for group in (lower, higher)], float)
    means = np.array([[samples.mean() for samples in group] for group in (lower, higher)])
    spreads = np.array([[samples.var(ddof=1) for samples in group] for group in (lower, higher)])
    difference = means[1] - means[0]

    squares = spreads / counts
    total = squares.sum(axis=0)
    certain = np.where(difference > 0, 0.0, 1.0)
    # Welch and Satterthwaite's degrees of freedom.
    with np.errstate(divide="ignore", invalid="ignore"):
        freedom = total**2 / (squares**2 / (counts - 1)).sum(axis=0)
        p = stdtr(freedom, -difference / np.sqrt(total))
    return np.where(total > 0, p, certain)


def _samples(population: Population, member: int) -> Floats:
    """Return the samples of a member's score, at least two."""
    samples = population.samples[member] if population.samples else population.scores[[member]]
    if len(samples) < 2:
        raise UsageError(
            f"strategy t-test: expected two samples or more of each score, but member {member} has one "
            "number; let the task evaluate the metric that ranks several times and return the list of "
            'its values, such as {"reward": [1.0, 3.5, 2.0]}, or use the strategy "pbt" or "tournament", '
            "which need one number"
        )
    return samples
