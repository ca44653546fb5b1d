"""Loops that train several segments give the record of new loops, and are rebuilt if they could not."""

import gc

import pytest
import torch

import popgrad
from loops.loops import Trainer, make, network, train_round
from popgrad.loops import coroutine
from popgrad.tasks.comparison import differences

SPACE = {
    "lr": popgrad.LogUniform(1e-4, 0.5),
    "momentum": popgrad.Uniform(0.1, 0.9),
    "rows": popgrad.Integer(2, 6),
    "noise": popgrad.Uniform(0.0, 0.1),
}
HPARAMS = {"lr": 0.1, "momentum": 0.5, "rows": 4, "noise": 0.01}


@pytest.fixture(params=["greenlet", "thread"])
def handover(request, monkeypatch):
    if request.param == "thread":
        monkeypatch.setattr(coroutine, "greenlet", None)


class Counted:
    """A loop that counts its setups and its ends."""

    def __init__(self, *, scheduled=False):
        self.scheduled = scheduled
        self.setups = 0
        self.ends = 0

    def __call__(self, m):
        self.setups += 1
        rows = m["rows"]
        model = network()
        optimizer = torch.optim.SGD(model.parameters(), lr=m["lr"], momentum=m["momentum"])
        scheduler = None
        if self.scheduled:
            scheduler = torch.optim.lr_scheduler.ExponentialLR(optimizer, 0.9)
        m.track(model=model, optimizer=optimizer, scheduler=scheduler)
        try:
            for _ in m:
                with torch.no_grad():
                    model[0].bias += m["noise"] * torch.randn(3)
                train_round(m, model, optimizer, steps=rows)
                if scheduler is not None:
                    scheduler.step()
        finally:
            self.ends += 1


def tour(task):
    """Members that train one after the other, heirs among them."""
    trainer = Trainer(task, HPARAMS)
    start = trainer.fresh()
    first = trainer.train(start, 0)
    second = trainer.train(first, 1)
    heir = trainer.train(first, 1, member=1, lr=0.02, momentum=0.8, noise=0.05)
    last = trainer.train(heir, 2, lr=0.2)
    rebuilt = trainer.train(heir, 2, member=1, rows=3)
    return [start, first, second, heir, last, rebuilt]


@pytest.mark.parametrize("scheduled", [False, True])
def test_a_loop_that_is_used_again_gives_the_states_of_new_loops(handover, scheduled):
    new = tour(make(Counted(scheduled=scheduled), space=SPACE))
    function = Counted(scheduled=scheduled)
    task = make(function, space=SPACE, reuse=True)
    assert not list(differences(tour(task), new))
    task.close()
    assert function.ends == function.setups
    # One for the first state, one for its training, one for another number of rows; a scheduler
    # starts again with each other rate.
    assert function.setups == (5 if scheduled else 3)


def test_new_loops_are_the_default():
    function = Counted()
    tour(make(function, space=SPACE))
    assert function.setups == function.ends == 6


def test_a_fresh_member_gets_a_new_loop():
    function = Counted()
    task = make(function, space=SPACE, reuse=True)
    trainer = Trainer(task, HPARAMS)
    trainer.train(trainer.fresh(0), 0)
    trainer.train(trainer.fresh(1), 0, member=1)
    assert function.setups == 4
    task.close()
    assert function.ends == 4


@pytest.mark.parametrize("times", [1, 2])
def test_a_failed_loop_is_thrown_away(handover, times):
    setups = []

    def function(m):
        setups.append(1)
        m.state["trained"] = 0
        for _ in m:
            m.state["trained"] += 1
            if m["lr"] > 0.4:
                raise ValueError("too high")
            m.report(loss=0.0)

    task = make(function, reuse=True)
    trainer = Trainer(task)
    state = trainer.after(1)
    for _ in range(times):
        with pytest.raises(ValueError, match="too high"):
            trainer.train(state, 1, lr=0.45)
    assert trainer.train(state, 1)["values"] == {"trained": 2}
    # A loop that has raised serves nothing more.
    assert len(setups) == 2 + times
    task.close()


def test_a_loop_that_is_over_is_followed_by_a_new_one():
    setups = []

    def function(m):
        setups.append(1)
        m["lr"]
        m.swap()
        m.swap(loss=0.5)
        m.finish(loss=0.25)

    task = make(function, reuse=True)
    losses = []
    trainer = Trainer(task)
    state = trainer.fresh()
    for interval in range(4):
        state = trainer.train(state, interval)
        losses.append(state["metrics"]["loss"])
    assert losses == [0.5, 0.25, 0.5, 0.25]
    assert len(setups) == 1 + 2


def test_a_task_that_is_gone_leaves_no_loop_behind():
    function = Counted()
    task = make(function, space=SPACE, reuse=True)
    trainer = Trainer(task, HPARAMS)
    trainer.after(2)
    assert function.ends < function.setups
    del task, trainer
    gc.collect()
    assert function.ends == function.setups


def test_an_executor_ends_the_loops_of_its_task():
    function = Counted()
    task = make(function, space=SPACE, reuse=True)
    popgrad.run(task, population=3, intervals=2, executor="serial", check=False, progress=False)
    assert function.ends == function.setups


def test_an_option_beside_a_scheduler_is_that_of_the_member_in_a_loop_that_is_used_again():
    """The scheduler takes over options that changed, and this one is not among those it changes."""

    def function(m):
        model = network()
        optimizer = torch.optim.AdamW(model.parameters(), weight_decay=m["weight_decay"])
        scheduler = torch.optim.lr_scheduler.CosineAnnealingLR(optimizer, 20)
        m.track(model=model, optimizer=optimizer, scheduler=scheduler)
        for _ in m:
            train_round(m, model, optimizer)
            scheduler.step()

    def states(task):
        trainer = Trainer(task, {"weight_decay": 0.1})
        first = trainer.after(1)
        heir = trainer.train(first, 1, member=1, weight_decay=0.3)
        return [first, heir, trainer.train(heir, 2)]

    space = {"weight_decay": popgrad.Uniform(0.0, 1.0)}
    used = make(function, space=space, reuse=True)
    assert not list(differences(states(used), states(make(function, space=space))))
    used.close()


def test_the_rate_of_a_named_group_beside_a_scheduler_is_that_of_the_member_too():
    def function(m):
        model = network()
        groups = [
            {"params": model[0].parameters(), "lr": m["body_lr"], "name": "body"},
            {"params": model[2].parameters(), "name": "head"},
        ]
        optimizer = torch.optim.SGD(groups, lr=0.1)
        scheduler = torch.optim.lr_scheduler.ExponentialLR(optimizer, 0.9)
        m.track(model=model, optimizer=optimizer, scheduler=scheduler)
        for _ in m:
            train_round(m, model, optimizer)
            scheduler.step()

    def states(task):
        trainer = Trainer(task, {"body_lr": 0.1})
        first = trainer.after(1)
        heir = trainer.train(first, 1, member=1, body_lr=0.3)
        return [first, heir, trainer.train(heir, 2)]

    space = {"body_lr": popgrad.Uniform(0.0, 1.0)}
    used = make(function, space=space, reuse=True)
    assert not list(differences(states(used), states(make(function, space=space))))
    used.close()
