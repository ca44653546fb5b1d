"""What an ablation concludes from scores."""

import json
from collections.abc import Sequence

import numpy as np
import pytest

from popgrad.core.score import Score
from popgrad.record.ablation import Ablation
from popgrad.record.arm import Arm

SPREAD = np.array([-0.02, -0.01, 0.0, 0.01, 0.02])
"""What a seed adds to the score of every arm: pairs share it."""
NOISE = np.array([0.001, -0.002, 0.0, 0.002, -0.001])


def ablation(
    schedule: Sequence[float],
    *constants: Sequence[float],
    winner: float = 0.9,
    metric: str = "acc",
    phases: int = 3,
) -> Ablation:
    arms = [Arm("schedule", "", {}, tuple(schedule), (10,) * len(schedule))]
    for i, scores in enumerate(constants):
        arms.append(Arm(f"constant {i}", "", {}, tuple(scores), (10,) * len(scores)))
    seeds = tuple(range(len(schedule)))
    return Ablation(tuple(arms), seeds, Score.parse(metric), winner, 100, phases)


def test_a_schedule_that_beats_every_constant_helped() -> None:
    found = ablation(0.9 + SPREAD, 0.85 + SPREAD + NOISE, 0.88 + SPREAD - NOISE)
    assert found.outcome == "schedule"
    assert found.sentence.startswith("The schedule helped beyond all constants")
    assert "higher than with the constants of constant 1" in found.sentence


def test_a_schedule_that_beats_all_constants_but_one_has_not_helped() -> None:
    found = ablation(0.9 + SPREAD, 0.8 + SPREAD + NOISE, 0.9 + SPREAD + NOISE)
    assert found.outcome == "unclear"
    assert "includes zero" in found.sentence


def test_pairs_by_seed_see_what_the_spread_over_seeds_would_hide() -> None:
    found = ablation(0.9 + SPREAD, 0.895 + SPREAD + NOISE / 2)
    low, high = found.schedule.mean[1:]
    assert high - low > 4 * found.gain(found.arms[1]).value
    assert found.outcome == "schedule"


def test_better_constants_are_named() -> None:
    found = ablation(0.8 + SPREAD, 0.9 + SPREAD + NOISE, 0.7 + SPREAD)
    assert found.outcome == "constants"
    assert "did not help" in found.sentence
    assert "lower than with the constants of constant 0" in found.sentence
    assert "97.5 % interval" in found.sentence
    assert "95 % for all 2 constants together" in found.sentence


def test_what_is_not_clear_is_said_as_it_is() -> None:
    best = ablation(0.9 + SPREAD, 0.89 + SPREAD + NOISE, 0.8 + 60 * NOISE)
    assert best.outcome == "unclear"
    assert "other constants are not clearly worse" in best.sentence
    # One of six intervals of 95 %, hardly off zero, is no verdict.
    many = [0.9 + SPREAD + NOISE * i for i in (1, 2, 3, 4, 5)]
    slightly = ablation(0.9 + SPREAD, 0.9021 + SPREAD + NOISE, *many)
    assert slightly.gain(slightly.arms[1]).high < 0
    assert slightly.outcome == "unclear"
    assert "not clear beside so many constants" in slightly.sentence


def test_a_winner_far_above_models_of_its_schedule_was_selected() -> None:
    found = ablation(0.8 + SPREAD / 10, 0.8 + SPREAD / 10 + NOISE, winner=0.9)
    assert found.outcome == "selection"
    assert "selection of weights explains" in found.sentence


def test_a_winner_within_the_spread_proves_nothing() -> None:
    found = ablation(0.8 + SPREAD, 0.8 + SPREAD + NOISE, winner=0.81)
    assert found.outcome == "unclear"
    assert "Nor do they show" in found.sentence


def test_few_seeds_give_no_verdict() -> None:
    found = ablation(0.9 + SPREAD[:4], 0.5 + SPREAD[:4])
    assert found.outcome == "few seeds"
    assert "with 4 seeds" in found.sentence
    assert "needs 5 seeds" in found.sentence


def test_one_seed_gives_numbers_and_no_verdict() -> None:
    found = ablation([0.9], [0.8])
    assert found.outcome == "few seeds"
    assert found.row()["arms"][1]["schedule_better_by"]["low"] is None


def test_a_constant_schedule_is_nothing_to_ablate() -> None:
    assert ablation(0.9 + SPREAD, phases=1).outcome == "constant"


def test_constants_that_fail_are_left_out_and_a_schedule_that_fails_ends_it() -> None:
    broken = [0.9, 0.9, np.nan, 0.9, 0.9]
    some = ablation(0.9 + SPREAD, broken, 0.8 + SPREAD + NOISE)
    assert some.outcome == "schedule"
    assert [arm.failed for arm in some.arms] == [0, 1, 0]
    assert ablation(broken, 0.8 + SPREAD).outcome == "failed"
    assert ablation(0.9 + SPREAD, broken).outcome == "failed"
    json.dumps(ablation(broken, 0.8 + SPREAD).row(), allow_nan=False)


def test_a_loss_is_reported_in_its_own_direction() -> None:
    found = ablation(-0.2 + SPREAD, -0.3 + SPREAD + NOISE, metric="-loss", winner=-0.2)
    assert found.outcome == "schedule"
    assert "validation loss of the schedule alone is 0.1" in found.sentence
    assert "lower than with" in found.sentence
    row = found.row()
    assert row["arms"][0]["interquartile_mean"]["value"] == pytest.approx(0.2)
    assert row["winner"] == pytest.approx(0.2)


def test_equals_are_rarely_told_apart() -> None:
    """Neither a helping schedule nor better constants, where there is nothing but noise."""
    rng = np.random.default_rng(0)
    outcomes = [
        ablation(*(0.8 + 0.01 * rng.standard_normal((5, 5))), winner=0.81).outcome
        for _ in range(200)
    ]
    # Against four constants at once: measured 0 and 11 of 200 (one-sided 2.5 % at most each is 5).
    assert outcomes.count("schedule") <= 4
    assert outcomes.count("constants") <= 14
