"""Population Based Training in about 100 lines, to be read and to be run: `python -m popgrad.mini`.

Jaderberg et al. 2017 (arXiv 1711.09846), Algorithm 1, on the toy of figure 2. It makes the
library's decisions without failures, files or processes. It imports nothing else of popgrad, and a
test compares it with the library, number by number.
"""

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from functools import partial

import numpy as np

Pair = tuple[float, float]
Streams = Callable[[str, int, int], np.random.Generator]
"""(purpose, member, completed intervals) -> a fresh generator, so that no draw depends on another."""


@dataclass(frozen=True)
class Member:
    """One member of the population.

    Attributes:
        theta: Weights.
        h: Hyperparameters of the training, each in [0, 1].
        source: Member that it continued from; itself = it kept its weights.
        score: Score, higher is better, at most 1.2; nan = not evaluated yet.
    """

    theta: Pair
    h: Pair
    source: int
    score: float = math.nan


def train(member: Member, steps: int, lr: float) -> Member:
    """Climb the surrogate 1.2 - (h0 a^2 + h1 b^2): a member knows nothing else of its score."""
    a, b = member.theta
    for _ in range(steps):
        a, b = a - lr * 2.0 * member.h[0] * a, b - lr * 2.0 * member.h[1] * b
    return replace(member, theta=(a, b))


def evaluate(member: Member) -> Member:
    """Score by 1.2 - (a^2 + b^2), which no member may differentiate."""
    a, b = member.theta
    return replace(member, score=1.2 - (a * a + b * b))


def exploit(
    streams: Streams, population: Sequence[Member], done: int, fraction: float
) -> list[int]:
    """Select by truncation: the worst `fraction` continue from the best, the others from themselves.

    Returns an index vector and copies nothing. Equal scores are ranked at random: the toy starts
    with them.
    """
    size = len(population)
    # In floats 0.07 * 100 is a little above 7, and must not round up to 8.
    rounded_up = math.ceil(fraction * size - 1e-9)
    count = min(rounded_up, size // 2)

    ties = [streams("ties", i, done).random() for i in range(size)]
    order = sorted(range(size), key=lambda i: (population[i].score, ties[i]))  # worst first
    worst = order[:count]
    best = order[count:][-max(count, 1) :]
    draws = {i: streams("donor", i, done).random() for i in worst}
    return [best[int(draws[i] * len(best))] if i in draws else i for i in range(size)]


def explore(rng: np.random.Generator, h: Pair, factors: Sequence[float], resample: float) -> Pair:
    """Perturb each hyperparameter by a factor or, with probability `resample`, draw it again."""

    def explored(x: float) -> float:
        if rng.random() < resample:
            return float(rng.random())
        factor = factors[int(rng.integers(len(factors)))]
        for f in (factor, 1 / factor):  # the inverse if a bound is in the way
            # Zero times anything is zero: near it a value moves as a hundredth of the range would.
            moved = min(max(x * f if x >= 0.01 else x + (f - 1) * 0.01, 0.0), 1.0)
            if moved != x:
                return moved
        return x

    return explored(h[0]), explored(h[1])


def pbt(
    streams: Streams,
    *,
    size: int = 10,
    intervals: int = 50,
    steps: int = 4,
    lr: float = 0.01,
    fraction: float = 0.2,
    factors: Sequence[float] = (0.8, 1.25),
    resample: float = 0.25,
    first: Sequence[Pair] = (),
) -> list[list[Member]]:
    """Train a population: all train and are scored, then the worst copy the best and explore.

    Args:
        streams: The only source of randomness.
        size: Members, at least 2.
        intervals: Intervals to train; a decision follows each but the last.
        steps: Steps of gradient ascent in an interval.
        lr: Step size.
        fraction: Share of members to replace, in [0, 0.5].
        factors: Factors of a hyperparameter; one is drawn for each.
        resample: Probability in [0, 1] that it is drawn again instead.
        first: Hyperparameters of the first members; those of the others are drawn.

    Returns:
        Population at the end of each interval.

    Example:
        >>> history = pbt(partial(seeded, 0), size=2, intervals=20, fraction=0.5)
        >>> len(history), max(member.score for member in history[-1]) > 0.3
        (20, True)
    """
    drawn = [(rng.random(), rng.random()) for rng in (streams("sample", i, 0) for i in range(size))]
    population = [Member((0.9, 0.9), h, i) for i, h in enumerate([*first, *drawn[len(first) :]])]
    history = []

    for done in range(1, intervals + 1):
        population = [evaluate(train(member, steps, lr)) for member in population]
        history.append(population)

        # All copies are made at once, from the population as it was.
        sources = exploit(streams, population, done, fraction)
        population = [replace(population[source], source=source) for source in sources]
        for i, heir in enumerate(population):
            if heir.source != i:
                h = explore(streams("explore", i, done), heir.h, factors, resample)
                population[i] = replace(heir, h=h)

    return history


def seeded(seed: int, purpose: str, member: int, done: int) -> np.random.Generator:
    """Return a generator for one purpose, member and interval."""
    return np.random.default_rng([seed, *purpose.encode(), member, done])


if __name__ == "__main__":
    corners = ((1.0, 0.0), (0.0, 1.0))
    alone = pbt(partial(seeded, 0), size=2, fraction=0.0, first=corners)
    together = pbt(partial(seeded, 0), size=2, fraction=0.5, resample=1.0, first=corners)
    for name, run in (("each on its own", alone), ("as a population", together)):
        print(f"{name}: {max(member.score for member in run[-1]):.4f} of 1.2")
