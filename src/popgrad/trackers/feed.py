"""The feed of one tracker: segments that wait for it, and what becomes of its failures."""

import logging
import time
from collections import deque
from collections.abc import Collection, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from typing import Any

from popgrad.core.score import Score
from popgrad.core.segment import Segment, Telemetry
from popgrad.reports.points import points, texts
from popgrad.tasks.evaluation import generator_states, restore_generators
from popgrad.trackers.base import Account, Ending, TrackedRun, TrackedSegment, Tracker

log = logging.getLogger("popgrad")

_PAUSE = 20.0
"""Pause after a failed attempt, in times that it has taken: a run loses a twentieth of its time at most."""

_SHORTEST_PAUSE = 1.0
"""Shortest pause after a failed attempt in seconds."""


@dataclass(frozen=True)
class Waiting:
    """A segment that waits for a tracker.

    Attributes:
        segment: The row of record.
        telemetry: Clock times and the training curve.
        begin: Steps that the slot had trained before.
        time: Time at which it was recorded, in seconds since 1970.
        earlier: Whether an earlier session has recorded it, and may have logged it.
    """

    segment: Segment
    telemetry: Telemetry
    begin: int
    time: float
    earlier: bool = False


class Feed:
    """Passes segments to one tracker, in the order in which they were recorded.

    A failure of the tracker is logged once. Segments then wait, and are passed when it answers again.
    """

    def __init__(self, name: str, tracker: Tracker, run: TrackedRun, account: Account) -> None:
        """Prepare to pass segments; the tracker is not opened yet.

        Args:
            name: Name of the tracker, for messages.
            tracker: The tracker.
            run: Run that is tracked.
            account: What earlier sessions have logged; it is kept up to date.
        """
        self.name = name
        self.account = account
        self._tracker = tracker
        self._run = run
        self._score = Score.parse(run.score)
        self._queue: deque[Waiting] = deque()
        self._opened = False
        self._failed = False  # whether its last attempt has failed
        self._warned = False
        self._retry_at = 0.0  # of time.perf_counter
        self._draws: tuple[Any, ...] | None = None  # states of its own global generators

    def put(self, waiting: Sequence[Waiting]) -> None:
        """Add segments, and pass what waits unless the tracker has just failed."""
        self._queue.extend(waiting)
        if self._queue and time.perf_counter() >= self._retry_at:
            self._attempt(self._pass)

    def close(self, ending: Ending) -> None:
        """Pass what waits, whatever has failed before, and end the session of the tracker."""
        untouched = not self._opened and not self._queue
        if untouched and (not self.account.intervals or self.account.status == ending.status):
            return
        if self._attempt(self._pass) and self._attempt(lambda: self._tracker.close(ending)):
            self.account.status = ending.status
        elif self._opened:
            # It may hold runs and processes that only it can end. The failure is logged already.
            self._attempt(lambda: self._tracker.close(replace(ending, files=())))
        if self._queue:
            log.warning(
                "tracker %s: %d segments are not logged; they are recorded, and a resumed run logs them",
                self.name,
                len(self._queue),
            )

    def _pass(self) -> None:
        if not self._opened:
            self._open()
        while self._queue:
            waiting = self._queue[0]
            self._tracker.log(self._tracked(waiting))
            self._queue.popleft()
            self.account.intervals[waiting.segment.member] = waiting.segment.interval + 1

    def _open(self) -> None:
        """Open the tracker, and drop the segments that it has already."""
        kept = self.account.intervals
        earlier = [waiting.segment for waiting in self._queue if waiting.earlier]
        recorded = [
            segment for segment in earlier if segment.interval < kept.get(segment.member, 0)
        ]
        held = self._tracker.open(replace(self._run, recorded=tuple(recorded)))
        if held is None:
            held = dict(kept)
        self._queue = deque(
            waiting
            for waiting in self._queue
            if not waiting.earlier
            or waiting.segment.interval >= held.get(waiting.segment.member, 0)
        )
        kept.clear()
        kept.update(held)
        self.account.status = ""
        self._opened = True

    def _tracked(self, waiting: Waiting) -> TrackedSegment:
        segment = waiting.segment
        drawn = points(segment, waiting.telemetry, self._run.space, self._score)
        return TrackedSegment(
            segment=segment,
            telemetry=waiting.telemetry,
            begin=waiting.begin,
            time=waiting.time,
            points={waiting.begin + step: numbers for step, numbers in drawn.items()},
            texts=texts(segment, self._run.space),
        )

    def _attempt(self, action: Any) -> bool:
        """Call a function of the tracker, and return whether it has succeeded."""
        begin = time.perf_counter()
        try:
            with self._own_generators():
                action()
        except Exception as error:
            now = time.perf_counter()
            self._retry_at = now + max(_SHORTEST_PAUSE, _PAUSE * (now - begin))
            self._note_failure(error)
            return False
        if self._failed:
            self._failed = False
            log.info("tracker %s: it answers again, and has all segments", self.name)
        return True

    def _note_failure(self, error: Exception) -> None:
        self._failed = True
        reason = " ".join(f"{type(error).__name__}: {error}".split())[:300]
        if not self._warned:
            log.warning("tracker %s failed, training continues: %s", self.name, reason)
        else:
            log.debug("tracker %s failed again: %s", self.name, reason)
        self._warned = True

    @contextmanager
    def _own_generators(self) -> Iterator[None]:
        """Let the tracker draw from streams of its own: the caller's global generators stay as they are."""
        callers = generator_states()
        if self._draws is not None:
            restore_generators(self._draws)
        try:
            yield
        finally:
            self._draws = generator_states()
            restore_generators(callers)


def backlog(
    recorded: Sequence[tuple[Segment, Telemetry]], fresh: Collection[tuple[int, int]], now: float
) -> tuple[list[Waiting], dict[int, int]]:
    """Return all recorded segments as a feed takes them, and the steps that each slot has trained.

    Args:
        recorded: Segments with their telemetry, those of a slot in the order of their intervals.
        fresh: Segments of this session.
        now: Time in seconds since 1970.
    """
    trained: dict[int, int] = {}
    waiting = []
    for segment, telemetry in recorded:
        begin = trained.get(segment.member, 0)
        earlier = segment.id not in fresh
        waiting.append(Waiting(segment, telemetry, begin, now, earlier))
        trained[segment.member] = begin + segment.steps
    return waiting, trained
