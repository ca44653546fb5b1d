import csv
import math
import sys
from dataclasses import replace

import pytest

from popgrad.core.errors import UsageError
from popgrad.core.segment import Telemetry
from popgrad.core.space import Constant, Space, Uniform
from popgrad.reports.history import frame, rows, searched, write_csv


def test_a_row_per_segment_with_everything_in_it(segments, telemetry, make_record):
    table = rows(make_record(segments), telemetry)
    assert len(table) == len(segments)
    assert all(list(row) == list(table[0]) for row in table)
    assert table[4] | {"seconds": None} == {
        "member": 1,
        "interval": 1,
        "step": 20,
        "samples": 640,
        "score": 0.8,
        "accuracy": 0.8,
        "loss": 1 - 0.8,
        "lr": 0.08 / 3,
        "keep": 0.75,
        "act": "relu",
        "momentum": 0.9,
        "width": 32,
        "batch": 200,
        "change_lr": 0.8,
        "change_keep": "inherited",
        "change_act": "resampled",
        "change_momentum": "inherited",
        "change_width": "inherited",
        "change_batch": "inherited",
        "source_member": 0,
        "source_interval": 0,
        "seconds": None,
        "status": "done",
    }


def test_what_is_not_there_is_nan_or_none(segments, telemetry, make_record):
    table = rows(make_record(segments), telemetry)
    assert table[0]["seconds"] == 1.25
    assert math.isnan(table[1]["seconds"])
    assert table[0]["source_member"] is None
    assert table[5]["status"] == "failed"
    assert math.isnan(table[5]["accuracy"])


def test_clashing_names_get_a_prefix_and_lose_nothing(segments, make_record):
    space = Space({"step": Uniform(0, 1), "loss": Uniform(0, 1)})
    one = replace(
        segments[0], hparams={"step": 0.25, "loss": 0.5}, metrics={"loss": 3.0, "score": 4.0}
    )
    (row,) = rows(make_record([one], space), {})
    assert (row["step"], row["hparam_step"], row["loss"]) == (10, 0.25, 0.5)
    assert (row["metric_loss"], row["score"], row["metric_score"]) == (3.0, 0.5, 4.0)


def test_csv_reads_back_exactly(tmp_path, segments, telemetry, make_record):
    table = rows(make_record(segments), telemetry)
    path = tmp_path / "made" / "history.csv"
    write_csv(path, table)
    with path.open(newline="") as file:
        back = list(csv.DictReader(file))
    assert [float(row["lr"]) for row in back] == [row["lr"] for row in table]
    assert [row["act"] for row in back] == [row["act"] for row in table]
    assert (back[0]["source_member"], back[3]["source_member"]) == ("", "0")
    assert (back[5]["score"], back[5]["accuracy"]) == ("nan", "nan")
    assert [each.name for each in path.parent.iterdir()] == ["history.csv"]


def test_a_failed_write_leaves_the_older_file(tmp_path):
    path = tmp_path / "history.csv"
    write_csv(path, [{"a": 1}])
    with pytest.raises(ValueError, match="not in fieldnames"):
        write_csv(path, [{"a": 2}, {"a": 3, "b": 4}])
    assert path.read_text() == "a\n1\n"
    assert list(tmp_path.iterdir()) == [path]


def test_no_rows_are_an_empty_file(tmp_path, make_record):
    write_csv(tmp_path / "history.csv", rows(make_record([]), {}))
    assert (tmp_path / "history.csv").read_text() == ""


def test_frame_has_the_rows(segments, telemetry, make_record):
    pytest.importorskip("pandas")
    table = frame(rows(make_record(segments), telemetry))
    assert table.shape == (8, 23)
    assert table.loc[table.interval == 2, "score"].max() == 0.75


def test_without_pandas_frame_says_how_to_get_it(monkeypatch):
    monkeypatch.setitem(sys.modules, "pandas", None)
    with pytest.raises(UsageError, match="pip install pandas"):
        frame([])


def test_searched_leaves_out_constants_only(space):
    assert list(searched(space)) == ["lr", "keep", "act", "momentum", "width"]
    assert searched(Space({"a": Constant(1)})) == {}


def test_the_last_live_rate_stands_beside_the_base(segments, make_record):
    lr = segments[0].hparams["lr"]
    curve = ((1, "lr", lr), (10, "lr", lr / 2))
    table = rows(make_record(segments), {(0, 0): Telemetry(curve=curve)})
    assert (table[0]["lr"], table[0]["live_lr"]) == (lr, lr / 2)
    assert (table[1]["lr"], table[1]["live_lr"]) == (1e-3, 1e-3)
    assert "live_lr" not in rows(make_record(segments), {})[0]
