"""Changes to an heir's hyperparameters: each live dimension on its own, by its own rule.

Each rule is an `Explore` once its settings are bound: `partial(mutate, space=space, rate=0.25)`.
Init-only and constant dimensions are left as they are.

The draws depend on the space and the generator, never on the values: two donors that differ in one
hyperparameter give heirs that differ in that one only.
"""

from collections.abc import Callable, Mapping, Sequence
from functools import partial
from typing import Any

import numpy as np

from popgrad.core.errors import UsageError
from popgrad.core.generation import Explore
from popgrad.core.population import Change, Hparams, Value
from popgrad.core.space import Choice, Constant, Dimension, Integer, Ordinal, Space
from popgrad.core.spelling import did_you_mean
from popgrad.core.values import number

FACTORS = (0.8, 1.25)
"""Default factors. Their logarithms cancel; those of the paper, 0.8 and 1.2, average -0.0204."""

Factors = Sequence[float] | Mapping[str, Sequence[float]]
"""Factors of all hyperparameters; or by name, with those of all others under "default"."""

Explored = tuple[dict[str, Value], dict[str, Change]]
"""Complete hyperparameters, in the space, and the origin of each."""


def perturb(
    rng: np.random.Generator,
    hparams: Hparams,
    space: Space,
    *,
    factors: Factors,
    resample_probability: float = 0.0,
) -> Explored:
    """Move every live hyperparameter by a factor, or resample it.

    Perturb and resample of Jaderberg et al. 2017.

    Args:
        rng: Generator to draw from; it is consumed.
        hparams: Complete hyperparameters of the donor.
        space: Space of the hyperparameters.
        factors: Factors to draw from uniformly, each above 0 and not 1; or such factors by name,
            with those of all others under "default" (`FACTORS` if there is none).
        resample_probability: Probability in [0, 1], for each hyperparameter, of a draw from the
            prior.

    Returns:
        Complete hyperparameters, in the space, and the origin of each: the factor, "resampled",
        "next", "previous", "kept" (there is no other value) or "inherited" (not explored).

    Example:
        >>> from popgrad import Constant, LogUniform, Space, Uniform
        >>> space = Space(
        ...     {
        ...         "lr": LogUniform(1e-4, 1.0),
        ...         "dropout": Uniform(0.0, 0.5),
        ...         "batch_size": Constant(64),
        ...     }
        ... )
        >>> perturb(
        ...     np.random.default_rng(0),
        ...     {"lr": 0.1, "dropout": 0.25, "batch_size": 64},
        ...     space,
        ...     factors={"lr": [2.0], "default": [0.5]},
        ... )[0]
        {'lr': 0.2, 'dropout': 0.125, 'batch_size': 64}
    """
    by_name = factors if isinstance(factors, Mapping) else {"default": factors}
    others = by_name.get("default", FACTORS)

    def move(name: str, dimension: Dimension, value: Value) -> tuple[Value, Change]:
        if rng.random() < resample_probability:
            return dimension.sample(rng), "resampled"
        return dimension.perturb(rng, value, by_name.get(name, others))

    return _explore(hparams, space, move)


def resample(
    rng: np.random.Generator, hparams: Hparams, space: Space, *, probability: float = 1.0
) -> Explored:
    """Draw each live hyperparameter from the prior again, with a probability.

    Resample of Jaderberg et al. 2017: the prior is what the first members were sampled from, so a
    dimension with a `start` is resampled there.

    Args:
        rng: Generator to draw from; it is consumed.
        hparams: Complete hyperparameters of the donor.
        space: Space of the hyperparameters.
        probability: Probability in [0, 1], for each hyperparameter, of a draw.

    Returns:
        Complete hyperparameters, in the space, and the origin of each: "resampled" or "inherited".

    Raises:
        UsageError: The probability is not in [0, 1].

    Example:
        >>> from popgrad import Ordinal, Space
        >>> space = Space({"batch_size": Ordinal((32, 64, 128), start=(64,))})
        >>> resample(np.random.default_rng(0), {"batch_size": 128}, space)
        ({'batch_size': 64}, {'batch_size': 'resampled'})
    """
    check_probability("probability", probability)

    def move(_: str, dimension: Dimension, value: Value) -> tuple[Value, Change]:
        if rng.random() < probability:
            return dimension.sample(rng), "resampled"
        return value, "inherited"

    return _explore(hparams, space, move)


def neighbour(
    rng: np.random.Generator, hparams: Hparams, space: Space, *, step: float = 0.1
) -> Explored:
    """Move every live hyperparameter by one step along its scale, up or down with equal probability.

    An ordinal moves to the option beside it, an integer by 1, a choice, which has no order, to
    another option, and a float by `step` of the way from low to high along its scale (of the
    decades of a `LogUniform`). One that is at a bound, or nearer than half a step, turns back.

    Args:
        rng: Generator to draw from; it is consumed.
        hparams: Complete hyperparameters of the donor.
        space: Space of the hyperparameters.
        step: Step of a float, a share of its range in (0, 1].

    Returns:
        Complete hyperparameters, in the space, and the origin of each: "next", "previous",
        "resampled" (a choice), "kept" (there is no other option) or "inherited" (not explored).

    Raises:
        UsageError: The step is not in (0, 1].

    Example:
        >>> from popgrad import LogUniform, Ordinal, Space
        >>> space = Space({"lr": LogUniform(1e-4, 1.0), "batch_size": Ordinal((32, 64, 128))})
        >>> neighbour(np.random.default_rng(2), {"lr": 0.1, "batch_size": 32}, space, step=0.25)
        ({'lr': 1.0, 'batch_size': 64}, {'lr': 'next', 'batch_size': 'next'})
    """
    if not 0 < _number("step", step) <= 1:
        raise UsageError(f"step: expected a share of a float's range in (0, 1], got {step!r}")

    def move(_: str, dimension: Dimension, value: Value) -> tuple[Value, Change]:
        up = bool(rng.random() < 0.5)
        if isinstance(dimension, Choice | Ordinal):
            return dimension.perturb(rng, value, [2.0 if up else 0.5])

        new: Value
        if isinstance(dimension, Integer):
            up = up if value != (dimension.high if up else dimension.low) else not up
            new = dimension.clip(number(value) + (1 if up else -1))
        else:
            position = dimension.encode(value)
            up = up if (1 - position if up else position) >= step / 2 else not up
            new = dimension.decode(position + (step if up else -step))
        return new, "next" if up else "previous"

    return _explore(hparams, space, move)


def mutate(
    rng: np.random.Generator,
    hparams: Hparams,
    space: Space,
    *,
    rate: float = 0.15,
    low: float = 1.1,
    high: float = 1.5,
) -> Explored:
    """Multiply or divide some of the live hyperparameters by a factor from U(low, high).

    The rule of the decentralised libraries for reinforcement learning: the defaults are those of
    Sample Factory and of DexPBT (Petrenko et al. 2023, arXiv 2305.12127) in Isaac Gym; rl_games has
    a rate of 0.25 and factors up to 2.

    Args:
        rng: Generator to draw from; it is consumed.
        hparams: Complete hyperparameters of the donor.
        space: Space of the hyperparameters.
        rate: Probability in [0, 1], for each hyperparameter, of being changed at all.
        low: Least factor, at least 1.
        high: Largest factor, at least `low`.

    Returns:
        Complete hyperparameters, in the space, and the origin of each, as of `perturb`;
        "inherited" = not changed.

    Raises:
        UsageError: The rate is not in [0, 1], or the factors are not in order.

    Example:
        >>> from popgrad import LogUniform, Space
        >>> space = Space({"lr": LogUniform(1e-4, 1.0)})
        >>> hparams, changes = mutate(np.random.default_rng(0), {"lr": 0.1}, space, rate=1.0)
        >>> f"{hparams['lr']:.4f}, by {changes['lr']:.4f}"
        '0.1208, by 1.2079'
    """
    check_probability("rate", rate)
    if not 1 <= _number("low", low) <= _number("high", high):
        raise UsageError(
            f"low: expected factors with 1 <= low <= high, got low = {low!r} and high = {high!r}; "
            "a value is multiplied or divided by the one that is drawn"
        )

    def move(_: str, dimension: Dimension, value: Value) -> tuple[Value, Change]:
        if rng.random() >= rate:
            return value, "inherited"
        factor = rng.uniform(low, high)
        return dimension.perturb(rng, value, (factor, 1 / factor))

    return _explore(hparams, space, move)


def explored(dimension: Dimension) -> bool:
    """Return whether explore may change it: neither init-only nor constant."""
    return not dimension.init_only and not isinstance(dimension, Constant)


def _explore(
    hparams: Hparams,
    space: Space,
    move: Callable[[str, Dimension, Value], tuple[Value, Change]],
) -> Explored:
    """Apply (name, dimension, value) -> (new value, origin) to each live hyperparameter."""
    changed: dict[str, Value] = {}
    changes: dict[str, Change] = {}

    for name, dimension in space.items():
        if explored(dimension):
            changed[name], changes[name] = move(name, dimension, hparams[name])
        else:
            changed[name] = hparams[name]
            changes[name] = "inherited"
    return changed, changes


def perturbation(space: Space, factors: Any, resample_probability: Any) -> Explore:
    """Return `perturb` with its settings, checked.

    Args:
        space: Space of the hyperparameters.
        factors: Factors, or factors by name, as in `perturb`.
        resample_probability: Probability in [0, 1], for each hyperparameter, of a draw from the
            prior.

    Raises:
        UsageError: A setting is not in its range; the message starts with its name.

    Example:
        >>> from popgrad import LogUniform, Space
        >>> explore = perturbation(Space({"lr": LogUniform(1e-4, 1.0)}), [0.5], 0.0)
        >>> explore(np.random.default_rng(0), {"lr": 0.5})
        ({'lr': 0.25}, {'lr': 0.5})
    """
    return partial(
        perturb,
        space=space,
        factors=check_all_factors(factors, space),
        resample_probability=check_probability("resample_probability", resample_probability),
    )


def check_all_factors(factors: Any, space: Space) -> Factors:
    """Return the factors, or the factors by name, as floats.

    Raises:
        UsageError: As by `check_factors`; or a name is not in the space.

    Example:
        >>> from popgrad import LogUniform, Space
        >>> check_all_factors({"lr": [0.5, 2]}, Space({"lr": LogUniform(1e-4, 1.0)}))
        {'lr': (0.5, 2.0)}
    """
    if not isinstance(factors, Mapping):
        return check_factors(factors)

    unknown = [name for name in factors if name not in space and name != "default"]
    if unknown:
        similar = did_you_mean(unknown[0], space) or f"; has {', '.join(space)}, and default"
        raise UsageError(f"factors: unknown hyperparameter {unknown[0]!r}{similar}")
    return {name: check_factors(given, f"factors.{name}") for name, given in factors.items()}


def check_factors(factors: Any, where: str = "factors") -> tuple[float, ...]:
    """Return the factors as floats.

    Args:
        factors: Factors as a user gave them.
        where: Key that holds them, for messages.

    Raises:
        UsageError: There is none, or one is not a finite number above 0 and other than 1.
    """
    if isinstance(factors, str) or not isinstance(factors, Sequence) or not factors:
        raise UsageError(
            f"{where}: expected at least one number, for example [0.8, 1.25], got {factors!r}"
        )

    checked = []
    for factor in factors:
        checked.append(_number(where, factor))
        # The inverse has to be finite too.
        if checked[-1] < 1e-300 or checked[-1] == 1:
            raise UsageError(
                f"{where}: expected numbers above 0 and other than 1, for example [0.8, 1.25], "
                f"got {list(factors)}"
            )
    return tuple(checked)


def check_probability(name: str, probability: Any) -> float:
    """Return a probability as a float.

    Raises:
        UsageError: It is not in [0, 1]; the message starts with the name.
    """
    checked = _number(name, probability)
    if not 0 <= checked <= 1:
        raise UsageError(f"{name}: expected a probability in [0, 1], got {probability!r}")
    return checked


def _number(name: str, value: Any) -> float:
    """Return a finite float, or raise UsageError whose message starts with the name."""
    try:
        return number(value)
    except UsageError as error:
        raise UsageError(f"{name}: {error}") from None
