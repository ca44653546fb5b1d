"""The rows of PB2: what a segment gained from where it started."""

import math

import numpy as np
import pytest

from popgrad.core.history import NO_HISTORY
from popgrad.core.space import Space, Uniform
from popgrad.strategies.improvements import fence, improvements, standardise, to_rewards
from strategies.additive_task import history_of

SPACE = Space({"x": Uniform(0.0, 1.0)})


def row(member, interval, start, score, first=None, last=None):
    first = 10 * interval if first is None else first
    return {
        **{"member": member, "interval": interval, "start": start, "score": score},
        **{"first": first, "last": first + 10 if last is None else last},
        "hparams": {"x": 0.1 * member},
    }


def rates(rows, window=1000):
    return improvements(history_of(SPACE, rows), window, 1).rates.tolist()


def test_no_row_has_the_jump_of_a_copy():
    # Member 1 goes from 1 to 90 by inheriting from member 0, and gains 2 after that.
    rows = [row(0, 0, 0.0, 90.0), row(1, 0, 0.0, 1.0), row(1, 1, 90.0, 92.0)]
    assert rates(rows) == pytest.approx([9.0, 0.1, 0.2])


def test_rows_without_a_score_a_start_or_steps_are_left_out():
    rows = [
        row(0, 0, math.nan, 1.0),
        row(1, 0, 0.0, math.nan),
        row(2, 0, 0.0, math.inf),
        row(3, 0, 0.0, 1.0, first=5, last=5),
        row(4, 0, 0.0, 1.0),
    ]
    assert rates(rows) == [0.1]


def test_rates_are_per_step():
    rows = [row(0, 0, 0.0, 1.0, last=100), row(1, 0, 0.0, 1.0, last=200)]
    assert rates(rows) == [0.01, 0.005]


def test_the_order_of_the_history_does_not_matter():
    rows = [row(m, i, 0.0, m + 10.0 * i) for i in range(3) for m in range(3)]
    shuffled = [rows[i] for i in np.random.default_rng(0).permutation(9)]
    assert rates(shuffled) == rates(rows)


def test_the_newest_rows_are_kept():
    rows = [row(m, i, 0.0, m + 10.0 * i) for i in range(3) for m in range(2)]
    assert rates(rows, window=3) == pytest.approx([1.1, 2.0, 2.1])


def test_a_history_without_a_segment_has_no_rows():
    found = improvements(NO_HISTORY(), 1000, 3)
    assert found.rates.shape == (0,)
    assert found.positions.shape == (0, 3)


def test_one_member_that_diverged_does_not_hide_the_others():
    sound = np.linspace(0.0, 1.0, 30)
    scaled = standardise(np.append(sound, -1e9))
    assert np.ptp(scaled[:-1]) > 0.5
    assert scaled.min() >= -2
    rewards = to_rewards(np.append(sound, -1e9))
    assert np.ptp(rewards[:-1]) > 0.1
    np.testing.assert_array_equal(fence(sound), sound)


def test_equal_rates_are_no_trouble():
    assert standardise(np.full(5, 0.1 + 0.2)).tolist() == [0.0] * 5
    assert to_rewards(np.full(5, 0.3)).tolist() == [0.5] * 5
