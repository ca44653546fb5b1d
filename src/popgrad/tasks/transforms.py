"""Transforms: changes of the state that a member inherits, before it trains.

A transform draws from a stream of the segment, so a replay repeats it bit for bit.
"""

from collections.abc import Callable, Mapping
from typing import Any

from popgrad.core.errors import UsageError
from popgrad.core.plan import Transform
from popgrad.core.population import Hparams
from popgrad.core.seeding import derive
from popgrad.core.spelling import did_you_mean
from popgrad.state import State
from popgrad.tasks.base import Context, Task, Transformable, is_modular
from popgrad.tasks.evaluation import seed_generators

_BUFFERS = ("running_mean", "running_var", "num_batches_tracked")
"""Ends of the names of batch normalisation's buffers."""


def transformed(
    task: Task, state: State, transform: Transform, hparams: Hparams, ctx: Context
) -> State:
    """Return the state that a transform makes of an inherited one.

    Args:
        task: Task of the state.
        state: Inherited state; it may be changed.
        transform: Change to apply.
        hparams: Complete hyperparameters of the heir.
        ctx: Context of the heir's segment.

    Raises:
        UsageError: There is no such transform, a number is missing or unknown, or the state has no
            weights that it knows.
    """
    check_transform(transform)
    function = TRANSFORMS[transform.name]
    seed_generators(derive(ctx.run_seed, "transform", ctx.member, ctx.interval))
    fresh = task.init(hparams, ctx)
    if isinstance(task, Transformable):
        return task.transform(state, fresh, transform)
    if not isinstance(state, dict) or "model" not in state:
        raise UsageError(
            f"transform {transform.name}: expected a state with the weights under 'model', tensors by name, "
            f"but a {type(task).__name__} has none; give the task a method "
            "transform(state, fresh, transform), which returns the new state"
        )
    return function(state, fresh, _parameters(task, state, hparams), **transform.settings)


def shrink_perturb(
    state: State, fresh: State, parameters: set[str], *, keep: float, noise: float
) -> State:
    """Shrink the weights, and add a share of fresh ones: keep * weights + noise * fresh.

    Ash and Adams 2020 (arXiv 1910.08475); IPBT uses 0.2 and 0.1 (Chebykin et al. 2025, arXiv
    2511.09190). Buffers and the states of optimizers are fresh; all else stays: steps, schedulers, the
    position in the data.

    Args:
        state: Inherited state, with tensors by name under "model".
        fresh: State of a fresh member.
        parameters: Names of the weights among the tensors; the others are buffers.
        keep: Share of the inherited weights.
        noise: Share of the fresh weights.

    Example:
        >>> import torch
        >>> old, new = {"model": {"w": torch.ones(1)}}, {"model": {"w": torch.full((1,), 2.0)}}
        >>> shrink_perturb(old, new, {"w"}, keep=0.2, noise=0.1)["model"]["w"]
        tensor([0.4000])
    """
    model = dict(fresh["model"])
    for name in parameters:
        if model[name].is_floating_point():
            model[name] = keep * state["model"][name] + noise * model[name]

    changed = {**state, "model": model}
    if "optimizers" in fresh:
        changed["optimizers"] = fresh["optimizers"]
    if "tracked" in fresh:
        # Of a training loop: the entries with moments are those of optimizers.
        changed["tracked"] = {
            name: fresh["tracked"][name] if "parameters" in entry else entry
            for name, entry in state["tracked"].items()
        }
    return changed


TRANSFORMS: Mapping[str, Callable[..., State]] = {"shrink-perturb": shrink_perturb}
"""Transforms by name: (state, fresh, parameters, **settings) -> state."""

_SETTINGS = {"shrink-perturb": ("keep", "noise")}


def check_transform(transform: Transform) -> None:
    """Refuse a transform that there is not, before a decision with it is recorded.

    Args:
        transform: Transform of a plan.

    Raises:
        UsageError: There is no such transform, or a number is missing or unknown.
    """
    if transform.name not in TRANSFORMS:
        similar = did_you_mean(transform.name, TRANSFORMS)
        raise UsageError(
            f"transform: expected one of {', '.join(TRANSFORMS)}, got {transform.name!r}{similar}"
        )
    expected = _SETTINGS[transform.name]
    if set(transform.settings) != set(expected):
        raise UsageError(
            f"transform {transform.name}: expected the numbers {', '.join(expected)}, "
            f"got {', '.join(transform.settings) or 'none'}"
        )


def _parameters(task: Task, state: Any, hparams: Hparams) -> set[str]:
    """Return the names of the weights among the tensors of a state."""
    names = set(state["model"])
    if is_modular(task):
        module = task.module(state, hparams)
        return names & {name for name, _ in module.named_parameters(remove_duplicate=False)}
    return {name for name in names if not name.endswith(_BUFFERS)}
