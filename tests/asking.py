"""A caller that trains a task: it makes an executor that trains of the one that is asked."""

from collections.abc import Sequence
from typing import Any

import torch

from popgrad.core.errors import PopgradError
from popgrad.core.segment import Assignment, Outcome
from popgrad.executors.ask_tell import AskTell, NoOutcomeYet
from popgrad.executors.base import Save, train_segment
from popgrad.executors.fingerprint import fingerprint_with
from popgrad.executors.writer import Writer
from popgrad.state import unflatten
from popgrad.tasks.base import Task


class Asking:
    """Asks for the next segment whenever none has an outcome, trains it, and reports."""

    def __init__(
        self,
        task: Task,
        devices: Sequence[torch.device],
        save: Save | None = None,
        workers: int | None = None,
        deadline: float | None = None,
    ) -> None:
        self._task = task
        self._devices = devices
        self._writer = None if save is None else Writer(save)
        self._asked = AskTell(task, devices, self._writer, workers, deadline)

    def __getattr__(self, name: str) -> Any:
        return getattr(self._asked, name)

    @property
    def fingerprint(self) -> dict[str, object]:
        return fingerprint_with(1)

    def next(self) -> Outcome:
        while True:
            try:
                return self._asked.next()
            except NoOutcomeYet:
                self._train(self._asked.offered[0].assignment)

    def _train(self, assignment: Assignment) -> None:
        source = None if assignment.source is None else self._asked.state(assignment.source)
        device = self._devices[assignment.member % len(self._devices)]
        try:
            outcome, tree, leaves = train_segment(
                self._task, assignment, source, device, None, "caller"
            )
        except (PopgradError, KeyboardInterrupt):
            # A caller may stop at any time. Here it gives the segment up, as other executors do.
            del self._asked._offered[assignment.id]
            raise
        if outcome.error:
            self._asked.report_failure(assignment.id, outcome.error, telemetry=outcome.telemetry)
            return
        self._asked.report(
            assignment.id,
            outcome.metrics,
            unflatten(tree, leaves),
            samples=outcome.samples,
            telemetry=outcome.telemetry,
        )

    def flush(self) -> None:
        if self._writer is not None:
            self._writer.flush()

    def close(self) -> None:
        if self._writer is not None:
            self._writer.close()
        self._asked.close()
