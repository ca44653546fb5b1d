"""Executors: who trains. `EXECUTORS` holds them by name."""

from collections.abc import Callable, Mapping

from popgrad.executors.base import Executor
from popgrad.executors.processes import Processes
from popgrad.executors.serial import Serial
from popgrad.executors.vectorised import Vectorised

EXECUTORS: Mapping[str, Callable[..., Executor]] = {
    "serial": Serial,
    "processes": Processes,
    "vectorised": Vectorised,
}

__all__ = ["EXECUTORS", "Executor", "Processes", "Serial", "Vectorised"]
