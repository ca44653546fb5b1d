"""The toy of Jaderberg et al. 2017, figure 2: what a population is for, and what it cannot do without."""

from typing import Any

import numpy as np
import pytest

import popgrad
from popgrad.tasks import Context, Quadratic

CORNERS = [{"h0": 1.0, "h1": 0.0}, {"h0": 0.0, "h1": 1.0}]


def best(seed: int = 0, **strategy: Any) -> float:
    """The winner's score of two workers that begin at the two corners: 200 steps, decisions every 4."""
    result = popgrad.run(
        Quadratic(), population=2, intervals=50, interval=4, seed=seed, executor="serial", initial=CORNERS,
        **strategy,
    )  # fmt: skip
    return result.winner.score


def test_grid_search_is_stuck_with_one_coordinate() -> None:
    """1.2 - 0.81 is the most that either corner reaches, since one coordinate never moves."""
    assert best(strategy="random-search") == pytest.approx(0.3897, abs=1e-3)
    assert best(strategy="random-search") < 0.39


def test_a_population_that_copies_and_resamples_nearly_reaches_the_optimum() -> None:
    scores = [best(seed, fraction=0.5, resample_probability=1.0) for seed in range(50)]
    assert np.median(scores) >= 1.19
    assert np.quantile(scores, 0.05) >= 1.18
    assert max(scores) < 1.2


def test_equal_scores_at_the_start_are_told_apart_at_random() -> None:
    """The corners are symmetric, so that whoever copies only what is strictly better never copies."""
    heirs = []
    for seed in range(20):
        result = popgrad.run(
            Quadratic(), population=2, intervals=2, interval=4, seed=seed, executor="serial", initial=CORNERS,
            fraction=0.5,
        )  # fmt: skip
        first = result.segments[:2]
        assert first[0].score == first[1].score
        heirs += [s.member for s in result.segments if s.source == (1 - s.member, 0)]
    assert len(heirs) == 20
    assert set(heirs) == {0, 1}


@pytest.mark.parametrize(
    ("h", "theta"), [((0.0, 0.0), (0.9, 0.9)), ((1.0, 0.5), (0.9 * 0.98, 0.9 * 0.99))]
)
def test_a_step_ascends_the_surrogate(h: tuple[float, float], theta: tuple[float, float]) -> None:
    task, ctx, hparams = Quadratic(), Context(), dict(zip(("h0", "h1"), h, strict=True))
    state = task.train(task.init(hparams, ctx), hparams, 1, ctx)
    assert state["theta"] == pytest.approx(theta, rel=1e-12)
    q = task.evaluate(state, hparams, "validation", ctx)["q"]
    assert q == pytest.approx(1.2 - theta[0] ** 2 - theta[1] ** 2, rel=1e-12)
