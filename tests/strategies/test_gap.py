"""Gap tests, mutating middle members, and the reference member."""

import math

import numpy as np
import pytest

import popgrad
from popgrad.core.errors import UsageError
from popgrad.core.population import Population
from popgrad.core.seeding import Rng
from popgrad.core.space import Integer, LogUniform, Space
from popgrad.strategies import gap

NAN = math.nan
SPACE = Space({"lr": LogUniform(1e-9, 1e9), "width": Integer(1, 99, init_only=True)})


def population(scores, intervals=3):
    n = len(scores)
    hparams = [{"lr": 1.0 + i, "width": 1 + i} for i in range(n)]
    return Population(np.array(scores, float), np.full(n, intervals), np.full(n, 30), hparams)


def step(members, seed=0, ready=None, **settings):
    ready = np.arange(len(members)) if ready is None else np.array(ready)
    strategy = gap(SPACE, **settings)
    return strategy.step(Rng(seed), members, ready, strategy.init())[0]


def outcomes(members, **settings):
    """Over many seeds: the donors of each heir, and the members whose hyperparameters mutate."""
    donors: dict[int, set[int]] = {}
    mutants = set()
    for seed in range(60):
        plan = step(members, seed, rate=1.0, **settings)
        for member, source, changes in zip(plan.members, plan.sources, plan.changes, strict=True):
            if source != member:
                donors.setdefault(member, set()).add(source)
            if isinstance(changes["lr"], float):
                mutants.add(member)
    return donors, mutants


TOP = {7, 8, 9}
TABLE = [
    # Ten members: the worst three may be replaced, the best three donate, and all others mutate.
    ("wide gaps", [*range(10)], {}, {0: TOP, 1: TOP, 2: TOP}, {1, 2, 3, 4, 5, 6}),
    ("narrow gaps", [10 + 0.01 * i for i in range(10)], {}, {}, {1, 2, 3, 4, 5, 6}),
    ("wide, but not by as much", [*range(10)], {"absolute_gap": 99}, {}, {1, 2, 3, 4, 5, 6}),
    (
        "nine tenths of the donor's",
        [1.0, *[9.0] * 6, *[10.0] * 3],
        {"relative_gap": 0.9},
        {},
        {*range(1, 7)},
    ),
    ("negative scores", [*range(-10, 0)], {}, {0: TOP, 1: TOP, 2: TOP}, {1, 2, 3, 4, 5, 6}),
    ("a tiny gap at zero", [-1e-7, -1e-7, 0.0, 0.0], {}, {}, {1}),
    ("the reference is best", [9, 1, 2], {}, {1: {0}}, {1, 2}),
    ("two members", [0.0, 1.0], {}, {0: {1}}, set()),
    ("a failed one, whatever the gap", [5.0, NAN, 5.1, 5.1], {}, {1: {2, 3}}, {1}),
    ("a failed reference", [NAN, 5.0, 5.1], {}, {0: {2}}, {1}),
]


@pytest.mark.parametrize(
    ("scores", "settings", "donors", "mutants"),
    [row[1:] for row in TABLE],
    ids=[row[0] for row in TABLE],
)
def test_the_rule(scores, settings, donors, mutants):
    assert outcomes(population(scores), **settings) == (donors, mutants)


def test_the_reference_takes_its_donors_hyperparameters_as_they_are():
    members = population([*range(10)])
    for seed in range(20):
        plan = step(members, seed, rate=1.0)
        assert plan.hparams[0] == members.hparams[plan.sources[0]]
        assert set(plan.changes[0].values()) == {"inherited"}
        assert plan.roles == ("reference", *[""] * 9)
    assert step(members, ready=[3, 0]).roles == ("", "reference")


def test_a_mutant_with_its_own_weights_keeps_what_does_not_mutate():
    plan = step(population([*range(10)]), rate=0.0)
    assert plan.changes[4] == {"lr": "kept", "width": "kept"}
    assert plan.changes[1] == {"lr": "inherited", "width": "inherited"}
    plan = step(population([*range(10)]), rate=1.0)
    assert plan.changes[4]["width"] == "kept"
    assert plan.hparams[4]["lr"] == pytest.approx(5.0 * plan.changes[4]["lr"])


def test_during_burn_in_only_failed_members_change():
    scores = [NAN, NAN, *range(8)]
    assert outcomes(population(scores, intervals=1), burn_in=2) == ({0: TOP, 1: TOP}, {1})
    assert outcomes(population(scores, intervals=2), burn_in=2)[1] == {1, 2, 3, 4, 5, 6}


def test_the_roles_hold_from_the_first_segment_on_and_are_recorded():
    for mode in ("sync", "async"):
        result = popgrad.run(
            "quadratic",
            population=5,
            intervals=4,
            interval=2,
            executor="serial",
            strategy="gap",
            rate=1.0,
            mode=mode,
        )
        roles = {(segment.member, segment.role) for segment in result.segments}
        assert roles == {(0, "reference"), (1, ""), (2, ""), (3, ""), (4, "")}
        mutated = {
            segment.member
            for segment in result.segments
            if any(isinstance(change, float) for change in segment.changes.values())
        }
        assert mutated
        assert 0 not in mutated


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"fraction": 0.6}, r"fraction: expected .* in \[0, 0.5\] .*, got 0.6"),
        ({"absolute_gap": -1}, "absolute_gap: expected a number 0 or more, got -1"),
        ({"relative_gap": NAN}, "relative_gap: expected a finite number, got nan"),
        ({"rate": 2}, r"rate: expected a probability in \[0, 1\], got 2"),
        ({"factor_range": [2]}, r"factor_range: expected two numbers, .*, got \[2\]"),
        ({"burn_in": 0.5}, "burn_in: expected a number of intervals, 0 or more, got 0.5"),
    ],
)
def test_settings_out_of_range_are_refused_by_name(settings, message):
    with pytest.raises(UsageError, match=message):
        gap(SPACE, **settings)
