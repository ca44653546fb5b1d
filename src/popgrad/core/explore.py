"""How an heir's hyperparameters are changed: each live dimension on its own, by its own rule.

What is drawn depends on the space and on the generator, never on the values: two donors that
differ in one hyperparameter give heirs that differ in that one only.
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
    """Move every live hyperparameter by a factor, or draw it afresh.

    Perturb and resample of Jaderberg et al. 2017; a probability of 1 is the latter alone.

    Args:
        rng: Consumed.
        hparams: The donor's, complete.
        space: What is searched; init-only and constant dimensions are left as they are.
        factors: Drawn from uniformly, each above 0 and not 1.
        resample_probability: Chance in [0, 1] of a draw from the prior instead, for each hyperparameter.

    Returns:
        Complete hyperparameters, in the space, and what made each: the factor, "resampled", "next",
        "previous", "kept" (there is no other value) or "inherited" (not explored).
    """
    changed: dict[str, Value] = {}
    changes: dict[str, Change] = {}
    for name, dimension in space.items():
        if not explored(dimension):
            changed[name], changes[name] = hparams[name], "inherited"
        elif rng.random() < resample_probability:
            changed[name], changes[name] = dimension.sample(rng), "resampled"
        else:
            changed[name], changes[name] = dimension.perturb(rng, hparams[name], factors)
    return changed, changes


def explored(dimension: Dimension) -> bool:
    """Whether explore may change it: neither init-only nor constant."""
    return not dimension.init_only and not isinstance(dimension, Constant)


def check_factors(factors: Any) -> tuple[float, ...]:
    """The factors as floats.

    Raises:
        UsageError: None given, or one is not a finite number above 0 and other than 1.
    """
    if isinstance(factors, str) or not isinstance(factors, Sequence) or not factors:
        raise UsageError(
            f"factors = {factors!r}: needs at least one number, for example [0.8, 1.25]"
        )
    checked = []
    for factor in factors:
        try:
            checked.append(number(factor))
        except UsageError as error:
            raise UsageError(f"factors: {error}") from None
        if checked[-1] < 1e-300 or checked[-1] == 1:  # the inverse has to be finite, too
            raise UsageError(
                f"factors = {list(factors)}: each has to be above 0 and not 1, such as 0.8 and 1.25"
            )
    return tuple(checked)


def check_probability(name: str, probability: Any) -> float:
    """A probability as a float. Raises `UsageError` that names it when it is not in [0, 1]."""
    try:
        chance = number(probability)
    except UsageError as error:
        raise UsageError(f"{name}: {error}") from None
    if not 0 <= chance <= 1:
        raise UsageError(f"{name} = {probability!r}: a probability is in [0, 1]")
    return chance
