import io
import math
import sys
from dataclasses import replace

import numpy as np
import pytest
from matplotlib.colors import to_hex

from popgrad.core.errors import AllMembersFailedError, UsageError
from popgrad.core.segment import Telemetry
from popgrad.core.space import Constant, Space, Uniform
from popgrad.reports import figures, style

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
    record = make_record(segments, only(space, "batch", "lr", "momentum"), "accuracy")
    figure = figures.results(replace(record, config={"task": "/some/where/toy.py:Task"}))
    axes, bar = figure.axes
    assert (axes.get_xlabel(), axes.get_ylabel()) == ("lr", "momentum")
    assert bar.get_ylabel() == "accuracy; darkest: below 0.16, the worst 5 %"
    assert axes.get_title() == "toy.py:Task: 3 members, 3 intervals"
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
    marks = ["first interval", "in between", "last interval", "failed", "winner, member 1"]
    assert legend(figure) == marks
    star = figure.axes[0].lines[-1]
    assert (star.get_marker(), list(star.get_xdata())) == ("*", [0.08 / 3])


def test_failed_segments_are_crosses(segments, space, make_record):
    placed, edge, _ = (
        figures.results(make_record(segments, only(space, "lr", "keep"))).axes[0].lines
    )
    assert (placed.get_xdata().tolist(), placed.get_ydata().tolist()) == ([2e-3], [0.75])
    assert len(edge.get_xdata()) == 0
    placed, edge, _ = figures.results(make_record(segments, only(space, "lr"))).axes[0].lines
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
    assert line.get_color() == style.WINNER != everyone.get_color()
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


def test_rate_follows_the_lineage_with_a_ring_where_it_inherited(segments, make_record):
    figure = figures.rate(make_record(segments))
    axes = figure.axes[0]
    line, rings = axes.lines
    assert line.get_xdata().tolist() == [0, 10, 10, 20, 20, 30]
    assert line.get_ydata().tolist() == [0.1 / 3] * 2 + [0.08 / 3] * 4
    assert (rings.get_xdata().tolist(), rings.get_ydata().tolist()) == ([10], [0.08 / 3])
    assert (axes.get_yscale(), axes.get_xlabel(), axes.get_ylabel()) == (
        "log",
        "training steps",
        "lr",
    )
    assert axes.get_title() == "lr along the lineage of the winner, member 1"
    assert legend(figure) == ["lr as recorded", "inherited from a donor"]
    other = figures.rate(make_record(segments), 0, steps_per_epoch=10).axes[0]
    assert other.get_title() == "lr along the lineage of member 0"
    assert other.get_xlabel() == "epoch"
    assert other.lines[0].get_xdata().tolist() == [0, 1, 1, 2, 2, 3]


def halved(segments):
    """Telemetry of a scheduler that halves the rate within each segment."""
    return {
        each.id: Telemetry(
            curve=(
                (each.first_step + 1, "lr", each.hparams["lr"]),
                (each.last_step, "lr", each.hparams["lr"] / 2),
            )
        )
        for each in segments
    }


def test_live_rates_are_drawn_beside_the_base_and_named(segments, space, make_record):
    record = make_record(segments, only(space, "lr", "keep"))
    named = "live: the recorded base, multiplied by the task's scheduler"
    figure = figures.rate(record, curves=halved(segments))
    dashed = figure.axes[0].lines[-1]
    assert list(dashed.get_xdata()) == [0, 9, 10, 19, 20, 29]
    assert dashed.get_ydata()[1] == 0.1 / 6
    assert legend(figure)[-1] == named
    whole = figures.schedule(record, halved(segments))
    assert legend(whole)[-1] == named
    assert [len(axes.lines) for axes in whole.axes] == [4, 3, 3]
    assert drawn(whole)


def test_a_rate_that_ends_with_zero_is_drawn_on_a_log_axis(segments, space, make_record):
    zero = {key: replace(one, curve=(*one.curve[:1], (*one.curve[1][:2], 0.0)))
            for key, one in halved(segments).items()}  # fmt: skip
    figure = figures.rate(make_record(segments, only(space, "lr")), curves=zero)
    assert min(figure.axes[0].lines[-1].get_ydata()) > 0
    assert drawn(figure)


def test_many_hyperparameters_have_a_panel_each_and_those_left_out_are_named(segments, make_record):
    figure = figures.results(make_record(segments, score_name="accuracy"))
    *panels, bar = figure.axes
    assert [axes.get_xlabel() for axes in panels] == ["lr", "keep", "act", "momentum", "width"]
    assert panels[0].get_ylabel() == "accuracy"
    assert bar.get_ylabel() == "interval"
    assert drawn(figure)

    space = Space({f"h{i}": Uniform(0.0, 1.0) for i in range(11)})
    many = [replace(each, hparams=dict.fromkeys(space, 0.5)) for each in segments]
    figure = figures.results(make_record(many, space))
    assert len(figure.axes) == 9 + 1
    title = figure.get_suptitle()
    assert title.endswith("the first 9 of 11 hyperparameters; not drawn: h9, h10")


def test_members_that_hide_each_other_are_counted(segments, space, make_record):
    twins = [
        *segments[:6],
        replace(segments[7], member=0),
        replace(segments[7], member=2),
        segments[7],
    ]
    axes = figures.results(make_record(twins, only(space, "lr", "keep"))).axes[0]
    assert [text.get_text() for text in axes.texts] == ["x3"]


def test_a_single_member_is_a_curve(segments, make_record):
    own = [each for each in segments if each.member == 0]
    figure = figures.results(make_record(own, score_name="accuracy"))
    (axes,) = figure.axes
    assert list(axes.lines[0].get_ydata()) == [0.5, 0.9, 0.7]
    assert (axes.get_xlabel(), axes.get_ylabel()) == ("training steps", "accuracy")


def test_a_minimised_metric_is_drawn_as_it_was_evaluated(segments, space, make_record):
    low = [replace(each, score=-each.metrics.get("loss", math.nan)) for each in segments]
    record = make_record(low, only(space, "lr", "keep"), "-loss")
    _, bar = figures.results(record).axes
    assert bar.get_ylabel().startswith("loss (lower is better); darkest: above 0.8")
    panel = figures.schedule(record).axes[-1]
    assert panel.get_ylabel() == "loss (lower is better)"
    assert panel.lines[1].get_ydata()[-1] == 0.25
    slices = figures.results(make_record(low, only(space, "lr"), "-loss")).axes[0]
    assert points(slices)[2][:, 1].tolist() == pytest.approx([0.3, 0.25])


def test_a_crowd_is_a_band_and_no_carpet(segments, space, make_record):
    crowd = [
        replace(segments[i % 2], member=i, hparams={**segments[0].hparams, "lr": 0.001 * (i + 1)})
        for i in range(style.CROWD)
    ]
    figure = figures.schedule(make_record(crowd, only(space, "lr", "act")))
    assert [len(axes.lines) for axes in figure.axes] == [2, 2, 2]
    assert [len(axes.collections) for axes in figure.axes] == [1, 1, 1]
    assert legend(figure)[0] == "80 % of the members; of options, their share"
    assert drawn(figure)


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
