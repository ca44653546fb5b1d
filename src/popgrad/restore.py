"""States that are needed again: from checkpoints, and where there is none, trained again from the record."""

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
    """Have the executor hold the final states of segments.

    A state that has no checkpoint is trained again, from the nearest segment behind it that has one, with the
    recorded hyperparameters and seeds, and compared with the record.

    Args:
        executor: Who is to hold them.
        checkpoints: Where states may lie; None = nowhere.
        segments: The record.
        wanted: Which; each has a final state.
        exact: Whether a state that differs from the record is an error, else it is said.

    Raises:
        RunError: A segment that is trained again fails, or differs from the record.
    """
    wanted = set(wanted)
    missing = _missing(executor, checkpoints, segments, wanted)
    if missing:
        log.warning("%d segments have no checkpoint, and are trained again", len(missing))
    while missing:
        ready = [each for each in missing.values() if each.source is None or executor.holds(each.source)]
        executor.submit([each.assignment for each in ready])
        for _ in ready:
            outcome = executor.next()
            compare(missing.pop(outcome.id), outcome, exact=exact)
        executor.retain(wanted | {each.source for each in missing.values() if each.source is not None})


def _missing(
    executor: Executor,
    checkpoints: Checkpoints | None,
    segments: Mapping[SegmentId, Segment],
    wanted: Iterable[SegmentId],
) -> dict[SegmentId, Segment]:
    """What has to be trained again; where its way begins, the executor is given the state."""
    missing: dict[SegmentId, Segment] = {}
    for segment in wanted:
        each: SegmentId | None = segment
        while each is not None and each not in missing and not executor.holds(each):
            state = None if checkpoints is None else found(checkpoints, segments[each].digest)
            if state is not None:
                executor.put(each, state)
                break
            missing[each] = segments[each]
            each = segments[each].source
    return missing


def found(checkpoints: Checkpoints, digest: str) -> State | None:
    """The state of a digest; None where there is no file, or one that is damaged, which is then deleted."""
    if not checkpoints.has(digest):
        return None
    try:
        return checkpoints.load(digest)
    except RunError as error:
        log.warning("%s; it is deleted, and what it held is trained again", error)
        with suppress(OSError):  # a directory of somebody's stays, and the state is trained again each time
            checkpoints.path(digest).unlink()
        return None


def compare(recorded: Segment, outcome: Outcome, *, exact: bool = True) -> bool:
    """Whether a segment that was trained again is what the record says.

    Raises:
        RunError: It failed, or it differs although it has to be `exact`.
    """
    where = f"member {recorded.member}, interval {recorded.interval}"
    if outcome.error:
        raise RunError(f"{where} was trained again and failed, which it did not before: {outcome.error}")
    if outcome.digest == recorded.digest:
        return True
    message = (
        f"{where} was trained again and differs from the record (digest {outcome.digest[:12]}…, recorded "
        f"{recorded.digest[:12]}…)"
    )
    if exact:
        raise RunError(
            f"{message}: is this another machine, another number of threads, or another version of the task?"
        )
    log.warning("%s: this machine computes otherwise", message)
    return False


def kept(
    segments: Mapping[SegmentId, Segment], checkpoints: Checkpoints, wanted: Iterable[Segment]
) -> set[str]:
    """Digests of the checkpoints from which states can be had again: their own, or the nearest behind them.

    Args:
        segments: The record.
        checkpoints: Where states lie.
        wanted: Whose states.
    """
    digests: set[str] = set()
    seen: set[SegmentId] = set()
    for segment in wanted:
        each: Segment | None = segment
        while each is not None and each.id not in seen:
            seen.add(each.id)
            if each.digest:
                digests.add(each.digest)  # also while it is being written
                if checkpoints.has(each.digest):
                    break
            each = None if each.source is None else segments[each.source]
    return digests
