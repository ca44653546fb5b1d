"""A run as a trial of a strategy: its settings, scores and cost, read from its record alone."""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import numpy as np

from popgrad import config as configuration
from popgrad.core.errors import AllMembersFailedError
from popgrad.core.score import Score
from popgrad.core.seeding import Floats
from popgrad.core.segment import Segment
from popgrad.record.check import check_record
from popgrad.record.record import Record
from popgrad.store.directory import find_run

_PROBLEM = ("task", "options")
"""Keys that set what is learnt; with the metric that ranks, runs that differ in one are not compared."""

_SETTING = (
    *("strategy", "population", "intervals", "interval", "mode", "initial", "weights"),
    *("evaluations", "deadline", "max_time", "target_score", "patience"),
)
"""Keys of a way to train; runs that agree in all of them are trials of one way, over seeds."""

_CUSTOM = "custom"
"""Name on record of a strategy that was passed as an object."""

_DIGITS = 12
"""Digits of the digest of a task's source: another source is another problem."""


@dataclass(frozen=True)
class Trial:
    """A run, as far as a comparison needs it. Scores are such that higher is better.

    Attributes:
        directory: Directory of the run.
        seed: Seed of the run.
        problem: Keys that set what is learnt, with plain values.
        setting: Keys that set how it is learnt, without the seed.
        ranking: Metric that ranks, with its direction.
        finished: Whether it has come to one of its limits, or to the failure of all members.
        winner: Validation score of the winner; nan = no member has one.
        median: Median of the validation scores of the present members without a failure; nan = none.
        test: Test score of the winner that is on record; nan = it was not read.
        steps: Steps that all members have trained together.
        seconds: Seconds of the busiest worker: about the wall time of the training.
        curve: [I, 3] member-steps, best and median score after each interval.
    """

    directory: Path
    seed: int
    problem: Mapping[str, Any]
    setting: Mapping[str, Any]
    ranking: Score
    finished: bool
    winner: float
    median: float
    test: float
    steps: int
    seconds: float
    curve: Floats = field(repr=False, compare=False)

    @property
    def counts(self) -> bool:
        """Whether it counts in a comparison: it is finished, and has a winner."""
        return self.finished and bool(np.isfinite(self.winner))


def read_trial(directory: Path) -> Trial:
    """Read the run in a directory as far as it has come; no code of its task is run.

    Raises:
        UsageError: The directory holds no run.
        RunError: The record is damaged.
    """
    with find_run(directory, "DIR").reading() as journal:
        record = journal.record()
        telemetry = journal.telemetry()
        readings = journal.readings()
    check_record(replace(record, decisions=()))
    configuration.parse(record.config)

    busy: dict[str, float] = {}
    for each in telemetry.values():
        busy[each.worker] = busy.get(each.worker, 0.0) + each.seconds
    winner, median = _scores(record.last.values())
    keys = record.config
    problem = {key: keys.get(key) for key in _PROBLEM} | {"score": record.ranking.text}
    return Trial(
        directory=directory.absolute(),
        seed=int(keys.get("seed", 0)),
        problem=problem | {"space": record.space.spec(), "source": record.task_digest[:_DIGITS]},
        setting=_setting(keys, directory.absolute()),
        ranking=record.ranking,
        finished=record.stopped != "unfinished" or _all_failed(record),
        winner=winner,
        median=median,
        test=_test_score(record, readings),
        steps=sum(segment.steps for segment in record.segments),
        seconds=max(busy.values(), default=0.0),
        curve=_curve(record),
    )


def _setting(keys: Mapping[str, Any], directory: Path) -> dict[str, Any]:
    """Return the keys of a way to train.

    A `Strategy` object has no name on record. The folder that its runs lie in takes the place of one.
    """
    setting = {key: keys.get(key) for key in _SETTING}
    strategy = keys.get("strategy")
    if isinstance(strategy, Mapping) and strategy.get("name") == _CUSTOM:
        setting["strategy"] = {"name": _CUSTOM, "folder": directory.parent.name}
    return setting


def _all_failed(record: Record) -> bool:
    """Return whether every member has failed, so that the run cannot continue."""
    last = record.last.values()
    return len(last) == record.size and all(segment.failed for segment in last)


def _scores(segments: Iterable[Segment]) -> tuple[float, float]:
    """Return the best and the median score of segments that have not failed; nan = all have."""
    scores = [segment.score for segment in segments if not segment.failed]
    return (max(scores), float(np.median(scores))) if scores else (np.nan, np.nan)


def _test_score(record: Record, readings: list[dict[str, Any]]) -> float:
    """Return the winner's test score of the last reading of its final state; nan = there is none."""
    try:
        winner = record.winner
    except AllMembersFailedError:
        return np.nan
    for reading in reversed(readings):
        segment = (reading["member"], reading["interval"])
        if reading["split"] != "test" or segment != winner.id:
            continue
        value = reading["metrics"].get(record.ranking.metric, np.nan)
        return record.ranking.rank(float(value))
    return np.nan


def _curve(record: Record) -> Floats:
    """Return [I, 3] member-steps, best and median score of the members after each interval.

    A member that rests counts with its last segment. One that has left the population counts until
    its last interval.
    """
    present = record.last.keys()
    by_interval: dict[int, list[Segment]] = {}
    for segment in record.segments:
        by_interval.setdefault(segment.interval, []).append(segment)

    steps = 0
    last: dict[int, Segment] = {}
    points = []
    for interval in sorted(by_interval):
        finished = by_interval[interval]
        last = {member: each for member, each in last.items() if member in present}
        last |= {segment.member: segment for segment in finished}
        steps += sum(segment.steps for segment in finished)
        points.append((float(steps), *_scores(last.values())))
    return np.array(points, dtype=np.float64).reshape(-1, 3)
