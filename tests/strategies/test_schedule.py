"""A given schedule: who keeps what, and from which step on which values hold."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from popgrad import LogUniform, Space, Uniform, UsageError
from popgrad.config.model import parse
from popgrad.core.errors import AllMembersFailedError
from popgrad.core.population import Population
from popgrad.core.seeding import Rng
from popgrad.runs.build import build
from popgrad.strategies import schedule
from spies import odd

SPACE = Space({"lr": LogUniform(1e-3, 1.0), "mix": Uniform(0.0, 1.0)})
START = {"lr": 0.5, "mix": 0.25}


def after(steps, phases, hparams=START, space=SPACE):
    """What one member goes on with after so many steps, and how that is said."""
    population = Population(np.array([0.0]), np.array([1]), np.array([steps]), [hparams])
    plan, memory = schedule(space, phases=phases).step(Rng(0), population, np.array([0]), {})
    assert (plan.members, plan.sources, memory) == ((0,), (0,), {})
    return dict(plan.hparams[0]), dict(plan.changes[0])


def test_a_phase_begins_at_its_step_and_keeps_what_it_does_not_name():
    phases = [{"step": 10, "lr": 0.1}]
    assert after(9, phases) == (START, {"lr": "kept", "mix": "kept"})
    assert after(10, phases) == ({"lr": 0.1, "mix": 0.25}, {"lr": "given", "mix": "kept"})
    now = {"lr": 0.1, "mix": 0.25}
    assert after(11, phases, now) == (now, {"lr": "kept", "mix": "kept"})


def test_without_phases_everybody_keeps_everything():
    assert after(1000, [])[0] == START


def test_phases_may_come_in_any_order_and_the_later_one_holds():
    phases = [{"step": 20, "lr": 0.01}, {"step": 10, "lr": 0.1, "mix": 1.0}]
    assert after(15, phases)[0] == {"lr": 0.1, "mix": 1.0}
    assert after(25, phases)[0] == {"lr": 0.01, "mix": 1.0}


def test_several_that_begin_within_one_interval_take_hold_together():
    phases = [{"step": 3, "lr": 0.1}, {"step": 4, "mix": 0.5}, {"step": 5, "lr": 0.2}]
    assert after(5, phases) == ({"lr": 0.2, "mix": 0.5}, {"lr": "given", "mix": "given"})


def test_two_at_the_same_step_count_in_the_order_given():
    assert after(3, [{"step": 3, "lr": 0.1}, {"step": 3, "lr": 0.2}])[0]["lr"] == 0.2


def test_members_are_where_their_own_steps_are():
    population = Population(
        np.array([0.5, 0.4]), np.array([1, 1]), np.array([4, 8]), [START, START]
    )
    plan, _ = schedule(SPACE, phases=[{"step": 8, "lr": 0.1}]).step(
        Rng(0), population, np.array([0, 1]), {}
    )
    assert [hparams["lr"] for hparams in plan.hparams] == [0.5, 0.1]
    assert plan.sources == (0, 1)


@given(
    st.lists(st.tuples(st.integers(1, 50), st.floats(1e-3, 1.0)), max_size=6), st.integers(1, 60)
)
def test_what_holds_is_the_latest_phase_that_has_begun(pairs, steps):
    begun = [(step, i) for i, (step, _) in enumerate(pairs) if step <= steps]
    expected = pairs[max(begun)[1]][1] if begun else START["lr"]
    assert after(steps, [{"step": step, "lr": lr} for step, lr in pairs])[0]["lr"] == expected


@pytest.mark.parametrize(
    ("phases", "said"),
    [
        (
            [{"step": 0, "lr": 0.1}],
            r"phases\[0\].step: expected a number of steps, at least 1, got 0",
        ),
        ([{"step": 1}, {"step": -1, "lr": 0.1}], r"phases\[1\].step: expected .*, got -1"),
        ([{"step": True, "lr": 0.1}], r"phases\[0\].step: expected .*, got True"),
        ([{"step": 1.5, "lr": 0.1}], r"phases\[0\].step: expected .*, got 1.5"),
        ([{"lr": 0.1}], r"phases\[0\].step: expected .*, got None"),
        ([{"step": 1, "rate": 0.1}], r"phases\[0\]: unknown hyperparameter rate; has lr, mix"),
        (
            [{"step": 1}, {"step": 2, "lr": 2.0}],
            r"phases\[1\].lr: expected log-uniform 0.001..1.0, got 2.0",
        ),
        ([{"step": 1, "lr": "fast"}], r"phases\[0\].lr: expected a finite number, got 'fast'"),
    ],
)
def test_a_phase_that_cannot_be_is_refused_in_one_line(phases, said):
    with pytest.raises(UsageError, match=said) as caught:
        schedule(SPACE, phases=phases)
    assert "\n" not in str(caught.value)


def test_it_cannot_go_on_when_all_have_failed():
    population = Population(np.array([np.nan]), np.array([1]), np.array([4]), [START])
    with pytest.raises(AllMembersFailedError):
        schedule(SPACE).step(Rng(0), population, np.array([0]), {})


def configured(*phases):
    values = {"task": "odd", "population": 1, "executor": "serial", "interval": 2, "intervals": 1}
    space = {"batch_size": {"kind": "constant", "value": 32}}
    return parse(
        {**values, "space": space, "strategy": {"name": "schedule", "phases": list(phases)}}
    )


def test_an_epoch_is_the_step_it_begins_with():
    """97 samples in batches of 32 are 4 steps an epoch."""
    config = build(configured({"epoch": 1, "lr": 0.1}, {"step": 5, "lr": 0.05}), odd()).config
    assert config.strategy.options()["phases"] == [{"step": 4, "lr": 0.1}, {"step": 5, "lr": 0.05}]


@pytest.mark.parametrize(
    ("phase", "said"),
    [
        ({"epoch": 0, "lr": 0.1}, "of at least 1, got {'epoch': 0"),
        ({"epoch": 1, "step": 4, "lr": 0.1}, "an epoch or a step"),
        ({"epoch": 1.5, "lr": 0.1}, "either an epoch or a step, an integer"),
    ],
)
def test_an_epoch_that_cannot_be_is_refused(phase, said):
    with pytest.raises(UsageError, match=said):
        build(configured(phase), odd())
