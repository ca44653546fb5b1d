"""Python code of a curve: a scheduler of torch for learning rates, else a function of the step."""

import keyword
import re

from popgrad.record.shapes import Curve

_RATE = re.compile(r"(^|_)(lr|learning_rate)(_|$)")
"""Names of learning rates: lr, actor_lr, learning_rate."""

_SCHEDULERS = "torch.optim.lr_scheduler"


def is_rate(name: str) -> bool:
    """Return whether a hyperparameter is a learning rate, by its name."""
    return _RATE.search(name) is not None


def variable(name: str) -> str:
    """Return the name of a hyperparameter if it can name a variable, else "value"."""
    return name if name.isidentifier() and not keyword.iskeyword(name) else "value"


def function_line(name: str, formula: str) -> str:
    """Return the line that makes a hyperparameter a function of the training step."""
    return f"{variable(name)} = lambda step: {formula}"


# --- functions of the step --------------------------------------------------------------------------


def formula(curve: Curve, *, mirrored: bool = False, whole: bool = False) -> str:
    """Return a curve as an expression in `step`; it may need `math`.

    Args:
        curve: Curve of the quantity.
        mirrored: Whether the value is 1 - quantity.
        whole: Whether the value is an integer.
    """
    if curve.shape == "constant":
        value = 1 - curve.first if mirrored else curve.first
        return str(round(value)) if whole else _text(value)
    if curve.shape == "step":
        values = [
            formula(Curve("constant", curve.steps, end, end), mirrored=mirrored, whole=whole)
            for end in (curve.first, curve.last)
        ]
        return f"{values[0]} if step < {curve.change} else {values[1]}"

    if curve.shape == "warm-up":
        rise = _decay("linear", curve.first, curve.peak, f"step / {curve.change}")
        part = f"(step - {curve.change}) / {curve.steps - curve.change}"
        text = f"{rise} if step < {curve.change} else {_decay(curve.decay, curve.peak, curve.last, part)}"
    else:
        text = _decay(curve.shape, curve.first, curve.last, f"step / {curve.steps}")
    if mirrored:
        return f"1 - ({text})"
    return f"round({text})" if whole else text


def _decay(shape: str, first: float, last: float, part: str) -> str:
    if shape == "linear":
        return f"{_text(first)} + {_text(last - first)} * {part}"
    if shape == "exponential":
        return f"{_text(first)} * {_text(last / first)} ** ({part})"
    angle = f"math.pi * {part}"
    return f"{_text(last)} + {_text((first - last) / 2)} * (1 + math.cos({angle}))"


def _text(number: float) -> str:
    """Return a number as Python reads it; in parentheses if a sign in front would bind wrongly."""
    text = f"{number:.10g}"
    return f"({text})" if text.startswith("-") else text


# --- schedulers of torch ----------------------------------------------------------------------------


def scheduler_line(curve: Curve) -> tuple[float, str]:
    """Return the line of torch that makes a curve of a learning rate, to be stepped after each step.

    Args:
        curve: Curve of the rate.

    Returns:
        The rate that the optimizer has to be made with, and the line, which needs `torch` and
        `optimizer`, and may need `math`.

    Example:
        >>> scheduler_line(Curve("cosine", 1000, first=0.1, last=0.001))
        (0.1, 'scheduler = torch.optim.lr_scheduler.CosineAnnealingLR(optimizer, T_max=1000, eta_min=0.001)')
    """
    base, call = _call(curve)
    if call is None:
        # None of torch's own fits: the optimizer's rate of 1 makes the factor the rate itself.
        base, call = 1.0, f"LambdaLR(optimizer, lambda step: {formula(curve)})"
    return base, f"scheduler = {_SCHEDULERS}.{call}"


def _call(curve: Curve) -> tuple[float, str | None]:
    """Return the rate of the optimizer, and the call of a scheduler; None = torch has none."""
    if curve.shape == "constant":
        return curve.first, "ConstantLR(optimizer, factor=1.0)"
    if curve.shape == "step":
        if curve.first <= 0:
            return 0.0, None
        factor = _text(curve.last / curve.first)
        return curve.first, f"MultiStepLR(optimizer, milestones=[{curve.change}], gamma={factor})"
    if curve.shape != "warm-up":
        return _decay_call(curve.shape, curve.first, curve.last, curve.steps)

    if not 0 < curve.first < curve.peak or curve.last < 0:
        return 0.0, None
    rise = f"LinearLR(optimizer, start_factor={_text(curve.first / curve.peak)}, total_iters={curve.change})"
    _, decay = _decay_call(curve.decay, curve.peak, curve.last, curve.steps - curve.change)
    parts = f"[{_SCHEDULERS}.{rise}, {_SCHEDULERS}.{decay}]"
    return curve.peak, f"SequentialLR(optimizer, {parts}, milestones=[{curve.change}])"


def _decay_call(shape: str, first: float, last: float, steps: int) -> tuple[float, str | None]:
    if shape == "cosine":
        return first, f"CosineAnnealingLR(optimizer, T_max={steps}, eta_min={_text(last)})"
    if shape == "exponential":
        gamma = (last / first) ** (1 / steps)
        return first, f"ExponentialLR(optimizer, gamma={gamma:.12g})"
    if 0 <= last <= first and first > 0:
        ends = f"start_factor=1.0, end_factor={_text(last / first)}"
        return first, f"LinearLR(optimizer, {ends}, total_iters={steps})"
    if 0 < first < last:
        ends = f"start_factor={_text(first / last)}, end_factor=1.0"
        return last, f"LinearLR(optimizer, {ends}, total_iters={steps})"
    return 0.0, None
