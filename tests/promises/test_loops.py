"""The promises for training loops: one record on every executor, killed or not, and an exact replay."""

import signal
from pathlib import Path

import pytest

import popgrad
from faults.controllers import eventually
from program import record, start_program

SCRIPT = """
import random

import numpy as np
import torch
from torch import nn
from torch.optim.swa_utils import AveragedModel, get_ema_multi_avg_fn
from torch.utils.data import DataLoader, Dataset

import popgrad


class Points(Dataset):
    def __len__(self):
        return 24

    def __getitem__(self, index):
        noise = random.random() + float(np.random.rand()) + float(torch.rand(()))
        inputs = torch.linspace(-1, 1, 48).reshape(24, 2)[index] + 0.01 * noise
        return inputs, inputs.sum(0, keepdim=True)


@popgrad.loop(
    space={
        "lr": popgrad.LogUniform(1e-3, 0.3),
        "dropout": popgrad.Uniform(0.0, 0.5),
        "batch_size": popgrad.Integer(4, 12),
    },
    minimize="loss",
    reuse=REUSE,
)
def train(m):
    model = nn.Sequential(nn.Linear(2, 4), nn.BatchNorm1d(4), nn.Dropout(m["dropout"]), nn.Linear(4, 1))
    optimizer = torch.optim.AdamW(model.parameters(), lr=m["lr"])
    scheduler = torch.optim.lr_scheduler.CosineAnnealingLR(optimizer, 40)
    average = AveragedModel(model, multi_avg_fn=get_ema_multi_avg_fn(0.9), use_buffers=True)
    generator = np.random.default_rng(m.seed("own"))
    loader = DataLoader(Points(), batch_size=m["batch_size"], shuffle=True)
    m.track(
        model=model, optimizer=optimizer, scheduler=scheduler, average=average, generator=generator
    )
    m.state["best"] = float("inf")
    for _ in m:
        for inputs, targets in loader:
            if len(inputs) < 2:
                continue
            inputs = inputs + 0.01 * float(generator.random())
            with torch.autocast("cpu", dtype=torch.bfloat16):
                loss = nn.functional.mse_loss(model(inputs), targets)
            optimizer.zero_grad()
            loss.backward()
            nn.utils.clip_grad_norm_(model.parameters(), 1.0)
            optimizer.step()
            scheduler.step()
            average.update_parameters(model)
        average.eval()
        with torch.no_grad():
            inputs, targets = map(torch.stack, zip(*[Points()[i] for i in range(24)]))
            loss = nn.functional.mse_loss(average.module.eval()(inputs), targets).item()
        model.train()
        m.state["best"] = min(loss, m.state["best"])
        m.report(loss=loss)
"""
KEYS = {"population": 4, "intervals": 4, "seed": 5, "check": False, "progress": False}
OPTIONS = ("--population", "4", "--intervals", "4", "--seed", "5", "--no-check")


@pytest.fixture(scope="module")
def script(tmp_path_factory):
    return write(tmp_path_factory.mktemp("loops"), reuse=False)


def write(folder: Path, *, reuse: bool) -> Path:
    file = folder / f"train_{reuse}.py".lower()
    file.write_text(SCRIPT.replace("REUSE", str(reuse)))
    return file


@pytest.fixture(scope="module")
def whole(script, tmp_path_factory):
    """A run that nothing interrupts, by the serial executor."""
    directory = tmp_path_factory.mktemp("whole") / "run"
    popgrad.run(f"{script}:train", directory=directory, executor="serial", **KEYS)
    return directory


def test_there_are_heirs_and_rates_that_differ(whole):
    segments = popgrad.load(whole).segments
    assert any(each.source is not None and each.source[0] != each.member for each in segments)
    assert len({each.digest for each in segments}) == len(segments) == 16


@pytest.mark.slow
@pytest.mark.parametrize(
    ("executor", "workers", "reuse"),
    [
        ("serial", 1, True),
        ("processes", 2, False),
        ("processes", 2, True),
        ("ray", 2, False),
    ],
)
def test_every_executor_gives_the_record_with_new_loops_and_used_ones(
    executor, workers, reuse, script, whole, tmp_path
):
    if executor == "ray":
        pytest.importorskip("ray")
    file = write(script.parent, reuse=reuse)
    result = popgrad.run(f"{file}:train", executor=executor, workers=workers, **KEYS)
    assert result.segments == popgrad.load(whole).segments


def test_a_resumed_run_is_the_whole_one(script, whole, tmp_path):
    keys = {**KEYS, "intervals": 2, "executor": "serial"}
    popgrad.run(f"{script}:train", directory=tmp_path / "run", **keys)
    popgrad.resume(tmp_path / "run", intervals=4, progress=False)
    assert record(tmp_path / "run") == record(whole)


def test_the_winner_is_replayed_bit_for_bit(whole):
    assert popgrad.replay(whole).identical


def kill_after(segments: int, directory: Path, *command: str) -> None:
    """Start the program, and kill it once its record has a number of segments."""

    def recorded() -> int:
        try:
            return len(popgrad.load(directory).segments)
        except popgrad.PopgradError:
            return 0

    process = start_program(*command)
    eventually(lambda: process.poll() is not None or recorded() >= segments, seconds=100.0)
    process.send_signal(signal.SIGKILL)
    process.communicate()
    assert process.returncode == -signal.SIGKILL, "the run has ended before it was killed"


def kill_often(kills: range, script: Path, directory: Path, executor: str) -> None:
    """Kill a run after each number of segments, and resume it to its end."""
    command = ["run", f"{script}:train", "--dir", str(directory), "--executor", executor, *OPTIONS]
    for segments in kills:
        kill_after(segments, directory, *command)
        command = ["resume", str(directory)]
    popgrad.resume(directory, progress=False)


@pytest.mark.slow
@pytest.mark.parametrize("executor", ["serial", "processes"])
def test_a_run_that_was_killed_is_the_whole_one(executor, script, whole, tmp_path):
    kill_often(range(1, 2), script, tmp_path / "run", executor)
    assert record(tmp_path / "run") == record(whole)


@pytest.mark.long
@pytest.mark.parametrize("executor", ["serial", "processes"])
def test_a_run_that_was_killed_ten_times_is_the_whole_one(executor, script, whole, tmp_path):
    kill_often(range(1, 11), script, tmp_path / "run", executor)
    assert record(tmp_path / "run") == record(whole)
