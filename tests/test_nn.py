"""Dropout whose rate is a buffer: exact, seeded, and the same code for one member and for a stack."""

import math

import pytest
import torch
from hypothesis import example, given
from hypothesis import strategies as st
from torch import nn
from torch.func import functional_call, vmap

from popgrad.nn import Dropout, seed_streams, xavier_


def seeded(layer, seed=0):
    seed_streams(layer, seed)
    return layer


@given(st.floats(0.0, 1.0), st.booleans())
@example(0.0, False)
@example(1.0, False)
def test_of_all_values_that_can_be_drawn_the_right_share_is_kept(p, keep):
    layer = Dropout(p, keep=keep)
    layer._bits = lambda x: torch.arange(-(2**15), 2**15, dtype=torch.int16)
    kept = int((layer(torch.ones(2**16)) != 0).sum())
    rate = float(layer.dropout)
    assert abs(kept - (rate if keep else 1.0 - rate) * 2**16) < 1.0


@pytest.mark.parametrize("p", [0.1, 0.5, 0.8])
def test_drawn_masks_have_the_rate(p):
    n = 400_000
    dropped = int((seeded(Dropout(p))(torch.ones(n)) == 0).sum())
    assert abs(dropped - n * p) < 5 * math.sqrt(n * p * (1 - p))


def test_all_sixteen_bits_are_drawn_evenly_in_every_place():
    draws = seeded(Dropout())._bits(torch.empty(4 * 65536)).view(-1, 4).long()
    for place in range(4):
        assert abs(float(draws[:, place].double().mean())) < 5 * 2**16 / math.sqrt(12 * 65536)


@pytest.mark.parametrize("p", [0.1, 0.25, 0.5, 0.9])
def test_what_is_kept_is_scaled_by_the_inverse_of_the_share_kept(p):
    out = seeded(Dropout(p))(torch.ones(33, 7))
    scale = 1 / (1 - torch.tensor(p))
    assert set(out.unique().tolist()) == {0.0, scale.item()}


def test_the_gradient_is_the_mask_times_the_scale():
    x = torch.randn(33, 7, requires_grad=True)
    out = seeded(Dropout(0.3))(x)
    out.sum().backward()
    assert torch.equal(x.grad, (out != 0) * (1 / (1 - torch.tensor(0.3))))
    assert torch.equal(out, x * x.grad)


def test_the_hyperparameter_may_be_the_probability_of_keeping():
    layer = Dropout(0.2, hparam="keep_prob", keep=True)
    assert layer.keep_prob.item() == pytest.approx(0.8)
    x = torch.ones(1000)
    assert torch.equal(seeded(layer, 3)(x) != 0, seeded(Dropout(0.2), 3)(x) != 0)


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64, torch.bfloat16, torch.float16])
def test_none_and_all_can_be_dropped_in_every_precision(dtype):
    x = torch.randn(1001, dtype=dtype)
    assert torch.equal(seeded(Dropout(0.0))(x), x)
    assert torch.equal(seeded(Dropout(1.0))(x), torch.zeros_like(x))
    assert seeded(Dropout(0.5))(x).dtype == dtype


@pytest.mark.parametrize("shape", [(), (0,), (1,), (3,), (2, 3, 5)])
def test_any_shape(shape):
    assert seeded(Dropout(0.5))(torch.ones(shape)).shape == shape


def test_evaluation_is_the_identity():
    x = torch.randn(5)
    assert Dropout(0.9).eval()(x) is x


def test_the_rate_can_be_written_while_training():
    layer = seeded(Dropout(0.0))
    layer.dropout.fill_(1.0)
    assert not layer(torch.ones(9)).any()


def test_a_seed_decides_the_masks_and_layers_differ():
    module, x = nn.Sequential(Dropout(0.5), Dropout(0.5)), torch.ones(200)

    def masks(seed):
        seed_streams(module, seed)
        return module[0](x), module[1](x)

    first, second = masks(1)
    assert torch.equal(masks(1)[0], first)
    assert torch.equal(masks(1)[1], second)
    assert not torch.equal(first, second)
    assert not torch.equal(masks(2)[0], first)
    assert not torch.equal(module[0](x), module[0](x))


def test_the_global_generator_is_left_alone():
    before = torch.get_rng_state()
    seeded(Dropout(0.5))(torch.ones(100))
    assert torch.equal(torch.get_rng_state(), before)


def test_the_rate_is_not_part_of_a_saved_network():
    assert Dropout(0.5).state_dict() == {}


@pytest.mark.parametrize("p", [-0.1, 1.1, math.nan])
def test_p_is_a_probability(p):
    with pytest.raises(ValueError, match="probability"):
        Dropout(p)


def test_a_stack_drops_at_each_members_own_rate():
    layer, n = seeded(Dropout()), 100_000
    rates = torch.tensor([0.0, 0.2, 0.7, 1.0])

    def forward(rate, x):
        return functional_call(layer, {"dropout": rate}, (x,))

    out = vmap(forward, randomness="different")(rates, torch.ones(4, n))
    for rate, row in zip(rates.tolist(), out, strict=True):
        assert abs(int((row == 0).sum()) - n * rate) <= 5 * math.sqrt(n * rate * (1 - rate))
    equal = vmap(forward, randomness="different")(torch.full((2,), 0.5), torch.ones(2, 100))
    assert not torch.equal(*equal)


def test_xavier_fills_within_glorots_bound_and_zeroes_biases():
    module = xavier_(
        nn.Sequential(nn.Linear(30, 20), nn.Conv2d(3, 8, 3), nn.Linear(5, 5, bias=False))
    )
    for layer, fans in ((module[0], 50), (module[1], 11 * 9), (module[2], 10)):
        bound = math.sqrt(6 / fans)
        assert layer.weight.abs().max() <= bound
        assert layer.weight.abs().max() > 0.8 * bound
        assert layer.bias is None or not layer.bias.any()
