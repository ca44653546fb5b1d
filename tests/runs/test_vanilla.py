"""Vanilla training: its modes, the monitor beside it, going on, and the rate that trains."""

import csv
import logging
import os
import select
import signal
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import nn

import popgrad
import spies
from popgrad import Segment, UsageError
from popgrad.config.model import RunConfig, parse
from popgrad.engine.callbacks import Callbacks, IntervalEnd
from popgrad.engine.loop import Engine
from popgrad.executors import serial
from popgrad.runs.api import start
from popgrad.runs.vanilla import MODES, check, train
from popgrad.store.journal import Journal
from spies import read, record

ODD = f"{spies.__file__}:odd"


def config(**values: Any) -> RunConfig:
    """One member of a network with 97 samples in batches of 32: 4 steps an epoch."""
    space = {"batch_size": {"kind": "constant", "value": 32}}
    vanilla = {
        "population": 1,
        "strategy": {"name": "schedule"},
        "executor": "serial",
        "sleep": 0.01,
    }
    given = {"interval": "3 steps within epochs", "epochs": 2, "outputs": False, "space": space}
    return parse({"task": ODD, **vanilla, **given, **values})


@pytest.fixture(scope="module")
def whole(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A run without tests that nobody interrupts."""
    directory = tmp_path_factory.mktemp("whole") / "run"
    train(config(), directory, mode="train")
    return directory


def readings(directory: Path) -> list[tuple[str, str, int]]:
    journal = Journal(directory / "journal.db", readonly=True)
    try:
        return [(each["reader"], each["split"], each["interval"]) for each in journal.readings()]
    finally:
        journal.close()


class Monitors:
    """The monitor processes that were started."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.started: list[subprocess.Popen[bytes]] = []
        popen_before = subprocess.Popen

        def popen(*args: Any, **kwargs: Any) -> Any:
            self.started.append(popen_before(*args, **kwargs))
            return self.started[-1]

        monkeypatch.setattr(subprocess, "Popen", popen)

    def ended(self) -> list[bool]:
        return [process.returncode is not None for process in self.started]


@pytest.fixture
def monitors(monkeypatch: pytest.MonkeyPatch) -> Iterator[Monitors]:
    found = Monitors(monkeypatch)
    yield found
    for process in found.started:
        process.kill()
        process.wait()


# --- the modes ---


def test_train_reads_no_test_data(whole: Path) -> None:
    assert readings(whole) == []
    assert [(s.first_step, s.steps) for s in read(whole)[0]] == [(0, 3), (3, 1), (4, 3), (7, 1)]


def test_traintest_tests_after_every_checkpoint_and_leaves_the_record_as_it_is(
    whole: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    ended: list[IntervalEnd] = []
    callbacks = Callbacks(on_interval=ended.append)
    train(config(outputs=True), tmp_path / "run", mode="traintest", callbacks=callbacks)
    assert record(tmp_path / "run") == record(whole)
    assert readings(tmp_path / "run") == [("monitor", "test", i) for i in range(4)]
    assert len(ended) == 4
    with (tmp_path / "run" / "results.csv").open() as stream:
        rows = list(csv.DictReader(stream))
    assert [(row["epoch"], row["iter"]) for row in rows] == [
        ("1", "3"),
        ("1", "4"),
        ("2", "7"),
        ("2", "8"),
    ]
    shown = capsys.readouterr()
    assert shown.out == ""
    assert shown.err.count("(it decides nothing)") == 4


def test_parallel_tests_the_last_checkpoint_also_when_training_ends_fast(
    whole: Path, tmp_path: Path, monitors: Monitors
) -> None:
    train(config(outputs=True, sleep=1000), tmp_path / "run")
    assert record(tmp_path / "run") == record(whole)
    assert readings(tmp_path / "run")[-1] == ("monitor", "test", 3)
    with (tmp_path / "run" / "results.csv").open() as stream:
        rows = list(csv.DictReader(stream))
    tested = popgrad.load(tmp_path / "run").test()
    assert (rows[-1]["iter"], float(rows[-1]["test_acc"])) == ("8", tested["accuracy"])
    assert monitors.ended() == [True]


def test_the_monitor_tests_while_training_goes_on(tmp_path: Path, monitors: Monitors) -> None:
    """Each checkpoint waits until the monitor has tested it."""
    place = tmp_path / "run"

    def wait(segment: Segment) -> None:
        while ("monitor", "test", segment.interval) not in readings(place):
            assert monitors.started[0].poll() is None, "the monitor is gone"

    train(config(), place, callbacks=Callbacks(on_segment=wait))
    assert readings(place) == [("monitor", "test", i) for i in range(4)]
    assert not (place / "results.csv").exists()  # outputs = False


@pytest.mark.parametrize("mode", ["trial", "", "Test"])
def test_another_mode_is_refused_before_anything_is_written(mode: str, tmp_path: Path) -> None:
    with pytest.raises(
        UsageError, match=f"mode: expected parallel, train, traintest to train, got '{mode}'"
    ):
        train(config(), tmp_path / "run", mode=mode)
    with pytest.raises(
        UsageError, match="mode: expected parallel, train, traintest, test, val, got"
    ):
        check(config(), mode)
    assert list(tmp_path.iterdir()) == []


def test_test_and_val_train_nothing(tmp_path: Path) -> None:
    for mode in ("test", "val"):
        assert mode in MODES
        check(config(population=3), mode)  # a member of any run can be tested
        with pytest.raises(
            UsageError, match=f"mode: expected parallel, train, traintest to train, got '{mode}'"
        ):
            train(config(), tmp_path / "run", mode=mode)
    assert list(tmp_path.iterdir()) == []


def test_more_than_one_network_is_refused(tmp_path: Path, monitors: Monitors) -> None:
    with pytest.raises(
        UsageError, match="population: expected 1, got 2; train trains one network, `popgrad run` a"
    ):
        train(config(population=2), tmp_path / "run")
    popgrad.run("quadratic", population=2, intervals=1, interval=1, directory=tmp_path / "two",
                executor="serial")  # fmt: skip
    with pytest.raises(UsageError, match="population: expected 1, got 2"):
        train(config(load=str(tmp_path / "two")), tmp_path / "run")
    assert monitors.started == []
    assert not (tmp_path / "run").exists()


# --- no monitor stays behind ---


class BrokenError(Exception):
    pass


def stop_at(interval: int, how: type[BaseException]) -> Callbacks:
    def segment(finished: Segment) -> None:
        if finished.interval == interval:
            raise how

    return Callbacks(on_segment=segment)


@pytest.mark.parametrize("how", [KeyboardInterrupt, BrokenError])
def test_no_monitor_stays_when_training_ends_early_and_it_can_go_on(
    how: type[BaseException], whole: Path, tmp_path: Path, monitors: Monitors
) -> None:
    with pytest.raises(how):
        train(config(sleep=1000), tmp_path / "run", callbacks=stop_at(1, how))
    assert monitors.ended() == [True]
    train(config(load=str(tmp_path / "run")), tmp_path / "elsewhere", mode="train")
    assert record(tmp_path / "run") == record(whole)
    assert not (tmp_path / "elsewhere").exists()


def test_no_monitor_stays_when_the_wait_for_its_last_test_is_interrupted(
    tmp_path: Path, monitors: Monitors, monkeypatch: pytest.MonkeyPatch
) -> None:
    def close(engine: Engine) -> None:
        """From here on, waiting is interrupted once."""
        process = monitors.started[0]
        wait = process.wait

        def interrupted() -> int:
            monkeypatch.setattr(process, "wait", wait)
            raise KeyboardInterrupt

        monkeypatch.setattr(process, "wait", interrupted)

    monkeypatch.setattr(Engine, "close", close)
    with pytest.raises(KeyboardInterrupt):
        train(config(sleep=1000), tmp_path / "run")
    assert monitors.ended() == [True]
    assert popgrad.load(tmp_path / "run").stopped == "finished"


def test_training_goes_on_without_a_monitor_that_has_died_and_says_so(
    whole: Path, tmp_path: Path, monitors: Monitors, caplog: pytest.LogCaptureFixture
) -> None:
    def kill(finished: Segment) -> None:
        if finished.interval == 1:
            monitors.started[0].kill()
            monitors.started[0].wait()

    with caplog.at_level(logging.WARNING, "popgrad"):
        train(config(), tmp_path / "run", callbacks=Callbacks(on_segment=kill))
    assert record(tmp_path / "run") == record(whole)
    said = [line for line in caplog.messages if "monitor" in line]
    assert said == [
        "the monitor has ended (exit code -9), training continues without it; test with: "
        f"popgrad test {tmp_path / 'run'}"
    ]


def test_no_monitor_is_started_for_a_run_that_cannot_start(
    tmp_path: Path, monitors: Monitors
) -> None:
    with pytest.raises(UsageError, match="device 'cuda:9' does not exist here; there is cpu"):
        train(config(device="cuda:9"), tmp_path / "run")
    (tmp_path / "mine").mkdir()
    (tmp_path / "mine" / "file").touch()
    with pytest.raises(UsageError, match="exists: choose another one with --dir"):
        train(config(), tmp_path / "mine")
    assert monitors.started == []


KILLED = """
import json, os, signal, sys
from pathlib import Path
from popgrad.config import parse
from popgrad.engine.callbacks import Callbacks
from popgrad.runs.vanilla import train

def hold(segment):
    if segment.interval == 1:
        children = Path(f"/proc/{os.getpid()}/task/{os.getpid()}/children").read_text()
        print(children, flush=True)
        signal.pause()

train(parse(json.loads(sys.argv[1])), Path(sys.argv[2]), callbacks=Callbacks(on_segment=hold))
"""


def test_the_monitor_ends_when_the_trainer_is_killed_and_the_run_can_go_on(
    whole: Path, tmp_path: Path
) -> None:
    argv = [config(sleep=1000).model_dump_json(exclude_none=True), str(tmp_path / "run")]
    command = [sys.executable, "-c", KILLED, *argv]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as trainer:
        assert trainer.stdout is not None
        (child,) = trainer.stdout.readline().split()
        monitor = os.pidfd_open(int(child))
        trainer.send_signal(signal.SIGKILL)
    try:
        assert select.select([monitor], [], [], 100)[0], "the monitor is still there"
    finally:
        os.close(monitor)
    train(config(load=str(tmp_path / "run")), tmp_path, mode="train")
    assert record(tmp_path / "run") == record(whole)


# --- going on ---


def test_going_on_keeps_the_directory_and_its_saved_configuration(
    whole: Path, tmp_path: Path
) -> None:
    with pytest.raises(KeyboardInterrupt):
        train(config(), tmp_path / "run", mode="train", callbacks=stop_at(2, KeyboardInterrupt))
    saved = (tmp_path / "run" / "run.toml").read_text()
    other = config(
        load=str(tmp_path / "run"), seed=9, epochs=7, interval=1, runs_dir=str(tmp_path / "runs")
    )
    result = train(other, tmp_path / "other", mode="train")
    assert (result.stopped, result.directory) == ("finished", tmp_path / "run")
    assert record(tmp_path / "run") == record(whole)
    assert (tmp_path / "run" / "run.toml").read_text() == saved
    assert [path.name for path in tmp_path.iterdir()] == ["run"]


def test_a_finished_run_that_goes_on_is_tested_once(tmp_path: Path, monitors: Monitors) -> None:
    train(config(), tmp_path / "run", mode="train")
    for _ in range(2):
        train(config(load=str(tmp_path / "run")), tmp_path)
        assert readings(tmp_path / "run") == [("monitor", "test", 3)]
    assert monitors.ended() == [True, True]


def test_where_there_is_no_run_there_is_nothing_to_go_on_with(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match=r"load: .*nowhere holds no run"):
        train(config(load=str(tmp_path / "nowhere")), tmp_path / "run")
    assert list(tmp_path.iterdir()) == []


# --- the schedule, and checkpoints within it ---

PHASES = [{"epoch": 1, "lr": 0.04}, {"epoch": 2, "lr": 0.02}]


def test_the_rate_is_what_the_schedule_says_in_the_record_and_in_the_optimizer() -> None:
    """The training curve holds the rate of the live optimizer."""
    given = {"epochs": 3, "log_every": 1, "initial": [{"lr": 0.08}]}
    strategy = {"name": "schedule", "phases": PHASES}
    result = start(config(strategy=strategy, **given))
    recorded = {s.first_step: s.hparams["lr"] for s in result.segments}
    assert recorded == {0: 0.08, 3: 0.08, 4: 0.04, 7: 0.04, 8: 0.02, 11: 0.02}
    points = [
        point for s in result.segments for point in result.telemetry[s.id].curve if point[1] == "lr"
    ]
    assert [(step, rate) for step, _, rate in points] == [
        (step, 0.08 if step <= 4 else 0.04 if step <= 8 else 0.02) for step in range(1, 13)
    ]
    changes = {s.first_step: s.changes["lr"] for s in result.segments}
    assert changes == {0: "given", 3: "kept", 4: "given", 7: "kept", 8: "given", 11: "kept"}


@pytest.mark.parametrize("interval", ["3 steps within epochs", "1", "2 epochs"])
def test_a_run_cut_into_checkpoints_equals_the_run_uncut(interval: str) -> None:
    """Without dropout, since each segment draws from a stream of its own."""
    space = {
        "batch_size": {"kind": "constant", "value": 32},
        "dropout": {"kind": "constant", "value": 0.0},
    }
    ends = [
        start(config(space=space, interval=each, epochs=2)).segments[-1]
        for each in ("1 epoch", interval)
    ]
    assert ends[0].last_step == ends[1].last_step == 8
    assert ends[0].digest == ends[1].digest


# --- devices ---


@pytest.fixture
def two_gpus(monkeypatch: pytest.MonkeyPatch) -> list[Any]:
    """Two devices that are not there, for which this processor stands; what was asked of them."""
    asked: list[Any] = []
    train_segment = serial.train_segment

    class Spread(nn.Module):
        def __init__(self, module: nn.Module, device_ids: list[torch.device]) -> None:
            super().__init__()
            self.module = module
            asked.append(("spread", *map(str, device_ids)))

        def forward(self, *inputs: torch.Tensor) -> Any:
            return self.module(*inputs)

    def on_cpu(task: Any, assignment: Any, source: Any, device: torch.device, *more: Any) -> Any:
        asked.append((assignment.member, str(device)))
        return train_segment(task, assignment, source, torch.device("cpu"), *more)

    monkeypatch.setattr(torch.cuda, "device_count", lambda: 2)
    monkeypatch.setattr(nn, "DataParallel", Spread)
    monkeypatch.setattr(serial, "train_segment", on_cpu)
    return asked


def test_one_network_has_all_devices(two_gpus: list[Any]) -> None:
    result = start(config(device="cuda:0,1", interval="1 epoch", check=False))
    assert two_gpus == [(0, "cuda:0"), ("spread", "cuda:0", "cuda:1")] * 2
    assert result.config.device == "cuda:0,1"


def test_members_take_turns_over_the_devices(two_gpus: list[Any]) -> None:
    strategy = {"name": "random-search"}
    shape = {"population": 5, "epochs": 1, "interval": "1 epoch"}
    start(config(device="cuda:0,1", strategy=strategy, check=False, **shape))
    assert two_gpus == [(member, f"cuda:{member % 2}") for member in range(5)]


@pytest.mark.parametrize(
    "make", [lambda: config(device="cuda:0,2"), lambda: config(device="cuda:2")]
)
def test_a_device_that_is_not_there_is_refused_with_those_that_are(
    make: Callable[[], RunConfig], two_gpus: list[Any], tmp_path: Path
) -> None:
    with pytest.raises(UsageError, match="does not exist here; there is cpu, cuda:0, cuda:1"):
        train(make(), tmp_path / "run")
    assert list(tmp_path.iterdir()) == []
