"""Restarts of IPBT: hyperparameters from a model of earlier starts."""

import numpy as np

from popgrad.core.space import Choice, Constant, Integer, LogUniform, Space, Uniform
from popgrad.strategies.restarts import Origin, Request, first_hparams, normal_scores, propose

SPACE = Space(
    {
        "lr": LogUniform(1e-4, 1.0),
        "width": Integer(1, 8, init_only=True),
        "act": Choice(("relu", "elu", "tanh")),
        "batch": Constant(32),
    }
)


def origins(space, score, count, seed=0, time=0):
    rng = np.random.default_rng(seed)
    drawn = [space.sample(rng) for _ in range(count)]
    return [Origin(time, tuple(space.encode(each).tolist()), score(each)) for each in drawn]


def requests(count, donor=None, seed=1):
    return [Request(np.random.default_rng([seed, i]), donor) for i in range(count)]


def test_proposals_lie_in_the_space_and_differ():
    known = origins(SPACE, lambda h: -abs(np.log10(h["lr"]) + 2), 8)
    proposed = propose(SPACE, known, 50, requests(6))
    assert all(SPACE.check(each) == each for each in proposed)
    assert len({each["lr"] for each in proposed}) == 6


DONOR = {"lr": 0.5, "width": 5, "act": "elu", "batch": 32}


def test_init_only_hyperparameters_travel_with_the_weights():
    known = origins(SPACE, lambda h: h["lr"], 8)
    inherited = propose(SPACE, known, 50, requests(6, DONOR))
    assert {each["width"] for each in inherited} == {5}
    assert 0.5 not in {each["lr"] for each in inherited}
    assert len({each["width"] for each in propose(SPACE, known, 50, requests(6))}) > 1


def test_each_hyperparameter_has_its_origin():
    known = origins(SPACE, lambda h: h["lr"], 8)
    wanted = {
        3: Request(np.random.default_rng(0), DONOR, modelled=False),
        5: Request(np.random.default_rng(1), DONOR),
        7: Request(np.random.default_rng(2)),
    }
    found = first_hparams(SPACE, known, 50, wanted)
    assert [list(changes.values()) for _, changes in found.values()] == [
        ["sampled", "inherited", "sampled", "inherited"],
        ["modelled", "inherited", "modelled", "inherited"],
        ["modelled", "modelled", "modelled", "inherited"],
    ]
    assert found[3][0]["width"] == found[5][0]["width"] == 5
    assert all(SPACE.check(hparams) == hparams for hparams, _ in found.values())


def test_without_origins_all_are_sampled():
    wanted = {0: Request(np.random.default_rng(0)), 1: Request(np.random.default_rng(1))}
    found = first_hparams(SPACE, origins(SPACE, lambda h: h["lr"], 1), 50, wanted)
    assert {changes["lr"] for _, changes in found.values()} == {"sampled"}


def test_proposals_lie_around_what_has_led_to_the_best_scores():
    space = Space({"x": Uniform(0.0, 1.0)})
    known = origins(space, lambda h: -((h["x"] - 0.7) ** 2), 12)
    best = max(known, key=lambda origin: origin.best).positions[0]
    proposed = [each["x"] for each in propose(space, known, 50, requests(8))]
    assert np.abs(np.array(proposed) - best).max() <= 0.2
    assert np.abs(np.median(proposed) - 0.7) < 0.1


def test_the_box_is_around_the_best_of_the_last_iteration():
    space = Space({"x": Uniform(0.0, 1.0)})
    known = [Origin(0, (0.1,), 9.0), Origin(0, (0.2,), 8.0), Origin(40, (0.9,), 1.0)]
    assert all(each["x"] >= 0.7 for each in propose(space, known, 100, requests(4)))


def test_a_better_option_is_proposed_more_often_than_another():
    space = Space({"act": Choice(("relu", "elu", "tanh"))})
    known = origins(space, lambda h: float(h["act"] == "elu"), 20)
    acts = [each["act"] for each in propose(space, known, 50, requests(10))]
    assert acts.count("elu") > 5


def test_equal_origins_are_no_problem():
    known = [Origin(0, tuple(SPACE.encode(SPACE.sample(np.random.default_rng(0)))), 1.0)] * 4
    assert len(propose(SPACE, known, 0, requests(2))) == 2


def test_equal_arguments_give_equal_proposals():
    known = origins(SPACE, lambda h: h["lr"], 8)
    assert propose(SPACE, known, 9, requests(3)) == propose(SPACE, known, 9, requests(3))


def test_normal_scores_have_the_order_of_the_scores_and_no_outliers():
    scores = np.random.default_rng(0).normal(size=9)
    scores[4] = -1e12
    found = normal_scores(scores.tolist())
    assert np.argsort(found).tolist() == np.argsort(scores).tolist()
    assert np.abs(found).max() < 2
    assert normal_scores([1.0, 1.0]).tolist() == [0.0, 0.0]
