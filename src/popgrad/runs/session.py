"""One session of a run: the engine works on a journal, and the outputs are written however it ends."""

import logging
import signal
import threading
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from functools import partial

from popgrad import config as configuration
from popgrad.core.errors import PopgradError, RunError
from popgrad.core.population import SegmentId
from popgrad.core.segment import Segment
from popgrad.engine.callbacks import Callbacks, IntervalEnd, combine
from popgrad.engine.limits import Limits
from popgrad.engine.loop import Engine
from popgrad.executors.base import Executor
from popgrad.record.record import Record
from popgrad.record.timings import controller_seconds
from popgrad.runs.components import Components
from popgrad.runs.display import Display
from popgrad.runs.outline import outline
from popgrad.runs.outputs import (
    event_callbacks,
    write_figures,
    write_page,
    write_tables,
    write_winner,
)
from popgrad.runs.refresh import Refresher
from popgrad.runs.result import Result
from popgrad.runs.status import run_status
from popgrad.runs.tracked import finish, tracked
from popgrad.state import State
from popgrad.store.atomic import leftovers, replacing
from popgrad.store.directory import Directory
from popgrad.store.journal import Journal
from popgrad.store.mirror import Mirror
from popgrad.store.storage import Storage

log = logging.getLogger("popgrad")


def run_session(
    components: Components,
    journal: Journal,
    directory: Directory | None,
    callbacks: Callbacks | None = None,
    display: Display | None = None,
) -> Result:
    """Run the engine on a journal until a limit is reached, and write the outputs.

    Args:
        components: Components of the run.
        journal: The record so far; it grows.
        directory: Directory of the run; None = in memory only.
        callbacks: Functions to call as segments and intervals finish.
        display: Display of the run; None = nothing is shown.

    Raises:
        PopgradError: The run cannot continue; what is recorded stays.
    """
    display = display or Display()
    record = journal.record()
    course, lines = outline(
        components,
        None if directory is None else directory.path,
        size=record.size,
        recorded=record.spent if record.shared_budget else len(record.segments),
        completed=run_status(record, {}, "").completed,
    )
    with display.show(course, lines) as shown, tracked(components, journal, directory) as tracking:
        both = combine(combine(tracking.callbacks, shown), callbacks or Callbacks())
        result = _run_with_copy(components, journal, directory, both)
        finish(tracking, result)
    display.finish(result)
    return result


def _run_with_copy(
    components: Components, journal: Journal, directory: Directory | None, callbacks: Callbacks
) -> Result:
    """Run the engine, and update the copy in storage if there is one."""
    config = components.config
    if directory is not None and config.storage is not None:
        mirror = Mirror(Storage(config.storage), directory, partial(_has_checkpoint, components))
        mirror.update()
        result = _run(components, journal, directory, combine(_mirror_callbacks(mirror), callbacks))
        mirror.update()
        return result
    return _run(components, journal, directory, callbacks)


def _run(
    components: Components, journal: Journal, directory: Directory | None, callbacks: Callbacks
) -> Result:
    config = components.config
    if directory is not None:
        _delete_leftovers(directory)
        with replacing(directory.configuration) as aside:
            aside.write_text(configuration.write(config), encoding="utf-8")

    refresher = None
    if directory is not None and config.outputs and config.refresh:
        refresher = Refresher(directory, components.task, components.ranking)
        callbacks = combine(refresher.callbacks, callbacks)
    engine = _make_engine(components, journal, directory, callbacks)
    try:
        with _sigterm_interrupts():
            target = components.ranking.target(config.target_score)
            limits = Limits(config.intervals, config.max_time, target, config.patience)
            reason = engine.run(limits)
            winner = journal.record().winner.id
            final = {winner: engine.state(winner)}
            journal.set_about(stopped=reason, controller_seconds=engine.controller_seconds())
    except BaseException:
        with suppress(PopgradError):  # the first error counts
            journal.set_about(controller_seconds=engine.controller_seconds())
        _close(engine, directory, refresher)
        _write_partial_outputs(components, journal, directory)
        raise
    _close(engine, directory, refresher)

    try:
        return write_outputs(components, journal, directory, final)
    except OSError as error:
        raise RunError(
            f"the winner, tables and figures cannot be written: {error}; the run is recorded to its end, and "
            "resuming it writes them"
        ) from error


def _make_engine(
    components: Components, journal: Journal, directory: Directory | None, callbacks: Callbacks
) -> Engine:
    config = components.config
    checkpoints = None if directory is None else directory.checkpoints
    save = None if checkpoints is None else checkpoints.write
    events = config.events and "tensorboard" not in components.trackers
    if directory is not None and config.outputs and events:
        callbacks = combine(
            event_callbacks(directory, components.task, components.ranking, journal.segments()),
            callbacks,
        )

    def make_executor() -> Executor:
        executor = components.make_executor(save=save)
        if callbacks.on_start is not None:
            callbacks.on_start()
        return executor

    return Engine(
        components.task,
        components.strategy,
        make_executor,
        journal,
        checkpoints,
        seed=config.seed,
        size=config.population,
        interval=config.interval_length,
        mode=config.mode,
        grow=config.grow,
        initial=config.initial,
        checkpoint_every=config.checkpoint_every,
        fail_fast=config.fail_fast,
        callbacks=callbacks,
        ranking=components.ranking,
        evaluations=config.evaluations,
    )


# --- the copy in storage --------------------------------------------------------------------------


def _has_checkpoint(components: Components, segment: Segment) -> bool:
    """Return whether a segment is to have a checkpoint."""
    done = segment.interval + 1
    config = components.config
    return done % config.checkpoint_every == 0 or done == config.intervals


def _mirror_callbacks(mirror: Mirror) -> Callbacks:
    """Return callbacks that update a copy after each interval; a failed update is logged, and retried."""

    def update(end: IntervalEnd) -> None:
        del end
        try:
            mirror.update()
        except RunError as error:
            log.warning("%s; retrying after the next interval", error)

    return Callbacks(on_interval=update)


# --- the end of a session -------------------------------------------------------------------------


@contextmanager
def _sigterm_interrupts() -> Iterator[None]:
    """Treat SIGTERM as Ctrl-C, unless the caller has installed a handler of its own."""
    main_thread = threading.current_thread() is threading.main_thread()
    unhandled = main_thread and signal.getsignal(signal.SIGTERM) is signal.SIG_DFL
    if unhandled:
        signal.signal(signal.SIGTERM, signal.default_int_handler)
    try:
        yield
    finally:
        if unhandled:
            signal.signal(signal.SIGTERM, signal.SIG_DFL)


def _close(engine: Engine, directory: Directory | None, refresher: Refresher | None) -> None:
    engine.close()
    if refresher is not None:
        # It could replace the last figures by older ones.
        refresher.close()
    if directory is not None:
        # No process writes any more, but a worker may have died in the middle of a file. If the
        # deletion fails, the next session tries again.
        with suppress(OSError):
            _delete_leftovers(directory)


def _delete_leftovers(directory: Directory) -> None:
    """Delete the partial files of writers that were killed."""
    for path in (*directory.checkpoints.leftovers(), *leftovers(directory.path)):
        path.unlink(missing_ok=True)


def write_outputs(
    components: Components,
    journal: Journal,
    directory: Directory | None,
    final: Mapping[SegmentId, State],
) -> Result:
    """Return the result of the run, and write its tables, figures and winner."""
    outputs = components.config.outputs
    record = journal.record()
    telemetry = journal.telemetry()
    if directory is not None and outputs:
        write_tables(record, telemetry, directory, components.task)

    result = Result(
        record=record,
        telemetry=telemetry,
        config=components.config,
        run_directory=directory,
        trained_task=components.task,
        final_states=final,
        journal=journal if directory is None else None,
        controller_seconds=controller_seconds(journal.about()),
    )
    if directory is not None:
        if record.stopped != "unfinished" or _is_kept(record, directory, final):
            write_winner(result, directory)
        if outputs:
            write_figures(result, directory, components.task)
        if components.config.report:
            write_page(result, directory)
    return result


def _is_kept(record: Record, directory: Directory, final: Mapping[SegmentId, State]) -> bool:
    """Return whether the winner's state exists: a run that is interrupted may have no checkpoint of it.

    Raises:
        AllMembersFailedError: There is no winner.
    """
    winner = record.winner
    return winner.id in final or directory.checkpoints.has(winner.digest)


def _write_partial_outputs(
    components: Components, journal: Journal, directory: Directory | None
) -> None:
    """Write the outputs of a run that was interrupted.

    Failures are logged: the interruption is the news.
    """
    if directory is None:
        return
    try:
        write_outputs(components, journal, directory, {})
    except PopgradError:
        # No member has a score yet.
        return
    except Exception as error:
        log.warning("tables, figures and the winner are not written: %s", error)
