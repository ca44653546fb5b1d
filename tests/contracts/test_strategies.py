"""What every strategy keeps. A new one is one line in STRATEGIES, and inherits all of these tests."""

import copy
import inspect
import json
import math

import numpy as np
import pytest

from popgrad.core.errors import AllMembersFailedError
from popgrad.core.population import Population
from popgrad.core.seeding import Rng
from popgrad.core.space import Choice, Integer, LogUniform, Space
from popgrad.strategies import STRATEGIES

SPACE = Space(
    {
        "lr": LogUniform(1e-4, 0.1),
        "width": Integer(1, 64, init_only=True),
        "act": Choice(("relu", "elu")),
    }
)
EVERYONE = np.arange(10)

pytestmark = pytest.mark.parametrize("name", STRATEGIES)


def population(scores=None):
    rng = np.random.default_rng(0)
    scores = rng.normal(size=10) if scores is None else np.array(scores, dtype=np.float64)
    n = len(scores)
    return Population(scores, np.full(n, 3), np.full(n, 30), [SPACE.sample(rng) for _ in range(n)])


def step(name, members, ready=EVERYONE, seed=0):
    strategy = STRATEGIES[name](SPACE)
    return strategy.step(Rng(seed), members, ready, strategy.init())


def test_the_step_names_its_arguments_alike(name):
    assert list(inspect.signature(STRATEGIES[name](SPACE).step).parameters) == [
        "rng",
        "population",
        "ready",
        "memory",
    ]


def test_the_factory_takes_the_space_and_settings_by_name_with_defaults(name):
    first, *settings = inspect.signature(STRATEGIES[name]).parameters.values()
    assert first.name == "space"
    assert all(
        each.kind is each.KEYWORD_ONLY and each.default is not each.empty for each in settings
    )


def test_memory_is_small_json(name):
    memory = STRATEGIES[name](SPACE).init()
    assert json.loads(json.dumps(memory)) == memory
    _, after = step(name, population())
    assert len(json.dumps(after)) < 10_000


def test_equal_arguments_give_equal_plans(name):
    assert step(name, population()) == step(name, population())


def test_its_arguments_are_left_as_they_were(name):
    members = population()
    for array in (members.scores, members.intervals, members.steps):
        array.flags.writeable = False
    before = copy.deepcopy(members.hparams)
    step(name, members)
    assert members.hparams == before


def test_global_random_state_is_neither_read_nor_moved(name):
    state = np.random.get_state()[1].copy()  # noqa: NPY002  # the global state is what is tested
    step(name, population())
    assert (np.random.get_state()[1] == state).all()  # noqa: NPY002


def test_a_plan_is_complete_and_in_the_space(name):
    plan, _ = step(name, population([0, 1, 2, 3, 4, 5, 6, 7, 8, math.nan]))
    assert len(plan.members) == len(plan.sources) == len(plan.hparams) == len(plan.changes) == 10
    for hparams, changes in zip(plan.hparams, plan.changes, strict=True):
        assert SPACE.check(hparams) == hparams
        assert list(changes) == list(SPACE)
    assert json.loads(json.dumps(plan.hparams)) == list(plan.hparams)
    assert json.loads(json.dumps(plan.changes)) == list(plan.changes)


def test_an_init_only_hyperparameter_travels_with_the_weights(name):
    members = population()
    plan, _ = step(name, members)
    for source, hparams in zip(plan.sources, plan.hparams, strict=True):
        assert hparams["width"] == members.hparams[source]["width"]


def test_whoever_keeps_its_weights_keeps_its_hyperparameters(name):
    members = population()
    plan, _ = step(name, members)
    for member, source, hparams, changes in zip(*vars(plan).values(), strict=True):
        if member == source:
            assert hparams == members.hparams[member]
            assert set(changes.values()) == {"kept"}


@pytest.mark.parametrize("ready", [[0], [9, 2], [3, 4, 5]])
def test_a_plan_speaks_of_the_ready_members_only(name, ready):
    plan, _ = step(name, population(), np.array(ready))
    assert plan.members == tuple(ready)


def test_one_member_goes_on_alone(name):
    plan, _ = step(name, population([1.0]), np.array([0]))
    assert plan.sources == (0,)


def test_a_donor_has_a_finite_score(name):
    scores = [math.nan, math.inf, -math.inf, 0, 1, 2, 3, 4, 5, 6]
    plan, _ = step(name, population(scores))
    assert all(
        math.isfinite(scores[s]) for m, s in zip(plan.members, plan.sources, strict=True) if s != m
    )


def test_that_all_members_failed_is_said(name):
    with pytest.raises(AllMembersFailedError):
        step(name, population([math.nan] * 10))


def test_it_says_whether_it_copies(name):
    failed = population([1.0, *[math.nan] * 9])
    plan, _ = step(name, failed)
    assert (plan.sources != plan.members) is STRATEGIES[name](SPACE).copies
