"""A task made of a training loop."""

import functools
import inspect
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Literal, Self, overload

import torch
from torch import nn

from popgrad.core.errors import UsageError
from popgrad.core.population import Hparams
from popgrad.core.score import named_score
from popgrad.core.space import Space
from popgrad.loops.call import Function, train_once
from popgrad.loops.objects import MAIN
from popgrad.loops.plain import from_plain
from popgrad.loops.reuse import close_waiting, train_waiting
from popgrad.loops.turn import Turn, Unit
from popgrad.metrics import as_numbers
from popgrad.state import State
from popgrad.tasks.base import Context, Split
from popgrad.tasks.parts import as_space
from popgrad.tasks.tensors import load_extra_states, load_tensors

Reuse = bool | Literal["auto"]


@overload
def loop(
    function: Function,
    *,
    space: Space | Mapping[str, Any],
    score: str | None = None,
    minimize: str | None = None,
    evaluate: Callable[..., Mapping[str, float]] | None = None,
    module: Callable[[Hparams], nn.Module] | None = None,
    reuse: Reuse = False,
) -> "Loop": ...


@overload
def loop(
    *,
    space: Space | Mapping[str, Any],
    score: str | None = None,
    minimize: str | None = None,
    evaluate: Callable[..., Mapping[str, float]] | None = None,
    module: Callable[[Hparams], nn.Module] | None = None,
    reuse: Reuse = False,
) -> "Callable[[Function], Loop]": ...


def loop(
    function: Function | None = None,
    *,
    space: Space | Mapping[str, Any],
    score: str | None = None,
    minimize: str | None = None,
    evaluate: Callable[..., Mapping[str, float]] | None = None,
    module: Callable[[Hparams], nn.Module] | None = None,
    reuse: Reuse = False,
) -> "Loop | Callable[[Function], Loop]":
    """Make a task of a training loop. It is a decorator too: `@popgrad.loop(space=..., score=...)`.

    Args:
        function: Function that takes a `Member`, sets up its model, tracks what travels, and trains in
            `for _ in m`, with one `m.report(...)` a round. It may be a generator function that yields the
            metrics instead. It is called for each segment.
        space: Hyperparameters that are searched.
        score: Metric that ranks, higher is better; "-loss" ranks by the lowest loss.
        minimize: Metric that ranks, lower is better; it takes the place of `score`.
        evaluate: (trained module in evaluation mode, split) -> metrics, for the test split. Without
            `module` it gets the states of the tracked objects by name, in place of the module.
        module: hparams -> module like the tracked one, which is the one named "model" or the only one.
            With it a run writes best.safetensors, and `load_model` works.
        reuse: Whether a loop may train several segments: True, or "auto" = only if the check finds
            nothing that leaks from one to the next, decided and recorded at the start of a run.

    Raises:
        UsageError: An argument is wrong.

    Example:
        >>> import popgrad
        >>> @popgrad.loop(space={"lr": popgrad.LogUniform(1e-3, 1.0)}, minimize="loss")
        ... def train(m):
        ...     m.state["x"] = 1.0
        ...     for _ in m:
        ...         m.state["x"] -= m["lr"] * 2.0 * m.state["x"]
        ...         m.report(loss=m.state["x"] ** 2)
        >>> result = popgrad.run(train, population=4, intervals=3, executor="serial", progress=False)
        >>> result.stopped
        'finished'
    """
    values: dict[str, Any] = {
        "space": as_space(space),
        "score": named_score(score, minimize, "loop: "),
        "test": evaluate,
        "network": module,
        "reuse": reuse,
    }
    if values["score"] is None:
        raise UsageError(
            'loop: score: expected the name of the metric that ranks, such as score="accuracy" or '
            'minimize="loss", got none'
        )
    if reuse not in (True, False, "auto"):
        raise UsageError(f'loop: reuse: expected True, False or "auto", got {reuse!r:.80}')
    for name, given in (("evaluate", evaluate), ("module", module)):
        if given is not None and not callable(given):
            raise UsageError(f"loop: {name}: expected a function, got a {type(given).__name__}")
    if function is None:
        return lambda own: Loop(function=_check_function(own), **values)
    return Loop(function=_check_function(function), **values)


def _check_function(function: Any) -> Function:
    if isinstance(function, Loop):
        raise UsageError("loop: the function is a loop already")
    if not callable(function):
        raise UsageError(f"loop: expected a function that takes a member, got {function!r:.80}")
    if inspect.iscoroutinefunction(function):
        raise UsageError(
            "loop: expected a plain function or a generator function, got one with async"
        )
    try:
        inspect.signature(function).bind(None)
    except TypeError:
        taken = inspect.signature(function)
        raise UsageError(
            f"loop: expected a function of one argument, the member, got one of {taken}; fix the others: "
            "functools.partial(function, name=value)"
        ) from None
    except ValueError:  # no signature
        pass
    return function  # type: ignore[no-any-return]


@dataclass(frozen=True, eq=False, kw_only=True)
class Loop:
    """Task of a training loop, see `loop`.

    The state holds the tracked objects, plain values, the number of rounds and the metrics, as plain data.

    Attributes:
        function: The loop.
        space: Hyperparameters that are searched.
        score: Metric that ranks, for `Score.parse`.
        test: Evaluation on another split than that of the reports; None = there is none.
        network: hparams -> module; None = the states are no networks.
        reuse: Whether a loop may train several segments.
        unit: Unit of an interval.
    """

    function: Function
    space: Space
    score: str
    test: Callable[..., Mapping[str, float]] | None = None
    network: Callable[[Hparams], nn.Module] | None = None
    reuse: Reuse = False
    unit: Unit = "reports"

    @property
    def name(self) -> str:
        """Name of the function."""
        function = self.function
        while isinstance(function, functools.partial):
            function = function.func
        return getattr(function, "__name__", type(function).__name__)

    @property
    def has_module(self) -> bool:
        """Whether the states are networks."""
        return self.network is not None

    @property
    def has_test(self) -> bool:
        """Whether states can be evaluated on another split than that of the reports."""
        return self.test is not None

    def in_unit(self, unit: Unit) -> Self:
        """Return the task with intervals in another unit."""
        return replace(self, unit=unit)

    def turn(self, hparams: Hparams, ctx: Context, steps: int, source: State | None) -> Turn:
        """Return a segment of this loop.

        Args:
            hparams: Complete hyperparameters.
            ctx: Context of the segment.
            steps: Length in the loop's unit; 0 = up to the first boundary.
            source: State to start from; None = a fresh member.
        """
        return Turn(hparams, ctx, steps, self.unit, source, self.score)

    def init(self, hparams: Hparams, ctx: Context) -> State:
        """Return the state of a fresh member: the function is called up to its first boundary."""
        turn = self.turn(hparams, ctx, 0, None)
        return train_once(self.function, self.name, turn)

    def train(self, state: State, hparams: Hparams, steps: int, ctx: Context) -> State:
        """Train a segment: the function is called, and ended at the end of the interval.

        If loops are used again, one that waits for a segment may serve it.
        """
        turn = self.turn(hparams, ctx, steps, state)
        if self.reuse is True:
            return train_waiting(self, self.function, self.name, turn)
        turn.seed_setup()
        return train_once(self.function, self.name, turn)

    def close(self) -> None:
        """End the loop that waits for a segment, if there is one."""
        close_waiting(self)

    def evaluate(
        self, state: State, hparams: Hparams, split: Split, ctx: Context
    ) -> Mapping[str, float]:
        """Return the metrics that the loop reported, or those of `evaluate=` on another split.

        Raises:
            UsageError: The loop has no evaluation on that split.
        """
        if split == "validation":
            return {**state["metrics"], **state.get("samples", {})}
        if self.test is None:
            raise UsageError(
                f"loop {self.name}: no evaluation on the {split} split; give one: "
                "popgrad.loop(..., evaluate=lambda model, split: ..., module=...)"
            )
        trained: Any = _tracked_states(state)
        if self.network is not None:
            trained = self.module(state, hparams, ctx.device)
        with torch.no_grad():
            return as_numbers(self.test(trained, split))

    def module(
        self, state: State, hparams: Hparams, device: torch.device | str = "cpu"
    ) -> nn.Module:
        """Return the trained module of a state, in evaluation mode.

        Raises:
            UsageError: The loop was given no `module=`, or it does not fit the state.
        """
        if self.network is None:
            raise UsageError(f"loop {self.name}: give module=, a function hparams -> module")
        if "model" not in state:
            raise UsageError(
                f"loop {self.name}: several modules are tracked; track the one that is meant as model=..."
            )
        module = self.network(hparams).to(device)
        load_tensors(module, hparams, state["model"], "the state")
        load_extra_states(module, state.get("extra_states", {}))
        return module.eval()

    def source(self) -> str:
        """Return the text that the digest of the task covers: the whole files of its functions."""
        return "".join(map(_source, filter(None, (self.function, self.test, self.network))))


def _tracked_states(state: State) -> dict[str, Any]:
    """Return the states of all tracked objects by name, as copies; of modules with their tensors."""
    tracked: dict[str, Any] = from_plain(state["tracked"])
    if "model" not in state:
        return tracked

    # The tensors of the main module lie in a place of their own, so its entry holds modes at most.
    names = [name for name, entry in tracked.items() if not entry.keys() - {"modes"}]
    main = MAIN if MAIN in names else names[0]
    tracked[main] = {"tensors": from_plain(state["model"]), **tracked[main]}
    return tracked


def _source(function: Any) -> str:
    """Return the text of the file of a function; of the function alone if there is no file."""
    while isinstance(function, functools.partial):
        function = function.func
    try:
        file = inspect.getsourcefile(function)
        if file is not None and Path(file).is_file():
            return Path(file).read_text(encoding="utf-8")
        return inspect.getsource(function)
    except (OSError, TypeError, UnicodeDecodeError):
        return ""
