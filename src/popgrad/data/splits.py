"""Training, validation and test data, as tensors in memory."""

from dataclasses import dataclass

import numpy as np
import torch

from popgrad.core.errors import UsageError

Part = tuple[torch.Tensor, ...]
"""Tensors with an equal first dimension, the samples: usually (inputs, targets)."""

_NAMES = ("train", "validation", "test")


@dataclass(frozen=True, eq=False)
class Splits:
    """The three parts of a data set. Selection sees `validation` alone; `test` is for the final report.

    Attributes:
        train: What is trained on. Like the others: tensors [n, ...] with the same n, usually
            (inputs, targets), at least one sample.
        validation: What ranks the members.
        test: What no decision sees.

    Raises:
        UsageError: A part is not a tuple of tensors of one length, is empty, or differs from `train` in the
            number, type or shape of its samples' tensors.
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
            lengths = [len(x) if x.dim() else 0 for x in part]
            if min(lengths) != max(lengths) or lengths[0] == 0:
                raise UsageError(
                    f"{name}: its tensors have {lengths} samples; give each the same, at least 1"
                )
            kinds, expected = _kinds(part), _kinds(self.train)
            if kinds != expected:
                raise UsageError(
                    f"{name}: its samples are {kinds}, those of train {expected}; they must agree"
                )

    def __getitem__(self, split: str) -> Part:
        """The part of that name.

        Raises:
            UsageError: There is no such part.
        """
        if split not in _NAMES:
            raise UsageError(f"split {split!r} is unknown; there are {', '.join(_NAMES)}")
        part: Part = getattr(self, split)
        return part


def _kinds(part: Part) -> str:
    return ", ".join(f"{str(x.dtype).removeprefix('torch.')} {list(x.shape[1:])}" for x in part)


def stratified(
    inputs: torch.Tensor, targets: torch.Tensor, *, validation: int, seed: int
) -> tuple[tuple[torch.Tensor, torch.Tensor], tuple[torch.Tensor, torch.Tensor]]:
    """Split off a validation part in which each class has its share, to the nearest sample.

    Args:
        inputs: [n, ...].
        targets: [n], the class of each sample.
        validation: Samples to split off, exactly; at least one for each class, and as many must stay.
        seed: Any integer, taken modulo 2**32. The same seed gives the same split.

    Returns:
        (inputs, targets) of what stays and of what was split off, each in the order given, contiguous, in
        torch's own memory.

    Raises:
        UsageError: The lengths differ, or `validation` leaves a class without a sample on one side.
    """
    from sklearn.model_selection import (
        train_test_split,  # here: it takes longer to import than MNIST to read
    )

    n = len(inputs)
    if targets.shape != (n,):
        raise UsageError(
            f"targets: shape {list(targets.shape)} for {n} inputs; give one class for each, [{n}]"
        )
    if not 0 < validation < n:
        raise UsageError(
            f"validation={validation}: of {n} training samples, 1 to {n - 1} can be split off"
        )
    try:
        kept, taken = train_test_split(
            np.arange(n),
            test_size=validation,
            stratify=targets.cpu().numpy(),
            random_state=seed % 2**32,
        )
    except ValueError as error:
        reason = " ".join(str(error).split())
        raise UsageError(
            f"validation={validation}: {n} samples cannot be split so by class ({reason})"
        ) from None
    stay, leave = (torch.tensor(np.sort(part), device=inputs.device) for part in (kept, taken))
    return (inputs[stay], targets[stay]), (inputs[leave], targets[leave])
