"""Modules whose tensors are loaded next: their first values are not drawn."""

import pytest
import torch
from torch import nn

from popgrad.core.population import Hparams
from popgrad.tasks.construction import unfilled


def test_draws_nothing_for_parameters_and_leaves_the_generator_where_it_was() -> None:
    states: list[torch.Tensor] = []

    def model(hparams: Hparams) -> nn.Module:
        states.append(torch.get_rng_state())
        made = nn.Sequential(nn.Linear(7, 5), nn.Conv2d(1, 2, 3), nn.Embedding(3, 2))
        states.append(torch.get_rng_state())
        return made

    before = torch.get_rng_state()
    made = unfilled(model, {})
    assert [tuple(p.shape) for p in made.parameters()] == [(5, 7), (5,), (2, 1, 3, 3), (2,), (3, 2)]
    assert torch.equal(states[0], states[1])
    model({})
    assert not torch.equal(states[2], states[3])  # the usual way draws
    torch.set_rng_state(before)


def test_buffers_and_whatever_else_is_drawn_are_as_usual() -> None:
    class Projected(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.linear = nn.Linear(3, 3)
            self.register_buffer("features", torch.randn(4))
            self.plain = torch.rand(2)

    torch.manual_seed(1)
    made = unfilled(lambda _: Projected(), {})
    torch.manual_seed(1)
    assert torch.equal(made.get_buffer("features"), torch.randn(4))
    assert torch.equal(torch.as_tensor(made.plain), torch.rand(2))


def test_a_module_that_computes_with_its_first_values_is_made_as_usual() -> None:
    made: list[float] = []

    def model(hparams: Hparams) -> nn.Module:
        layer = nn.Linear(30, 30)
        torch.nn.init.normal_(layer.weight)
        made.append(float(layer.weight.detach().std()))
        if len(made) == 1:
            raise ValueError("these values are not those of a layer")
        return layer

    torch.manual_seed(2)
    before = torch.get_rng_state()
    unfilled(model, {})
    assert len(made) == 2
    assert 0.8 < made[1] < 1.2
    assert torch.equal(torch.get_rng_state(), before)


def test_an_error_of_the_model_is_its_own() -> None:
    def model(hparams: Hparams) -> nn.Module:
        raise ValueError("no such width")

    with pytest.raises(ValueError, match="no such width"):
        unfilled(model, {})
