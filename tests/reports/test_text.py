import json
import math
from dataclasses import replace

import pytest
from rich.console import Console

from popgrad.core.errors import AllMembersFailedError
from popgrad.core.segment import Telemetry
from popgrad.core.space import Space, Uniform
from popgrad.record.lineage import inherited, lineage
from popgrad.reports.text import (
    lineage_line,
    numbers,
    population,
    schedule_table,
    summary,
    summary_data,
    winners,
)


def printed(renderable, width=120):
    console = Console(width=width, color_system=None)
    with console.capture() as capture:
        console.print(renderable)
    return capture.get()


def cells(renderable):
    """The words of each printed line."""
    return [line.split() for line in printed(renderable).splitlines()]


@pytest.mark.parametrize(
    ("values", "texts"),
    [
        ([0.5, 0.12345], ["0.5000", "0.1235"]),
        ([97.861, 9.5], ["97.861", "9.500"]),
        ([0.1, 1e-6], ["1.000e-01", "1.000e-06"]),
        ([1e9], ["1.000e+09"]),
        ([-0.25, math.nan, 0.0], ["-0.2500", "nan", "0.0000"]),
        ([math.inf], ["inf"]),
        ([3, True, "relu", None], ["3", "True", "relu", ""]),
        ([], []),
    ],
)
def test_numbers_show_four_digits_and_align(values, texts):
    assert numbers(values) == texts


def test_lineage_reads_from_the_winner_back(segments):
    assert (
        lineage_line(lineage(segments, 1), inherited(segments)).plain
        == "m1 (intervals 1-2) ← m0 (0)"
    )
    assert lineage_line(lineage(segments, 0), inherited(segments)).plain == "m0 (intervals 0-2)"
    assert lineage_line(lineage(segments, (2, 0)), inherited(segments)).plain == "m2 (interval 0)"


def test_jumps_are_highlighted(segments):
    text = lineage_line(lineage(segments, 1), inherited(segments))
    arrows = [span for span in text.spans if "yellow" in str(span.style)]
    assert [text.plain[span.start : span.end] for span in arrows] == [" ← "]


def test_schedule_merges_equal_neighbours_and_leaves_constants_out(segments, space):
    lines = cells(schedule_table(lineage(segments, 1), space))
    assert ["steps", "lr", "keep", "act", "momentum", "width"] in lines
    assert ["0..9", "0.03333", "0.7500", "tanh", "0.9000", "32"] in lines
    assert ["10..29", "0.02667", "0.7500", "relu", "0.9000", "32"] in lines
    assert sum(".." in line[0] for line in lines if line) == 2


def test_winner_stands_beside_the_best_ever(segments, make_record):
    lines = cells(winners(make_record(segments, score_name="accuracy")))
    assert ["winner", "best", "ever"] in lines
    for line in (
        ["member", "1", "0"],
        ["interval", "2", "1"],
        ["accuracy", "0.7500", "0.9000"],
        ["loss", "0.2500", "0.1000"],
        ["lr", "0.02667", "0.03333"],
        ["batch", "200", "200"],
    ):
        assert lines.count(line) == 1


def test_population_is_ranked_and_says_where_each_came_from(segments, make_record):
    record = make_record(each for each in segments if each.interval < 2)
    lines = [line for line in cells(population(record)) if line]
    assert [(line[0], line[2], line[-1]) for line in lines[-3:]] == [
        ("0", "0.9000", "itself"),
        ("1", "0.8000", "m0"),
        ("2", "failed", "itself"),
    ]
    first = make_record(each for each in segments if each.interval == 0)
    assert {line[-1] for line in cells(population(first))[-4:-1]} == {"fresh"}


def test_summary_is_all_of_it(segments, make_record):
    text = printed(summary(make_record(segments, score_name="accuracy")))
    for part in ("winner", "Lineage  m1 (intervals 1-2) ← m0 (0)", "Schedule", "Population"):
        assert part in text


def test_summary_without_anybody(segments, make_record):
    assert "No segment is finished yet." in printed(summary(make_record([])))
    nobody = make_record(segments[5:6])
    text = printed(summary(nobody))
    assert "No member has a finite score" in text
    assert "failed" in text
    with pytest.raises(AllMembersFailedError):
        winners(nobody)


def test_names_with_brackets_are_printed_as_they_are(segments, make_record):
    odd = replace(
        segments[0], metrics={"acc[top5]": 0.5}, hparams={**segments[0].hparams, "act": "tanh"}
    )
    text = printed(summary(make_record([odd], score_name="[score]")))
    assert "acc[top5]" in text
    assert "[score]" in text


def test_data_is_strict_json_with_numbers_as_numbers(segments, make_record):
    record = make_record(segments, score_name="accuracy")
    data = json.loads(json.dumps(summary_data(record), allow_nan=False))
    assert (data["score"], data["members"], data["intervals"]) == ("accuracy", 3, 3)
    assert (data["segments"], data["failed"]) == (8, 1)
    assert data["winner"] == {
        "member": 1,
        "interval": 2,
        "step": 30,
        "samples": 960,
        "score": 0.75,
        "metrics": {"accuracy": 0.75, "loss": 0.25},
        "hparams": dict(segments[7].hparams),
        "source": [1, 1],
        "inherited": False,
        "status": "done",
    }
    assert (data["best_ever"]["member"], data["best_ever"]["score"]) == (0, 0.9)
    assert [(s["member"], s["interval"], s["inherited"]) for s in data["lineage"]] == [
        (0, 0, False),
        (1, 1, True),
        (1, 2, False),
    ]
    assert [(p["first_step"], p["steps"], p["hparams"]["lr"]) for p in data["schedule"]] == [
        (0, 10, 0.1 / 3),
        (10, 20, 0.08 / 3),
    ]
    assert [(s["member"], s["score"]) for s in data["population"]] == [
        (0, 0.7),
        (1, 0.75),
        (2, None),
    ]
    assert [each["alive"] for each in data["founders"]] == [3, 1, 1]


def test_data_of_a_run_that_nobody_won(segments, make_record):
    data = summary_data(make_record([replace(segments[0], score=math.inf)]))
    assert (data["winner"], data["best_ever"], data["lineage"], data["schedule"]) == (
        None,
        None,
        [],
        [],
    )
    assert data["population"][0]["score"] is None
    assert data["failed"] == 1
    assert summary_data(make_record([]))["members"] == 0


def crowd(segments, count):
    return [replace(segments[6], member=i, source=(i, 1), score=i / 100) for i in range(count)]


def test_the_winner_comes_last_and_a_long_table_is_cut_with_a_word(segments, make_record):
    record = make_record(
        [replace(one, interval=0, source=None, first_step=0) for one in crowd(segments, 60)],
        score_name="accuracy",
    )
    text = printed(summary(record, rows=10, more="popgrad show my-run --all"))
    lines = text.splitlines()
    assert "and 50 more members: popgrad show my-run --all" in lines
    order = [text.index(part) for part in ("Population", "Schedule", "Lineage", "best ever")]
    assert order == sorted(order)
    assert len(lines) < 45
    assert sum(line.split()[:2] == ["59", "0"] for line in lines) == 1
    whole = printed(summary(record, rows=None))
    assert "more members" not in whole
    assert sum(line.split()[1:2] == ["0"] for line in whole.splitlines()) == 60 + 1


def test_hidden_failures_are_counted(segments, make_record):
    members = [replace(each, interval=0, source=None) for each in crowd(segments, 5)]
    members[2] = replace(members[2], score=math.nan)
    text = printed(population(make_record(members), rows=2))
    assert "and 3 more members (1 failed)" in text


@pytest.mark.parametrize("width", [30, 40, 60, 80])
def test_a_narrow_console_gets_fewer_columns_and_no_cut_cells(segments, make_record, width):
    text = printed(population(make_record(segments, score_name="accuracy")), width)
    head, *_ = [line for line in text.splitlines() if "member" in line]
    assert "accuracy" in head
    assert "…" not in text
    assert "0.7500" in text
    assert max(map(len, text.splitlines())) <= width
    note = text[text.index("no room for") :].split() if width < 80 else []
    assert ("source" in note) == (width < 80)


def test_a_hyperparameter_with_the_name_of_a_column_is_qualified(segments, make_record):
    space = Space({"interval": Uniform(0, 1), "score": Uniform(0, 1), "steps": Uniform(0, 1)})
    values = {"interval": 0.25, "score": 0.5, "steps": 0.75}
    one = replace(segments[0], hparams=values, metrics={"score": 0.5, "member": 7.0})
    record = make_record([one], space, "score")
    heading, _, row = [line for line in cells(population(record)) if line][1:]
    expected = [
        "member",
        "interval",
        "score",
        "hparams.interval",
        "hparams.score",
        "steps",
        "source",
    ]
    assert heading == expected
    assert len(row) == len(heading)
    assert ["steps", "interval", "score", "hparams.steps"] in cells(
        schedule_table(lineage([one], 0), space)
    )
    names = [line[0] for line in cells(winners(record)) if len(line) == 3]
    assert len(names) == len(set(names))
    assert {"metrics.member", "hparams.interval", "hparams.score", "hparams.steps"} <= set(names)


def test_a_minimised_metric_is_shown_as_it_was_evaluated(segments, make_record):
    low = [
        replace(each, score=-each.metrics.get("loss", math.nan), metrics=each.metrics)
        for each in segments
    ]
    record = make_record(low, score_name="-loss")
    text = printed(summary(record))
    assert "loss (lower is better)" in text
    assert "loss ↓" in text
    assert "-0.2500" not in text
    rows = [line for line in cells(population(record)) if line]
    assert [row[2] for row in rows[-3:]] == ["0.2500", "0.3000", "failed"]
    data = summary_data(record)
    assert (data["metric"], data["direction"], data["score"]) == ("loss", "minimize", "-loss")
    assert data["winner"]["score"] == -0.25


def test_live_rates_stand_beside_the_base(segments, space, make_record):
    curves = {
        each.id: Telemetry(
            curve=(
                (each.first_step + 1, "lr", each.hparams["lr"]),
                (each.first_step + 10, "lr", each.hparams["lr"] / 4),
            )
        )
        for each in segments
    }
    line = lineage(segments, 1)
    text = printed(schedule_table(line, space, curves))
    assert "live lr" in text
    assert "0.03333 → 0.008333" in text
    assert "the base that the task's scheduler multiplies" in text
    assert "0.02667 → 0.006667" in printed(winners(make_record(segments), curves))
    assert "live" not in printed(schedule_table(line, space))
    same = {key: Telemetry(curve=one.curve[:1]) for key, one in curves.items()}
    assert "live" not in printed(schedule_table(line, space, same))


def test_the_best_the_copied_and_the_failed_have_their_colours(segments, make_record):
    console = Console(width=120, force_terminal=True, color_system="standard", no_color=False)
    with console.capture() as capture:
        console.print(population(make_record(each for each in segments if each.interval < 2)))
    best, copied, failed = capture.get().rstrip().splitlines()[-3:]
    assert "\x1b[1;32m" in best
    assert "\x1b[36m" in copied
    assert "\x1b[31m" in failed
