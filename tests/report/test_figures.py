import io
import math
import sys
from dataclasses import replace

import numpy as np
import pytest
from matplotlib.colors import to_hex

from popgrad.core.errors import AllMembersFailedError, UsageError
from popgrad.core.space import Constant, Space
from popgrad.report import figures

pytestmark = pytest.mark.draws


def only(space, *names):
    return Space({name: space[name] for name in names})


def legend(figure):
    return [text.get_text() for text in figure.legends[0].get_texts()]


def points(axes):
    """Every scattered point, by layer: in between, first interval, last interval."""
    return [np.asarray(layer.get_offsets()) for layer in axes.collections[:3]]


def drawn(figure):
    file = io.BytesIO()
    figure.savefig(file, format="png")
    return file.getvalue()


def test_results_put_two_searched_hyperparameters_on_their_own_scales(segments, space, make_record):
    figure = figures.results(
        make_record(segments, only(space, "batch", "lr", "momentum"), "accuracy")
    )
    axes, bar = figure.axes
    assert (axes.get_xlabel(), axes.get_ylabel(), bar.get_ylabel()) == (
        "lr",
        "momentum",
        "accuracy",
    )
    assert axes.get_xscale() == "log"
    up = axes.transData.transform([(1e-3, 0.0), (1e-3, 0.9), (1e-3, 0.99)])[:, 1]
    assert up[1] - up[0] == pytest.approx(up[2] - up[1])  # a nine more is as far, wherever


def test_results_mark_first_and_last_interval(segments, space, make_record):
    figure = figures.results(make_record(segments, only(space, "lr", "keep")))
    middle, first, last = points(figure.axes[0])
    assert first[:, 0].tolist() == [0.1 / 3, 1e-3, 2e-3]
    assert middle[:, 0].tolist() == [0.1 / 3, 0.08 / 3]
    assert last[:, 0].tolist() == [0.1 / 3, 0.08 / 3]
    rings, rims = figure.axes[0].collections[1], figure.axes[0].collections[2]
    assert len(rings.get_facecolor()) == 0
    assert to_hex(rims.get_edgecolor()[0]) == "#000000"
    assert legend(figure) == ["first interval", "in between", "last interval", "failed"]


def test_failed_segments_are_crosses(segments, space, make_record):
    placed, edge = figures.results(make_record(segments, only(space, "lr", "keep"))).axes[0].lines
    assert (placed.get_xdata().tolist(), placed.get_ydata().tolist()) == ([2e-3], [0.75])
    assert len(edge.get_xdata()) == 0
    placed, edge = figures.results(make_record(segments, only(space, "lr"))).axes[0].lines
    assert (len(placed.get_xdata()), edge.get_xdata().tolist()) == (0, [2e-3])


def test_one_searched_hyperparameter_is_drawn_against_the_score(segments, space, make_record):
    record = make_record(segments, only(space, "lr", "batch"), "accuracy")
    axes = figures.results(record).axes[0]
    assert (axes.get_xlabel(), axes.get_ylabel()) == ("lr", "accuracy")
    assert points(axes)[2].tolist() == [[0.1 / 3, 0.7], [0.08 / 3, 0.75]]


def test_nothing_searched_is_score_against_steps(segments, space, make_record):
    axes = figures.results(make_record(segments, only(space, "batch"))).axes[0]
    assert (axes.get_xlabel(), axes.get_ylabel()) == ("training steps", "score")
    assert points(axes)[2].tolist() == [[30, 0.7], [30, 0.75]]


def test_options_are_ticks_and_members_stay_near_theirs(segments, space, make_record):
    figure = figures.results(make_record(segments, only(space, "act", "width")))
    drawn(figure)
    axes = figure.axes[0]
    assert [label.get_text() for label in axes.get_xticklabels()] == ["relu", "tanh"]
    assert [label.get_text() for label in axes.get_yticklabels()] == ["32", "64"]
    first = points(axes)[1]
    assert np.round(first).tolist() == [[1, 0], [0, 1], [0, 0]]
    assert len(np.unique(first[:, 0])) == 3


def test_a_few_bad_scores_do_not_take_the_colours(segments, space, make_record):
    many = [
        replace(segments[0], member=i, score=s)
        for i, s in enumerate([-1e6, *np.linspace(0, 1, 99)])
    ]
    record = make_record(many, only(space, "lr", "keep"))
    norm = figures.results(record).axes[0].collections[2].norm
    assert -0.1 < norm.vmin < 0.1
    assert norm.vmax == 1
    won_by_the_worst = [*many, replace(segments[3], score=1.5)]  # the heir of the bad score
    panel = figures.schedule(make_record(won_by_the_worst, only(space, "lr"))).axes[-1]
    assert panel.get_ylim()[0] > -1


@pytest.mark.parametrize("score", [0.5, 0.0, math.nan])
def test_equal_scores_and_failed_ones_alone_can_be_drawn(segments, score, make_record):
    record = make_record([replace(segments[0], score=score)])
    assert drawn(figures.results(record))
    if math.isnan(score):
        with pytest.raises(AllMembersFailedError):
            figures.schedule(record)
    else:
        assert drawn(figures.schedule(record))


def test_schedule_has_a_panel_for_each_searched_hyperparameter_and_the_score(segments, make_record):
    figure = figures.schedule(make_record(segments, score_name="accuracy"))
    labels = [axes.get_ylabel() for axes in figure.axes]
    assert labels == ["lr", "keep", "act", "momentum", "width", "accuracy"]
    assert [axes.get_yscale() for axes in figure.axes] == [
        "log",
        "linear",
        "linear",
        "function",
        "linear",
        "linear",
    ]
    assert figure.axes[-1].get_xlabel() == "training steps"


def test_schedule_draws_out_the_lineage_of_the_winner(segments, make_record):
    figure = figures.schedule(make_record(segments))
    everyone, line, ticks = figure.axes[0].lines
    assert list(line.get_xdata()) == [0, 10, 10, 20, 20, 30]
    assert list(line.get_ydata()) == [0.1 / 3] * 2 + [0.08 / 3] * 4
    assert line.get_linewidth() > 2 * everyone.get_linewidth()
    assert line.get_color() == figures.WINNER != everyone.get_color()
    assert (list(ticks.get_xdata()), list(ticks.get_ydata())) == ([10], [0.08 / 3])
    _, scores, taken = figure.axes[-1].lines
    assert (list(scores.get_xdata()), list(scores.get_ydata())) == ([10, 20, 30], [0.5, 0.8, 0.75])
    assert (list(taken.get_xdata()), list(taken.get_ydata())) == ([10], [0.5])
    assert legend(figure) == [
        "all members",
        "lineage of the winner, member 1",
        "inherited from a donor",
    ]


def test_schedule_hangs_every_segment_on_its_source(segments, space, make_record):
    everyone = figures.schedule(make_record(segments, only(space, "lr"))).axes[0].lines[0]
    strokes = np.column_stack([everyone.get_xdata(), everyone.get_ydata()]).reshape(
        len(segments), 4, 2
    )
    assert strokes[4, :3].tolist() == [[10, 0.1 / 3], [10, 0.08 / 3], [20, 0.08 / 3]]
    assert np.isnan(strokes[:, 3]).all()


def test_without_a_donor_there_is_no_tick_in_the_legend(segments, make_record):
    won_by_member_0 = [*segments[:6], replace(segments[6], score=0.8), segments[7]]
    figure = figures.schedule(make_record(won_by_member_0))
    assert legend(figure) == ["all members", "lineage of the winner, member 0"]


def test_rate_is_the_course_of_one_slot_with_a_ring_where_it_inherited(segments, make_record):
    figure = figures.rate(make_record(segments), 1)
    axes = figure.axes[0]
    line, rings = axes.lines
    assert line.get_xdata().tolist() == [0, 10, 10, 20, 20, 30]
    assert line.get_ydata().tolist() == [1e-3] * 2 + [0.08 / 3] * 4
    assert (rings.get_xdata().tolist(), rings.get_ydata().tolist()) == ([10], [0.08 / 3])
    assert (axes.get_yscale(), axes.get_xlabel(), axes.get_ylabel()) == (
        "log",
        "training steps",
        "lr",
    )
    assert (axes.get_title(), legend(figure)) == ("lr of member 1", ["inherited from a donor"])
    assert figures.rate(make_record(segments), 0).legends == []


def test_rate_counts_epochs_and_never_runs_backwards(segments, make_record):
    heir = replace(segments[4], source=(0, 0), first_step=10)
    record = make_record([replace(segments[1], steps=100), heir])
    axes = figures.rate(record, 1, steps_per_epoch=10).axes[0]
    assert axes.get_xlabel() == "epoch"
    assert axes.lines[0].get_xdata().tolist() == [0, 10, 10, 11]


@pytest.mark.parametrize(
    ("name", "scale"),
    [("keep", "linear"), ("act", "linear"), ("momentum", "function"), ("batch", "linear")],
)
def test_rate_draws_every_kind_of_hyperparameter(segments, name, scale, make_record):
    figure = figures.rate(make_record(segments), 0, name=name)
    assert figure.axes[0].get_yscale() == scale
    assert drawn(figure)


def test_rate_says_what_there_is(segments, make_record):
    with pytest.raises(
        UsageError, match="there is no hyperparameter 'rate' to draw; there is lr, keep"
    ):
        figures.rate(make_record(segments), 0, name="rate")
    with pytest.raises(
        UsageError, match=r"member 7 has no finished segment; members that have: \[0, 1, 2\]"
    ):
        figures.rate(make_record(segments), 7)
    with pytest.raises(UsageError, match="nothing to draw"):
        figures.rate(make_record([]), 0)


def test_an_empty_record_is_a_usage_error(make_record):
    with pytest.raises(UsageError, match="nothing to draw"):
        figures.results(make_record([]))
    with pytest.raises(UsageError, match="nothing to draw"):
        figures.schedule(make_record([]))


def test_equal_records_give_equal_files(tmp_path, segments, make_record):
    for name in ("a.png", "b.png"):
        figures.save(figures.schedule(make_record(segments)), tmp_path / name)
    assert (tmp_path / "a.png").read_bytes() == (tmp_path / "b.png").read_bytes()
    assert (tmp_path / "a.png").read_bytes().startswith(b"\x89PNG")
    assert sorted(each.name for each in tmp_path.iterdir()) == ["a.png", "b.png"]


def test_pyplot_is_never_needed(monkeypatch, segments, make_record):
    monkeypatch.setitem(sys.modules, "matplotlib.pyplot", None)
    space = Space({"batch": Constant(200)})
    assert drawn(figures.results(make_record(segments, space)))
