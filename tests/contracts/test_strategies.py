"""Promises of every strategy. A new one is one line in STRATEGIES, and inherits all of these tests."""

import copy
import inspect
import json
import math
from functools import cache

import numpy as np
import pytest

from popgrad.core.errors import AllMembersFailedError, UsageError
from popgrad.core.plan import Transform
from popgrad.core.population import FRESH, Population
from popgrad.core.seeding import Rng
from popgrad.core.space import Choice, Integer, LogUniform, Space
from popgrad.strategies import STRATEGIES
from rounds import Game, Round, by_hash, fitting_size, play, play_one_by_one, start_of

SPACE = Space(
    {
        "lr": LogUniform(1e-4, 0.1),
        "width": Integer(1, 64, init_only=True),
        "act": Choice(("relu", "elu")),
    }
)
EVERYONE = np.arange(10)
INTERVALS = 3  # behind the population of one decision

pytestmark = pytest.mark.parametrize("name", STRATEGIES)


def population(name, scores=None):
    """Return members after three intervals, with all that a strategy may read."""
    strategy = STRATEGIES[name](SPACE)
    size = 10 if scores is None else len(scores)

    def score(member, interval, start, hparams):
        if scores is not None and interval == INTERVALS - 1:
            return scores[member]
        return by_hash(member, interval, start, hparams)

    start = start_of(strategy, size)
    game = Game(strategy, SPACE, size=size, intervals=9, score=score, start=start)
    for _ in range(INTERVALS - 1):
        game.keep()
    return game.population()


def step(name, members, ready=EVERYONE, seed=0):
    strategy = STRATEGIES[name](SPACE)
    return strategy.step(Rng(seed), members, ready, strategy.init())


def origin(members: Population, source: int):
    """Return (segment, score, hparams) that a source names; its member's slot has none if it is fresh."""
    if source < len(members):
        return members.segments[source], members.scores[source], members.hparams[source]
    row = source - len(members)
    archive = members.archive
    return archive.segments[row], archive.scores[row], archive.hparams[row]


# --- one decision ----------------------------------------------------------------------------------------


def test_the_step_names_its_arguments_alike(name):
    assert list(inspect.signature(STRATEGIES[name](SPACE).step).parameters) == [
        "rng",
        "population",
        "ready",
        "memory",
    ]


def test_the_factory_takes_the_space_and_settings_by_name_with_defaults(name):
    first, *settings = inspect.signature(STRATEGIES[name]).parameters.values()
    assert first.name == "space"
    assert all(
        each.kind is each.KEYWORD_ONLY and each.default is not each.empty for each in settings
    )


def test_memory_is_small_json(name):
    memory = STRATEGIES[name](SPACE).init()
    assert json.loads(json.dumps(memory)) == memory
    _, after = step(name, population(name))
    assert len(json.dumps(after)) < 10_000


def test_equal_arguments_give_equal_plans(name):
    assert step(name, population(name)) == step(name, population(name))


def test_its_arguments_are_left_as_they_were(name):
    members = population(name)
    for array in (
        members.scores,
        members.intervals,
        members.steps,
        *members.samples,
        *members.curves,
    ):
        array.flags.writeable = False
    before = copy.deepcopy((members.hparams, members.metrics))
    step(name, members)
    assert (members.hparams, members.metrics) == before


def test_global_random_state_is_neither_read_nor_moved(name):
    members = population(name)
    state = np.random.get_state()[1].copy()  # noqa: NPY002  # the global state is what is tested
    first = step(name, members)
    assert (np.random.get_state()[1] == state).all()  # noqa: NPY002
    np.random.seed(1)  # noqa: NPY002
    assert step(name, members) == first


def test_a_plan_is_complete_and_in_the_space(name):
    plan, _ = step(name, population(name, [0, 1, 2, 3, 4, 5, 6, 7, 8, math.nan]))
    assert len(plan.members) == len(plan.sources) == len(plan.hparams) == len(plan.changes) == 10
    for hparams, changes in zip(plan.hparams, plan.changes, strict=True):
        assert SPACE.check(hparams) == hparams
        assert list(changes) == list(SPACE)
    assert json.loads(json.dumps(plan.hparams)) == list(plan.hparams)
    assert json.loads(json.dumps(plan.changes)) == list(plan.changes)


def test_an_init_only_hyperparameter_travels_with_the_weights(name):
    members = population(name)
    plan, _ = step(name, members)
    for source, hparams in zip(plan.sources, plan.hparams, strict=True):
        if source != FRESH:
            assert hparams["width"] == origin(members, source)[2]["width"]


def test_what_a_member_is_said_to_keep_is_its_own_or_its_donors(name):
    members = population(name)
    plan, _ = step(name, members)
    entries = zip(plan.members, plan.sources, plan.hparams, plan.changes, strict=True)
    for member, source, hparams, changes in entries:
        own = members.hparams[member]
        kept = [own] if source in (member, FRESH) else [own, origin(members, source)[2]]
        for key, change in changes.items():
            values = [known[key] for known in kept]
            assert change != "kept" or hparams[key] in values
            assert source != member or change == "kept" or hparams[key] != own[key]


@pytest.mark.parametrize("ready", [[0], [9, 2], [3, 4, 5]])
def test_a_plan_speaks_of_the_ready_members_only(name, ready):
    plan, _ = step(name, population(name), np.array(ready))
    assert plan.members == tuple(ready)


def test_one_member_goes_on_alone(name):
    plan, _ = step(name, population(name, [1.0]), np.array([0]))
    assert plan.sources == (0,)


def test_two_members_are_enough_for_a_decision(name):
    plan, _ = step(name, population(name, [1.0, 2.0]), np.arange(2))
    assert plan.members == (0, 1)


def test_a_donor_has_a_finite_score(name):
    scores = [math.nan, math.inf, -math.inf, 0, 1, 2, 3, 4, 5, 6]
    plan, _ = step(name, population(name, scores))
    assert all(
        math.isfinite(scores[s]) for m, s in zip(plan.members, plan.sources, strict=True) if s != m
    )


def test_that_all_members_failed_is_said(name):
    with pytest.raises(AllMembersFailedError):
        step(name, population(name, [math.nan] * 10))


def test_it_says_whether_it_copies(name):
    failed = population(name, [1.0, *[math.nan] * 9])
    plan, _ = step(name, failed)
    assert (plan.sources != plan.members) is STRATEGIES[name](SPACE).copies


def test_it_does_without_what_it_is_not_given(name):
    """A population as users' own engines make it: scores, intervals, steps, hyperparameters."""
    full = population(name)
    bare = Population(full.scores, full.intervals, full.steps, full.hparams)
    try:
        members = step(name, bare)[0].members
    except UsageError as error:  # it names what it lacks
        members = tuple(range(10)) if str(error).startswith(f"strategy {name}: ") else ()
    assert members == tuple(range(10))


# --- whole runs ------------------------------------------------------------------------------------------


@cache
def together(name, seed=0) -> tuple[Round, ...]:
    """Return the decisions of a run in which two members fail, and all decide at once."""
    strategy = STRATEGIES[name](SPACE)
    size = fitting_size(strategy)
    return tuple(play(strategy, SPACE, size=size, rounds=8, seed=seed, broken=[(1, 1), (2, 3)]))


@cache
def one_by_one(name) -> tuple[Round, ...]:
    """Return the decisions of a run whose members decide one by one; () if it has no such mode."""
    strategy = STRATEGIES[name](SPACE)
    if strategy.together:
        return ()
    size = fitting_size(strategy)
    return tuple(play_one_by_one(strategy, SPACE, size=size, rounds=5, broken=[(1, 1), (2, 3)]))


@cache
def resized(name) -> tuple[Round, ...]:
    """Return the decisions of a run that grows by a half and shrinks to a quarter."""
    strategy = STRATEGIES[name](SPACE)
    size = fitting_size(strategy)
    sizes = {1: size + size // 2, 3: size // 4}
    return tuple(play(strategy, SPACE, size=size, rounds=6, sizes=sizes))


RUNS = pytest.mark.parametrize("run", [together, one_by_one, resized])


def plain(value):
    """Return whether data holds plain Python numbers and strings only."""
    if isinstance(value, dict):
        return all(type(key) is str and plain(inner) for key, inner in value.items())
    if isinstance(value, list | tuple):
        return all(map(plain, value))
    return value is None or type(value) in (bool, int, float, str)


@RUNS
def test_a_plan_and_a_memory_hold_plain_numbers(name, run):
    for _, _, plan, memory in map(vars_of, run(name)):
        columns = dict(vars(plan))
        transforms = columns.pop("transforms")
        assert all(isinstance(each, Transform | None) for each in transforms)
        settings = [dict(each.settings) for each in transforms if each is not None]
        assert all(plain({**each}) for each in settings)
        assert plain({key: list(map(as_dict, column)) for key, column in columns.items()})
        assert plain(dict(memory))
        json.dumps(columns)
        assert len(json.dumps(memory)) < 10_000


def vars_of(decided: Round):
    return decided.population, decided.ready, decided.plan, decided.memory


def as_dict(value):
    return dict(value) if isinstance(value, dict) or hasattr(value, "keys") else value


@RUNS
def test_the_columns_of_a_plan_fit_its_members(name, run):
    for members, ready, plan, _ in map(vars_of, run(name)):
        assert plan.members == tuple(ready)
        for column, kind in [("rests", bool), ("lengths", int), ("roles", str)]:
            values = getattr(plan, column)
            assert type(values) is tuple
            assert len(values) in (0, len(ready))
            assert all(type(value) is kind for value in values)
        assert all(length >= 1 for length in plan.lengths)
        assert STRATEGIES[name](SPACE).shares_budget or not plan.lengths
        assert len(plan.transforms) in (0, len(ready))
        assert all(SPACE.check(hparams) == hparams for hparams in plan.hparams)
        rows = len(members) + len(members.archive)
        assert all(source == FRESH or 0 <= source < rows for source in plan.sources)


@RUNS
def test_it_keeps_segments_that_are_there(name, run):
    for members, _, plan, _ in map(vars_of, run(name)):
        there = {*members.segments, *members.archive.segments}
        assert type(plan.keep) is tuple
        assert set(plan.keep) <= there
        assert len(set(plan.keep)) == len(plan.keep)


def failures(decided: Round):
    """Yield (member, source) of each ready member that has failed and does not rest."""
    plan, scores = decided.plan, decided.population.scores
    rests = plan.rests or (False,) * len(plan.members)
    for member, source, resting in zip(plan.members, plan.sources, rests, strict=True):
        if not resting and not math.isfinite(scores[member]):
            yield member, source


@RUNS
def test_donors_live_and_failed_members_get_one(name, run):
    copies = STRATEGIES[name](SPACE).copies
    for decided in run(name):
        members, plan = decided.population, decided.plan
        for member, source in zip(plan.members, plan.sources, strict=True):
            assert source in (member, FRESH) or math.isfinite(origin(members, source)[1])
        assert all((source != member) is copies for member, source in failures(decided))


def test_the_runs_have_failures(name):
    runs = [decided for run in (together, one_by_one, resized) for decided in run(name)]
    assert not all(np.isfinite(decided.population.scores).all() for decided in runs)
    # A strategy that copies has had to give one of them a donor.
    assert any(map(list, map(failures, runs))) or not STRATEGIES[name](SPACE).copies


@RUNS
def test_an_init_only_hyperparameter_travels_through_a_run(name, run):
    for members, _, plan, _ in map(vars_of, run(name)):
        for source, hparams in zip(plan.sources, plan.hparams, strict=True):
            if source != FRESH:
                assert hparams["width"] == origin(members, source)[2]["width"]


def test_each_decision_lets_a_member_train(name):
    for decided in together(name):
        assert not decided.plan.rests or not all(decided.plan.rests)
        assert decided.population.budget.left or not STRATEGIES[name](SPACE).shares_budget


def test_a_run_with_the_same_seed_has_the_same_decisions(name):
    again = together.__wrapped__(name)
    assert [decided.plan for decided in again] == [decided.plan for decided in together(name)]
    assert [decided.memory for decided in again] == [decided.memory for decided in together(name)]


def test_a_strategy_that_copies_has_copied(name):
    heirs = [
        source
        for run in (together, one_by_one)
        for decided in run(name)
        for member, source in zip(decided.plan.members, decided.plan.sources, strict=True)
        if source != member
    ]
    assert bool(heirs) is STRATEGIES[name](SPACE).copies
