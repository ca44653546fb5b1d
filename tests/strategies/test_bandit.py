"""The bandit: it finds what is best, follows it when it changes, and draws as it promises."""

import numpy as np
import pytest

from popgrad.strategies.bandit import Rates, draw_plays, probabilities, round_dependently


def played(seed, means, size=8, rounds=60, noise=0.3):
    """Probabilities of each round for members that keep their category until they draw a new one.

    Args:
        seed: Seed of rewards and draws.
        means: Round -> mean reward of each category.
        size: Members; a quarter of them draws after each round.
        rounds: Rounds.
        noise: Deviation of a reward.
    """
    rng = np.random.default_rng(seed)
    count = len(means(0))
    rates = Rates.of_run(count, size, rounds)
    now = rng.integers(count, size=size)
    when, what, rewards, found = [], [], [], []
    for t in range(rounds):
        when += [t] * size
        what += now.tolist()
        rewards += (np.asarray(means(t))[now] + noise * rng.normal(size=size)).tolist()
        low, high = min(rewards), max(rewards)
        scaled = (np.array(rewards) - low) / (high - low)
        found.append(probabilities(np.array(when), np.array(what), scaled, count, rates))
        heirs = rng.permutation(size)[: size // 4]
        now[heirs] = draw_plays(rng, found[-1], len(heirs))
    return np.array(found)


def test_the_best_of_three_categories_is_played_most_in_the_end():
    shares = [played(seed, lambda t: (0.0, 0.1, 0.5))[-10:, 2].mean() for seed in range(6)]
    assert min(shares) > 0.6


def test_a_category_that_becomes_the_best_is_found():
    def means(t):
        return (0.6, 0.0, 0.0) if t < 30 else (0.0, 0.0, 0.6)

    runs = np.array([played(seed, means, rounds=80) for seed in range(6)])
    assert runs[:, 29, 0].mean() > 0.6
    assert runs[:, -1, 2].mean() > 0.6


def test_equal_categories_stay_near_equal_on_average():
    runs = np.array([played(seed, lambda t: (0.0, 0.0, 0.0)) for seed in range(12)])
    assert np.abs(runs[:, -1].mean(axis=0) - 1 / 3).max() < 0.15


def test_a_category_that_all_members_play_gains_nothing():
    rates = Rates.of_run(3, 4, 10)
    found = probabilities(np.repeat(np.arange(10), 4), np.zeros(40, int), np.ones(40), 3, rates)
    np.testing.assert_allclose(found, 1 / 3)


def test_no_probability_falls_below_the_uniform_share():
    rates = Rates.of_run(3, 4, 500)
    rounds = np.repeat(np.arange(500), 4)
    what = np.tile([0, 0, 1, 2], 500)
    found = probabilities(rounds, what, (what == 0).astype(float), 3, rates)
    assert found.sum() == pytest.approx(1)
    assert found.min() >= rates.uniform / 3


def test_without_a_round_all_are_equal():
    nothing = np.zeros(0, int)
    rates = Rates.of_run(4, 2, 10)
    assert probabilities(nothing, nothing, np.zeros(0), 4, rates).tolist() == [0.25] * 4


def test_few_members_explore_more_in_short_runs():
    assert Rates.of_run(3, 3, 1).uniform == 0.2
    assert Rates.of_run(8, 2, 5).uniform > Rates.of_run(8, 2, 50).uniform
    assert Rates.of_run(100, 1, 1).uniform == 1.0


def test_dependent_rounding_keeps_the_marginals_and_the_sum():
    shares = np.array([0.1, 0.7, 0.35, 0.85, 0.0, 1.0])
    rng = np.random.default_rng(0)
    drawn = np.array([round_dependently(rng, shares) for _ in range(4000)])
    assert set(drawn.sum(axis=1).tolist()) == {3}
    # Four standard errors of 4000 draws.
    np.testing.assert_allclose(drawn.mean(axis=0), shares, atol=4 * 0.5 / 4000**0.5)


@pytest.mark.parametrize("count", [1, 2, 3, 7])
def test_members_draw_each_category_as_often_as_its_probability(count):
    chances = np.array([0.6, 0.25, 0.1, 0.05])
    rng = np.random.default_rng(1)
    drawn = np.array(
        [np.bincount(draw_plays(rng, chances, count), minlength=4) for _ in range(3000)]
    )
    assert set(drawn.sum(axis=1).tolist()) == {count}
    assert np.abs(drawn - count * chances).max() < 1
    np.testing.assert_allclose(drawn.mean(axis=0), count * chances, atol=4 * 0.5 / 3000**0.5)


def test_members_get_the_categories_in_random_order():
    rng = np.random.default_rng(2)
    first = np.mean([draw_plays(rng, np.array([0.5, 0.5]), 2)[0] for _ in range(1000)])
    assert 0.4 < first < 0.6
