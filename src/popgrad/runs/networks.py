"""Networks of a task that are no member: evaluated on a split, alone or as an ensemble."""

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Protocol

import torch
from torch import nn

from popgrad.core.errors import UsageError
from popgrad.core.population import Hparams
from popgrad.loops.loop import Loop
from popgrad.metrics import as_numbers
from popgrad.nn import seed_streams
from popgrad.state import State
from popgrad.tasks.averages import batch_norm_statistics, batch_norms
from popgrad.tasks.base import Context, Split, Task
from popgrad.tasks.batches import batches
from popgrad.tasks.evaluation import single_threaded
from popgrad.tasks.torch_task import TorchTask

_BATCHES = 100
"""Batches that BatchNorm statistics are estimated on: with 64 samples each, the relative error of a
variance is about sqrt(2 / 6400) = 2%."""

Network = tuple[State, Hparams]
"""State of a network, and the complete hyperparameters that rebuild it."""


class Networks(Protocol):
    """Evaluation of networks of a task, seeded and on one thread, for equal bits."""

    @property
    def mean(self) -> str:
        """Outputs that an ensemble takes the mean of: "probabilities" or "outputs"."""

    def evaluate(self, network: Network, split: Split) -> dict[str, float]:
        """Return the metrics of a network on a split."""

    def evaluate_ensemble(self, members: Sequence[Network], split: Split) -> dict[str, float]:
        """Return the metrics of the mean output of networks.

        Raises:
            UsageError: The outputs have no mean.
        """

    def statistics(self, network: Network) -> dict[str, torch.Tensor]:
        """Return BatchNorm statistics of a network, estimated on training data; empty if it has none.

        Raises:
            UsageError: It has BatchNorm layers, and there is no training data.
        """


def networks_of(task: Task, ctx: Context, given: Iterable[Any] | None) -> Networks:
    """Return the evaluation of a task's networks.

    Args:
        task: The task.
        ctx: Context of all evaluations.
        given: Training batches for BatchNorm layers; None = those of the task.

    Raises:
        UsageError: The task's networks cannot be evaluated, or the batches can be read only once.
    """
    if given is not None and iter(given) is given:
        raise UsageError(
            "soup: batches: got an iterator, which can be read once; give a list or a DataLoader"
        )
    if isinstance(task, TorchTask):
        return TorchNetworks(task, ctx, given)
    if not isinstance(task, Loop):
        raise UsageError(
            f"soup: a {type(task).__name__} has no network whose weights can be averaged; expected a "
            "TorchTask, or a loop with evaluate= and module="
        )
    missing = [
        name for name, part in (("evaluate", task.test), ("module", task.network)) if part is None
    ]
    if missing:
        raise UsageError(
            f"soup: loop {task.name} has no {' and no '.join(f'{name}=' for name in missing)}; give "
            "popgrad.loop(..., evaluate=lambda model, split: ..., module=lambda hparams: ...)"
        )
    return LoopNetworks(task, ctx, given)


@dataclass(frozen=True)
class TorchNetworks:
    """Networks of a `TorchTask`.

    Attributes:
        task: The task.
        ctx: Context of all evaluations.
        given: Training batches for BatchNorm layers; None = the task's, shuffled and augmented.
    """

    task: TorchTask
    ctx: Context
    given: Iterable[Any] | None = None

    @property
    def mean(self) -> str:
        """Probabilities if the loss is the cross entropy, which reads outputs as their logarithms."""
        return "probabilities" if self.task.is_plain_classification else "outputs"

    def evaluate(self, network: Network, split: Split) -> dict[str, float]:
        """Return the metrics of a network on a split."""
        state, hparams = network
        with single_threaded(self.ctx):
            return as_numbers(self.task.evaluate(state, hparams, split, self.ctx))

    def evaluate_ensemble(self, members: Sequence[Network], split: Split) -> dict[str, float]:
        """Return the metrics of the mean of the members' probabilities, else of their outputs.

        The metrics get the logarithm of mean probabilities: scores before the softmax, as ever.
        """
        total: torch.Tensor | None = None
        for member in members:
            with single_threaded(self.ctx), torch.no_grad():
                outputs = self._outputs(member, split)
            total = outputs if total is None else total + outputs
        if total is None:
            raise UsageError("soup: an ensemble has at least one member")

        mean = total / len(members)
        if self.mean == "probabilities":
            mean = mean.clamp_min(torch.finfo(torch.float32).tiny).log()
        targets = self.task.split(split, self.ctx.device)[-1]
        return as_numbers(self.task.metrics(mean.float(), targets))

    def _outputs(self, network: Network, split: Split) -> torch.Tensor:
        """Return what is averaged over an ensemble, in double precision."""
        module = self.task.module(*network, self.ctx.device)
        tensors = self.task.split(split, self.ctx.device)
        size = self.task.evaluation_batch_size
        parts = [self.task.predict(module, batch) for batch in batches(tensors, size)]
        outputs = torch.cat(parts)
        if not outputs.is_floating_point():
            raise UsageError(f"the task predicts {outputs.dtype}, which has no mean")
        outputs = outputs.double()
        return outputs.softmax(1) if self.mean == "probabilities" else outputs

    def statistics(self, network: Network) -> dict[str, torch.Tensor]:
        """Return BatchNorm statistics of a network, estimated on training data; empty if it has none."""
        state, hparams = network
        with single_threaded(self.ctx):
            module = self.task.module(state, hparams, self.ctx.device)
            if not batch_norms(module):
                return {}
            seed_streams(module, self.ctx.library_seed("dropout"), self.ctx.device)
            read = self._batches(hparams) if self.given is None else map(self._batch, self.given)
            return batch_norm_statistics(
                module, lambda batch: self.task.predict(module, batch), read
            )

    def _batch(self, given: Any) -> tuple[torch.Tensor, ...]:
        """Return a given batch as the task's `predict` gets it."""
        others = given[1:] if isinstance(given, list | tuple) else ()
        inputs = _inputs(given).to(self.ctx.device)
        return inputs, *others

    def _batches(self, hparams: Hparams) -> Iterator[tuple[torch.Tensor, ...]]:
        """Yield training batches as a member gets them, the first of an epoch of their own."""
        tensors = self.task.split("train", self.ctx.device)
        samples = len(tensors[0])
        size = min(self.task.samples_a_step(hparams), samples)
        stream = torch.Generator().manual_seed(self.ctx.library_seed("soup"))
        order = torch.randperm(samples, generator=stream)
        if not self.task.shuffle:
            order = torch.arange(samples)

        for number in range(min(_BATCHES, samples // size)):
            rows = order[number * size : (number + 1) * size].to(self.ctx.device)
            inputs, *others = (tensor.index_select(0, rows) for tensor in tensors)
            if self.task.augment is not None:
                inputs = self.task.augment(inputs, stream)
            yield inputs, *others


@dataclass(frozen=True)
class LoopNetworks:
    """Networks of a training loop with `evaluate=` and `module=`.

    Attributes:
        task: The loop.
        ctx: Context of all evaluations.
        given: Training batches for BatchNorm layers, inputs or (inputs, ...); None = there are none.
    """

    task: Loop
    ctx: Context
    given: Iterable[Any] | None = None
    mean: str = "outputs"

    def evaluate(self, network: Network, split: Split) -> dict[str, float]:
        """Return the metrics of a network on a split."""
        return self._evaluate(lambda: self.task.module(*network, self.ctx.device), split)

    def evaluate_ensemble(self, members: Sequence[Network], split: Split) -> dict[str, float]:
        """Return the metrics of the mean of the members' outputs, which have to be tensors."""
        return self._evaluate(
            lambda: MeanOutput([self.task.module(*each, self.ctx.device) for each in members]),
            split,
        )

    def _evaluate(self, make: Callable[[], nn.Module], split: Split) -> dict[str, float]:
        test = self.task.test
        assert test is not None, "networks_of has checked it"
        with single_threaded(self.ctx), torch.no_grad():
            metrics: Mapping[str, float] = test(make().eval(), split)
            return as_numbers(metrics)

    def statistics(self, network: Network) -> dict[str, torch.Tensor]:
        """Return BatchNorm statistics of a network, estimated on the given batches."""
        with single_threaded(self.ctx):
            module = self.task.module(*network, self.ctx.device)
            if not batch_norms(module):
                return {}
            if self.given is None:
                raise UsageError(
                    "soup: the network has BatchNorm layers, whose statistics an average lacks, and a loop "
                    "has no training data of its own; give some in Python: result.soup(batches=loader)"
                )
            seed_streams(module, self.ctx.library_seed("dropout"), self.ctx.device)
            return batch_norm_statistics(
                module, lambda batch: module(_inputs(batch).to(self.ctx.device)), self.given
            )


def _inputs(batch: Any) -> torch.Tensor:
    """Return the inputs of a batch: the batch itself, or its first part."""
    inputs = batch[0] if isinstance(batch, list | tuple) else batch
    if not isinstance(inputs, torch.Tensor):
        raise UsageError(
            f"soup: batches: expected tensors of inputs, or tuples that start with one, got {inputs!r:.80}"
        )
    return inputs


class MeanOutput(nn.Module):
    """Ensemble as one network: the mean of its members' outputs.

    Args:
        members: Networks with outputs of one shape, in evaluation mode.
    """

    def __init__(self, members: Sequence[nn.Module]) -> None:
        super().__init__()
        self.members = nn.ModuleList(members)

    def forward(self, *inputs: Any, **named: Any) -> torch.Tensor:
        """Return the mean output.

        Raises:
            UsageError: An output is no tensor of floating-point numbers.
        """
        total: torch.Tensor | None = None
        for member in self.members:
            output = member(*inputs, **named)
            if not isinstance(output, torch.Tensor) or not output.is_floating_point():
                raise UsageError(
                    f"the network returns a {type(output).__name__}, which has no mean"
                )
            total = output if total is None else total + output
        if total is None:
            raise UsageError("soup: an ensemble has at least one member")
        return total / len(self.members)
