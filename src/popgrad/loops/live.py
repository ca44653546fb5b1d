"""Live objects of a loop: filled from a state, compared with the record, and captured as a state."""

from collections.abc import Collection, Iterator, Mapping
from typing import Any

import torch

from popgrad.core.errors import UsageError
from popgrad.core.population import Value
from popgrad.loops.objects import TrackedObjects, address
from popgrad.loops.places import Places, Read, Write
from popgrad.loops.plain import from_plain, plain_values
from popgrad.loops.turn import Report, Turn
from popgrad.state import State
from popgrad.tasks.binding import TrackedHparams
from popgrad.tasks.multipliers import Reads


class LiveLoop:
    """Objects, plain values and counters of one call of a loop's function.

    Args:
        turn: Segment under whose hyperparameters the function is called.

    Attributes:
        turn: Segment that is trained.
        objects: Tracked objects.
        values: Plain values that travel.
        functions: Functions that write, and read or None, by the names of hyperparameters.
        aliases: Options under which hyperparameters live, by their names.
        in_setup: Hyperparameters, for reads before the first boundary.
        in_training: Hyperparameters, for reads behind it.
        rounds: Rounds behind the state.
        samples: Samples behind the state; 0 = they are not counted.
    """

    def __init__(self, turn: Turn) -> None:
        self.turn = turn
        self._made_with = turn.hparams
        self.objects = TrackedObjects()
        self.values: dict[str, Any] = {}
        self.functions: dict[str, tuple[Write, Read | None]] = {}
        self.aliases: dict[str, str] = {}
        self.in_setup = TrackedHparams(turn.hparams, set())
        self.in_training = TrackedHparams(turn.hparams, set())
        self.rounds = 0
        self.samples = 0
        self._places: Places | None = None

    @property
    def has_started(self) -> bool:
        """Whether the first boundary is behind."""
        return self._places is not None

    @property
    def hparams(self) -> TrackedHparams:
        """Hyperparameters, whose reads are noted."""
        return self.in_training if self.has_started else self.in_setup

    def begin(self, turn: Turn) -> None:
        """Begin a segment: load its state, write its hyperparameters, and compare them.

        Raises:
            UsageError: The state or a hyperparameter does not fit.
            RunError: A live value differs from the record.
        """
        self.turn = turn
        self.in_training = TrackedHparams(turn.hparams, self.in_training.seen)
        if self._places is None:
            read = self.in_setup
            reads = Reads(self._options_of(read.read_by_name), read.all_read)
            self._places = self.objects.begin(self.functions, self._options(), reads)
        elif turn.source is not None:
            self.objects.rewrite(self._places, self._options())
        if turn.source is not None:
            self._load(turn.source)
        self._places.call_functions(turn.hparams)
        self.objects.note_options()
        # Without a load, the options are those that the loop has set in the interval before.
        set_before = set() if turn.source is not None else self._options_of(self.in_training.seen)
        moment = "at the start of the interval"
        self._places.check(self._options(), moment, set_before, self.aliases)

    def serves(self, turn: Turn) -> bool:
        """Whether the objects, as they were set up, can train another segment.

        They cannot if the member is fresh, or if a hyperparameter has changed that the setup has read and
        that is not written at a boundary, such as the size of a batch.
        """
        if turn.is_fresh or self._places is None or turn.source is None:
            return False
        if turn.unit != self.turn.unit or turn.ctx.device != self.turn.ctx.device:
            return False

        made = self._made_with
        changed = {name for name, value in turn.hparams.items() if value != made[name]}
        written = self._places.written()
        read_in_setup = {name for name in changed if name in self.in_setup.seen}
        if self._options_of(read_in_setup) - written:
            return False
        return self.objects.loads_in_place(turn.source["tracked"], self._options_of(changed))

    def end(self) -> None:
        """Compare the hyperparameters once more, at the end of a segment.

        Raises:
            UsageError: A hyperparameter reaches nothing.
            RunError: A live value differs from the record.
        """
        assert self._places is not None
        self.objects.keep_groups()
        set_in_training = self._options_of(self.in_training.seen)
        moment = "at the end of the interval"
        self._places.check(self._options(), moment, set_in_training, self.aliases)

        reached = self._places.reached | self._options_of(self.in_setup.seen) | set_in_training
        idle = [name for name in self.turn.hparams if self.aliases.get(name, name) not in reached]
        if idle:
            raise UsageError(
                f"hyperparameter {', '.join(map(repr, idle))} reaches nothing: the function does not read it "
                f"(m[{idle[0]!r}]), and no tracked optimizer or buffer has it; check the spelling, or "
                "remove it from the space"
            )

    def capture(self, report: Report) -> State:
        """Return everything that an heir takes over, as plain data."""
        tracked = self.objects.capture(self.turn.hparams)
        state: State = {}
        main = self.objects.main
        if main is not None:
            # As in the state of a `TorchTask`, so that a network is found in one place.
            state["model"] = tracked[main].pop("tensors", {})
            if "extra_states" in tracked[main]:
                state["extra_states"] = tracked[main].pop("extra_states")

        state["tracked"] = tracked
        self._check_apart()
        state["values"] = plain_values(self.values, "m.state")
        state["rounds"] = self.rounds
        if self.samples:
            state["position"] = self.samples
        state["metrics"] = dict(report.metrics)
        if report.samples:
            state["samples"] = dict(report.samples)
        return state

    def _check_apart(self) -> None:
        """Refuse plain values that are the memory of a tracked object: an heir's would be copies.

        Raises:
            UsageError: Names one, and the object.
        """
        owners = self.objects.memory()
        for path, tensor in _tensors(self.values, "m.state"):
            owner = owners.get(address(tensor))
            if owner is not None:
                raise UsageError(
                    f"{path} is the memory of the tracked {owner}, which continues to change, and an heir "
                    "would get a copy that does not; keep a copy in the first place, tensor.detach().clone()"
                )

    def _load(self, source: State) -> None:
        tracked = dict(source["tracked"])
        main = self.objects.main
        if main is not None and main in tracked:
            extra = source.get("extra_states", {})
            tracked[main] = {**tracked[main], "tensors": source["model"], "extra_states": extra}
        self.objects.load(tracked, self.turn.hparams)

        self.values.clear()
        self.values.update(from_plain(source["values"]))
        self.rounds = source["rounds"]
        self.samples = source.get("position", 0)

    def _options(self) -> dict[str, Value]:
        """Return the hyperparameters by the names of the options that they live under."""
        return {self.aliases.get(name, name): value for name, value in self.turn.hparams.items()}

    def _options_of(self, names: Collection[str]) -> set[str]:
        return {self.aliases.get(name, name) for name in names}


def _tensors(value: Any, path: str) -> Iterator[tuple[str, torch.Tensor]]:
    """Yield the tensors in dictionaries, lists and tuples, with their paths."""
    if isinstance(value, torch.Tensor):
        yield path, value
    elif isinstance(value, Mapping):
        for key, item in value.items():
            yield from _tensors(item, f"{path}[{key!r}]")
    elif isinstance(value, list | tuple):
        for number, item in enumerate(value):
            yield from _tensors(item, f"{path}[{number}]")
