"""The search for the highest bound."""

import numpy as np
import pytest

from popgrad.core.space import Integer, LogUniform, Ordinal, Uniform
from popgrad.strategies.acquisition import exploration, levels, maximise


@pytest.mark.parametrize("dimensions", [1, 2, 6])
def test_a_peak_is_found(dimensions):
    peak = np.linspace(0.2, 0.8, dimensions)
    for seed in range(5):
        found = maximise(
            np.random.default_rng(seed),
            lambda x: -((x - peak) ** 2).sum(axis=1),
            np.full(dimensions, 0.5),
            [None] * dimensions,
        )
        np.testing.assert_allclose(found, peak, atol=0.05)


def test_a_peak_in_the_corner_is_found_within_the_cube():
    found = maximise(np.random.default_rng(0), lambda x: x.sum(axis=1), np.zeros(2), [None] * 2)
    assert found.tolist() == [1.0, 1.0]


def test_a_grid_is_searched_at_its_positions():
    seen = []

    def bound(places):
        seen.append(places[:, 0])
        return -np.abs(places[:, 0] - 0.7)

    grid = levels(Integer(1, 4))
    found = maximise(np.random.default_rng(0), bound, np.zeros(1), [grid])
    assert found[0] == grid[2]
    assert set(np.concatenate(seen).tolist()) == set(grid.tolist())


def test_levels_are_those_of_a_dimension():
    assert levels(Ordinal((16, 32, 64))).tolist() == [0.0, 0.5, 1.0]
    log = Integer(1, 1000, log=True)
    assert levels(log).tolist() == [log.encode(value) for value in range(1, 1001)]
    assert levels(Uniform(0.0, 1.0)) is None
    assert levels(LogUniform(0.1, 1.0)) is None
    assert levels(Integer(0, 10**6)) is None


def test_exploration_grows_from_nothing():
    values = [exploration(rows) for rows in (1, 2, 3, 10, 100, 1000)]
    assert values[:2] == [0.0, 0.0]
    assert values == sorted(values)
    assert values[-1] == pytest.approx(0.2 * np.log(400))
