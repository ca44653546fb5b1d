"""Training, validation and test data, as tensors in memory."""

from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from popgrad.core.errors import UsageError
from popgrad.core.spelling import did_you_mean

Part = tuple[torch.Tensor, ...]
"""Tensors with an equal first dimension, the samples: usually (inputs, targets)."""

_SHARE = 12
"""Part of the training samples that validate, if nothing else is configured: MNIST's usual one."""

_MOST = 5_000
"""Most samples that validate: with them an accuracy near 0.99 has a standard error of 0.0014."""

_NAMES = ("train", "validation", "test")


@dataclass(frozen=True, eq=False)
class Splits:
    """Three parts of a data set. Selection sees `validation` alone; `test` is for the final report.

    Each part is a tuple of tensors [n, ...] with the same n, at least 1: usually (inputs, targets).

    Attributes:
        train: Samples to train on.
        validation: Samples that rank the members.
        test: Samples that no decision sees.

    Raises:
        UsageError: A part is not a tuple of tensors of one length, is empty, or differs from
            `train` in the number, type or shape of its samples' tensors.

    Example:
        >>> inputs, targets = torch.randn(100, 8), torch.arange(100) % 2
        >>> splits = Splits(
        ...     train=(inputs[:80], targets[:80]),
        ...     validation=(inputs[80:90], targets[80:90]),
        ...     test=(inputs[90:], targets[90:]),
        ... )
        >>> [len(splits[name][0]) for name in ("train", "validation", "test")]
        [80, 10, 10]
    """

    train: Part
    validation: Part
    test: Part

    def __post_init__(self) -> None:
        for name in _NAMES:
            part = self[name]
            if (
                not isinstance(part, tuple)
                or not part
                or not all(isinstance(x, torch.Tensor) for x in part)
            ):
                raise UsageError(f"{name}: expected a tuple of tensors such as (inputs, targets)")
            if any(x.is_meta for x in part):
                raise UsageError(f"{name}: a tensor is on meta and has no values")

            lengths = [len(x) if x.dim() else 0 for x in part]
            if min(lengths) != max(lengths) or lengths[0] == 0:
                raise UsageError(
                    f"{name}: expected tensors of one length, at least 1, got {lengths} samples"
                )

            kinds = _kinds(part)
            expected = _kinds(self.train)
            if kinds != expected:
                raise UsageError(
                    f"{name}: expected samples like those of train, {expected}, got {kinds}"
                )

    def __getitem__(self, split: str) -> Part:
        """Return a part by its name.

        Raises:
            UsageError: There is no such part.
        """
        if split not in _NAMES:
            similar = did_you_mean(split, _NAMES)
            raise UsageError(f"split: expected one of {', '.join(_NAMES)}, got {split!r}{similar}")
        part: Part = getattr(self, split)
        return part


def _kinds(part: Part) -> str:
    return ", ".join(f"{str(x.dtype).removeprefix('torch.')} {list(x.shape[1:])}" for x in part)


def default_validation(targets: torch.Tensor) -> int:
    """Return the usual size of a validation part: a twelfth, at least one a class, at most 5,000.

    Args:
        targets: [n] class of each sample.

    Example:
        >>> default_validation(torch.arange(60_000) % 10)
        5000
        >>> default_validation(torch.arange(3_000) % 10)
        250
        >>> default_validation(torch.arange(60) % 10)
        10
    """
    return min(max(len(targets) // _SHARE, len(set(targets.tolist()))), _MOST)


def stratified(
    inputs: torch.Tensor, targets: torch.Tensor, *, validation: int, seed: int
) -> tuple[tuple[torch.Tensor, torch.Tensor], tuple[torch.Tensor, torch.Tensor]]:
    """Split off a validation part in which each class has its share, to the nearest sample.

    Args:
        inputs: [n, ...].
        targets: [n] class of each sample.
        validation: Number of samples to split off; at least one a class, and as many must stay.
        seed: Seed of the draw, any integer, taken modulo 2**32. The same seed gives the same split.

    Returns:
        (inputs, targets) of the samples that stay and of those split off, each in the given order,
        contiguous, in torch's own memory.

    Raises:
        UsageError: The lengths differ, or `validation` leaves a class without a sample on one side.

    Example:
        >>> inputs, targets = torch.randn(100, 8), torch.arange(100) % 4
        >>> train, validation = stratified(inputs, targets, validation=20, seed=0)
        >>> len(train[0]), torch.bincount(validation[1])
        (80, tensor([5, 5, 5, 5]))
    """
    n = len(inputs)
    if targets.shape != (n,):
        raise UsageError(
            f"targets: expected shape [{n}], a class for each input, got shape {list(targets.shape)}"
        )
    if not 0 < validation < n:
        raise UsageError(
            f"validation: expected 1 to {n - 1} of {n} training samples, got {validation}"
        )

    kept = _kept_by_class(targets.cpu().numpy(), n - validation, seed % 2**32)
    stay = torch.from_numpy(np.flatnonzero(kept)).to(inputs.device)
    leave = torch.from_numpy(np.flatnonzero(~kept)).to(inputs.device)
    return (inputs[stay], targets[stay]), (inputs[leave], targets[leave])


def _kept_by_class(classes: NDArray[Any], count: int, seed: int) -> NDArray[np.bool_]:
    """Return which samples stay, such that each class has its share of them.

    The samples are those that `sklearn.model_selection.train_test_split` keeps with the same seed.
    It is not called, since its import takes as long as that of torch, in every process.

    Args:
        classes: [n] class of each sample.
        count: Samples to keep.
        seed: Seed of the draw, 0 to 2**32 - 1.
    """
    _, numbers, sizes = np.unique(classes, return_inverse=True, return_counts=True)
    fewest = min(count, len(classes) - count)
    if fewest < len(sizes) or sizes.min() < 2:
        what = "a class has one sample" if sizes.min() < 2 else f"there are {len(sizes)} classes"
        raise UsageError(
            f"validation: {len(classes)} samples cannot be split by class with "
            f"{len(classes) - count} of them ({what}, and each needs a sample on both sides)"
        )

    rng = np.random.RandomState(seed)
    shares = _shares(rng, sizes, count)
    # The remaining samples are shared out too, which may draw.
    _shares(rng, sizes - shares, len(classes) - count)

    kept = np.zeros(len(classes), dtype=np.bool_)
    by_class = np.split(np.argsort(numbers, kind="stable"), np.cumsum(sizes)[:-1])
    for members, share in zip(by_class, shares, strict=True):
        kept[rng.permutation(members)[:share]] = True
    return kept


def _shares(rng: np.random.RandomState, sizes: NDArray[np.int64], count: int) -> NDArray[np.int64]:
    """Return how many samples each class gives: in proportion, the largest fractions rounded up.

    Among equal fractions `rng` chooses.
    """
    exact = sizes / sizes.sum() * count
    shares = np.floor(exact)
    missing = int(count - shares.sum())

    fractions = exact - shares
    for fraction in np.unique(fractions)[::-1]:
        if missing <= 0:
            break
        (equal,) = np.nonzero(fractions == fraction)
        up = min(len(equal), missing)
        shares[rng.choice(equal, size=up, replace=False)] += 1
        missing -= up
    whole: NDArray[np.int64] = shares.astype(np.int64)
    return whole
