"""What a page of the dashboard waits for, what an update and the server cost, and what training pays for it.

python benchmarks/dashboard.py
"""

import http.client
import json
import os
import re
import shutil
import subprocess
import sys
import threading
import time
from collections.abc import Iterator, Sequence
from contextlib import closing, contextmanager
from functools import partial
from pathlib import Path
from typing import Any

from clocked import folder
from measure import SEED, Bench, Row, alternate, begin, finish, seconds

import popgrad
from popgrad.core.segment import Segment, Telemetry
from popgrad.dashboard.feed import Feed
from popgrad.dashboard.runs import run_id
from popgrad.dashboard.serve import Server, listen
from popgrad.store.directory import Directory
from popgrad.store.journal import Journal

SIZES = [(10, 50), (200, 500)]
"""Members and intervals."""
TINY = [(4, 5)]
STEPS = 275
MILLI = 1e3
MEBI = 1 << 10
"""Kibibytes of a mebibyte, as the system counts memory."""
PAINTED = 1.0
"""Seconds until a small run is first seen."""
OPENED = 5.0
"""Seconds that the largest run may take to open, with its page."""
UPDATE = 100.0
"""Milliseconds that an update of a small run may take, with its page."""
DRAWN = "() => new Promise((done) => requestAnimationFrame(() => requestAnimationFrame(done)))"
FIRST_PAINT = "() => performance.getEntriesByName('first-contentful-paint')[0].startTime"
SLOWER = 1.01
WATCHING = 10.0
"""Milliseconds of a second: a hundredth of a core."""
PAUSE = 0.5
"""Seconds between two intervals, no less than between two looks of the server."""


def interval(members: int, number: int) -> list[Segment]:
    """One interval of a record; every fifth member inherits from its neighbour."""
    segments = []
    for member in range(members):
        donor = (member + 1) % members if (member + number) % 5 == 0 else member
        hparams = {"h0": 0.5 + member / members / 2, "h1": 0.1 + number % 7 / 10}
        segments.append(
            Segment(member, number, (donor, number - 1) if number else None, hparams,
                    dict.fromkeys(hparams, "kept"), SEED, STEPS * number, STEPS, 0,
                    number + member / members, {"q": 0.5}, f"{member:064x}", "done")
        )  # fmt: skip
    return segments


def append(journal: Journal, segments: Sequence[Segment]) -> None:
    """Append segments as workers finish them."""
    began = time.time()
    telemetry = [Telemetry(1.0, f"worker {each.member % 8}", began=began) for each in segments]
    journal.append_segments(segments, telemetry)


def written(path: Path, members: int, intervals: int) -> Path:
    """The directory of a synthetic run, of which only the journal exists."""
    popgrad.run(
        "quadratic", population=2, intervals=1, executor="serial", outputs=False, progress=False,
        directory=path / f"facts-{members}",
    )  # fmt: skip
    with Directory(path / f"facts-{members}").reading() as journal:
        facts = journal.about()
    facts["config"] |= {"population": members, "intervals": intervals}
    facts |= {"sizes": [members], "stopped": "finished"}
    facts.pop("format")
    directory = path / f"{members}x{intervals}"
    directory.mkdir()
    with closing(Journal(directory / "journal.db", create=True, about=facts)) as journal:
        for number in range(intervals):
            append(journal, interval(members, number))
    return directory


@contextmanager
def started(directory: Path) -> Iterator[tuple[int, int]]:
    """A server in a process of its own: its number, and its port."""
    command = [sys.executable, "-m", "popgrad", "dashboard", str(directory), "--port", "0"]
    quiet = subprocess.DEVNULL
    with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=quiet, text=True) as process:
        try:
            assert process.stdout is not None
            found = re.search(r":([0-9]+)/", process.stdout.readline())
            assert found is not None
            yield process.pid, int(found[1])
        finally:
            process.terminate()


def opened(port: int, directory: Path, rows: int) -> float:
    """Seconds from the request of a page until it has all segments."""
    start = time.perf_counter()
    connection = http.client.HTTPConnection("127.0.0.1", port)
    connection.request("GET", f"/api/runs/{run_id(directory)}/stream")
    with connection.getresponse() as response:
        read_rows(response, rows)
    spent = time.perf_counter() - start
    connection.close()
    return spent


def read_rows(response: http.client.HTTPResponse, rows: int) -> None:
    """Read events until so many segments have come."""
    received = 0
    name = b""
    while received < rows:
        line = response.readline()
        if line.startswith(b"event: "):
            name = line
        elif line.startswith(b"data: ") and name == b"event: segments\n":
            received += len(json.loads(line[len("data: ") :])["member"])


def browser_rows(
    bench: Bench, port: int, directory: Path, members: int, intervals: int
) -> list[Row]:
    """What a browser waits for; nothing if there is no browser."""
    try:
        from playwright.sync_api import sync_playwright
    except ImportError:
        return []
    chromium = os.environ.get("POPGRAD_BROWSER") or shutil.which("chromium")
    if chromium is None:
        return []
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=chromium, args=["--no-sandbox"])
        address = f"http://127.0.0.1:{port}/#run={run_id(directory)}"
        found = [shown(browser, address, members * intervals) for _ in range(bench.repeat)]
        browser.close()
    painted, drawn = zip(*found, strict=True)
    name = f"{members} x {intervals}"
    goal = PAINTED if (members, intervals) == SIZES[0] else None
    return [
        Row(f"{name}: until a browser paints", "s", {"page": painted}, at_most=goal),
        Row(f"{name}: until it has drawn all segments", "s", {"page": drawn}, at_most=OPENED),
    ]


def shown(browser: Any, address: str, rows: int) -> tuple[float, float]:
    """Seconds until a browser paints something of a page, and until it has drawn all segments."""
    page = browser.new_page(viewport={"width": 1280, "height": 800})
    start = time.perf_counter()
    page.goto(address)
    page.wait_for_function("(n) => popgrad.current?.run?.n === n", arg=rows, polling=20)
    page.evaluate(DRAWN)
    spent = time.perf_counter() - start
    painted = page.evaluate(FIRST_PAINT) / MILLI
    page.close()
    return painted, spent


def listed(port: int) -> float:
    """Seconds of the list of runs."""
    start = time.perf_counter()
    connection = http.client.HTTPConnection("127.0.0.1", port)
    connection.request("GET", "/api/runs")
    connection.getresponse().read()
    connection.close()
    return time.perf_counter() - start


def memory(process: int) -> float:
    """Most memory in MiB that a process has had."""
    status = Path(f"/proc/{process}/status").read_text()
    found = re.search(r"VmHWM:\s+([0-9]+) kB", status)
    assert found is not None
    return int(found[1]) / MEBI


def page_rows(bench: Bench, path: Path, members: int, intervals: int) -> list[Row]:
    """What a page of a run of a size waits for, and what its server takes."""
    directory = written(path, members, intervals)
    name = f"{members} x {intervals}"
    with started(directory) as (process, port):
        listed(port)
        idle = memory(process)
        seconds_open = [opened(port, directory, members * intervals) for _ in range(bench.repeat)]
        after = memory(process)
        lists = [listed(port) * MILLI for _ in range(bench.repeat)]
        browser = browser_rows(bench, port, directory, members, intervals)
    large = (members, intervals) == SIZES[-1]
    return [
        *browser,
        Row(f"{name}: until a page has all segments", "s", {"stream": seconds_open},
            at_most=OPENED if large else None),
        Row(f"{name}: the list of runs, again", "ms", {"list": lists}),
        Row(f"{name}: most memory of the server", "MiB", {"idle": [idle] * 1, "with a page": [after]}),
        update_row(bench, directory, members, intervals),
    ]  # fmt: skip


def update_row(bench: Bench, directory: Path, members: int, intervals: int) -> Row:
    """What one interval costs the server, from the look at the file to the events."""
    feed = Feed(directory, "run")
    more = True
    while more:
        _, more = feed.poll()
    spent = []
    with closing(Journal(directory / "journal.db")) as journal:
        for number in range(intervals, intervals + 3 * bench.repeat):
            append(journal, interval(members, number))
            spent.append(seconds(feed.poll) * MILLI)
    return Row(
        f"{members} x {intervals}: an update of one interval", "ms",
        {"update": [sum(spent) / len(spent)]}, at_most=UPDATE,
    )  # fmt: skip


def watching_row(bench: Bench, path: Path) -> Row:
    """CPU time of a server of its own for each second in which a page watches a run of 10 members."""
    directory = written(path, 10, 5)
    pauses = 4 if bench.smoke else 30
    with started(directory) as (process, port):
        page = threading.Thread(target=follow, args=(port, directory))
        page.start()
        time.sleep(2 * PAUSE)
        before = cpu_seconds(process)
        start = time.perf_counter()
        with closing(Journal(directory / "journal.db")) as journal:
            for number in range(5, 5 + pauses):
                append(journal, interval(10, number))
                time.sleep(PAUSE)
        spent = cpu_seconds(process) - before
        shares = [max(spent, 1e-3) * MILLI / (time.perf_counter() - start)]
    page.join()
    return Row("a server with a page, CPU in a second", "ms", {"server": shares}, at_most=WATCHING)


def cpu_seconds(process: int) -> float:
    """CPU seconds that a process has spent, to a hundredth."""
    fields = Path(f"/proc/{process}/stat").read_text().rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")


# --- training -------------------------------------------------------------------------------------


def trained(path: Path, intervals: int) -> None:
    """Train a population of networks on digits."""
    popgrad.run(
        "digits", population=10, intervals=intervals, interval=100, executor="serial",
        outputs=False, progress=False, directory=path,
    )  # fmt: skip


def alone(path: Path, intervals: int) -> float:
    """CPU seconds of a run that nothing watches."""
    start = time.process_time()
    trained(path / f"alone-{start}", intervals)
    return time.process_time() - start


def watched(path: Path, intervals: int) -> float:
    """CPU seconds of a run with a server and a page that watches it, all in this process."""
    start = time.process_time()
    directory = path / f"watched-{start}"
    with listen(0) as opened_socket:
        server = Server([path], opened_socket)
        port = opened_socket.getsockname()[1]
        threads = [
            threading.Thread(target=server.run),
            threading.Thread(target=follow, args=(port, directory)),
        ]
        for thread in threads:
            thread.start()
        trained(directory, intervals)
        spent = time.process_time() - start
        server.stop()
        for thread in threads:
            thread.join()
    return spent


def follow(port: int, directory: Path) -> None:
    """Read all events of a run, from its start to the end of the server."""
    while not (directory / "journal.db").exists():
        time.sleep(0.05)
    connection = http.client.HTTPConnection("127.0.0.1", port)
    connection.request("GET", f"/api/runs/{run_id(directory)}/stream")
    with closing(connection), connection.getresponse() as response:
        while response.readline():
            pass


def training_row(bench: Bench, path: Path) -> Row:
    """What a run pays for being watched: CPU seconds, pairs in turn."""
    intervals = 2 if bench.smoke else 20
    trained(path / "first", 1)  # imports, and the data
    found = alternate(
        {"watched": partial(watched, path, intervals), "alone": partial(alone, path, intervals)},
        bench.repeat if bench.smoke else 3 * bench.repeat,
    )
    goal = None if bench.smoke else SLOWER
    return Row("training, CPU", "s", found, ("watched", "alone"), at_most=goal)


def main(argv: Sequence[str] | None = None) -> None:
    """Measure, print and write."""
    bench = begin("dashboard", __doc__, argv)
    rows = []
    for members, intervals in TINY if bench.smoke else SIZES:
        with folder() as path:
            rows += page_rows(bench, Path(path), members, intervals)
    with folder() as path:
        rows.append(watching_row(bench, Path(path)))
        rows.append(training_row(bench, Path(path)))
    finish(bench, rows, members_and_intervals=TINY if bench.smoke else SIZES)


if __name__ == "__main__":
    main()
