"""The monitor of vanilla training: tests the newest checkpoint of a run now and then. It decides nothing.

As a process of its own (`python -m popgrad.monitor DIR`) it tests until its standard input ends, and then
once more, so that a last test follows the last checkpoint.
"""

import argparse
import csv
import select
import sys
from pathlib import Path

from popgrad.core.errors import PopgradError, RunError
from popgrad.core.population import Segment
from popgrad.result import Result
from popgrad.run import load
from popgrad.tasks.base import Epochal

COLUMNS = ("epoch", "iter", "test_loss", "test_acc")


class Monitor:
    """Tests what a run has written last.

    Args:
        directory: The run's.
        data_dir: Where data lies; None = as the run was told.
        table: Whether to append to the run's `results.csv`.
    """

    def __init__(self, directory: Path, data_dir: str | None = None, *, table: bool = True) -> None:
        self._directory, self._data_dir, self._table = directory, data_dir, table
        self._tested: set[tuple[int, int]] = set()
        self._task_of: Result | None = None

    def test_newest(self) -> str | None:
        """Test the newest checkpoint, unless it was tested already; returns what was found, in words.

        A checkpoint is complete when the journal names it. One that is let go of while it is being opened is
        no failure: a newer one is there by then.
        """
        for _ in range(10):
            newest = self._newest()
            if newest is None:
                return None
            result, segment = newest
            try:
                metrics = result.evaluate(segment.id, "test", reader="monitor")
            except RunError:
                continue
            self._tested.add(segment.id)
            return self._note(segment, metrics, result)
        return None

    def _newest(self) -> tuple[Result, Segment] | None:
        if not (self._directory / "journal.db").exists():
            return None
        result = load(self._directory, data_dir=self._data_dir)
        if self._task_of is not None:  # the data is read once
            vars(result)["task"] = self._task_of.task
        self._task_of = result
        done = [segment for segment in result.segments if not segment.failed]
        return (result, done[-1]) if done and done[-1].id not in self._tested else None

    def _note(self, segment: Segment, metrics: dict[str, float], result: Result) -> str:
        per_epoch = result.task.epoch_steps(segment.hparams) if isinstance(result.task, Epochal) else 0
        epoch = -(-segment.last_step // per_epoch) if per_epoch else segment.interval + 1
        accuracy = metrics.get("accuracy", metrics.get(result.score_name.removeprefix("-")))
        if self._table:
            file = self._directory / "results.csv"
            fresh = not file.exists()
            with file.open("a", newline="", encoding="utf-8") as stream:
                rows = csv.writer(stream)
                if fresh:
                    rows.writerow(COLUMNS)
                rows.writerow((epoch, segment.last_step, metrics.get("loss"), accuracy))
        words = ", ".join(f"{name} {value:.4g}" for name, value in metrics.items())
        return f"test after epoch {epoch}, step {segment.last_step} (it decides nothing): {words}"


def main() -> None:
    """The process."""
    parser = argparse.ArgumentParser(prog="popgrad.monitor", description=__doc__)
    parser.add_argument("directory", type=Path)
    parser.add_argument("--sleep", type=float, default=20.0, help="seconds between two tests")
    parser.add_argument("--data-dir")
    parser.add_argument("--no-table", action="store_true")
    given = parser.parse_args()
    monitor = Monitor(given.directory, given.data_dir, table=not given.no_table)
    ended = False
    try:
        while not ended:
            ended = bool(select.select([sys.stdin], [], [], given.sleep)[0])
            if said := monitor.test_newest():
                print(said, file=sys.stderr, flush=True)
    except PopgradError as error:
        sys.exit(f"popgrad monitor: {error}")
    except KeyboardInterrupt:
        sys.exit(130)


if __name__ == "__main__":
    main()
