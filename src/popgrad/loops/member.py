"""A member as a training loop sees it: its hyperparameters, its boundaries and its reports."""

import warnings
from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Any, NoReturn, Self

import torch

from popgrad.core.errors import UsageError
from popgrad.core.spelling import did_you_mean
from popgrad.loops.batches import take_batches
from popgrad.loops.live import LiveLoop
from popgrad.loops.places import Read, Write
from popgrad.loops.turn import Handover, Report, Turn
from popgrad.tasks.evaluation import seed_generators


class Finished(BaseException):
    """End of a loop: popgrad has no more training for it. `finally` and `with` run; code behind it does not.

    It is no `Exception`, since trainers of other libraries catch these.
    """


class Member:
    """A member of a population, as the function of a loop gets it.

    Everything before the first boundary (`for _ in m`) is setup. At the boundary the state of the donor
    is loaded into the tracked objects in place, the hyperparameters are written, compared with the record,
    and the global generators are seeded.

    Example:
        >>> import popgrad
        >>> def train(m):
        ...     weight = torch.zeros(1, requires_grad=True)
        ...     optimizer = torch.optim.SGD([weight], lr=m["lr"])
        ...     m.track(weight=weight, optimizer=optimizer)
        ...     for _ in m:
        ...         loss = (weight - 1.0).square().sum()
        ...         loss.backward()
        ...         optimizer.step()
        ...         m.report(loss=loss.item())
        >>> space = {"lr": popgrad.LogUniform(1e-3, 0.1)}
        >>> task = popgrad.loop(train, space=space, minimize="loss")
        >>> result = popgrad.run(task, population=4, intervals=3, executor="serial", progress=False)
        >>> result.winner.schedule.steps
        3
    """

    def __init__(self, turn: Turn, handover: Handover) -> None:
        self._live = LiveLoop(turn)
        self._handover = handover
        self._report: Report | None = None
        # Reports or batches of the interval so far.
        self._done = 0
        self._ended = False

    # --- the facts of the segment -----------------------------------------------------------------

    def __getitem__(self, name: str) -> Any:
        """Return a hyperparameter.

        Raises:
            UsageError: The space has no such name.
        """
        self._check_name(name, f"m[{name!r}]")
        return self._live.hparams[name]

    def __contains__(self, name: object) -> bool:
        """Whether there is a hyperparameter of that name. Without this, Python would pass boundaries."""
        return name in self._turn.hparams

    @property
    def hparams(self) -> Mapping[str, Any]:
        """All hyperparameters by name, read-only."""
        return self._live.hparams

    @property
    def state(self) -> dict[str, Any]:
        """Plain values that travel with the weights, such as a counter or the best loss so far."""
        return self._live.values

    @property
    def interval(self) -> int:
        """Interval of the member, from 0."""
        return self._turn.ctx.interval

    @property
    def first_step(self) -> int:
        """Steps behind the inherited state: reports, or batches if the interval counts these."""
        return self._turn.ctx.first_step

    @property
    def steps(self) -> int:
        """Steps of this interval: reports, or batches if the interval counts these."""
        return self._turn.steps

    @property
    def device(self) -> torch.device:
        """Device to compute on."""
        return self._turn.ctx.device

    @property
    def fresh(self) -> bool:
        """Whether nothing was trained before: the member starts here."""
        return self._turn.is_fresh

    def seed(self, purpose: str) -> int:
        """Return a seed in [0, 2**63) that depends on purpose, member, interval and run."""
        return self._turn.ctx.seed(purpose)

    def log(self, step: int, **numbers: float) -> None:
        """Keep a point of a training curve. It is telemetry, and never enters the record."""
        self._turn.ctx.log(step, **numbers)

    # --- setup ------------------------------------------------------------------------------------

    def track(self, **objects: Any) -> Self:
        """Make objects travel: all that an heir is to inherit.

        Args:
            **objects: Modules, optimizers, schedulers, generators, tensors, and all else that has
                `state_dict` and `load_state_dict`; lists and dictionaries of these; None is skipped.

        Raises:
            UsageError: The loop has started, or an object has no state.
        """
        self._check_setup("track", objects)
        self._live.objects.add(objects)
        return self

    def on(self, **functions: Write | tuple[Write, Read]) -> Self:
        """Set functions for hyperparameters that live neither in an optimizer nor in a buffer.

        Args:
            **functions: By the name of the hyperparameter, a function that writes its value, or a pair
                (write, read); it is called after each load. With `read` the live value is compared with
                the record at both ends of an interval; without, it is written and not proved.

        Raises:
            UsageError: The loop has started, or the space has no such name.
        """
        self._check_setup("on", functions)
        for name, given in functions.items():
            self._check_name(name, "m.on")
            self._live.functions[name] = given if isinstance(given, tuple) else (given, None)
        return self

    def alias(self, **options: str) -> Self:
        """Set the name of the optimizer's option that a hyperparameter lives under.

        Args:
            **options: By the name of the hyperparameter, the name of the option: learning_rate="lr".

        Raises:
            UsageError: The loop has started, the space has no such name, or two have one option.
        """
        self._check_setup("alias", options)
        for name, option in options.items():
            self._check_name(name, "m.alias")
            if option in self._turn.hparams or option in self._live.aliases.values():
                raise UsageError(
                    f"m.alias: {name!r} and another hyperparameter would both be {option!r}; search one of "
                    "them"
                )
            self._live.aliases[name] = option
        return self

    # --- boundaries -------------------------------------------------------------------------------

    def __iter__(self) -> Self:
        return self

    def __next__(self) -> int:
        """Pass a boundary, and return the number of rounds behind the state: the epoch to train.

        Raises:
            UsageError: The round behind has no report, or not all its batches were taken.
            Finished: There is no more training for this loop.
        """
        self._check_open()
        if self._live.has_started:
            self._end_round()
        else:
            self._begin(self._handover.begin())
        return self._live.rounds

    def report(
        self, *unnamed: object, samples: Mapping[str, Sequence[float]] | None = None, **metrics: Any
    ) -> None:
        """Report the metrics of a round, once, before it ends.

        They become part of the state: what differs from one time to the next, such as seconds, belongs
        into `log`.

        Args:
            *unnamed: Refused: each metric has a name.
            samples: Several values of a metric by its name, such as the returns of episodes. The metric
                is their mean; all of them are kept in the state.
            **metrics: Numbers by name, or a sequence of numbers as in `samples`.

        Raises:
            UsageError: The loop has not started, or the round has a report already.
        """
        self._check_started("report")
        if self._report is not None:
            raise UsageError(
                "m.report: this round has a report already; one round of `for _ in m` reports once, "
                "m.report(loss=..., accuracy=...)"
            )
        if unnamed:
            raise UsageError(
                f"m.report: expected metrics by name, m.report(accuracy=0.9), got {unnamed[0]!r:.80}; "
                "those of a dictionary: m.report(**metrics)"
            )
        if samples is not None and not isinstance(samples, Mapping):
            raise UsageError(
                f"m.report: samples: expected sequences of numbers by the name of their metric, got "
                f"{samples!r:.80}; a metric of your own needs another name"
            )
        self._report = Report.of({**metrics, **(samples or {})})

    def batches(self, loader: Iterable[Any]) -> Iterator[Any]:
        """Yield the batches of an interval: as many as it counts. The loader is started again at its end.

        Args:
            loader: Any iterable that can be iterated again, such as a `DataLoader`.

        Raises:
            UsageError: The interval counts reports, or the loader is empty.
        """
        self._check_started("batches")
        if self._turn.unit != "batches":
            raise UsageError(
                "m.batches: the interval counts reports; give it as a number of batches, such as "
                "interval=200 (--interval 200), or iterate over the loader itself"
            )
        for batch, size in take_batches(loader, self.steps - self._done):
            self._done += 1
            self._live.samples += size
            yield batch

    def swap(self, **metrics: Any) -> None:
        """Report and pass a boundary in one call, for callbacks of other libraries.

        The first call begins the loop, and its metrics are dropped.
        """
        if self._live.has_started:
            self.report(**metrics)
        next(self)

    def finish(self, **metrics: Any) -> NoReturn:
        """Report the last round of a loop that cannot continue, such as a trainer at its last epoch.

        Raises:
            UsageError: The interval is not complete.
            Finished: Always otherwise.
        """
        self.report(**metrics)
        self._complete_round()
        if self._done < self.steps:
            raise UsageError(
                f"m.finish: the loop is over after {self._done} of {self.steps} {self._turn.unit} of the "
                "interval"
            )
        self._end(over=True)
        raise AssertionError("a loop that is over was given another segment")

    # --- for popgrad ------------------------------------------------------------------------------

    @property
    def live(self) -> LiveLoop:
        """Live objects of the loop; no part of the public API."""
        return self._live

    def close(self, name: str) -> None:
        """End the segment after the function has returned.

        Args:
            name: Name of the function.

        Raises:
            UsageError: It has returned before the segment was complete.
        """
        if self._ended:
            _warn_of_caught_end()
            return
        if not self._live.has_started:
            raise UsageError(
                f"loop {name}: the function has returned before its loop began; it has to iterate over the "
                "member, `for _ in m:`, and report, m.report(...)"
            )
        reported = self._report is not None
        if reported:
            self._complete_round()
        if not reported or self._done < self.steps:
            raise UsageError(
                f"loop {name}: the function has returned in the middle of an interval, after {self._done} of "
                f"{self.steps} {self._turn.unit}; the loop continues as long as popgrad has training for it"
            )
        self._end(over=True)

    @property
    def _turn(self) -> Turn:
        return self._live.turn

    def _check_open(self) -> None:
        """Raise `Finished` once more if the function has caught it."""
        if self._ended:
            _warn_of_caught_end()
            raise Finished

    def _check_started(self, method: str) -> None:
        self._check_open()
        if not self._live.has_started:
            raise UsageError(f"m.{method}: the loop has not started; call it inside `for _ in m`")

    def _check_setup(self, method: str, given: Iterable[str]) -> None:
        if self._live.has_started:
            raise UsageError(
                f"m.{method}({', '.join(given)}): the loop has started; call it before `for _ in m`"
            )

    def _check_name(self, name: str, call: str) -> None:
        hparams = self._turn.hparams
        if name not in hparams:
            suggestion = did_you_mean(name, hparams) or f"; it has {', '.join(hparams)}"
            raise UsageError(f"{call}: the space has no hyperparameter {name!r}{suggestion}")

    def _begin(self, turn: Turn) -> None:
        self._live.begin(turn)
        self._done = 0
        self._report = None
        if not turn.steps:
            self._end()
        # Last, since the setup of a new loop draws from the generators, and a load does not.
        seed_generators(turn.ctx.library_seed("train"))

    def _end_round(self) -> None:
        if self._report is None:
            raise UsageError(
                "the round has ended without a report; call m.report(...) once in each round of `for _ in m`"
            )
        self._complete_round()
        if self._done == self.steps:
            self._end()
            return

        if self._turn.unit == "batches":
            raise UsageError(
                f"the round has ended after {self._done} of {self.steps} batches of the interval; take them "
                "all from m.batches(loader)"
            )
        self._report = None

    def _complete_round(self) -> None:
        self._live.rounds += 1
        if self._turn.unit == "reports":
            self._done += 1

    def _end(self, *, over: bool = False) -> None:
        """Give the state away, and begin the next segment if there is one."""
        if self.steps:
            self._live.end()
        state = self._live.capture(self._report or Report({}, {}))
        # Whatever is raised in here ends the loop.
        self._ended = True
        following = self._handover.end(state, over=over)
        if following is None:
            raise Finished
        self._ended = False
        self._begin(following)


def _warn_of_caught_end() -> None:
    warnings.warn(
        "the function has caught Finished, which ends it: what stands behind the loop runs in each "
        "interval of each member; write `except Exception` in place of a bare `except`",
        stacklevel=2,
    )
