"""Population Based Training for PyTorch: a trained model and the schedule that trained it."""

import importlib.metadata
import os

# Before the first product: with it the MKL gives equal bits, wherever in memory an operand is.
os.environ.setdefault("MKL_CBWR", "AUTO")

from popgrad import data as data
from popgrad import metrics as metrics
from popgrad import nn as nn
from popgrad import tasks as tasks
from popgrad.core.errors import AllMembersFailedError, DataError, PopgradError, RunError, UsageError
from popgrad.core.population import Plan, Population, Segment
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
from popgrad.record.schedule import Schedule
from popgrad.runs.api import load, resume, run
from popgrad.runs.pretrained import load_pretrained
from popgrad.runs.replay import Replay, replay, replay_schedule
from popgrad.runs.result import Result
from popgrad.runs.winner import Winner, load_model
from popgrad.store.mirror import fetch
from popgrad.strategies import Strategy, pbt, random_search
from popgrad.tasks import Context, Task, TorchTask

# The public API. Everything else is private and may change without notice, but for the modules
# data, metrics, nn, tasks and strategies, for authors of tasks and strategies.
__all__ = [
    "run", "resume", "load", "fetch", "replay", "replay_schedule", "load_model", "load_pretrained",
    "Result", "Replay", "Winner", "Schedule", "Segment", "IntervalEnd",
    "Space", "Uniform", "LogUniform", "Integer", "Choice", "Ordinal", "OneMinus", "Constant",
    "Task", "TorchTask", "Context", "Splits",
    "Strategy", "Population", "Plan", "pbt", "random_search",
    "PopgradError", "UsageError", "DataError", "RunError", "AllMembersFailedError",
]  # fmt: skip

__version__ = importlib.metadata.version("popgrad")


def __dir__() -> list[str]:
    """Return the public names alone, for `dir` and for completion."""
    modules = ["data", "metrics", "nn", "strategies", "tasks"]
    return sorted([*__all__, *modules, *(name for name in globals() if name.startswith("__"))])
