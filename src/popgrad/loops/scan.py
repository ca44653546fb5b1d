"""Scan of a loop's variables for objects that should be tracked and are not."""

import re
import types
from collections.abc import Iterator, Mapping
from contextlib import suppress
from dataclasses import dataclass
from typing import Any, Literal

import torch
from torch import nn

from popgrad.core.population import Hparams
from popgrad.loops.call import call
from popgrad.loops.frames import Variables, user_variables
from popgrad.loops.kinds.generator import GENERATORS
from popgrad.loops.kinds.optimizer import is_optimizer, same_optimizer
from popgrad.loops.kinds.scheduler import is_scheduler
from popgrad.loops.live import LiveLoop
from popgrad.loops.loop import Loop
from popgrad.loops.member import Member
from popgrad.loops.objects import unwrapped
from popgrad.loops.owned import owned_by_tracked
from popgrad.loops.turn import Turn
from popgrad.loops.walk import is_own_object, walk
from popgrad.state import State
from popgrad.tasks.base import Context
from popgrad.tasks.calls import explained

Kind = Literal["object", "generator", "iterator"]

_DEPTH = 3
"""Attributes, keys and positions below a variable that are followed."""

_AVERAGED = re.compile(r"EMA(?![a-z])|Ema(?=[A-Z]|$)|AveragedModel|MovingAverage|WeightAverag")
"""Names of classes that average weights."""

_LOADERS = ("torch.utils.data", "torchdata")


@dataclass(frozen=True)
class Untracked:
    """An object that training changes and no state holds.

    Attributes:
        name: Its variable, such as "sched" or "self.ema".
        type: Name of its class.
        kind: An object with a state, a random generator, or an iterator over data.

    Example:
        >>> print(Untracked("sched", "CosineAnnealingLR", "object"))
        sched (CosineAnnealingLR) is not tracked: heirs and resumed runs would lose it; m.track(sched=sched)
    """

    name: str
    type: str
    kind: Kind

    def __str__(self) -> str:
        return f"{self.name} ({self.type}) {self.loss}; {self.cure}"

    @property
    def loss(self) -> str:
        """The loss, in words."""
        if self.kind == "iterator":
            return "is kept from round to round: its position is lost at each boundary"
        if self.kind == "generator":
            return "is not tracked: it would start again in each interval"
        return "is not tracked: heirs and resumed runs would lose it"

    @property
    def cure(self) -> str:
        """The change of the loop that removes the finding."""
        if self.kind == "iterator":
            return "begin a new one inside of `for _ in m`, or take m.batches(loader)"
        key = (re.findall(r"[A-Za-z_]\w*", self.name) or ["name"])[-1]
        return f"m.track({key}={self.name})"


def scan_setup(loop: Loop, hparams: Hparams, ctx: Context) -> list[Untracked]:
    """Run the setup of a loop, up to its first boundary, and return what it does not track.

    The caller seeds the global generators and restores them, see `evaluation.seeded`.

    Args:
        loop: The loop.
        hparams: Complete hyperparameters of a member.
        ctx: Context of its first segment.

    Raises:
        UsageError: The setup fails; the message names the line of the user's code.
    """
    turn = loop.turn(hparams, ctx, 0, None)
    scan = _Scan(loop, turn)
    member = Member(turn, scan)
    scan.live = member.live
    turn.seed_setup()
    with explained(f"loop {loop.name}", "the setup"):
        call(loop.function, member, loop.name)
    return scan.found


class _Scan:
    """Hand-over of a loop that ends at its first boundary.

    Attributes:
        live: Objects of the loop.
        found: Objects that it does not track.
    """

    def __init__(self, loop: Loop, turn: Turn) -> None:
        self._loop = loop
        self._turn = turn
        self.live: LiveLoop | None = None
        self.found: list[Untracked] = []

    def begin(self) -> Turn:
        """Return the segment of no steps."""
        return self._turn

    def end(self, state: State, *, over: bool) -> None:
        """Scan the variables."""
        del state, over
        assert self.live is not None
        self.found = find_untracked(self.live, user_variables(self._loop.function))


def find_untracked(live: LiveLoop, variables: Variables) -> list[Untracked]:
    """Return the untracked objects that training is bound to change.

    These are schedulers, optimizers and what they train, gradient scalers, averages of weights, loaders with
    a position, random generators, and iterators over a loader. Constants, such as a loss function, are none.

    Args:
        live: Objects of the loop.
        variables: Variables of the loop.
    """
    objects = dict(untracked_objects(live, variables))
    optimizers = [each for each in objects.values() if _is_optimizer(each)]
    trained = _parameters([*optimizers, *live.objects.optimizers.values()])
    found: list[Untracked] = []
    for name, each in objects.items():
        with suppress(Exception):
            kind = _kind(each, trained)
            if kind is not None:
                found.append(Untracked(name, type(each).__name__, kind))
    return found


def untracked_objects(live: LiveLoop, variables: Variables) -> list[tuple[str, Any]]:
    """Return the objects below the variables, by name, that are no part of what is tracked.

    Args:
        live: Objects of the loop.
        variables: Variables of the loop.
    """
    owned = owned_by_tracked(live.objects.objects)
    tracked = list(live.objects.optimizers.values())
    tensors = {id(each) for module in live.objects.modules.values() for each in _tensors(module)}
    found: list[tuple[str, Any]] = []
    for name, each in walk(variables, _DEPTH, owned):
        # Attributes of a foreign object may raise anything.
        with suppress(Exception):
            if is_own_object(each) or id(unwrapped(each)) in owned:
                continue
            if _is_optimizer(each) and any(same_optimizer(each, other) for other in tracked):
                continue
            if isinstance(each, nn.Module) and {id(own) for own in _tensors(each)} <= tensors:
                continue
            found.append((name, each))
    return found


def _kind(candidate: Any, trained: set[int]) -> Kind | None:
    """Return the kind of an object that training changes; None for any other."""
    if isinstance(candidate, GENERATORS):
        return None if candidate is torch.default_generator else "generator"
    if iterates_data(candidate):
        return "iterator"
    if _is_averaged(candidate) or _has_position(candidate):
        return "object"
    if isinstance(candidate, nn.Module):
        is_trained = any(id(each) in trained for each in candidate.parameters())
        return "object" if is_trained else None
    if is_scheduler(candidate) or is_optimizer(candidate) or _is_scaler(candidate):
        return "object"
    return None


def _is_optimizer(candidate: Any) -> bool:
    return is_optimizer(candidate) and not isinstance(candidate, nn.Module)


def _parameters(optimizers: list[Any]) -> set[int]:
    """Return the `id` of each parameter that an optimizer trains."""
    groups = [group for optimizer in optimizers for group in optimizer.param_groups]
    return {id(parameter) for group in groups for parameter in group["params"]}


def _tensors(module: nn.Module) -> Iterator[torch.Tensor]:
    yield from module.parameters()
    yield from module.buffers()


def _is_scaler(candidate: Any) -> bool:
    is_one = any(kind.__name__ == "GradScaler" for kind in type(candidate).__mro__)
    return is_one and bool(candidate.is_enabled())


def _is_averaged(candidate: Any) -> bool:
    """Whether an object averages weights: it has tensors, and a class that is named for it."""
    named = any(_AVERAGED.search(kind.__name__) for kind in type(candidate).__mro__)
    if not named:
        return False
    if isinstance(candidate, nn.Module) or hasattr(candidate, "state_dict"):
        return True
    values = getattr(candidate, "__dict__", {})
    return any(isinstance(each, torch.Tensor) for _, each in walk(values, 2, set()))


def _has_position(candidate: Any) -> bool:
    """Whether an object is a loader or a sampler that returns its position."""
    names = [kind.__name__ for kind in type(candidate).__mro__]
    is_loader = any(name.endswith(("Loader", "Sampler")) for name in names)
    has_state = hasattr(candidate, "state_dict") and hasattr(candidate, "load_state_dict")
    # The loaders of Accelerate always have both methods.
    return is_loader and has_state and getattr(candidate, "use_stateful_dataloader", True)


def iterates_data(candidate: Any) -> bool:
    """Whether an object is an unfinished iterator over a loader."""
    kind = type(candidate)
    if kind.__module__ == "itertools":
        return kind.__name__ == "cycle"
    if isinstance(candidate, types.GeneratorType):
        values: Mapping[str, Any] = candidate.gi_frame.f_locals if candidate.gi_frame else {}
        return any(is_loader(each) or iterates_data(each) for each in values.values())
    return kind.__module__.startswith(_LOADERS) and kind.__name__.endswith("Iter")


def is_loader(candidate: Any) -> bool:
    """Whether an object is a loader of torch."""
    return isinstance(candidate, torch.utils.data.DataLoader)
