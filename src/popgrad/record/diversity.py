"""Diversity of a population: shares of its founders, and how far apart its hyperparameters are.

Every function is pure. In the shape descriptions I is the number of intervals, F that of founders.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from popgrad.core.population import SegmentId, Value
from popgrad.core.seeding import Floats, Index
from popgrad.core.segment import Segment
from popgrad.core.space import Constant, Dimension, Space
from popgrad.record.lineage import roots

LOW, HIGH = 10, 90
"""Percentiles of the members between which the spread of a hyperparameter is measured."""

FEWEST = 4
"""Members without a failure that an interval needs, for a statement on its diversity."""

ONE_FOUNDER = 1.5
"""Effective founders below which one founder has nearly all members: nine of ten leave 1.4."""

EARLY = 0.5
"""Share of a run before whose end more than one founder should be left.

Under PBT one founder is left at last in any case: with random scores after 17 intervals of 8 members
and after 56 of 20, if a quarter is replaced in each.
"""

NARROW = 0.05
"""Share of its range below which the spread of a hyperparameter is a collapse."""


@dataclass(frozen=True)
class Diversity:
    """Diversity of a population, interval by interval. Segments that failed do not count.

    Attributes:
        intervals: [I] intervals, ascending.
        members: [I] members without a failure.
        founders: [F] founders in the order of their start, by (interval, member).
        shares: [I, F] share of the members that descend from each founder; a row sums to 1, or to 0
            if all members failed.
        effective: [I] effective number of founders: the exponential of the entropy of the shares,
            from 1 to F; 0 if all members failed.
        spread: [I] spread of each searched hyperparameter by name, in [0, 1] of its range along its
            scale: the distance between the 10th and the 90th percentile of the members. Of a
            choice without an order it is the share of members without the commonest option. nan if
            all members failed.
    """

    intervals: tuple[int, ...]
    members: Index
    founders: tuple[SegmentId, ...]
    shares: Floats
    effective: Floats
    spread: Mapping[str, Floats]


def diversity(segments: Sequence[Segment], space: Space) -> Diversity:
    """Return the diversity of a population in each interval.

    Args:
        segments: All segments of a run.
        space: Dimensions that were searched; constants are left out.

    Raises:
        RunError: The record is damaged: a source is missing, or the sources run in a circle.
    """
    founder = roots(segments)
    groups = _alive(segments)
    founders = sorted(
        {founder[each.id] for group in groups.values() for each in group},
        key=lambda fresh: fresh[::-1],
    )
    column = {each: number for number, each in enumerate(founders)}

    shares = np.zeros((len(groups), len(founders)))
    for row, group in enumerate(groups.values()):
        for segment in group:
            shares[row, column[founder[segment.id]]] += 1 / len(group)

    spread = {
        name: np.array([_spread(group, name, dimension) for group in groups.values()])
        for name, dimension in space.items()
        if not isinstance(dimension, Constant)
    }
    counts = np.array([len(group) for group in groups.values()], dtype=np.int64)
    return Diversity(
        tuple(groups), counts, tuple(founders), shares, effective_number(shares), spread
    )


def _alive(segments: Sequence[Segment]) -> dict[int, list[Segment]]:
    """Return the segments without a failure of every interval, ascending."""
    groups: dict[int, list[Segment]] = {}
    for segment in segments:
        group = groups.setdefault(segment.interval, [])
        if not segment.failed:
            group.append(segment)
    return dict(sorted(groups.items()))


def effective_number(shares: Floats) -> Floats:
    """Return [I] effective numbers of kinds: the exponential of the entropy of their shares.

    Equal shares of n kinds give n.

    Args:
        shares: [I, F] shares, at least 0; a row sums to 1, or to 0, which gives 0.

    Example:
        >>> effective_number(np.array([[0.5, 0.5, 0.0], [1.0, 0.0, 0.0]])).round(6)
        array([2., 1.])
    """
    logs = np.log(shares, out=np.zeros_like(shares), where=shares > 0)
    effective: Floats = np.exp(-(shares * logs).sum(axis=1))
    return np.where(shares.sum(axis=1) > 0, effective, 0.0)


def _spread(group: Sequence[Segment], name: str, dimension: Dimension) -> float:
    """Return the spread of a hyperparameter among some segments, in [0, 1]; nan = there are none."""
    if not group:
        return float("nan")
    values: list[Value] = [segment.hparams[name] for segment in group]
    positions = [dimension.encode(value) for value in values]
    if dimension.scale == "category":
        _, counts = np.unique(positions, return_counts=True)
        return 1.0 - float(counts.max()) / len(positions)
    low, high = np.percentile(positions, [LOW, HIGH])
    return float(high - low)


# --- a warning in words ---------------------------------------------------------------------------


def warning(found: Diversity, space: Space, intervals: int) -> str:
    """Return a warning in words if the diversity has collapsed; "" = it has not.

    Intervals count that have at least 4 members without a failure, and half as many as the fullest
    one. The diversity has collapsed

    * if one founder has nearly the whole population, below 1.5 effective founders, from an interval
      in the first half of the run to the last one; in the second half that is usual,
    * or if every hyperparameter that is explored spreads over less than 5 % of its range, from some
      interval to the last one.

    Args:
        found: Diversity of a run.
        space: Dimensions that were searched.
        intervals: Intervals that each member is to train in all.
    """
    return " ".join(filter(None, (_founder_warning(found, intervals), _narrow(found, space))))


def _founder_warning(found: Diversity, intervals: int) -> str:
    since = _since(found, found.effective < ONE_FOUNDER)
    if since is None or found.intervals[since] >= EARLY * intervals:
        return ""
    largest = int(np.argmax(found.shares[since]))
    member, interval = found.founders[largest]
    start = "" if interval == 0 else f", fresh in interval {interval}"
    return (
        f"From interval {found.intervals[since]} on nearly all members descend from one founder, "
        f"member {member}{start}: {found.effective[since]:.1f} effective founders before the half of "
        f"the run. Copy less or later (a lower fraction, longer intervals), or take more members."
    )


def _narrow(found: Diversity, space: Space) -> str:
    explored = [spread for name, spread in found.spread.items() if not space[name].init_only]
    if not explored:
        return ""
    widest = np.max(explored, axis=0)
    since = _since(found, widest < NARROW)
    if since is None:
        return ""
    return (
        f"From interval {found.intervals[since]} on the members train with nearly the same "
        f"hyperparameters: each spreads over less than {NARROW:.0%} of its range. Larger factors, or "
        f"resampling, explore more."
    )


def _since(found: Diversity, collapsed: npt.NDArray[np.bool_]) -> int | None:
    """Return the row since which each interval that counts has collapsed; None = the last one has not."""
    enough = max(FEWEST, found.members.max(initial=0) / 2)
    since = None
    for row in np.flatnonzero(found.members >= enough).tolist():
        if not collapsed[row]:
            since = None
        elif since is None:
            since = row
    return since
