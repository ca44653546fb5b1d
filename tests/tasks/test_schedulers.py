"""Optimizers and schedulers across a cut: the same bits as uncut, and a new rate scales what is left."""

import pytest
import torch
from torch import optim
from torch.optim import lr_scheduler as schedules

from popgrad.state import digest, flatten, unflatten

OPTIMIZERS = {
    "adam": lambda p: optim.Adam(p),
    "adam fused": lambda p: optim.Adam(p, fused=True),
    "adamw amsgrad": lambda p: optim.AdamW(p, amsgrad=True),
    "adamw amsgrad fused": lambda p: optim.AdamW(p, amsgrad=True, fused=True),
    "sgd": lambda p: optim.SGD(p, momentum=0.9),
    "sgd fused": lambda p: optim.SGD(p, momentum=0.9, fused=True),
    "rmsprop": lambda p: optim.RMSprop(p, momentum=0.5),
    "nadam": lambda p: optim.NAdam(p),
    "adagrad": lambda p: optim.Adagrad(p),
    "adagrad fused": lambda p: optim.Adagrad(p, fused=True),
}


def rate(optimizer):
    return optimizer.param_groups[0]["lr"]


SCHEDULERS = {
    "exponential": lambda o: schedules.ExponentialLR(o, 0.9),
    "step": lambda o: schedules.StepLR(o, 7, 0.5),
    "multistep": lambda o: schedules.MultiStepLR(o, [10, 20, 40], 0.5),
    "cosine": lambda o: schedules.CosineAnnealingLR(o, 60),
    "restarts": lambda o: schedules.CosineAnnealingWarmRestarts(o, 9),
    "lambda": lambda o: schedules.LambdaLR(o, lambda step: 1 / (1 + step)),
    "one cycle": lambda o: schedules.OneCycleLR(o, max_lr=rate(o), total_steps=60),
    "cyclic": lambda o: schedules.CyclicLR(
        o, rate(o) / 10, rate(o), 4, cycle_momentum="momentum" in o.defaults
    ),
    "warmup, cosine": lambda o: schedules.SequentialLR(
        o, [schedules.LinearLR(o, 0.1, total_iters=5), schedules.CosineAnnealingLR(o, 60)], [5]
    ),
    "warmup, steps": lambda o: schedules.SequentialLR(
        o, [schedules.LinearLR(o, 0.1, total_iters=35), schedules.MultiStepLR(o, [5, 9])], [35]
    ),
    "chained": lambda o: schedules.ChainedScheduler(
        [schedules.LinearLR(o), schedules.ExponentialLR(o, 0.9)]
    ),
}


def noting(seen):
    """A step that notes the rate, and the momentum where there is one."""

    def step(module, optimizers, batch, loss):
        (optimizer,) = optimizers.values()
        optimizer.zero_grad()
        value = loss(batch)
        value.backward()
        group = optimizer.param_groups[0]
        seen.append((group["lr"], group.get("momentum", 0.0), *group.get("betas", ())))
        optimizer.step()
        return value.detach()

    return step


def task_of(make_task, optimizer, scheduler=None, **changes):
    return make_task(
        optimizer=lambda module, hparams: OPTIMIZERS[optimizer](module.parameters()),
        scheduler=SCHEDULERS.get(scheduler),
        **changes,
    )


def cut_equals_uncut(task, run):
    hparams = {"lr": 0.01}
    half = unflatten(*flatten(run(task, hparams, 25)))
    return digest(run(task, hparams, 25, state=half, first=1)) == digest(run(task, hparams, 50))


@pytest.mark.parametrize("optimizer", OPTIMIZERS)
def test_two_halves_are_the_whole(make_task, run, optimizer):
    assert cut_equals_uncut(task_of(make_task, optimizer), run)


@pytest.mark.parametrize("scheduler", SCHEDULERS)
@pytest.mark.parametrize("optimizer", ["adam", "adamw amsgrad fused", "sgd"])
def test_two_halves_under_a_scheduler_are_the_whole(make_task, run, optimizer, scheduler):
    assert cut_equals_uncut(task_of(make_task, optimizer, scheduler), run)


@pytest.mark.parametrize("scheduler", SCHEDULERS)
@pytest.mark.parametrize("optimizer", ["adam", "sgd"])
def test_rates_are_those_of_a_plain_loop(make_task, run, optimizer, scheduler):
    seen, plain = [], []
    run(task_of(make_task, optimizer, scheduler, step=noting(seen)), {"lr": 0.01}, 5, 3, 12)
    live = OPTIMIZERS[optimizer]([torch.zeros(1, requires_grad=True)])
    live.param_groups[0]["lr"] = 0.01
    schedule = SCHEDULERS[scheduler](live)
    for _ in range(20):
        group = live.param_groups[0]
        plain.append((group["lr"], group.get("momentum", 0.0), *group.get("betas", ())))
        live.step()
        schedule.step()
    assert seen == plain


@pytest.mark.parametrize("scheduler", SCHEDULERS)
def test_a_new_rate_scales_what_is_left_of_the_schedule(make_task, run, scheduler):
    seen, whole = [], []
    task = task_of(make_task, "adam", scheduler, step=noting(seen))
    state = run(task, {"lr": 0.01}, 9)
    run(task, {"lr": 0.03}, 16, state=state, first=1)
    run(task_of(make_task, "adam", scheduler, step=noting(whole)), {"lr": 0.03}, 25)
    rates = [each[0] for each in seen[9:]]
    assert rates == pytest.approx([each[0] for each in whole[9:]], rel=1e-9)


def test_a_rate_of_zero_can_be_left(make_task, run):
    seen = []
    task = task_of(make_task, "adam", "step", step=noting(seen))
    run(task, {"lr": 0.5}, 1, state=run(task, {"lr": 0.0}, 1), first=1)
    assert [each[0] for each in seen] == [0.0, 0.5]
