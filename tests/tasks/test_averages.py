"""Averages of networks: means in double precision, integers of the first, BatchNorm as in training."""

import pytest
import torch
from torch import nn

from popgrad import UsageError
from popgrad.tasks.averages import average, batch_norm_statistics, batch_norms, difference


def test_the_average_of_equal_networks_is_that_network():
    network = {"w": torch.randn(7, 5, generator=torch.Generator().manual_seed(0)) * 1e-3}
    for count in (1, 2, 3, 7):
        assert torch.equal(average([network] * count)["w"], network["w"])


def test_the_mean_is_taken_in_double_precision_and_rounded_once():
    values = [1.0, 2.0**-24, 2.0**-24]  # in single precision 1 + 2^-24 is 1
    mean = average([{"w": torch.tensor([value])} for value in values])["w"]
    assert mean.dtype == torch.float32
    assert mean.item() == torch.tensor(sum(values) / 3, dtype=torch.float32).item()
    half = average([{"w": torch.tensor([60000.0], dtype=torch.float16)}] * 4)["w"]
    assert half.dtype == torch.float16
    assert half.item() == 60000.0  # the sum does not fit


def test_integers_and_booleans_are_those_of_the_first():
    first = {"count": torch.tensor(3), "mask": torch.tensor([True, False])}
    other = {"count": torch.tensor(8), "mask": torch.tensor([False, True])}
    mean = average([first, other])
    assert mean["count"].item() == 3
    assert mean["mask"].tolist() == [True, False]
    mean["count"] += 1
    assert first["count"].item() == 3  # a copy


def test_an_average_shares_no_memory():
    first = {"w": torch.ones(2)}
    average([first])["w"].zero_()
    assert first["w"].tolist() == [1.0, 1.0]


@pytest.mark.parametrize(
    ("network", "words"),
    [
        ({"w": torch.zeros(2, 3), "b": torch.zeros(2)}, ""),
        ({"w": torch.zeros(2, 4), "b": torch.zeros(2)}, "w has shape [2, 4] instead of [2, 3]"),
        ({"w": torch.zeros(2, 3)}, "it has no b"),
        ({"w": torch.zeros(2, 3), "b": torch.zeros(2), "c": torch.zeros(1)}, "it has a tensor c"),
        (
            {"w": torch.zeros(2, 3).double(), "b": torch.zeros(2)},
            "w has type torch.float64 instead of torch.float32",
        ),
    ],
)
def test_the_first_difference_is_named(network, words):
    assert difference(network, {"w": torch.zeros(2, 3), "b": torch.zeros(2)}) == words


def test_statistics_are_plain_means_over_batches():
    torch.manual_seed(0)
    module = nn.Sequential(nn.Linear(3, 4), nn.BatchNorm1d(4))
    batches = [torch.randn(8, 3) for _ in range(5)]
    statistics = batch_norm_statistics(module, module, batches)
    outputs = [module[0](batch) for batch in batches]
    mean = torch.stack([each.mean(0) for each in outputs]).mean(0)
    variance = torch.stack([each.var(0) for each in outputs]).mean(0)
    assert statistics.keys() == {"1.running_mean", "1.running_var"}
    assert torch.allclose(statistics["1.running_mean"], mean, atol=1e-6)
    assert torch.allclose(statistics["1.running_var"], variance, atol=1e-6)


def test_they_are_those_of_torch_itself():
    torch.manual_seed(0)
    data = [torch.randn(6, 2, 5, 5) for _ in range(3)]
    own, theirs = (
        nn.Sequential(nn.Conv2d(2, 3, 3), nn.BatchNorm2d(3), nn.ReLU(), nn.BatchNorm2d(3))
        for _ in range(2)
    )
    theirs.load_state_dict(own.state_dict())
    torch.optim.swa_utils.update_bn(data, theirs)
    for name, tensor in batch_norm_statistics(own, own, data).items():
        assert torch.equal(tensor, theirs.state_dict()[name]), name


def test_a_layer_without_statistics_is_no_concern():
    assert batch_norms(nn.Sequential(nn.BatchNorm1d(3, track_running_stats=False))) == {}
    assert list(batch_norms(nn.BatchNorm1d(3))) == [""]


def test_no_batch_is_refused():
    with pytest.raises(UsageError, match="batches: got none"):
        batch_norm_statistics(nn.BatchNorm1d(3), lambda _: None, [])
