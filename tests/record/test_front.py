"""The Pareto front of segments."""

import math

import pytest

from popgrad.core.errors import UsageError
from popgrad.core.score import Score
from popgrad.core.segment import Segment
from popgrad.record.front import segment_front

OBJECTIVES = (Score.parse("accuracy"), Score.parse("-params"))


def segment(member, accuracy, params, score=1.0):
    return Segment(
        *(member, 3, None, {}, {}, 0, 0, 10, 0, score),
        {"accuracy": accuracy, "params": params},
        *("", "done"),
    )


def test_no_segment_on_the_front_is_dominated_and_the_best_in_the_first_objective_comes_first():
    segments = [
        segment(0, 0.8, 10.0),
        segment(1, 0.9, 30.0),
        segment(2, 0.8, 20.0),
        segment(3, 0.8, 10.0),
        segment(4, 0.99, 1.0, score=math.nan),
    ]
    assert [each.member for each in segment_front(segments, OBJECTIVES)] == [1, 0, 3]
    assert segment_front(segments[4:], OBJECTIVES) == ()
    assert segment_front([], OBJECTIVES) == ()


def test_a_metric_that_is_missing_is_named():
    with pytest.raises(
        UsageError, match="the task evaluates no metric 'size'; it evaluates accuracy"
    ):
        segment_front([segment(0, 0.8, 10.0)], (Score.parse("-size"),))
