"""Vanilla training: a population of one under a given schedule, in the modes of the original project."""

import subprocess
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

from popgrad.config import RunConfig
from popgrad.core.errors import UsageError
from popgrad.engine import IntervalEnd, Watch
from popgrad.monitor import Monitor
from popgrad.result import Result
from popgrad.run import resume, start

MODES = ("parallel", "train", "test", "traintest", "val")


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
        UsageError: The mode is unknown, or the configuration has more than one member.
    """
    if mode not in ("parallel", "train", "traintest"):
        raise UsageError(f"mode: given {mode!r}; training has parallel, train, traintest")
    if config.population != 1:
        raise UsageError(
            f"population: given {config.population}; train trains one network, `popgrad run` a population"
        )
    place = directory if config.load is None else Path(config.load)
    watch = watch or Watch()
    if mode == "traintest":
        watch = Watch(watch.segment, _testing(Monitor(place, config.data_dir, table=config.outputs), watch))
    with _beside(place, config) if mode == "parallel" else _nobody():
        if config.load is None:
            return start(config, directory=place, watch=watch)
        return resume(place, data_dir=config.data_dir, on_segment=watch.segment, on_interval=watch.interval)


def _testing(monitor: Monitor, watch: Watch) -> Callable[[IntervalEnd], None]:
    def interval(end: IntervalEnd) -> None:
        if watch.interval is not None:
            watch.interval(end)
        if said := monitor.test_newest():
            print(said, file=sys.stderr, flush=True)

    return interval


@contextmanager
def _nobody() -> Iterator[None]:
    yield


@contextmanager
def _beside(place: Path, config: RunConfig) -> Iterator[None]:
    """A monitor process for as long as the block lasts, and for its last test."""
    command = [sys.executable, "-m", "popgrad.monitor", str(place), "--sleep", str(config.sleep)]
    command += [] if config.data_dir is None else ["--data-dir", config.data_dir]
    command += [] if config.outputs else ["--no-table"]
    process = subprocess.Popen(command, stdin=subprocess.PIPE, process_group=0)
    assert process.stdin is not None
    try:
        yield
    except BaseException:
        process.kill()
        raise
    finally:
        process.stdin.close()  # its sign to test once more and to end
        process.wait()
