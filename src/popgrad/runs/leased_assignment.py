"""An assignment of a study: a segment that a caller trains, as an object and as JSON."""

import json
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import torch

from popgrad.core.population import Hparams, SegmentId
from popgrad.state import State
from popgrad.tasks.base import Context


@dataclass(frozen=True)
class LeasedAssignment:
    """A segment that the caller is to train, until its lease expires.

    Attributes:
        member: Slot in the population.
        interval: Interval of the member, from 0.
        hparams: Complete hyperparameters to train with.
        first_step: Training steps behind the source.
        steps: Steps to train.
        run_seed: Seed of the study; `seed` derives those of this segment.
        source: State to start from, the path that was given in its place, or None: make a fresh member.
        donor: Segment (member, interval) that the source is from; None = a fresh member.
        attempt: Number of this attempt, from 1; all attempts have the same source and seeds.
        token: Name of the lease; all that another process needs to report the outcome.
        lease: Seconds after which the segment is offered again, unless the lease is renewed.
        lease_file: File whose time of change renews the lease; None = the study is in memory.
        checkpoint: File that holds the source; None = there is none.

    Example:
        >>> import popgrad
        >>> study = popgrad.Study({"lr": popgrad.LogUniform(1e-4, 1e-1)}, score="accuracy")
        >>> assignment = study.ask()
        >>> assignment.member, assignment.interval, assignment.steps, assignment.source
        (0, 0, 1, None)
        >>> assignment.seed("weights") == study.ask().seed("weights")  # that of another member
        False
    """

    member: int
    interval: int
    hparams: Hparams
    first_step: int
    steps: int
    run_seed: int
    source: State | str | None = field(repr=False)
    donor: SegmentId | None
    attempt: int
    token: str
    lease: float
    lease_file: Path | None = field(default=None, repr=False)
    checkpoint: Path | None = field(default=None, repr=False)

    def seed(self, purpose: str = "train") -> int:
        """Return a seed in [0, 2**63) that depends on purpose, member, interval and study."""
        return self.context().seed(purpose)

    def context(self, device: torch.device | str = "cpu") -> Context:
        """Return the context that the functions of a `Task` are given for this segment in a run."""
        return Context(
            self.member, self.interval, self.first_step, torch.device(device), self.run_seed
        )

    def to_dict(self) -> dict[str, Any]:
        """Return the assignment as plain data, for other languages.

        A source that is JSON is the entry "state" of "source"; one with tensors is the file
        "checkpoint", in the format safetensors.
        """
        source: dict[str, Any] | None = None
        if self.donor is not None:
            source = {
                "member": self.donor[0],
                "interval": self.donor[1],
                "path": self.source if isinstance(self.source, str) else None,
                "state": self.source if _is_json(self.source) else None,
                "checkpoint": None if self.checkpoint is None else str(self.checkpoint),
            }
        return {
            "member": self.member,
            "interval": self.interval,
            "hparams": dict(self.hparams),
            "first_step": self.first_step,
            "steps": self.steps,
            "seed": self.seed(),
            "source": source,
            "attempt": self.attempt,
            "token": self.token,
            "lease": self.lease,
            "lease_file": None if self.lease_file is None else str(self.lease_file),
        }

    def to_json(self) -> str:
        """Return `to_dict` as JSON."""
        return json.dumps(self.to_dict())


def _is_json(state: object) -> bool:
    """Return whether a state reads back from JSON as it is."""
    if isinstance(state, str) or state is None:
        return False
    try:
        return bool(json.loads(json.dumps(state, allow_nan=False)) == state)
    except (TypeError, ValueError):
        return False
