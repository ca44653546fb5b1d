"""Reinforcement learning: PPO of Stable-Baselines3 on CartPole, against random search of equal budget.

Run it with: python examples/cartpole.py (six runs, minutes on two cores), or with --tiny for a try.
"""
# ruff: noqa: ARG001, D103  # the functions that popgrad calls are documented there

import sys

from stable_baselines3 import PPO
from stable_baselines3.common.env_util import make_vec_env
from stable_baselines3.common.evaluation import evaluate_policy

import popgrad
from popgrad import LogUniform, OneMinus, Uniform
from popgrad.integrations.sb3 import PopgradCallback

ENV = "CartPole-v1"
SPACE = {
    "learning_rate": LogUniform(1e-5, 1e-2),
    "gamma": OneMinus(0.9, 0.9999),
    "clip_range": Uniform(0.05, 0.4),
}
TINY = "--tiny" in sys.argv
MEMBERS, INTERVALS, SEEDS = (2, 2, 1) if TINY else (6, 12, 3)
ROLLOUTS = 1 if TINY else 4


def train(m):
    given = {name: m[name] for name in SPACE}
    model = PPO("MlpPolicy", ENV, n_steps=256, seed=m.seed("sb3") % 2**31, device="cpu", **given)
    model.learn(10**9, callback=PopgradCallback(m, evaluate=10, rollouts=ROLLOUTS))


def network(hparams):
    return PPO("MlpPolicy", ENV, device="cpu").policy


def play(policy, split):
    # Episodes that no training and no selection has seen: their seeds are below 2**31.
    episodes = make_vec_env(ENV, n_envs=100, seed=2**31)
    return {"return": evaluate_policy(policy, episodes, n_eval_episodes=100)[0]}


task = popgrad.loop(train, space=SPACE, score="return", evaluate=play, module=network)

if __name__ == "__main__":
    print("| seed | strategy | first interval at 475 | at 475 | mean of all | winner, new |")
    print("| --- | --- | --- | --- | --- | --- |")
    size = {"population": MEMBERS, "intervals": INTERVALS, "executor": "processes"}
    for seed in range(SEEDS):
        for strategy in ("pbt", "random-search"):
            result = popgrad.run(task, strategy=strategy, seed=seed, **size)
            solved = [s.interval + 1 for s in result.segments if s.score >= 475]
            last = [s.score for s in result.segments if s.interval == INTERVALS - 1]
            good = f"{sum(score >= 475 for score in last)} of {MEMBERS}"
            mean = f"{sum(last) / MEMBERS:.0f}"
            first = min(solved, default="never")
            cells = [seed, strategy, first, good, mean, f"{result.test()['return']:.0f}"]
            print("|", " | ".join(map(str, cells)), "|", flush=True)
