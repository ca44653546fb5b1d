"""Optimizers of a stack: the steps of torch's optimizers, for all members in a few passes.

The parameters that an optimizer treats alike are one matrix [N, P], a row for each member, and so
are their gradients and moments. If a rule is as fast on many tensors as on one, it takes a matrix
for each parameter instead, which spares a copy of the gradients. Hyperparameters are columns [N, 1]
in float64, since a member's own optimizer computes its factors in Python's floats.
"""

from collections.abc import Callable, Collection, Mapping, Sequence
from typing import Any, Protocol

import torch
from torch.optim import SGD, Adam, AdamW, Optimizer, RMSprop

from popgrad.core.errors import UsageError
from popgrad.state import State

Options = Mapping[str, Any]
"""A parameter group, without regard to its parameters."""

Matrices = list[torch.Tensor]
"""[N, P] each."""


class Rule(Protocol):
    """The step of an optimizer for N rows, and the tensors that it keeps of each parameter.

    A rule is made of the options of N rows, the keys in which rows can differ, and the saved state
    of each parameter of each row. Its results must not depend on whether the rows do differ: a
    row's bits would then depend on the other rows.

    Attributes:
        kept: Names of the tensors that it keeps, in the order of torch's own state.
        apart: Whether it takes a matrix for each parameter, and leaves the gradients as they are;
            else it takes one matrix of all parameters, and may overwrite its gradients.
    """

    kept: tuple[str, ...]
    apart: bool

    def step(self, values: Matrices, gradients: Matrices, moments: Mapping[str, Matrices]) -> None:
        """Make a step, in place."""

    def state(self, row: int, moments: State) -> State:
        """Return the state of torch's own optimizer for one parameter of a row, from its moments."""


class _Columns:
    """Options of N rows as columns [N, 1] float64 on a device."""

    def __init__(self, options: Sequence[Options], device: torch.device) -> None:
        self._options = options
        self._device = device

    def __call__(self, name: str, index: int | None = None) -> torch.Tensor:
        values = [row[name] if index is None else row[name][index] for row in self._options]
        return self.of(values)

    def of(self, values: Sequence[Any]) -> torch.Tensor:
        return torch.tensor(
            [[float(value)] for value in values], dtype=torch.float64, device=self._device
        )


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
        self._lr = columns("lr")
        self._decay = columns("weight_decay")
        self._eps = columns("eps")
        self._beta1 = columns("betas", 0)
        self._beta2 = columns("betas", 1)
        self._decays = "weight_decay" in varied or bool((self._decay != 0).any())
        self._decoupled = bool(options[0].get("decoupled_weight_decay"))
        self._amsgrad = bool(options[0]["amsgrad"])

        self.kept: tuple[str, ...] = ("exp_avg", "exp_avg_sq")
        if self._amsgrad:
            self.kept += ("max_exp_avg_sq",)
        self._steps = columns.of([_steps(row) for row in saved])
        self._kinds = [
            _kind_of_step(group, row, device) for group, row in zip(options, saved, strict=True)
        ]

        # torch's fused kernel takes a single number for each of these.
        alike = not {"betas", "eps"} & set(varied) and bool((self._steps == self._steps[0]).all())
        self._options = options[0] if alike else None
        # On a GPU one large kernel is faster than many small ones.
        self.apart = alike and device.type == "cpu"
        self._moved: list[torch.Tensor] | None = (
            None  # buffers of the fused step, between steps zero
        )
        self._counts: list[torch.Tensor] | None = None  # number of steps by row, as torch keeps it

    def step(self, values: Matrices, gradients: Matrices, moments: Mapping[str, Matrices]) -> None:
        """Update the moments, then add -lr * m / (sqrt(v) + eps), m and v corrected for their bias."""
        dtype = values[0].dtype
        self._steps += 1
        self._counts = None

        if self._decays and self._decoupled:
            factor = (1.0 - self._lr * self._decay).to(dtype)
            for value in values:
                value.mul_(factor)
        elif self._decays:
            add = torch.Tensor.addcmul if self.apart else torch.Tensor.addcmul_
            decay = self._decay.to(dtype)
            gradients = [
                add(gradient, value, decay)
                for gradient, value in zip(gradients, values, strict=True)
            ]

        kept = [moments[name] for name in self.kept]
        if self._options is not None:
            self._fused(values, gradients, kept, self._options)
        else:
            for value, gradient, *own in zip(values, gradients, *kept, strict=True):
                self._update(value, gradient, *own)

    def _update(
        self,
        value: torch.Tensor,
        gradient: torch.Tensor,
        mean: torch.Tensor,
        square: torch.Tensor,
        most: torch.Tensor | None = None,
    ) -> None:
        """Make the step of one matrix, with each row's own factors."""
        dtype = value.dtype
        mean.lerp_(gradient, (1.0 - self._beta1).to(dtype))
        square.lerp_(gradient.mul_(gradient), (1.0 - self._beta2).to(dtype))
        if most is not None:
            square = torch.maximum(most, square, out=most)

        # The root of v's correction is taken out of the fraction, which saves a pass over [N, P].
        root = (1.0 - self._beta2**self._steps).sqrt()
        size = self._lr / (1.0 - self._beta1**self._steps) * root
        fraction = torch.sqrt(square, out=gradient).add_((self._eps * root).to(dtype))
        torch.div(mean, fraction, out=fraction)
        value.addcmul_(fraction, size.neg().to(dtype))

    def _fused(
        self, values: Matrices, gradients: Matrices, kept: Sequence[Matrices], options: Options
    ) -> None:
        """Make the step in one pass if only rates differ: torch's own of size 1, times the rates."""
        if self._moved is None:
            self._moved = [torch.zeros_like(value) for value in values]

        # torch moves zeros instead of the parameters, so that the rates can be applied by row.
        mean, square, *most = kept
        torch._fused_adam_(
            self._moved,
            gradients,
            mean,
            square,
            most[0] if most else [],
            [self._steps[0, 0].float()] * len(values),
            lr=1.0,
            beta1=float(options["betas"][0]),
            beta2=float(options["betas"][1]),
            weight_decay=0.0,
            eps=float(options["eps"]),
            amsgrad=self._amsgrad,
            maximize=False,
        )

        rate = self._lr.to(values[0].dtype)
        for value, moved in zip(values, self._moved, strict=True):
            value.addcmul_(moved, rate)
        torch._foreach_zero_(self._moved)

    def state(self, row: int, moments: State) -> State:
        """Return `step`, and the moments."""
        if self._counts is None:
            self._counts = _counts(self._steps, self._kinds)
        return {"step": self._counts[row], **moments}


class SGDRule:
    """Gradient descent with momentum, dampening and Nesterov's variant as torch defines them."""

    apart = False

    def __init__(
        self,
        options: Sequence[Options],
        varied: Collection[str],
        saved: Sequence[Sequence[State]],
        device: torch.device,
    ) -> None:
        columns = _Columns(options, device)
        self._lr = columns("lr")
        self._decay = columns("weight_decay")
        self._momentum = columns("momentum")
        self._dampening = columns("dampening")
        self._decays = "weight_decay" in varied or bool((self._decay != 0).any())
        self._nesterov = bool(options[0]["nesterov"])

        self._has_momentum = self._momentum != 0  # by row
        started = [any("momentum_buffer" in moments for moments in row) for row in saved]
        self._started = columns.of(started).bool()  # rows that have a buffer by now
        self._any_momentum = "momentum" in varied or bool(self._has_momentum.any())
        kept = self._any_momentum or any(started)
        self.kept: tuple[str, ...] = ("momentum_buffer",) if kept else ()

    def step(self, values: Matrices, gradients: Matrices, moments: Mapping[str, Matrices]) -> None:
        """Make a step. A buffer starts as the first gradient; rows without momentum keep theirs."""
        (value,) = values
        (gradient,) = gradients
        dtype = value.dtype
        if self._decays:
            gradient.addcmul_(value, self._decay.to(dtype))

        moved = gradient
        if self._any_momentum:
            (buffer,) = moments["momentum_buffer"]
            one = torch.ones_like(self._momentum)
            old = torch.where(self._has_momentum, self._momentum, one)
            # As in torch, the gradient that starts a buffer is not dampened.
            new = torch.where(self._started, 1.0 - self._dampening, one) * self._has_momentum
            buffer.mul_(old.to(dtype)).addcmul_(gradient, new.to(dtype))
            if self._nesterov:
                moved = gradient.addcmul_(buffer, self._momentum.to(dtype))
            else:
                moved = torch.where(self._has_momentum, buffer, gradient)
            self._started |= self._has_momentum

        value.addcmul_(moved, self._lr.neg().to(dtype))

    def state(self, row: int, moments: State) -> State:
        """Return the buffer, if the row has one."""
        return moments if bool(self._started[row]) else {}


class RMSpropRule:
    """RMSprop (Tieleman and Hinton 2012), with momentum and centered as torch defines them.

    Raises:
        UsageError: A member has momentum, but its optimizer's state was started without.
    """

    apart = False

    def __init__(
        self,
        options: Sequence[Options],
        varied: Collection[str],
        saved: Sequence[Sequence[State]],
        device: torch.device,
    ) -> None:
        columns = _Columns(options, device)
        self._lr = columns("lr")
        self._alpha = columns("alpha")
        self._eps = columns("eps")
        self._decay = columns("weight_decay")
        self._momentum = columns("momentum")
        self._decays = "weight_decay" in varied or bool((self._decay != 0).any())
        self._centered = bool(options[0]["centered"])
        self._steps = columns.of([_steps(row) for row in saved])
        self._counts: list[torch.Tensor] | None = None
        self._kinds = [
            _kind_of_step(group, row, device) for group, row in zip(options, saved, strict=True)
        ]

        self._has_momentum = self._momentum > 0  # by row
        self._buffered = [
            any("momentum_buffer" in moments for moments in row) or (not any(row) and has)
            for row, has in zip(saved, self._has_momentum[:, 0].tolist(), strict=True)
        ]
        if bool((self._has_momentum & ~columns.of(self._buffered).bool()).any()):
            raise UsageError(
                "RMSprop: a member without momentum so far has momentum now, which torch's own cannot "
                "continue; search momentum above 0"
            )
        self._any_momentum = "momentum" in varied or any(self._buffered)
        self.kept: tuple[str, ...] = ("square_avg",)
        self.kept += ("momentum_buffer",) * self._any_momentum + ("grad_avg",) * self._centered

    def step(self, values: Matrices, gradients: Matrices, moments: Mapping[str, Matrices]) -> None:
        """Divide gradients by the root of their mean square, add to the buffer, make the step."""
        (value,) = values
        (gradient,) = gradients
        dtype = value.dtype
        self._steps += 1
        self._counts = None
        if self._decays:
            gradient.addcmul_(value, self._decay.to(dtype))

        rest = (1.0 - self._alpha).to(dtype)
        (square,) = moments["square_avg"]
        square.mul_(self._alpha.to(dtype)).addcmul_(gradient * rest, gradient)
        root = square
        if self._centered:
            (mean,) = moments["grad_avg"]
            mean.lerp_(gradient, rest)
            root = square.addcmul(mean, mean, value=-1.0)
        moved = gradient.div_(root.sqrt().add_(self._eps.to(dtype)))

        if self._any_momentum:
            (buffer,) = moments["momentum_buffer"]
            # Rows without momentum keep their buffers.
            torch.where(
                self._has_momentum, buffer * self._momentum.to(dtype) + moved, buffer, out=buffer
            )
            moved = torch.where(self._has_momentum, buffer, moved)
        value.addcmul_(moved, self._lr.neg().to(dtype))

    def state(self, row: int, moments: State) -> State:
        """Return `step`, and the moments that the row has."""
        if self._counts is None:
            self._counts = _counts(self._steps, self._kinds)
        kept = {
            name: value
            for name, value in moments.items()
            if name != "momentum_buffer" or self._buffered[row]
        }
        return {"step": self._counts[row], **kept}


Made = Callable[[Sequence[Options], Collection[str], Sequence[Sequence[State]], torch.device], Rule]

RULES: Mapping[type[Optimizer], Made] = {
    Adam: AdamRule,
    AdamW: AdamRule,
    SGD: SGDRule,
    RMSprop: RMSpropRule,
}
"""Rules of the optimizers that can be stacked, by their exact type."""

FLAGS = ("amsgrad", "nesterov", "centered", "maximize", "decoupled_weight_decay", "differentiable")
"""Options that must be the same in every row."""


def _steps(saved: Sequence[State]) -> float:
    counts = {float(moments["step"]) if moments else 0.0 for moments in saved}
    if len(counts) > 1:
        raise UsageError(
            "parameters of one group have been stepped a different number of times, which a stack "
            "cannot continue; use the executor processes or serial"
        )
    return counts.pop()


def _counts(
    steps: torch.Tensor, kinds: Sequence[tuple[torch.dtype, torch.device]]
) -> list[torch.Tensor]:
    """Return the number of steps of each row as torch keeps it."""
    counts = zip(steps[:, 0].tolist(), kinds, strict=True)
    return [torch.tensor(step, dtype=dtype, device=device) for step, (dtype, device) in counts]


def _kind_of_step(
    options: Options, saved: Sequence[State], device: torch.device
) -> tuple[torch.dtype, torch.device]:
    """Return the type and device of torch's number of steps: of the parameters if fused, else CPU."""
    if options.get("fused") or options.get("capturable"):
        return torch.float32, device
    if saved[0]:
        return saved[0]["step"].dtype, torch.device("cpu")
    wide = torch.get_default_dtype() == torch.float64
    return torch.float64 if wide else torch.float32, torch.device("cpu")
