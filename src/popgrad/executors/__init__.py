"""Executors: they own the states and train the members. `EXECUTORS` holds them by name."""

from collections.abc import Callable, Mapping
from typing import Any

from popgrad.core.errors import UsageError
from popgrad.executors.base import Executor
from popgrad.executors.processes.pool import Processes
from popgrad.executors.serial import Serial
from popgrad.executors.stacked.executor import Vectorised


def _ray(*args: Any, **options: Any) -> Executor:
    """Return the executor on a Ray cluster; Ray, an extra, is imported here and not before."""
    try:
        from popgrad.executors.ray.executor import Ray
    except ImportError as error:
        raise UsageError(
            f"executor: ray needs the extra of that name ({error}): pip install 'popgrad[ray]'"
        ) from error
    return Ray(*args, **options)


EXECUTORS: Mapping[str, Callable[..., Executor]] = {
    "serial": Serial,
    "processes": Processes,
    "vectorised": Vectorised,
    "ray": _ray,
}

__all__ = ["EXECUTORS", "Executor", "Processes", "Serial", "Vectorised"]
