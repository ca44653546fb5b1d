"""Groups of trials: what is compared, and how it is called."""

from pathlib import Path

import pytest

from popgrad import UsageError
from popgrad.comparison.groups import find_runs, group_trials, strategy_label
from trials import trial, trials


def labels(given: list) -> list[list[str]]:
    return [[group.label for group in problem.groups] for problem in group_trials(given)]


def test_trials_that_differ_in_the_seed_alone_are_one_group_ordered_by_seed() -> None:
    given = [trial(seed=7), trial(seed=0), trial("random-search", seed=0)]
    (problem,) = group_trials(given)
    assert [group.label for group in problem.groups] == ["pbt", "random-search"]
    assert [each.seed for each in problem.groups[0].trials] == [0, 7]


def test_a_label_names_what_differs() -> None:
    changed = {"strategy": {"name": "pbt", "fraction": 0.3, "factors": [0.8, 1.25]}}
    given = [trial(), trial(setting=changed), trial(seed=1, setting={"population": 4})]
    assert labels(given) == [["pbt, population 8", "pbt:fraction=0.3", "pbt, population 4"]]


def test_other_tasks_options_and_metrics_are_other_problems() -> None:
    given = [
        trial(),
        trial(task="/home/me/toy.py:Toy"),
        trial(problem={"options": {"lr": 1}}),
        trial(score="-loss"),
    ]
    assert [problem.label for problem in group_trials(given)] == [
        "digits, options {}, score accuracy",
        "toy.py:Toy",
        'digits, options {"lr":1}, score accuracy',
        "digits, options {}, score -loss",
    ]


def test_the_same_run_twice_is_refused() -> None:
    with pytest.raises(UsageError, match="the same run: equal settings and seed 0"):
        group_trials([trial(), trial()])


def test_trials_without_an_end_or_a_winner_do_not_count() -> None:
    given = [trial(seed=0), trial(seed=1, finished=False), trial(seed=2, winner=float("nan"))]
    (group,) = group_trials(given)[0].groups
    assert (len(group.counted), group.unfinished, group.lost) == (1, 1, 1)
    assert group.scores().tolist() == [0.9]


def test_a_group_is_tested_if_all_its_trials_are() -> None:
    (both,) = group_trials(trials("pbt", [0.9, 0.8], test=0.7))[0].groups
    assert both.tested
    (one,) = group_trials([trial(seed=0, test=0.7), trial(seed=1)])[0].groups
    assert not one.tested


def test_the_settings_of_a_strategy_without_defaults_are_all_named() -> None:
    assert strategy_label({"name": "pbt", "factors": [0.8, 1.25], "fraction": 0.2}) == "pbt"
    assert strategy_label({"name": "custom"}) == "custom"
    assert strategy_label({"name": "unheard-of", "x": 1}) == "unheard-of:x=1"


def test_folders_of_runs_are_searched_two_levels_deep(tmp_path: Path) -> None:
    for place in ("a", "b/c", "b/d/e", "b/d/f/g"):
        (tmp_path / place).mkdir(parents=True)
        (tmp_path / place / "journal.db").touch()
    found = find_runs([tmp_path / "a", tmp_path / "b"])
    assert [str(path.relative_to(tmp_path)) for path in found] == ["a", "b/c", "b/d/e"]
    assert find_runs([tmp_path / "a", tmp_path / "a"]) == [tmp_path / "a"]
    with pytest.raises(UsageError, match="holds no run"):
        find_runs([tmp_path / "b" / "d" / "f" / "g" / "h"])
