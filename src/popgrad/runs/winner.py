"""The winner: a trained model and the schedule that trained it, in memory and as two files."""

import json
import os
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError
from safetensors.torch import load_file
from safetensors.torch import save as serialise
from torch import nn

from popgrad.core.errors import PopgradError, UsageError
from popgrad.core.population import Hparams, Segment
from popgrad.record.lineage import schedule
from popgrad.record.schedule import Schedule
from popgrad.state import State
from popgrad.store.atomic import replacing
from popgrad.tasks.base import Context, Modular, Task
from popgrad.tasks.evaluation import seeded
from popgrad.tasks.reference import check_outside, resolve_task


@dataclass(frozen=True)
class Winner:
    """The best member at the end of a run.

    Attributes:
        segment: Its last segment: member, score, metrics, hyperparameters at the end.
        lineage: The segments behind its weights, the first one first.
        state: Its final state, as plain data.
        task: The task that it was trained on.
    """

    segment: Segment
    lineage: tuple[Segment, ...] = field(repr=False)
    state: State = field(repr=False)
    task: Task = field(repr=False)

    @property
    def member(self) -> int:
        """The slot that it ended in."""
        return self.segment.member

    @property
    def score(self) -> float:
        """On the validation split, higher is better."""
        return self.segment.score

    @property
    def hparams(self) -> Hparams:
        """The hyperparameters that it ended with. What trained it is `schedule`."""
        return self.segment.hparams

    @property
    def schedule(self) -> Schedule:
        """The hyperparameters along its lineage."""
        return schedule(self.lineage)

    @cached_property
    def module(self) -> nn.Module:
        """The trained network on the CPU, in evaluation mode.

        Raises:
            UsageError: The task's states are no networks.
        """
        if not isinstance(self.task, Modular):
            raise UsageError(
                f"a {type(self.task).__name__} trains no torch module; its result is `winner.state`"
            )
        with seeded(
            Context()
        ):  # making a network draws from the global generators, which are the caller's
            return self.task.module(self.state, self.hparams)


def save_winner(winner: Winner, path: Path, made_by: dict[str, Any]) -> None:
    """Write the network's weights, and beside them a JSON that says how to rebuild it.

    The JSON is written for tasks without a network too; it holds the schedule and the scores.

    Args:
        winner: What to write.
        path: Where the weights go, ending in ".safetensors".
        made_by: The task's reference and options, and versions, as the JSON keeps them.
    """
    about = {
        **made_by,
        "rebuild": f'popgrad.load_model("{path.name}")',
        "hparams": dict(winner.hparams),
        "score": winner.score,
        "metrics": dict(winner.segment.metrics),
        "schedule": winner.schedule.merged().rows(),
    }
    if isinstance(winner.task, Modular):
        about["module"] = str(winner.module)
        tensors = {name: tensor.contiguous() for name, tensor in winner.state["model"].items()}
        with replacing(path) as aside:  # not by `save_file`, whose files nobody else may read
            aside.write_bytes(serialise(tensors, metadata={"format": "pt"}))
    with replacing(path.with_suffix(".json")) as aside:
        aside.write_text(json.dumps(about, indent=2) + "\n", encoding="utf-8")


def load_model(
    path: str | Path, *, task: Task | None = None, device: torch.device | str = "cpu"
) -> nn.Module:
    """The network of a "best.safetensors" with the JSON beside it; no run directory is needed.

    Args:
        path: The weights.
        task: The task that it was trained on; needed where the JSON does not name it, since the run was given
            an instance.
        device: Where to put it.

    Raises:
        UsageError: A file is missing or is not what it should be, or the task has to be given.
    """
    path = Path(path)
    about = _read_about(path.with_suffix(".json"))
    if task is None:
        if not about.get("task"):
            raise UsageError(
                f"{path.with_suffix('.json')} names no task, the run was given an instance: pass task=..."
            )
        check_outside(str(about["task"]), about.get("options", {}), path.parent)
        task = resolve_task(about["task"], about.get("options", {}))
    if not isinstance(task, Modular):
        raise UsageError(f"a {type(task).__name__} trains no torch module")
    _check_hparams(task, about["hparams"], path)
    tensors = load_weights(path)
    try:
        with seeded(Context()):
            return task.module({"model": tensors}, about["hparams"], device)
    except (
        RuntimeError,
        TypeError,
        ValueError,
        LookupError,
    ) as error:  # what torch raises of odd sizes
        if isinstance(error, PopgradError):
            raise
        why = " ".join(str(error).split())[:200]
        raise UsageError(
            f"{path.with_suffix('.json')} describes no network that can be made: {why}"
        ) from error


def _read_about(path: Path) -> dict[str, Any]:
    try:
        about = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError, RecursionError) as error:
        raise UsageError(
            f"cannot read {path}, which says how to rebuild the network: {error}"
        ) from None
    tables = isinstance(about, dict) and isinstance(about.get("hparams"), dict)
    if not tables or not isinstance(about.get("options", {}), dict):
        raise UsageError(
            f'{path} does not say how to rebuild a network: it has no "hparams", or no "options"'
        )
    return about  # type: ignore[no-any-return]


def _check_hparams(task: Task, hparams: Hparams, path: Path) -> None:
    missing = [name for name in task.space if name not in hparams]
    if missing:
        raise UsageError(
            f"{path.with_suffix('.json')} lacks the hyperparameter {', '.join(missing)} of its task"
        )


def load_weights(path: Path) -> dict[str, torch.Tensor]:
    """Tensors by name from a safetensors file, or from the winner of a run directory, in torch's own memory.

    Raises:
        UsageError: There is no such file, or it is another one.
    """
    path = path / "best.safetensors" if os.path.isdir(path) else path
    if os.path.exists(path) and not os.path.isfile(path):  # a pipe would keep its reader waiting
        raise UsageError(f"cannot read weights from {path}: it is no file")
    try:
        # A loaded file is mapped: an edit in place would change the tensors.
        return {name: tensor.clone() for name, tensor in load_file(path).items()}
    except (OSError, SafetensorError, ValueError, LookupError, RuntimeError) as error:
        raise UsageError(f"cannot read weights from {path}: {error}") from None
