"""What runs in Ray's processes: a trainer, which trains one segment after the other and never raises."""

import os
import sys
from dataclasses import dataclass

import cloudpickle
import ray
import torch

from popgrad.core.errors import PopgradError, RunError, UsageError
from popgrad.core.population import Assignment, Outcome
from popgrad.executors.allocator import keep_memory
from popgrad.executors.base import train_segment
from popgrad.executors.fingerprint import fingerprint
from popgrad.executors.parcel import Parcel, look, pack, unpack
from popgrad.executors.worker import Refused, Setup
from popgrad.executors.writer import Writer
from popgrad.tasks.base import Sharing, Task


@dataclass(frozen=True)
class Greeting:
    """What a trainer says when it has started.

    Attributes:
        fingerprint: Of its arithmetic.
        node: Ray's name of the node it is on.
        pid: Its process there.
        address: Of the node, for people.
    """

    fingerprint: dict[str, object]
    node: str
    pid: int
    address: str


class Trainer:
    """The actor: one torch thread. What goes wrong is an answer, so that only Ray's own errors are raised.

    Args:
        setup: A `Setup`, pickled by cloudpickle.
        home: Ray's name of the node where checkpoints are written; a trainer elsewhere leaves that to the
            controller.
        data: The task's data, shared by all on a node; None = the task reads its own.
    """

    def __init__(self, setup: bytes, home: str, data: Parcel | None) -> None:
        self._refused: Refused | None = None
        self._node = str(ray.get_runtime_context().get_node_id())
        self._address = str(ray.util.get_node_ip_address())
        os.dup2(2, 1)  # Ray would put what a task prints among what the controller prints
        torch.set_num_threads(1)
        keep_memory(keep=True)
        self._writer: Writer | None = None
        try:
            self._start(cloudpickle.loads(setup), home, data)
        except Exception as error:
            reason = f"{type(error).__name__}: {error}"
            self._refused = Refused(
                UsageError(
                    f"the task cannot be loaded on the node {self._address} ({reason}); "
                    "what it is made of has to be installed on every node"
                )
            )

    def _start(self, setup: Setup, home: str, data: Parcel | None) -> None:
        sys.path[:] = [*setup.path, *(entry for entry in sys.path if entry not in setup.path)]
        torch.set_default_dtype(setup.dtype)
        torch.set_float32_matmul_precision(setup.matmul_precision)
        torch.use_deterministic_algorithms(setup.deterministic)
        self._task: Task = cloudpickle.loads(setup.task)
        if data is not None and isinstance(self._task, Sharing):
            self._task.adopt(look(data))
        if setup.save is not None and home == self._node:
            self._writer = Writer(setup.save)

    def greet(self) -> Greeting | Refused:
        """Its arithmetic and its place, or why it cannot work."""
        return self._refused or Greeting(fingerprint(), self._node, os.getpid(), self._address)

    def train(
        self, assignment: Assignment, device: str, source: Parcel | None, name: str
    ) -> tuple[Outcome | Refused, Parcel | None]:
        """Train a segment.

        Args:
            assignment: What to train.
            device: Where to compute.
            source: The state to start from; None = a fresh member.
            name: For the telemetry.

        Returns:
            The outcome, and the final state; none where there is an error.
        """
        state = None if source is None else unpack(source)
        try:
            outcome, tree, leaves = train_segment(
                self._task, assignment, state, torch.device(device), self._writer, name
            )
        except PopgradError as error:
            return Refused(error), None
        except Exception as error:  # a checkpoint's, since the task's own are in the outcome
            return Refused(RunError(f"{type(error).__name__}: {error}")), None
        return outcome, None if outcome.error else pack(tree, leaves)

    def flush(self) -> Refused | None:
        """Wait until the checkpoints are written; why one cannot be, None = all are."""
        try:
            if self._writer is not None:
                self._writer.flush()
        except PopgradError as error:
            return Refused(error)
        except Exception as error:
            return Refused(RunError(f"{type(error).__name__}: {error}"))
        return None
