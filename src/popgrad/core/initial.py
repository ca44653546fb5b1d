"""What the members begin with."""

from collections.abc import Sequence

from popgrad.core.errors import UsageError
from popgrad.core.population import Changes, Hparams
from popgrad.core.seeding import Rng
from popgrad.core.space import Space


def first_hparams(
    space: Space, rng: Rng, size: int, initial: Sequence[Hparams]
) -> tuple[list[Hparams], list[Changes]]:
    """What the members begin with: the given values, and the rest from the space.

    Args:
        space: What is searched.
        rng: A member draws all of its values from a stream of its own, also those that are given.
        size: Members.
        initial: Hyperparameters of the first members; names may be missing.

    Raises:
        UsageError: There are more of them than members, or one is not in the space.
    """
    hparams: list[Hparams] = []
    changes: list[Changes] = []
    if len(initial) > size:
        raise UsageError(
            f"initial: given {len(initial)} sets of hyperparameters for {size} members"
        )
    for member in range(size):
        given = initial[member] if member < len(initial) else {}
        sampled = space.sample(rng.generator("sample", member, 0))
        hparams.append(space.check({**sampled, **given}, f"initial[{member}]"))
        changes.append({name: "given" if name in given else "sampled" for name in space})
    return hparams, changes
