"""States that are needed again: loaded from checkpoints, or retrained from the record."""

import logging
from collections.abc import Iterable, Mapping
from contextlib import suppress

from popgrad.core.errors import RunError
from popgrad.core.population import SegmentId
from popgrad.core.segment import Outcome, Segment
from popgrad.executors.base import Executor
from popgrad.state import State
from popgrad.store.checkpoints import (
    Checkpoints,
    DamagedCheckpointError,
    MissingCheckpointError,
)
from popgrad.tasks.base import Task, network_bytes

log = logging.getLogger("popgrad")


def restore(
    executor: Executor,
    checkpoints: Checkpoints | None,
    segments: Mapping[SegmentId, Segment],
    wanted: Iterable[SegmentId],
    *,
    exact: bool = True,
    task: Task | None = None,
) -> None:
    """Give an executor the final states of segments.

    A state without a checkpoint is retrained from the nearest segment behind it that has one, with
    the recorded hyperparameters and seeds, and compared with the record.

    Args:
        executor: Executor that is to hold the states.
        checkpoints: Checkpoints of the run; None = there are none.
        segments: The record.
        wanted: Segments with a final state.
        exact: Whether a state that differs from the record is an error; else it is logged.
        task: Task of the run, as in `load_checkpoint`.

    Raises:
        RunError: A retrained segment fails, or differs from the record; or a checkpoint cannot be read
            now.
    """
    wanted = set(wanted)
    missing = _put_checkpoints(executor, checkpoints, segments, wanted, task)
    if missing:
        log.warning("%d segments have no checkpoint and are retrained", len(missing))

    # Retrain generation by generation: a segment is ready once the executor holds its source.
    while missing:
        ready = [
            segment
            for segment in missing.values()
            if segment.source is None or executor.holds(segment.source)
        ]
        executor.submit([segment.assignment for segment in ready])
        for _ in ready:
            outcome = executor.next()
            compare(missing.pop(outcome.id), outcome, exact=exact)

        # Only the states that are wanted, or that a missing segment starts from, need memory.
        ahead = {segment.source for segment in missing.values() if segment.source is not None}
        executor.retain(wanted | ahead)


def _put_checkpoints(
    executor: Executor,
    checkpoints: Checkpoints | None,
    segments: Mapping[SegmentId, Segment],
    wanted: Iterable[SegmentId],
    task: Task | None,
) -> dict[SegmentId, Segment]:
    """Put the nearest checkpoints behind the wanted segments, and return the segments to retrain."""
    missing: dict[SegmentId, Segment] = {}
    for leaf in wanted:
        segment: SegmentId | None = leaf
        while segment is not None and segment not in missing and not executor.holds(segment):
            state = None
            if checkpoints is not None:
                state = load_checkpoint(checkpoints, segments[segment], task)
            if state is not None:
                executor.put(segment, state)
                break

            missing[segment] = segments[segment]
            segment = segments[segment].source
    return missing


def load_checkpoint(
    checkpoints: Checkpoints, segment: Segment, task: Task | None = None
) -> State | None:
    """Return the final state of a segment from its checkpoint; None = there is none.

    A file is deleted only if its content is proven to be another than its name states.

    Args:
        checkpoints: Checkpoints of the run.
        segment: The segment.
        task: Task of the run, with whose network a large file is compared; None = with none.

    Raises:
        RunError: The file cannot be read now; it stays.
    """
    try:
        return checkpoints.load(
            segment.digest, lambda: None if task is None else network_bytes(task, segment.hparams)
        )
    except MissingCheckpointError:
        return None
    except DamagedCheckpointError as error:
        log.warning("%s; the file is deleted, and its segment is retrained", error)
        # A file that cannot be deleted stays, and the segment is retrained each time.
        with suppress(OSError):
            checkpoints.path(segment.digest).unlink()
        return None


def compare(recorded: Segment, outcome: Outcome, *, exact: bool = True) -> bool:
    """Return whether a retrained segment equals its record.

    Args:
        recorded: Segment of the record.
        outcome: Outcome of retraining it.
        exact: Whether a difference is an error; else it is logged.

    Raises:
        RunError: The segment failed, or it differs although `exact` is set.
    """
    name = f"member {recorded.member}, interval {recorded.interval}"
    if outcome.error:
        raise RunError(f"{name} was retrained and failed, which it did not before: {outcome.error}")
    if outcome.digest == recorded.digest:
        return True

    message = (
        f"{name} was retrained and differs from the record (digest {outcome.digest[:12]}…, recorded "
        f"{recorded.digest[:12]}…)"
    )
    if exact:
        raise RunError(
            f"{message}: is this another machine, another number of threads, or another version of the task?"
        )
    log.warning("%s: this machine's arithmetic differs", message)
    return False
