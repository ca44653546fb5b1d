"""Explore: each live hyperparameter on its own, the others as they were."""

import numpy as np
import pytest

from popgrad.core.errors import UsageError
from popgrad.core.explore import (
    check_all_factors,
    check_factors,
    check_probability,
    mutate,
    neighbour,
    perturb,
    resample,
)
from popgrad.core.space import Choice, Constant, Integer, LogUniform, Ordinal, Space, Uniform

SPACE = Space(
    {
        "lr": LogUniform(1e-6, 10.0),
        "width": Integer(1, 64, init_only=True),
        "beta": Constant(0.9),
        "act": Choice(("relu", "elu", "tanh")),
        "batch": Ordinal((16, 32, 64)),
        "decay": Uniform(0.0, 1.0),
    }
)
DONOR = {"lr": 0.01, "width": 8, "beta": 0.9, "act": "elu", "batch": 32, "decay": 0.5}
LIVE = ["lr", "act", "batch", "decay"]


def explored(seed, donor=None, chance=0.0):
    rng = np.random.default_rng(seed)
    return perturb(rng, donor or DONOR, SPACE, factors=(0.8, 1.25), resample_probability=chance)


def test_live_ones_move_and_the_others_are_inherited():
    for seed in range(20):
        hparams, changes = explored(seed)
        assert list(hparams) == list(changes) == list(SPACE)
        assert {name for name in SPACE if hparams[name] != DONOR[name]} == set(LIVE)
        assert changes["width"] == changes["beta"] == "inherited"
        assert changes["lr"] in (0.8, 1.25)
        assert changes["act"] == "resampled"
        assert changes["batch"] == ("next" if hparams["batch"] == 64 else "previous")


def test_hyperparameters_move_independently():
    pairs = {(c["lr"], c["decay"], c["batch"]) for _, c in map(explored, range(100))}
    assert len(pairs) == 8


def test_certain_resampling_draws_all_live_ones_afresh():
    hparams, changes = explored(0, chance=1.0)
    assert {name for name, change in changes.items() if change == "resampled"} == set(LIVE)
    assert hparams["width"] == 8
    assert SPACE.check(hparams) == hparams


def test_the_chance_of_resampling_is_kept():
    share = np.mean([explored(seed, chance=0.25)[1]["lr"] == "resampled" for seed in range(2_000)])
    assert abs(share - 0.25) < 0.03


def test_another_value_of_one_hyperparameter_leaves_the_draws_of_the_others():
    for seed in range(20):
        one, other = explored(seed)[0], explored(seed, {**DONOR, "lr": 1e-6, "act": "relu"})[0]
        assert {k: one[k] for k in ("batch", "decay", "width")} == {
            k: other[k] for k in ("batch", "decay", "width")
        }


def test_the_donor_is_left_as_it_was():
    donor = dict(DONOR)
    explored(0, donor)
    assert donor == DONOR


@pytest.mark.parametrize(
    "factors", [(), "ab", 1.2, [1.0], [0.0], [-0.8], [float("nan")], [True], [1e-320], None]
)
def test_factors_that_cannot_move_a_value_are_refused(factors):
    with pytest.raises(UsageError, match="factors"):
        check_factors(factors)


def test_factors_become_floats():
    assert check_factors([2, 0.5]) == (2.0, 0.5)
    assert type(check_factors([2])[0]) is float


# Factors by name


def test_each_hyperparameter_may_have_factors_of_its_own():
    factors = {"lr": [0.5, 2.0], "batch": [1.25], "default": [0.9]}
    heirs = [
        perturb(np.random.default_rng(seed), DONOR, SPACE, factors=factors) for seed in range(50)
    ]
    assert {changes["lr"] for _, changes in heirs} == {0.5, 2.0}
    assert {changes["decay"] for _, changes in heirs} == {0.9}
    assert {hparams["batch"] for hparams, _ in heirs} == {64}


def test_those_that_are_not_named_have_the_default_factors():
    heirs = [
        perturb(np.random.default_rng(seed), DONOR, SPACE, factors={"lr": [3.0]})[1]
        for seed in range(50)
    ]
    assert {changes["lr"] for changes in heirs} == {3.0}
    assert {changes["decay"] for changes in heirs} == {0.8, 1.25}


def test_other_factors_of_one_hyperparameter_leave_the_draws_of_the_others():
    for seed in range(20):
        one, other = (
            perturb(np.random.default_rng(seed), DONOR, SPACE, factors=factors)[0]
            for factors in ((0.8, 1.25), {"lr": [0.5, 2.0]})
        )
        assert one["lr"] != other["lr"]
        assert {**one, "lr": 0} == {**other, "lr": 0}


def test_factors_by_name_become_floats():
    assert check_all_factors([2, 0.5], SPACE) == (2.0, 0.5)
    by_name = check_all_factors({"lr": [2], "default": (0.5,)}, SPACE)
    assert by_name == {"lr": (2.0,), "default": (0.5,)}
    assert type(by_name["lr"][0]) is float
    assert check_all_factors({}, SPACE) == {}


@pytest.mark.parametrize(
    ("factors", "message"),
    [
        (1.2, "^factors: expected at least one number, for example"),
        ({"lr": 2.0}, r"^factors\.lr: expected at least one number, for example .*, got 2\.0"),
        ({"default": [1.0]}, r"^factors\.default: expected numbers above 0 and other than 1"),
        ({"lr": [True]}, r"^factors\.lr: expected a finite number, got True"),
        ({"decya": [2.0]}, "^factors: unknown hyperparameter 'decya'; did you mean"),
        ({"x": [2.0]}, "^factors: unknown hyperparameter 'x'; has lr, width, .*, and default"),
    ],
)
def test_factors_by_name_that_cannot_be_used_are_refused_by_name(factors, message):
    with pytest.raises(UsageError, match=message):
        check_all_factors(factors, SPACE)


# Other rules


def test_resampling_draws_from_the_start_range():
    space = Space(
        {"lr": LogUniform(1e-6, 10.0, start=(1e-3, 1e-2)), "n": Integer(1, 99, start=(3, 3))}
    )
    rng = np.random.default_rng(0)
    heirs = [resample(rng, {"lr": 1.0, "n": 50}, space)[0] for _ in range(200)]
    assert all(1e-3 <= heir["lr"] <= 1e-2 and heir["n"] == 3 for heir in heirs)


def test_the_probability_of_resampling_is_kept():
    rng = np.random.default_rng(0)
    heirs = [resample(rng, DONOR, SPACE, probability=0.25)[1] for _ in range(2_000)]
    for name in LIVE:
        assert abs(np.mean([changes[name] == "resampled" for changes in heirs]) - 0.25) < 0.04
    assert resample(rng, DONOR, SPACE, probability=0.0)[0] == DONOR


def test_a_neighbour_is_one_step_away():
    space = Space(
        {
            "lr": LogUniform(1e-4, 1.0),
            "decay": Uniform(0.0, 1.0),
            "n": Integer(1, 1000, log=True),
            "batch": Ordinal((16, 32, 64)),
            "act": Choice(("a", "b", "c")),
        }
    )
    donor = {"lr": 1e-2, "decay": 0.5, "n": 100, "batch": 32, "act": "a"}
    rng = np.random.default_rng(0)
    heirs = [neighbour(rng, donor, space, step=0.25) for _ in range(50)]
    reached = {name: sorted({heir[name] for heir, _ in heirs}) for name in space}
    assert reached == {
        "lr": pytest.approx([1e-3, 1e-1]),
        "decay": pytest.approx([0.25, 0.75]),
        "n": [99, 101],
        "batch": [16, 64],
        "act": ["b", "c"],
    }
    for heir, changes in heirs:
        for name in ("lr", "decay", "n", "batch"):
            assert changes[name] == ("next" if heir[name] > donor[name] else "previous")
        assert changes["act"] == "resampled"


def test_a_neighbour_turns_back_at_a_bound_and_less_than_half_a_step_from_it():
    space = Space({"x": Uniform(0.0, 1.0), "n": Integer(1, 5), "lr": LogUniform(1e-4, 1.0)})
    rng = np.random.default_rng(0)
    low, high = ({"x": 0.0, "n": 1, "lr": 1e-4}, {"x": 1.0, "n": 5, "lr": 1.0})
    for _ in range(20):
        assert set(neighbour(rng, low, space)[1].values()) == {"next"}
        assert set(neighbour(rng, high, space)[1].values()) == {"previous"}

    near = [neighbour(rng, {"x": 0.94, "n": 3, "lr": 0.1}, space)[0]["x"] for _ in range(20)]
    nearer = [neighbour(rng, {"x": 0.96, "n": 3, "lr": 0.1}, space)[0]["x"] for _ in range(20)]
    assert sorted(set(near)) == pytest.approx([0.84, 1.0])
    assert sorted(set(nearer)) == pytest.approx([0.86])


def test_mutation_has_its_rate_and_its_factors():
    rng = np.random.default_rng(0)
    space = Space({"a": LogUniform(1e-9, 1e9), "b": LogUniform(1e-9, 1e9)})
    heirs = [mutate(rng, {"a": 1.0, "b": 1.0}, space) for _ in range(4_000)]
    for name in space:
        moved = [hparams[name] for hparams, changes in heirs if changes[name] != "inherited"]
        assert abs(len(moved) / 4_000 - 0.15) < 0.02
        assert all(1.1 <= max(value, 1 / value) <= 1.5 for value in moved)
        assert abs(np.mean([value > 1 for value in moved]) - 0.5) < 0.08
        assert np.mean([max(value, 1 / value) for value in moved]) == pytest.approx(1.3, abs=0.02)


@pytest.mark.parametrize(
    ("rule", "settings", "message"),
    [
        (resample, {"probability": 1.5}, r"^probability: expected .* in \[0, 1\], got 1\.5"),
        (neighbour, {"step": 0.0}, r"^step: expected a share .* in \(0, 1\], got 0\.0"),
        (neighbour, {"step": 2}, r"^step: expected a share .* in \(0, 1\], got 2"),
        (neighbour, {"step": "1"}, "^step: expected a finite number, got '1'"),
        (mutate, {"rate": -1}, "^rate: expected a probability"),
        (mutate, {"low": 0.8}, "^low: expected factors with 1 <= low <= high, got low = 0.8 and high"),
        (mutate, {"low": 2.0}, "^low: expected .*, got low = 2.0 and high = 1.5; a value is multiplied"),
        (mutate, {"high": float("inf")}, "^high: expected a finite number, got inf"),
    ],
)  # fmt: skip
def test_settings_of_a_rule_that_cannot_be_used_are_refused_by_name(rule, settings, message):
    with pytest.raises(UsageError, match=message):
        rule(np.random.default_rng(0), DONOR, SPACE, **settings)


@pytest.mark.parametrize("chance", [-0.1, 1.1, float("nan"), "1", True])
def test_a_probability_outside_its_range_is_refused_by_name(chance):
    with pytest.raises(UsageError, match="resample_probability"):
        check_probability("resample_probability", chance)
