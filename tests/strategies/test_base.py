"""The start that a strategy wants: users' code, so it is checked before a run is recorded."""

from typing import Any

import pytest

from popgrad import Space, Strategy, Uniform, UsageError, random_search
from popgrad.strategies.base import Start

PLAIN = random_search(Space({"lr": Uniform(0.0, 1.0)}))


def strategy(start: Any, *, shares_budget: bool = False) -> Strategy:
    return PLAIN._replace(start=lambda _: start, shares_budget=shares_budget)


def test_extra_members_start_on_a_shared_budget() -> None:
    start = Start(8, ("first",) * 8, evaluated=True, evaluations=3)
    assert strategy(start, shares_budget=True).first(4) == start
    assert PLAIN.first(4) == Start(4)


@pytest.mark.parametrize(
    ("start", "message"),
    [
        (None, "expected a Start, got None"),
        (4, "expected a Start, got 4"),
        (Start(3), "size: an integer from 4 to 100000, got 3"),
        (Start(10**9), "size: an integer from 4 to 100000, got 1000000000"),
        (Start(4.0), "size: an integer from 4 to 100000, got 4.0"),  # type: ignore[arg-type]
        (Start(4, ("a",)), r"roles: none, or 4, got \('a',\)"),
        (Start(4, ("a" * 201,) * 4), "roles: strings of at most 200 characters"),
        (Start(4, (1,) * 4), "roles: strings of at most 200 characters, got 1"),  # type: ignore[arg-type]
        (Start(4, evaluations=0), "evaluations: an integer of at least 1, got 0"),
    ],
)
def test_a_start_that_cannot_be_is_refused(start: Any, message: str) -> None:
    with pytest.raises(UsageError, match=f"^the strategy's start: .*{message}"):
        strategy(start, shares_budget=True).started(4)


def test_extra_members_without_a_shared_budget_are_refused() -> None:
    with pytest.raises(UsageError, match=r"size: 4, as configured .*shares_budget=True.*got 5"):
        strategy(Start(5)).first(4)
