"""A schedule in a word: the simplest shape that fits each hyperparameter's path, with the code for it."""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np

from popgrad.core.explore import check_factors
from popgrad.core.interval import parse_interval
from popgrad.core.population import Value
from popgrad.core.space import Constant, Dimension, Space
from popgrad.record.record import Record
from popgrad.record.scale import Scale, scale_of
from popgrad.record.schedule import Phase, Schedule
from popgrad.record.scheduler_code import formula, function_line, is_rate, scheduler_line
from popgrad.record.shapes import PARAMETERS, Curve, Path, fits, squares

FACTORS = (0.8, 1.25)
"""Factors of a perturbation, if a run has none of its own: the default of `pbt`."""

TOLERANCE = 1.0
"""Error, in perturbations, up to which a shape counts as fitting: explore alone moves a value as far."""

_PENALTY = 2.0
"""Weight of a parameter, in units of the logarithm of the number of phases; see `explain`."""


@dataclass(frozen=True)
class Explanation:
    r"""The simplest shape of a hyperparameter's path.

    Attributes:
        name: The hyperparameter.
        shape: "constant", "exponential", "linear", "cosine", "step", "warm-up", or "steps", the list of
            all changes of a hyperparameter without a distance between its values.
        description: The shape with its numbers, in words.
        error: Root mean square of the distances from the path, in perturbations.
        code: Lines of Python, to be pasted: a scheduler of torch for `optimizer`, stepped after each
            training step, or a function of the training step.
        base_rate: Learning rate that the optimizer has to be made with; None = the code is a function.
        errors: Errors of all shapes that were tried, by shape.
        unit: A step of the schedule, in words: "training step", or "report" of a training loop.
        base_only: Whether a scheduler of the task multiplied the values: the shape is that of the base.
        curve: The curve of the quantity; None = it is a list of changes.
        scale: Its scale; None = it is a list of changes.
        changes: (first step, value) of each change of a list.

    Example:
        >>> import popgrad
        >>> schedule = popgrad.Schedule.from_csv("first_step,steps,width\n0,20,16\n20,10,32\n")
        >>> space = {"width": popgrad.Ordinal((16, 32, 64))}
        >>> (width,) = popgrad.explain_schedule(schedule, space)
        >>> print(width.description)
        steps: 16, then 32 at step 20
        >>> print(width.code)
        width = lambda step: [16, 32][sum(step >= first for first in (20,))]
    """

    name: str
    shape: str
    description: str
    error: float
    code: str
    base_rate: float | None = None
    errors: Mapping[str, float] = field(default_factory=dict)
    unit: str = "training step"
    base_only: bool = False
    curve: Curve | None = field(default=None, repr=False)
    scale: Scale | None = field(default=None, repr=False)
    changes: tuple[tuple[int, Value], ...] = field(default=(), repr=False)

    @property
    def fits(self) -> bool:
        """Whether the error is at most one perturbation."""
        return self.error <= TOLERANCE

    @property
    def note(self) -> str:
        """One line on how the code is used, and what it leaves out."""
        if self.base_rate is None:
            use = f"{self.name}, as a function of the {self.unit}, from 0"
        else:
            use = (
                f"{self.name}: make the optimizer with lr={self.base_rate:.10g}, and step the scheduler "
                f"after each {self.unit}"
            )
        if self.base_only:
            use += "; it is the base that the scheduler of the task multiplies: keep that one too"
        if not self.fits:
            use += f"; {self.error:.2g} perturbations off the path: the exact one is `popgrad schedule`"
        return use

    def at(self, step: int) -> Value:
        """Return the fitted value of a training step, from 0."""
        if self.curve is not None and self.scale is not None:
            return self.scale.value(float(self.curve(step)))
        return [value for first, value in self.changes if first <= step][-1]

    def row(self) -> dict[str, Any]:
        """Return the explanation as JSON-able values."""
        return {
            "name": self.name,
            "shape": self.shape,
            "description": self.description,
            "error": self.error,
            "fits": self.fits,
            "errors": dict(self.errors),
            "unit": self.unit,
            "base_only": self.base_only,
            "base_rate": self.base_rate,
            "code": self.code,
        }


def explain_schedule(
    schedule: Schedule,
    space: Mapping[str, Dimension] | Space,
    *,
    factors: Sequence[float] = FACTORS,
) -> tuple[Explanation, ...]:
    """Name the simplest shape that fits the path of each hyperparameter, and write the code that makes it.

    Shapes are fitted by least squares in the scale of the dimension, with distances in perturbations.
    Perturbations are the noise of a path, one of them its standard deviation, so the shape chosen has
    the least sum of squares plus twice Schwarz's penalty, 2 ln(phases), for each of its numbers
    (Schwarz 1978, The Annals of Statistics 6, 461-464). It is doubled because the shapes and the step
    of a change are searched too: constants with noise of a perturbation keep their name.

    Args:
        schedule: Schedule of a run, with a phase for each interval.
        space: Dimensions of the hyperparameters; those that are not in the schedule, and constants,
            are left out.
        factors: Factors of a perturbation of the run.

    Returns:
        An explanation of each hyperparameter, in the order of the space.

    Example:
        >>> import popgrad
        >>> rows = [
        ...     {"first_step": 10 * i, "steps": 10, "hparams": {"lr": 0.1 * 0.8**i}} for i in range(10)
        ... ]
        >>> space = popgrad.Space({"lr": popgrad.LogUniform(1e-4, 1.0)})
        >>> (lr,) = explain_schedule(popgrad.Schedule.from_rows(rows), space)
        >>> lr.description
        'exponential from 0.1106 to 0.01187'
        >>> print(lr.code)
        scheduler = torch.optim.lr_scheduler.ExponentialLR(optimizer, gamma=0.977928168678)
    """
    known = schedule.phases[0].hparams
    return tuple(
        _explain(schedule.phases, name, scale_of(dimension, factors))
        for name, dimension in space.items()
        if name in known and not isinstance(dimension, Constant)
    )


def explanations(record: Record, schedule: Schedule) -> tuple[Explanation, ...]:
    """Explain a schedule of a recorded run, with the factors that the run explored with."""
    strategy = record.config.get("strategy")
    factors = strategy.get("factors") if isinstance(strategy, Mapping) else None
    checked = FACTORS if factors is None else check_factors(factors)
    explained = explain_schedule(schedule, record.space, factors=checked)

    interval = record.config.get("interval")
    if isinstance(interval, str) and parse_interval(interval).reports:
        return tuple(replace(each, unit="report") for each in explained)
    return explained


def _explain(phases: Sequence[Phase], name: str, scale: Scale | None) -> Explanation:
    base_only = any(name in phase.live for phase in phases)
    if scale is None:
        return _listed(phases, name, base_only=base_only)

    path = _path(phases, name, scale)
    candidates = list(fits(path))
    n = len(phases)
    errors = {curve: squares(path, curve) for curve in candidates}
    penalty = _PENALTY * math.log(n)
    best = min(candidates, key=lambda curve: errors[curve] + penalty * PARAMETERS[curve.shape])

    needs_math = ""
    base_rate: float | None = None
    if is_rate(name) and not scale.mirrored:
        base_rate, code = scheduler_line(best)
    else:
        code = function_line(name, formula(best, mirrored=scale.mirrored, whole=scale.whole))
    if "math." in code:
        needs_math = "import math\n"
    return Explanation(
        name=name,
        shape=best.shape,
        description=_description(best, scale),
        error=math.sqrt(errors[best] / n),
        code=needs_math + code,
        base_rate=base_rate,
        errors={curve.shape: math.sqrt(total / n) for curve, total in errors.items()},
        base_only=base_only,
        curve=best,
        scale=scale,
    )


def _path(phases: Sequence[Phase], name: str, scale: Scale) -> Path:
    """Return the positions of a hyperparameter in all phases."""
    quantities = [scale.quantity(float(phase.hparams[name])) for phase in phases]
    starts = np.array([phase.first_step for phase in phases], dtype=np.int64)
    lengths = np.array([phase.steps for phase in phases], dtype=np.float64)
    return Path(
        scale,
        scale.position(np.array(quantities)),
        starts + (lengths - 1) / 2,
        starts,
        lengths / lengths.mean(),
        phases[-1].end,
    )


def _description(curve: Curve, scale: Scale) -> str:
    """Return a curve in words, with values in place of quantities."""
    first, last, peak = (f"{scale.value(end):.6g}" for end in (curve.first, curve.last, curve.peak))
    if curve.shape == "constant":
        return f"constant {first}"
    if curve.shape == "step":
        return f"step from {first} to {last} at step {curve.change}"
    if curve.shape == "warm-up":
        return (
            f"warm-up from {first} to {peak} at step {curve.change}, then {curve.decay} to {last}"
        )
    of = " in 1 - value" if scale.mirrored and curve.shape == "exponential" else ""
    return f"{curve.shape}{of} from {first} to {last}"


def _listed(phases: Sequence[Phase], name: str, *, base_only: bool) -> Explanation:
    """Return the list of all changes: exact, and a constant if there is none."""
    changes: list[tuple[int, Value]] = []
    for phase in phases:
        value = phase.hparams[name]
        if not changes or changes[-1][1] != value:
            changes.append((phase.first_step, value))

    values = [value for _, value in changes]
    if len(changes) == 1:
        words, text = f"constant {values[0]}", repr(values[0])
    else:
        later = [f"{value} at step {first}" for first, value in changes[1:]]
        words = f"steps: {values[0]}, then {', '.join(later)}"
        starts = tuple(first for first, _ in changes[1:])
        text = f"{values!r}[sum(step >= first for first in {starts!r})]"
    return Explanation(
        name=name,
        shape="constant" if len(changes) == 1 else "steps",
        description=words,
        error=0.0,
        code=function_line(name, text),
        base_only=base_only,
        changes=tuple(changes),
    )
