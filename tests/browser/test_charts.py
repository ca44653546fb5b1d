"""The charts of a run in a real browser: what they draw, say, mark and find under the pointer."""

from collections.abc import Iterator
from typing import Any

import pytest

from popgrad.core.space import Constant, Space
from popgrad.reports.page import write_page
from popgrad.views.columns import all_columns
from popgrad.views.header import header
from popgrad.views.plain import Json
from popgrad.views.run_data import run_data
from toy_records import Toy, toy

pytestmark = pytest.mark.slow

VIEWS = ("schedule", "scores", "founders", "copies", "results", "timeline")
FINISHED = {"state": "finished", "text": "finished"}

TOYS = {
    "tiny": toy(),
    "failures": toy(9, 12, failures=0.2, seed=1),
    "all failed": toy(3, 2, failures=1.0, seed=4),
    "one member": toy(1, 5),
    "one interval": toy(5, 1),
    "constants": toy(3, 4, space=Space({"decay": Constant(1e-5)})),
    "pause, lowest loss": toy(4, 6, pause=3600.0, score_name="-loss"),
    "no clock": toy(3, 3, clock=False),
    "many members": toy(130, 3),
}

# Draws a view of a run beside the page, and returns what can be seen of it.
SETUP = """
window.draw = (name, data, theme) => {
  document.documentElement.dataset.theme = theme || "light";
  if (window.drawn) { drawn.view.destroy(); drawn.place.remove(); }
  popgrad.selection.select(-1); popgrad.selection.setHover(-1);
  const place = popgrad.element("div", {});
  place.style.width = "640px"; place.style.position = "absolute"; place.style.left = "0";
  place.style.top = "0"; place.style.zIndex = "99"; place.style.background = popgrad.theme().background;
  document.body.append(place);
  const tools = popgrad.element("div", {});
  place.append(tools);
  const run = new popgrad.Run(data.header);
  if (data.segments) run.append(data.segments);
  const source = { schedule: (row, format) => Promise.resolve(`${format} of ${row}`) };
  window.drawn = { place, run, tools, view: popgrad.views[name].create(place, run, { source, tools }) };
};
window.pixels = (sheet) => {
  const canvas = drawn.place.querySelector(sheet);
  return canvas.getContext("2d").getImageData(0, 0, canvas.width, canvas.height).data;
};
window.ink = (sheet) => {
  const all = pixels(sheet);
  let sum = 0;
  for (let i = 3; i < all.length; i += 4) sum += all[i] > 0;
  return sum;
};
window.close = (all, i, { r, g, b }) =>
  all[i + 3] > 200 && Math.abs(all[i] - r) + Math.abs(all[i + 1] - g) + Math.abs(all[i + 2] - b) < 12;
window.has = (sheet, colour) => {
  const [wanted, all] = [d3.rgb(colour), pixels(sheet)];
  let sum = 0;
  for (let i = 0; i < all.length; i += 4) sum += close(all, i, wanted);
  return sum;
};
window.over = (type, x, y) => {
  const root = drawn.place.querySelector(".chart");
  const box = root.getBoundingClientRect();
  const place = { clientX: box.left + x, clientY: box.top + y, bubbles: true };
  root.dispatchEvent(new PointerEvent(type, place));
};
window.frame = () => new Promise((done) => requestAnimationFrame(() => requestAnimationFrame(done)));
"""


def data_of(given: Toy) -> Json:
    record, telemetry = given
    return {
        "header": header(record, name="toy", status=FINISHED),
        "segments": all_columns(record.segments, telemetry, record.space, record.ranking),
    }


@pytest.fixture(scope="module")
def page(browser: Any, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Any]:
    """A page with the scripts; what goes wrong in it fails the test that is running."""
    record, telemetry = TOYS["tiny"]
    path = tmp_path_factory.mktemp("page") / "report.html"
    write_page(run_data(record, telemetry, name="toy", status=FINISHED), path)
    opened = browser.new_page(viewport={"width": 1280, "height": 800})
    opened.errors = []
    opened.on("pageerror", lambda error: opened.errors.append(str(error)))
    opened.on("console", lambda said: said.type == "error" and opened.errors.append(said.text))
    opened.goto(path.as_uri())
    opened.evaluate(f"() => {{{SETUP}}}")
    yield opened
    opened.close()


@pytest.fixture(autouse=True)
def _no_errors(page: Any) -> Iterator[None]:
    yield
    assert page.errors == []


def draw(page: Any, view: str, name: str, theme: str = "light") -> None:
    page.evaluate(
        "([view, data, theme]) => draw(view, data, theme)", [view, data_of(TOYS[name]), theme]
    )


def words(page: Any) -> str:
    return page.evaluate("() => drawn.place.innerText")


@pytest.mark.parametrize("name", TOYS)
def test_every_view_draws_every_run(page: Any, name: str) -> None:
    for view in VIEWS:
        draw(page, view, name)
        # Even a view without anything to draw says so.
        assert page.evaluate("() => ink('.chart-base')") > 200, view
        page.evaluate("() => { drawn.view.update(); drawn.view.resize(); }")


@pytest.mark.parametrize("view", VIEWS)
def test_a_run_without_segments_says_so_and_grows(page: Any, view: str) -> None:
    data = data_of(TOYS["tiny"])
    empty = {"header": {**data["header"], "winner": None, "present": []}}
    page.evaluate("([view, data]) => draw(view, data)", [view, empty])
    before = page.evaluate("() => ink('.chart-base')")
    page.evaluate("() => drawn.view.update()")
    page.evaluate(
        """(data) => {
          drawn.run.setHeader(data.header);
          drawn.run.append(data.segments);
          drawn.view.update();
        }""",
        data,
    )
    assert 100 < before < page.evaluate("() => ink('.chart-base')")


@pytest.mark.parametrize("theme", ["light", "dark"])
def test_the_winner_stands_out(page: Any, theme: str) -> None:
    for view in ("schedule", "scores", "results"):
        draw(page, view, "tiny", theme)
        assert page.evaluate("() => has('.chart-base', popgrad.theme().winner)") > 60, view


@pytest.mark.parametrize("view", VIEWS)
def test_a_selected_segment_is_marked_and_the_data_are_not_drawn_again(
    page: Any, view: str
) -> None:
    draw(page, view, "tiny")
    page.evaluate("() => frame()")
    assert page.evaluate("() => ink('.chart-top')") == 0
    row = page.evaluate("() => drawn.run.copied.indexOf(1)")
    page.evaluate(
        """() => {
          window.calls = 0;
          const context = drawn.place.querySelector(".chart-base").getContext("2d");
          const plain = context.clearRect.bind(context);
          context.clearRect = (...box) => { calls += 1; plain(...box); };
        }"""
    )
    page.evaluate("(row) => { popgrad.selection.select(row); return frame(); }", row)
    assert page.evaluate("() => has('.chart-top', popgrad.theme().selected)") > 20
    page.evaluate(
        "() => { popgrad.selection.select(-1); popgrad.selection.setHover(3); return frame(); }"
    )
    assert page.evaluate("() => ink('.chart-top')") > 20
    assert page.evaluate("() => calls") == 0


# Places in the sheets, in pixels, found by asking the view itself would prove nothing: the pointer
# walks over the sheet until it is over a segment.
WALK = """async () => {
  const { width, height } = drawn.place.querySelector(".chart").getBoundingClientRect();
  const tip = () => document.querySelector(".tooltip");
  for (let y = 20; y < height; y += 4) for (let x = 60; x < width; x += 9) {
    over("pointermove", x, y);
    const row = popgrad.selection.hover;
    if (row < 0) continue;
    const seen = tip().hidden ? "" : tip().innerText;
    over("click", x, y);
    await frame();
    const result = { row, seen, chosen: popgrad.selection.row, ink: ink(".chart-top") };
    over("pointerleave", x, y);
    return { ...result, after: popgrad.selection.hover, hidden: tip().hidden };
  }
  return null;
}"""


@pytest.mark.parametrize("view", VIEWS)
def test_the_pointer_finds_segments_and_a_click_selects_them(page: Any, view: str) -> None:
    draw(page, view, "tiny")
    found = page.evaluate(WALK)
    assert found is not None
    assert found["row"] == found["chosen"] >= 0
    assert "ember" in found["seen"]
    assert found["ink"] > 20
    assert found["after"] == -1
    assert found["hidden"]


def test_a_point_of_the_scores_is_where_its_numbers_say(page: Any) -> None:
    draw(page, "scores", "tiny")
    # The last segment of the winner is the star, and nothing of its colour is further right.
    row = page.evaluate(
        """() => {
          const [all, wanted] = [pixels(".chart-base"), d3.rgb(popgrad.theme().winner)];
          const wide = drawn.place.querySelector(".chart-base").width;
          let [right, y] = [0, 0];
          for (let i = 0; i < all.length; i += 4) {
            const x = (i / 4) % wide;
            if (x > right && close(all, i, wanted)) [right, y] = [x, Math.floor(i / 4 / wide)];
          }
          over("pointermove", right - 6, y);
          return popgrad.selection.hover;
        }"""
    )
    assert row == page.evaluate("() => drawn.run.winner")


def test_failures_are_marked_and_explained(page: Any) -> None:
    for view in ("scores", "results"):
        draw(page, view, "failures")
        assert "failed" in words(page)
        draw(page, view, "tiny")
        assert "failed" not in words(page)


def test_the_schedule_names_constants_and_copies_a_lineage(page: Any) -> None:
    draw(page, "schedule", "tiny")
    assert "Constant: decay = 1e\u22125." in words(page)
    page.evaluate(
        """() => {
          window.copied = [];
          const value = { writeText: async (text) => copied.push(text) };
          Object.defineProperty(navigator, "clipboard", { configurable: true, value });
        }"""
    )
    for button in ("JSON", "CSV", "PyTorch"):
        page.evaluate(
            """(name) => {
              const all = [...drawn.tools.querySelectorAll("button")];
              all.find((each) => each.innerText === name).click();
            }""",
            button,
        )
    page.evaluate(
        "() => { popgrad.selection.select(2); drawn.tools.querySelector('button').click(); return frame(); }"
    )
    winner = page.evaluate("() => drawn.run.winner")
    expected = [f"json of {winner}", f"csv of {winner}", f"torch of {winner}", "json of 2"]
    assert page.evaluate("() => copied") == expected
    assert "copied" in words(page)


def test_founders_warn_in_words(page: Any) -> None:
    TOYS["early"] = toy(6, 40, seed=2)
    draw(page, "founders", "early")
    assert "nearly all members descend from one founder" in words(page)
    draw(page, "founders", "one interval")
    assert not page.query_selector(".chart-warning:not([hidden])")


def test_copies_are_counted_in_words_and_binned_if_there_are_many_members(page: Any) -> None:
    draw(page, "copies", "tiny")
    count = sum(data_of(TOYS["tiny"])["segments"]["copied"])
    assert f"{count} copies from" in words(page)
    assert "Each cell" not in words(page)
    draw(page, "copies", "many members")
    assert "Each cell is 3 \u00d7 3 members." in words(page)


def test_the_time_line_says_how_long_workers_waited(page: Any) -> None:
    draw(page, "timeline", "pause, lowest loss")
    said = words(page)
    assert "Worker 0 waited" in said
    assert "worker 1 waited" in said
    assert "A pause of 1 h" in said
    draw(page, "timeline", "no clock")
    assert "waited" not in words(page)


def test_axes_of_the_results_can_be_chosen(page: Any) -> None:
    draw(page, "results", "tiny")
    before = page.evaluate("() => drawn.place.querySelector('.chart-base').toDataURL()")
    page.evaluate(
        """() => {
          const x = drawn.place.querySelector('select[aria-label="x"]');
          x.value = "h:act"; x.dispatchEvent(new Event("change"));
        }"""
    )
    assert page.evaluate("() => drawn.place.querySelector('.chart-base').toDataURL()") != before
    page.evaluate("() => drawn.view.update()")
    assert page.evaluate("() => drawn.place.querySelector('select').value") == "h:act"


def group(label: str, seeds: int) -> Json:
    runs = [
        {
            "id": f"{label}{seed}",
            "name": f"{label}-<b>{seed}",
            "seed": seed,
            "finished": True,
            "steps": [100, 200, 300 + seed],
            "best": [None, 0.5, 0.6 + seed / 100],
            "median": [None, 0.4, 0.5],
        }
        for seed in range(seeds)
    ]
    band = {"value": [None, 0.5], "low": [None, 0.45], "high": [None, 0.55]}
    return {"label": label, "runs": runs, "steps": [100, 200], "best": band, "median": band}


def test_a_comparison_has_charts_and_a_table_of_its_groups(page: Any) -> None:
    empty = {
        "id": "e",
        "name": "e",
        "seed": 0,
        "finished": False,
        "steps": [],
        "best": [],
        "median": [],
    }
    none = {"value": [], "low": [], "high": []}
    waiting = {"label": "waiting", "runs": [empty], "steps": [], "best": none, "median": none}
    problem = {
        "label": "digits",
        "score": "accuracy",
        "lower_is_better": False,
        "groups": [group("pbt", 3), group("alone", 1), waiting],
    }
    data = {
        "problems": [problem],
        "sentences": ["It helped <b>."],
        "errors": [{"id": "x", "name": "x", "error": "it is damaged"}],
    }
    seen = page.evaluate(
        """(data) => {
          const place = popgrad.element("div", {}); document.body.append(place);
          const chart = popgrad.comparison.create(place, data);
          chart.update(); chart.resize();
          const plots = place.querySelectorAll(".uplot canvas").length;
          const text = place.innerText; const links = place.querySelectorAll("a").length;
          const bold = place.querySelectorAll("b").length;
          chart.destroy(); const left = place.children.length; place.remove();
          return { plots, text, links, bold, left };
        }""",
        data,
    )
    assert (seen["plots"], seen["links"], seen["bold"], seen["left"]) == (2, 5, 0, 0)
    assert "0.5 [0.45, 0.55]" in seen["text"]
    assert "pbt (3 seeds)" in seen["text"]
    assert "300\u2013302" in seen["text"]
    assert "It helped <b>." in seen["text"]
    assert "Left out: x: it is damaged" in seen["text"]
