"""Exports: each format has what the record has, in memory and in a file."""

import csv
import io
import json
import sys
from dataclasses import replace
from pathlib import Path

import pandas as pd
import pytest

import popgrad
from popgrad import Choice, Result, Space, UsageError
from popgrad.record.record import Record
from popgrad.runs.export import FORMATS
from popgrad.runs.export import export as exported


@pytest.fixture(scope="module")
def result() -> Result:
    return popgrad.run(
        "quadratic", population=4, intervals=3, interval=2, executor="serial", progress=False
    )


@pytest.mark.parametrize("name", FORMATS)
def test_a_file_has_what_is_returned(result: Result, tmp_path: Path, name: str) -> None:
    path = tmp_path / "folder" / "export"
    content = result.export(name, path)
    assert path.read_bytes() == (content if isinstance(content, bytes) else content.encode())
    assert content == result.export(name)


def test_csv_is_the_history(result: Result) -> None:
    text = result.export("csv")
    assert isinstance(text, str)
    rows = list(csv.DictReader(io.StringIO(text)))
    assert [float(row["score"]) for row in rows] == [each.score for each in result.segments]
    assert list(rows[0]) == list(result.history[0])


def test_json_is_what_the_dashboard_draws(result: Result) -> None:
    data = json.loads(result.export("json"))
    assert data["header"]["status"]["state"] == "finished"
    assert data["header"]["members"] == 4
    assert data["segments"]["member"] == [each.member for each in result.segments]


def test_parquet_has_typed_columns(result: Result) -> None:
    content = result.export("parquet")
    assert isinstance(content, bytes)
    table = pd.read_parquet(io.BytesIO(content))
    assert table["score"].tolist() == [each.score for each in result.segments]
    assert table["source_member"].isna().sum() == 4
    assert str(table["source_member"].dtype) == "Int64"
    assert set(table["change_h0"][:4]) == {"sampled"}
    assert [str(row["change_h0"]) for row in result.history] == table["change_h0"].tolist()


def test_parquet_takes_values_of_any_type(result: Result) -> None:
    options = ("\ud800", True, 10**30, 0.5)
    segments = [
        replace(each, hparams={"a": options[n % 4], "b": 10**30 + n, "c": True})
        for n, each in enumerate(result.segments)
    ]
    space = Space({name: Choice(options) for name in "abc"})
    record = Record(space=space, score_name="q", segments=tuple(segments))
    content = exported(record, {}, result.status, "", "parquet")
    assert isinstance(content, bytes)
    table = pd.read_parquet(io.BytesIO(content))
    assert table["a"].tolist()[:4] == [r"\ud800", "True", str(10**30), "0.5"]
    assert table["b"][0] == str(10**30)
    assert table["c"].tolist() == [True] * 12


def test_text_that_is_no_utf_8_is_escaped(result: Result, tmp_path: Path) -> None:
    segments = [replace(each, hparams={"a": "\ud800"}) for each in result.segments]
    record = replace(
        result.record, space=Space({"a": Choice(("\ud800",))}), segments=tuple(segments)
    )
    spoilt = replace(result, record=record)
    spoilt.export("csv", tmp_path / "x.csv")
    assert r"\ud800" in (tmp_path / "x.csv").read_text()


def test_what_cannot_be_exported_is_said(result: Result, tmp_path: Path, monkeypatch) -> None:
    with pytest.raises(UsageError, match=r"format: expected alife, .* got 'newik'; did you mean"):
        result.export("newik")
    empty = replace(result, record=replace(result.record, segments=()))
    with pytest.raises(UsageError, match="nothing to export yet"):
        empty.export("csv")
    (tmp_path / "file").write_text("")
    with pytest.raises(UsageError, match=r"cannot write .*file/x"):
        result.export("csv", tmp_path / "file" / "x")
    monkeypatch.setitem(sys.modules, "pyarrow", None)
    with pytest.raises(UsageError, match="pip install pandas pyarrow"):
        result.export("parquet")
