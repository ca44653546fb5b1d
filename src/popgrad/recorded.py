"""What a run was told, from its journal, and its task again."""

from collections.abc import Mapping, Sequence
from typing import Any

from popgrad import config as configuration
from popgrad.config import RunConfig
from popgrad.core.errors import RunError, UsageError
from popgrad.core.population import Segment
from popgrad.parts import make_task
from popgrad.store.directory import Directory
from popgrad.store.journal import Journal
from popgrad.store.lineage import index
from popgrad.store.rows import check_about
from popgrad.store.standing import recorded_starts, standing
from popgrad.strategies.base import Strategy
from popgrad.tasks.base import Task
from popgrad.tasks.reference import check_outside, source_digest


def about_run(journal: Journal, place: Directory) -> dict[str, Any]:
    """What the journal knows of the run as a whole, and the directory that it was found in.

    Raises:
        RunError: It knows nothing, or what no run has written.
    """
    about = journal.about()
    if "stopped" not in about:  # an older popgrad wrote it last, before the first member trained
        raise RunError(
            f"the run in {place.path} ended before it had begun: delete the directory, start again"
        )
    check_about(about)
    return {**about, "directory": place.path}


def check_resize(
    config: RunConfig, journal: Journal, segments: Sequence[Segment], strategy: Strategy, *, grow: bool
) -> str:
    """Hold a change of the population to what can be had.

    Args:
        config: What is wanted.
        journal: The record.
        segments: Its segments.
        strategy: Says how new members begin where nobody else does.
        grow: Whether it was said just now how new members begin.

    Returns:
        What will happen, in a sentence; "" = the population stays as large as it is.

    Raises:
        UsageError: No decision is to come that could change it, or it was said without effect.
    """
    size, wanted = journal.sizes()[-1], config.population
    if grow and wanted <= size:
        raise UsageError(
            f"grow: given {config.grow!r}, but the population has {size} members and does not grow; give "
            "--population too"
        )
    if wanted == size:
        return ""
    by_id = index(segments)
    newest = standing(recorded_starts(segments), journal.decisions(), by_id).newest
    failed = {member for member, start in newest.items() if start.id in by_id and by_id[start.id].failed}
    come = [start.interval for start in newest.values() if start.member not in failed or len(failed) == size]
    if come and (min(come) + 1 >= config.intervals or max(come) >= config.intervals):
        raise UsageError(
            f"population: given {wanted}, but the {size} members have decided on all {config.intervals} "
            f"intervals; give --intervals too, at least {max(come) + 2}"
        )
    if wanted < size:
        return f"the population shrinks from {size} to {wanted} at the next decision: the best stay"
    new = "cloned" if strategy.growth(config.grow) == "clone" else "sampled"
    return f"the population grows from {size} to {wanted} at the next decision: new members are {new}"


def check_given(about: Mapping[str, Any], given: Task | None, function: str) -> None:
    """Refuse to go on without the task where the run was given an instance, or names code of its own.

    Raises:
        UsageError: It has to be given again, to `function`.
    """
    if about["given_task"] and given is None:
        raise UsageError(
            f"the run was given a task instance: give it again, popgrad.{function}(directory, task=...)"
        )
    if given is None:
        config = configuration.parse(about["config"])
        check_outside(config.task, config.options, about["directory"])


def task_again(about: Mapping[str, Any], given: Task | None) -> Task:
    """The task of a recorded run, for its winner.

    Raises:
        UsageError: It has to be given again, or cannot be made.
    """
    check_given(about, given, "load")
    # The weights that members started from are in the states since then, and their file may be gone.
    config = configuration.parse(about["config"] | {"weights": None})
    return make_task(config if given is None else config.model_copy(update={"options": {}}), given)


def check_same_task(task: Task, given: Task | None, about: Mapping[str, Any], *, allow: bool) -> None:
    """Refuse to train what is not the task that the run began with.

    Args:
        task: As it would be trained.
        given: As it was given; None = the run names it.
        about: What the journal knows of the run.
        allow: Whether its source may have changed.

    Raises:
        UsageError: Its score, its space or its source has changed.
    """
    for what, recorded, now in (
        ("score", about["score"], task.score),
        ("space", about["space"], task.space.spec()),
    ):
        if now != recorded:
            raise UsageError(f"the task's {what} is {now!r}, but the run was begun with {recorded!r}")
    digest = source_digest(given or task, None if given is not None else about["config"]["task"])
    if digest != about["task_digest"] and not allow:
        raise UsageError(
            "the source of the task has changed since the run began, so that its record cannot be gone on "
            "with exactly; undo the change, or pass --allow-changed-task (allow_changed_task=True)"
        )
