"""Screenshots of docs/seeing.md, from runs on scikit-learn's digits: each view, light and dark.

python docs/figures/seeing.py [FOLDER]

It takes two minutes, and needs the extra dashboard, Playwright for Python and Debian's chromium (or another
browser, named by POPGRAD_BROWSER). FOLDER keeps the runs for the next time.
"""

import os
import shutil
import sys
import tempfile
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from io import BytesIO
from pathlib import Path
from typing import Any

from PIL import Image
from playwright.sync_api import sync_playwright

import popgrad
from popgrad.dashboard.serve import Server, listen
from popgrad.reports.page import write_page
from popgrad.runs.page import status_row
from popgrad.views.run_data import run_data

IMAGES = Path(__file__).parents[1] / "images" / "seeing"
CHROMIUM = os.environ.get("POPGRAD_BROWSER") or shutil.which("chromium")
MOST = 150_000  # bytes of an image
COLOURS = 160

VIEWS = ("lineage", "schedule", "scores", "founders", "copies", "results", "timeline")


def main() -> None:
    """Train, or find what was trained, and write all images."""
    IMAGES.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory() as temporary:
        folder = Path(sys.argv[1] if len(sys.argv) > 1 else temporary)
        train(folder)
        report = write_report(folder, Path(temporary) / "report.html")
        with served(folder) as address, sync_playwright() as playwright:
            browser = playwright.chromium.launch(executable_path=CHROMIUM, args=["--no-sandbox"])
            for theme in ("light", "dark"):
                draw(browser, theme, report, address)
            browser.close()


def train(folder: Path) -> None:
    """Train three seeds of two strategies, those that are not there yet."""
    for strategy in ("random-search", "pbt"):
        for seed in (2, 1, 0):
            directory = folder / (
                "digits" if (strategy, seed) == ("pbt", 0) else f"{strategy}-{seed}"
            )
            if not directory.exists():
                popgrad.run(
                    "digits",
                    population=10,
                    intervals=20,
                    strategy=strategy,
                    seed=seed,
                    directory=directory,
                    outputs=False,
                    progress=False,
                )


def write_report(folder: Path, path: Path) -> Path:
    """Write the report of the run "digits", as if it lay in runs/."""
    result = popgrad.load(folder / "digits")
    assert result.run_directory is not None
    data = run_data(
        result.record,
        result.telemetry,
        name="digits",
        status=status_row(result.status),
        directory="runs/digits",
        checkpoints=result.run_directory.kept_digests(),
    )
    write_page(data, path)
    return path


@contextmanager
def served(folder: Path) -> Iterator[str]:
    """Give the address of a server of a folder."""
    with listen(0) as opened:
        server = Server([folder], opened)
        thread = threading.Thread(target=server.run)
        thread.start()
        yield f"http://127.0.0.1:{opened.getsockname()[1]}/"
        server.stop()
        thread.join()


def draw(browser: Any, theme: str, report: Path, address: str) -> None:
    """Write the images of a theme: the page, each of its views, a card, the list and a comparison."""
    context = browser.new_context(
        viewport={"width": 1280, "height": 800}, device_scale_factor=1.5, color_scheme=theme
    )
    page = context.new_page()
    page.goto(report.as_uri())
    settle(page)
    save(page.screenshot(), f"page-{theme}")
    for view in VIEWS:
        panel = page.locator(f'[data-view="{view}"]')
        panel.scroll_into_view_if_needed()
        settle(page)
        save(panel.screenshot(), f"{view}-{theme}")

    # A copy behind the winner, whose card has something to say.
    page.evaluate(
        "(() => { const run = popgrad.current.run;"
        " popgrad.selection.select(run.winnerLineage.filter((row) => run.copied[row]).pop()); })()"
    )
    settle(page)
    save(page.locator(".side").screenshot(), f"card-{theme}")

    page.goto(address)
    page.locator(".runs tbody tr").first.wait_for()
    save(page.screenshot(clip={"x": 0, "y": 0, "width": 1280, "height": 360}), f"list-{theme}")
    for box in page.locator(".runs input").all():
        box.check()
    page.get_by_role("button", name="Compare").click()
    page.locator(".comparison canvas").first.wait_for()
    settle(page)
    save(page.screenshot(), f"comparison-{theme}")
    context.close()


def settle(page: Any) -> None:
    """Wait until the page has drawn what came into view."""
    page.wait_for_timeout(400)


def save(png: bytes, name: str) -> None:
    """Write an image with a palette, which makes it small."""
    image = Image.open(BytesIO(png)).convert("RGB").quantize(COLOURS, dither=Image.Dither.NONE)
    path = IMAGES / f"{name}.png"
    image.save(path, optimize=True)
    size = path.stat().st_size
    assert size <= MOST, f"{path.name} has {size:,} bytes, more than {MOST:,}"
    print(f"wrote {path}: {size:,} bytes")


if __name__ == "__main__":
    main()
