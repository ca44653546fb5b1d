"""What is compared before a stack is trusted, when, and what is said if it differs."""

from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any

import pytest
import torch
from torch import nn
from torch.nn import functional

import popgrad
from popgrad import Space, Splits, TorchTask, UsageError
from popgrad.core.population import Hparams
from popgrad.core.segment import Assignment
from popgrad.executors import Vectorised
from popgrad.executors.stacked import executor as stacked_executor
from popgrad.executors.stacked import proof
from popgrad.executors.stacked.stack import Claim
from popgrad.executors.stacked.template import RowStart
from popgrad.tasks import Context

CPU = (torch.device("cpu"),)


def data() -> Splits:
    """20 samples make batches of 8, 8 and 4."""
    generator = torch.Generator().manual_seed(0)
    x = torch.randn(20, 6, generator=generator)
    y = torch.randint(0, 3, (20,), generator=generator)
    return Splits((x, y), (x, y), (x, y))


def network(hparams: Hparams) -> nn.Module:
    return nn.Sequential(
        nn.Linear(6, 8), nn.BatchNorm1d(8), nn.ReLU(), nn.Dropout(0.2), nn.Linear(8, 3)
    )


TASK = TorchTask(
    space=Space({}),
    model=network,
    optimizer=lambda module, hparams: torch.optim.Adam(module.parameters()),
    data=data,
    batch_size=8,
)


@pytest.fixture
def claims(monkeypatch: pytest.MonkeyPatch) -> list[Claim]:
    """What is proven, in order."""
    seen: list[Claim] = []

    def noted(*given: Any) -> bool:
        seen.append(given[-1])
        return proof.prove(*given)

    monkeypatch.setattr(stacked_executor, "prove", noted)
    return seen


def train(executor: Vectorised, hparams: Sequence[Hparams], interval: int, steps: int = 2) -> None:
    assignments = [
        Assignment(m, interval, (m, interval - 1) if interval else None, own, 3, 0, steps)
        for m, own in enumerate(hparams)
    ]
    executor.submit(assignments)
    outcomes = [executor.next() for _ in assignments]
    assert not any(outcome.error for outcome in outcomes)


def test_every_size_of_a_batch_is_proven_once_before_the_first_segment(
    claims: list[Claim],
) -> None:
    """The first segment has full batches only: a run must not fail in its middle."""
    executor = Vectorised(TASK, CPU, workers=1)
    for interval in range(3):
        train(executor, [{"lr": 0.01}, {"lr": 0.02}], interval)
    executor.close()
    assert claims == [Claim(frozenset({8, 4}), frozenset({"lr"}))]


def test_names_in_which_members_differ_later_are_proven_then(claims: list[Claim]) -> None:
    executor = Vectorised(TASK, CPU, workers=1)
    train(executor, [{"lr": 0.01, "beta1": 0.9}, {"lr": 0.01, "beta1": 0.9}], 0)
    train(executor, [{"lr": 0.01, "beta1": 0.9}, {"lr": 0.02, "beta1": 0.9}], 1)
    train(executor, [{"lr": 0.01, "beta1": 0.8}, {"lr": 0.03, "beta1": 0.9}], 2)
    executor.close()
    assert [sorted(claim.names) for claim in claims] == [[], ["lr"], ["beta1"]]


class Fixed(nn.Module):
    """A number that the model takes from hyperparameters behind the library's back."""

    def __init__(self, hparams: Any) -> None:
        super().__init__()
        self.layer = nn.Linear(6, 3)
        self.scale = hparams._values["lr"] if hasattr(hparams, "_values") else hparams["lr"]

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.layer(x) * (1.0 + self.scale)


def test_a_number_that_is_fixed_when_the_model_is_built_cannot_hide() -> None:
    """The first member agrees; one with another value does not."""
    task = replace(TASK, model=Fixed)
    executor = Vectorised(task, CPU, workers=1)
    train(executor, [{"lr": 0.1}, {"lr": 0.1}], 0)
    with pytest.raises(UsageError, match=r"'layer.weight' differs by .* member 1 in a stack"):
        train(executor, [{"lr": 0.1}, {"lr": 0.9}], 1)
    executor.close()


def test_members_that_diverge_prove_nothing_and_refuse_nothing(claims: list[Claim]) -> None:
    executor = Vectorised(TASK, CPU, workers=1)
    train(executor, [{"lr": float("inf")}, {"lr": float("inf")}], 0)
    train(executor, [{"lr": 0.01}, {"lr": 0.01}], 0)
    executor.close()
    assert len(claims) == 2


def test_rounding_refuses_nothing() -> None:
    """Adam scales the gradients of a bias before BatchNorm up, which are nothing but rounding."""
    for seed in range(5):
        executor = Vectorised(replace(TASK, shared_order=True), CPU, workers=1)
        hparams = [{"lr": 10.0**-m} for m in range(3)]
        executor.submit([Assignment(m, 0, None, own, seed, 0, 2) for m, own in enumerate(hparams)])
        assert not any(executor.next().error for _ in hparams)
        executor.close()


def test_a_proof_on_the_cpu_needs_the_compared_members_only() -> None:
    ctx = Context(run_seed=3)
    hparams = {"lr": 0.01}
    state = TASK.init(hparams, ctx)
    assignment = Assignment(0, 0, None, hparams, 3, 0, 2)
    starts = [RowStart(assignment, state, ctx)] * 3
    claim = Claim(frozenset({8, 4}), frozenset())
    assert proof.prove_on_cpu(TASK, starts, claim)

    def broken(module: nn.Module, batch: Any, hparams: Mapping[str, Any]) -> torch.Tensor:
        raise ValueError("needs a GPU")

    with pytest.raises(UsageError, match=r"on the CPU, where the task fails \(ValueError: needs"):
        proof.prove_on_cpu(replace(TASK, loss=broken), starts, claim)


STEPS = [0]


def counting(module: nn.Module, batch: Any, hparams: Mapping[str, Any]) -> torch.Tensor:
    STEPS[0] += 1
    return functional.cross_entropy(module(batch[0]), batch[1]) * STEPS[0]


def hooked(hparams: Hparams) -> nn.Module:
    """A hook of a tensor within the forward pass."""
    made = network(hparams)

    def hook(_: nn.Module, inputs: Any, output: torch.Tensor) -> None:
        if output.requires_grad:
            output.register_hook(lambda gradient: 0.5 * gradient)

    made[0].register_forward_hook(hook)
    return made


DIFFERENT: Mapping[str, tuple[TorchTask, str]] = {
    "hook": (replace(TASK, model=hooked), r"'0.weight' differs by \S+, rounding explains"),
    "global": (replace(TASK, loss=counting), "training member 0 alone twice gives different"),
}


@pytest.mark.parametrize("case", DIFFERENT)
def test_a_difference_is_refused_with_the_tensor_and_the_executor_to_use(case: str) -> None:
    task, reason = DIFFERENT[case]
    with pytest.raises(UsageError, match=rf"{reason}.*use the executor processes or serial$"):
        popgrad.run(task, population=2, intervals=2, interval=2, executor="vectorised", seed=1)


def test_auto_takes_another_executor(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("popgrad.executors.auto._SHORT_RUN", 0.0)
    monkeypatch.setattr("popgrad.runs.build._LOCAL", ("serial", "vectorised"))
    task, _ = DIFFERENT["hook"]
    result = popgrad.run(task, population=2, intervals=2, interval=2, executor="auto", seed=1)
    assert result.config.executor == "serial"
