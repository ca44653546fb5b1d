"""One session of a run: the engine over a journal, and what it leaves for people, however it ends."""

import logging
import signal
import threading
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from dataclasses import replace
from functools import partial

from popgrad import config as configuration
from popgrad.config import RunConfig
from popgrad.core.errors import PopgradError, RunError
from popgrad.core.population import SegmentId
from popgrad.engine import Engine, Limits
from popgrad.outputs import events, write_figures, write_tables, write_winner
from popgrad.parts import Parts
from popgrad.result import Result, result_of
from popgrad.state import State
from popgrad.store import lineage
from popgrad.store.aside import leftovers, replacing
from popgrad.store.directory import Directory
from popgrad.store.journal import Journal
from popgrad.store.standing import present_in
from popgrad.watch import Watch

log = logging.getLogger("popgrad")


def go(
    parts: Parts,
    config: RunConfig,
    journal: Journal,
    place: Directory | None,
    watch: Watch | None,
) -> Result:
    """Run the engine over a journal, and leave the directory as a reader expects it, however it ends.

    Args:
        parts: What is trained, and how.
        config: The resolved configuration.
        journal: The record so far; it grows.
        place: The run's directory; None = in memory only.
        watch: Who is told.

    Raises:
        PopgradError: The run cannot go on; what is recorded stays.
    """
    if place is not None:
        _clear(place)
        with replacing(place.configuration) as aside:
            aside.write_text(configuration.write(config), encoding="utf-8")
    checkpoints = None if place is None else place.checkpoints
    engine = Engine(
        parts.task,
        parts.strategy,
        partial(parts.executor, save=None if checkpoints is None else checkpoints.write),
        journal,
        checkpoints,
        seed=config.seed,
        size=config.population,
        interval=config.each,
        mode=config.mode,
        grow=config.grow,
        initial=config.initial,
        checkpoint_every=config.checkpoint_every,
        watch=_listening(watch, parts, config, journal, place),
    )
    try:
        with _terminable():
            stopped = engine.run(Limits(config.intervals, config.max_time, config.target_score))
            winner = lineage.winner(present_in(journal, journal.segments()).last.values()).id
            final = {winner: engine.state(winner)}
            journal.set_about(stopped=stopped)
    except BaseException:
        _close(engine, place)
        _leave_what_there_is(parts, config, journal, place)
        raise
    _close(engine, place)
    try:
        return _leave(parts, config, journal, place, final)
    except OSError as error:
        raise RunError(
            f"the winner, tables and figures cannot be written: {error}; the run is recorded to its end, and "
            "resuming it writes them"
        ) from error


def _close(engine: Engine, place: Directory | None) -> None:
    engine.close()
    if place is not None:  # nobody writes any more; a worker may have died while it did
        with suppress(OSError):  # the next to go on with the run will try again
            _clear(place)


def _clear(place: Directory) -> None:
    """Delete what writers that were killed have left."""
    for path in (*place.checkpoints.leftovers(), *leftovers(place.path)):
        path.unlink(missing_ok=True)


@contextmanager
def _terminable() -> Iterator[None]:
    """Have SIGTERM act as Ctrl-C, where nobody has said what else it is to do."""
    ours = threading.current_thread() is threading.main_thread()
    ours = ours and signal.getsignal(signal.SIGTERM) is signal.SIG_DFL
    if ours:
        signal.signal(signal.SIGTERM, signal.default_int_handler)
    try:
        yield
    finally:
        if ours:
            signal.signal(signal.SIGTERM, signal.SIG_DFL)


def _leave(
    parts: Parts,
    config: RunConfig,
    journal: Journal,
    place: Directory | None,
    final: Mapping[SegmentId, State],
) -> Result:
    """The result, and beside the record what people look at."""
    if place is not None and config.outputs:
        write_tables(journal, place, parts.task)
    result = result_of(journal, place, journal.about(), lambda: parts.task, final)
    if place is not None:
        write_winner(result, place)
        if config.outputs:
            write_figures(result, place, parts.task)
    return result


def _leave_what_there_is(parts: Parts, config: RunConfig, journal: Journal, place: Directory | None) -> None:
    """The same of a run that was stopped; what stopped it is what the user is told."""
    if place is None:
        return
    try:
        _leave(parts, config, journal, place, {})
    except PopgradError:  # nobody has a score yet
        return
    except Exception as error:
        log.warning("tables, figures and the winner are not written: %s", error)


def _listening(
    watch: Watch | None, parts: Parts, config: RunConfig, journal: Journal, place: Directory | None
) -> Watch:
    """Whoever was given to be told, and the writer of events where they are wanted."""
    watch = watch or Watch()
    if place is None or not (config.outputs and config.events):
        return watch
    task = parts.task
    return replace(watch, record=events(place.events, task, task.space, task.score, journal.segments()))
