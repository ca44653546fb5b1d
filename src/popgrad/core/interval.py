"""Length of the training between two decisions of a member."""

import re
from dataclasses import dataclass


@dataclass(frozen=True)
class Interval:
    """Length of the training between two decisions of a member.

    Attributes:
        count: Steps or epochs, at least 1.
        epochs: Whether `count` counts epochs, else steps.
        within_epochs: Whether an interval ends no later than its epoch (steps only).
    """

    count: int
    epochs: bool
    within_epochs: bool = False

    def steps(self, first_step: int, epoch_steps: int) -> int:
        """Return the steps of the interval that begins after `first_step` steps.

        Args:
            first_step: Training steps before the interval.
            epoch_steps: Steps of an epoch, at least 1.
        """
        if self.epochs:
            return self.count * epoch_steps
        if self.within_epochs:
            return min(self.count, epoch_steps - first_step % epoch_steps)
        return self.count

    def per(self, epochs: int, epoch_steps: int) -> int:
        """Return the number of intervals that cover a number of epochs."""
        if self.epochs:
            return -(-epochs // self.count)
        if self.within_epochs:
            return epochs * -(-epoch_steps // self.count)
        return -(-epochs * epoch_steps // self.count)


def parse_interval(text: str) -> Interval:
    """Read "275", "275 steps", "1 epoch", "100 steps within epochs".

    Raises:
        ValueError: The string is none of these.
    """
    match = re.fullmatch(r"\s*([0-9]+)\s*(?:(epochs?)|(?:steps?)?(\s+within\s+epochs)?)\s*", text)
    if match is None or int(match[1]) < 1:
        raise ValueError(
            'expected a number of steps ("275"; "100 steps within epochs") or of epochs ("1 epoch"), '
            f"at least 1, got {text!r}"
        )
    return Interval(int(match[1]), match[2] is not None, match[3] is not None)
