"""State of Stable-Baselines3 beside modules and optimizers: counters, statistics, replay buffer."""

from collections.abc import Iterator, Mapping
from typing import Any

import numpy as np

from popgrad.core.errors import UsageError

_COUNTERS = ("num_timesteps", "_episode_num", "_n_updates", "_n_calls", "exploration_rate")

_BUFFERS = ("ReplayBuffer", "DictReplayBuffer", "NStepReplayBuffer")


class Counters:
    """Counters of an algorithm.

    Args:
        model: Algorithm of Stable-Baselines3.
    """

    def __init__(self, model: Any) -> None:
        self._model = model

    def state_dict(self) -> dict[str, Any]:
        """Return the counters that the algorithm has."""
        names = [name for name in _COUNTERS if hasattr(self._model, name)]
        return {name: getattr(self._model, name) for name in names}

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Set the counters, and the progress that follows from them."""
        model = self._model
        for name, value in state.items():
            setattr(model, name, value)
        model._num_timesteps_at_start = model.num_timesteps
        model._update_current_progress_remaining(model.num_timesteps, model._total_timesteps)


class Statistics:
    """Running means and variances of a `VecNormalize`.

    Its discounted returns are no part: they start at zero whenever the environments are reset.

    Args:
        normalizer: The `VecNormalize`.
    """

    def __init__(self, normalizer: Any) -> None:
        self._normalizer = normalizer

    def state_dict(self) -> dict[str, dict[str, Any]]:
        """Return mean, variance and count of each statistic, in float64."""
        return {
            name: {"mean": each.mean, "var": each.var, "count": float(each.count)}
            for name, each in self._statistics()
        }

    def load_state_dict(self, state: Mapping[str, Mapping[str, Any]]) -> None:
        """Set the statistics."""
        for name, each in self._statistics():
            # Means of rewards are scalars, which plain data holds as numbers.
            each.mean = _as_was(state[name]["mean"])
            each.var = _as_was(state[name]["var"])
            each.count = state[name]["count"]

    def _statistics(self) -> Iterator[tuple[str, Any]]:
        yield "rewards", self._normalizer.ret_rms
        observed = getattr(self._normalizer, "obs_rms", None)
        if isinstance(observed, dict):
            yield from ((f"observations.{key}", each) for key, each in observed.items())
        elif observed is not None:
            yield "observations", observed


class Replay:
    """Filled part of a replay buffer.

    Args:
        buffer: Replay buffer of Stable-Baselines3.

    Raises:
        UsageError: Its kind is unknown.
    """

    def __init__(self, buffer: Any) -> None:
        kind = type(buffer).__name__
        if kind not in _BUFFERS:
            raise UsageError(
                f"the replay buffer is a {kind}, whose state is unknown; use one of {', '.join(_BUFFERS)}, "
                "or train each interval from an empty buffer: PopgradCallback(m, buffer=False)"
            )
        self._buffer = buffer

    def state_dict(self) -> dict[str, Any]:
        """Return the position, and the filled part of each array."""
        buffer = self._buffer
        size = buffer.size()
        arrays = {name: array[:size] for name, array in self._arrays()}
        return {"position": buffer.pos, "full": buffer.full, "arrays": arrays}

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Fill the buffer; one of another size gets the newest transitions that it can hold."""
        buffer = self._buffer
        arrays = state["arrays"]
        size = len(arrays["rewards"])
        position = state["position"]
        full = state["full"]
        fits = size == buffer.buffer_size if full else size < buffer.buffer_size
        if not fits:
            kept = min(size, buffer.buffer_size)
            # In the order of time; the oldest lies at the position if the buffer was full.
            shift = -position if full else 0
            arrays = {name: np.roll(each, shift, axis=0)[-kept:] for name, each in arrays.items()}
            size = kept
            position = kept % buffer.buffer_size
            full = kept == buffer.buffer_size

        for name, array in self._arrays():
            array[:size] = arrays[name]
        buffer.pos = position
        buffer.full = full

    def cut(self) -> None:
        """Mark the last transitions as the last of their episodes, since the environments are reset."""
        buffer = self._buffer
        if not buffer.size():
            return
        if buffer.handle_timeout_termination:
            # No end for the value, but for returns of several steps.
            buffer.timeouts[buffer.pos - 1][buffer.dones[buffer.pos - 1] == 0] = 1
        else:
            buffer.dones[buffer.pos - 1] = 1

    def _arrays(self) -> Iterator[tuple[str, np.ndarray]]:
        """Yield the arrays [size, environments, ...] by name, those of dictionaries as "name.key"."""
        for name, value in vars(self._buffer).items():
            if isinstance(value, np.ndarray):
                yield name, value
            elif isinstance(value, dict) and name.endswith("observations"):
                yield from ((f"{name}.{key}", each) for key, each in value.items())


def _as_was(value: Any) -> Any:
    return value.copy() if isinstance(value, np.ndarray) else np.float64(value)
