"""The figure of a comparison shows what is compared, and is drawn for any trials."""

import numpy as np
import pytest

from popgrad.comparison.comparison import Comparison, compare_trials
from popgrad.comparison.figure import mean_curve
from popgrad.comparison.groups import Group
from popgrad.statistics.bootstrap import iqm
from trials import trial, trials

PBT = [0.91, 0.93, 0.92, 0.95, 0.94]
SEARCH = [0.90, 0.91, 0.91, 0.93, 0.92]


def texts(comparison: Comparison) -> str:
    figure = comparison.figure()
    axes = [text for each in figure.axes for text in (*each.get_yticklabels(), *each.texts)]
    titles = [each.get_title(loc="left") for each in figure.axes]
    legends = [text for legend in figure.legends for text in legend.get_texts()]
    return "\n".join([*titles, *(text.get_text() for text in (*axes, *legends))])


def test_it_names_strategies_seeds_and_the_baseline() -> None:
    shown = texts(compare_trials(trials("pbt", PBT) + trials("random-search", SEARCH)))
    assert "pbt\n5 seeds" in shown
    assert "random-search\nbaseline, 5 seeds" in shown
    assert "test split" not in shown


def test_test_scores_are_drawn_if_they_are_on_record() -> None:
    shown = texts(compare_trials(trials("pbt", PBT, test=0.8) + trials("random-search", SEARCH)))
    assert "on the test split" in shown


def test_ranks_over_tasks_are_drawn_below() -> None:
    given = [
        each
        for number in range(6)
        for strategy, shift in (("pbt", 0.1), ("random-search", 0.0))
        for each in trials(strategy, [shift + score for score in PBT], task=f"task-{number}")
    ]
    comparison = compare_trials(given)
    shown = texts(comparison)
    assert "pbt  1.00" in shown
    assert "mean rank over 6 tasks" in shown
    assert len(comparison.figure().axes) == 13


@pytest.mark.parametrize(
    "given",
    [
        [trial()],
        trials("pbt", PBT, score="-loss"),
        [trial(seed=0, finished=False), trial("random-search")],
        [trial(winner=float("nan"), curve=np.array([[1.0, np.nan, np.nan]]))],
        [trial(curve=np.empty((0, 3)))],
        [trial(seed=0), trial(seed=1, curve=np.array([[300.0, 0.5, 0.4], [500.0, 0.6, 0.5]]))],
    ],
    ids=["single", "loss", "unfinished", "failed", "empty", "uneven"],
)
def test_any_trials_can_be_drawn(given: list, tmp_path: object) -> None:
    figure = compare_trials(given).figure()
    figure.canvas.draw()
    assert len(figure.axes) == 2


def test_a_mean_curve_has_the_interval_of_its_seeds_at_each_point() -> None:
    group = Group("pbt", tuple(trials("pbt", PBT)))
    curve = mean_curve(group, 1)
    assert curve[:, 0].tolist() == [200.0, 400.0]
    assert tuple(curve[1, 1:]) == pytest.approx(tuple(iqm(np.array(PBT))))


def test_curves_of_other_steps_are_compared_within_those_that_all_have() -> None:
    longer = trial(seed=1, curve=np.array([[300.0, 0.5, 0.4], [500.0, 0.6, 0.5]]))
    curve = mean_curve(Group("pbt", (trial(seed=0), longer)), 1)
    assert curve[0, 0] == 300.0
    assert curve[-1, 0] == 400.0
    assert curve[-1, 1] == pytest.approx((0.9 + 0.55) / 2)


def test_the_start_is_off_the_scale_if_it_would_take_half_of_the_height() -> None:
    steps = np.arange(1.0, 9.0)
    late = 0.9 + steps / 100
    curve = np.column_stack([100 * steps, late, late - 0.01])
    (_, whole) = compare_trials([trial(curve=curve)]).figure().axes
    assert whole.get_ylabel() == "accuracy"
    curve[0, 1:] = 0.1
    (_, cut) = compare_trials([trial(curve=curve)]).figure().axes
    assert cut.get_ylabel() == "accuracy\n(the start is off the scale)"
    assert 0.8 < cut.get_ylim()[0] < 0.91


@pytest.mark.draws
def test_equal_trials_give_equal_files(tmp_path: object) -> None:
    given = trials("pbt", PBT) + trials("random-search", SEARCH)
    for name in ("a", "b"):
        folder = tmp_path / name  # type: ignore[operator]
        folder.mkdir()
        compare_trials(given).save(folder)
    first, second = (tmp_path / name / "compare.png" for name in ("a", "b"))  # type: ignore[operator]
    assert first.read_bytes() == second.read_bytes()
    assert first.stat().st_size > 10_000
