"""Stable-Baselines3: a callback that trains a member of a population inside `learn`."""

from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np

from popgrad.core.errors import UsageError
from popgrad.integrations.sb3_hparams import bind, saved_parts
from popgrad.integrations.sb3_state import Counters, Replay, Statistics
from popgrad.loops.member import Finished, Member

try:
    from gymnasium.wrappers import NormalizeObservation, NormalizeReward
    from stable_baselines3.common.callbacks import BaseCallback

    from popgrad.integrations.sb3_evaluation import like, play
except ImportError as error:
    raise UsageError(
        f"popgrad.integrations.sb3 needs the extra of that name ({error}): pip install 'popgrad[sb3]'"
    ) from error

Evaluate = Callable[[Any], Mapping[str, Any] | Sequence[float] | float]
"""Evaluation of a model: metrics by name, the returns of episodes, or one return."""


class PopgradCallback(BaseCallback):  # type: ignore[misc]  # the library is untyped here, see pyproject.toml
    """Callback of Stable-Baselines3 that makes its model a member of a population.

    An interval ends before a rollout starts. Then all environments are reset with a seed of popgrad, so
    that episodes are cut there: what an environment holds inside cannot travel. Hyperparameters with
    the names of the algorithm's arguments are written into the model and compared at both ends.

    Args:
        member: Member that the function of the loop was given.
        evaluate: Number of episodes to play with the deterministic policy in environments of their own,
            reported as the metric "return"; or a function model -> metrics by name, or returns.
        env: Function that makes an environment for these episodes; None = like those of the training, if
            they were made by `gymnasium.make`.
        rollouts: Rollouts between two reports.
        buffer: Whether the replay buffer travels. False = each interval starts with an empty one.

    Raises:
        UsageError: An argument is wrong.

    Example:
        >>> import popgrad
        >>> from stable_baselines3 import PPO
        >>> def train(m):
        ...     rate = m["learning_rate"]
        ...     model = PPO("MlpPolicy", "CartPole-v1", learning_rate=rate, n_steps=32, batch_size=32)
        ...     model.learn(10**9, callback=PopgradCallback(m, evaluate=2))
        >>> space = {"learning_rate": popgrad.LogUniform(1e-4, 1e-2)}
        >>> task = popgrad.loop(train, space=space, score="return")
        >>> result = popgrad.run(
        ...     task, population=2, intervals=2, executor="serial", check=False, progress=False
        ... )
        >>> result.winner.score > 0
        True
    """

    def __init__(
        self,
        member: Member,
        evaluate: int | Evaluate = 10,
        env: Callable[[], Any] | None = None,
        *,
        rollouts: int = 1,
        buffer: bool = True,
    ) -> None:
        super().__init__()
        _check_arguments(member, evaluate, env, rollouts)

        self._member = member
        self._evaluate = evaluate
        self._env = env
        self._rollouts = rollouts
        self._keeps_buffer = buffer
        self._replay: Replay | None = None
        # Rollouts since the last report.
        self._done = 0

    # --- hooks of Stable-Baselines3 ---------------------------------------------------------------

    def _init_callback(self) -> None:
        """Track what travels, and bind the hyperparameters. The model has been set up."""
        if self._member.live.has_started:
            raise UsageError("PopgradCallback: learn was called a second time; call it once")
        if self._member.live.turn.unit != "reports":
            raise UsageError(
                'interval: with PopgradCallback an interval counts reports, such as "1 report"; the number '
                "of rollouts for a report is PopgradCallback(m, rollouts=...)"
            )
        self._check_environments()
        self._track()
        bind(self._member, self.model)

    def _on_rollout_start(self) -> None:
        """Pass a boundary if enough rollouts were trained. All of `train` is done here."""
        live = self._member.live
        if not live.has_started:
            self._swap({})
            return

        self._done += 1
        if self._done == self._rollouts:
            self._done = 0
            self._swap(self._metrics())

    def _on_step(self) -> bool:
        """Continue."""
        return True

    def _on_training_end(self) -> None:
        """Report the last interval of a `learn` with an end."""
        if not self._member.live.has_started:
            return

        taken, total = self.model.num_timesteps, self.model._total_timesteps
        if taken < total:
            # The rollout is incomplete, so an interval would be shorter than its record.
            raise UsageError(
                f"PopgradCallback: a callback has stopped learn after {taken} of {total} steps; popgrad "
                "decides when a member stops: remove the callback"
            )
        if self._done + 1 != self._rollouts:
            raise UsageError(
                f"PopgradCallback: learn has ended after {self._done + 1} of {self._rollouts} rollouts of a "
                "report; give it the steps of all intervals, or 10**9 for no end"
            )
        self.model.policy.set_training_mode(False)
        metrics = self._metrics()
        self._until_finished(lambda: self._member.finish(**metrics))

    # --- setup ------------------------------------------------------------------------------------

    def _check_environments(self) -> None:
        """Refuse what would be lost, or not repeat.

        Raises:
            UsageError: Statistics of environments cannot travel, or start with an unseeded observation.
        """
        for wrapper in (NormalizeObservation, NormalizeReward):
            if any(self.training_env.env_is_wrapped(wrapper)):
                raise UsageError(
                    f"the statistics of gymnasium's {wrapper.__name__} cannot travel; use VecNormalize of "
                    "stable-baselines3"
                )
        if self.model.get_vec_normalize_env() is not None and self.model.seed is None:
            raise UsageError(
                "the statistics of VecNormalize start with an observation that has no seed; give the model "
                'one: seed=m.seed("sb3") % 2**31'
            )

    def _track(self) -> None:
        model = self.model
        # The name of the network in a state.
        parts = {("model" if name == "policy" else name): part for name, part in saved_parts(model)}
        parts["counters"] = Counters(model)
        normalizer = model.get_vec_normalize_env()
        if normalizer is not None:
            parts["statistics"] = Statistics(normalizer)
        if getattr(model, "replay_buffer", None) is not None and self._keeps_buffer:
            self._replay = Replay(model.replay_buffer)
            parts["replay"] = self._replay
        self._member.track(**parts)

    # --- boundaries -------------------------------------------------------------------------------

    def _swap(self, metrics: Mapping[str, Any]) -> None:
        """Report, and start the next segment if this one is complete."""
        live = self._member.live
        segment = live.turn if live.has_started else None
        self._until_finished(lambda: self._member.swap(**metrics))
        if live.turn is not segment:
            self._cut_episodes()

    def _until_finished(self, step: Callable[[], object]) -> None:
        """Close the environments, and the processes of some, if the loop ends."""
        self._member.live.samples = self.model.num_timesteps
        try:
            step()
        except Finished:
            self.training_env.close()
            raise

    def _cut_episodes(self) -> None:
        """Reset all environments with seeds of the segment, and everything that spans their episodes."""
        model = self.model
        environments = self.training_env
        seed = self._member.seed("environments") % 2**31
        environments.seed(seed)
        model.action_space.seed(seed)
        self._empty_buffers()

        model._last_obs = environments.reset()
        model._last_episode_starts = np.ones(environments.num_envs, dtype=bool)
        normalizer = model.get_vec_normalize_env()
        if normalizer is not None:
            model._last_original_obs = normalizer.get_original_obs()
        if model.action_noise is not None:
            model.action_noise.reset()
        if model.use_sde:
            # Drawn before this hook from other weights.
            getattr(model, "actor", model.policy).reset_noise(environments.num_envs)

    def _empty_buffers(self) -> None:
        model = self.model
        if self._replay is not None:
            self._replay.cut()
        elif getattr(model, "replay_buffer", None) is not None:
            model.replay_buffer.reset()
        # Episodes of a log, which belong to the donor.
        model.ep_info_buffer.clear()
        model.ep_success_buffer.clear()

    # --- evaluation -------------------------------------------------------------------------------

    def _metrics(self) -> Mapping[str, Any]:
        """Evaluate the model.

        Raises:
            UsageError: No environment can be made for it, or the function returns no metrics.
        """
        if callable(self._evaluate):
            result = self._evaluate(self.model)
            if isinstance(result, tuple):
                raise UsageError(
                    f"PopgradCallback: evaluate has returned a pair, {result!r:.80}, as evaluate_policy "
                    "does: mean and deviation, or returns and lengths; return its first entry"
                )
            return result if isinstance(result, Mapping) else {"return": result}
        make = self._env or like(self.training_env)
        seed = self._member.seed("evaluation") % 2**31
        return {"return": play(self.model, make, self._evaluate, seed)}


def _check_arguments(member: Any, evaluate: Any, env: Any, rollouts: Any) -> None:
    if not isinstance(member, Member):
        raise UsageError(
            "PopgradCallback: expected the member that the function of the loop was given, got a "
            f"{type(member).__name__}"
        )

    if not callable(evaluate) and (type(evaluate) is not int or evaluate < 1):
        raise UsageError(
            "PopgradCallback: evaluate: expected a number of episodes from 1, or a function model -> returns "
            f"or metrics by name, got {evaluate!r:.80}"
        )

    if env is not None and not callable(env):
        raise UsageError(
            f"PopgradCallback: env: expected a function that makes an environment, got {env!r:.80}; give "
            "env=lambda: gymnasium.make(...)"
        )
    if env is not None and callable(evaluate):
        raise UsageError("PopgradCallback: env is for evaluate=NUMBER; a function makes its own")

    if type(rollouts) is not int or rollouts < 1:
        raise UsageError(f"PopgradCallback: rollouts: expected an integer from 1, got {rollouts!r}")
