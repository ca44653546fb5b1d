"""Diversity against numbers worked out by hand, and the warning in the cases that its rule names."""

import math
from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from popgrad.core.segment import Segment
from popgrad.core.space import Choice, Constant, LogUniform, Space, Uniform
from popgrad.record.diversity import diversity, effective_number, warning
from popgrad.record.lineage import founders

SPACE = Space(
    {
        "lr": LogUniform(1e-4, 1.0),
        "act": Choice(("relu", "tanh", "elu")),
        "width": Uniform(0, 1, init_only=True),
        "batch": Constant(8),
    }
)


def segment(member, interval, source, lr=0.1, act="relu", score=0.5, width=0.0):
    return Segment(
        member=member,
        interval=interval,
        source=source,
        hparams={"lr": lr, "act": act, "width": width, "batch": 8},
        changes={},
        seed=0,
        first_step=interval,
        steps=1,
        samples=0,
        score=score,
        metrics={},
        digest="",
        status="done",
    )


def population(sources, lrs=None, first=0):
    """Intervals of 4 members; `sources` names the member that each continues from, by interval."""
    found = [segment(m, 0, None, lr=10.0**-m) for m in range(4)]
    for interval, row in enumerate(sources, start=1):
        for member, source in enumerate(row):
            lr = 10.0**-member if lrs is None else lrs[interval - 1][member]
            found.append(segment(member, interval, (source, interval - 1), lr=lr))
    return found


def test_shares_and_effective_founders():
    found = diversity(population([(0, 0, 2, 3), (0, 0, 0, 3), (0, 0, 0, 0)]), SPACE)
    assert found.intervals == (0, 1, 2, 3)
    assert found.members.tolist() == [4, 4, 4, 4]
    assert found.founders == ((0, 0), (1, 0), (2, 0), (3, 0))
    assert found.shares.tolist() == [
        [0.25, 0.25, 0.25, 0.25],
        [0.5, 0.0, 0.25, 0.25],
        [0.75, 0.0, 0.0, 0.25],
        [1.0, 0.0, 0.0, 0.0],
    ]
    expected = [4.0, 2**1.5, 4 / 3**0.75, 1.0]
    assert found.effective == pytest.approx(expected)


def test_failed_segments_do_not_count_and_fresh_ones_found():
    segments = population([(0, 0, 2, 3)])
    segments[4] = replace(segments[4], score=math.nan)
    segments[7] = segment(3, 1, None)
    found = diversity(segments, SPACE)
    assert found.members.tolist() == [4, 3]
    assert found.founders[-1] == (3, 1)
    assert found.shares[1] == pytest.approx([1 / 3, 0, 1 / 3, 0, 1 / 3])

    failed = [replace(each, score=math.inf) for each in population([])]
    none = diversity(failed, SPACE)
    assert (none.effective.tolist(), none.founders) == ([0.0], ())
    assert math.isnan(none.spread["lr"][0])
    assert warning(none, SPACE, 1) == ""


def test_spread_is_in_units_of_the_range_along_its_scale():
    segments = [segment(m, 0, None, lr=10.0**-m, act="relu") for m in range(5)]
    segments[1] = replace(segments[1], hparams={**segments[1].hparams, "act": "tanh"})
    found = diversity(segments, SPACE)
    assert list(found.spread) == ["lr", "act", "width"]
    assert found.spread["lr"] == pytest.approx([0.8])  # the positions are 0, 1/4, ... 1
    assert found.spread["act"] == pytest.approx([0.2])
    assert found.spread["width"].tolist() == [0.0]


def test_no_segments():
    found = diversity([], SPACE)
    assert (found.intervals, found.founders, found.shares.shape) == ((), (), (0, 0))
    assert warning(found, SPACE, 10) == ""


ONE = (0, 0, 0, 0)
SAME = (0, 1, 2, 3)
FAR = (1.0, 0.1, 0.01, 0.001)
NEAR = (0.1, 0.11, 0.1, 0.1)


def test_a_single_founder_is_a_warning_in_the_first_half_only():
    early = diversity(population([SAME, ONE, SAME, SAME, SAME]), SPACE)
    text = warning(early, SPACE, 6)
    assert text.startswith(
        "From interval 2 on nearly all members descend from one founder, member 0:"
    )
    late = diversity(population([SAME, SAME, ONE, SAME, SAME]), SPACE)
    assert warning(late, SPACE, 6) == ""
    assert warning(late, SPACE, 8)  # the run goes on, and 3 is before its half


def test_a_founder_that_others_join_again_is_no_warning():
    segments = population([ONE, SAME, SAME])
    segments[-2:] = [segment(2, 3, None), segment(3, 3, None)]
    assert warning(diversity(segments, SPACE), SPACE, 100) == ""


def test_values_that_are_nearly_the_same_are_a_warning_at_any_time():
    close = diversity(population([SAME, SAME, SAME], [FAR, NEAR, NEAR]), SPACE)
    assert warning(close, SPACE, 4).startswith("From interval 2 on the members train with nearly")
    apart = diversity(population([SAME, SAME, SAME], [NEAR, NEAR, FAR]), SPACE)
    assert warning(apart, SPACE, 4) == ""


def test_an_interval_that_few_have_finished_is_no_evidence():
    segments = population([SAME])[:6]  # two of four
    segments += [segment(m, 2, (0, 1)) for m in range(3)]
    assert warning(diversity(segments, SPACE), SPACE, 100) == ""


@given(st.lists(st.lists(st.integers(0, 3), min_size=4, max_size=4), max_size=6))
def test_it_agrees_with_the_number_of_founders(sources):
    segments = population(sources)
    found = diversity(segments, SPACE)
    assert found.shares.sum(axis=1) == pytest.approx(np.ones(len(found.intervals)))
    alive = (found.shares > 0).sum(axis=1)
    assert dict(zip(found.intervals, alive.tolist(), strict=True)) == founders(segments)
    assert (found.effective <= alive + 1e-9).all()
    assert (found.effective >= 1 - 1e-9).all()


def test_equal_shares_of_n_kinds_are_n():
    assert effective_number(np.full((1, 7), 1 / 7)) == pytest.approx([7.0])
