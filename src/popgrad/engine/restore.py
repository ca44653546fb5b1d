"""States that are needed again: loaded from checkpoints, or retrained from the record."""

import logging
from collections.abc import Iterable, Mapping
from contextlib import suppress

from popgrad.core.errors import RunError
from popgrad.core.population import Outcome, Segment, SegmentId
from popgrad.executors.base import Executor
from popgrad.state import State
from popgrad.store.checkpoints import Checkpoints

log = logging.getLogger("popgrad")


def restore(
    executor: Executor,
    checkpoints: Checkpoints | None,
    segments: Mapping[SegmentId, Segment],
    wanted: Iterable[SegmentId],
    *,
    exact: bool = True,
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

    Raises:
        RunError: A retrained segment fails, or differs from the record.
    """
    wanted = set(wanted)
    missing = _put_checkpoints(executor, checkpoints, segments, wanted)
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
) -> dict[SegmentId, Segment]:
    """Put the nearest checkpoints behind the wanted segments, and return the segments to retrain."""
    missing: dict[SegmentId, Segment] = {}
    for leaf in wanted:
        segment: SegmentId | None = leaf
        while segment is not None and segment not in missing and not executor.holds(segment):
            state = None
            if checkpoints is not None:
                state = load_checkpoint(checkpoints, segments[segment].digest)
            if state is not None:
                executor.put(segment, state)
                break

            missing[segment] = segments[segment]
            segment = segments[segment].source
    return missing


def load_checkpoint(checkpoints: Checkpoints, digest: str) -> State | None:
    """Return the state of a digest, or None if there is no file. A damaged file is deleted."""
    if not checkpoints.has(digest):
        return None

    try:
        return checkpoints.load(digest)
    except RunError as error:
        log.warning("%s; the file is deleted, and its segment is retrained", error)
        # A directory of that name stays, and the segment is retrained each time.
        with suppress(OSError):
            checkpoints.path(digest).unlink()
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
