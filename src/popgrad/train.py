"""Vanilla training: a population of one under a given schedule, in the modes of the original project."""

import logging
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path

from popgrad.config import RunConfig
from popgrad.core.errors import UsageError
from popgrad.core.population import Segment
from popgrad.executors.interpreter import interpreter
from popgrad.monitor import Monitor
from popgrad.parts import Parts
from popgrad.report import searched
from popgrad.result import Result
from popgrad.run import load, resume, start
from popgrad.store.directory import Directory
from popgrad.watch import IntervalEnd, Watch

TRAINING = ("parallel", "train", "traintest")
MODES = (*TRAINING, "test", "val")
"""All of the command's; the last two test what is there, and train nothing."""

log = logging.getLogger("popgrad")


def check(config: RunConfig, mode: str) -> None:
    """Refuse what cannot be trained, before anything is written.

    Raises:
        UsageError: The mode is unknown, `load` is no run, or there is more than one member.
    """
    if mode not in MODES:
        raise UsageError(f"mode: given {mode!r}; there is {', '.join(MODES)}")
    if mode not in TRAINING:
        return
    if config.load is not None:
        if not Directory(Path(config.load)).journal.is_file():
            raise UsageError(f"load: given {config.load}, which holds no run (there is no journal.db in it)")
        config = load(config.load).config
    if config.population != 1:
        raise UsageError(
            f"population: given {config.population}; train trains one network, `popgrad run` a population"
        )


def check_given(parts: Parts) -> None:
    """Refuse to train one network with hyperparameters that nobody chose.

    Raises:
        UsageError: A searched hyperparameter has no value to begin with; says how to give it.
    """
    given = parts.config.initial[0] if parts.config.initial else {}
    if drawn := [name for name in searched(parts.task.space) if name not in given]:
        example = ", ".join(f"{name} = ..." for name in drawn)
        raise UsageError(
            f"{', '.join(drawn)}: searched, and would be drawn at random; give what to train with: "
            f"--set 'initial=[{{{example}}}]'"
        )


def train(
    config: RunConfig, directory: Path, *, mode: str = "parallel", watch: Watch | None = None
) -> Result:
    """Train one network, or go on with one, and test it as the mode says.

    Args:
        config: Of one member. Where it says `load`, the run there goes on, with its saved configuration.
        directory: Of a new run; not used where `config.load` is given.
        mode: "parallel" tests the newest checkpoint in a process of its own every `config.sleep` seconds, and
            once more at the end; "train" does not test; "traintest" tests after every checkpoint, in turn.
        watch: Who is told.

    Raises:
        UsageError: The mode is unknown or does not train, or the configuration has more than one member.
    """
    if mode not in TRAINING:
        raise UsageError(f"mode: given {mode!r}; training has {', '.join(TRAINING)}")
    check(config, mode)
    place = directory if config.load is None else Path(config.load)
    with _tested(place, config, mode, watch or Watch()) as told:
        if config.load is None:
            return start(config, directory=place, watch=told)
        return resume(place, data_dir=config.data_dir, on_segment=told.segment, on_interval=told.interval)


@contextmanager
def _tested(place: Path, config: RunConfig, mode: str, watch: Watch) -> Iterator[Watch]:
    """Who is told, with the tests that a mode asks for."""
    if mode == "traintest":
        yield _in_turn(Monitor(place, config.data_dir, table=config.outputs), watch)
    elif mode == "parallel":
        monitor = _Beside(place, config)
        try:
            yield monitor.following(watch)
            monitor.finish()
        finally:
            monitor.stop()
    else:
        yield watch


def _in_turn(monitor: Monitor, watch: Watch) -> Watch:
    def interval(end: IntervalEnd) -> None:
        if watch.interval is not None:
            watch.interval(end)
        if said := monitor.test_newest():
            print(said, file=sys.stderr, flush=True)

    return replace(watch, interval=interval)


class _Beside:
    """A monitor process, from the first checkpoint to the test that follows the last one.

    It ends with its standard input: when it is told to, and when this process is killed.
    """

    def __init__(self, place: Path, config: RunConfig) -> None:
        self._place = place
        self._command = ["-m", "popgrad.monitor", str(place), "--sleep", str(config.sleep)]
        self._command += [] if config.data_dir is None else ["--data-dir", config.data_dir]
        self._command += [] if config.outputs else ["--no-table"]
        self._process: subprocess.Popen[bytes] | None = None
        self._dead = False

    def following(self, watch: Watch) -> Watch:
        """Start it with the first finished segment, and notice when it is gone."""

        def segment(finished: Segment) -> None:
            if self._process is None:
                self._start()
            elif not self._dead:
                self._notice(self._process.poll())
            if watch.segment is not None:
                watch.segment(finished)

        return replace(watch, segment=segment)

    def finish(self) -> None:
        """Wait for its last test."""
        process = self._process or self._start()
        assert process.stdin is not None
        process.stdin.close()
        code = process.wait()
        if not self._dead:
            self._notice(code or None)

    def stop(self) -> None:
        """Leave no process behind."""
        if self._process is not None:
            assert self._process.stdin is not None
            self._process.kill()  # no effect where it has ended
            self._process.stdin.close()
            self._process.wait()

    def _start(self) -> subprocess.Popen[bytes]:
        self._process = interpreter(*self._command, stdin=subprocess.PIPE)
        return self._process

    def _notice(self, code: int | None) -> None:
        if code is not None:
            self._dead = True
            log.warning(
                "the monitor is gone (exit code %d), training goes on without it; test by: popgrad test %s",
                code,
                self._place,
            )
