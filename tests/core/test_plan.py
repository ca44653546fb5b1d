"""A plan by member, and cut to a budget."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from popgrad.core.plan import Entry, Plan, Transform, cut, entries, plan_of

LENGTHS = st.lists(st.integers(1, 5), min_size=1, max_size=8)


def of(lengths, rests=None):
    members = range(len(lengths))
    rests = rests or [False] * len(lengths)
    return plan_of(
        {
            member: Entry(member, {"lr": 0.1}, {"lr": "kept"}, rests=rest, length=length)
            for member, length, rest in zip(members, lengths, rests, strict=True)
        }
    )


def trained(plan):
    return sum(entry.length for entry in entries(plan).values() if not entry.rests)


def test_a_plan_is_that_of_its_entries():
    shrink = Transform("shrink-perturb", {"keep": 0.2, "noise": 0.1})
    plan = Plan(
        members=(3, 1),
        sources=(1, 1),
        hparams=({"lr": 0.1}, {"lr": 0.2}),
        changes=({"lr": 0.8}, {"lr": "kept"}),
        rests=(False, True),
        lengths=(2, 1),
        transforms=(shrink, None),
        roles=("a", ""),
        keep=((1, 4),),
    )
    assert plan_of(entries(plan), plan.keep) == plan
    assert entries(plan)[3] == Entry(1, {"lr": 0.1}, {"lr": 0.8}, False, 2, shrink, "a")


def test_columns_of_defaults_are_empty():
    plan = of([1, 1])
    assert (plan.rests, plan.lengths, plan.transforms, plan.roles) == ((), (), (), ())


@given(LENGTHS, st.integers(0, 50), st.data())
def test_a_cut_plan_costs_what_is_left_at_most(lengths, left, data):
    rests = data.draw(st.lists(st.booleans(), min_size=len(lengths), max_size=len(lengths)))
    plan = of(lengths, rests)
    after = cut(plan, left)
    assert trained(after) <= left
    if trained(plan) <= left:
        assert after == plan
    for member, entry in entries(after).items():
        before = entries(plan)[member]
        assert entry.length <= before.length
        assert entry.rests or not before.rests
    # No more is left over than one interval of each member that trains.
    wanted = sum(not rest for rest in rests)
    assert trained(after) >= min(trained(plan), left - max(0, wanted - 1))


@pytest.mark.parametrize(
    ("left", "lengths", "rests"),
    [(12, (4, 4, 4), ()), (11, (3, 3, 3), ()), (3, (), ()), (2, (), (False, False, True))],
)
def test_segments_are_shortened_alike(left, lengths, rests):
    after = cut(of([4, 4, 4]), left)
    assert (after.lengths, after.rests) == (lengths, rests)
