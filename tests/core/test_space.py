"""Every value stays in its space: bounded, typed, able to move."""

import json
import math
import pickle
from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from popgrad.core.errors import UsageError
from popgrad.core.space import (
    Choice,
    Constant,
    Integer,
    LogUniform,
    OneMinus,
    Ordinal,
    Space,
    Uniform,
    dimension,
)

FACTORS = (0.8, 1.25)
SPACE = Space(
    {
        "lr": LogUniform(1e-4, 0.1),
        "width": Integer(1, 64, init_only=True),
        "act": Choice(("relu", "elu")),
    }
)


def rng(seed=0):
    return np.random.default_rng(seed)


# Numbers


@pytest.mark.parametrize(
    ("each", "value", "moved"),
    [
        (LogUniform(1e-9, 1e9), 1.0, lambda x: math.log(x)),
        (Uniform(-1e9, 1e9), 1e8, lambda x: math.log(x / 1e8)),
        (OneMinus(-1e9, 1 - 1e-9), 0.9, lambda x: math.log((1 - x) / 0.1)),
    ],
)
def test_the_default_factors_do_not_drift(each, value, moved):
    draws = rng()
    logs = [moved(each.perturb(draws, value, FACTORS)[0]) for _ in range(20_000)]
    assert abs(np.mean(logs)) < 0.01


def test_a_perturbed_value_is_the_value_times_the_reported_factor():
    for seed in range(20):
        value, factor = LogUniform(1e-4, 0.1).perturb(rng(seed), 0.01, FACTORS)
        assert factor in FACTORS
        assert value == 0.01 * factor


def test_one_minus_multiplies_the_distance_to_one():
    value, factor = OneMinus(0.5, 0.999).perturb(rng(), 0.9, (0.5,))
    assert (value, factor) == (pytest.approx(0.95), 0.5)


@pytest.mark.parametrize(
    "each", [Uniform(0.0, 1.0), LogUniform(1e-4, 0.1), OneMinus(0.5, 0.99), Integer(1, 8)]
)
@pytest.mark.parametrize("factor", FACTORS)
def test_a_value_at_a_bound_bounces_and_the_inverse_is_reported(each, factor):
    reported = {each.perturb(rng(), bound, (factor,))[1] for bound in (each.low, each.high)}
    assert reported == {factor, 1 / factor}


@pytest.mark.parametrize("each", [Uniform(-1.0, 1.0), Integer(-100, 100)])
def test_zero_can_be_left_both_ways(each):
    draws = rng()
    signs = {np.sign(each.perturb(draws, 0, FACTORS)[0]) for _ in range(50)}
    assert signs == {-1, 1}


def test_zero_at_the_lower_bound_is_left_by_a_hundredth_of_the_range():
    assert Uniform(0.0, 2.0).perturb(rng(), 0.0, (2.0,)) == (pytest.approx(0.02), 2.0)


@given(st.integers(1, 50), st.integers(1, 200), st.data())
def test_an_integer_moves_by_at_least_one_in_the_factors_direction(low, width, data):
    each = Integer(low, low + width, log=data.draw(st.booleans()))
    value = data.draw(st.integers(each.low, each.high))
    new, factor = each.perturb(rng(data.draw(st.integers(0, 99))), value, FACTORS)
    assert type(new) is int
    assert each.low <= new <= each.high
    assert (new > value) if factor > 1 else (new < value)


@given(st.integers(1, 10**6), st.integers(1, 10**12), st.booleans(), st.data())
def test_an_integer_comes_back_from_its_position(low, width, log, data):
    each = Integer(low, low + width, log=log)
    value = data.draw(st.integers(each.low, each.high))
    assert each.decode(each.encode(value)) == value


@given(st.floats(), st.floats(), st.sampled_from([Uniform, LogUniform, OneMinus]), st.data())
def test_any_range_that_is_accepted_is_kept_and_can_be_walked(low, high, cls, data):
    """Also at the ends of what a float can hold, where a step is lost in rounding or overflows."""
    try:
        each = cls(low, high)
    except UsageError:
        return
    draws = rng(data.draw(st.integers(0, 99)))
    starts = (each.low, each.high, each.sample(draws), data.draw(st.floats(each.low, each.high)))
    for start in starts:
        value, _ = each.perturb(draws, start, FACTORS)
        assert value != start
        assert type(value) is float
        assert each.low <= value <= each.high
        assert 0 <= each.encode(value) <= 1
        assert each.low <= each.decode(each.encode(value)) <= each.high


def test_log_uniform_samples_are_even_over_the_decades():
    draws = rng()
    logs = [math.log10(LogUniform(1e-4, 1.0).sample(draws)) for _ in range(8_000)]
    counts = np.histogram(logs, bins=4, range=(-4, 0))[0]
    assert abs(counts - 2_000).max() < 200


def test_integer_samples_reach_every_value_evenly():
    draws = rng()
    counts = np.bincount([Integer(1, 4).sample(draws) for _ in range(8_000)], minlength=5)
    assert counts[0] == 0
    assert abs(counts[1:] - 2_000).max() < 200


def test_log_integer_samples_prefer_the_small():
    draws = rng()
    values = [Integer(1, 1000, log=True).sample(draws) for _ in range(2_000)]
    assert 20 < np.median(values) < 50  # the middle of the logarithm is 32
    assert min(values) == 1


def test_one_minus_samples_are_even_in_the_logarithm_of_the_distance():
    draws = rng()
    distances = [1 - OneMinus(0.9, 0.999).sample(draws) for _ in range(4_000)]
    assert abs(np.mean(np.log10(distances)) + 2) < 0.05


def test_encode_is_the_position_on_the_scale():
    assert LogUniform(1e-4, 1.0).encode(1e-2) == pytest.approx(0.5)
    assert Uniform(-1, 1).encode(0) == 0.5
    assert OneMinus(0.9, 0.999).encode(0.99) == pytest.approx(0.5)
    assert Integer(1, 100, log=True).encode(10) == pytest.approx(0.5)
    assert Ordinal((8, 16, 32)).encode(16) == 0.5


def test_clip_finds_the_nearest_value():
    assert Uniform(0, 1).clip(7) == 1.0
    assert LogUniform(0.1, 1).clip(-3) == 0.1
    assert Integer(1, 8).clip(3.6) == 4
    assert Integer(1, 8).clip(1e300) == 8
    assert Ordinal((8, 16, 32)).clip(27.0) == 32
    assert Constant(3).clip(5) == 3


# Categories


def test_a_choice_is_resampled_among_the_others_evenly():
    each, draws = Choice(("a", "b", "c")), rng()
    drawn = [each.perturb(draws, "b", FACTORS) for _ in range(2_000)]
    assert {change for _, change in drawn} == {"resampled"}
    names, counts = np.unique([value for value, _ in drawn], return_counts=True)
    assert names.tolist() == ["a", "c"]
    assert abs(counts - 1_000).max() < 120


def test_an_ordinal_steps_to_its_neighbour_and_bounces_at_the_ends():
    each = Ordinal((8, 16, 32))
    assert each.perturb(rng(), 16, (1.25,)) == (32, "next")
    assert each.perturb(rng(), 16, (0.8,)) == (8, "previous")
    assert each.perturb(rng(), 32, (1.25,)) == (16, "previous")
    assert each.perturb(rng(), 8, (0.8,)) == (16, "next")


def test_where_there_is_no_other_value_it_is_kept():
    assert Choice(("a",)).perturb(rng(), "a", FACTORS) == ("a", "kept")
    assert Ordinal((1,)).perturb(rng(), 1, FACTORS) == (1, "kept")
    assert Constant(0.5).perturb(rng(), 0.5, FACTORS) == (0.5, "inherited")


def test_options_are_told_apart_by_type():
    each = Choice((True, 1, "1"))
    assert [each.encode(option) for option in each.options] == [0, 0.5, 1]
    assert each.check(1) is not True
    assert Choice((1.0, 2.0)).check(1) == 1.0
    assert type(Choice((1.0, 2.0)).check(np.int64(1))) is float


# What is refused


@pytest.mark.parametrize(
    ("make", "says"),
    [
        (lambda: Uniform(1, 1), "low: expected a number below high = 1.0, got 1.0"),
        (lambda: Uniform(0, float("inf")), "high: expected a finite number, got inf"),
        (lambda: Uniform("0", 1), "low: expected a finite number, got '0'"),
        (lambda: Uniform(False, 1), "low: expected a finite number, got False"),
        (lambda: Uniform(0, 10**400), "expected a finite number"),
        (lambda: LogUniform(0, 1), "above 0"),
        (lambda: OneMinus(0.5, 1.0), "below 1"),
        (lambda: Integer(1, 2.5), "expected an integer"),
        (lambda: Integer(0, 8, log=True), "at least 1"),
        (lambda: Integer(0, 2**60), "within"),
        (lambda: Integer(1, 8, log=1), "log: expected true or false, got 1"),
        (lambda: Choice(()), "at least one option"),
        (lambda: Choice("abc"), "expected a list"),
        (lambda: Choice(("a", "a")), "once"),
        (
            lambda: Choice((None,)),
            "options: expected a string, a boolean or a finite number, got None",
        ),
        (lambda: Ordinal((1.0, float("nan"))), "finite"),
        (lambda: Constant([1]), "value: expected .*, got \\[1\\]"),
        (
            lambda: LogUniform(1e-5, 0.1, start=(1e-3, 1.0)),
            r"start: expected two numbers in \[1e-05, 0.1\], the lower first, got \(0.001, 1.0\); "
            "low and high bound what explore may reach",
        ),
        (lambda: Uniform(0, 1, start=(0.2, 0.1)), r"start: .*, the lower first, got \(0.2, 0.1\)"),
        (lambda: OneMinus(0.5, 0.9, start=0.6), "start: expected two numbers in .*, got 0.6"),
        (lambda: Uniform(0, 1, start=(0.1,)), r"start: expected two numbers .*, got \(0.1,\)"),
        (lambda: Uniform(0, 1, start="01"), "start: expected two numbers .*, got '01'"),
        (lambda: Uniform(0, 1, start=(0, float("nan"))), "start: .* got .0, nan."),
        (lambda: Integer(1, 8, start=(1, 2.5)), r"start: expected two .* in \[1, 8\], .*, got "),
        (
            lambda: Choice(("a", "b"), start=("c",)),
            r"start: expected some of the options \['a', 'b'\], got \['c'\]",
        ),
        (lambda: Ordinal((1, 2), start=()), r"start: expected a list with at least one option"),
        (lambda: Ordinal((1, 2), start=(1, 1)), r"start: expected each option once, got \[1, 1\]"),
        (lambda: Uniform(0, 1, init_only="yes"), "init_only: expected true or false, got 'yes'"),
    ],
)
def test_a_dimension_that_makes_no_sense_is_refused_by_name(make, says):
    with pytest.raises(UsageError, match=says):
        make()


@pytest.mark.parametrize("value", [True, "0.1", None, float("nan"), float("inf"), [0.1], 0.2, 1e-5])
def test_check_refuses_what_is_not_in_the_range(value):
    with pytest.raises(UsageError, match=r"expected .*, got "):
        LogUniform(1e-4, 0.1).check(value)


@pytest.mark.parametrize("value", [True, 2.0, "2", 0, 9])
def test_check_refuses_what_is_not_an_integer_of_the_range(value):
    with pytest.raises(UsageError, match=r"expected .*, got "):
        Integer(1, 8).check(value)


def test_check_gives_plain_python_numbers():
    assert type(Uniform(0, 2).check(1)) is float
    assert type(Uniform(0, 2).check(np.float64(1))) is float
    assert type(Integer(0, 2).check(np.int32(1))) is int


@pytest.mark.parametrize(
    ("spec", "says"),
    [
        (
            {"kind": "gaussian"},
            "space.lr: kind: expected one of uniform, log_uniform, .*, got 'gaussian'",
        ),
        ({}, "kind: expected .*, got None"),
        (3, "expected a mapping such as .*, got 3"),
        ({"kind": "uniform", "low": 0}, "missing field high; uniform has low, high, init_only"),
        ({"kind": "uniform", "low": 0, "hi": 1}, "unknown field hi"),
        (
            {"kind": "uniform", "low": 1, "high": 0},
            "space.lr: low: expected a number below high = 0.0, got 1.0",
        ),
    ],
)
def test_a_spec_that_cannot_be_read_names_the_key(spec, says):
    with pytest.raises(UsageError, match=says):
        dimension(spec, "space.lr")


def test_messages_are_one_line():
    with pytest.raises(UsageError) as error:
        SPACE.check({"lr": 7, "width": 1, "act": "relu"})
    assert str(error.value) == "hparams.lr: expected log-uniform 0.0001..0.1, got 7.0"


# Space


@pytest.mark.parametrize(
    ("value", "cure"),
    [
        ((0, 1), "got (0, 1); use Uniform(0.0, 1.0), or LogUniform for a rate"),
        ([0.1, 0.2, 0.3], "got [0.1, 0.2, 0.3]; use Choice([0.1, 0.2, 0.3])"),
        (["adam", "sgd"], "got ['adam', 'sgd']; use Choice(['adam', 'sgd'])"),
        (0.1, "got 0.1; use Constant(0.1)"),
        ({"lr": Uniform(0, 1)}, "give each hyperparameter a name of its own, such as head_lr"),
        (LogUniform, "give its values: LogUniform(low, high)"),
        (None, "got None; use one of Uniform, LogUniform, OneMinus, Integer, Choice, Ordinal, Constant"),
    ],
)  # fmt: skip
def test_a_value_that_is_no_dimension_names_the_one_to_write(value, cure):
    with pytest.raises(UsageError) as caught:
        Space({"lr": value})
    assert str(caught.value).startswith("space.lr: expected a dimension, got ")
    assert str(caught.value).endswith(cure)


def test_a_spec_is_a_dimension():
    spec = {"kind": "uniform", "low": 0.0, "high": 1.0}
    assert Space({"h": spec}) == Space({"h": Uniform(0.0, 1.0)})
    with pytest.raises(UsageError, match=r"^space\.h: unknown field"):
        Space({"h": {**spec, "log": True}})


def test_a_space_is_a_mapping():
    with pytest.raises(UsageError, match=r"^space: expected dimensions by name, got \['lr'\]$"):
        Space(["lr"])


def test_space_is_an_ordered_mapping():
    assert list(SPACE) == ["lr", "width", "act"]
    assert len(SPACE) == 3
    assert "lr" in SPACE
    assert "momentum" not in SPACE
    assert SPACE["width"] == Integer(1, 64, init_only=True)
    assert list(SPACE.sample(rng())) == list(SPACE)


def test_space_cannot_be_changed_from_outside():
    given = {"lr": Uniform(0, 1)}
    space = Space(given)
    given["more"] = Uniform(0, 1)
    assert list(space) == ["lr"]
    with pytest.raises(TypeError):
        space.dimensions["lr"] = Uniform(0, 2)


def test_space_survives_json_and_pickle():
    assert Space.from_spec(json.loads(json.dumps(SPACE.spec()))) == SPACE
    assert pickle.loads(pickle.dumps(SPACE)) == SPACE
    assert hash(pickle.loads(pickle.dumps(SPACE))) == hash(SPACE)


def test_spaces_are_equal_by_content_order_and_type():
    one, two = Uniform(0, 1), Uniform(0, 2)
    assert Space({"a": one, "b": two}) != Space({"b": two, "a": one})
    assert Space({"a": Choice((1, 0))}) != Space({"a": Choice((True, False))})
    assert Space({"a": one}) != "a"


def test_with_replaces_and_adds():
    space = SPACE.with_({"lr": Constant(0.1), "more": Uniform(0, 1)})
    assert list(space) == ["lr", "width", "act", "more"]
    assert space["lr"] == Constant(0.1)
    assert SPACE["lr"] == LogUniform(1e-4, 0.1)


def test_a_start_is_kept_in_the_type_of_the_dimension():
    spec = {"kind": "log_uniform", "low": 1e-5, "high": 1, "start": [0.001, 1]}
    each = dimension(spec)
    assert each == LogUniform(1e-5, 1.0, start=(1e-3, 1.0))
    assert list(map(type, each.start)) == [float, float]
    assert each.spec() == {**spec, "high": 1.0, "start": [0.001, 1.0]}
    assert each.describe() == "log-uniform 1e-05..1.0, start 0.001..1.0"
    assert Space({"lr": each}) != Space({"lr": replace(each, start=None)})

    assert type(Ordinal((1.0, 2.0), start=[2]).start[0]) is float
    assert Choice(("a", "b", "c"), start=("c", "a")).describe() == "one of a, b, c, start c, a"


@pytest.mark.parametrize("name", ["a b", "1a", "", "a.b", 3])
def test_names_are_identifiers(name):
    with pytest.raises(UsageError, match="hyperparameter name"):
        Space({name: Uniform(0, 1)})


def test_check_wants_exactly_the_names_of_the_space():
    with pytest.raises(UsageError, match="run: unknown hyperparameter beta; has lr, width, act"):
        SPACE.check({"lr": 0.1, "width": 1, "act": "elu", "beta": 1}, "run")
    with pytest.raises(UsageError, match="hparams: missing hyperparameter act, width"):
        SPACE.check({"lr": 0.1})
    assert list(SPACE.check({"act": "elu", "width": 1, "lr": 0.1})) == list(SPACE)


def test_clip_and_encode_go_over_all_dimensions():
    clipped = SPACE.clip({"lr": 7, "width": -1, "act": "elu"})
    assert clipped == {"lr": 0.1, "width": 1, "act": "elu"}
    encoded = SPACE.encode(clipped)
    assert encoded.dtype == np.float64
    assert encoded.tolist() == [1.0, 0.0, 1.0]


def test_decode_is_the_inverse_of_encode():
    hparams = SPACE.sample(rng())
    assert SPACE.decode(SPACE.encode(hparams)) == pytest.approx(hparams)
    assert SPACE.decode([2.0, 0.5, -1]) == {"lr": 0.1, "width": 32, "act": "relu"}


@pytest.mark.parametrize(
    ("positions", "message"),
    [
        ([0.5], "positions: expected 3, one for each dimension, got 1"),
        (
            [0.5, float("nan"), 0.5],
            r"positions: width: expected a finite number, got nan \(float\)",
        ),
    ],
)
def test_decode_wants_a_finite_position_for_each_dimension(positions, message):
    with pytest.raises(UsageError, match=message):
        SPACE.decode(positions)


def test_an_empty_space_has_one_point():
    empty = Space({})
    assert empty.check({}) == {} == empty.sample(rng())
    assert empty.encode({}).shape == (0,)
    assert empty.decode([]) == {}
