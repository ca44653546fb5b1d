"""The t-test: its p values, its copy rates, and what it needs."""

import math

import numpy as np
import pytest
from scipy.stats import ttest_ind

import popgrad
from popgrad.core.errors import UsageError
from popgrad.core.population import Population
from popgrad.core.seeding import Rng
from popgrad.core.space import LogUniform, Space, Uniform
from popgrad.strategies import t_test
from popgrad.strategies.t_test import welch_p

SPACE = Space({"lr": LogUniform(1e-9, 1e9)})


def population(samples):
    n = len(samples)
    scores = np.array([np.mean(each) for each in samples])
    hparams = [{"lr": 1.0 + i} for i in range(n)]
    return Population(scores, np.full(n, 3), np.full(n, 30), hparams, samples=samples)


def sources(members, seed=0, ready=None, **settings):
    ready = np.arange(len(members)) if ready is None else np.array(ready)
    strategy = t_test(SPACE, **settings)
    return np.array(strategy.step(Rng(seed), members, ready, strategy.init())[0].sources)


def test_p_values_equal_those_of_scipy_for_unequal_sizes_and_variances():
    rng = np.random.default_rng(0)
    pairs = [
        (rng.normal(size=rng.integers(2, 12)), 3 * rng.normal(size=rng.integers(2, 12)) + 1)
        for _ in range(50)
    ]
    expected = [ttest_ind(b, a, equal_var=False, alternative="greater").pvalue for a, b in pairs]
    got = welch_p([a for a, _ in pairs], [b for _, b in pairs])
    np.testing.assert_allclose(got, expected, rtol=1e-9)


def test_without_spread_the_higher_mean_is_certain():
    one, two = np.array([1.0, 1.0]), np.array([2.0, 2.0])
    assert welch_p([one, two, one], [two, one, one]).tolist() == [0.0, 1.0, 1.0]
    assert sources(population([one, two])).tolist() == [1, 1]


@pytest.mark.parametrize(("difference", "rate"), [(0.0, 0.05), (1.0, 0.69)])
def test_it_copies_as_often_as_the_power_of_the_test(difference, rate):
    # Of each pair, the first member decides; ten samples each, as in the paper.
    rng = np.random.default_rng(1)
    copies = 0
    trials = 3000
    for seed in range(trials):
        pair = [rng.normal(size=10), rng.normal(difference, size=10)]
        copies += sources(population(pair), seed, ready=[0])[0] == 1
    # Three standard errors of a share of 0.69 among 3,000 are 0.025.
    assert abs(copies / trials - rate) < 0.03


@pytest.mark.parametrize(("difference", "power"), [(0.5, 0.285), (1.0, 0.694), (1.5, 0.943)])
def test_the_p_values_have_the_power_of_a_one_sided_test(difference, power):
    # The powers are those of the noncentral t distribution with 18 degrees of freedom.
    rng = np.random.default_rng(2)
    lower = list(rng.normal(size=(8000, 10)))
    higher = list(rng.normal(difference, size=(8000, 10)))
    assert abs((welch_p(lower, higher) < 0.05).mean() - power) < 0.02


def test_in_a_large_population_of_equal_members_the_level_is_the_copy_rate():
    samples = list(np.random.default_rng(2).normal(size=(6000, 10)))
    for alpha in (0.05, 0.2):
        copied = sources(population(samples), alpha=alpha) != np.arange(6000)
        assert abs(copied.mean() - alpha) < 0.02


def test_a_failed_member_is_replaced_without_a_test_and_never_a_donor():
    members = population([np.array([math.nan]), np.array([0.0, 1.0]), np.array([0.0, 1.0])])
    got = np.array([sources(members, seed) for seed in range(30)])
    assert set(got[:, 0]) == {1, 2}
    assert (got[:, 1:] == [1, 2]).all()


@pytest.mark.parametrize("known", [True, False])
def test_a_score_of_one_sample_is_refused_with_what_to_report(known):
    members = population([np.array([0.5]), np.array([0.25])])
    if not known:
        members = Population(members.scores, members.intervals, members.steps, members.hparams)
    with pytest.raises(
        UsageError,
        match=r'strategy t-test: expected two samples or more .* member 0 has one number; .*"reward": \[1.0',
    ):
        sources(members)


class Noisy:
    """A task whose reward is several episodes around the hyperparameter."""

    space = Space({"level": Uniform(0.0, 1.0)})
    score = "reward"

    def __init__(self, episodes):
        self.episodes = episodes

    def init(self, hparams, ctx):
        return {"steps": 0}

    def train(self, state, hparams, steps, ctx):
        return {"steps": state["steps"] + steps}

    def evaluate(self, state, hparams, split, ctx):
        noise = np.random.default_rng([ctx.member, ctx.interval]).normal(size=self.episodes) / 100
        return {"reward": (hparams["level"] + noise).tolist()}


def test_a_run_tests_the_samples_that_its_task_evaluates():
    result = popgrad.run(
        Noisy(8), population=6, intervals=4, interval=1, executor="serial", strategy="t-test"
    )
    heirs = [each for each in result.segments if each.source and each.source[0] != each.member]
    assert heirs
    assert all(len(each.metric_samples["reward"]) == 8 for each in result.segments)
    with pytest.raises(UsageError, match="strategy t-test: expected two samples or more"):
        popgrad.run(
            Noisy(1), population=2, intervals=2, interval=1, executor="serial", strategy="t-test"
        )


def test_a_level_that_is_no_probability_is_refused():
    with pytest.raises(UsageError, match=r"alpha: expected a number in \[0, 1\], got 5"):
        t_test(SPACE, alpha=5)
