"""IPBT: the interval doubles on stagnation only, and the budget is spent once."""

import json
import math
from dataclasses import replace

import numpy as np
import pytest

from popgrad.core.errors import UsageError
from popgrad.core.plan import Transform, cut, entries
from popgrad.core.population import FRESH, Archive, Budget, Population
from popgrad.core.seeding import Rng
from popgrad.core.space import Choice, Integer, LogUniform, Space
from popgrad.strategies import ipbt

SPACE = Space(
    {
        "lr": LogUniform(1e-3, 1.0),
        "width": Integer(1, 64, init_only=True),
        "act": Choice(("relu", "elu")),
    }
)
SHRUNK = Transform("shrink-perturb", {"keep": 0.2, "noise": 0.1})


class Simulation:
    """A run of a strategy with `size` paid members: scores by a function, no training.

    Args:
        score: (state, hparams, length, rng) -> (state, score); a fresh state is 0.
    """

    def __init__(self, size, intervals, score, seed=0, **settings):
        self.strategy = ipbt(SPACE, **settings)
        self.score = score
        self.rng = Rng(seed)
        self.noise = np.random.default_rng(seed)
        self.slots = self.strategy.start(size).size
        self.budget = Budget(size * intervals)
        self.plans, self.memories, self.populations = [], [self.strategy.init()], []

    def run(self):
        n = self.slots
        states, scores, intervals = [0.0] * n, np.zeros(n), np.zeros(n, int)
        hparams = [SPACE.sample(self.rng.generator("sample", m, 0)) for m in range(n)]
        lengths, archive = [1] * n, Archive()
        while True:
            for member, length in enumerate(lengths):
                if length:
                    result = self.score(states[member], hparams[member], length, self.noise)
                    states[member], scores[member] = result
                    intervals[member] += 1
            self.budget = Budget(self.budget.total, self.budget.spent + sum(lengths))
            if not self.budget.left:
                return self
            if not np.isfinite(scores).any():
                scores[0] = 0.0  # or the run would end
            population = Population(
                scores.copy(),
                intervals.copy(),
                intervals.copy(),
                list(hparams),
                segments=[(m, int(k) - 1) for m, k in enumerate(intervals)],
                archive=archive,
                budget=self.budget,
            )
            plan, memory = self.strategy.step(self.rng, population, np.arange(n), self.memories[-1])
            held = {*population.segments, *archive.segments}
            assert set(plan.keep) <= held
            archive = Archive(plan.keep)
            plan = cut(plan, self.budget.left)
            self.populations.append(population)
            self.plans.append(entries(plan))
            self.memories.append(json.loads(json.dumps(memory)))
            assert self.memories[-1] == memory

            own = self.plans[-1]
            before = list(states)
            for member, entry in own.items():
                assert SPACE.check(entry.hparams) == entry.hparams
                states[member] = 0.0 if entry.source == FRESH else before[entry.source]
                hparams[member] = entry.hparams
            lengths = [0 if entry.rests else entry.length for entry in own.values()]

    @property
    def rounds(self):
        """Length of each round, from the second on."""
        return [max(e.length for e in plan.values() if not e.rests) for plan in self.plans]

    @property
    def restarts(self):
        """Numbers of the plans that restart."""
        return [
            i for i, plan in enumerate(self.plans) if any(e.source == FRESH for e in plan.values())
        ]

    @property
    def charges(self):
        """Member-intervals of each plan."""
        return [sum(e.length for e in plan.values() if not e.rests) for plan in self.plans]


def climbing(state, hparams, length, noise):
    state += length
    return state, float(state)


def stagnating(state, hparams, length, noise):
    return state + length, 1.0 - 0.001 * state


def failing(state, hparams, length, noise):
    return state + length, float(state + length) if noise.random() > 0.4 else math.nan


def test_twice_the_members_start_and_the_best_half_continues():
    assert ipbt(SPACE).start(4).size == 8
    run = Simulation(4, 10, lambda s, h, length, noise: (s, h["lr"])).run()
    first, scores = run.plans[0], run.populations[0].scores
    at_work = [member for member, entry in first.items() if not entry.rests]
    assert sorted(at_work) == sorted(np.argsort(scores)[-4:].tolist())
    for member, entry in first.items():
        if entry.rests:
            assert entry.source == member
            assert set(entry.changes.values()) == {"kept"}


def test_a_round_replaces_the_worst_by_the_best_and_explores():
    run = Simulation(8, 10, climbing).run()
    for plan, population in zip(run.plans, run.populations, strict=True):
        heirs = {m: e for m, e in plan.items() if e.source not in (m, FRESH)}
        assert len(heirs) == 2  # a quarter of 8
        at_work = [m for m, e in plan.items() if not e.rests]
        assert {e.source for e in heirs.values()} <= set(at_work)
        for entry in heirs.values():
            assert entry.hparams["width"] == population.hparams[entry.source]["width"]
            assert entry.changes["lr"] in (0.8, 1.25)


def test_the_interval_stays_while_the_best_score_rises():
    run = Simulation(4, 40, climbing).run()
    assert set(run.rounds) == {1}
    assert run.restarts == []


def test_the_interval_doubles_at_a_restart_only():
    run = Simulation(4, 60, stagnating).run()
    assert len(run.restarts) >= 2
    length = 1
    for number, plan in enumerate(run.plans):
        if number in run.restarts:
            length *= 2
        left = run.populations[number].budget.left // 4
        if left >= 2 * length:
            assert {entry.length for entry in plan.values() if not entry.rests} == {length}


def test_a_restart_takes_as_many_rounds_without_a_gain_as_patience():
    short = Simulation(4, 60, stagnating, stagnant_rounds=1).run()
    long = Simulation(4, 60, stagnating, stagnant_rounds=5).run()
    # One round has no comparison; each later one has no gain.
    assert short.restarts[0] == 1
    assert long.restarts[0] == 5


def test_a_slow_gain_restarts_at_once():
    def slow(state, hparams, length, noise):
        state += length
        return state, 10.0 + 0.01 * state if state > 1 else 0.0

    run = Simulation(4, 100, slow, stagnant_rounds=1000, slow_rounds=8).run()
    # The first of the series is far below; the eighth round compares with it, the ninth does not.
    assert run.restarts[0] == 8


def test_there_is_no_restart_if_the_next_interval_does_not_fit_twice():
    for intervals in range(4, 40):
        run = Simulation(2, intervals, stagnating).run()
        for number in run.restarts:
            left = run.populations[number].budget.left / 2
            assert 2 * run.rounds[number] <= left
    # 8 intervals: two are the start; after 4 rounds, 3 are left, too few for 2 * 2.
    assert Simulation(2, 8, stagnating).run().restarts == []
    assert Simulation(2, 9, stagnating).run().restarts == [3]


def test_a_run_that_is_extended_may_restart_again():
    run = Simulation(2, 12, stagnating).run()
    population, memory = run.populations[-1], run.memories[-2]
    for total, restarts in ((run.budget.total, False), (200, True)):
        memory = run.memories[-2]
        budget = Budget(total, run.populations[-1].budget.spent)
        for _ in range(4):
            members = replace(population, budget=budget)
            plan, memory = run.strategy.step(Rng(0), members, np.arange(4), memory)
            if FRESH in plan.sources:
                break
        assert (FRESH in plan.sources) is restarts


@pytest.mark.parametrize("score", [climbing, stagnating, failing])
@pytest.mark.parametrize(("size", "intervals"), [(1, 9), (2, 20), (3, 50), (4, 101), (8, 64)])
def test_the_budget_is_spent_exactly_once(score, size, intervals):
    run = Simulation(size, intervals, score, seed=size).run()
    first = run.slots
    assert first + sum(run.charges) == size * intervals == run.budget.spent


def test_what_is_left_is_split_in_two():
    # 2 x 1 for the start, and rounds of 1 up to the restart at 16 - 5 = 11 left; then 4 for the
    # second start, and rounds of 2: 7, 5, 3 are left. The last 3 are split into 1 and 2.
    run = Simulation(4, 16, stagnating).run()
    assert run.restarts == [3]
    assert run.rounds == [1, 1, 1, 2, 2, 2, 1, 2]
    assert [memory["rest"] for memory in run.memories[-3:]] == [0, 2, 0]


def test_a_restart_gives_half_of_the_slots_fresh_weights_and_shrinks_the_others():
    run = Simulation(4, 60, stagnating).run()
    for number in run.restarts:
        plan, population = run.plans[number], run.populations[number]
        assert len(plan) == 8
        assert not any(entry.rests for entry in plan.values())
        fresh = {m for m, e in plan.items() if e.source == FRESH}
        assert len(fresh) == 4
        at_work = {m for m, e in run.plans[number - 1].items() if not e.rests}
        best = max(population.scores[list(at_work)])
        for member, entry in plan.items():
            if member in fresh:
                assert entry.transform is None
            else:
                assert entry.transform == SHRUNK
                assert entry.source in at_work
                assert population.scores[entry.source] == best  # 1 of 4 donates
                width = population.hparams[entry.source]["width"]
                assert entry.hparams["width"] == width
                assert entry.changes["width"] == "inherited"


def test_transforms_appear_at_restarts_only():
    run = Simulation(4, 60, stagnating).run()
    for number, plan in enumerate(run.plans):
        changed = any(entry.transform for entry in plan.values())
        assert changed == (number in run.restarts)


def test_half_of_the_hyperparameters_come_from_the_prior_and_half_from_the_model():
    run = Simulation(4, 60, stagnating).run()
    for number in run.restarts:
        words = [entry.changes["lr"] for entry in run.plans[number].values()]
        assert sorted(words) == ["modelled"] * 4 + ["sampled"] * 4


def test_the_halves_of_weights_and_of_hyperparameters_are_independent():
    both = 0
    for seed in range(30):
        plan = (run := Simulation(4, 12, stagnating, seed=seed).run()).plans[run.restarts[0]]
        both += sum(
            entry.source == FRESH and entry.changes["lr"] == "modelled" for entry in plan.values()
        )
    # 2 of 8 slots on average; the standard deviation of the sum is 30**0.5 * 0.76.
    assert abs(both - 60) < 4 * 4.2


def test_the_best_of_an_iteration_stays_loadable():
    run = Simulation(4, 60, stagnating).run()
    first = run.restarts[0]
    kept = {memory["best"] and tuple(memory["best"]) for memory in run.memories[first + 1 :]}
    population = run.populations[first]
    at_work = [m for m, e in run.plans[first - 1].items() if not e.rests]
    best = max(at_work, key=lambda member: population.scores[member])
    assert population.scores[best] == population.scores[run.memories[first + 1]["best"][0]]
    assert None not in kept


def test_the_model_sees_the_starts_of_an_iteration_and_the_best_of_their_descendants():
    run = Simulation(2, 12, climbing).run()
    memory = run.memories[-1]
    assert len(memory["origins"]) == 2
    best = max(float(max(each.scores)) for each in run.populations)
    assert max(score for _, _, score in memory["origins"]) == best
    started = [
        SPACE.encode(run.populations[0].hparams[int(member)]).tolist()
        for member in run.memories[1]["lineages"]
    ]
    assert [positions for _, positions, _ in memory["origins"]] == started


def test_failed_members_at_work_get_living_donors():
    run = Simulation(8, 60, failing, seed=1).run()
    for plan, population in zip(run.plans, run.populations, strict=True):
        for entry in plan.values():
            if not entry.rests and entry.source != FRESH:
                assert math.isfinite(population.scores[entry.source])


def test_a_member_that_rests_is_the_donor_if_no_other_lives():
    run = Simulation(2, 10, climbing).run()
    population = run.populations[1]
    scores = np.array([math.nan if not e.rests else 1.0 for e in run.plans[0].values()])
    resting = [member for member, score in enumerate(scores) if score == 1.0]
    members = Population(
        scores, population.intervals, population.steps, population.hparams, budget=population.budget
    )
    plan, _ = run.strategy.step(Rng(0), members, np.arange(4), run.memories[1])
    sources = {e.source for e in entries(plan).values() if not e.rests}
    assert sources <= set(resting)


def test_the_memory_stays_small():
    run = Simulation(8, 200, stagnating).run()
    assert max(len(json.dumps(memory)) for memory in run.memories) < 8 * 2000


def test_the_population_may_change_its_size():
    run = Simulation(4, 40, climbing).run()
    before = run.populations[3]
    for size in (4, 12):
        members = Population(
            np.arange(float(size)),
            np.full(size, 9),
            np.full(size, 9),
            [before.hparams[0]] * size,
            budget=before.budget,
        )
        plan, memory = run.strategy.step(Rng(0), members, np.arange(size), run.memories[3])
        assert sum(plan.rests) == size // 2
        assert len(memory["active"]) == size // 2


def test_it_shares_its_budget_and_decides_for_all_members_together():
    strategy = ipbt(SPACE)
    assert strategy.shares_budget
    assert strategy.together
    assert strategy.copies


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"fraction": 0.6}, "fraction"),
        ({"factors": ()}, "factors"),
        ({"resample_probability": 2}, "resample_probability"),
        ({"stagnant_rounds": 0}, "stagnant_rounds: expected a number of rounds, 1 or more, got 0"),
        ({"slow_rounds": 1}, "slow_rounds: expected a number of rounds, 2 or more, got 1"),
        ({"slow_rounds": 2.5}, "slow_rounds"),
    ],
)
def test_settings_out_of_range_are_refused_by_name(settings, message):
    with pytest.raises(UsageError, match=message):
        ipbt(SPACE, **settings)
