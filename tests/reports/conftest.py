"""A small record with a known family tree."""

import math

import pytest

from popgrad.core.segment import Segment, Telemetry
from popgrad.core.space import Choice, Constant, LogUniform, OneMinus, Ordinal, Space, Uniform
from popgrad.record.record import Record

SPACE = Space(
    {
        "lr": LogUniform(1e-4, 0.1),
        "keep": Uniform(0.5, 0.99),
        "act": Choice(("relu", "tanh")),
        "momentum": OneMinus(0.0, 0.999),
        "width": Ordinal((32, 64), init_only=True),
        "batch": Constant(200),
    }
)


def hparams(lr, act="relu", keep=0.75, momentum=0.9, width=32):
    return {"lr": lr, "keep": keep, "act": act, "momentum": momentum, "width": width, "batch": 200}


def segment(member, interval, source, score, values, changes=None):
    alive = math.isfinite(score)
    return Segment(
        member=member,
        interval=interval,
        source=source,
        hparams=values,
        changes=dict.fromkeys(values, "kept") if changes is None else changes,
        seed=0,
        first_step=interval * 10,
        steps=10,
        samples=(interval + 1) * 320,
        score=score,
        metrics={"accuracy": score, "loss": 1 - score} if alive else {},
        digest="",
        status="done" if alive else "failed",
    )


@pytest.fixture
def space():
    return SPACE


@pytest.fixture
def segments():
    """Member 1 copies member 0 before interval 1; member 2 fails in interval 1 and is not replaced."""
    one, two, heir = hparams(0.1 / 3, "tanh"), hparams(1e-3, width=64), hparams(0.08 / 3)
    made = {**dict.fromkeys(one, "inherited"), "lr": 0.8, "act": "resampled"}
    return (
        segment(0, 0, None, 0.5, one, dict.fromkeys(one, "sampled")),
        segment(1, 0, None, 0.1, two, dict.fromkeys(two, "sampled")),
        segment(2, 0, None, 0.3, hparams(2e-3), dict.fromkeys(two, "sampled")),
        segment(0, 1, (0, 0), 0.9, one),
        segment(1, 1, (0, 0), 0.8, heir, made),
        segment(2, 1, (2, 0), math.nan, hparams(2e-3)),
        segment(0, 2, (0, 1), 0.7, one),
        segment(1, 2, (1, 1), 0.75, heir),
    )


@pytest.fixture
def make_record():
    """A function that makes the record of a run from its segments."""

    def make(segments, space=SPACE, score_name="score"):
        return Record(space=space, score_name=score_name, segments=tuple(segments))

    return make


@pytest.fixture
def telemetry():
    return {(0, 0): Telemetry(seconds=1.25, worker="serial")}
