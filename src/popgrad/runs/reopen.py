"""A recorded run, reopened: its configuration, its task, and whether it can continue as requested."""

import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from popgrad.config import RunConfig, parse
from popgrad.core.errors import UsageError
from popgrad.core.score import Score
from popgrad.gates.code import RecordedCode, check_outside, recorded_code
from popgrad.record.progress import Progress
from popgrad.record.record import Record
from popgrad.runs.components import make_task
from popgrad.strategies.base import Strategy
from popgrad.tasks.base import Task
from popgrad.tasks.reference import source_digest

_THIS_MACHINE = ("localhost", "127.0.0.1", "::1", "[::1]")
"""Hosts of addresses at which only this machine can answer."""


def recorded_config(record: Record, changes: Mapping[str, Any] | None = None) -> RunConfig:
    """Return the configuration of a recorded run, with changes over it.

    Args:
        record: Record of the run.
        changes: New values by key; None values leave a key as it is.

    Raises:
        UsageError: A new value is not allowed.
    """
    given = {key: value for key, value in (changes or {}).items() if value is not None}
    return parse({**record.config, **given})


def reopen_task(
    record: Record,
    config: RunConfig,
    directory: Path | None,
    task: Task | None,
    function: str,
    *,
    allow_changed: bool = False,
) -> Task:
    """Return the task of a recorded run.

    Args:
        record: Record of the run.
        config: Its configuration.
        directory: Directory of the run; code in it is not executed. None = in memory only.
        task: The task, if the run was given an instance.
        function: Public function that the task would have to be passed to, for the message.
        allow_changed: Whether the source of the task may have changed.

    Raises:
        UsageError: The task has to be passed again, cannot be made, or the gate for code refuses it.
    """
    check_given(record, config, directory, task, function)
    if task is not None:
        config = config.model_copy(update={"options": {}})
    with recorded_code(code_of(record, directory, allow_changed=allow_changed)):
        return make_task(config, task)


def code_of(record: Record, directory: Path | None, *, allow_changed: bool) -> RecordedCode:
    """Return the code that a record may name; the arguments are those of `reopen_task`."""
    return RecordedCode(directory, {*record.code.values(), record.task_digest}, allow_changed)


def check_given(
    record: Record, config: RunConfig, directory: Path | None, task: Task | None, function: str
) -> None:
    """Refuse to reopen a run without its task if the run was given an instance, or names code of its own.

    The arguments are those of `reopen_task`.

    Raises:
        UsageError: The task has to be passed again, or the directory holds a study.
    """
    if record.study is not None:
        raise UsageError(
            f"{function}: {directory} is a study, which has no task: its members are trained by the callers "
            "of popgrad.Study.open(directory)"
        )
    if task is not None:
        return
    if record.given_task:
        raise UsageError(
            f"task: the run was given a task instance; pass it again, popgrad.{function}(directory, task=...)"
        )
    if directory is not None:
        check_outside((config.task, config.options), directory)


def check_address(config: RunConfig, *, named: bool) -> None:
    """Refuse to connect to a cluster elsewhere because the record names it.

    What a cluster answers is code, and the record may come from any sender.

    Args:
        config: Configuration of the resumed run.
        named: Whether the user has named the address now.

    Raises:
        UsageError: The address has to be confirmed.
    """
    if config.executor != "ray" or config.address is None or named:
        return
    host, colon, _ = config.address.rpartition(":")
    if colon and host not in _THIS_MACHINE and config.address != os.environ.get("RAY_ADDRESS"):
        raise UsageError(
            f"address: the record names the cluster {config.address}, which could execute code here; if it "
            f"is yours, pass --address {config.address} (address={config.address!r})"
        )


def check_same_task(
    task: Task, ranking: Score, given: Task | None, record: Record, *, allow: bool
) -> None:
    """Refuse to train another task than the one that the run started with.

    Args:
        task: Task as it would be trained.
        ranking: Metric that would rank.
        given: Task as it was passed; None = the run names it.
        record: Record of the run.
        allow: Whether the source of the task may have changed.

    Raises:
        UsageError: The score, the space or the source of the task has changed.
    """
    if ranking != record.ranking:
        raise _changed("score", record.ranking.text, ranking.text)
    if task.space != record.space:
        raise _changed("space", record.space.spec(), task.space.spec())

    digest = source_digest(given or task, None if given is not None else record.config["task"])
    if digest != record.task_digest and not allow:
        raise UsageError(
            "the source of the task has changed since the run started, so the run cannot be continued "
            "exactly; undo the change, or pass --allow-changed-task (allow_changed_task=True)"
        )


def _changed(name: str, recorded: object, present: object) -> UsageError:
    return UsageError(
        f"the {name} of the task is {present!r}, but the run was started with {recorded!r}"
    )


def check_intervals(config: RunConfig, record: Record) -> None:
    """Refuse fewer intervals than are recorded.

    Raises:
        UsageError: There are more on record.
    """
    recorded = 1 + max((segment.interval for segment in record.segments), default=-1)
    if record.shared_budget:
        # Members do not train alike, so the budget counts.
        recorded = -(-record.spent // config.population)
    if config.intervals < recorded:
        raise UsageError(
            f"intervals: expected at least {recorded}, which are recorded, got {config.intervals}"
        )


def describe_resize(config: RunConfig, record: Record, strategy: Strategy, *, grow: bool) -> str:
    """Return a sentence on how the population will change its size; "" = it stays as large as it is.

    Args:
        config: Requested configuration.
        record: Record of the run, with all decisions.
        strategy: Its default applies to new members unless the configuration sets `grow`.
        grow: Whether `grow` was requested just now.

    Raises:
        UsageError: No decision is left that could change the size, or `grow` would have no effect.
    """
    size = record.size
    wanted = strategy.started(config.population)
    if grow and wanted <= size:
        raise UsageError(
            f"grow: got {config.grow!r}, but the population has {size} members and does not grow; pass "
            "--population too"
        )
    if wanted == size:
        return ""

    if record.shared_budget:
        _check_budget_left(config, record)
    ahead = [] if record.shared_budget else _intervals_ahead(record.progress, record)
    if ahead and (min(ahead) + 1 >= config.intervals or max(ahead) >= config.intervals):
        raise UsageError(
            f"population: got {wanted}, but the {size} members have made the decisions of all "
            f"{config.intervals} intervals; pass --intervals too, at least {max(ahead) + 2}"
        )
    if wanted < size:
        return f"the population shrinks from {size} to {wanted} at the next decision: the best stay"
    how = "cloned" if strategy.growth(config.grow) == "clone" else "sampled"
    return (
        f"the population grows from {size} to {wanted} at the next decision: new members are {how}"
    )


def _check_budget_left(config: RunConfig, record: Record) -> None:
    """Refuse another population if the budget that it brings is spent: no decision would follow.

    Raises:
        UsageError: It is spent, with the segments that are decided but untrained.
    """
    newest = record.progress.newest.values()
    pending = sum(start.length for start in newest if start.id not in record.by_id)
    spent = record.spent + pending
    budget = config.population * config.intervals
    if spent >= budget:
        raise UsageError(
            f"population: got {config.population}, which makes a shared budget of {budget} intervals, but "
            f"{spent} are spent or decided on; pass --intervals too, at least "
            f"{spent // config.population + 1}"
        )


def _intervals_ahead(progress: Progress, record: Record) -> list[int]:
    """Return each member's newest interval; failed members count only if all have failed."""
    newest = progress.newest
    failed = {
        member
        for member, start in newest.items()
        if start.id in record.by_id and record.by_id[start.id].failed
    }
    counted = newest.keys() - failed if len(failed) < record.size else newest.keys()
    return [newest[member].interval for member in counted]
