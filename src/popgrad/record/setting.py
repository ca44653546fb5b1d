"""Settings of an ablation: the winner's schedule, and the constants that a run itself suggests."""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field

import numpy as np

from popgrad.core.choices import Choice
from popgrad.core.population import Hparams, SegmentId, Value
from popgrad.core.segment import Segment
from popgrad.core.space import Space

SCHEDULE = "schedule"
"""Name of the setting with the winner's schedule; it comes first."""


@dataclass(frozen=True)
class Setting:
    """Hyperparameters to train a model with.

    Attributes:
        name: Name of the arm.
        origin: Where they are from, in words.
        hparams: Hyperparameters from the first step on.
        changes: (step, hyperparameters) of each later phase; () = they are constant.
    """

    name: str
    origin: str
    hparams: Hparams
    changes: tuple[tuple[int, Hparams], ...] = field(default=())


def settings(
    segments: Sequence[Segment], line: Sequence[Segment], space: Space
) -> tuple[Setting, ...]:
    """Return the winner's schedule, and the constants that a run itself suggests.

    Args:
        segments: The record.
        line: Lineage of the winner, root first.
        space: Dimensions of the hyperparameters.
    """
    changes = [(segment.first_step, segment.hparams) for segment in line[1:]]
    winner = line[-1].member
    stretch = longest_constant(segments)
    return (
        Setting(
            SCHEDULE, f"lineage of the winner, member {winner}", line[0].hparams, tuple(changes)
        ),
        Setting(
            "best constant",
            f"first hyperparameters of member {stretch.member}, unchanged until interval "
            f"{stretch.interval}",
            stretch.hparams,
        ),
        Setting("final values", "last phase of the schedule", line[-1].hparams),
        Setting("mean values", "mean of the schedule, on each scale", mean_values(line, space)),
    )


def longest_constant(segments: Iterable[Segment]) -> Segment:
    """Return the last segment of the constant setting that did best in a run.

    Only hyperparameters that trained a fresh member count, as long as nothing has changed them: those
    that came later trained inherited weights, so their scores depend on the donor as well. Among these,
    selection itself is the race: a member keeps its first hyperparameters until it is replaced. The one
    that kept them for the most intervals has done best, ties by the score at that end.

    Args:
        segments: The record, ordered by (interval, member); at least one.
    """
    constant: dict[SegmentId, Segment] = {}
    ages: dict[SegmentId, int] = {}
    best: Segment | None = None
    for segment in segments:
        if segment.failed:
            continue
        age = segment.length
        if segment.source is not None:
            source = constant.get(segment.source)
            if source is None or dict(source.hparams) != dict(segment.hparams):
                continue
            age += ages[source.id]
        constant[segment.id] = segment
        ages[segment.id] = age
        if best is None or (age, segment.score) > (ages[best.id], best.score):
            best = segment
    if best is None:
        raise ValueError("no segment has a finite score")
    return best


def mean_values(line: Sequence[Segment], space: Space) -> dict[str, Value]:
    """Return the mean of each hyperparameter along a lineage, weighted by steps, on its own scale.

    Of options without an order, it is the one that most steps were trained with.
    """
    steps = np.array([segment.steps for segment in line], dtype=np.float64)
    means: dict[str, Value] = {}
    for name, dimension in space.items():
        values = [segment.hparams[name] for segment in line]
        if isinstance(dimension, Choice):
            trained: dict[Value, float] = {}
            for value, count in zip(values, steps.tolist(), strict=True):
                trained[value] = trained.get(value, 0.0) + count
            means[name] = max(trained, key=lambda value: trained[value])
        elif all(value == values[0] for value in values):
            means[name] = values[0]  # without the rounding of a way there and back
        else:
            positions = [dimension.encode(value) for value in values]
            means[name] = dimension.decode(float(np.average(positions, weights=steps)))
    return means
