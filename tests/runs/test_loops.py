"""Runs of training loops: their failures, their exit codes, and what they leave behind."""

import gc
import math
import multiprocessing
import signal
from pathlib import Path

import pytest
import torch
from torch.utils.data import DataLoader, TensorDataset

import popgrad
from faults.controllers import eventually
from loops.loops import INPUTS, TARGETS, make, network, plain, train_round
from popgrad.core.errors import RunError, UsageError
from popgrad.executors.base import RETRIES
from program import popgrad as program
from program import refused, start_program

KEYS = {"population": 4, "intervals": 3, "seed": 1, "check": False, "progress": False}


def run(function, **keys):
    return popgrad.run(make(function), **{"executor": "serial", **KEYS, **keys})


# --- failures -------------------------------------------------------------------------------------


def test_a_member_that_reports_nan_has_failed_and_is_replaced():
    def function(m):
        m.state["rounds"] = 0
        for _ in m:
            m.state["rounds"] += 1
            bad = m.interval == 1 and m["lr"] == worst
            m.report(loss=math.nan if bad else m["lr"])

    worst = 0.0
    first = run(function)
    worst = max(each.hparams["lr"] for each in first.segments if each.interval == 1)
    segments = run(function).segments
    failed = [each for each in segments if each.failed]
    assert [each.interval for each in failed] == [1]
    heir = next(each for each in segments if each.id == (failed[0].member, 2))
    assert heir.source[0] != heir.member


def test_an_exception_is_retried_in_new_loops_and_then_the_member_has_failed():
    setups = []

    def function(m):
        setups.append((m.interval, m["lr"]))
        for _ in m:
            if m.interval == 1 and m["lr"] == worst:
                raise ValueError(f"of the loop, attempt {len(setups)}")
            m.report(loss=m["lr"])

    worst = 0.0
    worst = max(each.hparams["lr"] for each in run(function).segments if each.interval == 1)
    setups.clear()
    segments = run(function).segments
    failed = [each for each in segments if each.failed]
    assert [each.interval for each in failed] == [1]
    assert 1 < setups.count((1, worst)) <= RETRIES + 1
    assert len(segments) == 12


def test_a_misuse_ends_the_run_at_once():
    def function(m):
        m["lr"]
        for _ in m:
            m.report(loss=0.0)
            m.report(loss=0.0)

    with pytest.raises(UsageError, match="a report already"):
        run(function)


@pytest.mark.slow
def test_a_rate_that_is_overwritten_ends_the_run_in_a_worker_too():
    def function(m):
        model = network()
        optimizer = torch.optim.SGD(model.parameters(), lr=m["lr"])
        m.track(model=model, optimizer=optimizer)
        for _ in m:
            optimizer.param_groups[0]["lr"] = 0.0079
            train_round(m, model, optimizer)

    with pytest.raises(RunError, match=r"'lr' is 0\.0079 at the end of the interval"):
        run(function, executor="processes", workers=1)


SCRIPT = """
import popgrad

@popgrad.loop(space={"lr": popgrad.LogUniform(1e-4, 0.5)}, minimize="loss")
def train(m):
    BODY
    for _ in m:
        m.report(loss=m["lr"])
"""


@pytest.mark.parametrize(
    ("body", "message"),
    [
        ("m.track(epoch=3)", "m.track: epoch is a int, which has no state"),
        ("m['lrr']", "the space has no hyperparameter 'lrr'; did you mean"),
        ("return", "the function has returned before its loop began"),
        ("{}['missing']", "KeyError: 'missing'"),
    ],
)
def test_a_mistake_is_one_line_and_exit_code_2(body, message, tmp_path):
    file = tmp_path / "train.py"
    file.write_text(SCRIPT.replace("BODY", body))
    line = refused("run", f"{file}:train", "--executor", "serial", "--dir", str(tmp_path / "run"))
    assert message in line
    assert not (tmp_path / "run").exists()


def test_a_script_trains_from_the_command_line(tmp_path):
    file = tmp_path / "train.py"
    file.write_text(SCRIPT.replace("BODY", "m.state['x'] = 1"))
    command = ("--population", "3", "--intervals", "2", "--executor", "serial")
    done = program("run", str(file), "--dir", str(tmp_path / "run"), *command)
    assert done.code == 0, done.err
    assert popgrad.load(tmp_path / "run").config.interval == "1 report"


# --- what is left behind --------------------------------------------------------------------------


def loaded(m):
    model = network()
    optimizer = torch.optim.SGD(model.parameters(), lr=m["lr"])
    m.track(model=model, optimizer=optimizer)
    loader = DataLoader(
        TensorDataset(INPUTS, TARGETS), batch_size=6, num_workers=1, persistent_workers=True
    )
    for _ in m:
        for inputs, targets in loader:
            loss = torch.nn.functional.mse_loss(model(inputs), targets)
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
        m.report(loss=loss.item())
        if m["lr"] > 1.0:
            raise ValueError("too high")


def children() -> list[object]:
    gc.collect()
    return multiprocessing.active_children()


@pytest.mark.slow
@pytest.mark.parametrize("reuse", [False, True])
def test_workers_of_a_loader_are_gone_after_a_run(reuse):
    popgrad.run(make(loaded, reuse=reuse), executor="serial", **{**KEYS, "population": 2})
    assert not children()


@pytest.mark.slow
@pytest.mark.parametrize("reuse", [False, True])
def test_workers_of_a_loader_are_gone_after_a_failed_segment(reuse):
    space = {"lr": popgrad.LogUniform(2.0, 3.0)}
    task = make(loaded, space=space, reuse=reuse)
    with pytest.raises(popgrad.AllMembersFailedError):
        popgrad.run(task, executor="serial", **{**KEYS, "population": 2})
    assert not children()
    task.close()


WAITING = """
import time
import torch
from torch.utils.data import DataLoader
import popgrad

@popgrad.loop(space={"lr": popgrad.LogUniform(1e-4, 0.5)}, minimize="loss", reuse=REUSE)
def train(m):
    loader = DataLoader(torch.zeros(64, 1), batch_size=1, num_workers=1, persistent_workers=True)
    m.track(weight=torch.zeros(1))
    for _ in m:
        for batch in loader:
            open("FOLDER/trains", "a").write("x")
            time.sleep(0.05)
        m.report(loss=m["lr"])
"""


def descendants(process: int) -> list[int]:
    """Return the processes that a process has started, at any depth."""
    found = []
    for task in Path(f"/proc/{process}/task").glob("*/children"):
        for child in map(int, task.read_text().split()):
            found += [child, *descendants(child)]
    return found


@pytest.mark.slow
@pytest.mark.parametrize(
    ("executor", "reuse", "number"),
    [
        ("serial", False, signal.SIGINT),
        ("serial", True, signal.SIGTERM),
        ("processes", False, signal.SIGTERM),
    ],
)
def test_a_signal_ends_a_run_at_once_with_its_loaders(executor, reuse, number, tmp_path):
    file = tmp_path / "train.py"
    file.write_text(WAITING.replace("REUSE", str(reuse)).replace("FOLDER", str(tmp_path)))
    process = start_program(
        *("run", f"{file}:train", "--dir", str(tmp_path / "run"), "--executor", executor),
        *("--workers", "1", "--population", "2", "--intervals", "2", "--no-check"),
    )
    assert eventually((tmp_path / "trains").exists, seconds=60.0)
    started = descendants(process.pid)
    assert started
    process.send_signal(number)
    _, err = process.communicate(timeout=30)
    assert process.returncode == 130, err
    assert "resume" in err
    assert eventually(lambda: not any(Path(f"/proc/{child}").exists() for child in started))


def test_a_plain_loop_leaves_no_thread_behind():
    import threading

    before = threading.active_count()
    run(plain)
    assert threading.active_count() <= before


# --- evaluations within an interval ---------------------------------------------------------------


def batches(m):
    model = network()
    optimizer = torch.optim.Adam(model.parameters(), lr=m["lr"])
    m.track(model=model, optimizer=optimizer)
    loader = DataLoader(TensorDataset(INPUTS, TARGETS), batch_size=4, shuffle=True)
    for _ in m:
        for inputs, targets in m.batches(loader):
            loss = torch.nn.functional.mse_loss(model(inputs), targets)
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
        m.report(loss=loss.item())


@pytest.mark.parametrize(
    ("function", "interval", "parts"),
    [(plain, "3 reports", [1, 2, 3]), (batches, "5 batches", [1, 3, 5]), (plain, "1 report", [])],
)
def test_evaluations_cut_an_interval_into_parts_of_reports_or_batches(
    function, interval, parts, tmp_path
):
    keys = {"interval": interval, "evaluations": 3, "executor": "serial", **KEYS}
    whole = popgrad.run(make(function), directory=tmp_path / "whole", **keys)
    for segment in whole.segments:
        assert [each.step for each in segment.evaluations] == parts
        if parts:
            assert segment.evaluations[-1].metrics == segment.metrics

    reused = popgrad.run(make(function, reuse=True), directory=tmp_path / "reused", **keys)
    assert reused.segments == whole.segments

    stops = iter([False, True])
    popgrad.run(
        make(function), directory=tmp_path / "run", on_interval=lambda _: next(stops), **keys
    )
    resumed = popgrad.resume(tmp_path / "run", task=make(function), progress=False)
    assert resumed.segments == whole.segments
    assert popgrad.replay(tmp_path / "run", task=make(function)).identical
