"""Hyperparameters of a restart of IPBT, from a model of what earlier starts have led to.

Chebykin et al. 2025, arXiv 2511.09190: a Gaussian process over hyperparameters and time maps the
first hyperparameters of a lineage to the best score of its descendants. The paper maximises its
confidence bound by interleaved gradient and discrete steps; here it is maximised over random
candidates. In the shape descriptions D is the number of hyperparameters.
"""

from collections.abc import Mapping, Sequence
from statistics import NormalDist
from typing import NamedTuple

import numpy as np

from popgrad.core.population import Changes, Hparams, Value
from popgrad.core.seeding import Floats
from popgrad.core.space import Constant, Space
from popgrad.strategies.gaussian_process import Points, fit, posterior

_CANDIDATES = 256
"""Random candidates for one set of hyperparameters."""

_BOX = 0.4
"""Side of the box around the best start, in unit space: the first trust region of BG-PBT."""

_WIDTH = 1.96
"""Standard deviations above the mean in the upper confidence bound: the paper's code."""


class Origin(NamedTuple):
    """The start of a lineage: hyperparameters that a member started an iteration with.

    Attributes:
        time: Member-intervals that the run had spent when the iteration started.
        positions: [D] hyperparameters in unit space.
        best: Best score of its descendants in that iteration.
    """

    time: int
    positions: tuple[float, ...]
    best: float


class Request(NamedTuple):
    """First hyperparameters to choose for one slot.

    Attributes:
        rng: Generator to draw from; it is consumed.
        donor: Hyperparameters behind the weights that it inherits; None = its weights are fresh.
            The init-only ones travel with the weights.
        modelled: Whether the model chooses them; else they are sampled from the prior.
    """

    rng: np.random.Generator
    donor: Hparams | None = None
    modelled: bool = True

    def fixed(self, space: Space) -> dict[str, Value]:
        """Return the hyperparameters that travel with the weights."""
        donor = self.donor or {}
        return {name: value for name, value in donor.items() if space[name].init_only}


def first_hparams(
    space: Space, origins: Sequence[Origin], time: int, requests: Mapping[int, Request]
) -> dict[int, tuple[Hparams, Changes]]:
    """Return complete hyperparameters and the origin of each, by slot.

    The origins are "modelled", "sampled" (also if there are too few origins for a model) and
    "inherited" (init-only with inherited weights, and constants).

    Args:
        space: Space of the hyperparameters.
        origins: Origins of all iterations so far, in order.
        time: Member-intervals that the run has spent.
        requests: What to choose, by slot.
    """
    wanted = {slot: request for slot, request in requests.items() if request.modelled}
    if len(origins) < 2:
        wanted = {}
    chosen = propose(space, origins, time, [*wanted.values()]) if wanted else []
    modelled = dict(zip(wanted, chosen, strict=True))

    found: dict[int, tuple[Hparams, Changes]] = {}
    for slot, request in requests.items():
        fixed = request.fixed(space)
        hparams = modelled.get(slot) or {**space.sample(request.rng), **fixed}
        word = "modelled" if slot in modelled else "sampled"
        changes: Changes = {
            name: "inherited" if name in fixed or isinstance(dimension, Constant) else word
            for name, dimension in space.items()
        }
        found[slot] = (hparams, changes)
    return found


def propose(
    space: Space, origins: Sequence[Origin], time: int, requests: Sequence[Request]
) -> list[dict[str, Value]]:
    """Return complete hyperparameters for each request, chosen by upper confidence bound.

    Candidates are drawn from a box around the best start of the last iteration; categories are
    drawn from all options. A set that is proposed counts as pending: it lowers the deviation around
    it, so that the next one differs.

    Args:
        space: Space of the hyperparameters.
        origins: Origins of all iterations so far, in order, at least 2.
        time: Member-intervals that the run has spent.
        requests: Sets to propose.
    """
    categories = [name for name, dimension in space.items() if dimension.scale == "category"]
    unordered = np.array([name in categories for name in space])
    first = origins[0].time
    span = max(1, time - first)

    def points(positions: Floats, times: Sequence[int]) -> Points:
        ages = (np.array(times, dtype=np.float64) - first) / span
        # Options are compared for equality alone.
        numbers = np.rint(positions[:, unordered] * 1e9).astype(np.int64)
        none = np.zeros(len(positions))
        return Points(ages, none, positions[:, ~unordered], numbers)

    known = points(
        np.array([origin.positions for origin in origins]), [origin.time for origin in origins]
    )
    targets = normal_scores([origin.best for origin in origins])
    kernel = fit(known, targets)

    latest = [origin for origin in origins if origin.time == origins[-1].time]
    centre = max(latest, key=lambda origin: origin.best).positions
    proposed: list[dict[str, Value]] = []
    pending: Points | None = None
    for request in requests:
        candidates = _candidates(space, centre, categories, request)
        # A decoded integer or option has a position of its own.
        encoded = np.array([space.encode(candidate) for candidate in candidates])
        places = points(encoded, [time] * len(encoded))
        mean, deviation = posterior(kernel, known, targets, pending).predict(places)
        best = int(np.argmax(mean + _WIDTH * deviation))

        proposed.append(candidates[best])
        chosen = points(encoded[best : best + 1], [time])
        pending = chosen if pending is None else pending.join(chosen)
    return proposed


def _candidates(
    space: Space, centre: Sequence[float], categories: Sequence[str], request: Request
) -> list[dict[str, Value]]:
    shape = (_CANDIDATES, len(centre))
    rows = np.clip(np.array(centre) + request.rng.uniform(-_BOX / 2, _BOX / 2, shape), 0.0, 1.0)
    fixed = request.fixed(space)
    candidates = []
    for row in rows:
        drawn = {name: space[name].sample(request.rng) for name in categories}
        candidates.append({**space.decode(row), **drawn, **fixed})
    return candidates


def normal_scores(scores: Sequence[float]) -> Floats:
    """Return [n] quantiles of a normal distribution in the order of the scores.

    A score that is far off has no more weight than the next. Equal scores get equal values.

    Args:
        scores: [n] finite scores.

    Example:
        >>> normal_scores([0.1, -900.0, 0.3]).round(2)
        array([ 0.  , -0.97,  0.97])
    """
    values = np.array(scores)
    below = (values[:, None] > values).sum(axis=1)
    equal = (values[:, None] == values).sum(axis=1)
    shares = (below + equal / 2) / len(values)
    return np.array([NormalDist().inv_cdf(share) for share in shares.tolist()])
