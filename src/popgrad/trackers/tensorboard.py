"""The tracker "tensorboard": events in the directory of the run, one subdirectory per member."""

from pathlib import Path

from popgrad.core.errors import UsageError
from popgrad.reports.events import Events
from popgrad.tasks.base import Task
from popgrad.tasks.torch_task import TorchTask
from popgrad.trackers.base import Ending, TrackedRun, TrackedSegment

SAMPLE_IMAGES = 16
"""Images of the task that are shown."""


class TensorBoardTracker:
    """Writes what `tensorboard --logdir DIRECTORY/events` shows; see `Events`."""

    def __init__(self, directory: Path | None) -> None:
        """Check that events can be written; nothing is written yet.

        Args:
            directory: Directory of the run; None = in memory only.

        Raises:
            UsageError: tensorboard is not installed, or there is no directory.
        """
        try:
            import tensorboard.compat.proto.event_pb2  # noqa: F401
            import torch.utils.tensorboard.summary  # noqa: F401
        except ImportError as error:
            raise UsageError(
                "tracker: tensorboard needs an extra: pip install 'popgrad[tensorboard]'"
            ) from error
        if directory is None:
            raise UsageError(
                "tracker: tensorboard has nowhere to write, as the run is kept in memory only: choose a "
                "directory for it"
            )
        self._events: Events | None = None

    def open(self, run: TrackedRun) -> None:
        """Prepare to write after the events of earlier sessions."""
        assert run.directory is not None
        self._events = Events(run.directory / "events", run.space, run.score, run.recorded)
        if not run.recorded:
            write_samples(self._events, run.task)

    def log(self, tracked: TrackedSegment) -> None:
        """Append the events of a segment."""
        assert self._events is not None
        try:
            self._events.segment(tracked.segment, tracked.telemetry)
        except OSError:
            # Half an event may be written. A new file, which strikes it out, is started next time.
            self._events.close()
            raise

    def close(self, ending: Ending) -> None:
        """End the files. The artefacts lie beside them already."""
        del ending
        if self._events is not None:
            self._events.close()


def write_samples(events: Events, task: Task) -> None:
    """Write the first images of a task as one picture, if it has any."""
    if not isinstance(task, TorchTask):
        return
    inputs = task.inputs(SAMPLE_IMAGES)
    if inputs.ndim == 4 and inputs.shape[1] in (1, 3):
        events.images(inputs, "samples")
