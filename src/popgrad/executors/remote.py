"""Parts shared by the executors that train in other processes."""

import cloudpickle

from popgrad.core.errors import UsageError
from popgrad.tasks.base import Task


def pickle_task(task: Task) -> bytes:
    """Return the task as bytes that another process can load.

    Raises:
        UsageError: The task cannot be pickled.
    """
    try:
        return cloudpickle.dumps(task)  # type: ignore[no-any-return]
    except Exception as error:  # the task's own parts may raise anything
        raise UsageError(
            f"the task cannot be sent to worker processes ({type(error).__name__}: {error}); open files, "
            "locks and the like inside its functions, or train with the serial executor"
        ) from error
