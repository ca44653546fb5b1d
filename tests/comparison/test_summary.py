"""Groups in numbers: intervals, pairs, baselines, and ranks over tasks."""

import numpy as np
import pytest
from scipy import stats

from popgrad import UsageError
from popgrad.comparison.comparison import Comparison, compare_trials
from popgrad.comparison.summary import Ranking
from popgrad.comparison.verdict import Difference
from trials import trial, trials

PBT = [0.91, 0.93, 0.92, 0.95, 0.94]
SEARCH = [0.90, 0.91, 0.91, 0.93, 0.92]


def first_difference(comparison: Comparison, label: str = "pbt") -> Difference:
    (summary,) = [each for each in comparison.reports[0].summaries if each.group.label == label]
    return summary.differences[0]


def test_a_difference_is_that_of_pairs_by_seed() -> None:
    comparison = compare_trials(trials("pbt", PBT) + trials("random-search", SEARCH))
    difference = first_difference(comparison)
    expected = stats.ttest_rel(PBT, SEARCH).confidence_interval()
    assert difference.interval == pytest.approx((0.016, expected.low, expected.high))
    assert (difference.seeds, difference.paired, difference.outcome) == (5, True, "better")
    assert comparison.sentences[0].startswith("pbt helped: ")


def test_only_shared_seeds_are_paired() -> None:
    given = [trial("pbt", seed, 0.9 + seed / 100) for seed in range(2, 9)]
    given += [trial("random-search", seed, 0.8 + seed / 100) for seed in range(7)]
    difference = first_difference(compare_trials(given))
    assert (difference.seeds, difference.paired) == (5, True)
    assert difference.interval.value == pytest.approx(0.1)


def test_runs_that_share_too_few_seeds_are_compared_as_independent_if_there_are_enough() -> None:
    given = trials("pbt", PBT)
    given += [trial("random-search", 100 + seed, score) for seed, score in enumerate(SEARCH)]
    difference = first_difference(compare_trials(given))
    assert (difference.seeds, difference.paired) == (5, False)
    assert difference.interval.value == pytest.approx(np.mean(PBT) - np.mean(SEARCH))
    few = first_difference(compare_trials(given[:3] + given[5:]))
    assert (few.seeds, few.paired, few.outcome) == (3, False, "few seeds")


def test_several_comparisons_share_their_level() -> None:
    given = trials("pbt", PBT) + trials("random-search", SEARCH)
    alone = first_difference(compare_trials(given))
    given += trials("pbt", SEARCH, setting={"strategy": {"name": "pbt", "fraction": 0.3}})
    both = first_difference(compare_trials(given))
    assert (alone.level, both.level, both.comparisons) == (0.95, pytest.approx(0.975), 2)
    assert both.interval.high > alone.interval.high


def test_a_loss_that_is_lower_is_better() -> None:
    given = trials("pbt", [-score for score in SEARCH], score="-loss")
    given += trials("random-search", [-score for score in PBT], score="-loss")
    comparison = compare_trials(given)
    assert "the validation loss of its winner is on average 0.0160 lower" in comparison.sentences[0]
    (data,) = comparison.to_dict()["tasks"]
    assert data["groups"][0]["validation"]["value"] == pytest.approx(np.mean([*SEARCH[1:3], 0.92]))
    assert data["groups"][0]["validation"]["low"] < data["groups"][0]["validation"]["high"]


def test_test_scores_on_record_have_a_sentence_of_their_own() -> None:
    given = trials("pbt", PBT, test=0.8) + trials("random-search", SEARCH, test=0.8)
    sentences = compare_trials(given).sentences
    assert [("test accuracy" in each) for each in sentences] == [False, True]
    assert len(compare_trials([*given[:-1], trial("random-search", 4)]).sentences) == 1


def test_the_baseline_is_random_search_unless_another_is_named() -> None:
    given = trials("pbt", PBT) + trials("random-search", SEARCH)
    assert compare_trials(given).reports[0].baseline == "random-search"
    assert compare_trials(given[:5]).reports[0].baseline == "pbt"
    turned = compare_trials(given, "pbt")
    assert first_difference(turned, "random-search").outcome == "worse"
    with pytest.raises(UsageError, match="'pbt', 'random-search', got 'pb2'"):
        compare_trials(given, "pb2")


def test_a_baseline_may_be_named_without_its_settings_if_it_is_the_only_one() -> None:
    given = trials("random-search", SEARCH)
    given += trials("pbt", PBT, setting={"strategy": {"name": "pbt", "fraction": 0.3}})
    assert compare_trials(given, "pbt").reports[0].baseline == "pbt:fraction=0.3"
    with pytest.raises(UsageError, match="--baseline"):
        compare_trials(given + trials("pbt", PBT), "pbt:fraction=0.4")


def test_lost_runs_and_unequal_budgets_are_named() -> None:
    given = trials("pbt", PBT) + trials("random-search", SEARCH)
    lost = compare_trials([*given, trial("pbt", 5, float("nan"))])
    assert first_difference(lost).outcome == "no winner"
    longer = compare_trials(trials("pbt", PBT, steps=800) + given[5:])
    assert "a run of pbt trained 800 member-steps, one of random-search 400." in longer.sentences[0]


def test_nothing_that_counts_gives_no_numbers() -> None:
    given = trials("pbt", PBT, finished=False) + trials("random-search", SEARCH)
    comparison = compare_trials(given)
    assert comparison.reports[0].summaries[0].winner is None
    assert first_difference(comparison).outcome == "few seeds"
    assert comparison.to_dict()["tasks"][0]["groups"][0]["validation"] is None


# --- several tasks --------------------------------------------------------------------------------


def over_tasks(count: int, **changes: str) -> Comparison:
    given = []
    for number in range(count):
        for shift, strategy in ((0.2, "pbt"), (0.1, "schedule"), (0.0, "random-search")):
            scores = [shift + number / 10 + seed / 1000 for seed in range(5)]
            given += trials(strategy, scores, task=f"task-{number}", **changes)
    return compare_trials(given)


def test_ranks_over_enough_tasks_name_what_differs() -> None:
    ranking = over_tasks(7).ranking
    assert ranking is not None
    assert ranking.labels == ("pbt", "schedule", "random-search")
    assert ranking.ranks == (1.0, 2.0, 3.0)
    assert ranking.cliques == ()
    assert ranking.sentence.endswith("; all differ significantly.")
    assert over_tasks(7).sentences[-1] == ranking.sentence


def test_too_few_tasks_have_no_ranks_and_a_reason() -> None:
    comparison = over_tasks(6)
    assert comparison.ranking is None
    assert "need 7 tasks for 3 strategies, got 6" in comparison.note
    assert compare_trials(trials("pbt", PBT)).note == ""


def test_tasks_with_different_metrics_or_too_few_seeds_are_not_ranked() -> None:
    given = trials("pbt", PBT) + trials("random-search", SEARCH)
    other = trials("pbt", PBT, score="-loss") + trials("random-search", SEARCH, score="-loss")
    assert "need one metric" in compare_trials(given + other).note
    few = trials("pbt", PBT[:2], task="b") + trials("random-search", SEARCH, task="b")
    assert "5 finished runs on every task" in compare_trials(given + few).note


def test_many_pairs_that_differ_are_counted() -> None:
    labels = tuple("abcdefgh")
    ranking = Ranking(labels, tuple(range(1, 9)), 40, 1e-9, ((0, 1),))
    assert ranking.sentence.endswith("; 27 of the 28 pairs differ significantly: see the diagram.")
    few = Ranking(("a", "b", "c"), (1.0, 2.0, 3.0), 40, 1e-9, ((0, 1),))
    assert few.sentence.endswith("; these differ significantly: a and c, b and c.")
