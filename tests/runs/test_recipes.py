"""Which members a soup is made of: added in order of their scores, as long as the score does not fall."""

import math

import pytest
import torch

from popgrad import Segment, UsageError
from popgrad.core.score import Score
from popgrad.runs.recipes import Recipes


def segment(member, score):
    return Segment(member, 0, None, {}, {}, 0, 0, 1, 0, score, {}, "d", "done")


class Line:
    """Networks of one weight, whose score is a function of it; the test split has another function."""

    mean = "outputs"

    def __init__(self, score, test=lambda x: 0.0):
        self.functions = {"validation": score, "test": test}
        self.read = []

    def evaluate(self, network, split):
        self.read.append(split)
        state, _ = network
        return {"q": float(self.functions[split](state["model"]["w"].item()))}

    def evaluate_ensemble(self, members, split):
        weights = [state["model"]["w"].item() for state, _ in members]
        self.read.append(split)
        return {"q": float(self.functions[split](sum(weights) / len(weights)))}

    def statistics(self, network):
        return {}


HIGHEST = Score("q")


def recipes(weights, networks, ranking=HIGHEST):
    """Return recipes for members with these weights, the best first."""
    members = {i: ({"model": {"w": torch.tensor(w)}}, {}) for i, w in enumerate(weights)}
    return Recipes(networks, members, ranking)


def peak(x):
    return -((x - 1.0) ** 2)


def test_a_member_is_added_if_the_score_does_not_fall():
    # The best is 0.9; with 1.1 the mean is the peak; 0.5 would move it away; -5 far away.
    made = recipes([0.9, 1.1, 0.5, -5.0], Line(peak))
    winner = made.soup("winner", [0])
    greedy = made.greedy([0, 1, 2, 3], winner)
    assert greedy.members == (0, 1)
    assert greedy.score == pytest.approx(0.0, abs=1e-12)
    assert greedy.state["model"]["w"].item() == pytest.approx(1.0)


def test_an_equal_score_is_no_fall():
    greedy_of = recipes([0.9, 0.9, 0.9], Line(peak))
    assert greedy_of.greedy([0, 1, 2], greedy_of.soup("winner", [0])).members == (0, 1, 2)


def test_a_member_after_one_that_was_refused_may_still_join():
    made = recipes([0.8, -3.0, 1.2], Line(peak))
    assert made.greedy([0, 1, 2], made.soup("winner", [0])).members == (0, 2)


@pytest.mark.parametrize("seed", range(20))
def test_greedy_is_never_below_the_best_member_on_validation(seed):
    weights = torch.randn(6, generator=torch.Generator().manual_seed(seed)).tolist()
    scores = torch.randn(97, generator=torch.Generator().manual_seed(seed + 100))

    def rough(x):  # a score without any order
        return scores[int(abs(x) * 1000) % 97].item()

    weights.sort(key=rough, reverse=True)
    made = recipes(weights, Line(rough))
    winner = made.soup("winner", [0])
    assert made.greedy(list(range(6)), winner).score >= winner.score


def test_a_soup_that_is_not_finite_is_never_chosen():
    made = recipes([0.9, 1.1], Line(lambda x: peak(x) if x < 0.95 else math.nan))
    winner = made.soup("winner", [0])
    assert made.greedy([0, 1], winner).members == (0,)
    assert made.soup("uniform soup", [0, 1]).score == -math.inf


def test_where_lower_is_better_the_soup_is_the_lowest():
    made = recipes([0.9, 1.1, 3.0], Line(lambda x: -peak(x)), Score("q", minimize=True))
    greedy = made.greedy([0, 1, 2], made.soup("winner", [0]))
    assert greedy.members == (0, 1)
    assert greedy.metrics["q"] == pytest.approx(0.0, abs=1e-12)


def test_every_evaluation_has_to_agree_with_the_record():
    made = recipes([0.9, 0.5], Line(peak))
    agreeing = [segment(0, peak(0.9)), segment(1, peak(0.5))]
    assert made.winner(agreeing).members == (0,)
    other = [segment(0, peak(0.9)), segment(1, 0.7)]
    with pytest.raises(UsageError, match=r"member 1 was recorded with q 0.7, but .* gives -0.25"):
        made.winner(other)


def test_a_missing_metric_is_named():
    made = recipes([0.9], Line(peak), Score("accuracy"))
    with pytest.raises(UsageError, match="no 'accuracy', which ranks; it gives q"):
        made.soup("winner", [0])


def test_the_test_split_is_read_by_tested_alone():
    networks = Line(peak, test=lambda x: x)
    made = recipes([0.9, 1.1], networks)
    greedy = made.greedy([0, 1], made.soup("winner", [0]))
    ensemble = made.ensemble()
    assert set(networks.read) == {"validation"}
    assert made.tested(greedy).test == {"q": pytest.approx(1.0)}
    assert made.tested(ensemble).test == {"q": pytest.approx(1.0)}
    assert networks.read.count("test") == 2
