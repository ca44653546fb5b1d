"""Moments follow their parameters by name, and what optimizers keep elsewhere travels too."""

import pytest
import torch
from torch import nn, optim

from popgrad.core.errors import UsageError
from popgrad.state import digest, flatten, unflatten


def travelled(state):
    return unflatten(*flatten(state))


def cut_equals_uncut(task, run, hparams=None, parts=(5, 5, 5, 5)):
    hparams = hparams or {"lr": 0.01}
    state = None
    for interval, steps in enumerate(parts):
        state = travelled(run(task, hparams, steps, state=state, first=interval))
    return digest(state) == digest(run(task, hparams, sum(parts)))


class Growing(optim.Optimizer):
    """Keeps running numbers in its groups, as Prodigy, D-Adaptation and schedule-free do."""

    def __init__(self, params, lr=1.0, growth=1.2):
        defaults = {"lr": lr, "growth": growth, "d": 1e-3, "k": 0, "mean": torch.zeros(2)}
        super().__init__(params, defaults)

    @torch.no_grad()
    def step(self, closure=None):
        for group in self.param_groups:
            group["d"] *= group["growth"]
            group["k"] += 1
            group["mean"] += group["d"]
            group.setdefault("later", []).append(group["d"])
            for parameter in group["params"]:
                rate = group["lr"] * (group["d"] + float(group["mean"][0]) + len(group["later"]))
                parameter.add_(parameter.grad, alpha=-rate)


class Lookahead:
    """A wrapper whose state has no "state": slow weights, and a count on itself."""

    def __init__(self, base, every=3):
        self.base = base
        self.param_groups = base.param_groups
        self.every = every
        self.count = 0
        self.slow = [p.detach().clone() for group in self.param_groups for p in group["params"]]

    def zero_grad(self, set_to_none=True):
        self.base.zero_grad(set_to_none)

    @torch.no_grad()
    def step(self):
        self.base.step()
        self.count += 1
        if self.count % self.every == 0:
            held = [p for group in self.param_groups for p in group["params"]]
            for slow, parameter in zip(self.slow, held, strict=True):
                slow.lerp_(parameter, 0.5)
                parameter.copy_(slow)

    def state_dict(self):
        return {"fast": self.base.state_dict(), "count": self.count, "slow": self.slow}

    def load_state_dict(self, state):
        self.base.load_state_dict(state["fast"])
        self.count = state["count"]
        for slow, value in zip(self.slow, state["slow"], strict=True):
            slow.copy_(value)


class Lazy(optim.SGD):
    """Adds an entry to its own state."""

    def __init__(self, params):
        super().__init__(params, momentum=0.9)
        self.count = 0

    def step(self, closure=None):
        self.count += 1
        for group in self.param_groups:
            for parameter in group["params"]:
                parameter.grad.mul_(1 / self.count)
        return super().step(closure)

    def state_dict(self):
        return {**super().state_dict(), "count": self.count}

    def load_state_dict(self, state):
        self.count = state.pop("count", 0)
        super().load_state_dict(state)


@pytest.mark.parametrize(
    "optimizer",
    [
        lambda m, h: Growing(m.parameters()),
        lambda m, h: Growing(
            [{"params": m[0].parameters()}, {"params": m[2].parameters(), "d": 0.1}]
        ),
        lambda m, h: Lookahead(optim.SGD(m.parameters(), lr=h["lr"], momentum=0.9)),
        lambda m, h: Lookahead(optim.Adam(m.parameters())),
        lambda m, h: Lookahead(Lookahead(optim.Adam(m.parameters())), 5),
        lambda m, h: Lazy(m.parameters()),
        lambda m, h: {
            "body": Growing(m[0].parameters()),
            "head": Lookahead(optim.Adagrad(m[2].parameters())),
        },
    ],
)
def test_intervals_are_the_whole(make_task, run, optimizer):
    assert cut_equals_uncut(make_task(optimizer=optimizer), run)


def noting(seen, *keys):
    def step(module, optimizers, batch, loss):
        for optimizer in optimizers.values():
            optimizer.zero_grad()
        value = loss(batch)
        value.backward()
        for optimizer in optimizers.values():
            seen.append([[group[key] for key in keys] for group in optimizer.param_groups])
            optimizer.step()
        return value.detach()

    return step


def test_hyperparameters_are_written_over_what_came_with_the_state(make_task, run):
    for optimizer in (
        lambda m, h: Growing(m.parameters()),
        lambda m, h: Lookahead(optim.Adam(m.parameters())),
        lambda m, h: Lookahead(optim.Adam(m.parameters(), lr=h["lr"])),
    ):
        seen = []
        task = make_task(optimizer=optimizer, step=noting(seen, "lr"))
        run(task, {"lr": 0.03}, 1, state=travelled(run(task, {"lr": 0.5}, 2)), first=1)
        assert seen == [[[0.5]], [[0.5]], [[0.03]]]


def test_options_made_from_hyperparameters_do_not_come_from_the_donor(make_task, run):
    seen = []
    task = make_task(
        optimizer=lambda m, h: Growing(m.parameters(), lr=h["rate"], growth=h["speed"]),
        step=noting(seen, "lr", "growth", "k"),
    )
    state = travelled(run(task, {"rate": 0.5, "speed": 1.5}, 3))
    run(task, {"rate": 0.1, "speed": 1.1}, 1, state=state, first=1)
    assert seen[-1] == [[0.1, 1.1, 3]]


def test_a_rate_that_a_step_changes_by_hand_is_the_heirs(make_task, run):
    seen = []

    def step(module, optimizers, batch, loss):
        (group,) = optimizers["optimizer"].param_groups
        seen.append(group["lr"])
        group["lr"] *= 0.5
        return loss(batch)

    task = make_task(optimizer=lambda m, h: optim.SGD(m.parameters(), lr=h["rate"]), step=step)
    run(task, {"rate": 0.1}, 1, state=travelled(run(task, {"rate": 0.8}, 2)), first=1)
    assert seen == [0.8, 0.4, 0.1]


def test_a_usual_state_has_no_more_entries(make_task, run):
    state = run(make_task(), {"lr": 0.1}, 2)
    assert list(state) == ["model", "optimizers", "steps", "position"]


# Parameters


class Two(nn.Module):
    def __init__(self):
        super().__init__()
        self.b = nn.Parameter(torch.zeros(2))
        self.a = nn.Parameter(torch.zeros(2))

    def forward(self, x):
        return x[:, :3]


def of_one(module, batch, hparams):
    return module.a.sum() + 0 * module.b.sum()


@pytest.mark.parametrize("make", [optim.SGD, optim.Adam, optim.Adagrad])
def test_moments_follow_the_name_of_their_parameter(make_task, run, make):
    options = {"momentum": 0.9} if make is optim.SGD else {}

    def optimizer(module, hparams):
        held = [module.a] if hparams["frozen"] else [module.b, module.a]
        return make(held, lr=0.1, **options)

    task = make_task(model=lambda h: Two(), optimizer=optimizer, loss=of_one)
    frozen, free = {"frozen": True}, {"frozen": False}
    state = travelled(run(task, frozen, 3))
    state = travelled(run(task, free, 3, state=state, first=1))
    assert state["model"]["b"].tolist() == [0.0, 0.0]
    straight = run(task, free, 6)
    assert torch.equal(state["model"]["a"], straight["model"]["a"])

    back = travelled(run(task, frozen, 3, state=state, first=2))
    assert torch.equal(back["model"]["a"], run(task, frozen, 9)["model"]["a"])
    assert back["parameters"] == {"optimizer": ["a"]}


def test_a_wrapper_without_names_refuses_other_parameters(make_task, run):
    def optimizer(module, hparams):
        held = [module.a] if hparams["frozen"] else [module.b, module.a]
        return Lookahead(optim.SGD(held, lr=0.1))

    task = make_task(model=lambda h: Two(), optimizer=optimizer, loss=of_one)
    with pytest.raises(UsageError, match=r"Lookahead holds other parameters .* init-only"):
        run(task, {"frozen": False}, 1, state=run(task, {"frozen": True}, 1), first=1)


def test_a_tensor_that_is_no_parameter_of_the_module_is_refused(make_task, run):
    extra = nn.Parameter(torch.zeros(1))
    task = make_task(optimizer=lambda m, h: optim.SGD([*m.parameters(), extra]))
    with pytest.raises(UsageError, match="'optimizer' trains a tensor that is no parameter"):
        run(task, {"lr": 0.1})


# Moments that the donor lacks


@pytest.mark.parametrize(
    ("make", "before", "after"),
    [
        (lambda p: optim.Adam(p), {"amsgrad": False}, {"amsgrad": True}),
        (lambda p: optim.AdamW(p, fused=True), {"amsgrad": False}, {"amsgrad": True}),
        (lambda p: optim.RMSprop(p, lr=1e-3), {"momentum": 0.0}, {"momentum": 0.9}),
        (lambda p: optim.RMSprop(p, lr=1e-3), {"centered": False}, {"centered": True}),
        (lambda p: optim.SGD(p), {"momentum": 0.0}, {"momentum": 0.9}),
    ],
)
def test_an_option_can_be_switched_on_by_an_heir(make_task, run, make, before, after):
    task = make_task(optimizer=lambda m, h: make(m.parameters()))
    state = travelled(run(task, before, 3))
    state = travelled(run(task, after, 3, state=state, first=1))
    state = travelled(run(task, before, 3, state=state, first=2))
    state = run(task, after, 3, state=state, first=3)
    assert all(value.isfinite().all() for value in state["model"].values())


def chosen(module, hparams):
    kinds = {
        "adam": lambda: optim.Adam(module.parameters()),
        "adamw": lambda: optim.AdamW(module.parameters()),
        "sgd": lambda: optim.SGD(module.parameters(), momentum=0.9),
    }
    return kinds[hparams["kind"]]()


@pytest.mark.parametrize("kinds", [("adam", "sgd"), ("sgd", "adam")])
def test_another_optimizer_is_refused(make_task, run, kinds):
    task = make_task(optimizer=chosen)
    before, after = ({"lr": 0.01, "kind": kind} for kind in kinds)
    with pytest.raises(UsageError, match=r"change the optimizer must be init-only") as caught:
        run(task, after, 1, state=travelled(run(task, before, 1)), first=1)
    assert "\n" not in str(caught.value)


def test_one_with_the_same_moments_is_not(make_task, run):
    task = make_task(optimizer=chosen)
    state = travelled(run(task, {"lr": 0.01, "kind": "adam"}, 1))
    assert run(task, {"lr": 0.01, "kind": "adamw"}, 1, state=state, first=1)["steps"] == 2


def test_other_names_of_optimizers_are_refused(make_task, run):
    task = make_task(optimizer=lambda m, h: {h["name"]: optim.Adam(m.parameters())})
    with pytest.raises(UsageError, match=r"has the optimizers some, .* now make other"):
        run(task, {"name": "other"}, 1, state=run(task, {"name": "some"}, 1), first=1)


class Demanding(optim.SGD):
    """Needs a moment that it makes only in its first step."""

    def step(self, closure=None):
        for group in self.param_groups:
            for parameter in group["params"]:
                state = self.state[parameter]
                if not state:
                    state["sum"] = torch.zeros_like(parameter)
                    if group["nesterov"]:
                        state["extra"] = torch.zeros_like(parameter)
                if group["nesterov"]:
                    state["extra"] += 1
        return super().step(closure)


def test_a_moment_that_an_unknown_optimizer_misses_is_explained(make_task, run):
    task = make_task(
        optimizer=lambda m, h: Demanding(
            m.parameters(), momentum=0.9, nesterov=h["fast"], weight_decay=0.0
        )
    )
    state = travelled(run(task, {"fast": False}, 1))
    with pytest.raises(UsageError, match=r"needs 'extra', which the state .* init-only"):
        run(task, {"fast": True}, 1, state=state, first=1)


def test_a_key_error_of_the_task_is_its_own(make_task, run):
    def loss(module, batch, hparams):
        raise KeyError("mine")

    with pytest.raises(KeyError, match="mine"):
        run(make_task(loss=loss), {"lr": 0.1}, 1, state=run(make_task(), {"lr": 0.1}, 1), first=1)


@pytest.mark.parametrize("result", [None, [], optim.Adam, {"a": None}, "adam"])
def test_something_else_than_optimizers_is_refused(make_task, run, result):
    with pytest.raises(UsageError, match="optimizer: expected a function that returns"):
        run(make_task(optimizer=lambda m, h: result), {"lr": 0.1})


# Layers


class Counting(nn.Module):
    def __init__(self):
        super().__init__()
        self.layer = nn.Linear(33, 3)
        self.count = 0

    def get_extra_state(self):
        return {"count": self.count}

    def set_extra_state(self, state):
        self.count = state["count"]

    def forward(self, x):
        self.count += self.training
        return self.layer(x) * (1 + self.count)


def test_extra_states_of_layers_travel(make_task, run):
    task = make_task(model=lambda h: nn.Sequential(nn.Tanh(), Counting()))
    assert cut_equals_uncut(task, run)
    state = travelled(run(task, {"lr": 0.01}, 4))
    assert task.module(state, {"lr": 0.01})[1].count == 4
    assert task.module({"model": state["model"]}, {"lr": 0.01})[1].count == 0
