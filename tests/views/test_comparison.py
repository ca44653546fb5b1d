"""Curves of several runs over member-steps, in groups, with intervals over seeds."""

import math

import numpy as np
import pytest

from popgrad.core.score import Score
from popgrad.views.comparison import ComparedRun, group_json
from popgrad.views.plain import text


def run(seed: int, *points: tuple[float, float, float]) -> ComparedRun:
    return ComparedRun(f"id{seed}", f"run {seed}", seed, True, np.array(points).reshape(-1, 3))


def test_the_best_score_never_falls_and_the_median_is_that_of_the_time() -> None:
    one = run(0, (10, 0.5, 0.2), (20, 0.4, 0.1), (30, math.nan, math.nan), (40, 0.7, 0.3))
    (found,) = group_json("pbt", [one], Score.parse("q"))["runs"]
    assert found["steps"] == [10, 20, 30, 40]
    assert found["best"] == [0.5, 0.5, 0.5, 0.7]
    assert found["median"] == [0.2, 0.1, None, 0.3]


def test_a_score_that_is_minimised_is_shown_as_it_was_evaluated() -> None:
    two = [run(seed, (10, -2.0 - seed, -3.0), (20, -1.0 - seed, -4.0)) for seed in (0, 1)]
    found = group_json("pbt", two, Score.parse("-loss"))
    assert found["runs"][1]["best"] == [3.0, 2.0]
    assert found["best"] == {"value": [2.5, 1.5], "low": [2.0, 1.0], "high": [3.0, 2.0]}


def test_a_group_is_summarised_as_far_as_all_have_come() -> None:
    ahead = run(0, (10, 0.1, 0.0), (20, 0.2, 0.0), (30, 0.3, 0.0))
    behind = run(1, (15, 0.3, 0.0), (25, 0.4, 0.0))
    found = group_json("pbt", [ahead, behind], Score.parse("q"))
    assert found["steps"] == [15, 20, 25]
    assert found["best"]["value"] == pytest.approx([0.2, 0.25, 0.3])


def test_a_single_run_has_no_interval() -> None:
    found = group_json("pbt", [run(0, (10, 0.1, 0.0))], Score.parse("q"))
    assert found["best"] == {"value": [0.1], "low": [None], "high": [None]}


def test_a_run_without_a_segment_leaves_its_group_without_a_summary() -> None:
    found = group_json("pbt", [run(0), run(1, (10, 0.1, 0.0))], Score.parse("q"))
    assert (found["steps"], found["best"]["value"]) == ([], [])
    assert [len(each["steps"]) for each in found["runs"]] == [0, 1]


def test_long_runs_are_summarised_at_some_points_the_ends_among_them() -> None:
    points = [(float(step), float(step), 0.0) for step in range(1, 5_001)]
    found = group_json("pbt", [run(0, *points), run(1, *points)], Score.parse("q"))
    assert len(found["steps"]) == 60
    assert (found["steps"][0], found["steps"][-1]) == (1, 5_000)
    assert found["best"]["value"] == [float(step) for step in found["steps"]]


def test_scores_that_do_not_exist_are_plain() -> None:
    failed = [run(seed, (10, math.nan, math.nan), (20, 0.5, math.inf)) for seed in (0, 1)]
    found = group_json("pbt", failed, Score.parse("q"))
    assert found["best"]["value"] == [None, 0.5]
    assert found["median"]["value"] == [None, None]
    assert text(found)
