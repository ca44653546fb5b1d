"""Multi-objective PBT: its ranking, its objectives, and the front of a run."""

import math

import numpy as np
import pytest

import popgrad
from popgrad.core.errors import UsageError
from popgrad.core.population import Population
from popgrad.core.seeding import Rng
from popgrad.core.space import LogUniform, Space, Uniform
from popgrad.strategies import mo_pbt, pbt

SPACE = Space({"lr": LogUniform(1e-9, 1e9)})


def population(rows, scores=None):
    n = len(rows)
    metrics = [{"good": float(good), "bad": float(bad)} for good, bad in rows]
    scores = [good for good, _ in rows] if scores is None else scores
    return Population(
        np.array(scores, float),
        np.full(n, 3),
        np.full(n, 30),
        [{"lr": 1.0 + i} for i in range(n)],
        metrics=metrics,
    )


def outcomes(members, **settings):
    """Over many seeds: the donors of each heir."""
    strategy = mo_pbt(SPACE, **{"objectives": ["good", "-bad"], **settings})
    donors: dict[int, set[int]] = {}
    for seed in range(40):
        plan, _ = strategy.step(Rng(seed), members, np.arange(len(members)), strategy.init())
        for member, source in enumerate(plan.sources):
            if source != member:
                donors.setdefault(member, set()).add(source)
    return donors


def test_dominated_members_inherit_from_the_front_spread_out():
    # Front: 0 to 3, of which 0 and 3 are its ends. 6 and 7 are dominated by all others.
    rows = [(9, 9), (8.9, 8.5), (8.8, 8.4), (2, 1), (1.5, 1.2), (1.4, 1.3), (0, 10), (-1, 11)]
    assert outcomes(population(rows)) == {6: {0, 3}, 7: {0, 3}}


def test_without_objectives_it_is_pbt():
    members = population([(i, i) for i in range(8)])
    for seed in range(10):
        other = pbt(SPACE, fraction=0.25, resample_probability=0.2)
        assert mo_pbt(SPACE).step(Rng(seed), members, np.arange(8), {}) == other.step(
            Rng(seed), members, np.arange(8), {}
        )


def test_the_score_ranks_nothing_and_shows_which_members_have_failed():
    rows = [(0, 9), (1, 8), (2, 7), (3, 6)]
    assert outcomes(population(rows, scores=[4.0, 3.0, 2.0, 1.0])) == {0: {3}}
    assert outcomes(population(rows, scores=[4.0, 3.0, 2.0, math.nan])) == {3: {2}}


def test_a_member_without_a_finite_objective_is_replaced_and_never_a_donor():
    rows = [(9, math.nan), (1, 8), (2, 7), (math.inf, 1)]
    assert outcomes(population(rows, scores=[1.0, 1.0, 1.0, 1.0])) == {0: {2}, 3: {2}}


def test_an_objective_that_is_no_metric_is_named():
    with pytest.raises(
        UsageError, match="objectives: the task evaluates no metric 'god'; did you mean"
    ):
        outcomes(population([(1, 2)] * 4), objectives=["god"])
    with pytest.raises(UsageError, match="no metric 'x'; it evaluates good, bad"):
        outcomes(population([(1, 2)] * 4), objectives=["x"])


@pytest.mark.parametrize(
    ("objectives", "message"),
    [
        ("accuracy", r"objectives: expected names of metrics such as .*, got 'accuracy'"),
        (["accuracy", 3], "objectives: expected names .*, got 3 among them"),
        (["-"], "objectives: expected names .*, got '-' among them"),
        (["accuracy", "-accuracy"], "objectives: expected each metric once, got 'accuracy' twice"),
        (
            ["val_loss"],
            "objectives: 'val_loss' would be maximised, but lower is better.*\"-val_loss\"",
        ),
    ],
)
def test_objectives_that_cannot_be_are_refused_when_the_strategy_is_built(objectives, message):
    with pytest.raises(UsageError, match=message):
        mo_pbt(SPACE, objectives=objectives)


class Tradeoff:
    """A task whose two metrics pull the hyperparameter in opposite directions."""

    space = Space({"x": Uniform(0.0, 1.0)})
    score = "gain"

    def init(self, hparams, ctx):
        return {"steps": 0}

    def train(self, state, hparams, steps, ctx):
        return {"steps": state["steps"] + steps}

    def evaluate(self, state, hparams, split, ctx):
        x = hparams["x"]
        # Above 0.5, more of x gains nothing and costs more.
        return {"gain": min(x, 0.5), "cost": x * x, "sign": -x}


@pytest.mark.parametrize("mode", ["sync", "async"])
def test_the_front_of_a_run_is_what_no_other_present_member_dominates(mode, tmp_path):
    result = popgrad.run(
        Tradeoff(),
        population=12,
        intervals=6,
        interval=1,
        executor="serial",
        strategy="mo-pbt",
        objectives=["gain", "-cost"],
        mode=mode,
        directory=tmp_path / "run",
    )
    last = list(result.last.values())
    expected = [
        one
        for one in last
        if not any(
            other.metrics["gain"] >= one.metrics["gain"]
            and other.metrics["cost"] <= one.metrics["cost"]
            and other.metrics != one.metrics
            for other in last
        )
    ]
    assert {each.id for each in result.front} == {each.id for each in expected}
    gains = [each.metrics["gain"] for each in result.front]
    assert gains == sorted(gains, reverse=True)
    assert len(result.front) > 1
    # Selection by both leaves the members that gain nothing, which PBT by the score alone cannot see.
    assert sum(each.hparams["x"] > 0.55 for each in last) <= 2
    # Loaded from its directory, the run knows its objectives.
    assert [each.id for each in popgrad.load(tmp_path / "run").front] == [
        e.id for e in result.front
    ]


def test_any_run_has_a_front_by_metrics_that_are_named():
    result = popgrad.run(Tradeoff(), population=6, intervals=2, interval=1, executor="serial")
    best = max(each.score for each in result.last.values())
    assert {each.score for each in result.front} == {best}
    lowest = min(result.last.values(), key=lambda each: each.metrics["cost"])
    assert result.front_of(["-cost"])[0].hparams == lowest.hparams
    with pytest.raises(UsageError, match="no metric 'costs'; did you mean"):
        result.front_of(["-costs"])
    with pytest.raises(UsageError, match="'cost' would be maximised"):
        result.front_of(["cost"])
