"""Records of populations that never trained, for what draws and summarises them."""

import math
from collections.abc import Mapping

import numpy as np

from popgrad.core.population import SegmentId
from popgrad.core.segment import Segment, Telemetry
from popgrad.core.space import Choice, Constant, Integer, LogUniform, OneMinus, Ordinal, Space
from popgrad.record.record import Record

SPACE = Space(
    {
        "lr": LogUniform(1e-4, 1e-1),
        "momentum": OneMinus(0.5, 0.999),
        "width": Integer(1, 64, init_only=True),
        "act": Choice(("relu", "tanh", "elu")),
        "depth": Ordinal((1, 2, 4)),
        "decay": Constant(1e-5),
    }
)

Toy = tuple[Record, dict[SegmentId, Telemetry]]
"""A record and its telemetry."""


def toy(
    members: int = 6,
    intervals: int = 8,
    *,
    seed: int = 0,
    failures: float = 0.0,
    clock: bool = True,
    pause: float = 0.0,
    space: Space = SPACE,
    score_name: str = "accuracy",
) -> Toy:
    """A synchronous population in which the worst third copies the best member.

    Args:
        members: Size of the population.
        intervals: Intervals of each member.
        seed: Seed of all that is drawn.
        failures: Probability that a segment fails.
        clock: Whether clock times are known.
        pause: Seconds without training in the middle of the run.
        space: Dimensions.
        score_name: Metric that ranks, "-loss" for the lowest loss.
    """
    rng = np.random.default_rng(seed)
    segments: list[Segment] = []
    telemetry: dict[SegmentId, Telemetry] = {}
    present: list[Segment] = []
    now = 1.7e9
    for interval in range(intervals):
        sources = _sources(present)
        present = [
            _segment(rng, member, interval, sources, space, failures) for member in range(members)
        ]
        segments += present
        now += pause if interval == intervals // 2 else 0.0
        for segment in present:
            seconds = float(rng.uniform(0.5, 1.5))
            began = now + segment.member // 2 * 1.5 if clock else None
            worker = f"worker {segment.member % 2}"
            telemetry[segment.id] = Telemetry(seconds=seconds, began=began, worker=worker)
        now += members // 2 * 1.5 + 1.0
    config = {"task": "toy", "intervals": intervals, "strategy": {"name": "pbt"}}
    record = Record(
        space=space,
        score_name=score_name,
        segments=tuple(segments),
        sizes=(members,),
        config=config,
        stopped="finished",
    )
    return record, telemetry


def _sources(present: list[Segment]) -> Mapping[int, Segment]:
    """Return the segment that each member continues."""
    ranked = sorted(
        present, key=lambda each: (each.failed, -each.score if not each.failed else 0.0)
    )
    copying = ranked[len(ranked) - len(ranked) // 3 :]
    return {each.member: ranked[0] if each in copying else each for each in present}


def _segment(
    rng: np.random.Generator,
    member: int,
    interval: int,
    sources: Mapping[int, Segment],
    space: Space,
    failures: float,
) -> Segment:
    source = sources.get(member)
    # A failed segment has no state that could be continued.
    source = None if source is not None and source.failed else source
    sampled = {name: each.sample(rng) for name, each in space.items()}
    if source is None:
        hparams = sampled
    elif source.member == member:
        hparams = dict(source.hparams)
    else:
        hparams = {
            name: each.perturb(rng, source.hparams[name], [0.8, 1.25])[0]
            if not each.init_only
            else source.hparams[name]
            for name, each in space.items()
        }
    failed = rng.random() < failures and member != 0
    before = 0.0 if source is None else source.score
    score = math.nan if failed else before + float(rng.uniform(0.0, 0.1))
    return Segment(
        member=member,
        interval=interval,
        source=None if source is None else source.id,
        hparams=hparams,
        changes={},
        seed=0,
        first_step=0 if source is None else source.last_step,
        steps=100,
        samples=0,
        score=score,
        metrics={"accuracy": score},
        digest="ab",
        status="failed" if failed else "done",
    )
