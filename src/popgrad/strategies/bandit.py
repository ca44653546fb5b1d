"""A bandit over categories whose rewards drift, played by several members at once: TV.EXP3.M.

Parker-Holder et al. 2021 (arXiv 2106.15883), after Exp3.M (Uchiya et al. 2010) and Exp3.S (Auer et
al. 2002). Three differences, with their reasons in docs/decisions/0031-pb2-differs-from-its-codes.md:
members may play the same category, so that no probability has to be capped; a category counts once a
round, by the mean of its plays against the mean of the round, divided by the probability that any
member plays it; and what is shared between the weights is added to them alone.

In the shape descriptions n is the number of plays, C of categories.
"""

import math
from dataclasses import dataclass

import numpy as np

from popgrad.core.seeding import Floats, Index


@dataclass(frozen=True)
class Rates:
    """Numbers of a bandit, from the sizes of a run.

    Attributes:
        uniform: Share of the probabilities that is uniform, in [0, 1].
        shared: Share of the weights that moves to all of them each round, in [0, 1): old rewards
            fade.
    """

    uniform: float
    shared: float

    @classmethod
    def of_run(cls, categories: int, members: int, rounds: int) -> "Rates":
        """Return the published rates.

        Args:
            categories: C.
            members: Plays each round.
            rounds: Rounds of the run, at least 1.

        Example:
            >>> Rates.of_run(categories=3, members=8, rounds=40).uniform
            0.2
        """
        uniform = 0.2
        if members < categories:
            spread = categories * math.log(categories / members)
            uniform = min(1.0, math.sqrt(spread / ((math.e - 1) * members * rounds)))
        return cls(uniform, math.e / (10 * rounds))


def probabilities(
    rounds: Index, categories: Index, rewards: Floats, count: int, rates: Rates
) -> Floats:
    """Return [C] probabilities of the next play, by replaying all rounds.

    Args:
        rounds: [n] round of each play, in ascending order.
        categories: [n] its category.
        rewards: [n] its reward, in [0, 1].
        count: C.
        rates: Rates of the bandit.

    Example:
        >>> rounds = np.repeat(np.arange(20), 2)
        >>> categories = np.tile([0, 1], 20)
        >>> rewards = np.tile([0.2, 0.8], 20)
        >>> probabilities(rounds, categories, rewards, 2, Rates.of_run(2, 2, 20)).round(1)
        array([0.1, 0.9])
    """
    weights = np.full(count, 1 / count)
    starts = np.flatnonzero(np.diff(rounds)) + 1

    for played, gained in zip(np.split(categories, starts), np.split(rewards, starts), strict=True):
        if not len(played):
            continue
        members = len(played)
        plays = np.bincount(played, minlength=count)
        means = np.bincount(played, gained, count) / np.maximum(plays, 1)

        # A category that no member played neither gains nor loses. One that all members played does
        # not either: whether it is better than others is not known.
        present = 1 - (1 - _spread(weights, rates)) ** members
        gains = np.where(plays > 0, means - gained.mean(), 0.0) / present
        logs = rates.uniform * members / count * gains
        weights = weights * np.exp(logs - logs.max())
        weights = (1 - rates.shared) * weights / weights.sum() + rates.shared / count
    return _spread(weights, rates)


def _spread(weights: Floats, rates: Rates) -> Floats:
    shares: Floats = weights / weights.sum()
    return (1 - rates.uniform) * shares + rates.uniform / len(weights)


def draw_plays(rng: np.random.Generator, shares: Floats, count: int) -> Index:
    """Draw the categories of several members, each as often as its probability asks for.

    A category with probability p is drawn floor(p count) times, and once more with the probability
    that is left: dependent rounding, DepRound of Gandhi et al. 2006. So the number of its plays has
    mean p count and differs from it by less than 1.

    Args:
        rng: Generator to draw from; it is consumed.
        shares: [C] probabilities, of sum 1.
        count: Number of members.

    Returns:
        [count] categories, in random order.

    Example:
        >>> shares = np.array([0.5, 0.25, 0.25])
        >>> sorted(draw_plays(np.random.default_rng(0), shares, 4).tolist())
        [0, 0, 1, 2]
    """
    expected = shares * count
    certain = np.floor(expected + 1e-9)
    left = np.clip(expected - certain, 0.0, 1.0)
    plays = certain.astype(np.int64) + round_dependently(rng, left)

    # Rounding errors of the sums may leave one play too many or too few.
    while plays.sum() != count:
        step = 1 if plays.sum() < count else -1
        plays[np.argmax(step * (expected - plays))] += step
    return rng.permutation(np.repeat(np.arange(len(plays)), plays))


def round_dependently(rng: np.random.Generator, shares: Floats) -> Index:
    """Round each share to 0 or 1, with its value as the probability of 1, and keep the sum.

    Args:
        rng: Generator to draw from; it is consumed.
        shares: [C] numbers in [0, 1]; a sum that is no integer is rounded up or down.

    Example:
        >>> int(round_dependently(np.random.default_rng(0), np.array([0.5, 0.75, 0.75])).sum())
        2
    """
    open_shares = shares.astype(np.float64).copy()
    waiting = [i for i in range(len(shares)) if 1e-9 < open_shares[i] < 1 - 1e-9]

    while len(waiting) > 1:
        one, other = waiting[-2:]
        # Mass moves between the two until one of them is 0 or 1, without a change of their means.
        up = min(1 - open_shares[one], open_shares[other])
        down = min(open_shares[one], 1 - open_shares[other])
        moved = up if rng.random() < down / (up + down) else -down
        open_shares[one] += moved
        open_shares[other] -= moved
        waiting = [i for i in waiting if 1e-9 < open_shares[i] < 1 - 1e-9]

    for last in waiting:
        open_shares[last] = float(rng.random() < open_shares[last])
    return np.rint(open_shares).astype(np.int64)
