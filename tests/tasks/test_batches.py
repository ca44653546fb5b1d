"""The batches of an evaluation: lent only where nobody can tell."""

import pytest
import torch
from torch import nn

from popgrad.core.errors import UsageError
from popgrad.core.space import LogUniform, Space
from popgrad.data.splits import Splits
from popgrad.tasks import Context, TorchTask
from popgrad.tasks.batches import batches


def samples(count=40, width=16):
    """Rows of 64 bytes, so that each begins where a copy would."""
    return torch.arange(count * width, dtype=torch.float32).view(count, width)


def lent(batch, split):
    storage = split.untyped_storage()
    return storage.data_ptr() <= batch.data_ptr() < storage.data_ptr() + storage.nbytes()


def taken(*split, size=16, use=lambda batch: None):
    """Which batches of the first tensor were lent, and all of them together."""
    seen, places = [], []
    for batch in batches(split, size):
        places.append(lent(batch[0], split[0]))
        seen.append(batch[0].clone())
        use(batch[0])
    return places, torch.cat(seen)


def test_all_but_the_first_are_lent_and_hold_what_copies_hold():
    split = samples()
    places, seen = taken(split, torch.arange(40))
    assert places == [False, True, True]
    assert seen.equal(split)


@pytest.mark.parametrize("size", [1, 7, 16, 39, 40, 1000])
def test_batches_of_any_size_are_in_order_and_whole(size):
    split = samples()
    found = [batch[0] for batch in batches([split], size)]
    assert [len(each) for each in found[:-1]] == [size] * (len(found) - 1)
    assert torch.cat(found).equal(split)


@pytest.mark.parametrize(
    "split",
    [
        pytest.param(samples(width=15), id="rows that begin anywhere"),
        pytest.param(samples()[:, ::2], id="every other column"),
        pytest.param(
            samples(80).view(80, 4, 2, 2).to(memory_format=torch.channels_last), id="channels last"
        ),
        pytest.param(samples(1).expand(39, 16), id="one row, repeated"),
    ],
)
def test_what_does_not_lie_in_memory_as_a_copy_is_copied(split):
    size = 13  # whose batches begin between the places where copies do
    places, seen = taken(split, size=size)
    assert not any(places)
    assert all(batch[0].is_contiguous() for batch in batches([split], size))
    assert seen.equal(split)


@pytest.mark.parametrize(
    "change",
    [
        pytest.param(lambda x: x.add_(1), id="torch"),
        pytest.param(lambda x: x[3].relu_(), id="a view, to what it was"),
        pytest.param(lambda x: x.detach().zero_(), id="detached"),
        pytest.param(lambda x: x.numpy().fill(7), id="numpy"),
    ],
)
def test_who_changes_batches_is_given_copies(change):
    split = samples()
    before = split.clone()
    places, _ = taken(split, use=change)
    assert not any(places)
    assert split.equal(before)


def test_a_later_batch_that_is_changed_in_place_is_an_error():
    with pytest.raises(UsageError, match=r"samples 16 to 31 .*clone"):
        taken(samples(), use=lambda x: x.zero_() if x[0, 0] > 0 else None)


def test_data_of_inference_mode_is_lent_too():
    with torch.inference_mode():
        split = samples()
    places, seen = taken(split)
    assert places == [False, True, True]
    assert seen.equal(split)


class Doubling(nn.Module):
    """Writes into what it is given."""

    def __init__(self):
        super().__init__()
        self.weight = nn.Parameter(torch.ones(16, 4))

    def forward(self, x):
        return x.mul_(2) @ self.weight


def test_a_network_that_writes_into_its_inputs_evaluates_alike_each_time():
    inputs, targets = samples(), torch.arange(40) % 4
    splits = Splits(
        train=(inputs, targets), validation=(inputs.clone(), targets), test=(inputs, targets)
    )
    task = TorchTask(
        space=Space({"lr": LogUniform(0.01, 0.1)}),
        model=lambda hparams: Doubling(),
        optimizer=lambda module, hparams: torch.optim.SGD(module.parameters(), lr=hparams["lr"]),
        data=lambda: splits,
        metrics=lambda outputs, targets: {"accuracy": float(outputs.sum())},
        evaluation_batch_size=16,
    )
    ctx = Context()
    state = task.init({"lr": 0.01}, ctx)
    found = [task.evaluate(state, {"lr": 0.01}, "validation", ctx)["accuracy"] for _ in range(3)]
    assert found == [2 * 4 * float(inputs.sum())] * 3
