"""What every rule to explore keeps. A new one is one line in RULES, and inherits all of these tests."""

import json
import math
from functools import partial

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from popgrad.core.explore import mutate, neighbour, perturb, resample
from popgrad.core.generation import generation
from popgrad.core.population import Population
from popgrad.core.seeding import Rng
from popgrad.core.space import (
    Choice,
    Constant,
    Integer,
    LogUniform,
    OneMinus,
    Ordinal,
    Space,
    Uniform,
)
from popgrad.strategies import truncation

FACTORS = (0.8, 1.25)
MOVING = {
    "perturb": partial(perturb, factors=FACTORS),
    "perturb by name": partial(perturb, factors={"lr": [0.5, 2.0], "default": [0.8, 1.25]}),
    "neighbour": neighbour,
    "neighbour, large": partial(neighbour, step=0.3),
    "mutate all": partial(mutate, rate=1.0),
}
"""Rules that move every live hyperparameter."""

RULES = {
    **MOVING,
    "perturb or resample": partial(perturb, factors=FACTORS, resample_probability=0.25),
    "resample": resample,
    "resample some": partial(resample, probability=0.5),
    "mutate": mutate,
    "mutate, wide": partial(mutate, rate=0.25, high=2.0),
}
SPACE = Space(
    {
        "lr": LogUniform(1e-6, 10.0, start=(1e-3, 0.1)),
        "width": Integer(1, 64, init_only=True),
        "momentum": OneMinus(0.5, 0.999),
        "beta": Constant(0.9),
        "layers": Integer(1, 9),
        "units": Integer(1, 512, log=True),
        "act": Choice(("relu", "elu", "tanh")),
        "batch": Ordinal((16, 32, 64, 128, 256)),
        "decay": Uniform(0.0, 1.0),
    }
)
DONOR = {
    "lr": 0.01, "width": 8, "momentum": 0.9, "beta": 0.9, "layers": 5, "units": 40, "act": "elu", "batch": 64,
    "decay": 0.5,
}  # fmt: skip
LIVE = ["lr", "momentum", "layers", "units", "act", "batch", "decay"]
NUMBERS = Space({"a": LogUniform(1e-9, 1e9), "b": OneMinus(-1e9, 1 - 1e-9)})
MIDDLE = {"a": 1.0, "b": 0.9}

of_every_rule = pytest.mark.parametrize("rule", RULES.values(), ids=RULES)
of_every_moving_rule = pytest.mark.parametrize("rule", MOVING.values(), ids=MOVING)


def rng(seed=0):
    return np.random.default_rng(seed)


@of_every_rule
def test_it_is_a_part_of_a_generation_and_explores_heirs_alone(rule):
    population = Population(
        np.arange(8.0), np.full(8, 2), np.full(8, 20), [dict(DONOR) for _ in range(8)]
    )
    plan = generation(
        Rng(0),
        population,
        np.arange(8),
        exploit=partial(truncation, fraction=0.25),
        explore=partial(rule, space=SPACE),
    )
    for member, source, hparams, changes in zip(
        plan.members, plan.sources, plan.hparams, plan.changes, strict=True
    ):
        assert (source == member) == (member >= 2)
        assert SPACE.check(hparams) == hparams
        assert list(hparams) == list(changes) == list(SPACE)
        if member >= 2:
            assert hparams == DONOR
            assert set(changes.values()) == {"kept"}
    assert json.loads(json.dumps(plan.hparams)) == list(plan.hparams)
    assert json.loads(json.dumps(plan.changes)) == list(plan.changes)


@of_every_rule
def test_a_hundred_thousand_mutations_stay_in_bounds_and_keep_their_types(rule):
    draws = rng(1)
    hparams = DONOR
    seen = {name: set() for name in SPACE}
    for _ in range(100_000 // len(LIVE) // 2):
        hparams, changes = rule(draws, hparams, SPACE)
        for name, value in hparams.items():
            seen[name].add((type(value), value))
        assert {type(change) for change in changes.values()} <= {float, str}

    for name, values in seen.items():
        for kind, value in values:
            assert type(SPACE[name].check(value)) is kind
            assert SPACE[name].check(value) == value
    assert all(len(seen[name]) > 2 for name in LIVE)
    assert len(seen["width"]) == len(seen["beta"]) == 1


@of_every_moving_rule
def test_every_live_hyperparameter_moves_and_the_others_are_inherited(rule):
    draws = rng(2)
    hparams = DONOR
    for _ in range(500):
        before = hparams
        hparams, changes = rule(draws, before, SPACE)
        assert {name for name in SPACE if hparams[name] != before[name]} == set(LIVE)
        assert {name for name in SPACE if changes[name] == "inherited"} == {"width", "beta"}


@of_every_rule
def test_an_unchanged_value_has_a_word_that_states_it(rule):
    draws = rng(3)
    for _ in range(500):
        hparams, changes = rule(draws, DONOR, SPACE)
        for name, change in changes.items():
            if change == "inherited":
                assert hparams[name] == DONOR[name]


@of_every_rule
def test_the_donor_is_left_as_it_was(rule):
    donor = dict(DONOR)
    rule(rng(), donor, SPACE)
    assert donor == DONOR


@of_every_rule
def test_two_hyperparameters_are_moved_by_draws_of_their_own(rule):
    """One key for all draws, a fault of another library, gives correlations of 1 here."""
    draws = rng(4)
    moves = np.array(
        [SPACE.encode(rule(draws, DONOR, SPACE)[0]) - SPACE.encode(DONOR) for _ in range(5_000)]
    )
    live = moves[:, [list(SPACE).index(name) for name in LIVE]]
    # Sizes as well as directions; a rule whose moves are all of one size has none to compare.
    sizes = np.abs(live)
    for columns in (live, sizes[:, sizes.std(0) > 1e-3]):
        if columns.shape[1] > 1:
            correlation = np.corrcoef(columns, rowvar=False)
            # 4.6 standard deviations of the correlation of 5,000 independent pairs.
            assert np.abs(correlation - np.eye(len(correlation))).max() < 0.065


@of_every_rule
def test_another_value_of_one_hyperparameter_leaves_the_draws_of_the_others(rule):
    for seed in range(50):
        one, _ = rule(rng(seed), DONOR, SPACE)
        other, _ = rule(rng(seed), {**DONOR, "lr": 1e-6, "act": "relu", "layers": 9}, SPACE)
        same = ("momentum", "units", "batch", "decay")
        assert [one[name] for name in same] == [other[name] for name in same]


@pytest.mark.parametrize("name", ["perturb", "perturb by name", "mutate all", "neighbour"])
def test_far_from_the_bounds_values_do_not_drift(name):
    draws = rng(5)
    rule = MOVING[name]
    heirs = [rule(draws, MIDDLE, NUMBERS)[0] for _ in range(30_000)]
    moves = np.array([NUMBERS.encode(heir) for heir in heirs]) - NUMBERS.encode(MIDDLE)
    logs = moves * math.log(1e18)  # both ranges span as much
    errors = logs.std(0) / math.sqrt(len(logs))
    assert np.abs(logs.mean(0)).max() < max(0.01, 4 * errors.max())
    assert errors.min() > 0


@of_every_moving_rule
@given(low=st.integers(-60, 60), width=st.integers(1, 200), data=st.data())
@settings(max_examples=60)
def test_an_integer_is_always_able_to_move(rule, low, width, data):
    each = Integer(low, low + width, log=low > 0 and data.draw(st.booleans()))
    value = data.draw(st.integers(each.low, each.high))
    new = rule(rng(data.draw(st.integers(0, 99))), {"n": value}, Space({"n": each}))[0]["n"]
    assert type(new) is int
    assert new != value
    assert each.low <= new <= each.high
