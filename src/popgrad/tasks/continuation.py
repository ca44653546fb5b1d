"""Check that training cut in two is the training uncut: that a state holds all that the next steps need."""

import json
from collections.abc import Collection, Iterator

import torch
from torch import nn

from popgrad.core.errors import UsageError
from popgrad.core.population import Hparams
from popgrad.core.seeding import derive
from popgrad.state import State, flatten, unflatten
from popgrad.tasks.base import Context
from popgrad.tasks.comparison import Difference, differences, same
from popgrad.tasks.evaluation import (
    generator_states,
    restore_generators,
    seed_generators,
    seeded,
)
from popgrad.tasks.learner import Learner
from popgrad.tasks.torch_task import TorchTask
from popgrad.tasks.training import Training

_STEPS = 2
"""Steps before the cut, and behind it. A moment that is lost shows in the first step that uses it."""

_SHOWN = 3
"""Differences that a message lists."""


def check_continuation(task: TorchTask, hparams: Hparams, ctx: Context) -> None:
    """Check that a few steps straight on equal the same steps with a cut in the middle.

    The same steps are trained twice with the same draws. The second time, the first half ends in a
    state, which is copied as a checkpoint is and loaded into a fresh learner for the second half.
    It costs six steps of training. Differences of a rounding are no fault, and training that is not
    repeatable is not judged.

    Args:
        task: Task to check.
        hparams: Complete hyperparameters of a member.
        ctx: Context of the segment: device and seeds.

    Raises:
        UsageError: The two differ; the message names the tensors and numbers that differ, and the
            attributes that the state has lost.

    Example:
        >>> from popgrad.tasks import digits
        >>> check_continuation(digits(), {"lr": 0.01, "keep_prob": 0.9}, Context())
    """
    with seeded(ctx):
        state = _first_state(task, hparams, ctx)
        whole = _train_whole(task, hparams, ctx, state)
        cut = _train_cut(task, hparams, ctx, whole)
        found = list(differences(whole.end, cut.end))
        # A layout of memory may differ after loading, and so may the order of a sum.
        if all(each.is_rounding() for each in found):
            return
        if list(differences(whole.end, _train_whole(task, hparams, ctx, state).end)):
            return  # not repeatable: a comparison is no proof
    raise UsageError(_message(found, cut.lost))


class _Whole:
    """Training straight on: its state and its draws at the cut, and its final state."""

    def __init__(self, training: Training) -> None:
        learner = training.learner
        self.learner = learner
        self.middle = learner.state(steps=_STEPS, position=training.position)
        self.attributes = dict(_attributes(learner))
        self.generators = generator_states()
        self.streams = [stream.get_state() for stream in training.streams()]
        self.end: State = {}


class _Cut:
    """Training that continues from a state: what the state has lost, and the final state."""

    def __init__(self, lost: list[str], end: State) -> None:
        self.lost = lost
        self.end = end


def _first_state(task: TorchTask, hparams: Hparams, ctx: Context) -> State:
    seed_generators(derive(ctx.run_seed, "init", ctx.member, ctx.interval))
    return task.init(hparams, ctx)


def _train_whole(task: TorchTask, hparams: Hparams, ctx: Context, state: State) -> _Whole:
    """Train all steps with one learner."""
    seed_generators(ctx.library_seed("train"))
    learner = task.learner(hparams, ctx.device, _copy(state))
    training = task.training(learner, hparams, ctx, state["position"])
    _take_steps(training)
    whole = _Whole(training)
    _take_steps(training)
    whole.end = learner.state(steps=2 * _STEPS, position=training.position)
    return whole


def _train_cut(task: TorchTask, hparams: Hparams, ctx: Context, whole: _Whole) -> _Cut:
    """Train the second half with a learner that loads the state at the cut."""
    state = _copy(whole.middle)
    learner = task.learner(hparams, ctx.device, state)
    training = task.training(learner, hparams, ctx, state["position"])
    attributes = dict(_attributes(learner))
    lost = [
        f"{name} is {value!r}, and {attributes[name]!r} after the state is loaded"
        for name, value in whole.attributes.items()
        if name in attributes and not same(value, attributes[name])
    ]
    lost += [
        f"{each.path} ({each.values}) after the state is loaded"
        for each in differences(
            whole.middle, learner.state(steps=_STEPS, position=training.position)
        )
    ]

    restore_generators(whole.generators)
    for stream, draws in zip(training.streams(), whole.streams, strict=True):
        stream.set_state(draws)
    _take_steps(training)
    return _Cut(lost, learner.state(steps=2 * _STEPS, position=training.position))


def _take_steps(training: Training) -> None:
    for _ in range(_STEPS):
        training.step()
        training.learner.step_schedulers()


def _copy(state: State) -> State:
    """Return a state as a checkpoint gives it back."""
    tree, leaves = flatten(state)
    copies = [leaf.clone(memory_format=torch.contiguous_format) for leaf in leaves]
    return unflatten(json.loads(json.dumps(tree)), copies)  # type: ignore[no-any-return]


# --- attributes, which no state holds -------------------------------------------------------------

_PLAIN = (bool, int, float, str, type(None))


def _attributes(learner: Learner) -> Iterator[tuple[str, object]]:
    """Yield plain attributes of modules, optimizers and schedulers, which explain a difference."""
    for path, module in learner.module.named_modules():
        where = f"of module {path!r}" if path else "of the module"
        yield from _plain(module, where, vars(nn.Module()).keys())
    for name, optimizer in learner.optimizers.items():
        yield from _plain(optimizer, f"of optimizer {name!r}", {"param_groups", "state"})
    for name, schedule in learner.schedules.items():
        yield from _plain(schedule.scheduler, f"of the scheduler of {name!r}", {"optimizer"})


def _plain(owner: object, where: str, skipped: Collection[str]) -> Iterator[tuple[str, object]]:
    for name, value in vars(owner).items():
        if name in skipped or name.startswith("_"):
            continue
        if isinstance(value, _PLAIN):
            yield f"attribute {name!r} {where}", value
        elif isinstance(value, torch.Tensor):
            yield f"attribute {name!r} {where}", value.detach().clone()
        elif isinstance(value, list | tuple) and all(isinstance(each, _PLAIN) for each in value):
            yield f"attribute {name!r} {where}", list(value)


def _message(found: list[Difference], lost: list[str]) -> str:
    ends = "; ".join(map(str, found[:_SHOWN]))
    more = f", and {len(found) - _SHOWN} more" if len(found) > _SHOWN else ""
    cause = (
        f"lost at the cut: {'; '.join(lost[:_SHOWN])}"
        if lost
        else "what is lost is outside of the module and the optimizers, as in a closure or a global"
    )
    return (
        f"training that is cut in two by a state is not the training uncut: {ends}{more}; {cause}; "
        "keep it in a buffer of the module, or return it from get_extra_state"
    )
