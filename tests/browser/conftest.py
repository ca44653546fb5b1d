"""A real browser, Debian's Chromium driven by Playwright, and pages that notice every error and request."""

import os
import shutil
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest

CHROMIUM = os.environ.get("POPGRAD_BROWSER") or shutil.which("chromium")
REQUIRED = os.environ.get("POPGRAD_REQUIRE_BROWSER") == "1"


# Not for the session: as long as Playwright is open, its event loop runs in this thread, and no other can.
@pytest.fixture(scope="module")
def browser() -> Iterator[Any]:
    """A browser; the test is skipped if there is none."""
    try:
        from playwright.sync_api import sync_playwright
    except ImportError:
        sync_playwright = None  # type: ignore[assignment]
    if CHROMIUM is None or not Path(CHROMIUM).exists() or sync_playwright is None:
        if REQUIRED:
            pytest.fail(
                "POPGRAD_REQUIRE_BROWSER is set, but there is no chromium, or no playwright"
            )
        pytest.skip("no browser: install chromium, and playwright for Python")

    with sync_playwright() as playwright:
        started = playwright.chromium.launch(executable_path=CHROMIUM, args=["--no-sandbox"])
        yield started
        started.close()


@dataclass
class Seen:
    """A page, and all that it has complained about or asked for.

    Attributes:
        page: The page of Playwright.
        errors: Messages of its console that are no plain log, and exceptions.
        requests: Addresses of its requests, data: left out.
    """

    page: Any
    errors: list[str] = field(default_factory=list)
    requests: list[str] = field(default_factory=list)

    def frames(self, count: int = 2) -> None:
        """Wait until the page has drawn."""
        wait = """(n) => new Promise((done) => {
          const next = () => (n-- ? requestAnimationFrame(next) : done());
          next();
        })"""
        self.page.evaluate(wait, count)

    def row(self) -> int:
        """Row that is selected."""
        return int(self.page.evaluate("popgrad.selection.row"))

    def show(self, view: str) -> Any:
        """Scroll to a view, and return its element once it is drawn."""
        panel = self.page.locator(f'[data-view="{view}"]')
        panel.scroll_into_view_if_needed()
        panel.locator(".view > *").first.wait_for(state="attached")
        self.frames(3)
        return panel


@pytest.fixture
def seen(browser: Any) -> Iterator[Callable[..., Seen]]:
    """Opens an address in a page of its own; options are those of a context of Playwright."""
    contexts = []

    def open_page(address: str, **options: Any) -> Seen:
        given = {"viewport": {"width": 1280, "height": 800}, **options}
        context = browser.new_context(**given)
        contexts.append(context)
        page = context.new_page()
        page.set_default_timeout(20_000)
        found = Seen(page)
        page.on("console", lambda message: found.errors.append(message.text))
        page.on("pageerror", lambda error: found.errors.append(str(error)))
        page.on(
            "request",
            lambda request: (
                None if request.url.startswith("data:") else found.requests.append(request.url)
            ),
        )
        page.goto(address)
        return found

    yield open_page
    for context in contexts:
        context.close()
