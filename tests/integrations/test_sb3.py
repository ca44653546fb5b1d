"""Stable-Baselines3: what travels, what is live, and what a boundary does."""

import dataclasses
import importlib
import multiprocessing
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import gymnasium
import numpy as np
import pytest
from stable_baselines3 import DQN, PPO, SAC
from stable_baselines3.common.buffers import NStepReplayBuffer, ReplayBuffer
from stable_baselines3.common.callbacks import CallbackList, StopTrainingOnMaxEpisodes
from stable_baselines3.common.env_util import make_vec_env
from stable_baselines3.common.evaluation import evaluate_policy
from stable_baselines3.common.monitor import Monitor
from stable_baselines3.common.utils import LinearSchedule
from stable_baselines3.common.vec_env import DummyVecEnv, VecFrameStack, VecNormalize

import popgrad
from integrations.sb3_loops import ALGORITHMS, LOOPS, RATES, loop, small, task
from popgrad import Context, Integer, LogUniform, UsageError
from popgrad.integrations.sb3 import PopgradCallback
from popgrad.integrations.sb3_evaluation import play
from popgrad.integrations.sb3_state import Replay
from popgrad.loops.call import call
from popgrad.loops.loop import Loop
from popgrad.loops.member import Member
from popgrad.loops.turn import Turn
from popgrad.state import State, digest
from popgrad.tasks.evaluation import seed_generators

SMALL: dict[str, Any] = {"population": 3, "intervals": 3, "check": False, "progress": False}
ALL = pytest.mark.parametrize("name", ALGORITHMS)


def drawn(space: Any, number: int) -> dict[str, Any]:
    """Hyperparameters from a space: equal numbers, equal values."""
    rng = np.random.default_rng(number)
    return popgrad.Space(space).sample(rng)


def fresh(own: Any, hparams: Any) -> State:
    seed_generators(Context().library_seed("init"))
    return own.init(hparams, Context())


def first_state(own: Any, hparams: Any) -> State:
    return own.train(fresh(own, hparams), hparams, 1, Context())


class Continued:
    """Hand-over of a loop that trains a second segment without a load, as a loop of its own would."""

    def __init__(self, turns: list[Turn]) -> None:
        self.turns = turns
        self.states: list[State] = []

    def begin(self) -> Turn:
        return self.turns[0]

    def end(self, state: State, *, over: bool) -> Turn | None:
        self.states.append(state)
        return None if over else dict(enumerate(self.turns)).get(len(self.states))


def continued(own: Loop, turns: list[Turn]) -> list[State]:
    """States of segments that one call of the function trains, one after the other."""
    handover = Continued(turns)
    call(own.function, Member(turns[0], handover), own.name)
    return handover.states


# --- what travels, and what is live ----------------------------------------------------------------------


@pytest.mark.slow
@ALL
def test_an_interval_repeats(name: str) -> None:
    hparams = drawn(ALGORITHMS[name][2], 1)
    assert digest(first_state(task(name), hparams)) == digest(first_state(task(name), hparams))


@pytest.mark.slow
@ALL
def test_nothing_is_lost_from_one_interval_to_the_next(name: str) -> None:
    """Three intervals in one call, against a new call for each that starts from the state alone."""
    own = task(name)
    hparams = drawn(ALGORITHMS[name][2], 2)
    start = fresh(own, hparams)
    turns = [
        Turn(hparams, Context(interval=number, first_step=number), 1, "reports", None)
        for number in range(3)
    ]
    turns[0] = dataclasses.replace(turns[0], source=start)

    state = start
    for number, whole in enumerate(continued(own, turns)):
        state = own.train(state, hparams, 1, turns[number].ctx)
        assert digest(whole) == digest(state), f"interval {number}"
    assert number == 2
    assert state["position"] == state["tracked"]["counters"]["state"]["num_timesteps"] >= 60
    assert state["tracked"]["counters"]["state"]["_n_updates"] >= 3


@pytest.mark.slow
@ALL
def test_hyperparameters_are_as_live_as_in_a_new_model(name: str) -> None:
    """Written into a model that was made with others, they train as those given to the constructor."""
    space = ALGORITHMS[name][2]
    given, written = task(name), task(name, passes=False)
    state = first_state(given, drawn(space, 3))
    hparams = drawn(space, 4)
    context = Context(interval=1, first_step=1)
    expected = given.train(state, hparams, 1, context)
    assert digest(written.train(state, hparams, 1, context)) == digest(expected)
    # Each of them matters, so the comparison could have failed.
    for each in space:
        other = {**hparams, each: drawn(space, 3)[each]}
        if other[each] == hparams[each] or each in ("target_kl", "clip_range_vf"):
            continue  # nothing is stopped or clipped so early
        assert digest(given.train(state, other, 1, context)) != digest(expected), each


@pytest.mark.slow
def test_the_inherited_state_is_the_donors() -> None:
    own = task("sac, trained coefficient")
    donor = first_state(own, drawn(ALGORITHMS["ddpg"][2], 1))
    kept = own.train(donor, drawn(ALGORITHMS["ddpg"][2], 2), 0, Context(member=1, interval=1))
    for name in ("model", "values", "rounds", "position"):
        assert digest(kept[name]) == digest(donor[name])
    assert digest(kept["tracked"]) == digest(donor["tracked"])
    assert {"log_ent_coef", "ent_coef_optimizer", "actor.optimizer", "critic.optimizer"} <= set(
        kept["tracked"]
    )


@pytest.mark.slow
def test_a_new_value_reaches_every_place_of_a_model_in_use() -> None:
    """The second interval of one call has other hyperparameters: they are read where SB3 reads them."""
    seen: list[dict[str, Any]] = []

    def spied(m: Member) -> None:
        first = m.hparams
        given = {**small(), "n_steps": 16, "batch_size": 16, "n_epochs": 1}
        model = PPO("MlpPolicy", "CartPole-v1", **{**given, **first})
        whole = model.train

        def train_and_note() -> None:
            whole()
            seen.append(
                {
                    "learning_rate": model.policy.optimizer.param_groups[0]["lr"],
                    "gamma": model.rollout_buffer.gamma,
                    "gae_lambda": model.rollout_buffer.gae_lambda,
                    "clip_range": model.clip_range(1.0),
                    "clip_range_vf": model.clip_range_vf(1.0),
                    "target_kl": model.target_kl,
                }
            )

        model.train = train_and_note
        model.learn(10**9, callback=PopgradCallback(m, evaluate=1))

    full = ALGORITHMS["ppo"][2]
    names = ("learning_rate", "gamma", "gae_lambda", "clip_range", "clip_range_vf", "target_kl")
    own = popgrad.loop(spied, space={name: full[name] for name in names}, score="return")
    values = [drawn(own.space.dimensions, number) for number in range(2)]
    start = fresh(own, values[0])
    turns = [Turn(values[n], Context(interval=n), 1, "reports", (start, None)[n]) for n in range(2)]
    continued(own, turns)
    assert seen == values


# --- the record ------------------------------------------------------------------------------------------


@pytest.mark.slow
@pytest.mark.parametrize(
    "name",
    [
        "simple",
        "sac, trained coefficient",
        *(pytest.param(name, marks=pytest.mark.long) for name in ("normalized", "dqn")),
    ],
)
def test_one_record_on_every_executor_and_an_exact_replay(name: str, tmp_path: Path) -> None:
    own = loop(name) if name in LOOPS else task(name)
    whole = popgrad.run(own, directory=tmp_path / "run", executor="serial", **SMALL)
    shared = popgrad.run(own, executor="processes", workers=2, **SMALL)
    assert list(shared.segments) == list(whole.segments)
    assert any(
        segment.source != (segment.member, segment.interval - 1) for segment in whole.segments[3:]
    )
    assert popgrad.replay(tmp_path / "run", task=own).identical


@pytest.mark.slow
@pytest.mark.parametrize("name", ["simple", "normalized", "dqn", "sac"])
def test_a_loop_that_trains_several_segments_has_the_same_record(name: str) -> None:
    own = loop(name) if name in LOOPS else task(name)
    whole = popgrad.run(own, executor="serial", **SMALL)
    used = popgrad.run(dataclasses.replace(own, reuse=True), executor="serial", **SMALL)
    assert list(used.segments) == list(whole.segments)


@pytest.mark.slow
def test_learn_may_end_with_the_run() -> None:
    """A length of its own gives schedules their progress; the last interval is reported at its end."""
    small = {"executor": "serial", **SMALL, "population": 2}
    whole = popgrad.run(task("a2c", total=96), **small)
    assert list(whole.segments) == list(popgrad.run(task("a2c"), **small).segments)
    with pytest.raises(
        UsageError, match=r"learn has ended after 1 of 4 rollouts of a report; give"
    ):
        popgrad.run(task("a2c", total=40), **small)


@pytest.mark.slow
def test_processes_of_environments_are_gone_at_the_end() -> None:
    before = set(multiprocessing.active_children())
    result = popgrad.run(loop("in_processes"), executor="serial", **SMALL)
    assert result.stopped == "finished"
    assert set(multiprocessing.active_children()) == before


# --- the boundary ----------------------------------------------------------------------------------------


@pytest.mark.slow
def test_statistics_of_observations_travel_and_the_evaluation_leaves_them_alone() -> None:
    own = loop("normalized")
    hparams = {"learning_rate": 1e-3, "gamma": 0.9}
    state = first_state(own, hparams)
    saved = state["tracked"]["statistics"]["state"]
    # 2 environments, 16 steps, and the resets of two setups and a boundary; the evaluation adds none.
    assert saved["observations"]["count"] == pytest.approx(2 * (16 + 2) + 1e-4)
    assert saved["rewards"]["count"] == pytest.approx(2 * 16 + 1e-4)
    kept = own.train(state, hparams, 0, Context(member=1, interval=1))
    assert digest(kept["tracked"]["statistics"]) == digest(state["tracked"]["statistics"])


def test_the_evaluation_normalizes_as_the_training_does() -> None:
    def make() -> Any:
        return gymnasium.make("Pendulum-v1")

    env = VecNormalize(DummyVecEnv([make]), norm_reward=True)
    model = PPO("MlpPolicy", env, n_steps=16, batch_size=16, seed=1, **small())
    model.learn(64)
    count = env.obs_rms.count
    returns = play(model, make, episodes=3, seed=5)

    separate = VecNormalize(DummyVecEnv([make] * 3), training=False, norm_reward=False)
    separate.obs_rms = env.obs_rms
    separate.seed(5)
    expected, _ = evaluate_policy(model, separate, 3, return_episode_rewards=True, warn=False)
    assert returns == pytest.approx(expected)
    assert env.obs_rms.count == count
    assert returns != play(model, make, episodes=3, seed=6)


class Corridor(gymnasium.Env[Any, Any]):
    """Environment that no registry knows; it notes the seeds of its resets."""

    seeds: list[int | None] = []  # noqa: RUF012

    def __init__(self) -> None:
        self.observation_space = gymnasium.spaces.Box(-1, 1, (2,))
        self.action_space = gymnasium.spaces.Discrete(2)
        self._steps = 0

    def reset(self, *, seed: int | None = None, options: Any = None) -> Any:
        super().reset(seed=seed)
        Corridor.seeds.append(seed)
        self._steps = 0
        return self.np_random.uniform(-1, 1, 2).astype(np.float32), {}

    def step(self, action: Any) -> Any:
        self._steps += 1
        observation = self.np_random.uniform(-1, 1, 2).astype(np.float32)
        return observation, float(action), self._steps == 20, False, {}


def ppo(m: Member, trained_on: Any, **arguments: Any) -> None:
    seed = arguments.pop("seed", None)
    model = PPO(
        "MlpPolicy", trained_on, n_steps=16, batch_size=16, n_epochs=1, seed=seed, **small()
    )
    model.learn(10**9, callback=PopgradCallback(m, **arguments))


def ready(function: Callable[[Member], None], **space: Any) -> Any:
    return popgrad.loop(function, space=space or {"gamma": RATES["gamma"]}, score="return")


def trained(function: Callable[[Member], None], hparams: Any = None, **space: Any) -> State:
    return first_state(ready(function, **space), hparams or {"gamma": 0.9})


def test_environments_are_reset_with_a_seed_of_the_segment() -> None:
    Corridor.seeds.clear()
    trained(lambda m: ppo(m, Corridor(), evaluate=2, env=Corridor))
    context = Context()
    training = context.seed("environments") % 2**31
    evaluation = context.seed("evaluation") % 2**31
    boundaries = [seed for seed in Corridor.seeds if seed is not None]
    assert boundaries == [training, evaluation, evaluation + 1]


def test_the_score_is_the_mean_of_the_returns_and_all_are_kept() -> None:
    state = trained(lambda m: ppo(m, Corridor(), evaluate=4, env=Corridor))
    assert len(state["samples"]["return"]) == 4
    assert state["metrics"]["return"] == pytest.approx(float(state["samples"]["return"].mean()))


@pytest.mark.parametrize(
    ("result", "metrics"),
    [
        ([1.0, 3.0], {"return": 2.0}),
        (4.0, {"return": 4.0}),
        ({"return": [1.0, 2.0], "length": 7}, {"return": 1.5, "length": 7.0}),
    ],
)
def test_an_evaluation_of_ones_own(result: Any, metrics: dict[str, float]) -> None:
    assert (
        trained(lambda m: ppo(m, Corridor(), evaluate=lambda model: result))["metrics"] == metrics
    )


def test_mean_and_deviation_are_no_returns() -> None:
    with pytest.raises(UsageError, match=r"a pair, \(5.0, 1.0\), as evaluate_policy does"):
        trained(lambda m: ppo(m, Corridor(), evaluate=lambda model: (5.0, 1.0)))


def test_several_rollouts_and_several_reports_make_an_interval() -> None:
    calls: list[int] = []

    def evaluate(model: Any) -> float:
        calls.append(model.num_timesteps)
        return 1.0

    own = ready(lambda m: ppo(m, Corridor(), evaluate=evaluate, rollouts=3))
    state = own.train(fresh(own, {"gamma": 0.9}), {"gamma": 0.9}, 2, Context())
    assert calls == [48, 96]
    assert (state["rounds"], state["position"]) == (2, 96)


def test_a_callback_that_stops_learn_is_refused() -> None:
    def train(m: Member) -> None:
        model = PPO("MlpPolicy", Corridor(), n_steps=16, batch_size=16, n_epochs=1, **small())
        own = PopgradCallback(m, evaluate=lambda model: 1.0, rollouts=2)
        stopping = StopTrainingOnMaxEpisodes(1, verbose=0)
        model.learn(10**9, callback=CallbackList([own, stopping]))

    with pytest.raises(UsageError, match=r"a callback has stopped learn after 20 of 1000000000"):
        trained(train)


# --- replay buffers --------------------------------------------------------------------------------------


def filled(size: int, transitions: int, kind: Any = ReplayBuffer, **options: Any) -> Any:
    """A buffer whose rewards are the numbers of its transitions."""
    spaces = (gymnasium.spaces.Box(-1, 1, (1,)), gymnasium.spaces.Discrete(2))
    buffer = kind(size, *spaces, device="cpu", **options)
    for number in range(transitions):
        value = np.full((1, 1), number % 2, dtype=np.float32)
        infos: list[dict[str, Any]] = [{}]
        buffer.add(value, value, np.zeros((1, 1)), np.array([number]), np.zeros(1), infos)
    return buffer


@pytest.mark.parametrize(
    ("size", "transitions", "into", "kept"),
    [
        (8, 5, 8, [0, 1, 2, 3, 4]),
        (8, 8, 8, [0, 1, 2, 3, 4, 5, 6, 7]),
        (8, 11, 8, [8, 9, 10, 3, 4, 5, 6, 7]),
        (8, 5, 16, [0, 1, 2, 3, 4]),
        (8, 11, 16, [3, 4, 5, 6, 7, 8, 9, 10]),
        (8, 11, 4, [7, 8, 9, 10]),
        (8, 6, 4, [2, 3, 4, 5]),
        (8, 4, 4, [0, 1, 2, 3]),
    ],
)
def test_a_buffer_takes_the_newest_transitions(
    size: int, transitions: int, into: int, kept: list[int]
) -> None:
    state = Replay(filled(size, transitions)).state_dict()
    assert len(state["arrays"]["rewards"]) == min(size, transitions)
    other = filled(into, 3)
    Replay(other).load_state_dict(state)
    assert other.rewards[: other.size(), 0].tolist() == kept
    assert other.full == (len(kept) == into)
    assert other.pos == (transitions % size if into == size else len(kept) % into)


def test_returns_of_several_steps_end_at_a_boundary() -> None:
    buffer = filled(8, 4, NStepReplayBuffer, n_steps=3, gamma=1.0)
    Replay(buffer).cut()
    later = filled(8, 4, NStepReplayBuffer, n_steps=3, gamma=1.0)
    for each in (buffer, later):
        for number in range(4, 7):
            value = np.zeros((1, 1), dtype=np.float32)
            each.add(value, value, value, np.array([number]), np.zeros(1), [{}])
    first = np.array([2])
    assert later._get_samples(first).rewards.item() == 2 + 3 + 4  # of two episodes
    assert buffer._get_samples(first).rewards.item() == 2 + 3
    assert buffer._get_samples(first).dones.item() == 0


def test_a_buffer_without_next_observations_ends_its_episode() -> None:
    options = {"optimize_memory_usage": True, "handle_timeout_termination": False}
    buffer = filled(8, 4, **options)
    Replay(buffer).cut()
    assert buffer.dones[:4, 0].tolist() == [0, 0, 0, 1]
    Replay(filled(8, 0)).cut()


@pytest.mark.slow
def test_a_buffer_may_stay_behind() -> None:
    sizes: list[int] = []

    def forgetful(m: Member) -> None:
        given = {**small(), "buffer_size": 500, "learning_starts": 10}
        model = DQN("MlpPolicy", "CartPole-v1", gamma=m["gamma"], **given)

        def evaluate(own: Any) -> float:
            sizes.append(own.replay_buffer.size())
            return 1.0

        callback = PopgradCallback(m, evaluate=evaluate, rollouts=4, buffer=False)
        model.learn(10**9, callback=callback)

    own = ready(forgetful)
    state = first_state(own, {"gamma": 0.9})
    assert "replay" not in state["tracked"]
    own.train(state, {"gamma": 0.9}, 1, Context(interval=1))
    assert sizes == [16, 16]


# --- mistakes --------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("arguments", "text"),
    [
        ({"evaluate": 0}, "evaluate: expected a number of episodes from 1, or a function"),
        ({"evaluate": True}, "evaluate: expected a number of episodes from 1"),
        ({"env": "CartPole-v1"}, "env: expected a function that makes an environment, got 'Cart"),
        ({"rollouts": 0}, "rollouts: expected an integer from 1, got 0"),
        ({"evaluate": len, "env": Corridor}, "env is for evaluate=NUMBER"),
    ],
)
def test_wrong_arguments_are_refused(arguments: Any, text: str) -> None:
    with pytest.raises(UsageError, match=text):
        trained(lambda m: ppo(m, "CartPole-v1", **arguments))


def test_something_else_than_a_member_is_refused() -> None:
    with pytest.raises(UsageError, match=r"expected the member .* got a dict"):
        PopgradCallback({})  # type: ignore[arg-type]


def normalizing() -> Any:
    return gymnasium.wrappers.NormalizeObservation(gymnasium.make("CartPole-v1"))


def stacking() -> Any:
    return VecFrameStack(make_vec_env("CartPole-v1"), 2)


class Noop(gymnasium.Wrapper[Any, Any, Any, Any]):
    """A wrapper that keeps no arguments."""


@pytest.mark.parametrize(
    ("env", "text"),
    [
        (Corridor, "not made by gymnasium.make, so no other is known; give a function that makes"),
        (normalizing, "the statistics of gymnasium's NormalizeObservation cannot travel"),
        (stacking, "wrapped in VecFrameStack; give a function that evaluates"),
        (lambda: Noop(gymnasium.make("CartPole-v1")), "wrapped in Noop, which do not keep"),
        (lambda: VecNormalize(make_vec_env("CartPole-v1")), "give the model one: seed=m.seed"),
    ],
)
def test_environments_that_cannot_be_carried_or_rebuilt_are_refused(env: Any, text: str) -> None:
    with pytest.raises(UsageError, match=text):
        trained(lambda m: ppo(m, env(), evaluate=1))


@pytest.mark.slow
def test_wrappers_of_the_training_are_those_of_the_evaluation() -> None:
    def wrapped() -> Any:
        limited = gymnasium.make("CartPole-v1", max_episode_steps=3)
        return Monitor(gymnasium.wrappers.TransformReward(limited, lambda reward: 2 * reward))

    state = trained(lambda m: ppo(m, wrapped(), evaluate=2))
    assert state["samples"]["return"].tolist() == [6.0, 6.0]


def made(kind: Any, env: str, **given: Any) -> Callable[[Member], None]:
    def function(m: Member) -> None:
        arguments = {name: use(m) for name, use in given.items()}
        kind("MlpPolicy", env, **small(), **arguments).learn(10**9, callback=PopgradCallback(m, 1))

    return function


@pytest.mark.parametrize(
    ("function", "space", "value", "text"),
    [
        (
            made(PPO, "CartPole-v1", gamma=lambda m: 1 - m["gamma"]),
            {"gamma": RATES["gamma"]},
            0.9,
            r"gamma: the member has 0.9, and PPO was made with 0.0999.*; pass it unchanged, PPO\(",
        ),
        (
            made(PPO, "CartPole-v1"),
            {"n_steps": Integer(16, 64)},
            32,
            r"n_steps: the member has 32, and PPO was made with 2048",
        ),
        (
            made(DQN, "CartPole-v1"),
            {"train_freq": Integer(1, 8)},
            2,
            r"train_freq: the member has 2, and DQN was made with 4",
        ),
        (
            made(SAC, "Pendulum-v1"),
            {"ent_coef": RATES["gamma"]},
            0.9,
            r"ent_coef: SAC was made with ent_coef='auto' and trains it itself",
        ),
        (
            made(PPO, "CartPole-v1", learning_rate=lambda m: LinearSchedule(m["lr"], 0.0, 1.0)),
            {"lr": LogUniform(1e-3, 1e-1)},
            0.01,
            r'call the hyperparameter "learning_rate"',
        ),
        (
            made(PPO, "CartPole-v1", n_steps=lambda m: 64),
            {"gama": RATES["gamma"]},
            0.9,
            r"'gama' reaches nothing",
        ),
    ],
)
@pytest.mark.filterwarnings("ignore:You have specified a mini-batch")
def test_hyperparameters_that_are_not_what_they_seem_are_refused(
    function: Any, space: Any, value: Any, text: str
) -> None:
    ((name, _),) = space.items()
    with pytest.raises(UsageError, match=text):
        trained(function, {name: value}, **space)


@pytest.mark.slow
def test_a_schedule_of_ones_own_is_kept() -> None:
    rates: list[float] = []

    def scheduled(m: Member) -> None:
        schedule = LinearSchedule(m["learning_rate"], 0.0, 1.0)
        given = {**small(), "n_steps": 16, "batch_size": 16, "n_epochs": 1}
        model = PPO("MlpPolicy", "CartPole-v1", learning_rate=schedule, **given)

        def evaluate(own: Any) -> float:
            rates.append(own.policy.optimizer.param_groups[0]["lr"])
            return 1.0

        model.learn(64, callback=PopgradCallback(m, evaluate=evaluate))

    own = ready(scheduled, learning_rate=LogUniform(1e-3, 1e-1))
    state = first_state(own, {"learning_rate": 0.08})
    own.train(state, {"learning_rate": 0.04}, 1, Context(interval=1))
    assert rates == pytest.approx([0.06, 0.02])


def test_the_rate_is_found_by_its_short_name_too() -> None:
    own = ready(made(PPO, "CartPole-v1", n_steps=lambda m: 64), lr=LogUniform(1e-3, 1e-1))
    state = first_state(own, {"lr": 0.05})
    assert "numbers" not in state["tracked"]["policy.optimizer"]


def test_a_number_as_interval_is_explained() -> None:
    own = ready(lambda m: ppo(m, Corridor(), evaluate=1, env=Corridor))
    with pytest.raises(UsageError, match=r'an interval counts reports, such as "1 report"'):
        popgrad.run(own, interval=5, executor="serial", **SMALL)


def test_a_missing_library_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delitem(sys.modules, "popgrad.integrations.sb3")
    monkeypatch.setitem(sys.modules, "stable_baselines3.common.callbacks", None)
    with pytest.raises(UsageError, match=r"pip install 'popgrad\[sb3\]'"):
        importlib.import_module("popgrad.integrations.sb3")
