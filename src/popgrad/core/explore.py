"""Changes to an heir's hyperparameters: each live dimension on its own, by its own rule.

The draws depend on the space and the generator, never on the values: two donors that differ in one
hyperparameter give heirs that differ in that one only.
"""

from collections.abc import Sequence
from typing import Any

import numpy as np

from popgrad.core.errors import UsageError
from popgrad.core.population import Change, Hparams, Value
from popgrad.core.space import Constant, Dimension, Space
from popgrad.core.values import number


def perturb(
    rng: np.random.Generator,
    hparams: Hparams,
    space: Space,
    *,
    factors: Sequence[float],
    resample_probability: float,
) -> tuple[dict[str, Value], dict[str, Change]]:
    """Move every live hyperparameter by a factor, or resample it.

    Perturb and resample of Jaderberg et al. 2017; a probability of 1 is resample alone.

    Args:
        rng: Generator to draw from; it is consumed.
        hparams: Complete hyperparameters of the donor.
        space: Space of the hyperparameters; init-only and constant dimensions are left as they are.
        factors: Factors to draw from uniformly, each above 0 and not 1.
        resample_probability: Probability in [0, 1], for each hyperparameter, of a draw from the
            prior.

    Returns:
        Complete hyperparameters, in the space, and the origin of each: the factor, "resampled",
        "next", "previous", "kept" (there is no other value) or "inherited" (not explored).

    Example:
        >>> from popgrad import Constant, Space, Uniform
        >>> space = Space({"dropout": Uniform(0.0, 0.5), "batch_size": Constant(64)})
        >>> perturb(
        ...     np.random.default_rng(0),
        ...     {"dropout": 0.25, "batch_size": 64},
        ...     space,
        ...     factors=[0.5],
        ...     resample_probability=0.0,
        ... )
        ({'dropout': 0.125, 'batch_size': 64}, {'dropout': 0.5, 'batch_size': 'inherited'})
    """
    changed: dict[str, Value] = {}
    changes: dict[str, Change] = {}

    for name, dimension in space.items():
        if not explored(dimension):
            changed[name] = hparams[name]
            changes[name] = "inherited"
        elif rng.random() < resample_probability:
            changed[name] = dimension.sample(rng)
            changes[name] = "resampled"
        else:
            changed[name], changes[name] = dimension.perturb(rng, hparams[name], factors)
    return changed, changes


def explored(dimension: Dimension) -> bool:
    """Return whether explore may change it: neither init-only nor constant."""
    return not dimension.init_only and not isinstance(dimension, Constant)


def check_factors(factors: Any) -> tuple[float, ...]:
    """Return the factors as floats.

    Raises:
        UsageError: There is none, or one is not a finite number above 0 and other than 1.
    """
    if isinstance(factors, str) or not isinstance(factors, Sequence) or not factors:
        raise UsageError(
            f"factors: expected at least one number, for example [0.8, 1.25], got {factors!r}"
        )

    checked = []
    for factor in factors:
        try:
            checked.append(number(factor))
        except UsageError as error:
            raise UsageError(f"factors: {error}") from None
        # The inverse has to be finite too.
        if checked[-1] < 1e-300 or checked[-1] == 1:
            raise UsageError(
                "factors: expected numbers above 0 and other than 1, for example [0.8, 1.25], "
                f"got {list(factors)}"
            )
    return tuple(checked)


def check_probability(name: str, probability: Any) -> float:
    """Return a probability as a float.

    Raises:
        UsageError: It is not in [0, 1]; the message starts with the name.
    """
    try:
        checked = number(probability)
    except UsageError as error:
        raise UsageError(f"{name}: {error}") from None
    if not 0 <= checked <= 1:
        raise UsageError(f"{name}: expected a probability in [0, 1], got {probability!r}")
    return checked
