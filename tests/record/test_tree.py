"""A tree holds every member once, leaves nothing out without a count, and stays flat."""

import math
import random
from collections.abc import Iterator

import pytest

import popgrad
from popgrad.core.population import SegmentId
from popgrad.core.segment import Segment
from popgrad.core.space import Space, Uniform
from popgrad.record.record import Record
from popgrad.record.tree import Branch, Forest, LeftOut, Tree


def record(*segments: tuple[int, int, SegmentId | None, float]) -> Record:
    """A record of segments: member, interval, source and score."""
    rows = [
        Segment(member, interval, source, {"h": 0.5}, {}, 0, 0, 1, 1, score, {}, "", "done")
        for member, interval, source, score in segments
    ]
    rows.sort(key=lambda segment: (segment.interval, segment.member))
    return Record(space=Space({"h": Uniform(0.0, 1.0)}), score_name="q", segments=tuple(rows))


def evolved(members: int, intervals: int, seed: int) -> Record:
    """A record in which the worst members copy others, and some fail."""
    draws = random.Random(seed)
    rows = [(member, 0, None, draws.random()) for member in range(members)]
    for interval in range(1, intervals):
        for member in range(members):
            donor = draws.randrange(members) if draws.random() < 0.3 else member
            score = math.nan if draws.random() < 0.05 else draws.random()
            rows.append((member, interval, (donor, interval - 1), score))  # type: ignore[arg-type]
    return record(*rows)


def branches(tree: Tree) -> Iterator[Branch]:
    waiting = [*tree.founders]
    while waiting:
        branch = waiting.pop()
        yield branch
        waiting += [each for group in branch.branches.values() for each in group]


def depth(branch: Branch) -> int:
    below = [depth(each) for group in branch.branches.values() for each in group]
    return 1 + max(below, default=0)


def test_founders_forks_and_what_died_out() -> None:
    """Members 1 and 2 copy member 0 after the first interval; founders 1 and 2 are gone."""
    tree = Forest(
        record(
            *((0, 0, None, 0.3), (1, 0, None, 0.2), (2, 0, None, 0.1)),
            *((0, 1, (0, 0), 0.4), (1, 1, (0, 0), 0.5), (2, 1, (0, 0), 0.2)),
            *((0, 2, (0, 1), 0.6), (1, 2, (1, 1), 0.9), (2, 2, (0, 1), math.nan)),
        )
    ).tree()
    (founder,) = tree.founders
    assert [each.id for each in founder.segments] == [(0, 0), (1, 1), (1, 2)]
    assert tree.winning == {(0, 0), (1, 1), (1, 2)}
    (fork,) = founder.branches[0]
    assert [each.id for each in fork.segments] == [(0, 1), (0, 2)]
    (last,) = fork.branches[0]
    assert [each.id for each in last.segments] == [(2, 2)]
    assert tree.present == {(1, 2): (1,), (0, 2): (0,), (2, 2): (2,)}
    assert founder.left_out == {0: LeftOut(branches=1, segments=1)}
    assert tree.left_out == LeftOut(branches=2, segments=2)


@pytest.mark.parametrize("seed", range(5))
def test_every_segment_is_shown_once_or_counted(seed: int) -> None:
    whole = evolved(12, 15, seed)
    forest = Forest(whole)

    shown = [
        segment.id for branch in branches(forest.tree(extinct=True)) for segment in branch.segments
    ]
    assert sorted(shown) == sorted(whole.by_id)

    tree = forest.tree()
    living = [segment.id for branch in branches(tree) for segment in branch.segments]
    assert len(living) == len(set(living))
    assert set(living) == tree.living
    left_out = sum(
        (total for each in branches(tree) for total in each.left_out.values()), tree.left_out
    )
    assert len(living) + left_out.segments == len(whole.segments)
    assert left_out.members == 0


@pytest.mark.parametrize("most", [1, 3, 12])
def test_the_best_members_are_shown_and_the_others_counted(most: int) -> None:
    whole = evolved(12, 15, 7)
    tree = Forest(whole).tree(most=most)
    members = [member for each in tree.present.values() for member in each]
    ranked = sorted(whole.last, key=lambda m: (whole.last[m].failed, -whole.last[m].score, m))
    assert sorted(members) == sorted(ranked[:most])
    left_out = sum(
        (total for each in branches(tree) for total in each.left_out.values()), tree.left_out
    )
    assert left_out.members == 12 - most


def test_each_segment_starts_from_the_one_before() -> None:
    for branch in branches(Forest(evolved(10, 20, 3)).tree(extinct=True)):
        for before, after in zip(branch.segments, branch.segments[1:], strict=False):
            assert after.source == before.id
        for position, group in branch.branches.items():
            for each in group:
                assert each.segments[0].source == branch.segments[position].id


def test_the_winner_ends_the_first_branch() -> None:
    whole = evolved(10, 20, 11)
    first = Forest(whole).tree().founders[0]
    assert first.segments == whole.lineage()


def test_a_chain_of_copies_is_not_nested_deeply() -> None:
    """Each member copies the one before it, which then dies out or goes on: a comb of 300 teeth."""
    rows: list[tuple[int, int, SegmentId | None, float]] = [(0, 0, None, 0.0)]
    for member in range(1, 300):
        rows.append((member, member, (member - 1, member - 1), float(-member)))
        rows.append((member - 1, member, (member - 1, member - 1), float(member)))
    tree = Forest(record(*rows)).tree(extinct=True)
    assert max(map(depth, tree.founders)) <= 3
    assert len([*branches(tree)]) > 290


def test_the_nesting_grows_with_the_logarithm_of_the_members() -> None:
    tree = Forest(evolved(200, 30, 5)).tree(extinct=True)
    assert max(map(depth, tree.founders)) <= 16


def test_without_a_winner_there_is_still_a_tree() -> None:
    tree = Forest(record((0, 0, None, math.nan), (1, 0, None, math.inf))).tree()
    assert tree.winning == frozenset()
    assert [branch.segments[0].member for branch in tree.founders] == [0, 1]
    assert Forest(record()).tree().founders == ()


@pytest.mark.parametrize("mode", ["sync", "async"])
def test_real_runs_have_trees(mode: str) -> None:
    result = popgrad.run(
        "quadratic", population=8, intervals=12, mode=mode, executor="serial", progress=False
    )
    tree = Forest(result.record).tree()
    assert sorted(sum(tree.present.values(), ())) == list(range(8))
    for member, last in result.record.last.items():
        assert member in tree.present[last.id]


def test_a_member_whose_state_others_continue_is_present_within_a_branch() -> None:
    """As in the middle of an interval: the heir has trained, and its donor has not."""
    whole = record((0, 0, None, 0.5), (1, 0, None, 0.1), (1, 1, (0, 0), 0.7))
    (founder,) = Forest(whole).tree().founders
    assert [each.id for each in founder.segments] == [(0, 0), (1, 1)]
    assert Forest(whole).tree().present == {(0, 0): (0,), (1, 1): (1,)}
