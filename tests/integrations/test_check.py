"""The check of loops inside of other libraries: clean ones have no findings, and planted faults are named."""

from collections.abc import Callable, Mapping
from typing import Any

import lightning.pytorch as pl
import pytest
from stable_baselines3 import PPO, SAC
from stable_baselines3.common.callbacks import BaseCallback
from stable_baselines3.common.env_util import make_vec_env
from stable_baselines3.common.vec_env import VecNormalize
from transformers import Trainer, TrainerCallback

import lightning_loops as lightning
import popgrad
from integrations import sb3_loops, trainers
from popgrad import Finding, LogUniform, Member
from popgrad.core.errors import RunError, UsageError
from popgrad.integrations.sb3 import PopgradCallback
from popgrad.integrations.sb3_hparams import saved_parts
from popgrad.loops.check import process

RATE = {"learning_rate": LogUniform(1e-4, 1e-2)}

pytestmark = pytest.mark.slow


@pytest.fixture(autouse=True)
def in_this_process(monkeypatch: pytest.MonkeyPatch) -> None:
    """The comparison with another process is made in this one: a new interpreter takes seconds."""
    monkeypatch.setattr(process, "train_elsewhere", process.first_interval)


def findings(
    function: Callable[[Member], None], score: str, space: Any = RATE
) -> dict[str, Finding]:
    return {
        found.kind: found
        for found in popgrad.check(popgrad.loop(function, space=space, score=score))
    }


CLEAN = {
    "by step": lightning.task(lightning.by_step),
    "by epoch": lightning.task(lightning.by_epoch),
    "mixed": lightning.task(lightning.mixed),
    "transformers": trainers.task(trainers.full, trainers.ALL),
    **{name: sb3_loops.task(name) for name in ("ppo", "a2c", "dqn", "sac")},
}
RARE = {"by epoch", "a2c", "dqn"}
"""Loops that are left to the long tests."""


@pytest.mark.parametrize(
    "name", [pytest.param(name, marks=pytest.mark.long if name in RARE else ()) for name in CLEAN]
)
def test_nothing_is_found_in_a_clean_loop(name: str) -> None:
    assert popgrad.check(CLEAN[name]) == []


# --- faults in callbacks of a user's own -----------------------------------------------------------


class LateSwap(pl.Callback):
    """Passes all boundaries but the first in another hook than the start of an epoch."""

    def __init__(self, m: Member, hook: str) -> None:
        self._m = m
        setattr(self, hook, self._swap)

    def on_train_start(self, trainer: Any, pl_module: Any) -> None:
        schedulers = [config.scheduler for config in trainer.lr_scheduler_configs]
        self._m.track(model=pl_module, optimizers=trainer.optimizers, schedulers=schedulers)

    def on_train_epoch_start(self, trainer: Any, pl_module: Any) -> None:
        if not self._m.live.has_started:
            self._m.swap()

    def _swap(self, trainer: Any, pl_module: Any) -> None:
        if self._m.live.has_started:
            self._m.swap(val_loss=trainer.callback_metrics["val_loss"])


@pytest.mark.parametrize("hook", ["on_train_epoch_end", "on_validation_end"])
def test_a_boundary_before_the_end_of_an_epoch_is_lost(hook: str) -> None:
    def train(m: Member) -> None:
        lightning.fit(
            {name: m[name] for name in lightning.SPACE}, [LateSwap(m, hook)], schedule="epoch"
        )

    found = findings(train, "-val_loss", lightning.SPACE)
    assert "lost" in found
    assert any(part.startswith("model") for part in found["lost"].parts)


class OwnOrder(TrainerCallback):
    """Passes the boundary between two epochs, and leaves the order of the data to the trainer."""

    def __init__(self, m: Member) -> None:
        self._m = m
        self._metrics: Mapping[str, float] = {}

    def on_train_begin(self, args: Any, state: Any, control: Any, **kwargs: Any) -> None:
        self._m.track(
            model=kwargs["model"], optimizer=kwargs["optimizer"], scheduler=kwargs["lr_scheduler"]
        )
        self._m.alias(learning_rate="lr")

    def on_epoch_begin(self, args: Any, state: Any, control: Any, **kwargs: Any) -> None:
        self._m.swap(**self._metrics)

    def on_evaluate(self, args: Any, state: Any, control: Any, **kwargs: Any) -> None:
        self._metrics = {"eval_loss": kwargs["metrics"]["eval_loss"]}


def test_an_order_of_the_trainers_own_is_lost() -> None:
    def train(m: Member) -> None:
        args = trainers.arguments(m, learning_rate=m["learning_rate"], num_train_epochs=9)
        Trainer(
            trainers.build(), args, train_dataset=trainers.train_set(),
            eval_dataset=trainers.eval_set(), callbacks=[OwnOrder(m)],
        ).train()  # fmt: skip

    found = findings(train, "-eval_loss")
    assert "lost" in found
    assert any(part.startswith("model") for part in found["lost"].parts)


class OwnRollouts(BaseCallback):  # type: ignore[misc]
    """Passes the boundary between two rollouts, and leaves the environments as they are."""

    def __init__(self, m: Member) -> None:
        super().__init__()
        self._m = m

    def _on_training_start(self) -> None:
        self._m.track(model=self.model.policy, optimizer=self.model.policy.optimizer)
        self._m.alias(learning_rate="lr")

    def _on_rollout_start(self) -> None:
        self._m.swap(steps=float(self.model.num_timesteps))

    def _on_step(self) -> bool:
        return True


def own_rollouts(m: Member, **options: Any) -> None:
    given = {"n_steps": 32, "batch_size": 16, **sb3_loops.small(), **options}
    model = PPO("MlpPolicy", "CartPole-v1", **given)
    model.learn(10**9, callback=OwnRollouts(m))


def test_environments_without_a_seed_do_not_repeat() -> None:
    def train(m: Member) -> None:
        own_rollouts(m, learning_rate=m["learning_rate"])

    assert "repeat" in findings(train, "steps")


def test_a_rate_that_the_models_schedule_overwrites_ends_the_check() -> None:
    def train(m: Member) -> None:
        own_rollouts(m, learning_rate=0.5, seed=1)

    with pytest.raises(RunError, match=r"'learning_rate' is 0\.5 at the end of the interval"):
        findings(train, "steps")


def normalized(m: Member, **options: Any) -> None:
    env = VecNormalize(make_vec_env("CartPole-v1"))
    model = PPO("MlpPolicy", env, m["learning_rate"], n_steps=32, **sb3_loops.small(), **options)
    model.learn(10**9, callback=PopgradCallback(m, evaluate=2))


def test_statistics_need_the_seed_of_the_model() -> None:
    def seeded(m: Member) -> None:
        normalized(m, batch_size=32, seed=m.seed("sb3") % 2**31)

    assert findings(seeded, "return") == {}
    with pytest.raises(UsageError, match="VecNormalize"):
        findings(normalized, "return")


class WithoutReplay(OwnRollouts):
    """Tracks what SAC trains, and forgets the replay buffer."""

    def _on_training_start(self) -> None:
        parts = dict(saved_parts(self.model))
        self._m.track(model=parts.pop("policy"), **parts)

    def _on_rollout_start(self) -> None:
        if self.model.num_timesteps % 32 == 0:
            super()._on_rollout_start()


def test_a_replay_buffer_that_is_not_tracked_is_lost() -> None:
    def train(m: Member) -> None:
        given = {"learning_rate": m["learning_rate"], "learning_starts": 12, "seed": 1}
        model = SAC("MlpPolicy", "Pendulum-v1", **sb3_loops.small(), **given)
        model.learn(10**9, callback=WithoutReplay(m))

    found = findings(train, "steps")
    assert any("replay_buffer.pos" in each for each in found["lost"].variables), found
