"""A state that has lost something is found before a run trains with it."""

import pytest
import torch
from torch import nn, optim
from torch.optim import lr_scheduler as schedules

from popgrad.core.errors import UsageError
from popgrad.nn import Dropout
from popgrad.tasks import Context
from popgrad.tasks.continuation import check_continuation

HPARAMS = {"lr": 0.01}


def layers():
    return nn.Sequential(
        nn.Linear(33, 9),
        nn.BatchNorm1d(9),
        nn.ReLU(),
        nn.Dropout(0.3),
        Dropout(0.5),
        nn.Linear(9, 3),
    )


def noisy(inputs, generator):
    return inputs + 0.1 * torch.randn(inputs.shape, generator=generator)


class Warming(nn.Module):
    """Its output grows with a plain attribute, which no state holds."""

    def __init__(self):
        super().__init__()
        self.layer = nn.Linear(33, 3)
        self.count = 0

    def forward(self, x):
        if self.training:
            self.count += 1
        return self.layer(x) * (1.0 + 0.1 * self.count)


class Growing(optim.SGD):
    """Its step grows with a number that it keeps on itself."""

    def __init__(self, params):
        super().__init__(params)
        self.factor = 1.0

    def step(self, closure=None):
        self.factor *= 1.5
        for group in self.param_groups:
            for parameter in group["params"]:
                parameter.grad.mul_(self.factor)
        return super().step(closure)


@pytest.mark.parametrize(
    "changes",
    [
        {},
        {"model": lambda hparams: layers(), "augment": noisy},
        {"optimizer": lambda m, h: optim.SGD(m.parameters(), momentum=0.9)},
        {"optimizer": lambda m, h: optim.Adam(m.parameters(), fused=True, amsgrad=True)},
        {"scheduler": lambda o: schedules.CosineAnnealingLR(o, 50, eta_min=1e-4)},
        {"model": lambda hparams: nn.Linear(33, 3).double().float(), "batch_size": 7},
    ],
)
def test_usual_tasks_pass(make_task, changes):
    check_continuation(make_task(**changes), HPARAMS, Context())


def test_a_plain_attribute_that_changes_the_forward_pass_is_named(make_task):
    with pytest.raises(
        UsageError, match=r"attribute 'count' of the module is 2, and 0 after"
    ) as caught:
        check_continuation(make_task(model=lambda hparams: Warming()), HPARAMS, Context())
    assert "in state['model']['layer.weight'] (up to" in str(caught.value)
    assert "\n" not in str(caught.value)


def test_a_number_of_an_optimizer_is_named(make_task):
    task = make_task(optimizer=lambda m, h: Growing(m.parameters()))
    with pytest.raises(
        UsageError, match=r"attribute 'factor' of optimizer 'optimizer' is 2\.25, and"
    ):
        check_continuation(task, HPARAMS, Context())


def test_an_attribute_without_effect_is_no_fault(make_task):
    class Counting(Warming):
        def forward(self, x):
            self.count += 1
            return self.layer(x)

    check_continuation(make_task(model=lambda hparams: Counting()), HPARAMS, Context())


def test_rounding_is_no_fault(make_task):
    class Rounding(optim.SGD):
        def load_state_dict(self, state):
            super().load_state_dict(state)
            for group in self.param_groups:
                for parameter in group["params"]:
                    with torch.no_grad():
                        parameter.mul_(1.0 + torch.finfo(torch.float32).eps)

    task = make_task(optimizer=lambda m, h: Rounding(m.parameters()))
    check_continuation(task, {"lr": 1e-6}, Context())


def test_the_callers_generators_are_left_alone(make_task):
    before = torch.get_rng_state()
    check_continuation(make_task(model=lambda hparams: layers()), HPARAMS, Context())
    assert torch.equal(torch.get_rng_state(), before)


def test_training_that_is_not_repeatable_is_not_judged(make_task):
    count = []

    def loss(module, batch, hparams):
        count.append(1)
        return nn.functional.cross_entropy(module(batch[0]), batch[1]) * len(count)

    check_continuation(make_task(loss=loss), HPARAMS, Context())
