"""A result in a notebook: the table, the winner, and its schedule as a drawing."""

from dataclasses import replace

import pytest

import popgrad
from popgrad import Result
from popgrad.runs import notebook


@pytest.fixture(scope="module")
def result() -> Result:
    return popgrad.run(
        "quadratic", population=4, intervals=4, interval=2, executor="serial", progress=False
    )


def test_it_has_the_table_the_winner_and_its_schedule(result: Result) -> None:
    html = result._repr_html_()
    winner = result.record.winner
    assert html.startswith(f"<table><caption>Result: q {winner.score:.4g}, member {winner.member}")
    assert f"<th>winner</th><td>member {winner.member}, 8 steps: q {winner.score:.4g}" in html
    assert f"<th>lineage</th><td>m{winner.member} (interval" in html
    assert html.count("<svg") == 1


def test_without_a_winner_it_has_the_table(result: Result) -> None:
    failed = [replace(each, score=float("nan")) for each in result.segments]
    lost = replace(result, record=replace(result.record, segments=tuple(failed)))
    html = lost._repr_html_()
    assert "no member has a finite score" in html
    assert "<svg" not in html


def test_a_drawing_that_fails_leaves_the_table(
    result: Result, monkeypatch: pytest.MonkeyPatch
) -> None:
    def broken(record: object) -> str:
        raise ZeroDivisionError

    monkeypatch.setattr(notebook, "schedule_svg", broken)
    html = result._repr_html_()
    assert html.startswith("<table>")
    assert html.endswith("</table>")


def test_names_are_no_markup(result: Result) -> None:
    nasty = "<script>\x1b[2J\u202e"
    segments = [replace(each, metrics={nasty: 0.5}, role=nasty) for each in result.segments]
    record = replace(result.record, segments=tuple(segments), score_name=nasty)
    html = replace(result, record=record)._repr_html_()
    assert not any(each in html for each in ("<script", "\x1b", "\u202e"))
    assert "&lt;script&gt;" in html
