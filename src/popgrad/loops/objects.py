"""Objects that a loop tracks: everything that an heir inherits from its donor."""

from collections.abc import Collection, Iterator, Mapping
from typing import Any

import torch
from torch import nn
from torch.nn.parameter import is_lazy

from popgrad.core.errors import UsageError
from popgrad.core.population import Hparams
from popgrad.loops.kinds.base import Part
from popgrad.loops.kinds.generator import GENERATORS, GeneratorPart
from popgrad.loops.kinds.module import ModulePart, TensorPart
from popgrad.loops.kinds.optimizer import OptimizerPart, is_optimizer, same_optimizer
from popgrad.loops.kinds.scheduler import SchedulerPart, is_scheduler
from popgrad.loops.kinds.stateful import Stateful, StatefulPart
from popgrad.loops.places import Places, Read, Write
from popgrad.state import State
from popgrad.tasks.multipliers import Reads

MAIN = "model"
"""Name of the module that the trained network is taken from; a single module may have any name."""


class TrackedObjects:
    """Objects by the names that they are tracked by, in order.

    Example:
        >>> tracked = TrackedObjects()
        >>> tracked.add({"model": nn.Linear(1, 1), "extra": [torch.zeros(2), None]})
        >>> list(tracked.objects)
        ['model', 'extra.0']

    Attributes:
        objects: The objects.
    """

    def __init__(self) -> None:
        self.objects: dict[str, Any] = {}
        self._parts: dict[str, Part] = {}

    def add(self, objects: Mapping[str, Any]) -> None:
        """Track objects, lists and mappings of them; None is skipped.

        Raises:
            UsageError: An object has no state that could be read and written, or a name is taken.
        """
        for name, given in _flat(objects):
            own = unwrapped(given)
            if name in self.objects and self.objects[name] is not own:
                raise UsageError(f"m.track: {name!r} is tracked already, as another object")
            _check(name, own)
            self.objects[name] = own

    @property
    def modules(self) -> dict[str, nn.Module]:
        """Tracked modules by name."""
        return {name: each for name, each in self.objects.items() if isinstance(each, nn.Module)}

    @property
    def optimizers(self) -> dict[str, Any]:
        """Tracked optimizers by name."""
        return {
            name: each
            for name, each in self.objects.items()
            if not isinstance(each, nn.Module) and is_optimizer(each)
        }

    @property
    def schedulers(self) -> dict[str, Any]:
        """Tracked schedulers by name."""
        return {name: each for name, each in self.objects.items() if is_scheduler(each)}

    @property
    def main(self) -> str | None:
        """Name of the module that the trained network is taken from; None = there is none."""
        modules = list(self.modules)
        if MAIN in modules:
            return MAIN
        return modules[0] if len(modules) == 1 else None

    def memory(self) -> dict[int | None, str]:
        """Return the name of the object by the address of each tracked tensor, see `address`."""
        found: dict[int | None, str] = {}
        for name, each in self.objects.items():
            if isinstance(each, nn.Module):
                found |= {address(tensor): name for tensor in (*each.parameters(), *each.buffers())}
            elif isinstance(each, torch.Tensor):
                found[address(each)] = name
        found.pop(None, None)
        return found

    def begin(
        self, functions: Mapping[str, tuple[Write, Read | None]], hparams: Hparams, reads: Reads
    ) -> Places:
        """Write the hyperparameters into the objects, and prepare to capture and load.

        Args:
            functions: Functions that write and read hyperparameters, by name.
            hparams: Complete hyperparameters.
            reads: Names that the function has read.

        Raises:
            UsageError: An object cannot be tracked beside the others.
        """
        schedulers = list(self.schedulers.values())
        places = Places(
            self.modules.values(), self.optimizers, schedulers, functions, hparams, reads
        )
        owners = dict(self._parameters())
        self._parts = {}
        for name, each in self.objects.items():
            self._parts[name] = self._make_part(name, each, owners, places)
        return places

    def _parameters(self) -> Iterator[tuple[int, str]]:
        """Yield the `id` and the name of each tracked parameter and tensor."""
        for name, each in reversed(self.objects.items()):
            if isinstance(each, nn.Module):
                yield from ((id(p), f"{name}.{path}") for path, p in each.named_parameters())
            elif isinstance(each, torch.Tensor):
                yield id(each), name

    def _make_part(
        self, name: str, tracked: Any, owners: Mapping[int, str], places: Places
    ) -> Part:
        if isinstance(tracked, nn.Module):
            return ModulePart(name, tracked)
        if isinstance(tracked, torch.Tensor):
            return TensorPart(name, tracked)
        if isinstance(tracked, GENERATORS):
            return GeneratorPart(name, tracked)
        if is_scheduler(tracked):
            return SchedulerPart(name, tracked)
        if is_optimizer(tracked):
            own = [
                each for each in self.schedulers.values() if same_optimizer(each.optimizer, tracked)
            ]
            return OptimizerPart(name, tracked, owners, own, places.bound())
        return StatefulPart(name, tracked)

    def rewrite(self, places: Places, hparams: Hparams) -> None:
        """Write other hyperparameters into objects that have been trained.

        Args:
            places: Result of `begin`.
            hparams: Complete hyperparameters, by the names of their options.
        """
        owners = dict(self._parameters())
        for part in self._parts.values():
            if isinstance(part, OptimizerPart):
                part.reset()
        places.rewrite(hparams)
        for name, optimizer in self.optimizers.items():
            self._parts[name] = self._make_part(name, optimizer, owners, places)

    def loads_in_place(self, saved: State, changed: Collection[str]) -> bool:
        """Whether objects that have been trained can take over a state.

        Args:
            saved: States of all objects, by name.
            changed: Names of options that other hyperparameters would change.
        """
        return all(
            part.loads_in_place(saved[name], changed)
            for name, part in self._parts.items()
            if isinstance(part, SchedulerPart)
        )

    def capture(self, hparams: Hparams) -> State:
        """Return a copy of the states of all objects, by name."""
        return {name: part.capture(hparams) for name, part in self._parts.items()}

    def load(self, saved: State, hparams: Hparams) -> None:
        """Load states into the objects: modules first, then optimizers, then schedulers.

        Raises:
            UsageError: The objects are others than in the state, or one does not fit.
        """
        if list(saved) != list(self._parts):
            raise UsageError(
                f"the inherited state holds {', '.join(saved) or 'nothing'}, and the loop now tracks "
                f"{', '.join(self._parts) or 'nothing'}; it has to track the same objects in the same order "
                "under all hyperparameters but init-only ones"
            )
        for name in sorted(self._parts, key=self._rank):
            self._parts[name].load(saved[name], hparams)

    def keep_groups(self) -> None:
        """Make the groups the objects that they were, if the loop has loaded an optimizer's state."""
        for part in self._parts.values():
            if isinstance(part, OptimizerPart):
                part.keep_groups()

    def note_options(self) -> None:
        """Note the options of optimizers that functions have written, which are no running numbers."""
        for part in self._parts.values():
            if isinstance(part, OptimizerPart):
                part.note_options()

    def _rank(self, name: str) -> int:
        # A scheduler starts from options that its optimizer resets as it loads.
        return int(name in self.optimizers) + 2 * int(name in self.schedulers)


def address(tensor: torch.Tensor) -> int | None:
    """Return the address of the memory that a tensor shares with its views; None if it has none."""
    if tensor.layout != torch.strided or is_lazy(tensor):
        return None
    return tensor.untyped_storage().data_ptr() or None


def unwrapped(candidate: Any) -> Any:
    """Return the optimizer or scheduler that Accelerate has wrapped; any other object as it is."""
    if type(candidate).__name__ in ("AcceleratedOptimizer", "AcceleratedScheduler"):
        return getattr(candidate, type(candidate).__name__.removeprefix("Accelerated").lower())
    return candidate


def _flat(objects: Mapping[Any, Any], prefix: str = "") -> Iterator[tuple[str, Any]]:
    """Yield objects by name, those of lists and mappings as "name.key"."""
    for name, value in objects.items():
        path = f"{prefix}{name}"
        if value is None:
            continue
        # Modules that hold others are modules.
        if isinstance(value, list | tuple):
            yield from _flat(dict(enumerate(value)), f"{path}.")
        elif isinstance(value, dict):
            yield from _flat(value, f"{path}.")
        else:
            yield path, value


def _check(name: str, tracked: Any) -> None:
    if isinstance(tracked, type):
        raise UsageError(f"m.track: {name} is the class {tracked.__name__}; track an object of it")
    if isinstance(tracked, (nn.Module, torch.Tensor, Stateful, *GENERATORS)):
        return
    if isinstance(tracked, bool | int | float | str):
        cure = f"keep it in m.state: m.state[{name!r}] = {tracked!r:.40}"
    else:
        cure = (
            "expected a module, an optimizer, a scheduler, a generator, a tensor, or an object with "
            "state_dict() and load_state_dict(state)"
        )
    raise UsageError(f"m.track: {name} is a {type(tracked).__name__}, which has no state; {cure}")
