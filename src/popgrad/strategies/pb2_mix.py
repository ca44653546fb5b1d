"""PB2 with categories: Parker-Holder et al. 2021, arXiv 2106.15883."""

from typing import Literal

import numpy as np

from popgrad.core.population import Population
from popgrad.core.seeding import Floats, Index, Rng
from popgrad.core.settings import check_option
from popgrad.core.space import Choice, Space
from popgrad.strategies.bandit import Rates, draw_plays, probabilities
from popgrad.strategies.base import Strategy
from popgrad.strategies.improvements import Improvements, to_rewards
from popgrad.strategies.pb2 import bandits, category_names, pb2
from popgrad.strategies.pb2_model import Picks

_CATEGORIES = ("mix", "mult", "random")


def pb2_mix(
    space: Space,
    *,
    fraction: float = 0.25,
    window: int = 1000,
    categories: Literal["mix", "mult", "random"] = "mix",
) -> Strategy:
    """Choose the categories of heirs by a bandit, then their numbers by a model that has them.

    First a bandit for each category draws its option (`popgrad.strategies.bandit`: TV.EXP3.M), with
    the change of the score per step as the reward. Then the model of `pb2` chooses the numbers,
    given the options. A space without categories is that of `pb2`.

    Args:
        space: Space of the hyperparameters.
        fraction: Share replaced, and share that donates, in [0, 0.5]. The paper's is 0.25.
        window: Newest segments that the bandits and the model learn from, at least 2.
        categories: Use of the categories: "mix" (PB2-Mix), the kernel compares them, so segments
            with other options count less; "mult" (PB2-Mult), a model for each combination of
            options, of its own segments alone; "random" (PB2-Rand), no bandit, and `pb2` with
            uniform options.

    Raises:
        UsageError: An argument is not in its range; the message starts with its name.

    Example:
        >>> import popgrad
        >>> space = popgrad.Space({"activation": popgrad.Choice(("relu", "tanh"))})
        >>> population = popgrad.Population(
        ...     scores=np.array([0.9, 0.2]),
        ...     intervals=np.array([1, 1]),
        ...     steps=np.array([100, 100]),
        ...     hparams=[{"activation": "relu"}, {"activation": "tanh"}],
        ... )
        >>> strategy = pb2_mix(space)
        >>> plan, memory = strategy.step(Rng(seed=0), population, np.arange(2), strategy.init())
        >>> plan.sources, plan.changes[1]
        ((0, 0), {'activation': 'modelled'})
    """
    check_option("categories", categories, _CATEGORIES)
    if categories == "random":
        return pb2(space, fraction=fraction, window=window)

    def pick(rng: Rng, population: Population, heirs: Index, rows: Improvements) -> list[Picks]:
        first = int(heirs[0])
        picks: list[Picks] = [{} for _ in heirs]
        for name in category_names(space):
            options = _options(space, name)
            shares = _probabilities(space, name, population, rows)
            generator = rng.generator(f"category {name}", first, int(population.intervals[first]))
            plays = draw_plays(generator, shares, len(heirs)).tolist()
            picks = [
                {**pick, name: (options[play], "modelled")}
                for pick, play in zip(picks, plays, strict=True)
            ]
        return picks

    return bandits(space, pick, fraction=fraction, window=window, categories=categories)


def _options(space: Space, name: str) -> tuple[float | int | str | bool, ...]:
    dimension = space[name]
    assert isinstance(dimension, Choice)
    return dimension.options


def _probabilities(space: Space, name: str, population: Population, rows: Improvements) -> Floats:
    """Return the probabilities of a category's options."""
    options = _options(space, name)
    members = len(population)
    # A run that states no budget is taken to end now.
    rounds = population.budget.total // members or int(population.intervals.max(initial=1))
    rates = Rates.of_run(len(options), members, max(1, rounds))

    column = list(space).index(name)
    played = np.rint(rows.positions[:, column] * (len(options) - 1)).astype(np.int64)
    return probabilities(rows.intervals, played, to_rewards(rows.rates), len(options), rates)
