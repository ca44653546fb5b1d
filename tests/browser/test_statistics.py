"""The statistics of the page are those of popgrad.record: the same numbers and the same words."""

import math
from collections.abc import Iterator
from dataclasses import replace
from typing import Any

import numpy as np
import pytest

from popgrad.core.population import SegmentId
from popgrad.core.score import Score
from popgrad.core.segment import Segment
from popgrad.core.space import LogUniform, Space
from popgrad.record.copies import copy_counts
from popgrad.record.diversity import Diversity, diversity, warning
from popgrad.record.timeline import timeline
from popgrad.reports.crowd import over_steps
from popgrad.reports.page import write_page
from popgrad.views.run_data import run_data
from toy_records import Toy, toy

pytestmark = pytest.mark.slow


def restarted() -> Toy:
    """A population whose members start fresh after some intervals, not all in the same one."""
    record, telemetry = toy(7, 9, failures=0.1, seed=6)
    segments: dict[SegmentId, Segment] = {}
    for each in record.segments:
        begins = each.interval == 3 + each.member % 3
        source = None if each.source is None or begins else segments[each.source]
        segments[each.id] = replace(
            each,
            source=None if source is None else source.id,
            first_step=0 if source is None else source.last_step,
        )
    return replace(record, segments=tuple(segments.values())), telemetry


TOYS = {
    "plain": toy(),
    "restarted": restarted(),
    "failures": toy(9, 12, failures=0.2, seed=1),
    "one founder early": toy(6, 40, seed=2),
    "pause": toy(4, 6, pause=3600.0, seed=3),
    "no clock": toy(3, 3, clock=False),
    "one member": toy(1, 5),
    "one interval": toy(5, 1),
    "all failed": toy(3, 2, failures=1.0, seed=4),
    "lowest loss": toy(score_name="-loss", seed=5),
    "narrow": toy(4, 4, space=Space({"lr": LogUniform(1e-9, 1.0, start=(1e-3, 1.001e-3))})),
}

DERIVE = """(data) => {
  const run = new popgrad.Run(data.header);
  run.append(data.segments);
  const { diversity, warning, copies, timeline, scoreLines, encode } = popgrad.statistics;
  const found = diversity(run);
  const clock = timeline(run);
  const id = (row) => [run.member[row], run.interval[row]];
  return {
    intervals: found.intervals, members: found.members, effective: found.effective,
    founders: found.founders.map(id), spread: found.spread,
    shares: found.counts.map((counts, i) =>
      found.founders.map((each) => (counts.get(each) || 0) / Math.max(1, found.members[i]))),
    warning: warning(run, found),
    copies: copies(run).map((each) => [each.donor, each.heir, each.rows.length]),
    workers: clock.workers.map((each) =>
      [each.name, each.busy, each.spans.map((span) => [...id(span.row), span.begin, span.end])]),
    clock: { seconds: clock.seconds, pauses: clock.pauses.map((each) => [each.at, each.length]),
             unknown: clock.unknown, waiting: clock.waiting },
    lines: scoreLines(run, "interval").map((each) => ({ ...each, best: id(each.best) })),
    steps: scoreLines(run, "steps").map((each) => ({ ...each, best: id(each.best) })),
    positions: data.header.space.map((each) => run.hparams[each.name].map((value) => encode(each, value))),
  };
}"""


def data_of(given: Toy) -> Any:
    record, telemetry = given
    return run_data(record, telemetry, name="toy", status={"state": "finished", "text": "finished"})


@pytest.fixture(scope="module")
def page(browser: Any, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Any]:
    path = tmp_path_factory.mktemp("page") / "report.html"
    write_page(data_of(TOYS["plain"]), path)
    opened = browser.new_page()
    opened.goto(path.as_uri())
    yield opened
    opened.close()


@pytest.mark.parametrize("name", TOYS)
def test_statistics_of_the_page_are_those_of_the_record(page: Any, name: str) -> None:
    record, telemetry = TOYS[name]
    found = page.evaluate(DERIVE, data_of(TOYS[name]))
    expected = diversity(record.segments, record.space)
    check_diversity(found, expected)
    assert found["warning"] == warning(expected, record.space, record.config["intervals"])

    copies = [[*pair, count] for pair, count in copy_counts(record.segments).items()]
    assert found["copies"] == copies
    check_clock(found, telemetry)
    check_positions(found, record)


def check_diversity(found: Any, expected: Diversity) -> None:
    assert found["intervals"] == list(expected.intervals)
    assert found["members"] == expected.members.tolist()
    assert [tuple(each) for each in found["founders"]] == list(expected.founders)
    np.testing.assert_allclose(found["shares"], expected.shares, atol=1e-12)
    np.testing.assert_allclose(found["effective"], expected.effective, atol=1e-9)
    assert list(found["spread"]) == list(expected.spread)
    for name, spread in expected.spread.items():
        np.testing.assert_allclose(numbers(found["spread"][name]), spread, atol=1e-9)


def check_clock(found: Any, telemetry: Any) -> None:
    expected = timeline(telemetry)
    assert [name for name, _, _ in found["workers"]] == list(expected.spans)
    for name, busy, spans in found["workers"]:
        assert busy == pytest.approx(expected.busy(name), abs=1e-3)
        wanted = [[*span.segment, span.begin, span.end] for span in expected.spans[name]]
        # The page has clock times in milliseconds, and durations in tenths of them.
        np.testing.assert_allclose(spans, wanted, atol=2e-3)
    assert found["clock"]["unknown"] == expected.unknown
    assert found["clock"]["seconds"] == pytest.approx(expected.seconds, abs=2e-3)
    assert found["clock"]["waiting"] == pytest.approx(expected.waiting, abs=1e-3)
    np.testing.assert_allclose(
        np.reshape(found["clock"]["pauses"], (-1, 2)),
        np.reshape(expected.pauses, (-1, 2)),
        atol=2e-3,
    )


def check_positions(found: Any, record: Any) -> None:
    for at, (name, dimension) in zip(found["positions"], record.space.items(), strict=True):
        wanted = [dimension.encode(segment.hparams[name]) for segment in record.segments]
        np.testing.assert_allclose(at, wanted, atol=1e-9)


@pytest.mark.parametrize("name", ["plain", "failures", "restarted", "lowest loss"])
def test_lines_of_best_and_median_score(page: Any, name: str) -> None:
    record, _ = TOYS[name]
    found = page.evaluate(DERIVE, data_of(TOYS[name]))
    alive = [segment for segment in record.segments if not segment.failed]
    intervals = sorted({segment.interval for segment in alive})
    check_lines(
        found["lines"],
        record,
        [(at, [each for each in alive if each.interval == at]) for at in intervals],
    )
    check_lines(found["steps"], record, [(end, group) for _, end, group in over_steps(alive)])


def check_lines(found: Any, record: Any, groups: list[tuple[float, list[Segment]]]) -> None:
    ranking = Score.parse(record.score_name)
    by_id = {segment.id: segment for segment in record.segments}
    assert [each["at"] for each in found] == [at for at, _ in groups]
    for each, (_, group) in zip(found, groups, strict=True):
        scores = [segment.score for segment in group]
        assert by_id[tuple(each["best"])].score == max(scores)
        assert each["median"] == pytest.approx(ranking.shown(float(np.median(scores))))


def test_the_cases_above_have_both_warnings_and_none() -> None:
    words = {
        name: warning(diversity(record.segments, record.space), record.space, intervals)
        for name, (record, _) in TOYS.items()
        for intervals in [record.config["intervals"]]
    }
    assert "one founder" in words["one founder early"]
    assert "nearly the same hyperparameters" in words["narrow"]
    assert words["one interval"] == ""


def numbers(values: list[float | None]) -> list[float]:
    return [math.nan if value is None else value for value in values]


@pytest.mark.parametrize(
    ("scores", "lower_is_better", "low", "high", "cut"),
    [
        ([], False, 0, 1, False),
        ([0.5], False, 0.5, 0.5, False),
        ([0.1, 0.2, 0.3], False, 0.1, 0.3, False),
        # One of a hundred is far off: it would flatten the others.
        ([*np.linspace(0.9, 1.0, 99), -50.0], False, 0.9 + 0.1 * 4 / 98, 1.0, True),
        ([*np.linspace(0.0, 0.1, 99), 50.0], True, 0.0, 0.1 * 94 / 98, True),
    ],
)
def test_a_scale_leaves_out_scores_that_would_flatten_all_others(
    page: Any, scores: list[float], lower_is_better: bool, low: float, high: float, cut: bool
) -> None:
    given = [float(score) for score in scores]
    found = page.evaluate(
        "([scores, lower]) => popgrad.statistics.scoreRange([...scores, NaN], lower)",
        [given, lower_is_better],
    )
    assert found["cut"] is cut
    assert (found["low"], found["high"]) == pytest.approx((low, high), abs=2e-3)
