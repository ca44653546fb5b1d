"""PB2 with categories: a bandit draws them, and the model knows them."""

import numpy as np
import pytest

from popgrad.core.errors import UsageError
from popgrad.core.population import Budget, Population
from popgrad.core.seeding import Rng
from popgrad.core.space import Choice, Space, Uniform
from popgrad.strategies import pb2, pb2_mix
from strategies.additive_task import Additive, history_of

SPACE = Space({"act": Choice(("relu", "elu", "tanh")), "x": Uniform(0.0, 1.0)})
ACTS = Space({"act": Choice(("relu", "elu", "tanh"))})


def gain(hparams):
    """The best x depends on the category: 0.9 for relu, 0.1 for the others. Relu is worth the most."""
    best = 0.9 if hparams["act"] == "relu" else 0.1
    return 2.0 * (hparams["act"] == "relu") - abs(hparams["x"] - best)


def population_of(rounds=8, size=9, seed=0):
    rng = np.random.default_rng(seed)
    rows = [
        {"member": m, "interval": t, "hparams": SPACE.sample(rng), "start": 0.0, "score": 0.0}
        | {"first": 10 * t, "last": 10 * t + 10}
        for t in range(rounds)
        for m in range(size)
    ]
    for row in rows:
        row["score"] = gain(row["hparams"])
    history = history_of(SPACE, rows)
    return Population(
        scores=np.array([row["score"] for row in rows[-size:]]),
        intervals=np.full(size, rounds),
        steps=np.full(size, 10 * rounds),
        hparams=[row["hparams"] for row in rows[-size:]],
        budget=Budget(size * 40, size * rounds),
        past=lambda: history,
    )


def drawn(population, seeds, **settings):
    """The hyperparameters of all heirs over several seeds."""
    strategy = pb2_mix(SPACE, **settings)
    found = []
    for seed in seeds:
        plan, _ = strategy.step(Rng(seed), population, np.arange(len(population)), {})
        for member, source, hparams in zip(plan.members, plan.sources, plan.hparams, strict=True):
            if member != source:
                found.append(hparams)
    return found


@pytest.mark.parametrize("size", [4, 8])
def test_the_best_of_three_categories_has_most_of_the_members_in_the_end(size):
    worth = {"relu": 0.0, "elu": 0.5, "tanh": 0.1}
    shares = []
    for seed in range(3):
        run = Additive(
            ACTS,
            pb2_mix(ACTS),
            lambda t, h, rng: worth[h["act"]] + 0.2 * rng.normal(),
            size=size,
            rounds=60,
        ).run(seed)
        shares.append(
            np.mean([h["act"] == "elu" for present in run.hparams[-15:] for h in present])
        )
    assert np.mean(shares) > 0.6


@pytest.mark.parametrize("categories", ["mix", "mult"])
def test_the_numbers_are_those_that_gain_with_the_category(categories):
    found = drawn(population_of(), range(2), categories=categories)
    relu = [h["x"] for h in found if h["act"] == "relu"]
    assert relu
    assert np.mean(relu) > 0.7
    assert all(abs(h["x"] - 0.1) < 0.35 for h in found if h["act"] != "relu")


def test_the_bandit_prefers_what_gained():
    found = drawn(population_of(), range(4))
    assert np.mean([h["act"] == "relu" for h in found]) > 0.6


def test_categories_at_random_are_those_of_pb2():
    population, ready = population_of(), np.arange(9)
    mine = pb2_mix(SPACE, categories="random").step(Rng(3), population, ready, {})
    assert mine == pb2(SPACE).step(Rng(3), population, ready, {})


def test_a_space_without_categories_is_that_of_pb2():
    def worth(t, h, _):
        return -abs(h["x"] - 0.3)

    line = Space({"x": Uniform(0.0, 1.0)})
    runs = [
        Additive(line, strategy(line), worth, rounds=6).run(0).hparams
        for strategy in (pb2, pb2_mix)
    ]
    assert runs[0] == runs[1]


@pytest.mark.parametrize("categories", ["mix", "mult", "random"])
def test_plans_are_in_the_space_with_and_without_data(categories):
    for rounds in (1, 8):
        for hparams in drawn(population_of(rounds), [0], categories=categories):
            assert SPACE.check(hparams) == hparams
    blank = population_of()
    blank = Population(blank.scores, blank.intervals, blank.steps, blank.hparams)
    plan, _ = pb2_mix(SPACE, categories=categories).step(Rng(0), blank, np.arange(9), {})
    changed = [c for c in plan.changes if set(c.values()) != {"kept"}]
    word = "resampled" if categories == "random" else "modelled"
    assert changed == [{"act": word, "x": "resampled"}] * 3


def test_other_uses_of_categories_are_refused():
    with pytest.raises(
        UsageError, match="categories: expected 'mix' or 'mult' or 'random', got 'no'"
    ):
        pb2_mix(SPACE, categories="no")
