import json
import math
from dataclasses import replace

import pytest
from rich.console import Console

from popgrad.core.errors import AllMembersFailedError
from popgrad.record.lineage import lineage
from popgrad.report import summary, summary_data
from popgrad.report.text import lineage_line, numbers, population, schedule_table, winners


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
    assert lineage_line(lineage(segments, 1)).plain == "m1 (intervals 1-2) ← m0 (0)"
    assert lineage_line(lineage(segments, 0)).plain == "m0 (intervals 0-2)"
    assert lineage_line(lineage(segments, (2, 0))).plain == "m2 (interval 0)"


def test_jumps_are_highlighted(segments):
    text = lineage_line(lineage(segments, 1))
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
        ("2", "nan", "itself"),
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
    assert "nan" in text
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
