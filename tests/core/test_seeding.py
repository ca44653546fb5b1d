"""Seeds of streams: one hash, for one stream as for many."""

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from popgrad.core.seeding import Rng, derive

COUNTS = st.integers(0, 2**31)


@given(st.integers(-(2**70), 2**70), st.text(max_size=8), COUNTS, COUNTS)
def test_one_seed_is_that_of_the_draws_for_many(
    seed: int, purpose: str, member: int, interval: int
) -> None:
    drawn = Rng(seed).uniform(purpose, np.array([member]), np.array([interval]))
    found = derive(seed, purpose, member, interval)
    assert 0 <= found < 2**63
    assert (found >> 10) * 2.0**-53 == drawn[0]


def test_a_seed_is_what_it_always_was() -> None:
    assert derive(0, "train", 3, 7) == 6104686163827409538


def test_whole_numbers_of_numpy_are_taken_too() -> None:
    assert derive(5, "order", np.int64(2**31), np.int64(9)) == derive(5, "order", 2**31, 9)
