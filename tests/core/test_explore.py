"""Explore: each live hyperparameter on its own, the others as they were."""

import numpy as np
import pytest

from popgrad.core.errors import UsageError
from popgrad.core.explore import check_factors, check_probability, perturb
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


@pytest.mark.parametrize("chance", [-0.1, 1.1, float("nan"), "1", True])
def test_a_probability_outside_its_range_is_refused_by_name(chance):
    with pytest.raises(UsageError, match="resample_probability"):
        check_probability("resample_probability", chance)
