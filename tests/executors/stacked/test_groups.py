"""Groups, moments and kinds of optimizers in a stack: as serial has them, or refused."""

from collections.abc import Callable, Sequence
from typing import Any

import pytest
import torch
from torch import nn
from torch.optim import SGD, Adam

from popgrad.core.errors import UsageError
from popgrad.core.population import Hparams
from popgrad.core.segment import Assignment
from popgrad.core.space import Space
from popgrad.data import Splits
from popgrad.executors import Executor, Serial, Vectorised
from popgrad.state import State, flatten
from popgrad.tasks import TorchTask

CPU = (torch.device("cpu"),)


def splits() -> Splits:
    rng = torch.Generator().manual_seed(1)
    part = torch.randn(12, 4, generator=rng, dtype=torch.float64), torch.arange(12) % 3
    return Splits(part, part, part)


def network(hparams: Hparams) -> nn.Module:
    return nn.Sequential(nn.Linear(4, 5), nn.Tanh(), nn.Linear(5, 3)).double()


def make(optimizer: Callable[..., Any], **changes: Any) -> TorchTask:
    changes = {"model": network, **changes}
    return TorchTask(space=Space({}), optimizer=optimizer, data=splits, batch_size=4, **changes)


def final(executor: Executor, intervals: Sequence[Sequence[Hparams]]) -> list[State]:
    try:
        for interval, hparams in enumerate(intervals):
            source = interval - 1
            assignments = [
                Assignment(m, interval, (m, source) if interval else None, each, 7, 4 * interval, 4)
                for m, each in enumerate(hparams)
            ]
            executor.submit(assignments)
            for _ in assignments:
                outcome = executor.next()
                assert not outcome.error, outcome.error
        return [executor.state((m, len(intervals) - 1)) for m in range(len(intervals[0]))]
    finally:
        executor.close()


def assert_alike(task: TorchTask, *intervals: Sequence[Hparams]) -> None:
    alone = final(Serial(task, CPU), intervals)
    stacked = final(Vectorised(task, CPU, workers=1), intervals)
    for one, other in zip(alone, stacked, strict=True):
        (tree, leaves), (other_tree, others) = flatten(one), flatten(other)
        assert tree == other_tree
        for a, b in zip(leaves, others, strict=True):
            torch.testing.assert_close(b, a, rtol=0, atol=1e-10)


def read(m: nn.Module, h: Any) -> SGD:
    return SGD(
        [
            {"params": m[0].parameters(), "lr": 0.1 * h["lr"]},  # type: ignore[index]
            {"params": m[2].parameters(), "lr": h["lr"]},  # type: ignore[index]
        ],
        momentum=0.9,
    )


def by_default(m: nn.Module, h: Any) -> Adam:
    bias = [p for name, p in m.named_parameters() if name.endswith("bias")]
    rest = [p for name, p in m.named_parameters() if not name.endswith("bias")]
    return Adam(
        [{"params": rest}, {"params": bias, "lr": 2e-3, "weight_decay": 0}], weight_decay=0.1
    )


@pytest.mark.parametrize("optimizer", [read, by_default])
def test_groups_of_their_own_are_those_of_serial(optimizer: Callable[..., Any]) -> None:
    decays = {"weight_decay": 0.01} if optimizer is by_default else {}
    first: list[Hparams] = [{"lr": 0.1, **decays}, {"lr": 0.02, **decays}]
    second: list[Hparams] = [{"lr": 0.05, **decays}, {"lr": 0.3, **decays}]
    assert_alike(make(optimizer), first, second)


class Two(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.b = nn.Linear(4, 3).double()
        self.a = nn.Linear(4, 3).double()

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.a(x) + self.b(x)


def some(m: Any, h: Any) -> SGD:
    held = [*m.a.parameters()] if h["frozen"] else [*m.b.parameters(), *m.a.parameters()]
    return SGD(held, lr=0.1, momentum=0.9)


def test_moments_follow_their_parameter() -> None:
    task = make(some, model=lambda hparams: Two())
    assert_alike(task, [{"frozen": True}] * 2, [{"frozen": False}] * 2, [{"frozen": True}] * 2)


def test_members_that_train_other_parameters_are_refused() -> None:
    task = make(some, model=lambda hparams: Two())
    with pytest.raises(UsageError, match="differ in the parameters of"):
        final(Vectorised(task, CPU, workers=1), [[{"frozen": True}, {"frozen": False}]])


def kinds(m: nn.Module, h: Any) -> Any:
    return Adam(m.parameters()) if h["kind"] == "adam" else SGD(m.parameters(), momentum=0.9)


def test_members_of_other_optimizers_are_refused() -> None:
    with pytest.raises(UsageError, match="differ in the kind of"):
        final(Vectorised(make(kinds), CPU, workers=1), [[{"kind": "adam"}, {"kind": "sgd"}]])
    with pytest.raises(UsageError, match="must be init-only"):
        final(Vectorised(make(kinds), CPU, workers=1), [[{"kind": "adam"}], [{"kind": "sgd"}]])


class Counting(nn.Linear):
    count = 0

    def get_extra_state(self) -> Any:
        return self.count

    def set_extra_state(self, state: Any) -> None:
        self.count = state


def test_a_layer_with_an_extra_state_is_refused() -> None:
    task = make(lambda m, h: SGD(m.parameters()), model=lambda h: Counting(4, 3).double())
    with pytest.raises(UsageError, match="get_extra_state"):
        final(Vectorised(task, CPU, workers=1), [[{"lr": 0.1}]])


def test_a_name_that_the_loss_reads_too_is_refused_by_both() -> None:
    def loss(module: Any, batch: Any, hparams: Any) -> torch.Tensor:
        return nn.functional.cross_entropy(module(batch[0]), batch[1]) * (1 + hparams["eps"])

    task = make(lambda m, h: Adam(m.parameters()), loss=loss)
    for executor in (Serial(task, CPU), Vectorised(task, CPU, workers=1)):
        with pytest.raises(UsageError, match="'eps' is read by the loss"):
            final(executor, [[{"eps": 0.1, "lr": 0.1}]])
