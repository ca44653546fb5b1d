"""The report of a run as one page: what it holds, that nothing in a record breaks out of it, and its size."""

import base64
import hashlib
import json
import math
import re
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from html.parser import HTMLParser
from pathlib import Path
from typing import Any

import pytest

import popgrad
from popgrad.core.errors import UsageError
from popgrad.core.plan import Transform
from popgrad.core.population import SegmentId
from popgrad.core.segment import Telemetry
from popgrad.core.space import Choice, LogUniform, Space, Uniform
from popgrad.record.record import Record
from popgrad.reports.page import page
from popgrad.runs import page as pages
from popgrad.runs.page import write_report
from popgrad.runs.status import run_status
from popgrad.store.directory import Directory
from popgrad.views.plain import Json
from popgrad.views.run_data import run_data
from program import popgrad as program
from toy_records import toy

HOSTILE = '</script><script>alert(1)</script><!-- <img src=x onerror="alert(2)"> \u202e\u2028\ud800\x00 &amp;'
STATUS = {"state": "finished", "text": "finished"}


@dataclass
class Parsed(HTMLParser):
    """The elements of a page: texts of scripts and styles, and addresses of anything else."""

    scripts: list[str] = field(default_factory=list)
    styles: list[str] = field(default_factory=list)
    data: str = ""
    policy: str = ""
    addresses: list[str] = field(default_factory=list)
    tags: list[str] = field(default_factory=list)
    _inside: str = ""

    def __post_init__(self) -> None:
        super().__init__()

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        given = dict(attrs)
        self.tags.append(tag)
        self._inside = tag
        if given.get("type") == "application/json":
            self._inside = "data"
        elif tag == "script":
            self.scripts.append("")
        elif tag == "style":
            self.styles.append("")
        if given.get("http-equiv") == "Content-Security-Policy":
            self.policy = given["content"] or ""
        self.addresses += [value or "" for name, value in attrs if name in ("src", "href")]
        assert not [name for name, _ in attrs if name == "style" or name.startswith("on")]

    def handle_endtag(self, tag: str) -> None:
        self._inside = ""

    def handle_data(self, data: str) -> None:
        if self._inside == "data":
            self.data += data
        elif self._inside == "script":
            self.scripts[-1] += data
        elif self._inside == "style":
            self.styles[-1] += data


def parsed(text: str) -> Parsed:
    found = Parsed()
    found.feed(text)
    found.close()
    return found


def data_of(record: Record, telemetry: Mapping[SegmentId, Telemetry], **more: Any) -> Json:
    return run_data(record, telemetry, name="toy", status=STATUS, **more)


def hostile() -> tuple[Record, dict[SegmentId, Telemetry]]:
    """A record in which every name that may hold anything does."""
    space = Space({"lr": LogUniform(1e-4, 0.1), "act": Choice((HOSTILE, "relu"))})
    record, telemetry = toy(4, 4, space=space, score_name="loss", failures=0.2)
    segments = [
        replace(
            each,
            role=HOSTILE,
            error=HOSTILE if each.failed else "",
            metrics={**each.metrics, HOSTILE: float("nan"), "inf": float("inf")},
            metric_samples={HOSTILE: (float("-inf"), 1.0)},
            transform=Transform(HOSTILE, {}) if each.interval == 2 else None,
        )
        for each in record.segments
    ]
    config = {**record.config, "task": HOSTILE, HOSTILE: HOSTILE, "strategy": {"name": HOSTILE}}
    changed = replace(record, segments=tuple(segments), config=config)
    workers = {each: replace(known, worker=HOSTILE) for each, known in telemetry.items()}
    return changed, workers


# --- the file ---------------------------------------------------------------------------------------


def test_a_page_holds_its_data_and_runs_its_own_scripts_alone() -> None:
    record, telemetry = toy(4, 6)
    data = data_of(record, telemetry, verdict="The schedule helped.")
    found = parsed(page(data))
    assert json.loads(found.data) == json.loads(json.dumps(data))
    assert found.addresses == ["data:,"]

    rules = dict(rule.split(" ", 1) for rule in found.policy.split("; "))
    assert rules["default-src"] == "'none'"
    for rule, texts in (("script-src", found.scripts), ("style-src", found.styles)):
        digests = [
            base64.b64encode(hashlib.sha256(text.encode()).digest()).decode() for text in texts
        ]
        assert rules[rule].split() == [f"'sha256-{digest}'" for digest in digests]
        assert all(texts)
    assert "connect-src" not in rules
    assert "unsafe" not in found.policy


def test_every_view_of_the_dashboard_is_in_a_page() -> None:
    static = Path(popgrad.__file__).parent / "dashboard" / "static"
    text = page(data_of(*toy(2, 2)))
    for path in [*static.glob("*.js"), *static.glob("views/*.js"), *static.glob("*.css")]:
        assert path.read_text() in text, path.name


def test_no_name_in_a_record_can_break_out_of_the_data() -> None:
    data = data_of(*hostile(), directory=HOSTILE, verdict=HOSTILE)
    found = parsed(page(data))
    plain = parsed(page(data_of(*toy(2, 2))))
    assert (found.tags, found.policy) == (plain.tags, plain.policy)
    assert json.loads(found.data)["header"]["task"] == HOSTILE
    page(data).encode()  # half a character of two would not be text


def test_the_size_of_a_page() -> None:
    space = Space({f"h{number}": Uniform(0.0, 1.0) for number in range(8)})
    text = page(data_of(*toy(10, 50, space=space)))
    assert len(text.encode()) < 2_000_000


# --- the data ---------------------------------------------------------------------------------------


def test_cards_that_do_not_fit_are_left_out_and_counted() -> None:
    record, telemetry = toy(6, 20)
    whole = data_of(record, telemetry)
    assert (len(whole["cards"]), whole["cards_left_out"]) == (120, 0)

    small = data_of(record, telemetry, card_bytes=25_000)
    assert 20 < len(small["cards"]) < 100
    assert small["cards_left_out"] == 120 - len(small["cards"])
    line = {f"{each.member}/{each.interval}" for each in record.lineage()}
    assert line <= small["cards"].keys()
    assert whole["segments"] == small["segments"]


def test_a_card_names_its_replay_and_its_checkpoint() -> None:
    record, telemetry = toy(3, 3)
    kept = record.segments[4].digest
    data = data_of(record, telemetry, directory="'my runs/first'", checkpoints={kept})
    card = data["cards"]["1/1"]
    assert card["replay"] == "popgrad replay 'my runs/first' --member 1 --interval 1"
    assert card["checkpoint"] == (card["digest"] == kept)


def test_the_schedule_of_the_winner_is_in_the_page_in_every_format() -> None:
    record, telemetry = toy(4, 6)
    texts = data_of(record, telemetry)["schedules"]
    assert texts["json"] == record.schedule(curves=telemetry).to_json()
    assert texts["csv"] == record.schedule(curves=telemetry).to_csv()
    compile(texts["torch"], "scheduler.py", "exec")

    last = [replace(each, score=math.nan) for each in record.segments]
    failed = replace(record, segments=tuple(last))
    assert data_of(failed, telemetry)["schedules"] == {}


# --- where it is written ----------------------------------------------------------------------------


@pytest.fixture(scope="module")
def finished(tmp_path_factory: pytest.TempPathFactory) -> Path:
    directory = tmp_path_factory.mktemp("report") / "a run"
    popgrad.run(
        "quadratic",
        population=3,
        intervals=3,
        interval=2,
        executor="serial",
        directory=directory,
        outputs=False,
        progress=False,
        report=True,
    )
    return directory


def embedded(path: Path) -> Json:
    data: Json = json.loads(parsed(path.read_text()).data)
    return data


def test_a_run_can_be_told_to_leave_its_report(finished: Path) -> None:
    header = embedded(finished / "report.html")["header"]
    assert header["status"]["text"] == "finished 3 of 3 intervals"
    assert header["name"] == "a run"
    assert header["directory"] == f"'{finished}'"
    assert sorted(path.name for path in finished.glob(".*")) == []


def test_a_result_writes_its_report(finished: Path, tmp_path: Path) -> None:
    result = popgrad.load(finished)
    path = popgrad.report(result, tmp_path / "folder" / "one.html")
    assert path == tmp_path / "folder" / "one.html"
    assert popgrad.report(str(finished)) == finished / "report.html"
    # The time of the page is not in it: the same record gives the same bytes.
    assert path.read_bytes() == (finished / "report.html").read_bytes()


def test_the_command_writes_the_report_with_the_verdict(finished: Path, tmp_path: Path) -> None:
    (finished / "ablation").mkdir()
    summary = finished / "ablation" / "ablation.json"
    for text, verdict in (('{"sentence": "It helped."}', "It helped."), ("[1", ""), ("[]", "")):
        summary.write_text(text)
        done = program("report", str(finished), "-o", str(tmp_path / "one.html"))
        assert done.code == 0, done
        assert embedded(tmp_path / "one.html")["header"]["verdict"] == verdict
        assert re.search(r"one\.html \(\d\.\d MB\): open it in a browser", done.out)
    assert program("report", str(tmp_path)).code == 2


def test_a_report_that_cannot_be_written_says_why(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    record, telemetry = toy(2, 2)
    status = run_status(record, telemetry, "")
    with pytest.raises(UsageError, match="in memory only; name the file"):
        write_report(record, telemetry, status, None)
    empty = replace(record, segments=())
    with pytest.raises(UsageError, match="no finished segment yet"):
        write_report(empty, {}, status, Directory(tmp_path))
    monkeypatch.setattr(pages, "MOST_SEGMENTS", 3)
    with pytest.raises(UsageError, match="4 segments, and a report holds at most 3"):
        write_report(record, telemetry, status, Directory(tmp_path))
    assert list(tmp_path.iterdir()) == []
