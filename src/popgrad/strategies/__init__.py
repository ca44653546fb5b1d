"""Strategies: one file, one paper, one factory of a `Strategy`.

A strategy of your own is made of the same parts: `generation` with a selection rule such as
`truncation` and an exploration rule such as `perturb`.
"""

from collections.abc import Callable
from typing import Literal

from popgrad.core.exploit import truncation
from popgrad.core.explore import perturb
from popgrad.core.generation import generation
from popgrad.strategies.base import Memory, Strategy
from popgrad.strategies.pbt import pbt
from popgrad.strategies.random_search import random_search
from popgrad.strategies.schedule import schedule

__all__ = [
    "STRATEGIES",
    "Memory",
    "Strategy",
    "StrategyName",
    "generation",
    "pbt",
    "perturb",
    "random_search",
    "schedule",
    "truncation",
]

StrategyName = Literal["pbt", "random-search", "schedule"]
"""Names of the strategies, as type checkers and editors know them."""

STRATEGIES: dict[str, Callable[..., Strategy]] = {
    "pbt": pbt,
    "random-search": random_search,
    "schedule": schedule,
}
"""Factories of strategies, (space, **settings) -> Strategy, by their name in a configuration."""
