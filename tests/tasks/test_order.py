"""The order of data: every sample once an epoch, whatever the intervals and the batch sizes."""

import torch
from hypothesis import given
from hypothesis import strategies as st

from popgrad.tasks.order import batch, permutation

SAMPLES, SIZES = st.integers(1, 120), st.integers(1, 150)


def walk(samples, sizes, **options):
    """(epoch, start, stop) of one batch after the other from the start of the data."""
    position = 0
    for size in sizes:
        epoch, start, stop = batch(position, samples, size, **options)
        position = epoch * samples + stop
        yield epoch, start, stop


@given(SAMPLES, st.lists(SIZES, min_size=1, max_size=60))
def test_batches_follow_one_another_without_a_gap_whatever_their_sizes(samples, sizes):
    position = 0
    for (epoch, start, stop), size in zip(walk(samples, sizes), sizes, strict=True):
        assert epoch * samples + start == position
        assert stop == min(start + size, samples)
        assert 0 < stop - start <= size
        position = epoch * samples + stop


@given(SAMPLES, SIZES)
def test_an_epoch_of_batches_holds_every_sample_once(samples, size):
    steps = -(-samples // size)
    rows = [row for _, start, stop in walk(samples, [size] * steps) for row in range(start, stop)]
    assert rows == list(range(samples))


@given(SAMPLES, SIZES)
def test_dropping_the_last_batch_leaves_only_full_ones(samples, size):
    steps = max(1, samples // size)
    batches = list(walk(samples, [size] * 3 * steps, drop_last=True))
    assert {stop - start for _, start, stop in batches} == {min(size, samples)}
    assert [epoch for epoch, _, _ in batches] == [epoch for epoch in range(3) for _ in range(steps)]


@given(SAMPLES, st.integers(0, 2**63 - 1))
def test_an_order_is_a_permutation_that_its_seed_decides(samples, seed):
    before = torch.get_rng_state()
    order = permutation(samples, seed)
    assert order.sort().values.tolist() == list(range(samples))
    permutation.cache_clear()
    assert torch.equal(permutation(samples, seed), order)
    assert torch.equal(torch.get_rng_state(), before)


def test_another_seed_is_another_order():
    assert not torch.equal(permutation(50, 1), permutation(50, 2))
