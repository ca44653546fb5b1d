"""Both threshold rules, by tables made by hand: who copies from whom, and who mutates."""

import math

import numpy as np
import pytest

from popgrad.core.errors import UsageError
from popgrad.core.population import Population
from popgrad.core.seeding import Rng
from popgrad.core.space import Integer, LogUniform, Space
from popgrad.strategies import threshold

NAN = math.nan
SPACE = Space({"lr": LogUniform(1e-9, 1e9), "width": Integer(1, 99, init_only=True)})


def population(scores, curves=()):
    n = len(scores)
    hparams = [{"lr": 1.0 + i, "width": 1 + i} for i in range(n)]
    return Population(
        np.array(scores, float), np.full(n, 3), np.full(n, 30), hparams, curves=curves
    )


def step(members, seed=0, ready=None, **settings):
    ready = np.arange(len(members)) if ready is None else np.array(ready)
    strategy = threshold(SPACE, **settings)
    return strategy.step(Rng(seed), members, ready, strategy.init())[0]


def outcomes(members, **settings):
    """Over many seeds: the donors of each heir, and the members that mutate with their own weights."""
    donors: dict[int, set[int]] = {}
    mutants = set()
    for seed in range(60):
        plan = step(members, seed, rate=1.0, **settings)
        for member, source, changes in zip(plan.members, plan.sources, plan.changes, strict=True):
            if source != member:
                donors.setdefault(member, set()).add(source)
            elif changes["lr"] != "kept":
                mutants.add(member)
    return donors, mutants


TOP = {8, 9, 10}
RANK = [
    # Eight members: the worst one may be replaced, by one of the best three.
    ("a clear gap", [0, 1, 2, 3, 4, 5, 6, 7], {}, {0: {5, 6, 7}}, set()),
    ("two of sixteen", [*range(16)], {}, {0: {*range(11, 16)}, 1: {*range(11, 16)}}, set()),
    ("no spread", [5.0] * 8, {}, {}, set()),
    ("within a twentieth", [10.0, 10.1, 10.1, 10.2, 10.2, 10.3, 10.3, 10.3], {}, {}, {0}),
    ("within the deviation", [0, 1, 2, 3, 4, 5, 6, 7], {"deviations": 4.0}, {}, {0}),
    # The deviation leaves the lowest fifth out; with the outlier in it, no gap would be wide enough.
    ("an outlier", [-999, 0, 3, 3, 3, 3, 4, 4, 5, 5, 5], {"best": 0.25}, {0: TOP, 1: TOP}, set()),
    (
        "half are scored",
        [0, 1, 2, 9, *[NAN] * 4],
        {},
        {each: {1, 2, 3} for each in (4, 5, 6, 7)},
        set(),
    ),
    ("negative scores", [-20, -9, -8, -7, -7, -5, -5, -4], {}, {0: {5, 6, 7}}, set()),
]


@pytest.mark.parametrize(
    ("scores", "settings", "donors", "mutants"),
    [row[1:] for row in RANK],
    ids=[row[0] for row in RANK],
)
def test_the_rank_rule(scores, settings, donors, mutants):
    assert outcomes(population(scores), **settings) == (donors, mutants)


def test_a_member_that_was_as_good_as_a_donor_within_its_interval_is_left_alone():
    curves = [np.array([0.0, score]) for score in range(8)]
    assert outcomes(population([*range(8)], curves))[0] == {0: {5, 6, 7}}
    curves[0] = np.array([5.0, 0.0])
    assert outcomes(population([*range(8)], curves)) == ({}, set())


DEVIATION = [
    ("one leads, one is behind", [0, 5, 5, 5, 10], {}, {0: {4}}, set()),
    ("no spread", [5.0] * 4, {"margin": 0.0}, {}, set()),
    ("within the margin", [4.96, 5.0, 5.0, 5.04], {}, {}, set()),
    ("no leader", [-0.1, 0.03, 0.03, 0.03], {}, {}, {0}),
    ("no one is behind", [0.0, 0.0, 0.0, 0.12], {"margin": 0.04}, {}, set()),
    ("many deviations", [0, 5, 5, 5, 10], {"deviations": 1.6}, {}, set()),
    ("two members", [0.0, 1.0], {}, {0: {1}}, set()),
    ("a failed one with a leader", [NAN, 5, 5, 10], {}, {0: {3}, 1: {3}, 2: {3}}, set()),
    ("a failed one without", [NAN, 5.0, 5.0, 4.99], {}, {0: {1, 2}}, set()),
]


@pytest.mark.parametrize(
    ("scores", "settings", "donors", "mutants"),
    [row[1:] for row in DEVIATION],
    ids=[row[0] for row in DEVIATION],
)
def test_the_deviation_rule(scores, settings, donors, mutants):
    assert outcomes(population(scores), rule="deviation", **settings) == (donors, mutants)


def test_by_the_rank_rule_half_of_the_heirs_keep_their_own_hyperparameters():
    members = population([*range(8)])
    plans = [step(members, seed, rate=0.0) for seed in range(1000)]
    own = [plan.changes[0]["lr"] == "kept" for plan in plans]
    # Three standard errors of a share of 1,000 are 0.047.
    assert abs(np.mean(own) - 0.5) < 0.05
    for plan, keeps in zip(plans, own, strict=True):
        donor = members.hparams[plan.sources[0]]
        assert plan.hparams[0] == {"lr": 1.0 if keeps else donor["lr"], "width": donor["width"]}
        assert plan.changes[0] == {"lr": "kept" if keeps else "inherited", "width": "inherited"}


@pytest.mark.parametrize(
    ("settings", "rate", "high"), [({}, 0.15, 1.5), ({"rule": "deviation"}, 0.25, 2.0)]
)
def test_each_rule_mutates_at_its_own_rate_by_its_own_factors(settings, rate, high):
    members = population([0, 5, 5, 5, 10, 5, 5, 5])
    changes = [step(members, seed, **settings).changes[0]["lr"] for seed in range(1500)]
    factors = [change for change in changes if isinstance(change, float)]
    assert abs(len(factors) / len(changes) - rate) < 0.035
    size = np.exp(np.abs(np.log(factors)))
    assert 1.1 <= size.min() < 1.12
    assert high - 0.05 < size.max() <= high
    assert abs(np.mean([factor > 1 for factor in factors]) - 0.5) < 0.12


def test_a_failed_member_takes_its_donors_hyperparameters():
    members = population([NAN, 1, 2, 3, 4, 5, 6, 7])
    for seed in range(30):
        plan = step(members, seed, rate=0.0)
        assert plan.hparams[0] == members.hparams[plan.sources[0]]


def test_members_decide_one_by_one_as_they_do_together():
    members = population([*range(16)])
    together = step(members)
    for member in range(16):
        alone = step(members, ready=[member])
        assert alone.sources == together.sources[member : member + 1]
        assert alone.hparams == together.hparams[member : member + 1]


@pytest.mark.parametrize("rule", ["rank", "deviation"])
def test_before_any_other_member_has_a_score_a_failed_one_waits(rule):
    members = Population(
        np.array([NAN, NAN]), np.array([1, 0]), np.array([10, 0]), [{"lr": 1.0, "width": 1}] * 2
    )
    assert step(members, ready=[0], rule=rule).sources == (0,)


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"rule": "mean"}, "rule: expected 'rank' or 'deviation', got 'mean'"),
        ({"worst": 2}, r"worst: expected a number in \[0, 1\], got 2"),
        ({"best": -1}, r"best: expected a number in \[0, 1\], got -1"),
        ({"margin": -1}, "margin: expected a number 0 or more, got -1"),
        ({"deviations": math.inf}, "deviations: expected a finite number, got inf"),
        ({"own_probability": 2}, r"own_probability: expected a probability in \[0, 1\], got 2"),
        ({"rate": "x"}, "rate: expected a finite number, got 'x'"),
        ({"factor_range": (1.5, 1.1)}, r"factor_range: .* 1 <= low <= high, .*, got \[1.5, 1.1\]"),
        ({"factor_range": (0.5, 1.1)}, "factor_range: expected a number 1 or more, got 0.5"),
        ({"factor_range": 1.5}, "factor_range: expected two numbers, .*, got 1.5"),
    ],
)
def test_settings_out_of_range_are_refused_by_name(settings, message):
    with pytest.raises(UsageError, match=message):
        threshold(SPACE, **settings)
