"""Figures of lineage, founders, scores and workers: what is drawn where, in words and in numbers."""

import io
import math
from dataclasses import replace

import numpy as np
import pytest
from matplotlib import style as mpl_style
from matplotlib.collections import LineCollection, PolyCollection
from matplotlib.colors import to_hex
from matplotlib.figure import Figure

from popgrad.core.errors import AllMembersFailedError, UsageError
from popgrad.core.plan import Transform
from popgrad.core.segment import Telemetry
from popgrad.core.space import Choice, Constant, Space
from popgrad.reports import figures, lineage_map, style

pytestmark = pytest.mark.draws

ALL = ("schedule", "lineage", "results", "founders", "scores", "timeline")


def legend(figure):
    return [text.get_text() for text in figure.legends[0].get_texts()]


def drawn(figure):
    file = io.BytesIO()
    figure.savefig(file, format="png", dpi=40)
    return file.getvalue()


def only(space, *names):
    return Space({name: space[name] for name in names})


def bars(axes):
    """Corners of the bars: of the lineage, of living branches, of extinct ones."""
    found = [each for each in axes.collections if isinstance(each, PolyCollection)]
    return [[path.vertices for path in each.get_paths()] for each in found]


def threads(axes):
    """Curves between segments: of the lineage, of living branches, of extinct ones."""
    found = [each for each in axes.collections if isinstance(each, LineCollection)]
    return [each.get_segments() for each in found]


@pytest.fixture
def clock(segments):
    """Telemetry of two workers that train side by side, a second each."""
    return {
        each.id: Telemetry(1.0, f"worker {each.member % 2}", began=100.0 + 2 * each.interval)
        for each in segments
    }


def draw(name, record, clock, **given):
    arguments = (record, clock) if name in ("schedule", "timeline") else (record,)
    return getattr(figures, name)(*arguments, **given)


# --- lineage --------------------------------------------------------------------------------------


def test_lineage_has_a_row_for_each_member_and_a_bar_for_each_segment(segments, make_record):
    figure = figures.lineage(make_record(segments, score_name="accuracy"))
    axes, bar = figure.axes
    assert (axes.get_xlabel(), axes.get_ylabel()) == ("training steps", "member")
    assert [label.get_text() for label in axes.get_yticklabels()] == ["0", "1", "2"]
    assert bar.get_ylabel().startswith("accuracy")
    line, living, extinct = bars(axes)
    assert [len(line), len(living), len(extinct)] == [3, 2, 3]  # 0 was copied, and lives itself
    assert sorted(round(float(corners[:, 0].min())) for corners in line) == [1, 11, 21]
    rows = [float(corners[:, 1].min() + corners[:, 1].max()) / 2 for corners in line]
    assert rows == pytest.approx([0.0, 1.0, 1.0])
    edge = axes.collections[0].get_edgecolor()
    assert to_hex(edge[0]).upper() == style.WINNER
    assert drawn(figure)


def test_curves_lead_from_donors_to_heirs(segments, make_record):
    axes = figures.lineage(make_record(segments)).axes[0]
    line, living, extinct = threads(axes)
    assert [len(line), len(living), len(extinct)] == [2, 2, 1]
    copied, stayed = line
    assert copied[0][1] == 0
    assert copied[-1][1] == 1
    assert copied[0][0] < 10 < copied[-1][0]
    assert len(stayed) == 2
    assert stayed[0][1] == stayed[1][1] == 1


def test_marks_of_the_lineage_are_explained(segments, make_record):
    figure = figures.lineage(make_record(segments))
    labels = ["lineage of the winner, member 1", "copied", "failed", "extinct"]
    assert legend(figure) == labels
    fresh = [*segments, replace(segments[2], interval=2, first_step=0, score=0.2)]
    figure = figures.lineage(make_record(fresh))
    assert legend(figure) == [*labels[:3], "started fresh", "extinct"]
    assert figure.axes[0].get_xlabel() == "interval"
    assert drawn(figure)
    changed = [
        *fresh[:-1],
        replace(fresh[-1], transform=Transform("shrink-perturb", {"keep": 0.2})),
    ]
    labels = legend(figures.lineage(make_record(changed)))
    assert labels[-2:] == ["weights transformed", "extinct"]


def test_no_curve_of_the_lineage_runs_back_after_a_rest(segments, make_record):
    # Member 0 rests for three intervals, and restarts from the last segment of member 1.
    restarted = [
        *segments,
        replace(segments[0], interval=5, source=(1, 2), first_step=0, score=0.9),
    ]
    axes = figures.lineage(make_record(restarted)).axes[0]
    curves = [curve for kind in threads(axes) for curve in kind]
    assert all(curve[0][0] < curve[-1][0] for curve in curves)
    assert max(curve[-1][0] for curve in curves) > 4.5


def test_rows_are_grouped_by_role(segments, make_record):
    roles = {0: "p2", 1: "p10", 2: "p2"}
    record = make_record([replace(each, role=roles[each.member]) for each in segments])
    axes = figures.lineage(record).axes[0]
    assert [label.get_text() for label in axes.get_yticklabels()] == ["p2  0", "2", "p10  1"]


@pytest.mark.parametrize("name", ["lr", "keep", "act", "momentum", "width", "batch"])
def test_bars_show_any_hyperparameter(segments, make_record, name):
    figure = figures.lineage(make_record(segments), colour=name)
    assert figure.axes[1].get_ylabel() == name
    assert drawn(figure)
    if name == "act":
        names = [label.get_text() for label in figure.axes[1].get_yticklabels()]
        assert names == ["relu", "tanh"]


def test_the_lineage_of_any_member(segments, make_record):
    record = make_record(segments)
    assert legend(figures.lineage(record, 0))[0] == "lineage of member 0"
    with pytest.raises(UsageError, match="member 7 has no finished segment"):
        figures.lineage(record, 7)
    with pytest.raises(UsageError, match="no hyperparameter 'lrr'; did you mean 'lr'"):
        figures.lineage(record, colour="lrr")


def test_a_large_population_is_a_heat_map(segments, make_record, monkeypatch):
    monkeypatch.setattr(lineage_map, "MOST_ROWS", 2)
    axes = figures.lineage(make_record(segments)).axes[0]
    (image,) = axes.images
    cells = image.get_array()
    assert cells.shape == (3, 3)
    assert cells[0].tolist() == [0.5, 0.9, 0.7]
    assert cells.mask[2].tolist() == [False, True, True]  # failed, and not trained
    assert axes.lines[-1].get_ydata().tolist() == [0, 0, 1, 1, 1, 1]
    assert axes.get_xlabel() == "interval"


# --- founders -------------------------------------------------------------------------------------


def test_founders_are_shares_numbers_and_spread(segments, make_record):
    figure = figures.founders(make_record(segments))
    shares, numbers, spread = figure.axes
    assert [axes.get_ylabel() for axes in figure.axes] == [
        "members by founder",
        "founders",
        "spread of\nthe range",
    ]
    assert spread.get_xlabel() == "interval"
    assert len(shares.collections) == 3
    alive, effective = numbers.lines
    assert alive.get_ydata().tolist() == [3, 1, 1]
    assert effective.get_ydata() == pytest.approx([3, 1, 1])
    assert len(spread.lines) == 5
    assert legend(figure)[0] == "member 0 (the winner's)"
    assert drawn(figure)


def test_a_collapse_is_said_in_words(segments, make_record):
    many = [
        replace(segments[0], member=m, interval=i, source=(0, i - 1) if i else None)
        for i in range(3)
        for m in range(4)
    ]
    record = replace(make_record(many), config={"intervals": 12})
    figure = figures.founders(record)
    assert figure.axes[0].get_title(loc="left").startswith("From interval 1 on nearly all members")
    quiet = figures.founders(make_record(segments))
    assert quiet.axes[0].get_title(loc="left") == ""


def test_many_founders_share_two_greys(segments, make_record):
    many = [replace(segments[0], member=member) for member in range(60)]
    figure = figures.founders(make_record(many))
    assert len(legend(figure)) == len(style.KINDS) + 2
    assert legend(figure)[-1] == "others"
    assert drawn(figure)


# --- scores and workers ---------------------------------------------------------------------------


def test_scores_have_the_best_and_the_median_of_each_interval(segments, make_record):
    figure = figures.scores(make_record(segments))
    _, line, _, best, median, failed = figure.axes[0].lines
    assert list(line.get_ydata()) == [0.5, 0.8, 0.75]
    assert list(best.get_ydata()) == [0.5, 0.9, 0.75]
    assert list(median.get_ydata()) == pytest.approx([0.3, 0.85, 0.725])
    assert list(failed.get_xdata()) == [20]
    assert legend(figure) == [
        "all members",
        "best",
        "median",
        "lineage of the winner, member 1",
        "inherited",
        "failed",
    ]


def test_no_line_of_scores_runs_back_in_time(segments, make_record):
    restarted = [
        *segments,
        *(replace(segments[m], interval=3, source=None, first_step=0, score=0.1) for m in range(3)),
    ]
    figure = figures.scores(make_record(restarted), (1, 2))
    for line in figure.axes[0].lines[1:5]:
        assert (np.diff(line.get_xdata()) >= 0).all()
    best, median = figure.axes[0].lines[3:5]
    for line in (best, median):
        assert (np.diff(line.get_xdata()) > 0).all()


def test_workers_are_rows_with_their_share_of_the_time(segments, make_record, clock):
    figure = figures.timeline(make_record(segments), clock)
    axes = figure.axes[0]
    assert [label.get_text() for label in axes.get_yticklabels()] == ["worker 0", "worker 1"]
    assert axes.get_xlabel() == "seconds of training"
    assert axes.get_title() == "workers trained 60% of the time, and waited 40%"
    everyone, framed = bars(axes)
    assert (len(everyone), len(framed)) == (8, 3)
    assert everyone[-1][:, 0].max() == 5.0
    assert drawn(figure)


def test_a_pause_is_marked_and_costs_no_room(segments, make_record, clock):
    later = {
        key: replace(each, began=each.began + (7200 if key[1] == 2 else 0))
        for key, each in clock.items()
    }
    axes = figures.timeline(make_record(segments), later).axes[0]
    assert [text.get_text() for text in axes.texts] == ["paused 2 h 0 min"]
    assert axes.get_xlim() == (0.0, 4.0)


def test_without_clock_times_there_is_no_time_line(segments, make_record, telemetry):
    with pytest.raises(UsageError, match="timeline: there is no clock time"):
        figures.timeline(make_record(segments), telemetry)


# --- all of them ----------------------------------------------------------------------------------


@pytest.mark.parametrize("name", ALL)
def test_sizes(segments, make_record, clock, name):
    figure = draw(name, make_record(segments), clock, size=(6.0, 4.0))
    assert figure.get_size_inches().tolist() == [6.0, 4.0]
    with pytest.raises(UsageError, match="size: expected width and height"):
        draw(name, make_record(segments), clock, size=(0.0, 4.0))


@pytest.mark.parametrize("name", ["lineage", "founders", "scores", "timeline"])
def test_axes_of_ones_own(segments, make_record, clock, name):
    figure = Figure()
    left, right = figure.subplots(1, 2)
    assert draw(name, make_record(segments), clock, axes=right) is figure
    assert right.has_data()
    assert not left.has_data()
    assert right.get_legend() is not None
    assert not figure.legends
    with pytest.raises(UsageError, match="axes, size: given both"):
        draw(name, make_record(segments), clock, axes=right, size=(4, 4))


@pytest.mark.parametrize("name", ALL)
def test_dark_backgrounds_have_light_ink(segments, make_record, clock, name):
    with mpl_style.context("dark_background"):
        figure = draw(name, make_record(segments), clock)
        black = [
            line
            for axes in figure.axes
            for line in axes.lines
            if to_hex(line.get_color()) == "#000000" or line.get_markeredgecolor() == "black"
        ]
    assert figure.get_facecolor()[:3] == (0.0, 0.0, 0.0)
    assert [line.get_label() for line in black if line.get_marker() != "*"] == []


@pytest.mark.parametrize("name", ALL)
def test_names_of_a_record_are_drawn_as_they_are(segments, make_record, clock, name):
    nasty = r"$\frac{1}{$ <b>x\y" + "\x1b[2J\n\u202e\ud800" + "w" * 200
    space = Space({"act": Choice((nasty, "relu")), "keep": Constant(0.75)})
    bad = [
        replace(each, hparams={"act": nasty, "keep": 0.75}, metrics={nasty: 0.5}, role=nasty)
        for each in segments
    ]
    record = make_record(bad, space, nasty)
    record = replace(record, config={"task": nasty, "intervals": 3})
    hostile = {key: replace(each, worker=nasty) for key, each in clock.items()}
    assert drawn(draw(name, record, hostile))


@pytest.mark.parametrize("name", ALL)
def test_one_segment_and_failures_alone(segments, make_record, clock, name):
    assert drawn(draw(name, make_record(segments[:1]), {segments[0].id: clock[0, 0]}))
    failed = make_record([replace(each, score=math.nan) for each in segments])
    if name in ("schedule", "lineage", "scores"):
        with pytest.raises(AllMembersFailedError):
            draw(name, failed, clock)
        assert drawn(draw(name, failed, clock, **{"leaf": 0}))
    else:
        assert drawn(draw(name, failed, clock))


@pytest.mark.parametrize("name", ALL)
def test_an_empty_record_has_nothing_to_draw(make_record, clock, name):
    with pytest.raises(UsageError, match="nothing to draw"):
        draw(name, make_record([]), clock)


def test_many_short_segments_keep_their_colours(segments, make_record):
    many = [
        replace(segments[0], interval=i, source=(0, i - 1) if i else None, first_step=10 * i)
        for i in range(400)
    ]
    clock = {each.id: Telemetry(1.0, "serial", began=float(each.interval)) for each in many}
    for figure in (
        figures.lineage(make_record(many)),
        figures.timeline(make_record(many), clock),
    ):
        axes = figure.axes[0]
        frames = [each for each in axes.collections if isinstance(each, PolyCollection)]
        assert all(style.WINNER not in map(to_hex, each.get_edgecolor()) for each in frames)
        lines = [each for each in axes.collections if isinstance(each, LineCollection)]
        assert any(len(each.get_segments()) == 800 for each in lines)
