"""Points of a segment's curves."""

import math
from dataclasses import replace

from popgrad.core.score import Score
from popgrad.core.segment import Telemetry
from popgrad.reports.points import points, texts

RANKING = Score.parse("accuracy")


def test_an_heir_names_its_source_first_and_its_interval_last(segments, space):
    heir = segments[4]
    drawn = points(heir, Telemetry(), space, RANKING)
    assert list(drawn) == [1, 10]
    assert drawn[1]["lineage/source_member"] == 0
    assert list(drawn[10])[-1] == "lineage/interval"
    assert (drawn[10]["lineage/interval"], drawn[10]["lineage/failed"]) == (1, 0)


def test_a_score_that_is_not_finite_is_marked_and_not_drawn(segments, space):
    failed = replace(segments[0], score=math.nan, metrics={"accuracy": math.inf}, digest="d")
    (last,) = (
        numbers
        for step, numbers in points(failed, Telemetry(), space, RANKING).items()
        if step == 10
    )
    assert last["lineage/failed"] == 1
    assert not {"score/accuracy", "validation/accuracy"} & last.keys()


def test_a_segment_that_crashed_lies_at_its_first_step(segments, space):
    """Trained again, its points follow those of the crash, which is one step long."""
    crashed = segments[5]
    assert crashed.broke
    assert list(points(crashed, Telemetry(), space, RANKING)) == [1]


def test_a_segment_of_one_step_has_one_row(segments, space):
    drawn = points(replace(segments[0], steps=1), Telemetry(), space, RANKING)
    assert list(drawn) == [1]
    assert {"hyperparameters/lr", "score/accuracy"} <= drawn[1].keys()


def test_hyperparameters_that_are_no_numbers_are_texts(segments, space):
    assert texts(segments[0], space) == {"hyperparameters/act": "tanh"}
    assert "hyperparameters/act" not in points(segments[0], Telemetry(), space, RANKING)[1]
