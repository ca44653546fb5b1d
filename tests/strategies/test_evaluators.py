"""Evaluators of FIRE PBT: when they start, stop and succeed."""

import json
import math

import numpy as np
import pytest

from popgrad.core.population import Population
from popgrad.strategies.curves import Curve
from popgrad.strategies.evaluators import (
    CURVE_LENGTH,
    Evaluation,
    Evaluators,
    after_interval,
    assign,
    judge,
    verdict,
)

ROLES = ("p1", "p1", "p1", "p2", "p2", "p2", "evaluator", "evaluator")
RULES = {"max_rounds": 3, "significance": 0.01}


def plain(scores):
    values = np.array(scores, dtype=np.float64)
    return Curve(values, values)


def population(scores, curves=()):
    n = len(scores)
    return Population(
        np.array(scores, dtype=np.float64),
        np.full(n, 2),
        np.full(n, 20),
        [{}] * n,
        curves=curves,
    )


def line(start, slope, points=30):
    return tuple((start + slope * np.arange(points)).tolist())


def test_a_curve_that_rises_faster_from_the_same_score_on_succeeds():
    assert verdict(plain(line(0, 2)), plain(line(0, 1)), 3, **RULES) == "success"
    assert verdict(plain(line(0, 1)), plain(line(0, 2)), 3, **RULES) == "stop"


def test_without_an_overlap_an_evaluator_stops_after_its_rounds():
    below, above = plain(line(-100, 1)), plain(line(0, 1))
    assert [verdict(below, above, rounds, **RULES) for rounds in (1, 2, 3, 4)] == [
        *("continue", "continue"),
        *("stop", "stop"),
    ]


def test_with_an_overlap_the_bound_of_the_sign_test_falls_with_the_rounds():
    # 6 of 10 points are higher: p = 0.377, below 0.677 and 0.343 + 0.01 = 0.353.
    child = plain(np.zeros(10))
    even = plain([0.0, 1, 1, 1, 1, 1, 1, -1, -1, -1])
    assert verdict(even, child, 1, **RULES) == "continue"
    assert verdict(even, child, 2, **RULES) == "stop"
    # Half of them: p = 0.623.
    half = plain([0.0, 1, 1, 1, 1, 1, -1, -1, -1, -1])
    assert verdict(half, child, 1, **RULES) == "continue"
    assert verdict(half, child, 1, max_rounds=2, significance=0.01) == "stop"


def test_a_significant_curve_without_a_better_best_score_does_not_succeed():
    own = plain([0.0, *[1.0] * 20, 1.0])
    child = plain([0.0, *[0.5] * 20, 3.0])
    assert verdict(own, child, 1, **RULES) == "continue"


def running(curves, evaluations, waits=None):
    curves = {member: tuple(curve) for member, curve in curves.items()}
    return Evaluators(curves, evaluations, waits or dict.fromkeys((3, 4, 5), 0))


def test_a_success_hands_over_the_weights_and_the_curve():
    state = running({0: line(0, 1), 1: (), 2: (), 6: line(0, 2)}, {6: Evaluation(3, 0, 2)})
    after, donors = judge(state, frozenset(), **RULES)
    assert donors == {0: 6}
    assert after.curves[0] == line(0, 2)
    assert after.evaluations == {}


@pytest.mark.parametrize("replaced", [0, 3])
def test_an_evaluation_stops_if_its_child_or_parent_is_replaced(replaced):
    state = running({0: line(0, 1), 6: line(-100, 1)}, {6: Evaluation(3, 0, 1)})
    kept, _ = judge(state, frozenset(), **RULES)
    assert kept.evaluations == state.evaluations
    after, donors = judge(state, frozenset({replaced}), **RULES)
    assert after.evaluations == {}
    assert donors == {}
    assert after.waits[3] == (-1 if replaced == 3 else 0)


def test_a_replaced_child_takes_no_weights_and_starts_a_new_curve():
    state = running({0: line(0, 1), 6: line(0, 2)}, {6: Evaluation(3, 0, 3)})
    after, donors = judge(state, frozenset({0}), **RULES)
    assert donors == {}
    assert after.curves[0] == ()


def test_the_second_evaluator_of_a_child_has_to_beat_the_first():
    curves = {0: line(0, 1), 6: line(0, 2), 7: line(0, 1.9)}
    both = {6: Evaluation(3, 0, 2), 7: Evaluation(4, 0, 2)}
    after, donors = judge(running(curves, both), frozenset(), **RULES)
    assert donors == {0: 6}
    assert after.evaluations == {}
    _, donors = judge(running({**curves, 7: line(0, 3)}, both), frozenset(), **RULES)
    assert donors == {0: 7}


def test_an_evaluator_whose_child_inherits_from_another_stops():
    curves = {0: line(0, 1), 6: line(-100, 1), 7: line(0, 2)}
    both = {6: Evaluation(3, 0, 1), 7: Evaluation(4, 0, 1)}
    after, donors = judge(running(curves, both), frozenset(), **RULES)
    assert donors == {0: 7}
    assert after.evaluations == {}


def test_fitness_is_the_sum_of_advantages_over_the_other_evaluated_members():
    # The second start is reached at the second point of each lower curve: 2 against 2.5, 2 against
    # 4.7 and 4.5 against 4.7.
    curves = {6: line(0, 1, 3), 7: line(0.5, 2, 3), 8: line(0.7, 4, 3)}
    state = running(curves, {each: Evaluation(each - 3, 0, 1) for each in curves})
    assert state.fitness() == pytest.approx({3: -0.5 - 2.7, 4: 0.5 - 0.2, 5: 2.7 + 0.2})


def test_idle_evaluators_take_the_parents_that_wait_longest_and_the_best_child():
    state = Evaluators({}, {}, {3: 1, 4: 3, 5: 1})
    after, started = assign(state, population([1, 3, 2, 9, 9, 9, 0, 0]), ROLES, frozenset())
    assert started == {6: Evaluation(4, 1, 0), 7: Evaluation(3, 1, 0)}
    assert after.waits == {3: 0, 4: 0, 5: 1}
    assert after.curves == {6: (), 7: ()}


def test_a_child_was_not_replaced_and_has_not_failed():
    state = Evaluators({}, {}, {3: 1, 4: 3, 5: 1})
    members = population([1, 3, math.nan, 9, 9, 9, 0, 0])
    _, started = assign(state, members, ROLES, frozenset({1}))
    assert {each.child for each in started.values()} == {0}
    _, started = assign(state, members, ROLES, frozenset({0, 1}))
    assert started == {}


def test_a_parent_is_evaluated_once_at_a_time():
    state = Evaluators({6: ()}, {6: Evaluation(4, 0, 1)}, {3: 1, 4: 3, 5: 2})
    _, started = assign(state, population([1] * 8), ROLES, frozenset())
    assert started == {7: Evaluation(5, 0, 0)}


def test_an_interval_lengthens_curves_rounds_and_waits():
    curves = [np.array([float(member), math.nan, member + 0.5]) for member in range(8)]
    state = running({0: (9.0,), 6: (7.0,)}, {6: Evaluation(3, 0, 1)}, {3: 0, 4: 2, 5: -1})
    after = after_interval(state, population([1] * 8, curves), ROLES)
    assert after.curves == {
        0: (9.0, 0.0, 0.5),
        1: (1.0, 1.5),
        2: (2.0, 2.5),
        6: (7.0, 6.0, 6.5),
    }
    assert after.evaluations == {6: Evaluation(3, 0, 2)}
    assert after.waits == {3: 0, 4: 3, 5: 0}


@pytest.mark.parametrize(
    ("scores", "roles"),
    [
        ([1, 1, 1, 1, 1, 1, math.nan, 1], ROLES),  # the evaluator has failed
        ([1] * 6, ROLES[:6]),  # it is gone
        ([1] * 8, ("p1", "p1", "p1", "p1", *ROLES[4:])),  # its parent has another role
    ],
)
def test_an_evaluation_ends_if_one_of_its_members_cannot_continue(scores, roles):
    state = running({0: (1.0,), 6: (1.0,)}, {6: Evaluation(3, 0, 1)})
    assert after_interval(state, population(scores), roles).evaluations == {}


def test_a_curve_keeps_its_last_points():
    state = running({0: line(0, 1, CURVE_LENGTH)}, {})
    after = after_interval(state, population([500.0] * 8), ROLES)
    assert after.curves[0] == (*line(1, 1, CURVE_LENGTH - 1), 500.0)


def test_the_memory_is_json_and_comes_back():
    state = running({0: (1.0, 2.0), 6: ()}, {6: Evaluation(3, 0, 1)}, {3: -1, 4: 0, 5: 2})
    written = json.loads(json.dumps(state.memory()))
    assert written == state.memory()
    assert Evaluators.from_memory(written) == state
    assert Evaluators.from_memory({}) == Evaluators({}, {}, {})
