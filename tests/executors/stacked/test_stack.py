"""A stack does what each of its members does alone: every layer and optimizer against the serial executor."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from functools import partial
from typing import Any

import pytest
import torch
from torch import nn
from torch.nn import functional
from torch.optim import SGD, Adam, AdamW, RMSprop

import popgrad.nn
from popgrad.core.errors import PopgradError
from popgrad.core.population import Hparams
from popgrad.core.segment import Assignment, Outcome
from popgrad.core.space import Space
from popgrad.data import Splits
from popgrad.data.augment import Augment
from popgrad.executors import Executor, Serial, Vectorised
from popgrad.executors.stacked import step as stacked_step
from popgrad.executors.stacked.tape import record
from popgrad.state import State, flatten
from popgrad.tasks import TorchTask

CPU = (torch.device("cpu"),)
MEMBERS = 3


def splits(*shape: int, words: int = 0, dtype: torch.dtype = torch.float64) -> Splits:
    """Odd sizes: 20 samples make batches of 9, 9 and 2."""
    generator = torch.Generator().manual_seed(5)
    parts = []
    for n in (20, 13, 1):
        x = torch.randn(n, *shape, generator=generator, dtype=dtype)
        x = torch.randint(words, (n, *shape), generator=generator) if words else x
        parts.append((x, torch.randint(3, (n,), generator=generator)))
    return Splits(*parts)


class Recurrent(nn.Module):
    def __init__(self, kind: type[nn.RNNBase]) -> None:
        super().__init__()
        self.words, self.layer, self.out = (
            nn.Embedding(11, 5),
            kind(5, 6, batch_first=True),
            nn.Linear(6, 3),
        )

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.out(self.layer(self.words(x))[0][:, -1])


class Tied(nn.Module):
    """One weight in two places."""

    def __init__(self) -> None:
        super().__init__()
        self.a, self.b, self.out = nn.Linear(7, 7), nn.Linear(7, 7), nn.Linear(7, 3)
        self.b.weight = self.a.weight

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.out(self.b(self.a(x).tanh()))


class Partial(nn.Module):
    """A parameter that is frozen, one that is not used, one that no optimizer has, and a buffer replaced."""

    def __init__(self) -> None:
        super().__init__()
        self.layer, self.unused, self.free = (
            nn.Linear(7, 3),
            nn.Linear(2, 2),
            nn.Parameter(torch.randn(3)),
        )
        self.layer.bias.requires_grad_(False)
        self.register_buffer("mean", torch.zeros(7, dtype=torch.float64), persistent=False)
        self.register_buffer("seen", torch.zeros((), dtype=torch.int64))
        self.lost = 0

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        if self.training:
            self.mean = 0.9 * self.mean + 0.1 * x.detach().mean(0)
            self.seen += len(x)
            self.lost += 1
        return self.layer(x - self.mean) + self.free


class Twins(nn.Module):
    """Gradients that are one tensor, one element expanded, and empty."""

    def __init__(self) -> None:
        super().__init__()
        self.layer = nn.Linear(7, 3)
        self.one, self.other, self.scale = (nn.Parameter(torch.randn(n)) for n in (7, 7, 3))
        self.empty = nn.Parameter(torch.empty(0, 2))

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.layer(x * (self.one + self.other)) * self.scale.sum() + self.empty.sum()


def mlp(*layers: nn.Module) -> nn.Module:
    return nn.Sequential(nn.Linear(7, 6), *layers, nn.ReLU(inplace=True), nn.Linear(6, 3))


def images(*layers: nn.Module) -> nn.Module:
    return nn.Sequential(nn.Conv2d(2, 4, 3, padding=1), *layers, nn.Flatten(), nn.LazyLinear(3))


MODELS: Mapping[str, tuple[Callable[[], nn.Module], Callable[[], Splits]]] = {
    "Linear": (mlp, lambda: splits(7)),
    "BatchNorm1d": (lambda: mlp(nn.BatchNorm1d(6)), lambda: splits(7)),
    "BatchNorm1d without statistics": (
        lambda: mlp(nn.BatchNorm1d(6, track_running_stats=False)),
        lambda: splits(7),
    ),
    "LayerNorm": (lambda: mlp(nn.LayerNorm(6)), lambda: splits(7)),
    "nn.Dropout": (lambda: mlp(nn.Dropout(0.4), nn.Tanh(), nn.Dropout(0.2)), lambda: splits(7)),
    "nn.Dropout in place": (lambda: mlp(nn.Dropout(0.4, inplace=True)), lambda: splits(7)),
    "nn.Dropout, none and all": (lambda: mlp(nn.Dropout(0.0), nn.Dropout(1.0)), lambda: splits(7)),
    "popgrad.nn.Dropout": (
        lambda: mlp(popgrad.nn.Dropout(), nn.Tanh(), popgrad.nn.Dropout()),
        lambda: splits(7),
    ),
    "both kinds of dropout": (
        lambda: mlp(popgrad.nn.Dropout(), nn.Dropout(0.5)),
        lambda: splits(7),
    ),
    "Conv2d": (images, lambda: splits(2, 5, 7)),
    "BatchNorm2d": (lambda: images(nn.BatchNorm2d(4), nn.ReLU()), lambda: splits(2, 5, 7)),
    "MaxPool2d": (lambda: images(nn.MaxPool2d(2)), lambda: splits(2, 5, 7)),
    "AvgPool2d": (lambda: images(nn.AvgPool2d(2), nn.GELU()), lambda: splits(2, 5, 7)),
    "Dropout2d": (lambda: images(nn.Dropout2d(0.4)), lambda: splits(2, 5, 7)),
    "Embedding and GRU": (lambda: Recurrent(nn.GRU), lambda: splits(5, words=11)),
    "LSTM": (lambda: Recurrent(nn.LSTM), lambda: splits(5, words=11)),
    "RNN": (lambda: Recurrent(nn.RNN), lambda: splits(5, words=11)),
    "tied weights": (Tied, lambda: splits(7)),
    "frozen, unused and left over": (Partial, lambda: splits(7)),
    "gradients in odd places": (Twins, lambda: splits(7)),
}

OPTIMIZERS: Mapping[str, tuple[Callable[..., Any], Sequence[Hparams]]] = {
    "SGD": (
        lambda p: SGD(p, lr=0.1),
        [{"lr": 0.1}, {"lr": 0.0}, {"lr": 0.02, "weight_decay": 0.3}],
    ),
    "SGD with momentum": (
        lambda p: SGD(p, lr=0.1, momentum=0.9, dampening=0.2),
        [{"momentum": 0.9}, {"momentum": 0.0}, {"momentum": 0.3, "dampening": 0.5}],
    ),
    "Nesterov": (
        lambda p: SGD(p, lr=0.1, momentum=0.9, nesterov=True, weight_decay=0.1),
        [{"momentum": 0.9}, {"momentum": 0.2}, {"lr": 0.02}],
    ),
    "SGD, maximize": (
        lambda p: SGD(p, lr=0.1, maximize=True),
        [{"lr": 0.1}, {"lr": 0.2}, {"lr": 0.3}],
    ),
    "Adam": (Adam, [{"lr": 1e-2}, {"beta1": 0.5, "beta2": 0.9}, {"weight_decay": 0.2}]),
    "Adam, fused": (lambda p: Adam(p, fused=True), [{"lr": 1e-2}, {"lr": 0.0}, {"eps": 1e-3}]),
    "Adam, foreach": (lambda p: Adam(p, foreach=True), [{"lr": 1e-2}, {"lr": 1e-3}, {"eps": 1e-3}]),
    "AMSGrad": (
        lambda p: Adam(p, amsgrad=True),
        [{"lr": 1e-2}, {"beta2": 0.9}, {"weight_decay": 0.2}],
    ),
    "Adam, only rates": (
        lambda p: Adam(p, betas=(0.8, 0.9), eps=1e-6),
        [{"lr": 1e-2}, {"lr": 0.0}, {"weight_decay": 0.2}],
    ),
    "AMSGrad, only rates": (
        lambda p: Adam(p, amsgrad=True),
        [{"lr": 1e-2}, {"lr": 1e-3}, {"lr": 1e-4}],
    ),
    "AdamW, only rates": (AdamW, [{"lr": 1e-2}, {"lr": 1e-3}, {"weight_decay": 0.5}]),
    "Adam, maximize": (
        lambda p: Adam(p, maximize=True),
        [{"lr": 1e-2}, {"lr": 1e-3}, {"lr": 1e-4}],
    ),
    "RMSprop": (RMSprop, [{"lr": 1e-2}, {"alpha": 0.5, "eps": 1e-3}, {"weight_decay": 0.2}]),
    "RMSprop with momentum": (
        lambda p: RMSprop(p, momentum=0.5),
        [{"momentum": 0.9}, {"momentum": 0.0}, {"lr": 1e-3}],
    ),
    "RMSprop, centered": (
        lambda p: RMSprop(p, centered=True, momentum=0.5),
        [{"lr": 1e-2}, {"alpha": 0.5}, {"weight_decay": 0.2}],
    ),
    "RMSprop, maximize": (
        lambda p: RMSprop(p, maximize=True, foreach=True),
        [{"lr": 1e-2}, {"lr": 1e-3}, {"lr": 1e-4}],
    ),
    "AdamW": (AdamW, [{"lr": 1e-2}, {"beta1": 0.5}, {"weight_decay": 0.5}]),
}


def complete(wanted: Sequence[Hparams], module: nn.Module, optimizer: Any) -> list[Hparams]:
    """Every member with every name that any of them has; the optimizer's own value where it has none."""
    group = {**optimizer(list(module.parameters())).param_groups[0]}
    if "betas" in group:
        group["beta1"], group["beta2"] = group["betas"]
    names = sorted({name for each in wanted for name in each})
    return [{name: float(each.get(name, group[name])) for name in names} for each in wanted]


def make_task(kind: str, update: Callable[..., Any] = Adam, /, **changes: Any) -> TorchTask:
    make, data = MODELS[kind]

    def built(hparams: Hparams) -> nn.Module:
        module = make().double()
        # A lazy layer gets its shape from a first batch, without a draw that training would miss.
        if any(isinstance(layer, nn.modules.lazy.LazyModuleMixin) for layer in module.modules()):
            module.eval()(data()["train"][0][:2])
        return module.train()

    def optimize(module: nn.Module, hparams: Hparams) -> Any:
        return update([each for name, each in module.named_parameters() if name != "free"])

    made = TorchTask(
        space=Space({}),
        model=built,
        optimizer=optimize,
        data=data,
        batch_size=9,
        evaluation_batch_size=7,
    )
    return replace(made, **changes)


def assign(
    hparams: Sequence[Hparams], steps: int, interval: int = 0, first: int = 0
) -> list[Assignment]:
    before = interval - 1
    return [
        Assignment(m, interval, (m, before) if interval else None, each, 117, first, steps)
        for m, each in enumerate(hparams)
    ]


def finish(executor: Executor, assignments: Sequence[Assignment]) -> list[Outcome]:
    executor.submit(assignments)
    outcomes = sorted((executor.next() for _ in assignments), key=lambda outcome: outcome.id)
    assert not any(outcome.error for outcome in outcomes), outcomes[0].error
    return outcomes


def both(task: TorchTask, hparams: Sequence[Hparams], *intervals: int) -> list[tuple[State, State]]:
    """The final states of each member, trained alone and in a stack, from equal states in each interval."""
    serial, stack = Serial(task, CPU), Vectorised(task, CPU, workers=1)
    first = 0
    for interval, steps in enumerate(intervals):
        assignments = assign(hparams, steps, interval, first)
        finish(serial, assignments)
        if interval:
            for each in assignments:
                assert each.source is not None
                stack.retain([])
                stack.put(each.source, serial.state(each.source))
            stack.retain({each.source for each in assignments})
            for each in assignments:
                stack.put(each.source, serial.state(each.source))
        finish(stack, assignments)
        first += steps
    last = len(intervals) - 1
    states = [(serial.state((m, last)), stack.state((m, last))) for m in range(len(hparams))]
    serial.close()
    stack.close()
    return states


def assert_close(states: Sequence[tuple[State, State]], atol: float = 1e-8) -> None:
    for alone, stacked in states:
        (tree, leaves), (other, others) = flatten(alone), flatten(stacked)
        assert other == tree
        for one, two in zip(leaves, others, strict=True):
            torch.testing.assert_close(two, one, rtol=0, atol=atol)


RATES = [{"lr": 1e-2, "dropout": 0.0}, {"lr": 1e-3, "dropout": 0.3}, {"lr": 0.1, "dropout": 0.8}]


def rates(model: str) -> list[Hparams]:
    module = MODELS[model][0]()
    rated = any(isinstance(layer, popgrad.nn.Dropout) for layer in module.modules())
    return RATES if rated else [{"lr": each["lr"]} for each in RATES]


@pytest.mark.parametrize("model", MODELS)
def test_one_step_of_every_layer_is_that_of_a_member_alone(model: str) -> None:
    assert_close(both(make_task(model), rates(model), 1))
    assert_close(both(make_task(model), rates(model), 2, 1))


@pytest.mark.parametrize("name", OPTIMIZERS)
@pytest.mark.parametrize(
    "model", ["Linear", "frozen, unused and left over", "gradients in odd places"]
)
def test_one_step_of_every_optimizer_is_that_of_a_member_alone(name: str, model: str) -> None:
    optimizer, wanted = OPTIMIZERS[name]
    hparams = complete(wanted, MODELS[model][0](), optimizer)
    task = make_task(model, optimizer)
    assert_close(both(task, hparams, 1))
    assert_close(both(task, hparams, 3, 1))


def smoothed(module: nn.Module, batch: Any, hparams: Mapping[str, Any]) -> torch.Tensor:
    return functional.cross_entropy(
        module(batch[0]), batch[1], label_smoothing=hparams["smoothing"]
    )


def penalised(module: nn.Module, batch: Any, hparams: Mapping[str, Any]) -> torch.Tensor:
    """Uses the module's parts, a text, a whole number and a switch."""
    assert hparams["kind"] == "l2"
    penalty = hparams["weight"] * hparams["times"] * module[0].weight.square().sum()
    loss = functional.cross_entropy(module(batch[0]), batch[1])
    return torch.where(hparams["on"], loss + penalty, loss)


def two(module: nn.Module, hparams: Hparams) -> Mapping[str, torch.optim.Optimizer]:
    groups = [
        {"params": [module[0].weight], "name": "w"},
        {"params": [module[0].bias], "weight_decay": 0.0, "name": "b"},
    ]
    return {
        "body": AdamW(groups, lr=1e-2),
        "head": SGD(module[2].parameters(), lr=0.1, momentum=0.5),
    }


CHANGES: Mapping[str, tuple[Mapping[str, Any], Sequence[Hparams]]] = {
    "label smoothing": ({"loss": smoothed}, [{"smoothing": s, "lr": 0.1} for s in (0.0, 0.1, 0.5)]),
    "what the loss is given": (
        {"loss": penalised},
        [{"kind": "l2", "times": n, "weight": 0.1 * n, "on": n < 3, "lr": 0.1} for n in (1, 2, 3)],
    ),
    "several optimizers and groups": (
        {"optimizer": two},
        [
            {"w_lr": 0.1 * n, "head_lr": 0.2 / n, "weight_decay": 0.1, "momentum": 0.2 * n}
            for n in (1, 2, 3)
        ],
    ),
    "an optimizer that reads": (
        {"optimizer": lambda module, hparams: SGD(module.parameters(), lr=hparams["rate"] * 2)},
        [{"rate": 0.1 * n} for n in (1, 2, 3)],
    ),
    "a model that reads what is equal": (
        {
            "model": lambda hparams: nn.Sequential(
                nn.Linear(7, hparams["width"]), nn.ReLU()
            ).double()
        },
        [{"lr": 0.1, "width": 5}, {"lr": 0.2, "width": 5}],
    ),
    "an order for all": ({"shared_order": True}, [{"lr": 0.1}, {"lr": 0.2}]),
    "no order": ({"shuffle": False}, [{"lr": 0.1}, {"lr": 0.2}]),
    "the last batch left out": ({"drop_last": True}, [{"lr": 0.1}, {"lr": 0.2}]),
    "a batch size in the space": ({}, [{"lr": 0.1, "batch_size": 5}, {"lr": 0.2, "batch_size": 5}]),
    "weights to start from": (
        {"weights": {k: v.double() for k, v in mlp().state_dict().items()}},
        [{"lr": 0.1}, {"lr": 0.2}],
    ),
}


@pytest.mark.parametrize("change", CHANGES)
def test_every_part_of_a_task_does_what_it_does_alone(change: str) -> None:
    changes, hparams = CHANGES[change]
    task = make_task("Linear", **changes)
    assert_close(both(task, hparams, 1))
    assert_close(both(task, hparams, 2, 3))  # over the end of an epoch


@pytest.mark.parametrize("shared", [False, True])
def test_augmentation_draws_what_it_draws_alone(shared: bool) -> None:
    augment = Augment(crop=1, crop_shift=2, hflip=True)
    assert_close(
        both(make_task("Conv2d", augment=augment, shared_order=shared), [{"lr": 0.1}] * 3, 3, 2)
    )


def test_gradients_in_float32_are_those_of_a_member_alone() -> None:
    """SGD without momentum at a rate of 1: the step is the gradient."""

    def model(hparams: Hparams) -> nn.Module:
        # Without a bias before BatchNorm, whose gradient is nothing but noise.
        hidden = nn.Linear(33, 65, bias=False)
        return nn.Sequential(
            hidden, nn.BatchNorm1d(65), nn.ReLU(), nn.Dropout(0.2), nn.Linear(65, 3)
        )

    changes = {"model": model, "data": lambda: splits(33, dtype=torch.float32)}
    task = make_task("Linear", lambda p: SGD(p, lr=1.0), **changes)
    starts = [alone["model"] for alone, _ in both(task, [{"lr": 0.0}] * 3, 1)]
    for (alone, stacked), start in zip(both(task, [{"lr": 1.0}] * 3, 1), starts, strict=True):
        for name in ("0.weight", "1.weight", "1.bias", "4.weight", "4.bias"):
            gradient = start[name] - alone["model"][name]
            difference = (start[name] - stacked["model"][name]) - gradient
            assert gradient.any()
            assert difference.abs().max() <= 1e-5 * gradient.abs().max(), name


def digests(task: TorchTask, hparams: Sequence[Hparams]) -> list[str]:
    """Of each member's states behind two segments, over the end of an epoch."""
    stack = Vectorised(task, CPU, workers=1)
    outcomes = finish(stack, assign(hparams, 4)) + finish(stack, assign(hparams, 4, 1, 4))
    stack.close()
    return [outcome.digest for outcome in outcomes]


NOT_RECORDED = {"frozen, unused and left over"}
"""It counts its calls."""

TAPED: Mapping[str, Callable[[], tuple[TorchTask, Sequence[Hparams]]]] = {
    **{name: partial(lambda name: (make_task(name), rates(name)), name) for name in MODELS},
    **{
        name: partial(
            lambda update, wanted: (make_task("Linear", update), complete(wanted, mlp(), update)),
            *given,
        )
        for name, given in OPTIMIZERS.items()
    },
    **{
        name: partial(lambda changes, hparams: (make_task("Linear", **changes), hparams), *given)
        for name, given in CHANGES.items()
    },
}


@pytest.mark.parametrize("name", TAPED)
def test_steps_from_a_tape_give_the_bits_of_steps_without_one(
    name: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    taped: list[bool] = []

    def recorded(*given: Any) -> Any:
        results, tape = record(*given)
        taped.append(tape is not None)
        return results, tape

    monkeypatch.setattr(stacked_step, "record", recorded)
    expected = digests(*TAPED[name]())
    assert taped == [name not in NOT_RECORDED] * len(taped)
    assert 1 <= len(taped) <= 2, "each size of a batch once"
    monkeypatch.setattr(stacked_step, "record", lambda *given: (record(*given)[0], None))
    assert digests(*TAPED[name]()) == expected


def test_each_size_of_a_batch_is_taken_down_once_whatever_sizes_a_segment_has(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    sizes: list[int] = []

    def recorded(function: Any, fixed: Any, others: Any, witness: Any) -> Any:
        sizes.append(next(len(x[0]) for x in others if x.dtype == torch.int64))
        return record(function, fixed, others, witness)

    monkeypatch.setattr(stacked_step, "record", recorded)
    stack, hparams = Vectorised(make_task("Linear"), CPU, workers=1), rates("Linear")
    for interval in range(3):  # batches of 9 and 9, of 2 and 9, of 9 and 2
        finish(stack, assign(hparams, 2, interval, 2 * interval))
    stack.close()
    assert sizes == [9, 2]


class Sometimes(nn.Module):
    """A parameter that small batches do without."""

    def __init__(self) -> None:
        super().__init__()
        self.layer, self.scale = nn.Linear(7, 3), nn.Parameter(torch.ones(3))

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.layer(x) * self.scale if len(x) > 5 else self.layer(x)


def test_parameters_that_some_batches_do_without_are_trained_as_alone_or_refused() -> None:
    task, hparams = (
        replace(make_task("Linear"), model=lambda _: Sometimes().double()),
        rates("Linear"),
    )
    assert_close(both(task, hparams, 2, 1))  # batches of 9 and 9; of 2
    stack = Vectorised(task, CPU, workers=1)
    with pytest.raises(
        PopgradError, match=r"which is smaller, the loss uses other parameters.*serial"
    ):
        finish(stack, assign(hparams, 3))
    stack.close()
