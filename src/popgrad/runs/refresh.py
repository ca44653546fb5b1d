"""Tables and figures of a run in progress, refreshed in at most a hundredth of its time.

In a process of its own, `main` draws the figures once, and prints the seconds of CPU that this took.
"""

import csv
import io
import logging
import os
import subprocess
import sys
import time
from collections.abc import Sequence
from contextlib import suppress
from pathlib import Path

from popgrad.core.errors import PopgradError
from popgrad.core.population import SegmentId
from popgrad.core.score import Score
from popgrad.core.segment import Segment, Telemetry
from popgrad.engine.callbacks import Callbacks
from popgrad.executors.interpreter import interpreter
from popgrad.hardware import available_cores
from popgrad.record.record import Record
from popgrad.reports.history import Row, write_csv
from popgrad.runs.outputs import draw_record, tables
from popgrad.store.directory import Directory
from popgrad.tasks.base import Task

log = logging.getLogger("popgrad")

_SHARE = 100
"""A refresh is followed by a pause of so many times its own length."""
_PERIOD = 2.0
"""Shortest time between two refreshes of the tables, in seconds."""
_FIGURES_CPU = 5.0
"""Seconds of CPU that figures are assumed to take until they have been drawn once."""
_LOWEST_PRIORITY = 19
_DRAW = "from popgrad.runs.refresh import main; main()"


class Refresher:
    """Refreshes the tables and figures of a run in progress.

    Tables grow by their new rows, in the order of finishing, in this process. Figures are drawn from the
    journal by a process of the lowest priority. A failure is logged once, and never ends the run.

    Args:
        directory: Directory of the run.
        task: Task of the run.
        ranking: Metric that ranks.
    """

    def __init__(self, directory: Directory, task: Task, ranking: Score) -> None:
        self._directory = directory
        self._task = task
        self._ranking = ranking
        self._new: list[Segment] = []
        self._telemetry: dict[SegmentId, Telemetry] = {}
        # Columns of the two tables as they were last written; none before.
        self._columns: list[list[str]] = [[], []]
        self._warned = False

        now = time.monotonic()
        self._tables_due = now + _PERIOD
        self._figures_due = now + _pause(_FIGURES_CPU)
        self._process: subprocess.Popen[bytes] | None = None

    @property
    def callbacks(self) -> Callbacks:
        """Functions that a run calls."""
        return Callbacks(on_record=self._refresh)

    def _refresh(self, segment: Segment, telemetry: Telemetry) -> None:
        """Enter a finished segment, and refresh what is due."""
        self._new.append(segment)
        self._telemetry[segment.id] = telemetry
        try:
            if time.monotonic() >= self._tables_due:
                self._refresh_tables()
            self._refresh_figures()
        except Exception as error:
            # A row may have been written in part, so the tables are written as a whole again.
            self._columns = [[], []]
            self._warn(error)

    def close(self) -> None:
        """End the process that draws, if it runs."""
        if self._process is not None:
            self._process.kill()
            self._process.communicate()
            self._process = None

    def _warn(self, reason: object) -> None:
        if not self._warned:
            log.warning("tables and figures are not refreshed as the run trains: %s", reason)
        self._warned = True

    # --- tables -----------------------------------------------------------------------------------

    def _refresh_tables(self) -> None:
        begin = time.monotonic()
        try:
            self._write_tables()
        finally:
            end = time.monotonic()
            self._tables_due = end + max(_PERIOD, _SHARE * (end - begin))

    def _write_tables(self) -> None:
        """Append the new rows; write the tables as a whole if their columns have changed."""
        record = Record(
            space=self._task.space, score_name=self._ranking.text, segments=tuple(self._new)
        )
        new = tables(record, self._telemetry, self._task)
        paths = (self._directory.history, self._directory.curves)
        if all(
            not table or list(table[0]) == columns
            for table, columns in zip(new, self._columns, strict=True)
        ):
            for path, table in zip(paths, new, strict=True):
                _append(path, table)
        else:
            with self._directory.reading() as journal:
                whole = tables(journal.record(), journal.telemetry(), self._task)
            for path, table in zip(paths, whole, strict=True):
                if table:
                    write_csv(path, table)
            self._columns = [list(table[0]) if table else [] for table in whole]
        self._new = []
        self._telemetry = {}

    # --- figures ----------------------------------------------------------------------------------

    def _refresh_figures(self) -> None:
        if self._process is None:
            if time.monotonic() >= self._figures_due:
                self._start()
        elif self._process.poll() is not None:
            self._finish(self._process)

    def _start(self) -> None:
        self._process = interpreter(
            *("-c", _DRAW, str(self._directory.path)),
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
        )
        # It may have ended already.
        with suppress(OSError):
            os.setpriority(os.PRIO_PROCESS, self._process.pid, _LOWEST_PRIORITY)

    def _finish(self, process: subprocess.Popen[bytes]) -> None:
        """Set the time of the next figures, by the CPU time that these have taken."""
        output = process.communicate()[0].decode(errors="replace").strip()
        self._process = None
        seconds = _FIGURES_CPU
        if process.returncode == 0:
            seconds = float(output.splitlines()[-1])
        else:
            self._warn(output.rpartition("\n")[2] or f"exit code {process.returncode}")
        self._figures_due = time.monotonic() + _pause(seconds)


def _pause(seconds: float) -> float:
    """Return the pause after figures that took so many seconds of CPU, of all cores together."""
    return max(_PERIOD, _SHARE * seconds / available_cores())


def _append(path: Path, table: Sequence[Row]) -> None:
    """Append rows to a table that exists, in one write.

    Raises:
        OSError: The file does not exist, or the disk is full.
    """
    if not table:
        return
    text = io.StringIO()
    csv.DictWriter(text, list(table[0]), lineterminator="\n").writerows(table)
    content = text.getvalue().encode()
    file = os.open(path, os.O_WRONLY | os.O_APPEND | os.O_NOFOLLOW)
    try:
        if os.write(file, content) != len(content):
            raise OSError(f"{path} cannot be written to its end")
    finally:
        os.close(file)


def main() -> None:
    """Draw the figures of the run in the directory that is the first argument."""
    directory = Directory(Path(sys.argv[1]))
    try:
        with directory.reading() as journal:
            record = journal.record()
            telemetry = journal.telemetry()
        draw_record(record, directory, telemetry)
    except (PopgradError, OSError) as error:
        sys.exit(str(error))
    print(time.process_time())
