"""A study: popgrad decides, and callers train: they ask for an assignment, and report its outcome."""

import inspect
import os
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, Literal, Self

from popgrad.core.errors import RunError, UsageError
from popgrad.core.population import Hparams
from popgrad.core.score import Score, named_score
from popgrad.core.segment import Segment, Telemetry
from popgrad.core.space import Dimension, Space
from popgrad.engine.loop import Mode
from popgrad.metrics import as_numbers
from popgrad.record.check import check_record
from popgrad.runs.api import check_strategy, load
from popgrad.runs.build import CUSTOM, resolve
from popgrad.runs.components import make_strategy
from popgrad.runs.controller import Controller, study_keys
from popgrad.runs.leased_assignment import LeasedAssignment
from popgrad.runs.new_study import (
    check_lease,
    create_study,
    describe_study,
    in_steps,
    new_facts,
)
from popgrad.runs.reopen import check_intervals, describe_resize, recorded_config
from popgrad.runs.result import Result
from popgrad.state import State, digest
from popgrad.store.directory import Directory, open_record
from popgrad.store.leases import Lease, Token
from popgrad.strategies import StrategyName
from popgrad.strategies.base import Strategy

PATH = "popgrad: path"
"""Key of the state that stands for a state elsewhere; its value is the path that the caller gave."""

_POLL = 0.2
"""Seconds between two attempts of `ask` while it waits."""


class Study:
    """A population whose members are trained by the callers.

    `ask` returns what to train next, and `tell` takes its outcome. The decisions, the record and
    the result are those of `popgrad.run` with the same seed, given the same scores. A study in a
    directory is shared by any number of processes on one machine; each call takes the lock for a
    moment, so that there is one writer at a time, and no process has to stay.

    An object belongs to one thread. If the directory holds a study already, it is opened, and the
    arguments have to be those that it was created with.

    Args:
        space: Dimensions, or their specs, by the names of hyperparameters.
        score: Metric that ranks, higher is better; "-loss" ranks by the lowest loss.
        minimize: Metric that ranks, lower is better; it takes the place of score.
        directory: Directory to create or to open; None = in memory, for one process.
        population: Number of members; at least 2 if the strategy copies.
        intervals: Intervals that each member trains in all.
        interval: Steps between two decisions of a member, or epochs, such as "1 epoch". popgrad only
            counts them: a step is what the caller takes for one.
        epoch_steps: Steps of an epoch, for an interval in epochs.
        seed: Seed that every random stream derives from.
        strategy: "pbt", "random-search", "schedule", or a `Strategy`.
        initial: Hyperparameters of the first members; missing names are sampled.
        mode: "sync": decisions once all members have trained an interval; "async": for each member as
            soon as it has.
        target_score: Value of the metric at which no further interval starts; None = no target.
        patience: Intervals without a better best score after which none starts; None = no limit.
        lease: Seconds after which an assignment without an outcome is offered again.
        durability: "process": the record survives any kill; "power": a power failure too.
        outputs: Write tables and figures at the end.
        **settings: Settings of the strategy.

    Raises:
        UsageError: An argument is wrong, or differs from that of the study in the directory.
        RunError: The directory cannot be written.

    Example:
        >>> import popgrad
        >>> space = {"lr": popgrad.LogUniform(1e-4, 1e-1)}
        >>> study = popgrad.Study(space, minimize="loss", population=4, intervals=3)
        >>> while assignment := study.ask():
        ...     source = assignment.source or {"loss": 1.0}
        ...     state = {"loss": source["loss"] * (1 - assignment.hparams["lr"])}
        ...     study.tell(assignment, state, state=state)
        >>> study.finished, len(study.result.segments), study.result.winner.score > -1.0
        (True, 12, True)
    """

    def __init__(
        self,
        space: Mapping[str, Dimension | Mapping[str, Any]] | Space,
        *,
        score: str | None = None,
        minimize: str | None = None,
        directory: str | Path | None = None,
        population: int = 10,
        intervals: int = 20,
        interval: int | str = 1,
        epoch_steps: int | None = None,
        seed: int = 0,
        strategy: StrategyName | Strategy = "pbt",
        initial: Sequence[Hparams] = (),
        mode: Mode = "sync",
        target_score: float | None = None,
        patience: int | None = None,
        lease: float = 600.0,
        durability: Literal["process", "power"] = "process",
        outputs: bool = True,
        **settings: Any,
    ) -> None:
        own = None if isinstance(strategy, str) else check_strategy(strategy)
        values = {
            "population": population,
            "intervals": intervals,
            "interval": in_steps(interval, epoch_steps),
            "seed": seed,
            "strategy": {"name": CUSTOM if own is not None else strategy, **settings},
            "initial": initial,
            "mode": mode,
            "target_score": target_score,
            "patience": patience,
            "durability": durability,
            "outputs": outputs,
        }
        config, task = describe_study(space, named_score(score, minimize), values)
        config = resolve(config, task, own)
        strategy_now = own or make_strategy(config, task.space)
        facts = new_facts(config, task, check_lease(lease), strategy_now)
        if directory is None:
            self._open(None, facts, own)
            return

        opened = create_study(Path(directory).absolute(), facts, durable=durability == "power")
        self._open(opened, None, own)

    @classmethod
    def open(cls, directory: str | Path, *, strategy: Strategy | None = None) -> "Study":
        """Open the study in a directory.

        Args:
            directory: Directory of the study.
            strategy: The strategy, if the study was given a `Strategy`.

        Raises:
            UsageError: The directory holds a run, or the strategy has to be passed.
            RunError: The directory holds neither.

        Example:
            >>> import popgrad
            >>> space = {"lr": popgrad.LogUniform(1e-4, 1e-1)}
            >>> study = popgrad.Study(space, score="accuracy", directory="runs/asked", seed=3)
            >>> first = popgrad.Study.open("runs/asked").ask()
            >>> second = study.ask()
            >>> first.member, second.member
            (0, 1)
        """
        path = Path(directory).absolute()
        record = open_record(path)
        check_record(record)
        if record.study is None:
            raise UsageError(f"{path} holds a run, which trains its members itself, and no study")
        config = recorded_config(record)
        if config.strategy.name == CUSTOM and strategy is None:
            raise UsageError(
                "strategy: the study was given a Strategy object; pass it again, strategy=..."
            )
        study = cls.__new__(cls)
        study._open(Directory(path, config.durability == "power"), None, strategy)
        return study

    def _open(
        self,
        directory: Directory | None,
        facts: Mapping[str, Any] | None,
        strategy: Strategy | None,
    ) -> None:
        self._directory = directory
        self._controller = Controller(directory, facts, strategy)
        about = self._controller.journal.about()
        self._lease = float(about["study"]["lease"])
        self._ranking = Score.parse(about["score"])
        self._strategy = strategy

    def close(self) -> None:
        """Close the journal; the next call opens it again. A study in memory stays as it is."""
        self._controller.close()

    def __enter__(self) -> Self:
        """Return the study, which is closed at the end of the block."""
        return self

    def __exit__(self, *_: object) -> None:
        """Close the study."""
        self.close()

    # --- asking -----------------------------------------------------------------------------------

    def ask(self, *, wait: float = 0.0) -> LeasedAssignment | None:
        """Return a segment to train; None = there is nothing to do now, or the study has ended.

        The segment with the fewest steps behind it comes first. It is leased: no other caller gets it
        until `lease` seconds have passed without `renew`.

        Args:
            wait: Seconds to wait for something to do.

        Raises:
            AllMembersFailedError: No member has a finite score; see `resume`.
            RunError: The study cannot continue.
        """
        end = time.monotonic() + wait
        while True:
            lease = self._controller.leases.claim() or self._claim_published()
            if lease is not None:
                return self._assignment(lease)
            left = end - time.monotonic()
            if left <= 0 or self.finished:
                return None
            time.sleep(min(_POLL, left))

    def _claim_published(self) -> Lease | None:
        """Claim what the engine has to offer, or what another caller has left."""
        with self._controller.locked():
            self._controller.advance()
            leases = self._controller.leases
            return leases.claim() or leases.claim_expired(self._lease)

    def _assignment(self, lease: Lease) -> LeasedAssignment:
        offer = lease.offer
        assignment = offer.assignment
        checkpoint = None
        if self._directory is not None and offer.digest and not offer.path:
            checkpoint = self._directory.checkpoints.path(offer.digest)
        return LeasedAssignment(
            member=assignment.member,
            interval=assignment.interval,
            hparams=assignment.hparams,
            first_step=assignment.first_step,
            steps=assignment.steps,
            run_seed=assignment.seed,
            source=offer.path or self._controller.state(offer),
            donor=assignment.source,
            attempt=1 + len(offer.errors),
            token=str(lease.token),
            lease=self._lease,
            lease_file=lease.file,
            checkpoint=checkpoint,
        )

    def renew(self, assignment: LeasedAssignment | str) -> None:
        """Renew the lease of an assignment, as long as its training takes.

        Args:
            assignment: The assignment, or its token.

        Raises:
            RunError: The lease has expired and another caller has the segment, or it has an outcome.
        """
        token = _token(assignment)
        if not self._controller.leases.renew(token):
            raise RunError(
                f"the lease {token} is no longer held: it has expired and the segment was offered again, or "
                "its outcome is known"
            )

    # --- outcomes ---------------------------------------------------------------------------------

    def tell(
        self,
        assignment: LeasedAssignment | str,
        metrics: Mapping[str, Any] | None = None,
        *,
        state: State | None = None,
        path: str | Path | None = None,
        error: str | None = None,
        samples: int | None = None,
        curve: Sequence[tuple[int, str, float]] = (),
    ) -> None:
        """Report the outcome of an assignment; it is recorded when this returns.

        An outcome that is known already is compared: an equal one is ignored.

        Args:
            assignment: The assignment, or its token.
            metrics: Validation metrics by name, among them the one that ranks.
            state: Final state, as plain data: heirs get it as their source.
            path: Place of the final state, in place of the state. It is recorded, and heirs get it as their
                source; popgrad neither reads nor deletes what lies there.
            error: Failure of the attempt, in place of an outcome: the segment is offered again with the same
                seeds, up to twice, and has failed then.
            samples: Training samples behind the state; None = the entry "position" of the state.
            curve: Points of a training curve: (step, name, number).

        Raises:
            UsageError: An argument is wrong.
            RunError: Another outcome of this segment is known; both are named.
            AllMembersFailedError: The outcome is recorded, and no member has a finite score.
        """
        token = _token(assignment)
        if error is not None:
            self._tell_failure(token, error, metrics, state, path)
            return

        numbers = self._check_metrics(metrics)
        whole = _state(state, path)
        telemetry = Telemetry(
            token.seconds,
            f"process {token.process}",
            tuple(curve),
            "" if path is None else str(path),
            time.time() - token.seconds,
        )
        with self._controller.locked():
            recorded = self._outcome(token)
            if recorded is not None:
                _compare(recorded, digest(whole), numbers, self._paths(token, path))
                return
            self._controller.executor.report(
                token.segment, numbers, whole, samples=samples, telemetry=telemetry
            )
            self._controller.advance()

    def _paths(self, token: Token, path: str | Path | None) -> str:
        """Return the recorded path of a segment and another one in words, if there are any."""
        recorded = self._controller.journal.path(token.segment)
        return f" (recorded path {recorded!r}, now {path!s:.200})" if recorded or path else ""

    def _tell_failure(
        self, token: Token, error: str, metrics: object, state: object, path: object
    ) -> None:
        """Report a failed attempt; one whose lease is over is ignored."""
        if not isinstance(error, str) or not error.strip():
            raise UsageError(f"error: expected a description of the failure, got {error!r:.80}")
        if any(each is not None for each in (metrics, state, path)):
            raise UsageError("error: got an outcome too; give one of the two")

        telemetry = Telemetry(token.seconds, f"process {token.process}")
        with self._controller.locked():
            lease = self._controller.leases.find(token)
            if self._outcome(token) is not None or lease is None:
                return
            failed = self._controller.executor.report_failure(
                token.segment, error, earlier=lease.offer.errors, telemetry=telemetry
            )
            if failed:
                self._controller.advance()
            else:
                self._controller.leases.reopen(lease, error)

    def _outcome(self, token: Token) -> Segment | None:
        """Return the recorded outcome of a segment; None = it waits for one.

        Raises:
            UsageError: The study has no such segment.
        """
        recorded = self._controller.journal.segment(token.segment)
        if recorded is None and not self._controller.is_open(token.segment):
            raise UsageError(
                f"token: the study has no open assignment for member {token.member}, interval "
                f"{token.interval}; is it of another study?"
            )
        return recorded

    def _check_metrics(self, metrics: Mapping[str, Any] | None) -> dict[str, float]:
        if metrics is None:
            raise UsageError("metrics: expected numbers by name, or error=... for a failure")
        numbers = as_numbers(metrics)
        if self._ranking.metric not in numbers:
            listed = ", ".join(numbers) or "nothing"
            raise UsageError(f"metrics: the study ranks by {self._ranking.metric!r}, got {listed}")
        return numbers

    # --- the result -------------------------------------------------------------------------------

    @property
    def finished(self) -> bool:
        """Whether the study has ended: nothing will be offered any more, unless it is resumed."""
        return self._controller.stopped != "unfinished"

    @property
    def result(self) -> Result:
        """The result as far as the study has come.

        Its `winner.state` is the state that was reported; a path is `winner.state["popgrad: path"]`.
        """
        if self._directory is None:
            return self._controller.result()
        return load(self._directory.path)

    @property
    def directory(self) -> Path | None:
        """Directory of the study; None = in memory only."""
        return None if self._directory is None else self._directory.path

    def resume(self, *, intervals: int | None = None, population: int | None = None) -> None:
        """Continue a study that has ended: for more intervals, or after all members have failed.

        If all members have failed, those that crashed try again. Other processes notice by themselves.

        Args:
            intervals: Intervals that each member trains in all; None = as recorded.
            population: Members; the number changes with the next decision. None = as recorded.

        Raises:
            UsageError: A number is not possible.
        """
        controller = self._controller
        with controller.locked():
            record = controller.journal.record(all_decisions=True)
            changes = {"intervals": intervals, "population": population}
            config = recorded_config(record, changes)
            check_intervals(config, record)
            strategy = self._strategy or make_strategy(config, record.space)
            describe_resize(config, record, strategy, grow=False)
            controller.journal.set_about(config=study_keys(config), stopped="unfinished")
            controller.restart()
            controller.advance(retry_failures=True)


def _token(assignment: LeasedAssignment | str) -> Token:
    return Token.parse(assignment.token if isinstance(assignment, LeasedAssignment) else assignment)


def _state(state: State | None, path: str | Path | None) -> State:
    """Return the state of an outcome; a path is a state of its own."""
    if (state is None) == (path is None):
        raise UsageError(
            "state, path: expected the final state or the path of one, so that heirs can start from it; "
            "state={} if there is nothing to inherit"
        )
    if path is not None:
        if not isinstance(path, str | os.PathLike) or not os.fspath(path):
            raise UsageError(f"path: expected a path such as 'my/checkpoint-17', got {path!r:.80}")
        if not _is_text(str(path)):
            raise UsageError(f"path: expected characters of Unicode, got {path!r:.80}")
        return {PATH: str(path)}
    if isinstance(state, dict) and PATH in state:
        raise UsageError(f"state: the key {PATH!r} stands for a path; give path=... in its place")
    if not isinstance(state, dict):
        raise UsageError(
            f"state: expected a dictionary of plain data, got a {type(state).__name__}"
        )
    return state


def _is_text(path: str) -> bool:
    """Return whether a path can be recorded: names of files may hold any bytes."""
    try:
        path.encode()
    except UnicodeEncodeError:
        return False
    return True


def _compare(recorded: Segment, found: str, metrics: Mapping[str, float], paths: str) -> None:
    """Compare a second outcome with the recorded one.

    Args:
        recorded: The recorded outcome.
        found: Digest of the state of the second one.
        metrics: Its metrics.
        paths: Paths of both in words; "" = both are states.

    Raises:
        RunError: They differ.
    """
    name = f"member {recorded.member}, interval {recorded.interval}"
    if recorded.broke:
        raise RunError(f"{name} is recorded as failed, so that this outcome comes too late")
    if found != recorded.digest:
        raise RunError(
            f"{name} has two outcomes that differ: the recorded state has the digest "
            f"{recorded.digest[:12]}…, this one {found[:12]}…{paths}: was it trained with the same seeds "
            "from the same source?"
        )
    if repr(sorted(metrics.items())) != repr(sorted(recorded.metrics.items())):
        raise RunError(
            f"{name} has two outcomes of one state (digest {found[:12]}…) whose metrics differ: recorded "
            f"{dict(recorded.metrics)}, now {dict(metrics)}"
        )


ARGUMENTS = tuple(
    name
    for name, parameter in inspect.signature(Study.__init__).parameters.items()
    if parameter.kind is not parameter.VAR_KEYWORD and name not in ("self", "directory", "strategy")
)
"""Names of the arguments of a study that a file may hold."""
