"""Training curves as rows and as a CSV file."""

import csv
import math

import pytest

from popgrad.core.segment import Telemetry
from popgrad.reports import curves
from popgrad.reports.history import write_csv


def telemetry(**curve):
    """By "member_interval", e.g. m0_1."""
    return {
        tuple(map(int, key[1:].split("_"))): Telemetry(curve=tuple(points))
        for key, points in curve.items()
    }


def test_what_was_logged_at_a_step_is_a_row():
    facts = telemetry(
        m0_0=[(5, "train_loss", 0.5), (5, "lr", 0.1), (10, "train_loss", 0.25), (10, "lr", 0.1)]
    )
    assert curves.rows(facts) == [
        {"member": 0, "interval": 0, "step": 5, "train_loss": 0.5, "lr": 0.1},
        {"member": 0, "interval": 0, "step": 10, "train_loss": 0.25, "lr": 0.1},
    ]


def test_members_follow_each_other_each_in_the_order_of_its_training():
    facts = telemetry(
        m1_1=[(20, "loss", 4.0)],
        m1_0=[(10, "loss", 3.0)],
        m0_10=[(90, "loss", 2.0)],
        m0_2=[(80, "loss", 1.0)],
    )
    assert [row["loss"] for row in curves.rows(facts)] == [1.0, 2.0, 3.0, 4.0]


def test_epochs_are_there_when_their_length_is_known():
    facts = telemetry(m0_0=[(275, "loss", 1.0), (300, "loss", 0.5)])
    assert [row["epoch"] for row in curves.rows(facts, steps_per_epoch=275)] == [1.0, 300 / 275]
    assert list(curves.rows(facts, steps_per_epoch=275)[0]) == [
        "member",
        "interval",
        "step",
        "epoch",
        "loss",
    ]


def test_every_row_has_every_column_nan_where_nothing_was_logged():
    first, second = curves.rows(telemetry(m0_0=[(1, "loss", 0.5)], m1_0=[(1, "grad_norm", 2.0)]))
    assert list(first) == list(second) == ["member", "interval", "step", "loss", "grad_norm"]
    assert math.isnan(first["grad_norm"])
    assert math.isnan(second["loss"])


def test_what_is_logged_twice_or_under_a_taken_name_is_kept():
    facts = telemetry(
        m0_0=[(1, "loss", 0.5), (1, "loss", 0.25), (1, "step", 7.0), (1, "curve_step", 8.0)]
    )
    assert [(row["step"], row["loss"]) for row in curves.rows(facts)] == [(1, 0.5), (1, 0.25)]
    assert (curves.rows(facts)[1]["curve_step"], curves.rows(facts)[1]["curve_curve_step"]) == (
        7.0,
        8.0,
    )


@pytest.mark.parametrize("facts", [{}, telemetry(m0_0=[])])
def test_nothing_logged_is_no_row(facts):
    assert curves.rows(facts) == []


def test_the_csv_reads_back_exactly(tmp_path):
    facts = telemetry(m0_0=[(3, "loss", 0.1 + 0.2), (6, "loss", math.nan)])
    write_csv(tmp_path / "loss_summary.csv", curves.rows(facts, steps_per_epoch=3))
    with (tmp_path / "loss_summary.csv").open(newline="") as file:
        back = list(csv.DictReader(file))
    assert (float(back[0]["loss"]), back[1]["loss"]) == (0.1 + 0.2, "nan")
    assert [row["epoch"] for row in back] == ["1.0", "2.0"]
