"""Population Based Training for PyTorch: a trained model and the schedule that trained it."""

import importlib
import os
from typing import TYPE_CHECKING, Any

# Before the first product: with it the MKL gives equal bits, wherever in memory an operand is.
os.environ.setdefault("MKL_CBWR", "AUTO")

if TYPE_CHECKING:
    __version__: str
    from popgrad import data as data
    from popgrad import metrics as metrics
    from popgrad import nn as nn
    from popgrad import strategies as strategies
    from popgrad import tasks as tasks
    from popgrad import trackers as trackers
    from popgrad.comparison.benchmark import benchmark
    from popgrad.comparison.comparison import Comparison, compare
    from popgrad.core.errors import (
        AllMembersFailedError,
        DataError,
        PopgradError,
        RunError,
        UsageError,
    )
    from popgrad.core.plan import Plan
    from popgrad.core.population import Hparams, Population
    from popgrad.core.segment import Segment
    from popgrad.core.space import (
        Choice,
        Constant,
        Integer,
        LogUniform,
        OneMinus,
        Ordinal,
        Space,
        Uniform,
    )
    from popgrad.data.splits import Splits
    from popgrad.engine.callbacks import IntervalEnd
    from popgrad.loops.check import Finding, check
    from popgrad.loops.loop import loop
    from popgrad.loops.member import Member
    from popgrad.record.ablation import Ablation
    from popgrad.record.explanation import Explanation, explain_schedule
    from popgrad.record.schedule import Schedule
    from popgrad.runs.ablation import ablate
    from popgrad.runs.api import load, resume, run
    from popgrad.runs.leased_assignment import LeasedAssignment
    from popgrad.runs.pretrained import load_pretrained
    from popgrad.runs.replay import Replay, replay, replay_schedule
    from popgrad.runs.report import report
    from popgrad.runs.result import Result
    from popgrad.runs.soup import Candidate, Soup
    from popgrad.runs.study import Study
    from popgrad.runs.winner import Winner, load_model
    from popgrad.store.mirror import fetch
    from popgrad.strategies.base import Strategy
    from popgrad.strategies.pbt import pbt
    from popgrad.strategies.random_search import random_search
    from popgrad.tasks.base import Context, Task
    from popgrad.tasks.torch_task import TorchTask

# The public API. Everything else is private and may change without notice, but for the modules
# data, metrics, nn, tasks, strategies and trackers, for authors of tasks, strategies and trackers.
__all__ = [
    "run", "resume", "load", "fetch", "replay", "replay_schedule", "load_model", "load_pretrained", "report",
    "Study", "LeasedAssignment", "Result", "Replay", "Winner", "Soup", "Candidate", "Schedule", "Segment",
    "IntervalEnd",
    "benchmark", "compare", "Comparison",
    "ablate", "Ablation", "explain_schedule", "Explanation",
    "Space", "Uniform", "LogUniform", "Integer", "Choice", "Ordinal", "OneMinus", "Constant",
    "Task", "TorchTask", "Context", "Splits", "Hparams", "loop", "Member", "check", "Finding",
    "Strategy", "Population", "Plan", "pbt", "random_search",
    "PopgradError", "UsageError", "DataError", "RunError", "AllMembersFailedError",
]  # fmt: skip

_MODULES = ("data", "metrics", "nn", "strategies", "tasks", "trackers")
"""Public modules, imported when they are used."""

_NAMES = {
    "comparison.benchmark": ("benchmark",),
    "comparison.comparison": ("Comparison", "compare"),
    "core.errors": ("DataError", "AllMembersFailedError", "PopgradError", "RunError", "UsageError"),
    "core.plan": ("Plan",),
    "core.population": ("Hparams", "Population"),
    "core.segment": ("Segment",),
    "core.space": (
        *("Choice", "Constant", "Integer", "LogUniform", "OneMinus", "Ordinal", "Space"),
        "Uniform",
    ),
    "data.splits": ("Splits",),
    "engine.callbacks": ("IntervalEnd",),
    "loops.check": ("Finding", "check"),
    "loops.loop": ("loop",),
    "loops.member": ("Member",),
    "record.ablation": ("Ablation",),
    "record.explanation": ("Explanation", "explain_schedule"),
    "record.schedule": ("Schedule",),
    "runs.ablation": ("ablate",),
    "runs.api": ("load", "resume", "run"),
    "runs.leased_assignment": ("LeasedAssignment",),
    "runs.pretrained": ("load_pretrained",),
    "runs.replay": ("Replay", "replay", "replay_schedule"),
    "runs.report": ("report",),
    "runs.result": ("Result",),
    "runs.soup": ("Candidate", "Soup"),
    "runs.study": ("Study",),
    "runs.winner": ("Winner", "load_model"),
    "store.mirror": ("fetch",),
    "strategies.base": ("Strategy",),
    "strategies.pbt": ("pbt",),
    "strategies.random_search": ("random_search",),
    "tasks.base": ("Context", "Task"),
    "tasks.torch_task": ("TorchTask",),
}
"""Module -> its names above. They are imported at their first use; `popgrad --help` needs no torch."""

_HOMES = {name: module for module, names in _NAMES.items() for name in names}


if not TYPE_CHECKING:  # a checker would take any misspelt name for one that this function knows

    def __getattr__(name: str) -> Any:
        """Import a public name or module at its first use."""
        if name in _MODULES:
            return importlib.import_module(f"popgrad.{name}")
        if name == "__version__":
            return importlib.import_module("importlib.metadata").version("popgrad")
        if name not in _HOMES:
            raise AttributeError(f"module 'popgrad' has no attribute {name!r}")
        value = getattr(importlib.import_module(f"popgrad.{_HOMES[name]}"), name)
        globals()[name] = value
        return value


def __dir__() -> list[str]:
    """Return the public names and modules."""
    return sorted([*__all__, *_MODULES])
