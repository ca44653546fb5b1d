"""Trackers of a run: TensorBoard, MLflow, Weights & Biases, or an object of the user's own.

They follow a run by its callbacks, and cannot change it: see `Tracker`.
"""

from collections.abc import Callable
from pathlib import Path

from popgrad.trackers.base import Ending, Status, TrackedRun, TrackedSegment, Tracker

__all__ = ["Ending", "Status", "TrackedRun", "TrackedSegment", "Tracker", "TRACKERS"]


def _tensorboard(directory: Path | None) -> Tracker:
    from popgrad.trackers.tensorboard import TensorBoardTracker

    return TensorBoardTracker(directory)


def _mlflow(directory: Path | None) -> Tracker:
    from popgrad.trackers.mlflow import MLflowTracker

    return MLflowTracker(directory)


def _wandb(directory: Path | None) -> Tracker:
    from popgrad.trackers.wandb import WandbTracker

    return WandbTracker(directory)


TRACKERS: dict[str, Callable[[Path | None], Tracker]] = {
    "tensorboard": _tensorboard,
    "mlflow": _mlflow,
    "wandb": _wandb,
}
"""Factories of the built-in trackers by name; the argument is the directory of the run, None = in memory."""
