"""Optimizers of a stack: what torch's do for one member, done for all in a few passes over one matrix.

The parameters that an optimizer treats alike are one matrix [N, P], a row for each member, and so are their
gradients and moments. Hyperparameters are columns [N, 1] in float64, since a member's own optimizer computes
its factors in Python's floats.
"""

from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Protocol

import torch
from torch.optim import SGD, Adam, AdamW, Optimizer

from popgrad.core.errors import UsageError
from popgrad.state import State

Options = Mapping[str, Any]
"""A parameter group, without regard to its parameters."""


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


class Matrix:
    """Tensors of N members side by side.

    Args:
        shapes: Of one member's tensors.
        rows: N.
        dtype: Of all of them.
        device: Where they lie.

    Attributes:
        whole: [N, P], anything at first.
        parts: Of each tensor, a view [N, *shape].
    """

    def __init__(
        self, shapes: Sequence[torch.Size], rows: int, dtype: torch.dtype, device: torch.device
    ) -> None:
        sizes = [shape.numel() for shape in shapes]
        self.whole = torch.empty(rows, sum(sizes), dtype=dtype, device=device)
        pieces = self.whole.split(sizes, 1)  # type: ignore[no-untyped-call]
        self.parts = [piece.view(rows, *shape) for piece, shape in zip(pieces, shapes, strict=True)]

    def cpu(self) -> "Matrix":
        """Itself, or a copy on the CPU."""
        if self.whole.device.type == "cpu":
            return self
        shapes = [part.shape[1:] for part in self.parts]
        copied = Matrix(shapes, len(self.whole), self.whole.dtype, torch.device("cpu"))
        copied.whole.copy_(self.whole)
        return copied

    def fill(self, part: int, values: Sequence[torch.Tensor | None]) -> None:
        """Copy one tensor of each row in; zeros where it is None."""
        rows = self.parts[part].unbind(0)
        found = [(row, value) for row, value in zip(rows, values, strict=True) if value is not None]
        if len(found) < len(values):
            self.parts[part].zero_()
        if found:
            torch._foreach_copy_([row for row, _ in found], [value for _, value in found])


class Rule(Protocol):
    """What an optimizer keeps of each parameter, and how it makes a step.

    A rule is made of the options of N rows, the keys in which rows can differ, and what is saved of each
    parameter of each row. What it computes must not depend on whether they do differ: a row's bits would then
    depend on the others.

    Attributes:
        kept: Names of the tensors that it keeps, in the order of torch's own state.
    """

    kept: tuple[str, ...]

    def step(
        self, values: torch.Tensor, gradients: torch.Tensor, moments: Mapping[str, torch.Tensor]
    ) -> None:
        """One step, in place; all are [N, P], and the gradients may be spoiled."""

    def state(self, row: int, moments: State) -> State:
        """What torch's own optimizer has in its state for one parameter of a row, given its moments."""


class _Columns:
    """Options of N rows as columns [N, 1] float64 on a device."""

    def __init__(self, options: Sequence[Options], device: torch.device) -> None:
        self._options, self._device = options, device

    def __call__(self, name: str, place: int | None = None) -> torch.Tensor:
        values = [row[name] if place is None else row[name][place] for row in self._options]
        return self.of(values)

    def of(self, values: Sequence[Any]) -> torch.Tensor:
        return torch.tensor([[float(each)] for each in values], dtype=torch.float64, device=self._device)


class AdamRule:
    """Adam (Kingma and Ba 2015) and AdamW (Loshchilov and Hutter 2019), with or without AMSGrad."""

    def __init__(
        self,
        options: Sequence[Options],
        varied: Collection[str],
        saved: Sequence[Sequence[State]],
        device: torch.device,
    ) -> None:
        columns = _Columns(options, device)
        self._lr, self._decay, self._eps = columns("lr"), columns("weight_decay"), columns("eps")
        self._beta1, self._beta2 = columns("betas", 0), columns("betas", 1)
        self._decays = "weight_decay" in varied or bool((self._decay != 0).any())
        self._decoupled = bool(options[0].get("decoupled_weight_decay"))
        self._amsgrad = bool(options[0]["amsgrad"])
        self.kept: tuple[str, ...] = (
            "exp_avg",
            "exp_avg_sq",
            *(("max_exp_avg_sq",) if self._amsgrad else ()),
        )
        self._steps = columns.of([_steps(row) for row in saved])
        self._kinds = [_kind_of_step(*each, device) for each in zip(options, saved, strict=True)]
        alike = not {"betas", "eps"} & set(varied) and bool((self._steps == self._steps[0]).all())
        self._options = options[0] if alike else None
        self._moved: torch.Tensor | None = None
        self._counts: list[torch.Tensor] | None = None

    def step(
        self, values: torch.Tensor, gradients: torch.Tensor, moments: Mapping[str, torch.Tensor]
    ) -> None:
        """Moments, then m / (sqrt(v) + eps), both corrected for their bias towards the zeros at the start."""
        dtype = values.dtype
        self._steps += 1
        self._counts = None
        if self._decays and self._decoupled:
            values.mul_((1.0 - self._lr * self._decay).to(dtype))
        elif self._decays:
            gradients.addcmul_(values, self._decay.to(dtype))
        if self._options is not None:
            self._fused(values, gradients, moments, self._options)
            return
        mean, square = moments["exp_avg"], moments["exp_avg_sq"]
        mean.lerp_(gradients, (1.0 - self._beta1).to(dtype))
        square.lerp_(gradients.mul_(gradients), (1.0 - self._beta2).to(dtype))
        if self._amsgrad:
            square = torch.maximum(moments["max_exp_avg_sq"], square, out=moments["max_exp_avg_sq"])
        # The root of v's correction is taken out of the fraction, which saves a pass over [N, P].
        root = (1.0 - self._beta2**self._steps).sqrt()
        size = self._lr / (1.0 - self._beta1**self._steps) * root
        fraction = torch.sqrt(square, out=gradients).add_((self._eps * root).to(dtype))
        torch.div(mean, fraction, out=fraction)
        values.addcmul_(fraction, size.neg().to(dtype))

    def _fused(
        self,
        values: torch.Tensor,
        gradients: torch.Tensor,
        moments: Mapping[str, torch.Tensor],
        options: Options,
    ) -> None:
        """The same in one pass, where only rates differ: torch's own step of size 1, then times the rates."""
        if self._moved is None:
            self._moved = torch.zeros_like(values)
        maxima = [moments["max_exp_avg_sq"]] if self._amsgrad else []
        torch._fused_adam_(
            [self._moved],
            [gradients],
            [moments["exp_avg"]],
            [moments["exp_avg_sq"]],
            maxima,
            [self._steps[0, 0].float()],
            lr=1.0,
            beta1=float(options["betas"][0]),
            beta2=float(options["betas"][1]),
            weight_decay=0.0,
            eps=float(options["eps"]),
            amsgrad=self._amsgrad,
            maximize=False,
        )
        values.addcmul_(self._moved, self._lr.to(values.dtype))
        self._moved.zero_()

    def state(self, row: int, moments: State) -> State:
        """`step`, and the moments."""
        if self._counts is None:
            counts = zip(self._steps[:, 0].tolist(), self._kinds, strict=True)
            self._counts = [
                torch.tensor(step, dtype=dtype, device=device) for step, (dtype, device) in counts
            ]
        return {"step": self._counts[row], **moments}


class SGDRule:
    """Gradient descent with momentum, dampening and Nesterov's variant as torch defines them."""

    def __init__(
        self,
        options: Sequence[Options],
        varied: Collection[str],
        saved: Sequence[Sequence[State]],
        device: torch.device,
    ) -> None:
        columns = _Columns(options, device)
        self._lr, self._decay = columns("lr"), columns("weight_decay")
        self._momentum, self._dampening = columns("momentum"), columns("dampening")
        self._decays = "weight_decay" in varied or bool((self._decay != 0).any())
        self._nesterov, self._moves = bool(options[0]["nesterov"]), self._momentum != 0
        begun = [any("momentum_buffer" in each for each in row) for row in saved]
        self._begun = columns.of(begun).bool()
        self._some = "momentum" in varied or bool(self._moves.any())
        kept = self._some or any(begun)
        self.kept: tuple[str, ...] = ("momentum_buffer",) if kept else ()

    def step(
        self, values: torch.Tensor, gradients: torch.Tensor, moments: Mapping[str, torch.Tensor]
    ) -> None:
        """The buffer begins as the first gradient, undampened; rows without momentum leave theirs."""
        dtype = values.dtype
        if self._decays:
            gradients.addcmul_(values, self._decay.to(dtype))
        moved = gradients
        if self._some:
            buffer = moments["momentum_buffer"]
            one = torch.ones_like(self._momentum)
            old = torch.where(self._moves, self._momentum, one)
            new = torch.where(self._begun, 1.0 - self._dampening, one) * self._moves
            buffer.mul_(old.to(dtype)).addcmul_(gradients, new.to(dtype))
            moved = (
                gradients.addcmul_(buffer, self._momentum.to(dtype))
                if self._nesterov
                else torch.where(self._moves, buffer, gradients)
            )
            self._begun |= self._moves
        values.addcmul_(moved, self._lr.neg().to(dtype))

    def state(self, row: int, moments: State) -> State:
        """The buffer, where there is one."""
        return moments if bool(self._begun[row]) else {}


Made = Callable[[Sequence[Options], Collection[str], Sequence[Sequence[State]], torch.device], Rule]

RULES: Mapping[type[Optimizer], Made] = {Adam: AdamRule, AdamW: AdamRule, SGD: SGDRule}
"""The optimizers that can be stacked, by their exact type."""

FLAGS = ("amsgrad", "nesterov", "maximize", "decoupled_weight_decay", "differentiable")
"""Options that must be the same in every row."""


def _steps(saved: Sequence[State]) -> float:
    found = {float(each["step"]) if each else 0.0 for each in saved}
    if len(found) > 1:
        raise UsageError(
            "parameters of one group have been stepped a different number of times, which a stack cannot go "
            "on with; use the executor processes or serial"
        )
    return found.pop()


def _kind_of_step(
    options: Options, saved: Sequence[State], device: torch.device
) -> tuple[torch.dtype, torch.device]:
    """How torch keeps the number of steps: with the parameters where it is fused, else on the CPU."""
    if options.get("fused") or options.get("capturable"):
        return torch.float32, device
    if saved[0]:
        return saved[0]["step"].dtype, torch.device("cpu")
    wide = torch.get_default_dtype() == torch.float64
    return torch.float64 if wide else torch.float32, torch.device("cpu")


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
        values: [N, P]: the parameters.
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
        self.values, self._gradients = (Matrix(shapes, len(rows), dtype, device) for _ in range(2))
        self._moments = {name: Matrix(shapes, len(rows), dtype, device) for name in self._rule.kept}
        for part in range(len(slots)):
            self.values.fill(part, [row[part] for row in weights])
            for name, matrix in self._moments.items():
                matrix.fill(part, [row[part].get(name) for row in rows])

    @torch.no_grad()
    def step(self, gradients: Sequence[torch.Tensor]) -> None:
        """One step of every row. `gradients` are [N, *shape], one for each parameter."""
        torch._foreach_copy_(self._gradients.parts, list(gradients))
        whole = self._gradients.whole
        moments = {name: matrix.whole for name, matrix in self._moments.items()}
        self._rule.step(self.values.whole, whole.neg_() if self._maximize else whole, moments)

    def to_cpu(self) -> None:
        """Bring the moments to the CPU, when no step follows."""
        for name, matrix in self._moments.items():
            self._moments[name] = matrix.cpu()

    def states(self) -> list[dict[int, State]]:
        """What torch's own optimizer has in its state for each row's parameters, by index; views."""
        found: list[dict[int, State]] = [{} for _ in range(len(self.values.whole))]
        for part, slot in enumerate(self.slots):
            views = [matrix.parts[part].unbind(0) for matrix in self._moments.values()]
            for row, state in enumerate(found):
                moments = {name: view[row] for name, view in zip(self._moments, views, strict=True)}
                kept = self._rule.state(row, moments)
                if kept:
                    state[slot.index] = kept
        return found
