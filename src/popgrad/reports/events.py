"""TensorBoard events: every member's curves during the run, in one subdirectory per member."""

import time
from collections.abc import Iterable, Mapping
from os import PathLike
from pathlib import Path
from typing import Any

import torch

from popgrad.core.errors import UsageError
from popgrad.core.score import Score
from popgrad.core.segment import Segment, Telemetry
from popgrad.core.space import Space
from popgrad.reports.points import points

# TensorBoard keeps scalars in this type.
_LARGEST = torch.finfo(torch.float32).max


class Events:
    """Writes the events that `tensorboard --logdir DIRECTORY` shows.

    The horizontal axis counts the steps that the slot has trained: its own segments, added up.
    Steps along the lineage would run backwards if an heir takes over from a donor that has trained
    less. A segment writes at steps begin + 1 to end.

    No file stays open between two calls: written events are visible at once, and a population may
    have more members than a process may have open files.
    """

    def __init__(
        self,
        directory: str | PathLike[str],
        space: Space,
        score_name: str = "score",
        recorded: Iterable[Segment] = (),
    ) -> None:
        """Prepare to write; nothing is written yet.

        Args:
            directory: Directory in which those of the members are created: `member-03`.
            space: Dimensions that were searched; numbers are drawn.
            score_name: Metric that ranks, as `Score.parse` reads it, such as "accuracy".
            recorded: Segments that earlier sessions of this run have written here. New ones follow
                them, and events beyond them, from a session that was killed, are struck out.

        Raises:
            UsageError: tensorboard is not installed.
        """
        try:
            import tensorboard.compat.proto.event_pb2  # noqa: F401
            import torch.utils.tensorboard.summary  # noqa: F401
        except ImportError as error:
            raise UsageError(
                "TensorBoard events need tensorboard: pip install popgrad[tensorboard]"
            ) from error

        self._directory = Path(directory)
        self._space = space
        self._ranking = Score.parse(score_name)
        self._files: dict[str, Path] = {}
        self._trained: dict[int, int] = {}  # steps, by member
        self._next: dict[int, int] = {}  # interval, by member
        for segment in recorded:
            self._count(segment)

    def segment(self, segment: Segment, telemetry: Telemetry) -> None:
        """Append a finished segment, as `points` draws it; one that is written already is ignored."""
        member = segment.member
        if segment.interval < self._next.get(member, 0):
            return

        begin = self._trained.get(member, 0)
        drawn = points(segment, telemetry, self._space, self._ranking)
        summaries = [(begin + step, _scalars(by_tag)) for step, by_tag in drawn.items()]
        self._append(f"member-{member:02d}", begin + 1, summaries)
        self._count(segment)

    def images(self, batch: torch.Tensor, name: str) -> None:
        """Write a batch as one picture, eight images a row, from its lowest value (black) to its highest.

        It replaces the pictures of earlier sessions.

        Args:
            batch: [n, 1 or 3, height, width] finite numbers, at least one image.
            name: Tag of the picture.

        Raises:
            UsageError: `batch` has another shape.
        """
        from torch.utils.tensorboard.summary import image

        if batch.dim() != 4 or batch.shape[1] not in (1, 3) or batch.numel() == 0:
            raise UsageError(
                "images: expected a batch [n, 1 or 3, height, width] with n at least 1, "
                f"got {list(batch.shape)}"
            )

        values = batch.detach().cpu().double()
        low, high = values.min(), values.max()
        grey = (values - low) / (high - low if high > low else 1.0)
        self._append("images", 0, [(0, image(name, grey.numpy(), dataformats="NCHW"))])  # type: ignore[no-untyped-call]

    def close(self) -> None:
        """End the files: later events go into new ones."""
        self._files.clear()

    def _count(self, segment: Segment) -> None:
        member = segment.member
        self._trained[member] = self._trained.get(member, 0) + segment.steps
        self._next[member] = max(self._next.get(member, 0), segment.interval + 1)

    def _append(self, name: str, first: int, summaries: Iterable[tuple[int, Any]]) -> None:
        """Add (step, summary) to a member's file; a new file strikes out steps from `first` in older ones."""
        from tensorboard.compat.proto.event_pb2 import Event, SessionLog
        from tensorboard.summary.writer.record_writer import RecordWriter

        now = time.time()
        events = []
        if name not in self._files:
            # TensorBoard reads the files of a directory in the order of their names.
            path = self._directory / name / f"events.out.tfevents.{time.time_ns():020d}"
            path.parent.mkdir(parents=True, exist_ok=True)
            self._files[name] = path
            events = [
                Event(wall_time=now, file_version="brain.Event:2"),
                Event(wall_time=now, step=first, session_log=SessionLog(status=SessionLog.START)),
            ]
        events += [Event(wall_time=now, step=step, summary=summary) for step, summary in summaries]
        with self._files[name].open("ab") as file:
            writer = RecordWriter(file)
            for event in events:
                writer.write(event.SerializeToString())


def _scalars(by_tag: Mapping[str, float]) -> Any:
    from tensorboard.compat.proto.summary_pb2 import Summary

    return Summary(
        value=[
            Summary.Value(tag=tag, simple_value=value)
            for tag, value in by_tag.items()
            if abs(value) <= _LARGEST
        ]
    )
