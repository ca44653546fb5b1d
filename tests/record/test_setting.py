"""The constants that a run suggests for an ablation."""

from typing import Any

import pytest

from popgrad import Choice, LogUniform, Ordinal, Segment, Space
from popgrad.record.setting import longest_constant, mean_values, settings


def segment(member: int, interval: int, source: Any, lr: float, score: float) -> Segment:
    return Segment(
        member=member, interval=interval, source=source, hparams={"lr": lr}, changes={"lr": "kept"},
        seed=0, first_step=10 * interval, steps=10, samples=0, score=score, metrics={}, digest="d",
        status="done",
    )  # fmt: skip


def test_the_constant_that_selection_left_unchanged_for_longest_did_best() -> None:
    record = [
        segment(0, 0, None, 0.1, 0.5),
        segment(1, 0, None, 0.2, 0.6),
        segment(2, 0, None, 0.3, 0.4),
        segment(0, 1, (0, 0), 0.1, 0.7),
        segment(1, 1, (1, 0), 0.2, 0.6),
        segment(2, 1, (0, 0), 0.125, 0.9),  # an heir, with weights that were inherited
        segment(0, 2, (2, 1), 0.15, 0.95),
        segment(1, 2, (1, 1), 0.2, 0.65),
        segment(2, 2, (2, 1), 0.125, 0.99),
    ]
    best = longest_constant(record)
    assert (best.member, best.interval, best.hparams["lr"]) == (1, 2, 0.2)


def test_ties_go_to_the_score_and_failed_members_count_for_nothing() -> None:
    record = [
        segment(0, 0, None, 0.1, 0.5),
        segment(1, 0, None, 0.2, 0.6),
        segment(2, 0, None, 0.3, float("nan")),
    ]
    assert longest_constant(record).member == 1


def test_means_are_taken_on_the_scale_of_each_dimension() -> None:
    space = Space(
        {
            "lr": LogUniform(1e-4, 1.0),
            "width": Ordinal((16, 32, 64)),
            "kind": Choice(("a", "b")),
        }
    )
    values = [(1e-1, 16, "a"), (1e-3, 64, "b"), (1e-3, 64, "b")]
    line = [
        Segment(
            **{**segment(0, i, None, 0, 0).__dict__, "hparams": dict(zip(space, v, strict=True))}
        )
        for i, v in enumerate(values)
    ]
    means = mean_values(line, space)
    assert means["lr"] == pytest.approx(10 ** (-(1 + 3 + 3) / 3))
    assert (means["width"], means["kind"]) == (32, "b")


def test_the_settings_of_a_run_are_its_schedule_and_three_constants() -> None:
    record = [
        segment(0, 0, None, 0.1, 0.5),
        segment(0, 1, (0, 0), 0.1, 0.6),
        segment(0, 2, (0, 1), 0.4, 0.7),
    ]
    found = settings(record, record, Space({"lr": LogUniform(0.01, 1.0)}))
    assert [each.name for each in found] == [
        "schedule",
        "best constant",
        "final values",
        "mean values",
    ]
    assert found[0].changes == ((10, {"lr": 0.1}), (20, {"lr": 0.4}))
    assert [each.hparams["lr"] for each in found[1:3]] == [0.1, 0.4]
