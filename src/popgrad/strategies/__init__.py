"""Strategies: one file, one paper, one factory of a `Strategy`.

A strategy of your own is made of the same parts: `generation` with a selection rule such as
`truncation` and an exploration rule: `perturb`, `resample`, `neighbour` or `mutate`.
"""

from collections.abc import Callable
from typing import Literal

from popgrad.core.exploit import truncation
from popgrad.core.explore import mutate, neighbour, perturb, resample
from popgrad.core.generation import generation
from popgrad.strategies.backtracking import backtracking
from popgrad.strategies.base import Memory, Strategy
from popgrad.strategies.fire import fire
from popgrad.strategies.gap import gap
from popgrad.strategies.initiator import initiator
from popgrad.strategies.ipbt import ipbt
from popgrad.strategies.mf_pbt import mf_pbt
from popgrad.strategies.mo_pbt import mo_pbt
from popgrad.strategies.pairwise import pairwise
from popgrad.strategies.pb2 import pb2
from popgrad.strategies.pb2_mix import pb2_mix
from popgrad.strategies.pbt import pbt
from popgrad.strategies.random_search import random_search
from popgrad.strategies.schedule import schedule
from popgrad.strategies.successive_halving import successive_halving
from popgrad.strategies.t_test import t_test
from popgrad.strategies.threshold import threshold
from popgrad.strategies.tournament import tournament

__all__ = [
    "STRATEGIES",
    "Memory",
    "Strategy",
    "StrategyName",
    "backtracking",
    "fire",
    "gap",
    "generation",
    "initiator",
    "ipbt",
    "mf_pbt",
    "mo_pbt",
    "mutate",
    "neighbour",
    "pairwise",
    "pb2",
    "pb2_mix",
    "pbt",
    "perturb",
    "random_search",
    "resample",
    "schedule",
    "successive_halving",
    "t_test",
    "threshold",
    "tournament",
    "truncation",
]

StrategyName = Literal[
    "pbt",
    "tournament",
    "t-test",
    "threshold",
    "gap",
    "initiator",
    "backtracking",
    "pb2",
    "pb2-mix",
    "mf-pbt",
    "fire",
    "ipbt",
    "pairwise",
    "mo-pbt",
    "successive-halving",
    "random-search",
    "schedule",
]
"""Names of the strategies, as type checkers and editors know them."""

STRATEGIES: dict[str, Callable[..., Strategy]] = {
    "pbt": pbt,
    "tournament": tournament,
    "t-test": t_test,
    "threshold": threshold,
    "gap": gap,
    "initiator": initiator,
    "backtracking": backtracking,
    "pb2": pb2,
    "pb2-mix": pb2_mix,
    "mf-pbt": mf_pbt,
    "fire": fire,
    "ipbt": ipbt,
    "pairwise": pairwise,
    "mo-pbt": mo_pbt,
    "successive-halving": successive_halving,
    "random-search": random_search,
    "schedule": schedule,
}
"""Factories of strategies, (space, **settings) -> Strategy, by their name in a configuration."""
