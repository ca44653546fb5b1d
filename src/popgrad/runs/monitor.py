"""The monitor of vanilla training: tests the newest checkpoint of a run from time to time.

Decides nothing.

As a process of its own (`python -m popgrad.runs.monitor DIR`) it tests until its standard input
ends, and then once more, so that a test follows the last checkpoint.
"""

import argparse
import select
import sys
from collections.abc import Mapping
from contextlib import redirect_stdout
from dataclasses import replace
from pathlib import Path

from popgrad.core.errors import PopgradError, RunError
from popgrad.core.population import SegmentId
from popgrad.core.segment import Segment
from popgrad.reports.history import write_csv
from popgrad.runs.api import load
from popgrad.runs.result import Result
from popgrad.store.directory import Directory
from popgrad.tasks.base import Epochal, Task

READER = "monitor"
# An attempt fails if training drops the checkpoint meanwhile, for a newer one.
_ATTEMPTS = 10

Tests = Mapping[SegmentId, Mapping[str, float]]
"""Metrics on the test split, by segment."""


class Monitor:
    """Tests the newest checkpoint of a run.

    Args:
        directory: Directory of the run.
        data_dir: Directory of the data; None = as the run was configured.
        table: Whether to write the run's `results.csv`, a row for each tested checkpoint: epoch,
            iter (training steps), test_loss, test_acc.
    """

    def __init__(self, directory: Path, data_dir: str | None = None, *, table: bool = True) -> None:
        self._directory = Directory(directory)
        self._data_dir = data_dir
        self._table = table
        self._task: Task | None = None  # kept between tests, since it has read the data

    def test_newest(self) -> str | None:
        """Test the newest checkpoint, and return the metrics in words; None if it was tested already.

        A checkpoint is complete when the journal names it. One that is dropped while it is being
        opened is not a failure: there is a newer one by then.

        Raises:
            RunError: The run cannot be read.
        """
        for attempt in range(1, _ATTEMPTS + 1):
            try:
                result = self._open()
                tests = self._recorded_tests()
                done = [segment for segment in result.segments if not segment.failed]
                if not done or done[-1].id in tests:
                    return None
                metrics = result.evaluate(done[-1].id, "test", reader=READER)
                self._task = result.task
                break
            except RunError:
                if attempt == _ATTEMPTS:
                    raise

        newest = done[-1]
        if self._table:
            self._write_table(result, {**tests, newest.id: metrics})
        words = ", ".join(f"{name} {value:.4g}" for name, value in metrics.items())
        position = f"epoch {_epoch(result, newest)}, step {newest.last_step}"
        return f"test after {position} (it decides nothing): {words}"

    def _open(self) -> Result:
        result = load(self._directory.path, data_dir=self._data_dir)
        if self._task is None:
            return result
        return replace(result, trained_task=self._task)

    def _recorded_tests(self) -> Tests:
        """Return the tests that monitors of this run have made."""
        with self._directory.reading() as journal:
            readings = journal.readings()
        return {
            (reading["member"], reading["interval"]): reading["metrics"]
            for reading in readings
            if reading["reader"] == READER and reading["split"] == "test"
        }

    def _write_table(self, result: Result, tests: Tests) -> None:
        score = result.record.ranking.metric
        rows = [
            {
                "epoch": _epoch(result, segment),
                "iter": segment.last_step,
                "test_loss": tests[segment.id].get("loss"),
                "test_acc": tests[segment.id].get("accuracy", tests[segment.id].get(score)),
            }
            for segment in result.segments
            if segment.id in tests
        ]
        self._directory.check_own()
        write_csv(self._directory.tests, rows)


def _epoch(result: Result, segment: Segment) -> int:
    """Return the epoch that a segment ends in, from 1; its interval if the task has no epochs."""
    if not isinstance(result.task, Epochal):
        return segment.interval + 1
    return -(-segment.last_step // result.task.epoch_steps(segment.hparams))


def main() -> None:
    """Run the monitor process."""
    parser = argparse.ArgumentParser(prog="popgrad.runs.monitor", description=__doc__)
    parser.add_argument("directory", type=Path)
    parser.add_argument("--sleep", type=float, default=20.0, help="seconds between two tests")
    parser.add_argument("--data-dir")
    parser.add_argument("--no-table", action="store_true")
    arguments = parser.parse_args()

    monitor = Monitor(arguments.directory, arguments.data_dir, table=not arguments.no_table)
    try:
        # Output of a task is not a result of the command.
        with redirect_stdout(sys.stderr):
            _test_until_input_ends(monitor, arguments.sleep)
    except (PopgradError, OSError) as error:
        sys.exit(f"popgrad monitor: {error}")
    except KeyboardInterrupt:
        sys.exit(130)


def _test_until_input_ends(monitor: Monitor, sleep: float) -> None:
    ended = False
    pause = 0.0
    while not ended:
        ended = bool(select.select([sys.stdin], [], [], pause)[0])

        try:
            line = monitor.test_newest()
        except RunError:
            # Training can replace checkpoints faster than they are opened. The last ones stay, so
            # after its end this is an error.
            if ended:
                raise
            line = None

        if line:
            print(line, file=sys.stderr, flush=True)
        pause = sleep


if __name__ == "__main__":
    main()
