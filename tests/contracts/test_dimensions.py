"""What every dimension keeps. A new one is one line in EXAMPLES, and inherits all of these tests."""

import json
import pickle
from dataclasses import fields, replace

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
    Uniform(0.0, 1.0, start=(0.0, 0.1)),
    LogUniform(1e-4, 0.1),
    LogUniform(1e-5, 1e-1, start=(1e-3, 1e-2)),
    LogUniform(1e-5, 1e-1, init_only=True, start=(1e-3, 1e-3)),
    OneMinus(0.5, 0.999),
    OneMinus(0.5, 0.999, start=(0.8, 0.95)),
    Integer(1, 5),
    Integer(1, 50, start=(10, 20)),
    Integer(1, 500, log=True, start=(10, 20)),
    Integer(-3, 300),
    Integer(1, 512, log=True, init_only=True),
    Choice(("relu", 1, True, 0.5)),
    Choice(("relu", "tanh", 1), start=("tanh", 1)),
    Ordinal((16, 32, 64, 128)),
    Ordinal((16, 32, 64, 128), start=(32,)),
    Constant(0.9),
]
MOVING = [each for each in EXAMPLES if not isinstance(each, Constant)]
NARROW = [each for each in MOVING if each.start is not None]
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


def starts(each, value):
    """Whether members may start with a value."""
    if isinstance(each, Choice | Ordinal):
        return value in each.start
    return each.start[0] <= value <= each.start[1]


def test_every_kind_that_is_sampled_has_an_example_with_a_start():
    assert {each.kind for each in NARROW} == set(DIMENSIONS) - {"constant"}


@pytest.mark.parametrize("each", NARROW, ids=name)
def test_samples_are_in_the_start_range_and_perturbations_leave_it(each):
    rng = np.random.default_rng(6)
    samples = [each.sample(rng) for _ in range(300)]
    assert all(starts(each, value) for value in samples)
    if isinstance(each, Choice | Ordinal | Integer):
        first = each.start[:1] if isinstance(each, Choice | Ordinal) else range(*each.start)
        assert {*first, each.start[-1]} <= set(samples)

    value = samples[0]
    reached = set()
    for _ in range(3_000):
        value, _ = each.perturb(rng, value, FACTORS)
        reached.add(value)
    assert {starts(each, value) for value in reached} == {True, False}
    assert max(map(each.encode, reached)) > 0.97
    assert min(map(each.encode, reached)) < 0.03


@pytest.mark.parametrize("each", NARROW, ids=name)
def test_only_the_samples_of_a_dimension_with_a_start_differ(each):
    wide = replace(each, start=None)
    rngs = np.random.default_rng(7), np.random.default_rng(7)
    value = each.sample(np.random.default_rng(8))
    assert each.perturb(rngs[0], value, FACTORS) == wide.perturb(rngs[1], value, FACTORS)
    assert each.encode(value) == wide.encode(value)
    assert each.decode(0.3) == wide.decode(0.3)
    assert "start" in each.describe()
    assert "start" not in wide.spec()


@pytest.mark.parametrize("each", EXAMPLES, ids=name)
def test_encode_is_in_the_unit_interval(each):
    rng = np.random.default_rng(2)
    codes = [each.encode(each.sample(rng)) for _ in range(200)]
    assert all(type(code) is float for code in codes)
    assert min(codes) >= 0
    assert max(codes) <= 1


@pytest.mark.parametrize("each", EXAMPLES, ids=name)
def test_decode_is_the_inverse_of_encode(each):
    rng = np.random.default_rng(5)
    for value in [each.sample(rng) for _ in range(200)]:
        back = each.decode(each.encode(value))
        assert type(back) is type(value)
        assert back == (pytest.approx(value, rel=1e-12) if isinstance(value, float) else value)


@pytest.mark.parametrize("each", EXAMPLES, ids=name)
def test_decode_finds_a_value_at_every_position_and_increases(each):
    values = [each.decode(position) for position in np.linspace(-0.5, 1.5, 301)]
    codes = [each.encode(value) for value in values]
    assert codes == sorted(codes)
    for value in values:
        assert type(each.check(value)) is type(value)
        assert each.check(value) == value
    assert each.decode(-3) == each.decode(0.0)
    assert each.decode(np.float64(3)) == each.decode(1)
    reached = 0.0 if isinstance(each, Constant) else 1.0
    assert each.encode(each.decode(1.0)) == pytest.approx(reached)
    assert each.encode(each.decode(0.0)) == pytest.approx(0.0)


@pytest.mark.parametrize("each", EXAMPLES, ids=name)
@pytest.mark.parametrize("position", [None, "0.5", float("nan"), True])
def test_decode_refuses_what_is_no_position(each, position):
    with pytest.raises(UsageError, match=r"expected a finite number, got "):
        each.decode(position)


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
