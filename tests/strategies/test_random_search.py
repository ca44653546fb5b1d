"""Random search: nobody is ever replaced."""

import math

import numpy as np

from popgrad.core.population import Population
from popgrad.core.seeding import Rng
from popgrad.core.space import LogUniform, Space
from popgrad.strategies import random_search


def test_everyone_keeps_also_a_failed_member():
    hparams = [{"lr": 0.1}, {"lr": 0.2}, {"lr": 0.3}]
    members = Population(np.array([math.nan, -1e9, 1.0]), np.full(3, 1), np.full(3, 10), hparams)
    strategy = random_search(Space({"lr": LogUniform(1e-4, 1.0)}))
    plan, memory = strategy.step(Rng(0), members, np.arange(3), strategy.init())
    assert plan.sources == (0, 1, 2)
    assert list(plan.hparams) == hparams
    assert memory == {}
