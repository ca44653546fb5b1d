"""Hyperparameters of Stable-Baselines3, by the names of its constructors' arguments: where they live."""

import inspect
import math
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

from popgrad.core.errors import UsageError
from popgrad.loops.member import Member
from popgrad.loops.places import Read, Write

_BUFFERS = ("rollout_buffer", "replay_buffer")

_ATTRIBUTES = {
    "batch_size",
    "ent_coef",
    "gae_lambda",
    "gamma",
    "gradient_steps",
    "max_grad_norm",
    "n_epochs",
    "normalize_advantage",
    "policy_delay",
    "sde_sample_freq",
    "target_kl",
    "target_noise_clip",
    "target_policy_noise",
    "target_update_interval",
    "tau",
    "vf_coef",
}
"""Arguments that algorithms read from their attributes each time, so that a write takes effect.

Those that are read before the first hook of a rollout, such as `n_steps` and `learning_starts`, are not here.
"""

_SCHEDULES = {
    "learning_rate": "lr_schedule",
    "clip_range": "clip_range",
    "clip_range_vf": "clip_range_vf",
}
"""Arguments that are kept as functions of the progress, and the attributes that hold these."""

_EXPLORATION = {
    "exploration_initial_eps": "start",
    "exploration_final_eps": "end",
    "exploration_fraction": "end_fraction",
}
"""Arguments of DQN, and the attributes of its schedule."""


@dataclass(frozen=True)
class Place:
    """Functions of a hyperparameter.

    Attributes:
        write: Sets its value in every place that is read in training.
        read: Returns the live value.
    """

    write: Write
    read: Read


def bind(member: Member, model: Any) -> None:
    """Make the hyperparameters of a member live in a model, and compare what setup has made of them.

    Args:
        member: Member before its first boundary.
        model: Algorithm of Stable-Baselines3.

    Raises:
        UsageError: The model was made with another value than the member's, or trains it itself.
    """
    hparams = member.live.turn.hparams
    read_in_setup = set(member.live.in_setup.read_by_name)
    taken = inspect.signature(type(model).__init__).parameters

    for name in hparams:
        argument = name
        if name == "lr" and "learning_rate" not in hparams:
            argument = "learning_rate"
        if argument not in taken or name in member.live.functions:
            continue

        place = _place(model, argument, hparams[name])
        if place is not None:
            if name in read_in_setup and not _equal(hparams[name], place.read()):
                raise _differs(model, name, argument, place.read(), hparams[name])
            member.on(**{name: (place.write, place.read)})
        elif name == "lr":
            raise UsageError(
                "lr: the learning rate is a function of the progress here, which sets that of the optimizer; "
                'call the hyperparameter "learning_rate"'
            )
        elif argument not in _SCHEDULES:
            # A function of the progress that reads the hyperparameter is rebuilt with the model.
            _check_setup(member, model, name)


def _place(model: Any, name: str, value: Any) -> Place | None:
    """Return the functions of an argument; None if only a new model takes another value."""
    if name in _SCHEDULES:
        return _schedule(model, name)
    if name in _EXPLORATION and hasattr(model, "exploration_schedule"):
        return _exploration(model, _EXPLORATION[name])
    if name == "ent_coef" and hasattr(model, "ent_coef_optimizer"):
        return _temperature(model, value)
    if name in _ATTRIBUTES and hasattr(model, name):
        return _attributes(model, name)
    return None


def _attributes(model: Any, name: str) -> Place:
    """Return the functions of an attribute of the model, and of the buffers that keep a copy of it."""
    owners = [model]
    buffers = [getattr(model, buffer, None) for buffer in _BUFFERS]
    if name in ("gamma", "gae_lambda"):
        owners += [buffer for buffer in buffers if hasattr(buffer, name)]
    normalizer = model.get_vec_normalize_env()
    if name == "gamma" and getattr(normalizer, "gamma", None) == model.gamma:
        owners.append(normalizer)

    def write(value: Any) -> None:
        for owner in owners:
            setattr(owner, name, value)

    return Place(write, lambda: _only(getattr(owner, name) for owner in owners))


def _schedule(model: Any, name: str) -> Place | None:
    """Return the functions of a constant schedule; the rate is that of all optimizers as well."""
    attribute = _SCHEDULES[name]
    schedule = getattr(model, attribute, None)
    if schedule is not None and not _is_constant(schedule):
        return None

    def write(value: Any) -> None:
        from stable_baselines3.common.utils import FloatSchedule

        setattr(model, attribute, FloatSchedule(float(value)))
        if name == "learning_rate":
            model.learning_rate = value
            for group in _groups(model):
                group["lr"] = float(value)

    def read() -> Any:
        live = getattr(model, attribute)
        values = [None if live is None else live(model._current_progress_remaining)]
        if name == "learning_rate":
            values += [group["lr"] for group in _groups(model)]
        return _only(values)

    return Place(write, read)


def _exploration(model: Any, attribute: str) -> Place:
    """Return the functions of a number of the schedule of exploration; its rate is computed again."""

    def write(value: Any) -> None:
        schedule = model.exploration_schedule
        if _equal(value, getattr(schedule, attribute)):
            return
        setattr(schedule, attribute, value)
        if model.num_timesteps:
            model.exploration_rate = schedule(model._current_progress_remaining)

    return Place(write, lambda: getattr(model.exploration_schedule, attribute))


def _temperature(model: Any, value: Any) -> Place | None:
    """Return the functions of the entropy coefficient of SAC, which keeps it as a tensor."""
    if isinstance(value, str):
        return None  # "auto"
    if model.ent_coef_optimizer is not None:
        raise UsageError(
            f"ent_coef: {type(model).__name__} was made with ent_coef={model.ent_coef!r} and trains it "
            'itself; pass ent_coef=m["ent_coef"], or remove it from the space'
        )

    def write(value: Any) -> None:
        model.ent_coef = value
        model.ent_coef_tensor.fill_(float(value))

    return Place(write, lambda: model.ent_coef_tensor.item())


def _check_setup(member: Member, model: Any, name: str) -> None:
    """Compare an argument that only a new model takes, such as the length of a rollout."""
    live = getattr(model, name, None)
    # Steps or episodes of a rollout.
    live = getattr(live, "frequency", live)
    if type(live) in (bool, int, float, str) and not _equal(member[name], live):
        raise _differs(model, name, name, live, member[name])


def _groups(model: Any) -> Iterator[dict[str, Any]]:
    """Yield the parameter groups of all optimizers."""
    for _, owner in saved_parts(model):
        if hasattr(owner, "param_groups"):
            yield from owner.param_groups


def saved_parts(model: Any) -> Iterator[tuple[str, Any]]:
    """Yield modules, optimizers and trained tensors of an algorithm by name, as it lists them to save."""
    names, tensors = model._get_torch_save_params()
    for name in [*names, *tensors]:
        owner = model
        for attribute in name.split("."):
            owner = getattr(owner, attribute)
        # A tensor that is not trained is a hyperparameter.
        if name in names or owner.requires_grad:
            yield name, owner


def _is_constant(schedule: Any) -> bool:
    return hasattr(getattr(schedule, "value_schedule", schedule), "val")


def _only(values: Any) -> Any:
    """Return the value of all places; if they differ, the first that differs from the first."""
    first, *others = values
    return next((other for other in others if other != first), first)


def _equal(recorded: Any, live: Any) -> bool:
    numbers = isinstance(recorded, int | float) and isinstance(live, int | float)
    return math.isclose(recorded, live, rel_tol=1e-6) if numbers else bool(recorded == live)


def _differs(model: Any, name: str, argument: str, live: Any, recorded: Any) -> UsageError:
    kind = type(model).__name__
    return UsageError(
        f"{name}: the member has {recorded!r}, and {kind} was made with {live!r}; pass it unchanged, "
        f"{kind}(..., {argument}=m[{name!r}]), or give the hyperparameter another name than that of the "
        "argument"
    )
