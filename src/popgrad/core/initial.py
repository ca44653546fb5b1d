"""Hyperparameters that the first members start with."""

from collections.abc import Sequence

from popgrad.core.errors import UsageError
from popgrad.core.population import Changes, Hparams
from popgrad.core.seeding import Rng
from popgrad.core.space import Space


def first_hparams(
    space: Space, rng: Rng, size: int, initial: Sequence[Hparams]
) -> tuple[list[Hparams], list[Changes]]:
    """Return the hyperparameters that the members start with, and the origin of each.

    Args:
        space: Space to sample from.
        rng: Random streams of the run. Each member draws every value from its own stream, even
            those that `initial` replaces.
        size: Members.
        initial: Hyperparameters of the first members; missing names are sampled.

    Raises:
        UsageError: `initial` is longer than `size`, or an entry is not in the space.
    """
    if len(initial) > size:
        raise UsageError(
            f"initial: expected at most {size} sets of hyperparameters, one a member, got {len(initial)}"
        )

    hparams: list[Hparams] = []
    changes: list[Changes] = []
    for member in range(size):
        given = initial[member] if member < len(initial) else {}
        sampled = space.sample(rng.generator("sample", member, 0))
        hparams.append(space.check({**sampled, **given}, f"initial[{member}]"))
        changes.append({name: "given" if name in given else "sampled" for name in space})
    return hparams, changes
