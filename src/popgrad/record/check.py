"""Checks whether data can be the record of a run."""

from collections.abc import Iterable, Iterator, Mapping
from itertools import pairwise
from typing import Any

from popgrad.core.errors import RunError
from popgrad.core.plan import Decision
from popgrad.core.population import FRESH, Hparams
from popgrad.core.segment import Segment
from popgrad.record.lineage import founders
from popgrad.record.progress import PendingSegment, Progress, recorded_starts
from popgrad.record.record import Record

_FACTS: Mapping[str, type] = {
    "config": dict,
    "space": dict,
    "score": str,
    "stopped": str,
    "given_task": bool,
    "task_digest": str,
}
"""Types of what a run records about itself, by key."""

_MAX_MEMBERS = 100_000  # as the configuration allows


def check_facts(facts: Mapping[str, Any]) -> None:
    """Refuse facts about a run that no run has written.

    Args:
        facts: Configuration, space, score and the rest, by key, as the journal holds them.

    Raises:
        RunError: A fact is missing or has another type; names it.
    """
    for key, kind in _FACTS.items():
        if not isinstance(facts.get(key), kind):
            raise _damaged(key, facts.get(key))

    sizes = facts.get("sizes")
    if not isinstance(sizes, list) or not sizes:
        raise _damaged("sizes", sizes)
    if not all(type(size) is int and 0 < size <= _MAX_MEMBERS for size in sizes):
        raise _damaged("sizes", sizes)
    # A run records the others only once they are known, or did not in earlier versions.
    if not isinstance(facts.get("fingerprint", {}), dict):
        raise _damaged("fingerprint", facts["fingerprint"])
    if not isinstance(facts.get("run_id", ""), str):
        raise _damaged("run_id", facts["run_id"])
    if facts.get("reuse") not in (None, True, False):
        raise _damaged("reuse", facts["reuse"])
    if facts.get("shared_budget", False) not in (True, False):
        raise _damaged("shared_budget", facts["shared_budget"])
    study = facts.get("study", {})
    if not isinstance(study, dict) or not isinstance(study.get("lease", 1.0), int | float):
        raise _damaged("study", study)
    code = facts.get("code", {})
    if not isinstance(code, dict) or not all(isinstance(digest, str) for digest in code.values()):
        raise _damaged("code", code)


def _damaged(key: str, value: object) -> RunError:
    return RunError(f"the journal is damaged: {key} of the run cannot be {value!r:.60}")


def check_record(record: Record) -> None:
    """Refuse a record that no run can continue from.

    Raises:
        RunError: The record lacks or has a member, a source or a hyperparameter that the run cannot
            have.
    """
    for problem in problems(record):
        raise RunError(f"the record is damaged: {problem}")


def check_segments(segments: Iterable[Segment], record: Record) -> None:
    """Refuse segments that a run cannot have; their sources are not looked up.

    Args:
        segments: Segments of the run, as they arrive.
        record: Its space, sizes and score; its own segments do not matter.

    Raises:
        RunError: A segment does not fit.
    """
    largest = max(record.sizes)
    for segment in segments:
        if not _fits(segment, largest, record):
            raise RunError(
                f"the record is damaged: segment {segment.id} does not fit a run of {largest} members"
            )


def problems(record: Record) -> Iterator[str]:
    """List the parts of a record that do not fit its run, one line each, in one pass."""
    largest = max(record.sizes)
    for segment in record.segments:
        if not _fits(segment, largest, record):
            yield f"segment {segment.id} does not fit a run of {largest} members"
            return

    try:
        # This finds sources that are missing or run in a circle.
        founders(record.segments)
    except RunError as error:
        yield str(error).removeprefix("the record is damaged: ")
        return

    if not record.decisions:
        return
    size = record.sizes[0]
    for decision in record.decisions:
        after = decision.size or size
        if not _applies(decision, size, after, record):
            yield f"decision {decision.number} does not fit a run of {after} members"
            return
        size = after
    sizes = [decision.size for decision in record.decisions if decision.size is not None]
    if sizes != list(record.sizes[1:]):
        yield f"the recorded sizes are {list(record.sizes)}, but the decisions made it {sizes}"


def _fits(segment: Segment, largest: int, record: Record) -> bool:
    counts = (
        segment.interval >= 0
        and segment.first_step >= 0
        and segment.steps >= 1
        and segment.samples >= 0
    )
    complete = _complete(segment.hparams, record) and _measured(segment, record.ranking.metric)
    return segment.member in range(largest) and counts and complete


def _measured(segment: Segment, metric: str) -> bool:
    """Return whether evaluations and samples are those that training a segment can give."""
    within = segment.evaluations
    steps = [each.step for each in within]
    ordered = all(before < after for before, after in pairwise(steps))
    ends = not within or steps[-1] == segment.steps
    ranked = all(metric in each.metrics for each in within)
    return ordered and ends and ranked and all(segment.metric_samples.values())


def _applies(decision: Decision, before: int, after: int, record: Record) -> bool:
    """Return whether a decision fits a population of `before` members, `after` from then on."""
    plan = decision.plan
    members = all(member in range(after) for member in plan.members)
    known = range(max(before, after))
    sources = all(
        source in known or source == FRESH or place in decision.archived
        for place, source in enumerate(plan.sources)
    )
    archive = {*decision.archived.values(), *plan.keep} <= record.by_id.keys()
    complete = all(_complete(hparams, record) for hparams in plan.hparams)
    lengths = record.shared_budget or not plan.lengths
    return members and sources and archive and complete and lengths and decision.number >= 0


def _complete(hparams: Hparams, record: Record) -> bool:
    return hparams.keys() == set(record.space)


def _agrees(trained: Segment, start: PendingSegment) -> bool:
    """Return whether a segment was trained as it was decided on."""
    settings = dict(trained.hparams) == dict(start.hparams)
    parts = (trained.transform, trained.role, trained.length)
    decided = (start.transform, start.role, start.length)
    return settings and trained.source == start.source and parts == decided


def contradictions(record: Record) -> Iterator[str]:
    """List the segments that contradict their sources or the decisions, one line each.

    Args:
        record: A record without `problems`, with all decisions.
    """
    for segment in record.segments:
        name = f"member {segment.member}, interval {segment.interval}"
        source = None if segment.source is None else record.by_id[segment.source]
        begin = 0 if source is None else source.last_step
        if source is not None and source.broke:
            yield f"{name} starts from {segment.source}, which has no state to start from"
        elif segment.first_step != begin:
            yield f"{name} begins with step {segment.first_step}, but its source ends with step {begin}"

    progress = Progress(recorded_starts(record.segments))
    for number, decision in enumerate(record.decisions):
        if decision.number != number:
            yield f"decision {number} is missing"
            return
        try:
            starts = progress.apply(decision, record.by_id)
        except RunError as error:
            yield str(error)
            return
        for start in starts:
            trained = record.by_id.get(start.id)
            if trained is None:
                continue
            if not _agrees(trained, start):
                yield (
                    f"member {start.member}, interval {start.interval} differs from decision "
                    f"{number}, which started it"
                )
