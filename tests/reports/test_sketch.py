"""The small drawing of a schedule: well-formed, at its places, cheap, and with names as they are."""

import sys
from dataclasses import replace
from xml.etree import ElementTree

import pytest

from popgrad.core.errors import AllMembersFailedError
from popgrad.core.space import Choice, Constant, Space, Uniform
from popgrad.reports.sketch import MOST_PANELS, schedule_svg

SVG = "{http://www.w3.org/2000/svg}"


def texts(svg):
    return [each.text for each in ElementTree.fromstring(svg).iter(f"{SVG}text")]


def paths(svg):
    """Strokes of the others, of the lineage, and ticks, of the first panel."""
    return [each.get("d") for each in ElementTree.fromstring(svg).iter(f"{SVG}path")][:3]


def test_a_panel_for_each_searched_hyperparameter(segments, make_record):
    svg = schedule_svg(make_record(segments))
    assert texts(svg) == [
        *("lr", "0.03333 → 0.02667", "0.1", "0.0001"),
        *("keep", "0.75", "0.99", "0.5"),
        *("act", "tanh → relu", "tanh", "relu"),
        *("momentum", "0.9", "0.999", "0"),
        *("width", "32", "64", "32"),
        "training steps, 0 to 30",
    ]


def test_the_lineage_goes_through_its_values(segments, make_record):
    space = Space({"h": Uniform(0.0, 1.0)})
    values = {(0, 0): 0.0, (1, 1): 1.0, (1, 2): 0.5}
    own = [replace(each, hparams={"h": values.get(each.id, 0.25)}) for each in segments]
    others, line, ticks = paths(schedule_svg(make_record(own, space)))
    assert line == "M150 56H260V12H370V34H480"
    assert ticks == "M260 12m0 -5v10"
    assert others.count("M") == len(segments)


def test_many_hyperparameters_are_counted_and_many_segments_left_out(segments, make_record):
    space = Space({f"h{i}": Uniform(0.0, 1.0) for i in range(11)})
    many = [
        replace(each, hparams=dict.fromkeys(space, 0.5), member=each.member + 3 * n, source=None)
        for n in range(201)
        for each in segments[:3] + segments[6:]
    ]
    svg = schedule_svg(make_record(many, space))
    assert texts(svg)[-1] == f"training steps, 0 to 30; {11 - MOST_PANELS} more hyperparameters"
    assert paths(svg)[0] == ""
    assert len(svg) < 20_000


def test_names_are_no_markup(segments, make_record):
    nasty = "<script>&\"'\x1b[2J\u202e\ud800\n" + "w" * 99
    space = Space({"act": Choice((nasty, "relu")), "n": Constant(1)})
    own = [replace(each, hparams={"act": nasty, "n": 1}) for each in segments]
    svg = schedule_svg(make_record(own, space))
    assert "<script" not in svg
    assert texts(svg)[1] == "<script>&\"'\\x1b[2…"
    svg.encode()


def test_it_needs_no_matplotlib(segments, make_record, monkeypatch):
    for name in [name for name in sys.modules if name.partition(".")[0] == "matplotlib"]:
        monkeypatch.setitem(sys.modules, name, None)
    assert schedule_svg(make_record(segments)).startswith("<svg")


def test_without_a_search_or_a_winner_there_is_none(segments, make_record):
    assert schedule_svg(make_record(segments, Space({"batch": Constant(200)}))) == ""
    failed = [replace(each, score=float("nan")) for each in segments]
    with pytest.raises(AllMembersFailedError):
        schedule_svg(make_record(failed))
