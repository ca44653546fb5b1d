"""Whether a run is whole: the journal in itself, and the checkpoints against it."""

import hashlib
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from popgrad.core.errors import RunError
from popgrad.core.population import Decision, Segment, SegmentId
from popgrad.doctor.finding import Finding, size
from popgrad.executors.fingerprint import fingerprint_with
from popgrad.garbage import needed
from popgrad.recorded import about_run
from popgrad.store import lineage
from popgrad.store.directory import Directory
from popgrad.store.journal import Journal
from popgrad.store.mounts import check_local
from popgrad.store.standing import Present, Standing, follow, present, recorded_starts

_AGAIN = "restore the directory from a copy, or start the run again"


def examine_run(directory: Path) -> list[Finding]:
    """Look at a run, also while it is in progress; nothing is changed.

    Args:
        directory: The run's.
    """
    place = Directory(directory.absolute())
    try:
        journal = Journal(place.journal, readonly=True)
        try:
            about, damage = about_run(journal, place), journal.damage()
            segments, decisions = lineage.index(journal.segments()), journal.decisions()
            sizes = journal.sizes()
            journal.telemetry()
        finally:
            journal.close()
    except RunError as error:
        return [Finding("journal", "problem", str(error), _AGAIN)]
    wrong = damage + list(_wrong(segments, decisions, sizes))
    findings = [Finding("journal", "problem", text, _AGAIN) for text in wrong[:10]]
    if not wrong:
        text = f"{len(segments)} segments and {len(decisions)} decisions, which agree"
        findings.append(Finding("journal", "ok", text))
        now = present(list(segments.values()), decisions)
        findings.append(_checkpoints(place, segments, now))
        findings.append(_garbage(place, segments, now))
    return [
        *findings,
        _failures(segments),
        _task(about),
        _machine(about),
        _disk(place),
        _progress(place, about),
    ]


def _wrong(
    segments: Mapping[SegmentId, Segment], decisions: Sequence[Decision], sizes: Sequence[int]
) -> Iterator[str]:
    """What in the record contradicts itself."""
    if (said := [d.size for d in decisions if d.size is not None]) != list(sizes[1:]):
        yield f"the population had the sizes {[*sizes]}, but decisions made it {said}"
    try:
        lineage.founders(list(segments.values()))
    except RunError as error:  # sources that are missing, or run in a circle
        yield str(error)
        return
    for segment in segments.values():
        name = f"member {segment.member}, interval {segment.interval}"
        source = None if segment.source is None else segments[segment.source]
        if source is not None and source.broke:
            yield f"{name} starts from {segment.source}, which has no state to start from"
        elif segment.first_step != (0 if source is None else source.last_step):
            yield f"{name} begins with step {segment.first_step}, but not where its source ends"
    yield from _disobeyed(segments, decisions)


def _disobeyed(segments: Mapping[SegmentId, Segment], decisions: Sequence[Decision]) -> Iterator[str]:
    """Segments that are not what was decided."""
    standing = Standing(recorded_starts(segments.values()))
    for number, decision in enumerate(decisions):
        if decision.number != number:
            yield f"decision {number} is missing"
            return
        try:
            starts = follow(decision, standing, segments)
        except RunError as error:
            yield str(error)
            return
        for start in starts:
            found = segments.get(start.id)
            if found and (found.source, dict(found.hparams)) != (start.source, dict(start.hparams)):
                yield f"member {start.member}, interval {start.interval} is not what decision {number} says"


def _checkpoints(place: Directory, segments: Mapping[SegmentId, Segment], now: Present) -> Finding:
    """Each checkpoint that is needed is read, and compared with its name."""
    digests = sorted(needed(segments, place.checkpoints, now) - {""})
    last = {s.digest for s in now.last.values() if not s.broke}
    damaged = []
    for digest in filter(place.checkpoints.has, digests):
        try:
            place.checkpoints.load(digest)
        except RunError as error:
            damaged.append(str(error))
    missing = [digest for digest in last if not place.checkpoints.has(digest)]
    again = "popgrad resume trains again what is missing"
    if damaged:
        return Finding("checkpoints", "problem", f"{len(damaged)} damaged: {damaged[0]}", again)
    there = sum(map(place.checkpoints.has, digests))
    if missing:
        text = f"{there} are there and whole; {len(missing)} of {len(last)} last states are not"
        return Finding("checkpoints", "note", text, again)
    return Finding("checkpoints", "ok", f"{there}, all whole; every last state is there")


def _garbage(place: Directory, segments: Mapping[SegmentId, Segment], now: Present) -> Finding:
    checkpoints = place.checkpoints
    files = checkpoints.unneeded(needed(segments, checkpoints, now)) + checkpoints.leftovers()
    if not files or place.holder():  # a run in progress collects by itself
        return Finding("space", "ok", "nothing to collect")
    total = size(sum(path.stat().st_size for path in files if path.exists()))
    return Finding(
        "space", "note", f"{len(files)} files that nothing needs, {total}", "popgrad gc deletes them"
    )


def _failures(segments: Mapping[SegmentId, Segment]) -> Finding:
    failed = [segment for segment in segments.values() if segment.failed]
    if not failed:
        return Finding("failures", "ok", "no member has failed")
    first = min(failed, key=lambda segment: (segment.interval, segment.member))
    why = first.error.strip().rpartition("\n")[2]
    text = f"{len(failed)} of {len(segments)} segments; the first: member {first.member}, interval "
    return Finding("failures", "note", f"{text}{first.interval}: {why}")


def _task(about: Mapping[str, Any]) -> Finding:
    """Whether the file of a task is what it was; it is read, not run."""
    place = str(about.get("config", {}).get("task", "")).rpartition(":")[0]
    if about.get("given_task") or not place.endswith(".py"):
        return Finding("task", "ok", "given from Python" if about.get("given_task") else "named by a module")
    try:
        digest = hashlib.sha256(Path(place).read_bytes()).hexdigest()
    except OSError:
        return Finding("task", "problem", f"{place} is not there", "put it back to go on with the run")
    if digest != about.get("task_digest"):
        advice = "undo the change, or resume with --allow-changed-task"
        return Finding("task", "problem", f"{place} has changed since the run began", advice)
    return Finding("task", "ok", f"{place} is what it was")


def _machine(about: Mapping[str, Any]) -> Finding:
    then = about.get("fingerprint", {})
    now = fingerprint_with(then.get("threads", 1))
    other = [name for name in now if name != "threads" and name in then and then[name] != now[name]]
    if other:
        text = "this machine computes otherwise than the one that began it: "
        text += ", ".join(f"{name} {then[name]!r} -> {now[name]!r}" for name in other)
        return Finding("machine", "note", text, "it can go on here, but bits are no longer promised")
    return Finding("machine", "ok", "computes like the one that began it")


def _disk(place: Directory) -> Finding:
    try:
        check_local(place.path)
    except RunError as error:
        return Finding("file system", "problem", str(error), "move the directory to a local disk")
    return Finding("file system", "ok", "a local disk")


def _progress(place: Directory, about: Mapping[str, Any]) -> Finding:
    if holder := place.holder():
        return Finding("progress", "ok", f"process {holder} is at work on it")
    stopped = str(about.get("stopped", "unfinished"))
    if stopped == "unfinished":
        advice = f"go on with: popgrad resume {place.path}"
        return Finding("progress", "note", "it was stopped before its end", advice)
    return Finding("progress", "ok", f"it has ended: {stopped}")
