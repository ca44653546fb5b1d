"""Vanilla training: a population of one under a given schedule, in the modes of the original project."""

import logging
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from popgrad.config import RunConfig
from popgrad.core.errors import UsageError
from popgrad.core.segment import Segment
from popgrad.engine.callbacks import Callbacks, IntervalEnd, combine
from popgrad.executors.interpreter import interpreter
from popgrad.reports.history import searched
from popgrad.runs.api import load, restart, start
from popgrad.runs.components import Components
from popgrad.runs.display import Display
from popgrad.runs.monitor import Monitor
from popgrad.runs.result import Result
from popgrad.store.directory import find_run

TRAINING = ("parallel", "train", "traintest")
MODES = (*TRAINING, "test", "val")
"""Modes of the command; the last two evaluate an existing network and train nothing."""

log = logging.getLogger("popgrad")


def check(config: RunConfig, mode: str) -> None:
    """Refuse a configuration that cannot be trained, before anything is written.

    Raises:
        UsageError: The mode is unknown, `load` is not a run, or there is more than one member.
    """
    if mode not in MODES:
        raise UsageError(f"mode: expected {', '.join(MODES)}, got {mode!r}")
    if mode not in TRAINING:
        return

    # A loaded run keeps its own number of members.
    if config.load is not None:
        find_run(Path(config.load), "load")
        config = load(config.load).config
    if config.population != 1:
        raise UsageError(
            f"population: expected 1, got {config.population}; train trains one network, `popgrad run` a "
            "population"
        )


def check_initial(components: Components) -> None:
    """Refuse to train one network with hyperparameters that were drawn at random.

    Raises:
        UsageError: A searched hyperparameter has no initial value; the message shows how to set it.
    """
    initial = components.config.initial[0] if components.config.initial else {}
    drawn = [name for name in searched(components.task.space) if name not in initial]
    if drawn:
        example = ", ".join(f"{name} = ..." for name in drawn)
        raise UsageError(
            "initial: expected a value for each searched hyperparameter, got none for "
            f"{', '.join(drawn)}; set them: --set 'initial=[{{{example}}}]'"
        )


def train(
    config: RunConfig,
    directory: Path,
    *,
    mode: str = "parallel",
    callbacks: Callbacks | None = None,
    display: Display | None = None,
) -> Result:
    """Train one network, or continue to train one, and test it as the mode requires.

    Args:
        config: Configuration with one member. If it sets `load`, the run there continues with its
            saved configuration.
        directory: Directory of a new run; not used if `config.load` is set.
        mode: "parallel" tests the newest checkpoint in another process every `config.sleep`
            seconds, and once more at the end; "train" does not test; "traintest" tests after every
            checkpoint, in turn.
        callbacks: Functions to call as segments and intervals finish.
        display: Display of the run; None = nothing is shown.

    Raises:
        UsageError: The mode is unknown or does not train, or the configuration has more than one
            member.
    """
    if mode not in TRAINING:
        raise UsageError(f"mode: expected {', '.join(TRAINING)} to train, got {mode!r}")
    check(config, mode)

    path = directory if config.load is None else Path(config.load)
    with _tests(path, config, mode, callbacks or Callbacks()) as combined:
        if config.load is None:
            return start(config, directory=path, callbacks=combined, display=display)
        return restart(path, {"data_dir": config.data_dir}, callbacks=combined, display=display)


@contextmanager
def _tests(path: Path, config: RunConfig, mode: str, callbacks: Callbacks) -> Iterator[Callbacks]:
    """Run the tests that a mode asks for while the block lasts; gives the callbacks to train with."""
    if mode == "traintest":
        monitor = Monitor(path, config.data_dir, table=config.outputs)
        yield combine(callbacks, _test_in_turn(monitor))
    elif mode == "parallel":
        process = _MonitorProcess(path, config)
        try:
            yield combine(Callbacks(on_segment=process.on_segment), callbacks)
            process.finish()
        finally:
            process.stop()
    else:
        yield callbacks


def _test_in_turn(monitor: Monitor) -> Callbacks:
    """Return callbacks that test after each interval, while training waits."""

    def test(end: IntervalEnd) -> None:
        del end
        line = monitor.test_newest()
        if line:
            print(line, file=sys.stderr, flush=True)

    return Callbacks(on_interval=test)


class _MonitorProcess:
    """A monitor process, from the first checkpoint to the test that follows the last one.

    The process ends with its standard input: when `finish` closes it, or when this process is
    killed.
    """

    def __init__(self, path: Path, config: RunConfig) -> None:
        self._path = path
        self._command = ["-m", "popgrad.runs.monitor", str(path), "--sleep", str(config.sleep)]
        self._command += [] if config.data_dir is None else ["--data-dir", config.data_dir]
        self._command += [] if config.outputs else ["--no-table"]
        self._process: subprocess.Popen[bytes] | None = None
        self._gone = False  # whether its unexpected end has been logged

    def on_segment(self, segment: Segment) -> None:
        """Start the process with the first finished segment, and notice if it has ended."""
        del segment
        if self._process is None:
            self._start()
        elif not self._gone:
            self._check_exit(self._process.poll())

    def finish(self) -> None:
        """Wait for the last test."""
        process = self._process or self._start()
        assert process.stdin is not None
        process.stdin.close()
        code = process.wait()
        if not self._gone:
            self._check_exit(code or None)

    def stop(self) -> None:
        """End the process if it still runs."""
        if self._process is not None:
            assert self._process.stdin is not None
            # This has no effect if the process has ended.
            self._process.kill()
            self._process.stdin.close()
            self._process.wait()

    def _start(self) -> subprocess.Popen[bytes]:
        self._process = interpreter(*self._command, stdin=subprocess.PIPE)
        return self._process

    def _check_exit(self, code: int | None) -> None:
        if code is None:
            return
        self._gone = True
        log.warning(
            "the monitor has ended (exit code %d), training continues without it; test with: popgrad test %s",
            code,
            self._path,
        )
