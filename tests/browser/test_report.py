"""The report of a run in a real browser: offline, linked views, keyboard, themes, size, hostile names."""

import itertools
import time
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from dashboard.test_page import HOSTILE, data_of, hostile
from popgrad.core.plan import Transform
from popgrad.reports.page import write_page
from toy_records import toy

pytestmark = pytest.mark.slow


@pytest.fixture(scope="module")
def report(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("report") / "report.html"
    write_page(data_of(*toy(6, 12, failures=0.05), verdict="The schedule helped."), path)
    return path


VIEWS = "Object.keys(popgrad.views).filter((name) => name !== 'card')"


def test_a_report_opens_offline_without_an_error_or_a_request(
    seen: Callable[..., Any], report: Path
) -> None:
    opened = seen(report.as_uri(), offline=True)
    names = opened.page.evaluate(VIEWS)
    assert {"lineage", "schedule", "scores"} <= set(names)
    for name in names:
        opened.show(name)
    text = opened.page.inner_text("main")
    assert "The schedule helped." in text
    assert "finished" in text
    assert opened.page.evaluate("popgrad.current.run.n") == 72
    assert (opened.errors, opened.requests) == ([], [report.as_uri()])


def test_a_segment_that_is_selected_anywhere_is_marked_everywhere(
    seen: Callable[..., Any], report: Path
) -> None:
    opened = seen(report.as_uri())
    # A segment that is neither the winner's nor the last of a member.
    row = opened.page.evaluate(
        "(() => { const run = popgrad.current.run; return run.member.findIndex((_, row) =>"
        " run.interval[row] === 5 && !run.failed(row) && !run.winnerLine.has(row)); })()"
    )
    for name in opened.page.evaluate(VIEWS):
        opened.page.evaluate("popgrad.selection.select(-1)")
        panel = opened.show(name)
        before = panel.screenshot()
        assert panel.screenshot() == before, f"{name} changes by itself"
        opened.page.evaluate("(row) => popgrad.selection.select(row)", row)
        opened.frames(3)
        assert panel.screenshot() != before, f"{name} does not mark a selected segment"
        title = opened.page.inner_text(".side h2")
        assert title == opened.page.evaluate(
            "(row) => { const run = popgrad.current.run;"
            " return `Member ${run.member[row]} · interval ${run.interval[row]}`; }",
            row,
        )
    assert opened.errors == []


def test_the_pointer_finds_and_selects_segments_in_every_view(
    seen: Callable[..., Any], report: Path
) -> None:
    opened = seen(report.as_uri())
    for name in opened.page.evaluate(VIEWS):
        opened.page.evaluate("popgrad.selection.select(-1)")
        panel = opened.show(name)
        box = panel.locator(".view").bounding_box()
        height = min(box["height"], 790 - box["y"])
        # Points that are spread over the view, until one lies on a segment.
        points = itertools.product(
            range(60, int(box["width"]) - 20, 23), range(14, int(height), 17)
        )
        for x, y in points:
            opened.page.mouse.move(int(box["x"]) + x, int(box["y"]) + y)
            hover = opened.page.evaluate("popgrad.selection.hover")
            if hover >= 0:
                break
        assert hover >= 0, f"no segment of {name} can be pointed at"
        opened.frames()
        opened.page.mouse.down()
        opened.page.mouse.up()
        assert opened.row() >= 0, f"a click in {name} selects nothing"
    assert opened.errors == []


def test_keys_move_along_lineages_and_between_members(
    seen: Callable[..., Any], report: Path
) -> None:
    opened = seen(report.as_uri())
    page = opened.page
    winner = page.evaluate("popgrad.current.run.winner")
    page.locator('[data-view="lineage"] .view').focus()
    page.keyboard.press("Enter")
    assert opened.row() == winner

    page.keyboard.press("ArrowLeft")
    parent = page.evaluate("(row) => popgrad.current.run.parent[row]", winner)
    assert opened.row() == parent
    assert "accuracy" in page.inner_text("#announce")
    page.keyboard.press("ArrowRight")
    assert opened.row() == winner
    page.keyboard.press("Home")
    assert opened.row() == page.evaluate("popgrad.current.run.winnerLineage[0]")
    page.keyboard.press("End")

    slots = set()
    for _ in range(6):
        page.keyboard.press("ArrowUp")
        slots.add(page.evaluate("(row) => popgrad.current.run.member[row]", opened.row()))
    for _ in range(6):
        page.keyboard.press("ArrowDown")
        slots.add(page.evaluate("(row) => popgrad.current.run.member[row]", opened.row()))
    assert len(slots) >= 5
    page.keyboard.press("Escape")
    assert opened.row() == -1

    # Every control can be reached by the tabulator, and shows that it is.
    page.keyboard.press("Tab")
    assert page.evaluate("getComputedStyle(document.activeElement).outlineStyle") != "none"


# The lineage as it is painted: its pixels, at one for each pixel of the page.
PIXELS = """() => {
  const canvas = document.querySelector("[data-view=lineage] canvas");
  const { data } = canvas.getContext("2d").getImageData(0, 0, canvas.width, canvas.height);
  return { width: canvas.width, all: Array.from(data) };
}"""


def test_a_transform_is_marked_above_the_line_of_the_winner(
    seen: Callable[..., Any], tmp_path: Path
) -> None:
    record, telemetry = toy(4, 6)
    changed = next(each for each in record.lineage() if each.interval == 3)
    shrunk = replace(changed, transform=Transform("shrink-perturb", {"keep": 0.2}))
    segments = tuple(shrunk if each is changed else each for each in record.segments)
    pixels = []
    for name, given in (("plain", record), ("shrunk", replace(record, segments=segments))):
        write_page(data_of(given, telemetry), tmp_path / f"{name}.html")
        opened = seen((tmp_path / f"{name}.html").as_uri())
        legend = opened.show("lineage").locator(".legend").inner_text()
        assert ("weights transformed" in legend) == (name == "shrunk")
        found = opened.page.evaluate(PIXELS)
        pixels.append(np.reshape(found["all"], (-1, found["width"], 4)))
        opened.page.evaluate(
            "([member, interval]) => popgrad.selection.select(popgrad.current.run.rowOf(member, interval))",
            changed.id,
        )
        card = opened.page.inner_text(".side")
        assert ("shrink-perturb (keep 0.2)" in card) == (name == "shrunk")
        assert opened.errors == []

    plain, marked = pixels
    rows, columns = np.nonzero((plain != marked).any(-1))
    middle = (rows.min() + rows.max()) // 2, (columns.min() + columns.max()) // 2
    background = opened.page.evaluate("d3.rgb(popgrad.theme().background)")
    assert marked[middle][:3].tolist() == [background[part] for part in "rgb"]
    assert max(np.ptp(rows), np.ptp(columns)) < 16


def luminance(colour: str) -> float:
    parts = [int(colour[at : at + 2], 16) / 255 for at in (1, 3, 5)]
    linear = [part / 12.92 if part <= 0.04 else ((part + 0.055) / 1.055) ** 2.4 for part in parts]
    return sum(weight * part for weight, part in zip((0.2126, 0.7152, 0.0722), linear, strict=True))


def contrast(first: str, second: str) -> float:
    low, high = sorted((luminance(first), luminance(second)))
    return (high + 0.05) / (low + 0.05)


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_a_theme_follows_the_system_and_the_switch_and_is_readable(
    seen: Callable[..., Any], report: Path, scheme: str
) -> None:
    opened = seen(report.as_uri(), color_scheme=scheme)
    other = {"light": "dark", "dark": "light"}[scheme]
    canvas = "document.querySelector('[data-view=lineage] canvas').toDataURL()"
    assert opened.page.evaluate("document.documentElement.dataset.theme") == scheme
    opened.show("lineage")
    drawn = opened.page.evaluate(canvas)

    theme = opened.page.evaluate("popgrad.theme()")
    for name in ("foreground", "muted", "winner", "accent", "warning", "failed"):
        assert contrast(theme[name], theme["background"]) >= 4.5, name
        assert contrast(theme[name], theme["page"]) >= 4.5, name

    opened.page.get_by_role("button", name="Light or dark").click()
    opened.frames(3)
    assert opened.page.evaluate("document.documentElement.dataset.theme") == other
    assert opened.page.evaluate(canvas) != drawn
    opened.page.reload()
    assert opened.page.evaluate("document.documentElement.dataset.theme") == other


def test_ten_thousand_segments_open_scroll_and_zoom(
    seen: Callable[..., Any], tmp_path: Path
) -> None:
    write_page(data_of(*toy(100, 100, failures=0.01)), tmp_path / "big.html")
    begin = time.monotonic()
    opened = seen((tmp_path / "big.html").as_uri())
    opened.show("lineage")
    assert time.monotonic() - begin < 5
    assert "of their cards are short" in opened.page.inner_text("footer")

    opened.page.evaluate("popgrad.selection.select(popgrad.current.run.winnerLineage[1])")
    for _ in range(6):
        opened.page.get_by_role("button", name="Zoom in").click()
    width = "document.querySelector('.lineage-scroll').scrollWidth"
    assert opened.page.evaluate(width) > 2000
    opened.page.evaluate("document.querySelector('.lineage-scroll').scrollLeft = 1e6")
    opened.frames(3)
    # The end of the run is in view: the last segment of a member can be pointed at.
    box = opened.page.locator(".lineage-stage").bounding_box()
    opened.page.mouse.move(box["x"] + box["width"] - 40, box["y"] + 60)
    hover = opened.page.evaluate("popgrad.selection.hover")
    assert opened.page.evaluate("(row) => popgrad.current.run.interval[row]", hover) >= 95
    # A segment without a card of its own has one from the columns.
    opened.page.evaluate("popgrad.selection.select(0)")
    opened.page.get_by_text("To keep this file small").wait_for()
    assert opened.errors == []


def test_hostile_names_are_shown_and_never_executed(
    seen: Callable[..., Any], tmp_path: Path
) -> None:
    path = tmp_path / "hostile.html"
    write_page(data_of(*hostile(), directory=HOSTILE, verdict=HOSTILE), path)
    opened = seen(path.as_uri())
    dialogs: list[str] = []
    opened.page.on("dialog", lambda dialog: (dialogs.append(dialog.message), dialog.dismiss()))
    opened.page.get_by_role("button", name="Configuration").click()
    for name in opened.page.evaluate(VIEWS):
        opened.show(name)
        for row in (1, 9, 14):
            opened.page.evaluate("(row) => popgrad.selection.select(row)", row)
            opened.frames()
        box = opened.page.locator(f'[data-view="{name}"] .view').bounding_box()
        opened.page.mouse.move(box["x"] + 120, box["y"] + 60)
    text = opened.page.inner_text("body")
    assert "<img src=x onerror=" in text
    assert "\\u202e" in text
    assert not set("\u202e\u2028") & set(text)
    assert opened.page.locator("img").count() == 0
    assert opened.page.locator("script").count() == path.read_text().count("<script")
    assert (dialogs, opened.errors, opened.requests) == ([], [], [path.as_uri()])
