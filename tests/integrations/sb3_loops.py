"""Loops with models of Stable-Baselines3 for tests, in a module that worker processes can import."""

import functools
from typing import Any

import numpy as np
from stable_baselines3 import A2C, DDPG, DQN, PPO, SAC, TD3
from stable_baselines3.common.base_class import BaseAlgorithm
from stable_baselines3.common.env_util import make_vec_env
from stable_baselines3.common.noise import OrnsteinUhlenbeckActionNoise
from stable_baselines3.common.vec_env import SubprocVecEnv, VecNormalize

import popgrad
from popgrad import Choice, Integer, LogUniform, Uniform
from popgrad.integrations.sb3 import PopgradCallback


def small() -> dict[str, Any]:
    """Arguments of a small network; models keep the inner dictionary and change it."""
    return {"policy_kwargs": {"net_arch": [8]}, "device": "cpu"}


REPLAY: dict[str, Any] = {"buffer_size": 70, "learning_starts": 12}
"""A buffer that is full in the third interval of 32 steps."""

SETUP = {"learning_starts", "train_freq", "n_steps", "buffer_size"}
"""Arguments that a model takes only when it is made."""

RATES = {"learning_rate": LogUniform(1e-4, 1e-2), "gamma": Uniform(0.8, 0.99)}
ON_POLICY = RATES | {
    "gae_lambda": Uniform(0.5, 0.99),
    "ent_coef": Uniform(0.0, 0.1),
    "vf_coef": Uniform(0.1, 0.9),
    "max_grad_norm": Uniform(0.01, 0.5),
}
OFF_POLICY = RATES | {
    "tau": Uniform(0.01, 0.5),
    "batch_size": Integer(4, 16),
    "gradient_steps": Integer(1, 3),
    "learning_starts": Integer(20, 50),
}

ALGORITHMS: dict[str, tuple[type[BaseAlgorithm], str, dict[str, Any], dict[str, Any]]] = {
    # name: class, environment, space, fixed arguments
    "ppo": (
        PPO,
        "CartPole-v1",
        ON_POLICY
        | {
            # Small ranges and large steps, so that ratios are clipped.
            "learning_rate": LogUniform(1e-2, 1e-1),
            "clip_range": Uniform(0.001, 0.1),
            "clip_range_vf": Uniform(0.01, 0.3),
            "target_kl": Uniform(5.0, 9.0),
            "n_epochs": Integer(3, 8),
            "batch_size": Choice([8, 16]),
            "normalize_advantage": Choice([True, False]),
        },
        {"n_steps": 32},
    ),
    "a2c": (A2C, "CartPole-v1", ON_POLICY, {"n_steps": 8}),
    "dqn": (
        DQN,
        "CartPole-v1",
        OFF_POLICY
        | {
            "exploration_initial_eps": Uniform(0.6, 0.9),
            "exploration_final_eps": Uniform(0.1, 0.4),
            "exploration_fraction": Uniform(0.2, 0.8),
            "max_grad_norm": Uniform(0.01, 0.5),
            "target_update_interval": Integer(4, 16),
            "train_freq": Choice([4, 8]),
        },
        REPLAY,
    ),
    "sac": (SAC, "Pendulum-v1", OFF_POLICY | {"ent_coef": Uniform(0.01, 0.5)}, REPLAY),
    "sac, trained coefficient": (SAC, "Pendulum-v1", OFF_POLICY, REPLAY),
    "td3": (
        TD3,
        "Pendulum-v1",
        OFF_POLICY
        | {
            "policy_delay": Integer(1, 3),
            "target_policy_noise": Uniform(0.1, 0.3),
            "target_noise_clip": Uniform(0.2, 0.5),
        },
        REPLAY,
    ),
    "ddpg": (DDPG, "Pendulum-v1", OFF_POLICY, REPLAY),
}


def rollouts(name: str) -> int:
    """Rollouts of an interval of about 32 steps."""
    if name == "dqn":
        return 5
    return {"ppo": 1, "a2c": 4}.get(name, 32)


def train(m: popgrad.Member, name: str, passes: bool, total: int = 200) -> None:
    """Train a small model; the hyperparameters are given to the constructor if `passes`."""
    kind, env, space, fixed = ALGORITHMS[name]
    given: dict[str, Any] = {**small(), **fixed}
    for each in space:
        if passes or each in SETUP:
            given[each] = m[each]
    # Other defaults of PPO warn here, and those of SAC are trained.
    if name == "ppo":
        given.setdefault("batch_size", 4)
    if name == "sac":
        given.setdefault("ent_coef", 0.1)
    if kind in (TD3, DDPG):
        given["action_noise"] = OrnsteinUhlenbeckActionNoise(np.zeros(1), np.full(1, 0.1))
    model = kind("MlpPolicy", env, **given)
    model.learn(total, callback=PopgradCallback(m, evaluate=2, rollouts=rollouts(name)))


def task(name: str, passes: bool = True, total: int = 200) -> popgrad.Task:
    function = functools.partial(train, name=name, passes=passes, total=total)
    return popgrad.loop(function, space=ALGORITHMS[name][2], score="return")


def simple(m: popgrad.Member) -> None:
    """PPO with two hyperparameters."""
    rate, gamma = m["learning_rate"], m["gamma"]
    given = {**small(), "n_steps": 32, "batch_size": 16, "n_epochs": 2}
    model = PPO("MlpPolicy", "CartPole-v1", learning_rate=rate, gamma=gamma, **given)
    model.learn(10**9, callback=PopgradCallback(m, evaluate=3))


def normalized(m: popgrad.Member) -> None:
    """PPO with running statistics of observations and returns."""
    env = VecNormalize(make_vec_env("Pendulum-v1", n_envs=2), gamma=m["gamma"])
    given = {**small(), "n_steps": 16, "batch_size": 16, "n_epochs": 1, "use_sde": True}
    rate, gamma, seed = m["learning_rate"], m["gamma"], m.seed("sb3") % 2**31
    model = PPO("MlpPolicy", env, learning_rate=rate, gamma=gamma, seed=seed, **given)
    model.learn(10**9, callback=PopgradCallback(m, evaluate=2))


def in_processes(m: popgrad.Member) -> None:
    """Environments in processes of their own; their ids are reported."""
    # Forked, since a fresh process would take seconds to import torch.
    kind: dict[str, Any] = {
        "vec_env_cls": SubprocVecEnv,
        "vec_env_kwargs": {"start_method": "fork"},
    }
    env = make_vec_env("CartPole-v1", n_envs=2, **kind)
    given = {**small(), "n_steps": 16, "batch_size": 16, "n_epochs": 1}
    model = PPO("MlpPolicy", env, learning_rate=m["learning_rate"], gamma=m["gamma"], **given)
    model.learn(10**9, callback=PopgradCallback(m, evaluate=2))


LOOPS = {each.__name__: each for each in (simple, normalized, in_processes)}


def loop(name: str) -> popgrad.Task:
    return popgrad.loop(LOOPS[name], space=RATES, score="return")
