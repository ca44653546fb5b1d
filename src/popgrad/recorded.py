"""What a run was told, from its journal, and its task again."""

from collections.abc import Mapping
from typing import Any

from popgrad import config as configuration
from popgrad.core.errors import RunError, UsageError
from popgrad.parts import make_task
from popgrad.store.directory import Directory
from popgrad.store.journal import Journal
from popgrad.store.rows import check_about
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
