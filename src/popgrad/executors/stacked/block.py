"""The parameters of a stack that one optimizer treats alike, with their moments."""

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from functools import partial

import torch
from torch.optim import Optimizer

from popgrad.executors.stacked.optimizers import RULES, Options
from popgrad.state import State


@dataclass(frozen=True)
class OptimizedParameter:
    """A parameter as its optimizer knows it.

    Attributes:
        owner: Name of the optimizer.
        group: Number of its parameter group.
        index: Key of its moments in the optimizer's state.
        name: Name of the parameter in the module.
    """

    owner: str
    group: int
    index: int
    name: str


class RowMemory:
    """Tensors of N members in one piece of memory.

    Args:
        shapes: Shape of each tensor of one member.
        rows: Number of members, N.
        dtype: Type of all tensors.
        device: Device of the memory.
        apart: Whether the rows of each tensor lie together; else the tensors of each row do.

    Attributes:
        parts: View [N, *shape] of each tensor, uninitialised at first.
        matrices: The same memory as matrices with N rows: one for each tensor if `apart`, else one
            in all.
    """

    def __init__(
        self,
        shapes: Sequence[torch.Size],
        rows: int,
        dtype: torch.dtype,
        device: torch.device,
        *,
        apart: bool,
    ) -> None:
        self._shapes = shapes
        self._apart = apart
        sizes = [shape.numel() for shape in shapes]
        self._memory = torch.empty(rows * sum(sizes), dtype=dtype, device=device)

        if apart:
            pieces = self._memory.split([rows * size for size in sizes])  # type: ignore[no-untyped-call]
            pairs = zip(pieces, sizes, strict=True)
            self.matrices = [piece.view(rows, size) for piece, size in pairs]
            columns = self.matrices
        else:
            self.matrices = [self._memory.view(rows, sum(sizes))]
            columns = self.matrices[0].split(sizes, 1)

        self.parts = [
            column.view(rows, *shape) for column, shape in zip(columns, shapes, strict=True)
        ]

    def cpu(self) -> "RowMemory":
        """Return itself, or a copy on the CPU if it is on another device."""
        if self._memory.device.type == "cpu":
            return self
        rows = len(self.matrices[0])
        dtype = self._memory.dtype
        copy = RowMemory(self._shapes, rows, dtype, torch.device("cpu"), apart=self._apart)
        copy._memory.copy_(self._memory)
        return copy

    def fill(self, part: int, values: Sequence[torch.Tensor | None]) -> None:
        """Copy one tensor of each row in; None stands for zeros."""
        rows = self.parts[part].unbind(0)
        pairs = [(row, value) for row, value in zip(rows, values, strict=True) if value is not None]
        if len(pairs) < len(values):
            self.parts[part].zero_()
        if pairs:
            torch._foreach_copy_([row for row, _ in pairs], [value for _, value in pairs])


class Block:
    """Parameters of one group and one dtype, with the rule of their optimizer.

    Args:
        parameters: Parameters of the block.
        weights: Values of the parameters for each row; they are copied.
        kind: Type of the optimizer, one of `RULES`.
        options: Options of each row's parameter group.
        varied: Keys of options in which rows can differ.
        saved: State of each row's optimizer, by index; entries may be missing.
        device: Device to compute on.

    Attributes:
        parameters: Parameters of the block.
        values: Their values.
    """

    def __init__(
        self,
        parameters: Sequence[OptimizedParameter],
        weights: Sequence[Sequence[torch.Tensor]],
        kind: type[Optimizer],
        options: Sequence[Options],
        varied: Collection[str],
        saved: Sequence[Mapping[int, State]],
        device: torch.device,
    ) -> None:
        self.parameters = parameters
        rows = [[row.get(parameter.index, {}) for parameter in parameters] for row in saved]
        self._rule = RULES[kind](options, varied, rows, device)
        self._maximize = bool(options[0]["maximize"])

        shapes = [weight.shape for weight in weights[0]]
        dtype = weights[0][0].dtype
        memory = partial(RowMemory, shapes, len(rows), dtype, device, apart=self._rule.apart)
        self.values = memory()
        self._gradients = None if self._rule.apart else memory()
        self._moments = {name: memory() for name in self._rule.kept}
        for part in range(len(parameters)):
            self.values.fill(part, [row[part] for row in weights])
            for name, moments in self._moments.items():
                moments.fill(part, [row[part].get(name) for row in rows])

    @torch.no_grad()
    def step(self, gradients: Sequence[torch.Tensor]) -> None:
        """Update every row. `gradients` are [N, *shape], one for each parameter."""
        if self._gradients is None:
            pairs = zip(gradients, self.values.matrices, strict=True)
            matrices = [gradient.reshape(matrix.shape).contiguous() for gradient, matrix in pairs]
        else:
            torch._foreach_copy_(self._gradients.parts, list(gradients))
            matrices = self._gradients.matrices
        if self._maximize:
            matrices = [matrix.neg() for matrix in matrices]

        moments = {name: memory.matrices for name, memory in self._moments.items()}
        self._rule.step(self.values.matrices, matrices, moments)

    def to_cpu(self) -> None:
        """Move the moments to the CPU, once no step follows."""
        self._moments = {name: memory.cpu() for name, memory in self._moments.items()}

    def states(self) -> list[dict[int, State]]:
        """Return the state of torch's own optimizer for each row's parameters, by index, as views."""
        states: list[dict[int, State]] = [{} for _ in self.values.parts[0]]
        for part, parameter in enumerate(self.parameters):
            views = [memory.parts[part].unbind(0) for memory in self._moments.values()]
            for row, state in enumerate(states):
                moments = {name: view[row] for name, view in zip(self._moments, views, strict=True)}
                kept = self._rule.state(row, moments)
                if kept:
                    state[parameter.index] = kept
        return states
