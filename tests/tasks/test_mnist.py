"""The two MNIST classifiers: the networks of the published results, layer by layer."""

import dataclasses
import math

import pytest
import torch
from torch import nn

from popgrad.core.errors import UsageError
from popgrad.core.space import Constant, LogUniform, Uniform
from popgrad.data import Splits
from popgrad.state import digest
from popgrad.tasks import Context, digits, mnist_conv, mnist_fc

HPARAMS = {"lr": 0.001, "keep_prob": 0.8, "weight_decay": 1e-5}
BOTH = pytest.mark.parametrize("factory", [mnist_fc, mnist_conv])


def small(task):
    """The task on noise instead of images."""
    rng = torch.Generator().manual_seed(0)
    part = torch.randn(20, 1, 28, 28, generator=rng), torch.arange(20) % 10
    return dataclasses.replace(task, data=lambda: Splits(part, part, part))


def train(task, hparams, steps=2):
    torch.manual_seed(0)
    return task.train(task.init(hparams, Context()), hparams, steps, Context())


def names(module):
    return [type(layer).__name__ for layer in module]


def parameters(module):
    return sum(parameter.numel() for parameter in module.parameters())


def test_the_fully_connected_network():
    module = mnist_fc().model({})
    block = ["Linear", "BatchNorm1d", "ReLU", "Dropout"]
    assert names(module) == ["Flatten", *block, *block, "Linear"]
    assert [(x.in_features, x.out_features) for x in module if isinstance(x, nn.Linear)] == [
        (784, 256),
        (256, 256),
        (256, 10),
    ]
    assert (
        parameters(module) == (784 + 1 + 2) * 256 + (256 + 1 + 2) * 256 + (256 + 1) * 10 == 270_346
    )


def test_the_convolutional_network():
    module = mnist_conv().model({})
    block = ["Conv2d", "BatchNorm2d", "ReLU", "Dropout"]
    assert names(module) == [*block, *block, "Flatten", "Linear"]
    convolutions = [layer for layer in module if isinstance(layer, nn.Conv2d)]
    assert [(x.in_channels, x.out_channels, x.kernel_size, x.padding) for x in convolutions] == [
        (1, 16, (3, 3), (1, 1)),
        (16, 32, (3, 3), (1, 1)),
    ]
    assert (
        parameters(module)
        == (9 + 1 + 2) * 16 + (9 * 16 + 1 + 2) * 32 + (784 * 32 + 1) * 10
        == 255_786
    )
    assert module.eval()(torch.zeros(2, 1, 28, 28)).shape == (2, 10)


@BOTH
def test_weights_are_xavier_uniform_and_biases_zero(factory):
    torch.manual_seed(0)
    for layer in factory().model({}):
        if isinstance(layer, nn.Linear | nn.Conv2d):
            area = math.prod(getattr(layer, "kernel_size", ()))
            bound = math.sqrt(6 / (area * (layer.weight.shape[0] + layer.weight.shape[1])))
            assert 0.9 * bound < float(layer.weight.detach().abs().max()) <= bound
            assert not layer.bias.any()


def test_widths_and_batch_normalisation_are_options():
    assert names(mnist_fc(n_hiddens=(5,), batch_norm=False).model({})) == [
        "Flatten",
        "Linear",
        "ReLU",
        "Dropout",
        "Linear",
    ]
    module = mnist_conv(n_filters=(2, 3, 4), batch_norm=False).model({})
    assert names(module) == ["Conv2d", "ReLU", "Dropout"] * 3 + ["Flatten", "Linear"]
    assert module[-1].in_features == 4 * 784


@BOTH
def test_what_is_given_is_fixed_and_what_is_not_is_searched(factory):
    space = factory().space
    assert space["lr"] == LogUniform(1e-4, 1e-1)
    assert space["keep_prob"] == Uniform(0.5, 1.0)
    assert space["weight_decay"] == Constant(1e-5)
    fixed = factory(lr=0.01, keep_prob=0.8, weight_decay=0.1).space
    assert [fixed[name] for name in fixed] == [Constant(0.01), Constant(0.8), Constant(0.1)]


@BOTH
@pytest.mark.parametrize("change", [{"lr": 0.01}, {"keep_prob": 0.5}, {"weight_decay": 0.5}])
def test_every_hyperparameter_acts(factory, change):
    task = small(factory(batch_size=10))
    assert digest(train(task, {**HPARAMS, **change})["model"]) != digest(
        train(task, HPARAMS)["model"]
    )


@BOTH
def test_the_batch_size_acts(factory):
    assert small(factory(batch_size=5)).epoch_steps(HPARAMS) == 4
    assert train(small(factory(batch_size=5)), HPARAMS, 3)["position"] == 15


@BOTH
def test_an_unknown_data_set_is_refused_at_once(factory):
    with pytest.raises(
        UsageError, match="data set: expected one of fashion-mnist, mnist, got 'cifar'"
    ):
        factory(dataset="cifar")


def test_a_short_training_on_the_real_mnist_works(mnist_dir):
    task = mnist_fc(data_dir=str(mnist_dir))
    assert task.epoch_steps(HPARAMS) == 275
    state = train(task, HPARAMS, 60)
    metrics = task.evaluate(state, HPARAMS, "validation", Context())
    assert metrics["accuracy"] > 0.85
    assert state["position"] == 12_000


@BOTH
@pytest.mark.parametrize(
    ("option", "message"),
    [
        ({"lr": -1.0}, "lr: expected at least 0, got -1.0"),
        ({"keep_prob": 3.0}, "keep_prob: expected 0 to 1, got 3.0"),
        ({"weight_decay": -0.1}, "weight_decay: expected at least 0, got -0.1"),
        ({"batch_size": 0}, "batch_size: expected 1 to 2,147,483,648, got 0"),
        ({"height": 10**11}, "height: expected 1 to 65,536, got 100000000000"),
        ({"num_classes": 0}, "num_classes: expected 1 to 65,536, got 0"),
        ({"validation": 0}, "validation: expected at least 1, got 0"),
    ],
)
def test_a_number_out_of_range_is_refused_before_data_is_read(factory, option, message):
    with pytest.raises(UsageError) as caught:
        factory(**option)
    assert str(caught.value) == message


@pytest.mark.parametrize(("widths", "given"), [((8, -3), "-3"), ((10**11,), "1"), ((1,) * 101, "")])
def test_layers_that_no_network_has_are_refused(widths, given):
    for factory, name in (
        (mnist_fc, "n_hiddens"),
        (mnist_conv, "n_filters"),
        (digits, "n_hiddens"),
    ):
        with pytest.raises(UsageError, match=f"{name}: expected at most 100 layers, .*{given}"):
            factory(**{name: widths})
