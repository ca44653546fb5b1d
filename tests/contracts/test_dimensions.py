"""What every dimension keeps. A new one is one line in EXAMPLES, and inherits all of these tests."""

import json
import pickle
from dataclasses import fields

import numpy as np
import pytest

from popgrad.core.errors import UsageError
from popgrad.core.space import (
    DIMENSIONS,
    Choice,
    Constant,
    Integer,
    LogUniform,
    OneMinus,
    Ordinal,
    Uniform,
    dimension,
)

EXAMPLES = [
    Uniform(-1.0, 2.0),
    Uniform(0.0, 0.5, init_only=True),
    LogUniform(1e-4, 0.1),
    OneMinus(0.5, 0.999),
    Integer(1, 5),
    Integer(-3, 300),
    Integer(1, 512, log=True, init_only=True),
    Choice(("relu", 1, True, 0.5)),
    Ordinal((16, 32, 64, 128)),
    Constant(0.9),
]
MOVING = [each for each in EXAMPLES if not isinstance(each, Constant)]
FACTORS = (0.8, 1.25)


def name(each):
    return each.describe()


def test_every_kind_has_an_example():
    assert {each.kind for each in EXAMPLES} == set(DIMENSIONS)


@pytest.mark.parametrize("each", MOVING, ids=name)
def test_a_hundred_thousand_perturbations_stay_keep_their_type_and_always_move(each):
    rng = np.random.default_rng(0)
    value = each.sample(rng)
    seen = set()
    for _ in range(100_000):
        before = value
        value, change = each.perturb(rng, before, FACTORS)
        assert type(value) is not type(before) or value != before
        assert type(change) in (float, str)
        seen.add((type(value), value))
    for kind, one in seen:
        assert type(each.check(one)) is kind
        assert each.check(one) == one


@pytest.mark.parametrize("each", EXAMPLES, ids=name)
def test_samples_are_plain_json_values_of_the_dimension(each):
    rng = np.random.default_rng(1)
    for value in [each.sample(rng) for _ in range(200)]:
        assert type(value) in (float, int, str, bool)
        assert each.check(value) == value
        assert each.clip(value) == value
        assert json.loads(json.dumps(value)) == value


@pytest.mark.parametrize("each", EXAMPLES, ids=name)
def test_encode_is_in_the_unit_interval(each):
    rng = np.random.default_rng(2)
    codes = [each.encode(each.sample(rng)) for _ in range(200)]
    assert all(type(code) is float for code in codes)
    assert min(codes) >= 0
    assert max(codes) <= 1


@pytest.mark.parametrize("each", EXAMPLES, ids=name)
def test_the_same_generator_gives_the_same_values(each):
    def draw():
        rng = np.random.default_rng(3)
        value = each.sample(rng)
        return value, each.perturb(rng, value, FACTORS), rng.random()

    assert draw() == draw()


@pytest.mark.parametrize("each", EXAMPLES, ids=name)
def test_what_is_consumed_does_not_depend_on_the_value(each):
    left = set()
    for seed in range(20):
        value = each.sample(np.random.default_rng(seed))
        rng = np.random.default_rng(4)
        each.perturb(rng, value, FACTORS)
        left.add(rng.random())
    assert len(left) == 1


@pytest.mark.parametrize("each", EXAMPLES, ids=name)
def test_a_spec_is_json_and_leads_back(each):
    assert dimension(json.loads(json.dumps(each.spec()))) == each
    assert pickle.loads(pickle.dumps(each)) == each
    assert hash(each) == hash(dimension(each.spec()))


@pytest.mark.parametrize("each", EXAMPLES, ids=name)
def test_it_cannot_be_changed(each):
    with pytest.raises(AttributeError):
        setattr(each, fields(each)[0].name, 1)


@pytest.mark.parametrize("each", EXAMPLES, ids=name)
@pytest.mark.parametrize("value", [None, [], "no such option", float("nan")])
def test_check_refuses_what_is_never_a_value(each, value):
    with pytest.raises(UsageError, match=r"expected .*, got "):
        each.check(value)


@pytest.mark.parametrize("each", EXAMPLES, ids=name)
def test_it_tells_people_and_figures_what_it_is(each):
    assert each.scale in ("linear", "log", "one-minus", "ordinal", "category")
    assert "\n" not in each.describe()
    assert each.describe().endswith("init-only") == each.init_only
