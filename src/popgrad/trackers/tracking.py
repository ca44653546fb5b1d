"""The trackers of a run, driven by its callbacks."""

import time
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path

from popgrad.core.segment import Segment, Telemetry
from popgrad.engine.callbacks import Callbacks, IntervalEnd
from popgrad.trackers.accounts import read_accounts, write_accounts
from popgrad.trackers.base import Account, Ending, TrackedRun, Tracker
from popgrad.trackers.feed import Feed, Waiting, backlog

_WRITE_EVERY = 1.0
"""Seconds between two writes of the accounts within an interval."""


class Tracking:
    """Logs a run to its trackers. No failure of one reaches the run.

    The record is read with the first finished segment: until then the engine may still set failures
    aside.
    """

    def __init__(
        self,
        trackers: Mapping[str, Tracker],
        run: TrackedRun,
        recorded: Callable[[], Sequence[tuple[Segment, Telemetry]]],
        accounts: Path | None,
    ) -> None:
        """Prepare to log; no tracker is opened before there is something to log.

        Args:
            trackers: Trackers by name.
            run: Run that is tracked.
            recorded: Returns all recorded segments, ordered by (interval, member).
            accounts: Path of the file in which the accounts are kept; None = nowhere.
        """
        known = read_accounts(accounts) if trackers else {}
        self._accounts = known
        self._path = accounts
        self._recorded = recorded
        self._feeds = [
            Feed(name, tracker, run, known.setdefault(name, Account()))
            for name, tracker in trackers.items()
        ]
        self._trained: dict[int, int] | None = None  # steps, by slot; None = nothing is read yet
        self._written = 0.0  # of time.perf_counter

    @property
    def callbacks(self) -> Callbacks:
        """The functions that a run has to call; none if there is no tracker."""
        if not self._feeds:
            return Callbacks()
        return Callbacks(on_record=self._log, on_interval=self._end_interval)

    @property
    def active(self) -> bool:
        """Whether there is a tracker."""
        return bool(self._feeds)

    def close(self, ending: Ending) -> None:
        """Log what is left, and end the session of each tracker."""
        if not self._feeds:
            return
        if self._trained is None:
            if ending.status != "finished":
                return  # this session has trained nothing
            self._put(self._catch_up([]))
        for feed in self._feeds:
            feed.close(ending)
        self._write()

    def _log(self, segment: Segment, telemetry: Telemetry) -> None:
        if self._trained is None:
            self._put(self._catch_up([segment.id]))
        else:
            begin = self._trained.get(segment.member, 0)
            self._trained[segment.member] = begin + segment.steps
            self._put([Waiting(segment, telemetry, begin, time.time())])
        if time.perf_counter() >= self._written + _WRITE_EVERY:
            self._write()

    def _end_interval(self, end: IntervalEnd) -> None:
        del end
        self._put([])
        self._write()

    def _catch_up(self, fresh: Sequence[tuple[int, int]]) -> list[Waiting]:
        waiting, self._trained = backlog(self._recorded(), fresh, time.time())
        return waiting

    def _put(self, waiting: Sequence[Waiting]) -> None:
        for feed in self._feeds:
            feed.put(waiting)

    def _write(self) -> None:
        self._written = time.perf_counter()
        write_accounts(self._path, self._accounts)
