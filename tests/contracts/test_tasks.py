"""What every task keeps. A new one is one line in TASKS, and inherits all of these tests."""

import dataclasses
import inspect

import numpy as np
import pytest
import torch

from popgrad.core.space import Space
from popgrad.data import Splits
from popgrad.state import clone, digest, flatten, unflatten
from popgrad.tasks import TASKS, Context

# Every member starts from the point that the paper's figure starts from.
STARTS_ALIKE = {"quadratic", "toy-plain", "toy-time-linked", "toy-drifting", "toy-triangle"}


@pytest.fixture(params=TASKS, scope="module")
def name(request):
    return request.param


@pytest.fixture(scope="module")
def task(name, request):
    """The task, with few samples where it has many."""
    if not name.startswith("mnist"):
        return TASKS[name]()
    made = TASKS[name](data_dir=str(request.getfixturevalue("mnist_dir")), batch_size=20)
    whole = made.data()
    few = Splits(
        *(tuple(x[:50].clone() for x in whole[split]) for split in ("train", "validation", "test"))
    )
    return dataclasses.replace(made, data=lambda: few)


@pytest.fixture(scope="module")
def hparams(task):
    return task.space.sample(np.random.default_rng(0))


def init(task, hparams, ctx):
    """A fresh member, as an executor makes one: with generators that were seeded for it."""
    torch.manual_seed(ctx.seed("init"))
    return task.init(hparams, ctx)


def train(task, state, hparams, steps, ctx):
    torch.manual_seed(ctx.seed("train"))
    return task.train(state, hparams, steps, ctx)


def test_its_methods_name_their_arguments_alike(task):
    arguments = {
        "init": ["hparams", "ctx"],
        "train": ["state", "hparams", "steps", "ctx"],
        "evaluate": ["state", "hparams", "split", "ctx"],
    }
    for method, names in arguments.items():
        assert list(inspect.signature(getattr(task, method)).parameters) == names


def test_it_has_a_space_and_a_score(task):
    assert isinstance(task.space, Space)
    assert len(task.space) > 0
    assert isinstance(task.score, str)


def test_its_factory_works_without_arguments(name):
    assert all(
        each.default is not each.empty
        for each in inspect.signature(TASKS[name]).parameters.values()
    )


def test_its_state_is_plain_data(task, hparams):
    ctx = Context()
    fresh = init(task, hparams, ctx)
    trained = train(task, clone(fresh), hparams, 2, ctx)
    for state in (fresh, trained):
        again = unflatten(*flatten(state))
        assert digest(again) == digest(state)
        assert digest(train(task, clone(again), hparams, 1, ctx)) == digest(
            train(task, clone(state), hparams, 1, ctx)
        )


def test_equal_states_and_seeds_give_equal_training(task, hparams):
    ctx = Context(member=3, interval=2, run_seed=7)
    state = init(task, hparams, ctx)
    first = digest(train(task, clone(state), hparams, 3, ctx))
    torch.manual_seed(99)  # what was drawn elsewhere does not matter
    assert digest(init(task, hparams, ctx)) == digest(state)
    assert digest(train(task, clone(state), hparams, 3, ctx)) == first


def test_training_changes_the_state(task, hparams):
    state = init(task, hparams, Context())
    assert digest(train(task, clone(state), hparams, 1, Context())) != digest(state)


def test_members_start_differently(name, task, hparams):
    one, other = (digest(init(task, hparams, Context(member))) for member in (0, 1))
    assert (one == other) == (name in STARTS_ALIKE)


@pytest.mark.parametrize("split", ["train", "validation", "test"])
def test_evaluation_gives_numbers_the_score_among_them_and_changes_nothing(task, hparams, split):
    state = init(task, hparams, Context())
    before = digest(state)
    metrics = task.evaluate(state, hparams, split, Context())
    assert task.score.removeprefix("-") in metrics
    assert all(type(value) is float for value in metrics.values())
    assert task.evaluate(state, hparams, split, Context()) == metrics
    assert digest(state) == before


def test_whatever_is_sampled_from_its_space_works(task):
    for seed in range(3):
        hparams = task.space.sample(np.random.default_rng(seed))
        state = train(task, init(task, hparams, Context()), hparams, 1, Context())
        assert task.evaluate(state, hparams, "validation", Context())


def test_an_heir_trains_a_donors_state_with_its_own_hyperparameters(task, hparams):
    donor = train(task, init(task, hparams, Context()), hparams, 2, Context())
    explored = task.space.sample(np.random.default_rng(1))
    heir = Context(member=1, interval=1, first_step=2)
    assert digest(train(task, clone(donor), explored, 2, heir)) != digest(
        train(task, clone(donor), hparams, 2, heir)
    )


def test_two_intervals_are_one_of_their_length(task, hparams):
    # Whatever is drawn in training comes from the segment's streams, so nothing is drawn here.
    still = {**hparams, "keep_prob": 1.0} if "keep_prob" in hparams else hparams
    state = init(task, still, Context())
    cut = train(task, clone(state), still, 2, Context())
    cut = train(task, cut, still, 3, Context(interval=1, first_step=2))
    assert digest(cut) == digest(train(task, clone(state), still, 5, Context()))


def test_grad_mode_threads_and_precision_are_left_as_they_were(task, hparams):
    before = torch.is_grad_enabled(), torch.get_num_threads(), torch.get_default_dtype()
    state = train(task, init(task, hparams, Context()), hparams, 1, Context())
    task.evaluate(state, hparams, "validation", Context())
    assert (torch.is_grad_enabled(), torch.get_num_threads(), torch.get_default_dtype()) == before
