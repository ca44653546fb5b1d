"""The parameters of a stack that one optimizer treats alike, with their moments."""

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from functools import partial

import torch
from torch.optim import Optimizer

from popgrad.executors.stacked.optimizers import RULES, Options
from popgrad.state import State


@dataclass(frozen=True)
class Slot:
    """A parameter as its optimizer knows it.

    Attributes:
        owner: The optimizer's name.
        group: Which of its parameter groups.
        index: The key of its moments in the optimizer's state.
        name: Its name in the module.
    """

    owner: str
    group: int
    index: int
    name: str


class Memory:
    """Tensors of N members, in one piece of memory.

    Args:
        shapes: Of one member's tensors.
        rows: N.
        dtype: Of all of them.
        device: Where they lie.
        apart: Each tensor's rows lie together; else each row's tensors do.

    Attributes:
        parts: Of each tensor, a view [N, *shape], anything at first.
        matrices: The same memory as matrices with N rows: one for each tensor, or one of them all.
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
        self._shapes, self._apart = shapes, apart
        sizes = [shape.numel() for shape in shapes]
        self._memory = torch.empty(rows * sum(sizes), dtype=dtype, device=device)
        if apart:
            pieces = self._memory.split([rows * size for size in sizes])  # type: ignore[no-untyped-call]
            self.matrices = [
                piece.view(rows, size) for piece, size in zip(pieces, sizes, strict=True)
            ]
            columns = self.matrices
        else:
            self.matrices = [self._memory.view(rows, sum(sizes))]
            columns = self.matrices[0].split(sizes, 1)
        self.parts = [each.view(rows, *shape) for each, shape in zip(columns, shapes, strict=True)]

    def cpu(self) -> "Memory":
        """Itself, or a copy on the CPU."""
        if self._memory.device.type == "cpu":
            return self
        rows, dtype = len(self.matrices[0]), self._memory.dtype
        copied = Memory(self._shapes, rows, dtype, torch.device("cpu"), apart=self._apart)
        copied._memory.copy_(self._memory)
        return copied

    def fill(self, part: int, values: Sequence[torch.Tensor | None]) -> None:
        """Copy one tensor of each row in; zeros where it is None."""
        rows = self.parts[part].unbind(0)
        found = [(row, value) for row, value in zip(rows, values, strict=True) if value is not None]
        if len(found) < len(values):
            self.parts[part].zero_()
        if found:
            torch._foreach_copy_([row for row, _ in found], [value for _, value in found])


class Block:
    """Parameters of one group and one dtype, with the rule of their optimizer.

    Args:
        slots: The parameters.
        weights: Of each row, their values; these are copied.
        kind: The optimizer's type, one of `RULES`.
        options: Of each row's parameter group.
        varied: Keys of options in which rows can differ.
        saved: Each row's state of the optimizer, by index; entries may be missing.
        device: Where to compute.

    Attributes:
        slots: The parameters.
        values: Their own.
    """

    def __init__(
        self,
        slots: Sequence[Slot],
        weights: Sequence[Sequence[torch.Tensor]],
        kind: type[Optimizer],
        options: Sequence[Options],
        varied: Collection[str],
        saved: Sequence[Mapping[int, State]],
        device: torch.device,
    ) -> None:
        self.slots = slots
        rows = [[row.get(slot.index, {}) for slot in slots] for row in saved]
        self._rule = RULES[kind](options, varied, rows, device)
        self._maximize = bool(options[0]["maximize"])
        shapes, dtype = [each.shape for each in weights[0]], weights[0][0].dtype
        made = partial(Memory, shapes, len(rows), dtype, device, apart=self._rule.apart)
        self.values, self._gradients = made(), None if self._rule.apart else made()
        self._moments = {name: made() for name in self._rule.kept}
        for part in range(len(slots)):
            self.values.fill(part, [row[part] for row in weights])
            for name, memory in self._moments.items():
                memory.fill(part, [row[part].get(name) for row in rows])

    @torch.no_grad()
    def step(self, gradients: Sequence[torch.Tensor]) -> None:
        """One step of every row. `gradients` are [N, *shape], one for each parameter."""
        if self._gradients is None:
            both = zip(gradients, self.values.matrices, strict=True)
            given = [each.reshape(matrix.shape).contiguous() for each, matrix in both]
        else:
            torch._foreach_copy_(self._gradients.parts, list(gradients))
            given = self._gradients.matrices
        if self._maximize:
            given = [each.neg() for each in given]
        moments = {name: memory.matrices for name, memory in self._moments.items()}
        self._rule.step(self.values.matrices, given, moments)

    def to_cpu(self) -> None:
        """Bring the moments to the CPU, when no step follows."""
        self._moments = {name: memory.cpu() for name, memory in self._moments.items()}

    def states(self) -> list[dict[int, State]]:
        """What torch's own optimizer has in its state for each row's parameters, by index; views."""
        found: list[dict[int, State]] = [{} for _ in self.values.parts[0]]
        for part, slot in enumerate(self.slots):
            views = [memory.parts[part].unbind(0) for memory in self._moments.values()]
            for row, state in enumerate(found):
                moments = {name: view[row] for name, view in zip(self._moments, views, strict=True)}
                kept = self._rule.state(row, moments)
                if kept:
                    state[slot.index] = kept
        return found
