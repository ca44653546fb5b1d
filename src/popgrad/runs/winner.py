"""The winner of a run: a trained model and the schedule that trained it, in memory and as two files."""

import json
import os
from collections.abc import Callable, Mapping
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
from popgrad.core.population import Hparams
from popgrad.core.score import Score
from popgrad.core.segment import Segment
from popgrad.gates.code import RecordedCode, check_outside, recorded_code
from popgrad.gates.files import read_bytes
from popgrad.gates.sizes import TEXT, check_memory, parse_json, read_tensor_header
from popgrad.record.lineage import schedule
from popgrad.record.live import Curves
from popgrad.record.plain_table import html_table, text_table, value_text
from popgrad.record.schedule import Schedule
from popgrad.state import State
from popgrad.store.atomic import replacing
from popgrad.tasks.base import Context, Task, is_modular, network_bytes
from popgrad.tasks.evaluation import seeded
from popgrad.tasks.reference import resolve_task, task_instance
from popgrad.tasks.tensors import hparam_buffers

_SMALL = 256 << 20
"""Bytes of weights that are loaded without comparing them with the network."""

_WEIGHTS_PER_NETWORK = 4
"""Most bytes of weights for a byte of the network, which may have a shorter type."""


@dataclass(frozen=True, repr=False)
class Winner:
    """The member with the best final score.

    Attributes:
        segment: Its last segment: member, score, metrics, final hyperparameters.
        lineage: Segments behind its weights, root first.
        state: Its final state, as plain data.
        task: Task that it was trained on.
        telemetry: Training curves by segment, for the live values of its schedule.
        ranking: Metric that ranks, with its direction.

    Example:
        >>> import popgrad
        >>> result = popgrad.run("digits", population=2, intervals=1, interval=5, executor="serial")
        >>> winner = result.winner
        >>> winner.schedule.steps
        5
        >>> winner.module[-1]
        Linear(in_features=64, out_features=10, bias=True)
    """

    segment: Segment
    lineage: tuple[Segment, ...] = field(repr=False)
    state: State = field(repr=False)
    task: Task = field(repr=False)
    telemetry: Curves = field(default_factory=dict, repr=False, compare=False)
    ranking: Score = field(default_factory=lambda: Score("score"), repr=False)

    def __repr__(self) -> str:
        """Return a short description: member, score, hyperparameters, schedule."""
        return text_table(*self._table())

    def _repr_html_(self) -> str:
        """Return the same description for a notebook."""
        return html_table(*self._table())

    def _table(self) -> tuple[str, list[list[str]]]:
        """Return the title and the rows of the description."""
        hparams = (f"{name} {value_text(value)}" for name, value in self.hparams.items())
        schedule = self.schedule
        phases = len(schedule.merged().phases)
        length = f"{schedule.steps} steps in {phases} phase{'' if phases == 1 else 's'}"
        title = f"Winner: member {self.member}, {self.ranking.words(self.score)}"
        return title, [["hparams", ", ".join(hparams)], ["schedule", length]]

    @property
    def member(self) -> int:
        """Slot that it ended in."""
        return self.segment.member

    @property
    def score(self) -> float:
        """Score on the validation split, higher is better."""
        return self.segment.score

    @property
    def hparams(self) -> Hparams:
        """Final hyperparameters. Those that trained it are `schedule`."""
        return self.segment.hparams

    @property
    def schedule(self) -> Schedule:
        """Hyperparameters along its lineage."""
        return schedule(self.lineage, self.telemetry)

    @cached_property
    def module(self) -> nn.Module:
        """Trained network on the CPU, in evaluation mode.

        Raises:
            UsageError: The states of the task are not networks.
        """
        if not is_modular(self.task):
            raise UsageError(
                f"a {type(self.task).__name__} trains no torch module; its result is `winner.state`"
            )
        # Building a network draws from the caller's global generators.
        with seeded(Context()):
            return self.task.module(self.state, self.hparams)


def save_winner(winner: Winner, path: Path, made_by: dict[str, Any]) -> None:
    """Write the weights of the network, and beside them a JSON that describes how to rebuild it.

    The JSON is written for tasks without a network too; it holds the schedule and the scores.

    Args:
        winner: Winner to write.
        path: Path of the weights, ending in ".safetensors".
        made_by: Reference and options of the task, versions, and the metric that ranked, for the JSON.
    """
    description = {
        **made_by,
        "rebuild": f'popgrad.load_model("{path.name}")',
        "hparams": dict(winner.hparams),
        "score": winner.score,
        "metrics": dict(winner.segment.metrics),
        "schedule": winner.schedule.merged().rows(),
    }

    if is_modular(winner.task):
        description["module"] = str(winner.module)
        write_weights(path, winner.state, winner.module, winner.hparams)
    write_description(path.with_suffix(".json"), description)


def write_weights(path: Path, state: State, module: nn.Module, hparams: Hparams) -> None:
    """Write the weights of a network as a safetensors file.

    Args:
        path: Path of the file.
        state: State of the network.
        module: Network of the state.
        hparams: Its hyperparameters.
    """
    # With the buffers that hold hyperparameters, the file loads into the plain module too.
    tensors = {**state["model"], **hparam_buffers(module, hparams)}
    tensors = {name: tensor.contiguous() for name, tensor in tensors.items()}
    # `save_file` would write a file that only its owner may read.
    with replacing(path) as aside:
        aside.write_bytes(serialise(tensors, metadata={"format": "pt"}))


def write_description(path: Path, description: Mapping[str, Any]) -> None:
    """Write the JSON beside weights, which describes how to rebuild their network."""
    with replacing(path) as aside:
        aside.write_text(json.dumps(description, indent=2) + "\n", encoding="utf-8")


def load_model(
    path: str | Path, *, task: Task | None = None, device: torch.device | str = "cpu"
) -> nn.Module:
    """Load the network of a "best.safetensors" with the JSON beside it; no run directory is needed.

    Args:
        path: Path of the weights.
        task: Task that the network was trained on; needed if the JSON does not name it, since the
            run was given an instance.
        device: Device to load the network to.

    Raises:
        UsageError: A file is missing or invalid, or the task has to be passed.

    Example:
        >>> import popgrad
        >>> result = popgrad.run(
        ...     "digits", population=2, intervals=1, interval=5, directory="runs/d", executor="serial"
        ... )
        >>> popgrad.load_model("runs/d/best.safetensors")[-1]
        Linear(in_features=64, out_features=10, bias=True)
    """
    path = Path(path)
    description = _read_description(path.with_suffix(".json"))
    task = task_instance(task) if task is not None else _task_of(description, path)
    if not is_modular(task):
        raise UsageError(f"a {type(task).__name__} trains no torch module")
    _check_hparams(task, description["hparams"], path)
    hparams = description["hparams"]
    tensors = load_weights(path, lambda: network_bytes(task, hparams))

    try:
        with seeded(Context()):
            return task.module({"model": tensors}, description["hparams"], device)
    except PopgradError:
        raise
    except (RuntimeError, TypeError, ValueError, LookupError) as error:
        # torch raises these for sizes that do not fit together.
        reason = " ".join(str(error).split())[:200]
        raise UsageError(
            f"{path.with_suffix('.json')} describes no network that can be built: {reason}"
        ) from error


def _task_of(description: dict[str, Any], path: Path) -> Task:
    """Return the task that the JSON beside the weights names; no code beside them is executed."""
    reference = description.get("task")
    options = description.get("options", {})
    if not reference:
        raise UsageError(
            f"{path.with_suffix('.json')} names no task, since the run was given an instance: pass task=..."
        )
    check_outside((str(reference), options), path.parent)
    code = description.get("code", {})
    digests = code.values() if isinstance(code, dict) else ()
    with recorded_code(RecordedCode(path.parent, {str(digest) for digest in digests})):
        return resolve_task(reference, options)


def _read_description(path: Path) -> dict[str, Any]:
    try:
        description = parse_json(read_bytes(path, TEXT))
    except (OSError, ValueError) as error:
        reason = getattr(error, "strerror", None) or error
        raise UsageError(
            f"cannot read {path}, which describes how to rebuild the network: {reason}"
        ) from None

    is_mapping = isinstance(description, dict)
    if not is_mapping or not isinstance(description.get("hparams"), dict):
        raise UsageError(f'{path} describes no network: it has no mapping "hparams"')
    if not isinstance(description.get("options", {}), dict):
        raise UsageError(f'{path} describes no network: its "options" are not a mapping')
    return description  # type: ignore[no-any-return]


def _check_hparams(task: Task, hparams: Hparams, path: Path) -> None:
    missing = [name for name in task.space if name not in hparams]
    if missing:
        raise UsageError(
            f"{path.with_suffix('.json')} lacks the hyperparameter {', '.join(missing)} of its task"
        )


def load_weights(
    path: Path, network_bytes: Callable[[], int | None] | None = None
) -> dict[str, torch.Tensor]:
    """Load tensors by name from a safetensors file, into torch's own memory.

    Args:
        path: Path of the file, or a run directory, whose winner is meant.
        network_bytes: Returns the bytes of the network that they are for, None = unknown. It is called for
            a large file, which is compared with it before it is loaded.

    Raises:
        UsageError: The file does not exist, is not a safetensors file, or is too large.
    """
    path = path / "best.safetensors" if os.path.isdir(path) else path
    try:
        size = read_tensor_header(path).size
        expected = network_bytes() if network_bytes is not None and size > _SMALL else None
        if expected is not None and size > _SMALL + _WEIGHTS_PER_NETWORK * expected:
            raise ValueError(
                f"it holds {size >> 20} MiB, the network takes {expected / 2**20:.1f} MiB"
            )
        check_memory(size, path)
        # A loaded file is mapped into memory: an edit in place would change the tensors.
        return {name: tensor.clone() for name, tensor in load_file(path).items()}
    except OSError as error:
        raise UsageError(f"cannot read weights from {path}: {error.strerror or error}") from None
    except PopgradError:
        raise
    except (SafetensorError, ValueError, LookupError, RuntimeError) as error:
        raise UsageError(f"cannot read weights from {path}: {error}") from None
