"""Length of the training between two decisions of a member."""

import re
from dataclasses import dataclass


@dataclass(frozen=True)
class Interval:
    """Length of the training between two decisions of a member.

    Attributes:
        count: Steps, epochs or reports, at least 1.
        epochs: Whether `count` counts epochs.
        within_epochs: Whether an interval ends no later than its epoch (steps only).
        reports: Whether `count` counts reports of a training loop, each of which is a step.
    """

    count: int
    epochs: bool
    within_epochs: bool = False
    reports: bool = False

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
    """Read "275", "275 steps", "1 epoch", "100 steps within epochs", "1 report".

    Batches are steps.

    Raises:
        ValueError: The string is none of these.
    """
    match = re.fullmatch(_PATTERN, text)
    if match is None or int(match[1]) < 1:
        raise ValueError(
            'expected a number of steps ("275"; "100 steps within epochs"), of epochs ("1 epoch"), or, for a '
            f'training loop, of reports ("1 report"), at least 1, got {text!r}'
        )
    count, epochs, reports, within = match.groups()
    return Interval(int(count), epochs is not None, within is not None, reports is not None)


_PATTERN = (
    r"\s*([0-9]+)\s*(?:(epochs?)|(reports?)|(?:steps?|batch(?:es)?)?(\s+within\s+epochs)?)\s*"
)
