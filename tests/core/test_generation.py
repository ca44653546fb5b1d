"""One generation: what is decided becomes a plan, and only heirs are explored."""

import numpy as np

from popgrad.core.generation import generation
from popgrad.core.population import Population
from popgrad.core.seeding import Rng

HPARAMS = [{"lr": 0.1 * (i + 1)} for i in range(4)]
POPULATION = Population(np.arange(4.0), np.array([3, 3, 3, 5]), np.full(4, 30), HPARAMS)


def exploit(rng, population, ready):
    return np.where(ready == 0, 3, ready)


def explore(rng, hparams):
    return {"lr": hparams["lr"] * 2}, {"lr": 2.0}


def plan(ready=(0, 1, 2, 3), explore=explore, seed=0):
    return generation(Rng(seed), POPULATION, np.array(ready), exploit=exploit, explore=explore)


def test_an_heir_explores_the_donors_hyperparameters_and_the_others_keep_theirs():
    got = plan()
    assert got.members == (0, 1, 2, 3)
    assert got.sources == (3, 1, 2, 3)
    assert got.hparams == ({"lr": 0.8}, *HPARAMS[1:])
    assert got.changes == ({"lr": 2.0}, {"lr": "kept"}, {"lr": "kept"}, {"lr": "kept"})


def test_explore_is_asked_for_heirs_only():
    asked = []

    def spy(rng, hparams):
        asked.append(hparams)
        return explore(rng, hparams)

    plan(explore=spy)
    assert asked == [HPARAMS[3]]


def test_an_heirs_draws_are_its_own():
    """They follow from seed, member and its completed intervals, whoever else is ready."""

    def draw(rng, hparams):
        return {"lr": rng.random()}, {"lr": "resampled"}

    expected = Rng(7).generator("explore", 0, 3).random()
    assert plan(explore=draw, seed=7).hparams[0] == {"lr": expected}
    assert plan(ready=(2, 0), explore=draw, seed=7).hparams[1] == {"lr": expected}


def test_a_plan_speaks_of_the_ready_members_in_their_order():
    got = plan(ready=(2, 0))
    assert got.members == (2, 0)
    assert got.sources == (2, 3)
    assert plan(ready=np.array([], dtype=np.int64)).members == ()


def test_a_plan_is_made_of_plain_integers():
    assert {type(number) for number in (*plan().members, *plan().sources)} == {int}
