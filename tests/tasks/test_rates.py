"""Each rate is the one that a fresh scheduler gives on the recorded base, whatever base the donor had."""

import itertools
import random

import pytest
import torch
from torch import nn, optim
from torch.optim import lr_scheduler as schedules
from torch.optim.swa_utils import SWALR

from popgrad.core.errors import UsageError
from popgrad.state import digest, flatten, unflatten


def rate(optimizer):
    return optimizer.param_groups[0]["lr"]


class WarmUp(schedules.LRScheduler):
    """Keeps its own copy of the peak rate."""

    def __init__(self, optimizer, steps=5):
        self.peak = [group["lr"] for group in optimizer.param_groups]
        self.steps = steps
        super().__init__(optimizer)

    def get_lr(self):
        return [peak * min(1.0, (self.last_epoch + 1) / self.steps) for peak in self.peak]


class Halving(schedules.LRScheduler):
    """Recursive, with a function that no state can hold, and a change of the weight decay."""

    def __init__(self, optimizer):
        self.factor = lambda step: 0.5 if step % 3 == 0 else 1.0
        super().__init__(optimizer)

    def get_lr(self):
        if self.last_epoch == 0:
            return [group["lr"] for group in self.optimizer.param_groups]
        for group in self.optimizer.param_groups:
            group["weight_decay"] += 1e-3
        return [group["lr"] * self.factor(self.last_epoch) for group in self.optimizer.param_groups]


class Plain:
    """A scheduler that is no LRScheduler: a step, and a state."""

    def __init__(self, optimizer):
        self.optimizer = optimizer
        self.bases = [group["lr"] for group in optimizer.param_groups]
        self.count = 0

    def step(self):
        self.count += 1
        for group, base in zip(self.optimizer.param_groups, self.bases, strict=True):
            group["lr"] = base / (1 + self.count)

    def state_dict(self):
        return {"count": self.count}

    def load_state_dict(self, state):
        self.count = state["count"]


SCHEDULERS = {
    "lambda": lambda o: schedules.LambdaLR(o, lambda step: 1 / (1 + step)),
    "multiplicative": lambda o: schedules.MultiplicativeLR(o, lambda step: 0.9 + 0.01 * (step % 3)),
    "step": lambda o: schedules.StepLR(o, 7, 0.5),
    "multistep": lambda o: schedules.MultiStepLR(o, [10, 20, 40], 0.5),
    "constant": lambda o: schedules.ConstantLR(o, 0.3, 8),
    "linear": lambda o: schedules.LinearLR(o, 0.1, total_iters=11),
    "exponential": lambda o: schedules.ExponentialLR(o, 0.9),
    "polynomial": lambda o: schedules.PolynomialLR(o, 40, 2.0),
    "cosine": lambda o: schedules.CosineAnnealingLR(o, 60),
    "cosine with a floor": lambda o: schedules.CosineAnnealingLR(o, 12, eta_min=1e-3),
    "restarts": lambda o: schedules.CosineAnnealingWarmRestarts(o, 9),
    "restarts with a floor": lambda o: schedules.CosineAnnealingWarmRestarts(o, 5, 2, eta_min=1e-3),
    "one cycle": lambda o: schedules.OneCycleLR(
        o, max_lr=[group["lr"] for group in o.param_groups], total_steps=60
    ),
    "cyclic": lambda o: schedules.CyclicLR(
        o,
        [group["lr"] / 10 for group in o.param_groups],
        [group["lr"] for group in o.param_groups],
        4,
        cycle_momentum="momentum" in o.defaults,
    ),
    "cyclic over a fixed floor": lambda o: schedules.CyclicLR(
        o, 1e-4, [group["lr"] for group in o.param_groups], 4, cycle_momentum=False
    ),
    "sequential": lambda o: schedules.SequentialLR(
        o,
        [schedules.LinearLR(o, 0.1, total_iters=5), schedules.CosineAnnealingLR(o, 60, 1e-3)],
        [5],
    ),
    "chained": lambda o: schedules.ChainedScheduler(
        [schedules.LinearLR(o), schedules.ExponentialLR(o, 0.9)]
    ),
    "averaging": lambda o: SWALR(o, swa_lr=1e-3, anneal_epochs=10),
    "own peak": WarmUp,
    "own function": Halving,
    "no LRScheduler": Plain,
}

OPTIMIZERS = {
    "adam": lambda m: optim.Adam(m.parameters()),
    "adam fused": lambda m: optim.Adam(m.parameters(), fused=True),
    "sgd": lambda m: optim.SGD(m.parameters(), momentum=0.9),
    "groups": lambda m: optim.SGD(
        [{"params": m[0].parameters(), "lr": 0.01}, {"params": m[2].parameters()}],
        lr=0.1,
        momentum=0.9,
    ),
}

BASES = (0.05, 0.2, 0.003)


def noting(seen):
    """A step that notes all numbers of the groups."""

    def step(module, optimizers, batch, loss):
        (optimizer,) = optimizers.values()
        optimizer.zero_grad()
        value = loss(batch)
        value.backward()
        seen.append(numbers(optimizer))
        optimizer.step()
        return value.detach()

    return step


def numbers(optimizer):
    keys = ("lr", "momentum", "betas", "weight_decay")
    return [[group[key] for key in keys if key in group] for group in optimizer.param_groups]


def fresh_rates(make_optimizer, make_scheduler, base, steps):
    """The numbers of a plain loop: an optimizer on the base, its scheduler stepped after each step."""
    module = nn.Sequential(nn.Linear(2, 2), nn.Tanh(), nn.Linear(2, 2))
    optimizer = make_optimizer(module)
    default = optimizer.defaults["lr"]
    for group in optimizer.param_groups:
        group["lr"] = base if group["lr"] == default else base * (group["lr"] / default)
    scheduler = make_scheduler(optimizer)
    seen = []
    for _ in range(steps):
        seen.append(numbers(optimizer))
        optimizer.step()
        scheduler.step()
    return seen


def travelled(state):
    return unflatten(*flatten(state))


@pytest.mark.parametrize("scheduler", SCHEDULERS)
@pytest.mark.parametrize("optimizer", OPTIMIZERS)
def test_rates_of_heirs_are_those_of_a_fresh_scheduler(make_task, run, optimizer, scheduler):
    seen = []
    task = make_task(
        optimizer=lambda module, hparams: OPTIMIZERS[optimizer](module),
        scheduler=SCHEDULERS[scheduler],
        step=noting(seen),
    )
    state = None
    for interval, base in enumerate(BASES):
        state = travelled(run(task, {"lr": base}, 7, state=state, first=interval))

    expected = [
        fresh_rates(OPTIMIZERS[optimizer], SCHEDULERS[scheduler], base, 7 * (interval + 1))[-7:]
        for interval, base in enumerate(BASES)
    ]
    assert seen == [*itertools.chain(*expected)]


@pytest.mark.parametrize("scheduler", SCHEDULERS)
@pytest.mark.parametrize("optimizer", ["adam fused", "groups"])
def test_intervals_on_one_base_are_the_whole(make_task, run, optimizer, scheduler):
    task = make_task(
        optimizer=lambda module, hparams: OPTIMIZERS[optimizer](module),
        scheduler=SCHEDULERS[scheduler],
    )
    state = None
    for interval, steps in enumerate((3, 8, 9)):
        state = travelled(run(task, {"lr": 0.05}, steps, state=state, first=interval))
    assert digest(state) == digest(run(task, {"lr": 0.05}, 20))


def test_a_base_that_only_the_optimizer_function_reads_counts_too(make_task, run):
    seen = []
    task = make_task(
        optimizer=lambda module, hparams: optim.SGD(module.parameters(), lr=hparams["base"] * 2),
        scheduler=SCHEDULERS["cosine with a floor"],
        step=noting(seen),
    )
    run(task, {"base": 0.1}, 5, state=run(task, {"base": 0.01}, 5), first=1)
    plain = fresh_rates(lambda m: optim.SGD(m.parameters()), task.scheduler, 0.2, 10)
    assert [each[0][0] for each in seen[5:]] == [each[0][0] for each in plain[5:]]


# Schedulers that cannot be right


def refused(make_task, run, hparams=None, **changes):
    with pytest.raises(UsageError) as caught:
        run(make_task(**changes), hparams or {"lr": 0.1})
    assert "\n" not in str(caught.value)
    return str(caught.value)


def test_a_scheduler_with_fixed_rates_is_refused(make_task, run):
    message = refused(make_task, run, scheduler=lambda o: schedules.OneCycleLR(o, 0.1, 60))
    assert "OneCycleLR sets lr without regard to the hyperparameter" in message
    assert "param_groups[0]['lr']" in message


def test_a_scheduler_with_fixed_rates_is_accepted_where_the_rate_is_not_searched(make_task, run):
    task = make_task(
        optimizer=lambda m, h: optim.SGD(m.parameters(), momentum=0.9),
        scheduler=lambda o: schedules.OneCycleLR(o, 0.1, total_steps=60, cycle_momentum=False),
    )
    hparams = {"weight_decay": 0.01}
    half = travelled(run(task, hparams, 10))
    assert digest(run(task, hparams, 10, state=half, first=1)) == digest(run(task, hparams, 20))


def test_a_scheduler_that_sets_a_searched_momentum_is_refused(make_task, run):
    message = refused(
        make_task,
        run,
        {"lr": 0.1, "momentum": 0.5},
        optimizer=lambda m, h: optim.SGD(m.parameters(), lr=h["lr"], momentum=h["momentum"]),
        scheduler=SCHEDULERS["one cycle"],
    )
    assert "OneCycleLR sets momentum without regard" in message


def test_rates_of_zero_at_first_are_no_fault(make_task, run):
    task = make_task(scheduler=lambda o: schedules.LambdaLR(o, lambda step: float(step > 3)))
    assert run(task, {"lr": 0.1}, 2)["steps"] == 2


def test_a_fixed_warm_up_is_no_fault(make_task, run):
    class Late(schedules.LRScheduler):
        def get_lr(self):
            return [1e-4 if self.last_epoch < 150 else base for base in self.base_lrs]

    assert run(make_task(scheduler=Late), {"lr": 0.1}, 2)["steps"] == 2


def test_a_scheduler_that_waits_for_a_metric_is_refused(make_task, run):
    message = refused(make_task, run, scheduler=lambda o: schedules.ReduceLROnPlateau(o))
    assert "ReduceLROnPlateau waits for a metric" in message


def test_a_scheduler_that_draws_is_refused(make_task, run):
    rng = random.Random(0)
    message = refused(
        make_task, run, scheduler=lambda o: schedules.LambdaLR(o, lambda step: rng.random())
    )
    assert "LambdaLR gives other rates when it is built a second time" in message


@pytest.mark.parametrize(
    "scheduler",
    [schedules.ExponentialLR, lambda o: None, lambda o: [schedules.ExponentialLR(o, 0.9)]],
)
def test_something_else_than_a_function_that_returns_a_scheduler_is_refused(
    make_task, run, scheduler
):
    assert refused(make_task, run, scheduler=scheduler).startswith("scheduler: expected a function")


def test_a_schedule_that_is_too_short_is_a_users_mistake(make_task, run):
    task = make_task(scheduler=lambda o: schedules.OneCycleLR(o, rate(o), total_steps=6))
    with pytest.raises(UsageError, match="OneCycleLR refuses a step: Tried to step"):
        run(task, {"lr": 0.1}, 9)


def test_the_check_leaves_the_optimizer_alone(make_task, run):
    made = []

    def optimizer(module, hparams):
        made.append(optim.SGD(module.parameters()))
        return made[-1]

    task = make_task(optimizer=optimizer, scheduler=SCHEDULERS["exponential"])
    run(task, {"lr": 0.1})
    assert rate(made[0]) == 0.1
    assert torch.equal(torch.tensor(made[0].param_groups[0]["initial_lr"]), torch.tensor(0.1))
