"""Executors: who trains. `EXECUTORS` holds them by name."""

from collections.abc import Callable, Mapping

from popgrad.executors.base import Executor
from popgrad.executors.processes import Processes
from popgrad.executors.serial import Serial

EXECUTORS: Mapping[str, Callable[..., Executor]] = {"serial": Serial, "processes": Processes}

__all__ = ["EXECUTORS", "Executor", "Processes", "Serial"]
