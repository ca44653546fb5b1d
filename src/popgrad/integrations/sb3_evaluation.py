"""Episodes that a model of Stable-Baselines3 is evaluated on, in environments of their own."""

import dataclasses
from collections.abc import Callable
from typing import Any

import gymnasium
import numpy as np
from stable_baselines3.common.vec_env import DummyVecEnv

from popgrad.core.errors import UsageError

_TRANSPARENT = ("VecNormalize", "VecTransposeImage", "VecMonitor", "VecCheckNan")
"""Wrappers of vectorised environments that the evaluation does without."""


def play(model: Any, make: Callable[[], Any], episodes: int, seed: int) -> list[float]:
    """Return the returns of episodes that a model plays with its deterministic policy.

    Statistics of a `VecNormalize` are used, and stay as they are.

    Args:
        model: Algorithm of Stable-Baselines3.
        make: Function that makes an environment.
        episodes: Number of episodes, each in an environment of its own.
        seed: Seed of the first; the next has the next.
    """
    normalizer = model.get_vec_normalize_env()
    environments = DummyVecEnv([make] * episodes)
    environments.seed(seed)

    returns = np.zeros(episodes)
    playing = np.ones(episodes, dtype=bool)
    observations = environments.reset()
    while playing.any():
        if normalizer is not None:
            observations = normalizer.normalize_obs(observations)
        actions, _ = model.predict(observations, deterministic=True)
        observations, rewards, ended, _ = environments.step(actions)
        returns[playing] += rewards[playing]
        playing &= ~ended

    environments.close()
    return [float(each) for each in returns]


def like(environments: Any) -> Callable[[], Any]:
    """Return a function that makes an environment like those of the training.

    Raises:
        UsageError: It is not known how they were made.
    """
    cure = "give a function that makes one for the evaluation: PopgradCallback(m, env=make)"
    layer = environments
    while hasattr(layer, "venv"):
        if type(layer).__name__ not in _TRANSPARENT:
            raise UsageError(
                f"the environments are wrapped in {type(layer).__name__}; give a function that evaluates the "
                "model: PopgradCallback(m, evaluate=function)"
            )
        layer = layer.venv

    spec = environments.get_attr("spec")[0]
    if spec is None:
        raise UsageError(
            f"the environments were not made by gymnasium.make, so no other is known; {cure}"
        )
    wrappers = [each for each in spec.additional_wrappers if each.name != "Monitor"]
    unknown = [each.name for each in wrappers if each.kwargs is None]
    if unknown:
        raise UsageError(
            f"the environments are wrapped in {', '.join(unknown)}, which do not keep their arguments; {cure}"
        )
    spec = dataclasses.replace(spec, additional_wrappers=tuple(wrappers))
    return lambda: gymnasium.make(spec)
