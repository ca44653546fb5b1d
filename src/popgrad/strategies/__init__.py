"""One file = one paper = one factory of a `Strategy`."""

from collections.abc import Callable

from popgrad.strategies.base import Memory, Strategy
from popgrad.strategies.pbt import pbt
from popgrad.strategies.random_search import random_search
from popgrad.strategies.schedule import schedule

__all__ = ["STRATEGIES", "Memory", "Strategy", "pbt", "random_search", "schedule"]

STRATEGIES: dict[str, Callable[..., Strategy]] = {
    "pbt": pbt,
    "random-search": random_search,
    "schedule": schedule,
}
"""Every strategy's factory, (space, **its settings) -> Strategy, by the name that a configuration uses."""
