"""A population of perceptrons as one stacked model, written by hand: how fast the vectorised executor could be.

Only what the task needs: no states that travel, no record, one stream of random numbers for all members.
"""

from collections.abc import Mapping, Sequence
from itertools import pairwise

import torch
from torch.nn import functional

from popgrad.data import Splits


class Population:
    """N perceptrons with ReLU and dropout, each with its own rates and order of data, under one Adam.

    Args:
        data: What they train and are evaluated on; inputs are flattened.
        widths: Of the layers: inputs, hidden, classes.
        rates: [N] learning rates.
        keep: [N] probabilities that dropout keeps an element, above 0.
        batch: Samples a step.
        seed: Of weights, orders and masks.
        batch_norm: Batch normalisation after each hidden layer.
        weight_decay: Adam's L2 penalty.

    Attributes:
        weights: Of each layer, [N, inputs, outputs].
        biases: Of each layer, [N, 1, outputs].
    """

    def __init__(
        self,
        data: Splits,
        widths: Sequence[int],
        rates: torch.Tensor,
        keep: torch.Tensor,
        batch: int,
        seed: int,
        *,
        batch_norm: bool = False,
        weight_decay: float = 0.0,
    ) -> None:
        count, self._batch, self._decay = len(rates), batch, weight_decay
        self._generator = torch.Generator().manual_seed(seed)
        inputs, self._targets = data.train
        self._inputs = inputs.flatten(1)
        self._validation = data.validation[0].flatten(1), data.validation[1]
        self._rates = rates.view(count, 1, 1)
        self._threshold = (keep.view(count, 1, 1) * 65536.0 - 32768.0).round()
        self._scale = keep.view(count, 1, 1).reciprocal()
        self._widths = widths
        self.weights, self.biases = [], []
        for before, after in pairwise(widths):
            bound = (6.0 / (before + after)) ** 0.5
            weight = torch.empty(count, before, after).uniform_(
                -bound, bound, generator=self._generator
            )
            self.weights.append(weight.requires_grad_())
            self.biases.append(torch.zeros(count, 1, after, requires_grad=True))
        self._norms = [self._norm(count, width) for width in widths[1:-1]] if batch_norm else []
        scales = [each for norm in self._norms for each in norm[:2]]
        self.parameters = [*self.weights, *self.biases, *scales]
        self._moments = [[torch.zeros_like(each) for each in self.parameters] for _ in range(3)]
        self._steps = torch.zeros(())
        self._orders, self._position = torch.empty(count, 0, dtype=torch.int64), 0

    @staticmethod
    def _norm(count: int, width: int) -> list[torch.Tensor]:
        """Scale, shift, running mean and variance of a batch normalisation."""
        kinds = (torch.ones, torch.zeros, torch.zeros, torch.ones)
        made = [kind(count, 1, width) for kind in kinds]
        return [each.requires_grad_() for each in made[:2]] + made[2:]

    def train(self, steps: int) -> None:
        """So many steps of all members."""
        for _ in range(steps):
            rows = self._next_rows()
            inputs = self._inputs.index_select(0, rows.reshape(-1)).view(*rows.shape, -1)
            targets = self._targets.index_select(0, rows.reshape(-1))
            outputs = self._forward(inputs, self._masks(*rows.shape))
            loss = (
                functional.cross_entropy(outputs.flatten(0, 1), targets, reduction="sum")
                / rows.shape[1]
            )
            self._adam(torch.autograd.grad(loss, self.parameters))

    def _next_rows(self) -> torch.Tensor:
        """[N, b] of the training samples; the last batch of an epoch holds what is left."""
        samples = len(self._inputs)
        if self._position >= self._orders.shape[1]:
            each = [torch.randperm(samples, generator=self._generator) for _ in self._orders]
            self._orders, self._position = torch.stack(each), 0
        rows = self._orders[:, self._position : self._position + self._batch]
        self._position += self._batch
        return rows

    def _masks(self, count: int, batch: int) -> list[torch.Tensor]:
        """[N, b, width] for each hidden layer: 0, or 1 / keep. Sixteen bits an element, drawn at once."""
        sizes = [count * batch * width for width in self._widths[1:-1]]
        words = torch.randint(
            -(2**63), 2**63 - 1, (sum(sizes) // 4 + 1,), generator=self._generator
        )
        parts = words.view(torch.int16)[: sum(sizes)].split(sizes)
        bits = [
            part.view(count, batch, width)
            for part, width in zip(parts, self._widths[1:-1], strict=True)
        ]
        return [functional.hardtanh_(self._threshold - b, 0.0, 1.0).mul_(self._scale) for b in bits]

    def _forward(self, x: torch.Tensor, masks: Sequence[torch.Tensor] | None) -> torch.Tensor:
        """[N, b, classes]; without masks in evaluation mode."""
        last = len(self.weights) - 1
        for layer, (weight, bias) in enumerate(zip(self.weights, self.biases, strict=True)):
            x = torch.baddbmm(bias, x, weight)
            if layer == last:
                return x
            if self._norms:
                x = self._normalised(x, self._norms[layer], masks is not None)
            x = x.relu()
            x = x if masks is None else x * masks[layer]
        raise AssertionError("there is at least one layer")

    @staticmethod
    def _normalised(x: torch.Tensor, norm: Sequence[torch.Tensor], training: bool) -> torch.Tensor:
        """Members beside each other as channels."""
        flat = x.transpose(0, 1).flatten(1)
        scale, shift, mean, variance = (each.view(-1) for each in norm)
        flat = functional.batch_norm(flat, mean, variance, scale, shift, training=training)
        return flat.view(x.shape[1], x.shape[0], x.shape[2]).transpose(0, 1)

    @torch.no_grad()
    def _adam(self, gradients: Sequence[torch.Tensor]) -> None:
        """Torch's fused step of size 1, then times each member's rate."""
        moved, means, squares = self._moments
        self._steps += 1
        if self._decay:
            torch._foreach_add_(gradients, self.parameters, alpha=self._decay)
        torch._fused_adam_(
            moved, list(gradients), means, squares, [], [self._steps] * len(moved),
            lr=1.0, beta1=0.9, beta2=0.999, weight_decay=0.0, eps=1e-8, amsgrad=False, maximize=False,
        )  # fmt: skip
        for parameter, step in zip(self.parameters, moved, strict=True):
            parameter.addcmul_(step, self._rates)
        torch._foreach_zero_(moved)

    @torch.no_grad()
    def evaluate(self) -> list[Mapping[str, float]]:
        """Accuracy and loss of each member on the validation split."""
        inputs, targets = self._validation
        count = len(self._rates)
        parts = [self._forward(part.expand(count, *part.shape), None) for part in inputs.split(200)]
        return [
            {
                "accuracy": float((outputs.argmax(1) == targets).double().mean()),
                "loss": float(functional.cross_entropy(outputs, targets)),
            }
            for outputs in torch.cat(parts, 1)
        ]
