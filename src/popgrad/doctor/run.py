"""Examination of a run: the journal in itself, and the checkpoints against it."""

from itertools import islice
from pathlib import Path

from popgrad.core.errors import RunError
from popgrad.doctor.finding import Finding, size
from popgrad.executors.fingerprint import fingerprint_with
from popgrad.gates.files import file_digest
from popgrad.gates.sizes import SOURCE
from popgrad.record.check import contradictions, problems
from popgrad.record.record import Record
from popgrad.store.checkpoints import DamagedCheckpointError
from popgrad.store.directory import Directory
from popgrad.store.filesystem import check_local
from popgrad.store.retention import needed

_RESTORE = "restore the directory from a copy, or start the run again"
_MAX_PROBLEMS = 10  # of the journal, that are listed


def examine_run(path: Path) -> list[Finding]:
    """Examine a run, also while it is in progress; nothing is changed.

    Args:
        path: Directory of the run.
    """
    directory = Directory(path.absolute())
    try:
        with directory.reading() as journal:
            damage = journal.damage()
            record = journal.record(all_decisions=True)
            # The record does not include it, but it has to be readable too.
            journal.telemetry()
    except RunError as error:
        return [Finding("journal", "problem", str(error), _RESTORE)]

    found = damage or list(islice(problems(record), _MAX_PROBLEMS))
    found = found or list(islice(contradictions(record), _MAX_PROBLEMS))
    findings = [Finding("journal", "problem", text, _RESTORE) for text in found]
    if not found:
        agreement = (
            f"{len(record.segments)} segments and {len(record.decisions)} decisions, which agree"
        )
        findings = [
            Finding("journal", "ok", agreement),
            _examine_checkpoints(directory, record),
            _examine_garbage(directory, record),
        ]
    return [
        *findings,
        _examine_failures(record),
        _examine_task(record),
        _examine_machine(record),
        _examine_disk(directory),
        _examine_progress(directory, record),
    ]


def _examine_checkpoints(directory: Directory, record: Record) -> Finding:
    """Read each checkpoint that is needed, and compare its content with its name."""
    checkpoints = directory.checkpoints
    try:
        existing = [
            digest
            for digest in sorted(needed(record, checkpoints) - {""})
            if checkpoints.has(digest)
        ]
    except RunError as error:
        return Finding("checkpoints", "problem", str(error), "remove the cause")
    damaged = []
    unreadable = []
    for digest in existing:
        try:
            checkpoints.load(digest)
        except DamagedCheckpointError as error:
            damaged.append(str(error))
        except RunError as error:
            unreadable.append(str(error))

    retrains = "popgrad resume retrains what is missing"
    if record.study is not None:
        retrains = "a study cannot retrain it: put the file back"
    if unreadable:
        text = f"{len(unreadable)} cannot be read: {unreadable[0]}"
        return Finding(
            "checkpoints", "problem", text, "remove the cause; nothing is deleted for it"
        )
    if damaged:
        return Finding("checkpoints", "problem", f"{len(damaged)} damaged: {damaged[0]}", retrains)

    last = {segment.digest for segment in record.last.values() if not segment.broke}
    missing = [digest for digest in last if not checkpoints.has(digest)]
    if missing:
        text = f"{len(existing)} exist, all whole; {len(missing)} of {len(last)} last states are missing"
        return Finding("checkpoints", "note", text, retrains)
    return Finding("checkpoints", "ok", f"{len(existing)}, all whole; every last state exists")


def _examine_garbage(directory: Directory, record: Record) -> Finding:
    checkpoints = directory.checkpoints
    try:
        files = checkpoints.unneeded(needed(record, checkpoints)) + checkpoints.leftovers()
    except RunError as error:
        return Finding("space", "problem", str(error), "remove the cause")
    # A run in progress collects its files by itself.
    if not files or directory.holder():
        return Finding("space", "ok", "nothing to collect")
    total = size(sum(path.stat().st_size for path in files if path.exists()))
    text = f"{len(files)} files that nothing needs, {total}"
    return Finding("space", "note", text, "popgrad gc deletes them")


def _examine_failures(record: Record) -> Finding:
    failed = [segment for segment in record.segments if segment.failed]
    if not failed:
        return Finding("failures", "ok", "no member has failed")
    first = min(failed, key=lambda segment: (segment.interval, segment.member))
    last_line = first.error.strip().rpartition("\n")[2]
    text = f"{len(failed)} of {len(record.segments)} segments; the first: member {first.member}, "
    return Finding("failures", "note", f"{text}interval {first.interval}: {last_line}")


def _examine_task(record: Record) -> Finding:
    """Compare the file of a task with its recorded digest; the file is read, not executed."""
    if record.study is not None:
        return Finding("task", "ok", "a study, trained by its callers")
    if record.given_task:
        return Finding("task", "ok", "given from Python")
    place = str(record.config.get("task", "")).rpartition(":")[0]
    if not place.endswith(".py"):
        return Finding("task", "ok", "named by a module")

    try:
        digest = file_digest(place, SOURCE)
    except FileNotFoundError:
        return Finding(
            "task", "problem", f"{place} does not exist", "put it back to continue the run"
        )
    except OSError as error:
        text = f"{place} cannot be read: {error.strerror}"
        return Finding("task", "problem", text, "the run can be continued once it can be read")
    if digest != record.task_digest:
        advice = "undo the change, or resume with --allow-changed-task"
        return Finding("task", "problem", f"{place} has changed since the run started", advice)
    return Finding("task", "ok", f"{place} is unchanged")


def _examine_machine(record: Record) -> Finding:
    if record.study is not None:
        return Finding("machine", "ok", "bits depend on the callers of the study")
    then = record.fingerprint
    threads = then.get("threads", 1)
    now = fingerprint_with(threads if isinstance(threads, int) else 1)
    differing = [
        name for name in now if name != "threads" and name in then and then[name] != now[name]
    ]
    if not differing:
        return Finding("machine", "ok", "computes like the one that started the run")

    changes = ", ".join(f"{name} {then[name]!r} -> {now[name]!r}" for name in differing)
    text = f"this machine's arithmetic differs from the one that started the run: {changes}"
    return Finding("machine", "note", text, "the run can continue, but bits are no longer promised")


def _examine_disk(directory: Directory) -> Finding:
    try:
        check_local(directory.path)
    except RunError as error:
        return Finding("file system", "problem", str(error), "move the directory to a local disk")
    return Finding("file system", "ok", "a local disk")


def _examine_progress(directory: Directory, record: Record) -> Finding:
    holder = directory.holder()
    if holder:
        return Finding("progress", "ok", f"process {holder} is at work on it")
    if record.stopped == "unfinished" and record.study is not None:
        return Finding("progress", "ok", "a study whose callers have not trained it to its end")
    if record.stopped == "unfinished":
        advice = f"continue with: popgrad resume {directory.path}"
        return Finding("progress", "note", "it was stopped before its end", advice)
    return Finding("progress", "ok", f"it has ended: {record.stopped}")
