"""The monitor of vanilla training: tests the newest checkpoint of a run now and then. It decides nothing.

As a process of its own (`python -m popgrad.monitor DIR`) it tests until its standard input ends, and then
once more, so that a last test follows the last checkpoint.
"""

import argparse
import csv
import os
import select
import sys
from collections.abc import Mapping
from contextlib import redirect_stdout
from dataclasses import replace
from pathlib import Path
from typing import Any

from popgrad.core.errors import PopgradError, RunError
from popgrad.core.population import Segment
from popgrad.result import Result
from popgrad.run import load
from popgrad.store.directory import Directory
from popgrad.store.journal import Journal
from popgrad.tasks.base import Epochal

COLUMNS = ("epoch", "iter", "test_loss", "test_acc")
READER = "monitor"
_ATTEMPTS = 10  # at a checkpoint; each one that fails was let go of because there is a newer one


class Monitor:
    """Tests what a run has written last.

    Args:
        directory: The run's.
        data_dir: Where data lies; None = as the run was told.
        table: Whether to write the run's `results.csv`: epoch, iter (training steps), test_loss, test_acc,
            a row for each checkpoint that a monitor of this run has tested.
    """

    def __init__(self, directory: Path, data_dir: str | None = None, *, table: bool = True) -> None:
        self._place, self._data_dir, self._table = Directory(directory), data_dir, table
        self._before: Result | None = None

    def test_newest(self) -> str | None:
        """Test the newest checkpoint, unless that was done already; returns what was found, in words.

        A checkpoint is complete when the journal names it. One that is let go of while it is being opened is
        no failure: there is a newer one by then.

        Raises:
            RunError: The run cannot be read.
        """
        for attempt in range(1, _ATTEMPTS + 1):
            try:
                result, tested = self._open(), self._tested()
                done = [segment for segment in result.segments if not segment.failed]
                if not done or done[-1].id in tested:
                    return None
                metrics = result.evaluate(done[-1].id, "test", reader=READER)
            except RunError:
                if attempt == _ATTEMPTS:
                    raise
                continue
            if self._table:
                self._write(result, {**tested, done[-1].id: metrics})
            words = ", ".join(f"{name} {value:.4g}" for name, value in metrics.items())
            where = f"epoch {_epoch(result, done[-1])}, step {done[-1].last_step}"
            return f"test after {where} (it decides nothing): {words}"
        raise AssertionError("there is at least one attempt")

    def _open(self) -> Result:
        result = load(self._place.path, data_dir=self._data_dir)
        if self._before is not None:
            known = self._before.task  # which has read the data already
            result = replace(result, make_task=lambda: known)
        self._before = result
        return result

    def _tested(self) -> dict[Any, Mapping[str, float]]:
        """What monitors of this run have found, by segment."""
        journal = Journal(self._place.journal, readonly=True)
        try:
            readings = journal.readings()
        finally:
            journal.close()
        return {(each["member"], each["interval"]): each["metrics"] for each in readings
                if each["reader"] == READER and each["split"] == "test"}  # fmt: skip

    def _write(self, result: Result, tested: Mapping[Any, Mapping[str, float]]) -> None:
        """The table, in place of the one before; whoever reads it never finds half a row."""
        aside = self._place.path / ".results.csv.part"
        score = result.score_name.removeprefix("-")
        with aside.open("w", newline="", encoding="utf-8") as stream:
            rows = csv.writer(stream, lineterminator="\n")
            rows.writerow(COLUMNS)
            for segment in result.segments:
                if (found := tested.get(segment.id)) is not None:
                    accuracy = found.get("accuracy", found.get(score))
                    rows.writerow((_epoch(result, segment), segment.last_step, found.get("loss"), accuracy))
        os.replace(aside, self._place.path / "results.csv")


def _epoch(result: Result, segment: Segment) -> int:
    """The epoch that a segment ends in, from 1; the interval where the task counts no epochs."""
    if not isinstance(result.task, Epochal):
        return segment.interval + 1
    return -(-segment.last_step // result.task.epoch_steps(segment.hparams))


def main() -> None:
    """The process."""
    parser = argparse.ArgumentParser(prog="popgrad.monitor", description=__doc__)
    parser.add_argument("directory", type=Path)
    parser.add_argument("--sleep", type=float, default=20.0, help="seconds between two tests")
    parser.add_argument("--data-dir")
    parser.add_argument("--no-table", action="store_true")
    given = parser.parse_args()
    monitor = Monitor(given.directory, given.data_dir, table=not given.no_table)
    try:
        with redirect_stdout(sys.stderr):  # what a task prints is no result of the command's
            _watch(monitor, given.sleep)
    except (PopgradError, OSError) as error:
        sys.exit(f"popgrad monitor: {error}")
    except KeyboardInterrupt:
        sys.exit(130)


def _watch(monitor: Monitor, sleep: float) -> None:
    ended, pause = False, 0.0
    while not ended:
        ended = bool(select.select([sys.stdin], [], [], pause)[0])
        try:
            said = monitor.test_newest()
        except RunError:  # training can write checkpoints faster than they are opened; the last one stays
            if ended:
                raise
            said = None
        if said:
            print(said, file=sys.stderr, flush=True)
        pause = sleep


if __name__ == "__main__":
    main()
