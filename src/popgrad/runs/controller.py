"""The controller of a study: its engine, entered again by each call that changes the record.

An engine of a run blocks until all is trained. That of a study returns as soon as nothing can continue
without a report, and is entered again after the next one: from memory if no other process has written to the
journal since, else from the journal, exactly as a run is resumed. So a process can be killed at any moment.
"""

import os
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from functools import partial
from typing import Any

from popgrad.config import RunConfig
from popgrad.core.errors import AllMembersFailedError, RunError
from popgrad.core.population import SegmentId
from popgrad.core.score import Score
from popgrad.core.segment import Assignment
from popgrad.engine.limits import Limits
from popgrad.engine.loop import Engine
from popgrad.executors.ask_tell import AskTell, NoOutcomeYet
from popgrad.executors.base import Save
from popgrad.runs.components import Components, make_strategy
from popgrad.runs.reopen import recorded_config
from popgrad.runs.result import Result
from popgrad.runs.session import write_outputs
from popgrad.runs.study_task import StudyTask
from popgrad.state import State
from popgrad.store.directory import Directory
from popgrad.store.journal import Journal
from popgrad.store.leases import FileLeases, Leases, MemoryLeases, Offer
from popgrad.strategies.base import Strategy
from popgrad.tasks.base import Task

_PATIENCE = 600.0
"""Seconds to wait for the lock of a study. It is held while a state is written, or a decision made."""

_Facts = Mapping[str, Any]


class Controller:
    """Engine, journal and leases of a study.

    Args:
        directory: Directory of the study; None = in memory only.
        facts: Facts about a new study in memory; a directory has a journal already.
        strategy: Strategy that takes the place of the configured one.

    Attributes:
        leases: Open segments, and the leases on them.
    """

    def __init__(
        self, directory: Directory | None, facts: _Facts | None, strategy: Strategy | None
    ) -> None:
        self._directory = directory
        self._strategy = strategy
        self._process = os.getpid()
        self.leases: Leases = MemoryLeases() if directory is None else FileLeases(directory.path)

        # Opened when needed, and again in a forked process: SQLite's connections are of one process.
        self._journal = Journal(None, create=True, about=facts) if directory is None else None
        self._version = -1  # of the journal, when the engine read it

        # Made from the journal when needed, and dropped when another process has written to it.
        self._engine: Engine | None = None
        self._executor: AskTell | None = None
        self._components: Components | None = None
        self._final: dict[SegmentId, State] = {}

    # --- the record -------------------------------------------------------------------------------

    @property
    def journal(self) -> Journal:
        """The journal, opened in this process."""
        if self._process != os.getpid():
            self._forget()
        if self._journal is None:
            assert self._directory is not None
            self._journal = Journal(self._directory.journal, durable=self._directory.durable)
        return self._journal

    def _forget(self) -> None:
        """Leave all that a process has opened to the process that forked this one."""
        self._process = os.getpid()
        self._journal = None
        self._drop()

    @property
    def stopped(self) -> str:
        """Reason that the study ended, or "unfinished"."""
        return str(self.journal.about()["stopped"])

    @contextmanager
    def locked(self) -> Iterator[None]:
        """Hold the lock of the study, with an engine as far as the journal; waits for other processes.

        Raises:
            RunError: Another process has held the lock for minutes.
        """
        if self._directory is None:
            yield
            return
        with self._directory.locked(_PATIENCE):
            version = self.journal.version()
            if version != self._version:
                self._drop()
            self._version = version
            yield

    def _drop(self) -> None:
        """Drop the engine; the next call makes another from the journal."""
        self._engine = None
        self._components = None
        # In memory, the executor is where the states are.
        if self._directory is not None:
            self._executor = None

    def close(self) -> None:
        """Close the journal of a directory; it is opened again when needed."""
        if self._directory is None:
            return
        if self._journal is not None and self._process == os.getpid():
            self._journal.close()
        self._forget()

    def restart(self) -> None:
        """Have the next call make the engine from the journal, which the caller has changed."""
        self._drop()

    # --- the engine -------------------------------------------------------------------------------

    def advance(self, *, retry_failures: bool = False) -> None:
        """Run the engine until it waits for a report, and publish the open segments.

        Args:
            retry_failures: Whether members that crashed try again if no other member is left.

        Raises:
            AllMembersFailedError: No member has a finite score.
            RunError: The record cannot be continued.
        """
        if self.stopped != "unfinished":
            self.leases.publish([], self._offer)
            self._finish_outputs()
            return

        engine = self._engine or self._make_engine(retry_failures=retry_failures)
        assert self._components is not None
        config = self._components.config
        target = self._components.ranking.target(config.target_score)
        limits = Limits(config.intervals, None, target, config.patience)
        try:
            reason = engine.run(limits)
        except NoOutcomeYet:
            self._publish()
            return
        except AllMembersFailedError:
            self.leases.publish([], self._offer)
            raise
        except BaseException:
            self._drop()
            raise

        winner = self.journal.record().winner.id
        self._final = {winner: engine.state(winner)}
        self.journal.set_about(stopped=reason)
        self.leases.publish([], self._offer)
        self._finish_outputs()

    def _make_engine(self, *, retry_failures: bool) -> Engine:
        """Make the engine from the journal."""
        facts = self.journal.about()
        self._components = self._make_components(facts)
        config = self._components.config
        task = self._components.task
        executor = self._executor or self._make_executor(task)
        self._executor = executor
        self._engine = Engine(
            task,
            self._components.strategy,
            lambda: executor,
            self.journal,
            None if self._directory is None else self._directory.checkpoints,
            seed=config.seed,
            size=config.population,
            interval=config.interval_length,
            mode=config.mode,
            grow=config.grow,
            initial=config.initial,
            ranking=self._components.ranking,
            retry_failures=retry_failures,
            evaluations=config.evaluations,
        )
        return self._engine

    def _make_components(self, facts: _Facts) -> Components:
        record = self.journal.record()
        task = StudyTask(record.space, record.score_name)
        config = recorded_config(record)
        return Components(
            config=config,
            task=task,
            ranking=Score.parse(facts["score"]),
            strategy=self._strategy or make_strategy(config, task.space),
            make_executor=partial(self._make_executor, task),
        )

    def _make_executor(self, task: Task, save: Save | None = None) -> AskTell:
        del save
        if self._directory is None:
            return AskTell(task, [])
        checkpoints = self._directory.checkpoints
        stored = RecordedStates(self.journal, self._directory)
        return AskTell(task, [], checkpoints.write, stored=stored)

    # --- the open segments ------------------------------------------------------------------------

    @property
    def executor(self) -> AskTell:
        """The executor of an engine that waits for a report."""
        assert self._executor is not None
        return self._executor

    def is_open(self, segment: SegmentId) -> bool:
        """Return whether a segment waits for a report; an engine that lags behind is made first."""
        if self._engine is None:
            self.advance()
        return self._executor is not None and self._executor.offers(segment)

    def _publish(self) -> None:
        assignments = [attempt.assignment for attempt in self.executor.offered]
        self.leases.publish(assignments, self._offer)

    def _offer(self, assignment: Assignment) -> Offer:
        if assignment.source is None:
            return Offer(assignment)
        segment = self.journal.segment(assignment.source)
        assert segment is not None
        return Offer(assignment, segment.digest, self.journal.path(assignment.source))

    def state(self, offer: Offer) -> State | None:
        """Return the state that an offer starts from; None = a fresh member, or a path is to be read."""
        source = offer.assignment.source
        if source is None or offer.path:
            return None
        if self._directory is None:
            return self.executor.state(source)
        return self._directory.checkpoints.load(offer.digest)

    # --- the result -------------------------------------------------------------------------------

    def result(self) -> Result:
        """Return the result so far of a study in memory."""
        record = self.journal.record()
        final = dict(self._final)
        if self._executor is not None:
            last = [segment.id for segment in record.last.values() if segment.digest]
            held = filter(self._executor.holds, last)
            final |= {segment: self._executor.state(segment) for segment in held}
        return Result(
            record=record,
            telemetry=self.journal.telemetry(),
            config=recorded_config(record),
            run_directory=None,
            trained_task=StudyTask(record.space, record.score_name),
            final_states=final,
            journal=self.journal,
        )

    def _finish_outputs(self) -> None:
        """Write the outputs of a study that has ended, unless they exist."""
        directory = self._directory
        if directory is None or directory.index.exists():
            return
        components = self._components or self._make_components(self.journal.about())
        try:
            write_outputs(components, self.journal, directory, self._final)
        except OSError as error:
            raise RunError(
                f"the winner, tables and figures cannot be written: {error}; the study is recorded to its "
                "end, and the next call writes them"
            ) from error


class RecordedStates:
    """Final states of the recorded segments of a study, in its checkpoints.

    Args:
        journal: Journal of the study.
        directory: Directory of the study.
    """

    def __init__(self, journal: Journal, directory: Directory) -> None:
        self._journal = journal
        self._checkpoints = directory.checkpoints

    def holds(self, segment: SegmentId) -> bool:
        """Return whether a segment is recorded with a state.

        Raises:
            RunError: Its checkpoint is missing, and only its caller could train it.
        """
        recorded = self._journal.segment(segment)
        if recorded is None or not recorded.digest:
            return False
        if not self._checkpoints.has(recorded.digest):
            raise RunError(
                f"the checkpoint {self._checkpoints.path(recorded.digest)} of member {recorded.member}, "
                f"interval {recorded.interval} is missing, and a study cannot retrain it: put the file back"
            )
        return True

    def state(self, segment: SegmentId) -> State:
        """Return a state, as read from its checkpoint."""
        recorded = self._journal.segment(segment)
        assert recorded is not None
        return self._checkpoints.load(recorded.digest)


def study_keys(config: RunConfig) -> dict[str, Any]:
    """Return the keys of a configuration that a study has, as plain values."""
    values = config.model_dump(mode="json", exclude_none=True)
    return {name: values[name] for name in KEYS if name in values}


KEYS = (
    *("task", "space", "score", "population", "intervals", "interval", "seed", "strategy", "mode"),
    *("initial", "target_score", "patience", "grow", "durability", "outputs", "made_with"),
)
"""Keys of a run that a study has too."""
