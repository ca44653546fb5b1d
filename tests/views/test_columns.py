"""Segments as columns: chunks that follow each other are the whole, and every number is plain JSON."""

import json
import math
from dataclasses import replace

import pytest

import popgrad
from popgrad import Result
from popgrad.core.plan import Transform
from popgrad.core.segment import Telemetry
from popgrad.record.lineage import inherited
from popgrad.views.columns import Columns, all_columns
from popgrad.views.plain import text


@pytest.fixture(scope="module")
def result() -> Result:
    return popgrad.run(
        "quadratic", population=4, intervals=5, interval=1, executor="serial", progress=False
    )


def test_parents_and_copies_are_those_of_the_record(result: Result) -> None:
    columns = all_columns(result.segments, result.telemetry, result.space, result.record.ranking)
    ids = list(zip(columns["member"], columns["interval"], strict=True))
    assert ids == [segment.id for segment in result.segments]
    parents = [None if row < 0 else ids[row] for row in columns["parent"]]
    assert parents == [segment.source for segment in result.segments]
    copied = {each for each, flag in zip(ids, columns["copied"], strict=True) if flag}
    assert copied == inherited(result.segments) != set()


@pytest.mark.parametrize("cut", [0, 1, 7, 12, 20])
def test_chunks_that_follow_each_other_are_the_whole(result: Result, cut: int) -> None:
    arrivals = [(each, result.telemetry[each.id]) for each in result.segments]
    columns = Columns(result.space, result.record.ranking)
    whole = Columns(result.space, result.record.ranking).chunk(arrivals)
    first, second = columns.chunk(arrivals[:cut]), columns.chunk(arrivals[cut:])
    assert (first["first"], second["first"]) == (0, cut)
    for name in ("member", "interval", "parent", "copied", "score", "steps", "worker"):
        assert first[name] + second[name] == whole[name]
    for name, values in whole["hparams"].items():
        assert first["hparams"][name] + second["hparams"][name] == values


def test_roles_and_transforms_are_numbers_in_lists_of_names(result: Result) -> None:
    first, second, *_ = result.segments
    changed = replace(first, role="reference", transform=Transform("shrink-perturb", {"keep": 0.5}))
    columns = Columns(result.space, result.record.ranking)
    chunk = columns.chunk([(changed, Telemetry()), (second, Telemetry())])
    assert [chunk["roles"][number] for number in chunk["role"]] == ["reference", ""]
    assert [chunk["transforms"][number] for number in chunk["transform"]] == ["shrink-perturb", ""]


def test_a_failed_segment_has_no_score_and_the_text_is_strict_json(result: Result) -> None:
    first = result.segments[0]
    failed = type(first)(**{**vars(first), "score": math.inf, "metrics": {"q": math.nan}})
    columns = Columns(result.space, result.record.ranking).chunk([(failed, Telemetry())])
    assert columns["score"] == [None]
    assert json.loads(text(columns))["began"] == [None]
