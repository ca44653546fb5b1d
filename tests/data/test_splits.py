import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from sklearn.model_selection import train_test_split

from popgrad.core.errors import UsageError
from popgrad.data import Splits, stratified


def part(n: int, width: int = 2) -> tuple[torch.Tensor, torch.Tensor]:
    return torch.zeros(n, width), torch.zeros(n, dtype=torch.int64)


def test_parts_are_had_by_name():
    splits = Splits(part(5), part(2), part(3))
    assert splits["train"] is splits.train
    assert splits["validation"] is splits.validation
    assert splits["test"] is splits.test
    with pytest.raises(
        UsageError, match="split: expected one of train, validation, test, got 'val'"
    ):
        splits["val"]


@pytest.mark.parametrize(
    ("bad", "why"),
    [
        ((), "a tuple of tensors"),
        ([torch.zeros(1)], "a tuple of tensors"),
        ((torch.zeros(2, 2), [0, 0]), "a tuple of tensors"),
        ((torch.zeros(3, 2), torch.zeros(2, dtype=torch.int64)), r"\[3, 2\] samples"),
        (part(0), r"\[0, 0\] samples"),
        ((torch.tensor(0.0),), r"\[0\] samples"),
        (part(2, width=3), r"of train, float32 \[2\], int64 \[\], got float32 \[3\], int64 \[\]"),
        ((torch.zeros(2, 2), torch.zeros(2)), "expected samples like those of train"),
        ((torch.zeros(2, 2),), "expected samples like those of train"),
    ],
)
def test_a_part_that_does_not_fit_is_named(bad, why):
    with pytest.raises(UsageError, match=f"^validation: .*{why}"):
        Splits(part(5), bad, part(3))


@given(
    counts=st.lists(st.integers(2, 20), min_size=1, max_size=5),
    share=st.floats(0, 1),
    seed=st.integers(-(2**70), 2**70),
)
def test_a_split_is_exact_disjoint_complete_and_stratified(counts, share, seed):
    targets = torch.repeat_interleave(torch.arange(len(counts)), torch.tensor(counts))
    n, k = len(targets), len(counts)
    targets = targets[torch.randperm(n, generator=torch.Generator().manual_seed(3))]
    validation = min(max(round(share * n), k), n - k)
    (stay, stay_y), (leave, leave_y) = stratified(
        torch.arange(n), targets, validation=validation, seed=seed
    )
    assert len(leave) == validation
    assert sorted(stay.tolist() + leave.tolist()) == list(range(n))
    assert stay.equal(stay.sort().values)
    assert leave.equal(leave.sort().values)
    assert stay_y.equal(targets[stay])
    assert leave_y.equal(targets[leave])
    for cls, count in enumerate(counts):
        assert abs(int((leave_y == cls).sum()) - validation * count / n) <= 1


@given(
    counts=st.lists(st.integers(2, 20), min_size=1, max_size=6),
    share=st.floats(0, 1),
    seed=st.integers(0, 2**32 - 1),
)
def test_a_split_is_that_of_scikit_learn(counts, share, seed):
    targets = torch.repeat_interleave(torch.arange(len(counts)), torch.tensor(counts))
    n, k = len(targets), len(counts)
    targets = targets[torch.randperm(n, generator=torch.Generator().manual_seed(3))]
    validation = min(max(round(share * n), k), n - k)
    (stay, _), _ = stratified(torch.arange(n), targets, validation=validation, seed=seed)
    kept, _ = train_test_split(
        range(n), test_size=validation, stratify=targets.numpy(), random_state=seed
    )
    assert stay.tolist() == sorted(kept)


def test_a_seed_decides_on_the_split():
    inputs, targets = torch.arange(60), torch.arange(60) % 3

    def left(seed: int) -> list[int]:
        return stratified(inputs, targets, validation=12, seed=seed)[1][0].tolist()

    assert left(1) == left(1) == left(1 + 2**32)
    assert left(1) != left(2)


def test_parts_share_no_memory_with_what_was_split():
    inputs, targets = torch.zeros(8, 2), torch.arange(8) % 2
    for x, y in stratified(inputs, targets, validation=2, seed=0):
        assert x.is_contiguous()
        x += 1
        y += 5
    assert inputs.sum() == 0
    assert targets.max() == 1


@pytest.mark.parametrize("validation", [0, -1, 10, 5000])
def test_more_than_there_is_cannot_be_split_off(validation):
    with pytest.raises(
        UsageError, match=f"validation: expected 1 to 9 of 10 training samples, got {validation}"
    ):
        stratified(torch.zeros(10), torch.arange(10) % 2, validation=validation, seed=0)


def test_a_class_left_without_samples_is_refused():
    with pytest.raises(
        UsageError, match=r"validation: 10 samples cannot be split by class with 1 of them"
    ):
        stratified(torch.zeros(10), torch.arange(10) % 2, validation=1, seed=0)
    with pytest.raises(UsageError, match=r"cannot be split by class .*a class has one sample"):
        stratified(torch.zeros(3), torch.tensor([0, 0, 1]), validation=2, seed=0)


def test_lengths_that_differ_are_refused():
    with pytest.raises(UsageError, match=r"targets: expected shape \[5\], .*, got shape \[4\]"):
        stratified(torch.zeros(5), torch.zeros(4), validation=2, seed=0)
