"""The Gaussian process against a naive one, and its derivatives against differences."""

import math

import numpy as np
import pytest

from popgrad.strategies.gaussian_process import (
    Kernel,
    Points,
    covariance,
    evidence,
    fit,
    gaps,
    posterior,
)

KERNELS = [
    Kernel(1.0, 1.0, 1.0, 0.1, 0.5, 0.1),
    Kernel(0.4, 0.05, 30.0, 0.4, 0.9, 0.02),
    Kernel(3.0, 0.3, 2.0, 0.0, 0.1, 1.0),
]


def points(count, categories, seed=0):
    rng = np.random.default_rng(seed)
    return Points(
        np.sort(rng.integers(0, 12, count)).astype(float),
        rng.random(count),
        rng.random((count, 2)),
        rng.integers(0, 3, (count, categories)),
    )


def naive(kernel, one, other):
    """The covariances by the formula of the papers, pair by pair."""
    found = np.zeros((len(one.times), len(other.times)))
    for i in range(len(one.times)):
        for j in range(len(other.times)):
            distance = sum((one.features[i] - other.features[j]) ** 2) / kernel.scale
            distance += (one.contexts[i] - other.contexts[j]) ** 2 / kernel.context_scale
            a = math.exp(-distance)
            if one.categories.shape[1]:
                b = np.mean(one.categories[i] == other.categories[j])
                a = (1 - kernel.mix) * (a + b) / 2 + kernel.mix * a * b
            lag = abs(one.times[i] - other.times[j])
            found[i, j] = kernel.variance * a * (1 - kernel.forgetting) ** (lag / 2)
    return found


@pytest.mark.parametrize("categories", [0, 2])
@pytest.mark.parametrize("kernel", KERNELS)
def test_the_posterior_is_that_of_a_naive_solve(kernel, categories):
    known, asked, pending = (points(n, categories, n) for n in (25, 9, 4))
    targets = np.random.default_rng(1).normal(size=25)
    mean, deviation = posterior(kernel, known, targets, pending).predict(asked)

    total = naive(kernel, known, known) + kernel.noise * np.eye(25)
    expected = naive(kernel, asked, known) @ np.linalg.solve(total, targets)
    np.testing.assert_allclose(mean, expected, rtol=0, atol=1e-8)

    both = known.join(pending)
    total = naive(kernel, both, both) + kernel.noise * np.eye(29)
    across = naive(kernel, asked, both)
    explained = np.diag(across @ np.linalg.solve(total, across.T))
    expected = np.diag(naive(kernel, asked, asked)) - explained
    np.testing.assert_allclose(deviation**2, expected, rtol=0, atol=1e-8)


@pytest.mark.parametrize("categories", [0, 2])
@pytest.mark.parametrize(
    "kernel", [k._replace(forgetting=max(k.forgetting, 0.01)) for k in KERNELS]
)
def test_the_derivatives_are_those_of_differences(kernel, categories):
    known = points(20, categories)
    targets = np.random.default_rng(1).normal(size=20)
    apart = gaps(known, known)
    _, gradient = evidence(kernel, apart, targets)

    for i, name in enumerate(kernel._fields):
        step = 1e-5 * getattr(kernel, name)
        ends = [
            evidence(kernel._replace(**{name: getattr(kernel, name) + s}), apart, targets)[0]
            for s in (-step, step)
        ]
        numeric = (ends[1] - ends[0]) / (2 * step)
        assert gradient[i] == pytest.approx(numeric, rel=1e-5, abs=1e-6), name


def test_the_evidence_is_that_of_a_normal_distribution():
    known = points(8, 0)
    targets = np.random.default_rng(1).normal(size=8)
    total = naive(KERNELS[1], known, known) + KERNELS[1].noise * np.eye(8)
    density = math.exp(-0.5 * targets @ np.linalg.solve(total, targets))
    density /= math.sqrt((2 * math.pi) ** 8 * np.linalg.det(total))
    assert evidence(KERNELS[1], gaps(known, known), targets)[0] == pytest.approx(-math.log(density))


@pytest.mark.parametrize("categories", [0, 2])
def test_pending_points_lower_the_deviation_and_leave_the_mean(categories):
    known, pending, asked = (points(n, categories, n) for n in (12, 3, 40))
    targets = np.random.default_rng(1).normal(size=12)
    before = posterior(KERNELS[0], known, targets).predict(asked)
    after = posterior(KERNELS[0], known, targets, pending).predict(asked)
    np.testing.assert_allclose(after[0], before[0], rtol=0, atol=1e-12)
    assert (after[1] <= before[1] + 1e-12).all()
    assert (after[1] < before[1] - 1e-3).any()


def test_equal_points_are_no_trouble():
    one = points(1, 0)
    many = one.select(np.zeros(60, np.int64))
    targets = np.tile([1.0, -1.0], 30)
    kernel = fit(many, targets)
    mean, deviation = posterior(kernel, many, targets, many).predict(one)
    assert mean[0] == pytest.approx(0, abs=1e-6)
    assert 0 <= deviation[0] < 0.3


def test_a_fit_is_likelier_than_its_start_and_finds_the_scale():
    rng = np.random.default_rng(0)
    truth = Kernel(1.0, 0.1, 50.0, 0.05, 0.5, 0.05)
    known = points(150, 0)
    total = covariance(truth, gaps(known, known)) + truth.noise * np.eye(150)
    targets = np.linalg.cholesky(total) @ rng.normal(size=150)
    kernel = fit(known, targets)
    apart = gaps(known, known)
    assert evidence(kernel, apart, targets)[0] < evidence(KERNELS[0], apart, targets)[0] - 5
    assert evidence(kernel, apart, targets)[0] < evidence(truth, apart, targets)[0] + 1
    assert 0.05 < kernel.scale < 0.2
    assert 0.02 < kernel.noise < 0.1


def test_two_observations_are_enough_for_a_fit():
    kernel = fit(points(2, 0), np.array([1.0, -1.0]))
    assert all(math.isfinite(parameter) for parameter in kernel)
