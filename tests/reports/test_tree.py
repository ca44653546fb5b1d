"""The tree as text fits its terminal, and as JSON holds every member."""

import io
import json
import math
import re
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from rich.console import Console

import popgrad
from popgrad.core.segment import Segment
from popgrad.core.space import Space, Uniform
from popgrad.record.record import Record
from popgrad.reports.tree import LINES, TreeTable, tree_data

LINE = re.compile(r"\s*((?:│ )*(?:├─)?[◆◇●○·]) ((?:m\d|…).*)")


@pytest.fixture(scope="module")
def crowd() -> Record:
    return popgrad.run(
        "quadratic", population=30, intervals=25, executor="serial", progress=False
    ).record


def drawn(record: Record, width: int = 80, **options: Any) -> list[str]:
    console = Console(file=io.StringIO(), width=width)
    console.print(TreeTable(record, **options))
    return console.file.getvalue().splitlines()  # type: ignore[attr-defined, no-any-return]


def branches(lines: list[str]) -> list[str]:
    return [match[2] for match in map(LINE.fullmatch, lines) if match]


def test_a_small_tree_is_drawn_as_it_is() -> None:
    def segment(member: int, interval: int, source: Any, score: float) -> Segment:
        return Segment(member, interval, source, {"h": 0.5}, {}, 0, 0, 1, 1, score, {}, "", "done")

    rows = (
        *(segment(0, 0, None, 0.3), segment(1, 0, None, 0.2), segment(2, 0, None, 0.1)),
        *(segment(3, 0, None, 0.2), segment(0, 1, (0, 0), 0.4), segment(1, 1, (0, 0), 0.5)),
        *(segment(2, 1, (0, 0), 0.2), segment(3, 1, (3, 0), 0.1), segment(0, 2, (0, 1), 0.6)),
        *(segment(1, 2, (1, 1), 0.9), segment(2, 2, (0, 1), math.nan), segment(3, 2, (3, 1), 0.7)),
    )
    space = Space({"h": Uniform(0.0, 1.0)})
    record = Record(space=space, score_name="-q", segments=rows, sizes=(4,), resting=frozenset({0}))
    lines = [line.strip() for line in drawn(record) if line.strip()]
    assert lines[0].split() == ["ancestry", "q", "↓"]
    assert [line.split() for line in lines[2:8]] == [
        ["◆", "m0", "(0)", "-0.3000", "1", "died", "out"],
        ["├─○", "m0", "(1)", "-0.4000"],
        ["│", "├─○", "m2", "(2)", "failed", "present"],
        ["│", "○", "m0", "(2)", "-0.6000", "present,", "rests"],
        ["●", "m1", "(1-2)", "-0.9000", "winner"],
        ["◇", "m3", "(0-2)", "-0.7000", "present"],
    ]
    assert lines[8] == "and 2 founders without a present descendant"

    everything = [line.strip() for line in drawn(record, every_branch=True) if line.strip()]
    assert ["├─·", "m2", "(1)", "-0.2000"] in [line.split() for line in everything]
    assert ["◇", "m2", "(0)", "-0.1000"] in [line.split() for line in everything]
    assert not any("and 2 founders" in line for line in everything)


@pytest.mark.parametrize("width", [40, 60, 80, 120])
def test_a_tree_fits_the_terminal(crowd: Record, width: int) -> None:
    lines = drawn(crowd, width, more="popgrad show DIR --tree --all")
    assert max(map(len, lines)) <= width
    found = branches(lines)
    assert 2 <= len(found) <= LINES
    # Wherever it is cut, the end of each branch is named.
    assert all(re.search(r"m\d+ \(\d+(-\d+)?\)", line) for line in found)


def test_what_does_not_fit_is_counted(crowd: Record) -> None:
    lines = drawn(crowd, more="popgrad show DIR --tree --all")
    text = " ".join(" ".join(lines).split())
    shown = sum("present" in line or "winner" in line for line in branches(lines))
    hidden = int(re.search(r"and (\d+) more members", text)[1])  # type: ignore[index]
    assert shown + hidden == 30
    assert sum(int(count) for count in re.findall(r"\+(\d+) member", text)) == hidden
    assert "popgrad show DIR --tree --all" in text


def test_all_of_it_has_every_member(crowd: Record) -> None:
    found = branches(drawn(crowd, every_branch=True))
    assert sum("present" in line or "winner" in line for line in found) == 30
    assert not any("died out" in line for line in found)
    assert "more member" not in " ".join(drawn(crowd, every_branch=True))


def leaves(branch: dict[str, Any]) -> Iterator[int]:
    yield from (each["member"] for each in branch["present"])
    for each in branch["branches"]:
        yield from leaves(each)


def test_the_json_is_nested_and_strict(crowd: Record) -> None:
    data = json.loads(json.dumps(tree_data(crowd), allow_nan=False))
    assert sorted(member for each in data["founders"] for member in leaves(each)) == [*range(30)]
    first = data["founders"][0]
    assert data["winner"] == [crowd.winner.member, crowd.winner.interval]
    assert first["present"][-1] == {"member": crowd.winner.member, "segment": data["winner"]}
    assert first["score"] == crowd.winner.score
    assert first["path"][0]["first_interval"] == 0
    starts = {tuple(each["after"]) for each in first["branches"]}
    assert starts <= {segment.id for segment in crowd.lineage()}
    assert data["left_out"]["branches"] + len(data["founders"]) == 30

    whole = tree_data(crowd, every_branch=True)
    assert whole["left_out"] == {"branches": 0, "segments": 0}
    assert len(whole["founders"]) == 30


def test_a_population_that_has_changed_its_size_has_a_tree(tmp_path: Path) -> None:
    given: dict[str, Any] = {"executor": "serial", "progress": False}
    popgrad.run("quadratic", population=6, intervals=4, directory=tmp_path / "run", **given)
    for population, intervals in ((3, 6), (8, 9)):
        popgrad.resume(tmp_path / "run", population=population, intervals=intervals, progress=False)
        record = popgrad.load(tmp_path / "run").record
        data = tree_data(record)
        members = sorted(member for each in data["founders"] for member in leaves(each))
        assert members == [*record.last] == [*range(population)]


def test_a_metric_with_a_strange_name_stays_in_its_column(crowd: Record) -> None:
    strange = replace(crowd, score_name="[bold]x" * 3)
    assert any("[bold]x[bold]x" in line for line in drawn(strange, 120))
