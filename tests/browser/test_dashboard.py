"""The dashboard in a real browser: the list, a comparison, a run as it grows, and a server that goes away."""

import re
import subprocess
import threading
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

import popgrad
from dashboard.conftest import served
from popgrad.dashboard.runs import run_id
from program import start_program

pytestmark = pytest.mark.slow


@pytest.fixture(scope="module")
def runs(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("runs")
    for name, strategy, size in (("b", "pbt", 3), ("a", "random-search", 4), ("c", "pbt", 5)):
        popgrad.run(
            "quadratic",
            population=size,
            intervals=5,
            interval=2,
            strategy=strategy,
            executor="serial",
            directory=folder / name,
            outputs=False,
            progress=False,
        )
    return folder


def names(page: Any) -> list[str]:
    return list(page.locator(".runs tbody tr td:nth-child(2)").all_inner_texts())


def test_the_list_is_sorted_by_a_click_and_opens_and_compares_runs(
    seen: Callable[..., Any], runs: Path
) -> None:
    with served(runs) as client:
        opened = seen(f"http://127.0.0.1:{client.port}/")
        page = opened.page
        page.locator(".runs tbody tr").nth(2).wait_for()
        assert names(page) == ["c", "a", "b"]  # the latest first
        for column, order in (
            ("Run", ["a", "b", "c"]),
            ("Members", ["b", "a", "c"]),
            ("Members", ["c", "a", "b"]),
            ("Strategy", ["b", "c", "a"]),
        ):
            page.get_by_role("button", name=column, exact=True).click()
            assert names(page) == order, column
        assert page.locator("th[aria-sort=ascending]").inner_text().startswith("Strategy")

        compare = page.get_by_role("button", name="Compare")
        assert compare.is_disabled()
        page.get_by_label("Compare a").check()
        page.get_by_label("Compare b").check()
        page.get_by_role("button", name="Compare 2 runs").click()
        page.locator(".comparison canvas").first.wait_for()
        page.go_back()

        page.get_by_role("link", name="b", exact=True).click()
        for view in page.evaluate("Object.keys(popgrad.views).filter((name) => name !== 'card')"):
            opened.show(view)
        assert page.title() == "b · popgrad"
        page.evaluate("popgrad.selection.select(4)")
        # The card comes from the server.
        page.get_by_text(re.compile("^popgrad replay")).wait_for()
        page.go_back()
        page.locator(".runs tbody tr").first.wait_for()

    base = f"http://127.0.0.1:{client.port}/"
    assert opened.errors == []
    assert not [address for address in opened.requests if not address.startswith(base)]


class Paced:
    """A run in a thread that waits after each interval until it may train another."""

    def __init__(self, directory: Path, intervals: int) -> None:
        self._may = threading.Semaphore(2)
        self.thread = threading.Thread(target=self._train, args=(directory, intervals))
        self.thread.start()

    def _train(self, directory: Path, intervals: int) -> None:
        popgrad.run(
            "quadratic",
            population=4,
            intervals=intervals,
            interval=2,
            executor="serial",
            directory=directory,
            outputs=False,
            progress=False,
            on_interval=lambda _: self._may.acquire(timeout=60) and None,
        )

    def proceed(self, intervals: int) -> None:
        """Let it train so many intervals more."""
        self._may.release(intervals)


def test_a_run_is_seen_as_it_grows(seen: Callable[..., Any], tmp_path: Path) -> None:
    run = Paced(tmp_path / "run", 12)
    try:
        end = time.monotonic() + 60
        while not (tmp_path / "run" / "journal.db").exists() and time.monotonic() < end:
            time.sleep(0.02)
        with served(tmp_path) as client:
            opened = seen(f"http://127.0.0.1:{client.port}/#run={run_id(tmp_path / 'run')}")
            page = opened.page
            page.wait_for_function("() => popgrad.current.run.n === 12")
            page.locator(".connection.is-live").wait_for()
            page.get_by_text("in progress").wait_for()
            lineage = opened.show("lineage")
            before = lineage.screenshot()
            page.evaluate("popgrad.selection.select(1)")

            run.proceed(4)
            page.wait_for_function("() => popgrad.current.run.n === 28")
            opened.frames(3)
            assert lineage.screenshot() != before
            assert opened.row() == 1

            run.proceed(20)
            page.get_by_text("finished 12 of 12 intervals").wait_for()
            assert page.evaluate("popgrad.current.run.n") == 48
            assert page.inner_text(".side h2") == "Member 1 · interval 0"
            assert page.locator(".connection.is-live").count() == 0
        assert opened.errors == []
    finally:
        run.proceed(20)
        run.thread.join(60)
    assert not run.thread.is_alive()


def started(folder: Path, port: int) -> tuple[subprocess.Popen[str], str]:
    """A server in a process of its own, and its address."""
    process = start_program("dashboard", str(folder), "--port", str(port))
    assert process.stdout is not None
    address = process.stdout.readline().split()[0]
    return process, address


def test_a_server_that_goes_away_is_waited_for(seen: Callable[..., Any], runs: Path) -> None:
    process, address = started(runs, 0)
    try:
        opened = seen(f"{address}#run={run_id(runs / 'c')}")
        opened.page.wait_for_function("() => popgrad.current.run.n === 25")
        banner = opened.page.locator(".banner")
        assert banner.is_hidden()
    finally:
        process.kill()
        process.communicate()
    banner.wait_for()
    assert "connects again by itself" in banner.inner_text()
    # What was shown stays, and can be used.
    assert opened.page.evaluate("popgrad.current.run.n") == 25
    opened.page.evaluate("popgrad.selection.select(7)")
    opened.page.get_by_text("The card cannot be had").wait_for()

    process, _ = started(runs, int(address.rstrip("/").rsplit(":")[-1]))
    try:
        banner.wait_for(state="hidden")
        assert opened.page.evaluate("popgrad.current.run.n") == 25
    finally:
        process.kill()
        process.communicate()
    assert [each for each in opened.errors if "ERR_" not in each] == []
