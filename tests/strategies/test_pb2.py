"""PB2: heirs train with what a model of the recorded gains expects most of."""

import json
import math

import numpy as np
import pytest

from popgrad.core.errors import UsageError
from popgrad.core.population import Population
from popgrad.core.seeding import Rng
from popgrad.core.space import (
    Choice,
    Constant,
    Integer,
    LogUniform,
    OneMinus,
    Ordinal,
    Space,
    Uniform,
)
from popgrad.strategies import pb2, pbt
from strategies.additive_task import Additive, history_of

LINE = Space({"x": Uniform(0.0, 1.0)})
MIXED = Space(
    {
        "lr": LogUniform(1e-5, 1.0),
        "layers": Integer(1, 5),
        "width": Integer(16, 4096, log=True, init_only=True),
        "momentum": OneMinus(0.5, 0.999),
        "batch": Ordinal((32, 64, 128)),
        "act": Choice(("relu", "elu", "tanh")),
        "wd": Constant(1e-4),
    }
)


def rows_of(space, gain, *, size=8, rounds=4, seed=0):
    """Rows of members that continue from themselves, and gain what their hyperparameters are worth."""
    rng = np.random.default_rng(seed)
    rows, scores = [], np.zeros(size)
    for interval in range(rounds):
        for member in range(size):
            hparams = space.sample(rng)
            start = scores[member]
            scores[member] += gain(hparams)
            rows.append(
                {"member": member, "interval": interval, "hparams": hparams, "start": start}
                | {"score": scores[member], "first": 10 * interval, "last": 10 * interval + 10}
            )
    return rows


def population_of(space, rows, scores=None, **more):
    """The population after the rows; scores of it may be given."""
    last = {row["member"]: row for row in rows}
    n = len(last)
    history = history_of(space, rows)
    found = [last[m]["score"] for m in range(n)] if scores is None else scores
    return Population(
        scores=np.array(found, dtype=float),
        intervals=np.array([last[m]["interval"] + 1 for m in range(n)]),
        steps=np.array([last[m]["last"] for m in range(n)]),
        hparams=[last[m]["hparams"] for m in range(n)],
        past=lambda: history,
        **more,
    )


def decide(space, population, ready=None, memory=None, seed=0, **settings):
    strategy = pb2(space, **settings)
    ready = np.arange(len(population)) if ready is None else np.array(ready)
    return strategy.step(
        Rng(seed), population, ready, strategy.init() if memory is None else memory
    )


def heirs(plan):
    return [i for i, (m, s) in enumerate(zip(plan.members, plan.sources, strict=True)) if m != s]


# --- the model is right ---------------------------------------------------------------------------------


def drifting(t, hparams, _):
    """1 at an optimum that moves once to and fro in 40 rounds."""
    return 1 - 4 * (hparams["x"] - 0.5 - 0.4 * math.sin(2 * math.pi * t / 40)) ** 2


def regret(strategy, seeds):
    return np.mean([1 - np.mean(Additive(LINE, strategy, drifting).run(s).gains) for s in seeds])


def test_a_drifting_optimum_is_followed_better_than_by_perturbation():
    seeds = range(3)
    assert regret(pb2(LINE), seeds) < 0.75 * regret(pbt(LINE, fraction=0.25), range(20))


@pytest.mark.long
@pytest.mark.timeout(600)  # half a minute on a machine at rest
def test_a_drifting_optimum_is_followed_better_than_by_perturbation_in_twenty_runs():
    mine = regret(pb2(LINE), range(20))
    theirs = [
        regret(pbt(LINE, fraction=0.25, factors=f), range(20)) for f in ((0.8, 1.25), (0.8, 1.2))
    ]
    print(f"mean regret: pb2 {mine:.3f}, pbt {theirs[0]:.3f} and {theirs[1]:.3f}")
    assert mine < 0.75 * min(theirs)


def test_an_heir_gets_what_gained_most_on_each_scale():
    def gain(hparams):
        lr = abs(math.log10(hparams["lr"]) + 2.5)
        momentum = abs(math.log10(1 - hparams["momentum"]) + 2)
        steps = abs(hparams["layers"] - 4) + abs(math.log2(hparams["batch"] / 64))
        return 5 - lr - momentum - 0.5 * steps

    population = population_of(MIXED, rows_of(MIXED, gain, size=12, rounds=8))
    worth = [gain(h) for h in (MIXED.sample(np.random.default_rng(s)) for s in range(300))]
    plan, _ = decide(MIXED, population)
    assert len(heirs(plan)) == 3
    for i in heirs(plan):
        assert gain(plan.hparams[i]) > np.percentile(worth, 95)


def test_values_are_of_the_space_and_name_their_origin():
    population = population_of(MIXED, rows_of(MIXED, lambda h: h["momentum"]))
    plan, memory = decide(MIXED, population)
    assert memory == {}
    assert len(heirs(plan)) == 2
    for i in heirs(plan):
        hparams, donor = plan.hparams[i], population.hparams[plan.sources[i]]
        assert MIXED.check(hparams) == hparams
        assert {name: type(value) for name, value in hparams.items()} == {
            name: type(value) for name, value in donor.items()
        }
        assert hparams["width"] == donor["width"]
        assert plan.changes[i] == {
            **dict.fromkeys(("lr", "layers", "momentum", "batch"), "modelled"),
            **{"width": "inherited", "act": "resampled", "wd": "inherited"},
        }
    assert json.loads(json.dumps(plan.hparams)) == list(plan.hparams)


def test_categories_are_resampled_uniformly():
    population = population_of(MIXED, rows_of(MIXED, lambda h: h["momentum"], rounds=1))
    drawn = [
        plan.hparams[i]["act"]
        for seed in range(60)
        for plan, _ in [decide(MIXED, population, seed=seed, window=2)]
        for i in heirs(plan)
    ]
    counts = np.array([drawn.count(option) for option in ("relu", "elu", "tanh")])
    assert len(drawn) == 120
    assert ((counts > 20) & (counts < 60)).all()  # mean 40, deviation 5.2


def test_the_jump_of_a_copy_is_no_gain():
    """Low values gain. The only heir has a high value, and a score that it inherited, not earned."""
    rows = rows_of(LINE, lambda h: 1 - h["x"], size=6, rounds=3)
    for interval in (3, 4, 5):
        start = 1000.0
        rows += [
            {"member": m, "interval": interval, "hparams": {"x": 0.9 + 0.02 * m}, "start": start}
            | {"score": start + 0.05, "first": 10 * interval, "last": 10 * interval + 10}
            for m in range(4)
        ] + [
            {"member": m, "interval": interval, "hparams": {"x": 0.05 * m}, "start": start}
            | {"score": start + 1 - 0.05 * m, "first": 10 * interval, "last": 10 * interval + 10}
            for m in (4, 5)
        ]
    plan, _ = decide(LINE, population_of(LINE, rows))
    assert len(heirs(plan)) == 2
    assert all(plan.hparams[i]["x"] < 0.4 for i in heirs(plan))


# --- segments in training ----------------------------------------------------------------------------------


def unknown_ends(size):
    """Members that have tried the middle alone, with gains that favour neither side."""
    rows = rows_of(LINE, lambda h: 0.0, size=size, rounds=1)
    for m, row in enumerate(rows):
        row["hparams"] = {"x": 0.5 + (0.02 if m % 2 else -0.02) * (1 + m // 2)}
        row["score"] = float(m // 2 % 2)
    return rows


def test_heirs_of_one_decision_differ():
    for seed in range(3):
        plan, _ = decide(LINE, population_of(LINE, unknown_ends(8)), seed=seed)
        values = sorted(plan.hparams[i]["x"] for i in heirs(plan))
        assert len(values) == 2
        assert values[0] < 0.2
        assert values[1] > 0.8


def test_one_by_one_an_heir_is_remembered_until_it_has_trained():
    rows = rows_of(LINE, lambda h: 0.5, size=4, rounds=1)
    population = population_of(LINE, rows, scores=[0.0, 1.0, 2.0, 3.0])
    plan, memory = decide(LINE, population, ready=[0])
    x = plan.hparams[0]["x"]
    assert plan.sources == (3,)
    assert memory == {"running": [[0, 1, 10, 3.0, {"x": x}]]}
    assert json.loads(json.dumps(memory)) == memory

    # Another member decides: the heir is still in training.
    _, kept = decide(LINE, population, ready=[2], memory=memory)
    assert kept == memory
    # The heir itself decides, or has finished that interval.
    _, after = decide(LINE, population, ready=[0], memory={"running": [[0, 0, 10, 3.0, {"x": x}]]})
    assert [entry[:2] for entry in after["running"]] == [[0, 1]]
    population.intervals[0] = 2
    _, later = decide(LINE, population, ready=[2], memory=memory)
    assert later == {}


def test_an_heir_in_training_keeps_the_next_one_away():
    population = population_of(LINE, unknown_ends(8), scores=[0.0, 0.1, *np.arange(2.0, 8.0)])
    apart = []
    for seed in range(6):
        first, memory = decide(LINE, population, ready=[0], seed=seed)
        found = [
            decide(LINE, population, ready=[1], memory=known, seed=seed)[0].hparams[0]["x"]
            for known in (memory, {})
        ]
        apart.append([abs(x - first.hparams[0]["x"]) for x in found])
    remembered, forgotten = np.transpose(apart)
    assert remembered.min() > 0.6
    assert forgotten.min() < 0.2


# --- little data, and sizes --------------------------------------------------------------------------------


@pytest.mark.parametrize("known", [0, 1])
def test_with_fewer_than_two_rows_heirs_are_resampled(known):
    rows = rows_of(LINE, lambda h: h["x"], size=4, rounds=1)
    for row in rows[known:]:
        row["start"] = math.nan
    plan, _ = decide(LINE, population_of(LINE, rows))
    (i,) = heirs(plan)
    assert plan.changes[i] == {"x": "resampled"}
    assert plan.hparams[i] != population_of(LINE, rows).hparams[plan.sources[i]]


def test_two_members_work():
    run = Additive(LINE, pb2(LINE), lambda t, h, _: 1 - h["x"], size=2, rounds=12).run(seed=0)
    late = [h["x"] for present in run.hparams[-4:] for h in present]
    assert all(0 <= x <= 1 for x in late)
    assert np.mean(late) < 0.4


def test_a_failed_member_inherits_and_explores():
    rows = rows_of(LINE, lambda h: h["x"], size=4)
    population = population_of(LINE, rows, scores=[1.0, math.nan, -math.inf, 2.0])
    plan, _ = decide(LINE, population)
    assert heirs(plan) == [1, 2]
    assert plan.sources[1] == plan.sources[2] == 3
    assert all(0 <= plan.hparams[i]["x"] <= 1 for i in (1, 2))


def test_equal_members_are_no_trouble():
    rows = rows_of(LINE, lambda h: 1.0, size=6, rounds=5)
    for row in rows:
        row["hparams"] = {"x": 0.5}
    plan, _ = decide(LINE, population_of(LINE, rows))
    assert len(heirs(plan)) == 2
    assert all(0 <= plan.hparams[i]["x"] <= 1 for i in heirs(plan))


def test_a_space_with_nothing_to_explore_is_inherited():
    space = Space({"width": Integer(1, 9, init_only=True), "wd": Constant(0.1)})
    plan, _ = decide(space, population_of(space, rows_of(space, lambda h: 1.0, size=4)))
    (i,) = heirs(plan)
    assert set(plan.changes[i].values()) == {"inherited"}


def test_the_model_reads_no_more_rows_than_its_window():
    # Old rows: high values gain. New ones: low values do.
    rows = rows_of(LINE, lambda h: h["x"], size=8, rounds=6)
    turned = rows_of(LINE, lambda h: 1 - h["x"], size=8, rounds=6, seed=1)
    rows += [{**row, "interval": row["interval"] + 6} for row in turned]
    population = population_of(LINE, rows)
    for seed in range(3):
        plan, _ = decide(LINE, population, window=48, seed=seed)
        assert all(plan.hparams[i]["x"] < 0.3 for i in heirs(plan))


def test_fresh_members_are_evaluated_before_their_first_step():
    assert pb2(LINE).start(5)._asdict() == {
        **{"size": 5, "roles": (), "evaluated": True, "evaluations": 1}
    }


def test_a_quarter_is_replaced_by_default():
    population = population_of(LINE, rows_of(LINE, lambda h: h["x"], size=8))
    assert len(heirs(decide(LINE, population)[0])) == 2
    assert len(heirs(decide(LINE, population, fraction=0.5)[0])) == 4
    assert heirs(decide(LINE, population, fraction=0.0)[0]) == []


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"fraction": 0.6}, "fraction: expected .*, got 0.6"),
        ({"window": 1}, "window: expected a number of segments, 2 or more, got 1"),
        ({"window": 10.0}, "window: expected .*, got 10.0"),
        ({"window": True}, "window: expected .*, got True"),
    ],
)
def test_settings_out_of_range_are_refused(settings, message):
    with pytest.raises(UsageError, match=message):
        pb2(LINE, **settings)
