"""How long a member trains between two decisions."""

import re
from dataclasses import dataclass


@dataclass(frozen=True)
class Interval:
    """How long a member trains between two decisions.

    Attributes:
        count: At least 1.
        epochs: Whether `count` counts epochs, else steps.
        within_epochs: Whether an interval ends with the epoch where that comes first (steps only).
    """

    count: int
    epochs: bool
    within_epochs: bool = False

    def steps(self, first_step: int, epoch_steps: int) -> int:
        """Steps of the interval that begins after `first_step` steps, where an epoch has `epoch_steps`."""
        if self.epochs:
            return self.count * epoch_steps
        return (
            min(self.count, epoch_steps - first_step % epoch_steps)
            if self.within_epochs
            else self.count
        )

    def per(self, epochs: int, epoch_steps: int) -> int:
        """Intervals that cover a number of epochs."""
        if self.epochs:
            return -(-epochs // self.count)
        if self.within_epochs:
            return epochs * -(-epoch_steps // self.count)
        return -(-epochs * epoch_steps // self.count)


def parse_interval(text: str) -> Interval:
    """Read "275", "275 steps", "1 epoch", "100 steps within epochs".

    Raises:
        ValueError: It is none of these.
    """
    match = re.fullmatch(r"\s*(\d+)\s*(?:(epochs?)|(?:steps?)?(\s+within\s+epochs)?)\s*", text)
    if match is None or int(match[1]) < 1:
        raise ValueError(
            'an interval is a number of steps ("275"; "100 steps within epochs") or of epochs ("1 epoch"), '
            "at least 1"
        )
    return Interval(int(match[1]), match[2] is not None, match[3] is not None)
