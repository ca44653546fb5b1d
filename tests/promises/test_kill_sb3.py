"""Kill it anywhere, for a loop of Stable-Baselines3: the resumed record is that of a run never killed."""

import signal
import sys
from pathlib import Path
from typing import Any

import pytest

import popgrad
from faults.controllers import eventually
from program import record, start_program

pytestmark = [
    pytest.mark.slow,
    # Each start of the program imports torch and Stable-Baselines3.
    pytest.mark.timeout(300),
    pytest.mark.skipif(sys.platform != "linux", reason="kills processes by signal"),
]

SCRIPT = """
from stable_baselines3 import DQN, PPO
from stable_baselines3.common.env_util import make_vec_env
from stable_baselines3.common.vec_env import VecNormalize

import popgrad
from popgrad.integrations.sb3 import PopgradCallback

SPACE = {"learning_rate": popgrad.LogUniform(1e-4, 1e-2), "gamma": popgrad.Uniform(0.8, 0.99)}


@popgrad.loop(space=SPACE, score="return")
def ppo(m):
    env = VecNormalize(make_vec_env("CartPole-v1", n_envs=2))
    given = {"n_steps": 64, "batch_size": 32, "n_epochs": 2, "device": "cpu"}
    seed = m.seed("sb3") % 2**31
    rate, gamma = m["learning_rate"], m["gamma"]
    model = PPO("MlpPolicy", env, learning_rate=rate, gamma=gamma, seed=seed, **given)
    model.learn(10**9, callback=PopgradCallback(m, evaluate=2))


@popgrad.loop(space=SPACE, score="return")
def dqn(m):
    given = {"buffer_size": 150, "learning_starts": 16, "device": "cpu"}
    rate, gamma = m["learning_rate"], m["gamma"]
    model = DQN("MlpPolicy", "CartPole-v1", learning_rate=rate, gamma=gamma, **given)
    model.learn(10**9, callback=PopgradCallback(m, evaluate=2, rollouts=16))
"""
KEYS: dict[str, Any] = {"population": 3, "intervals": 3, "check": False, "progress": False}
OPTIONS = ("--population", "3", "--intervals", "3", "--no-check", "--workers", "1")


@pytest.fixture(scope="module")
def script(tmp_path_factory: pytest.TempPathFactory) -> Path:
    file = tmp_path_factory.mktemp("loops") / "train_sb3.py"
    file.write_text(SCRIPT)
    return file


def stop_after(number: signal.Signals, segments: int, directory: Path, *command: str) -> Any:
    """Start the program, and send it a signal once its record has a number of segments."""

    def recorded() -> int:
        try:
            return len(popgrad.load(directory).segments)
        except popgrad.PopgradError:
            return 0

    process = start_program(*command)
    eventually(lambda: process.poll() is not None or recorded() >= segments, seconds=100.0)
    process.send_signal(number)
    return process


@pytest.mark.parametrize(
    ("name", "executor", "kills"),
    [
        ("ppo", "processes", [4]),
        ("dqn", "serial", [2]),
        # Twice at the first and the last segment: a resumed run is killed as it starts.
        pytest.param("ppo", "serial", [1, *range(1, 9), 8], marks=pytest.mark.long),
    ],
)
def test_a_run_that_was_killed_is_that_of_one_never_killed(
    name: str, executor: str, kills: list[int], script: Path, tmp_path: Path
) -> None:
    task = f"{script}:{name}"
    popgrad.run(task, directory=tmp_path / "whole", executor="serial", **KEYS)
    directory = tmp_path / "run"
    command = ["run", task, "--dir", str(directory), "--executor", executor, *OPTIONS]
    for segments in kills:
        process = stop_after(signal.SIGKILL, segments, directory, *command)
        process.communicate()
        assert process.returncode == -signal.SIGKILL, "the run has ended before it was killed"
        command = ["resume", str(directory)]
    popgrad.resume(directory, progress=False)
    assert record(directory) == record(tmp_path / "whole")


def test_an_interrupt_inside_learn_ends_the_run(script: Path, tmp_path: Path) -> None:
    directory = tmp_path / "run"
    command = ["run", f"{script}:ppo", "--dir", str(directory), "--executor", "serial", *OPTIONS]
    process = stop_after(signal.SIGINT, 1, directory, *command)
    _, err = process.communicate(timeout=100)
    assert process.returncode == 130, err
    assert "interrupted; continue with" in err
    assert popgrad.load(directory).stopped == "unfinished"
