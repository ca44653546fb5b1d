"""What each address answers with."""

import json
import os
import shlex
import shutil
import sqlite3
from contextlib import closing
from pathlib import Path

import pytest
from torch import nn, optim

import popgrad
from popgrad.core.segment import Telemetry
from popgrad.dashboard.runs import run_id
from popgrad.store.journal import Journal
from popgrad.views.card import card
from popgrad.views.columns import all_columns
from program import contents
from program import popgrad as popgrad_program

from .conftest import Client, served


@pytest.fixture
def result(finished: Path) -> popgrad.Result:
    return popgrad.load(finished)


def test_the_page_and_its_files(client: Client) -> None:
    page = client.get("/")
    assert page.status == 200
    assert page.headers["content-type"] == "text/html; charset=utf-8"
    script = client.get("/static/vendor/d3.min.js")
    assert script.headers["content-type"] == "text/javascript; charset=utf-8"
    assert script.body.startswith(b"// https://d3js.org v7.9.2")
    assert client.get("/static/vendor/uPlot.min.css").headers["content-type"].startswith("text/css")


def test_the_page_loads_nothing_from_elsewhere(client: Client) -> None:
    assert b"//" not in client.get("/").body.replace(b"<!doctype html>", b"")


def test_every_answer_has_strict_headers(client: Client, finished: Path) -> None:
    for path in ("/", "/api/runs", "/nothing", f"/api/runs/{run_id(finished)}"):
        headers = client.get(path).headers
        assert headers["content-security-policy"].startswith(
            "default-src 'none'; script-src 'self';"
        )
        assert "unsafe" not in headers["content-security-policy"]
        assert headers["x-content-type-options"] == "nosniff"
        assert headers["referrer-policy"] == "no-referrer"
        assert headers["cross-origin-resource-policy"] == "same-origin"
        assert headers["cache-control"] == "no-store"
        assert "server" not in headers


# --- the list -------------------------------------------------------------------------------------


def test_the_list_has_a_line_for_each_run(
    client: Client, runs: Path, result: popgrad.Result
) -> None:
    lines = {line["name"]: line for line in client.get("/api/runs").json["runs"]}
    assert lines.keys() == {"pbt/0", "pbt/1", "random-search/0", "random-search/1"}
    line = lines["pbt/0"]
    assert line["id"] == run_id(runs / "pbt" / "0")
    assert line["path"] == str(runs / "pbt" / "0")
    assert (line["task"], line["strategy"], line["score"]) == ("quadratic", "pbt", "q")
    assert (line["members"], line["intervals"], line["completed"]) == (4, 6, 6)
    assert (line["state"], line["status"]) == ("finished", "finished 6 of 6 intervals")
    assert line["best"] == max(segment.score for segment in result.segments)
    assert line["lower_is_better"] is False
    began = min(each.began for each in result.telemetry.values() if each.began is not None)
    assert line["began"] == began <= line["changed"]


def test_the_list_follows_a_run(tmp_path: Path, finished: Path) -> None:
    directory = tmp_path / "run"
    with served(tmp_path) as client:
        assert client.get("/api/runs").json == {"runs": []}
    shutil.copytree(finished, directory)
    result = popgrad.load(directory)
    with served(tmp_path) as client, closing(Journal(directory / "journal.db")) as journal:
        (before,) = client.get("/api/runs").json["runs"]
        last = result.segments[-1]
        better = popgrad.Segment(
            **{**last.__dict__, "interval": last.interval + 1, "score": 100.0}  # type: ignore[arg-type]
        )
        journal.append_segments([better], [Telemetry()])
        journal.set_about(stopped="unfinished")
        (after,) = client.get("/api/runs").json["runs"]
    assert (before["best"], before["state"]) == (result.record.best_ever.score, "finished")
    assert (after["best"], after["state"]) == (100.0, "interrupted")
    assert after["segments"] == before["segments"] + 1


def test_a_run_that_cannot_be_read_is_listed_with_the_reason(
    tmp_path: Path, finished: Path
) -> None:
    for name in ("foreign", "text", "other"):
        shutil.copytree(finished, tmp_path / name)
    (tmp_path / "text" / "journal.db").write_text("no database" * 99)
    with closing(sqlite3.connect(tmp_path / "foreign" / "journal.db")) as database:
        database.executescript("CREATE TABLE more (x)")
    with closing(sqlite3.connect(tmp_path / "other" / "journal.db")) as database:
        database.executescript("UPDATE about SET value = '\"x\"' WHERE key = 'sizes'")
    with served(tmp_path) as client:
        errors = {line["name"]: line["error"] for line in client.get("/api/runs").json["runs"]}
        for name in errors:
            answer = client.get(f"/api/runs/{run_id(tmp_path / name)}")
            assert (answer.status, list(answer.json)) == (422, ["error"])
    assert "not a database" in errors["text"]
    assert "other tables" in errors["foreign"]
    assert "sizes" in errors["other"]


# --- a run ----------------------------------------------------------------------------------------


def test_a_whole_run_is_that_of_its_record(
    client: Client, finished: Path, result: popgrad.Result
) -> None:
    whole = client.get(f"/api/runs/{run_id(finished)}").json
    columns = all_columns(result.segments, result.telemetry, result.space, result.record.ranking)
    assert whole["segments"] == json.loads(json.dumps(columns))
    head = whole["header"]
    assert head["winner"] == list(result.record.winner.id)
    assert head["present"] == [list(each.id) for each in result.record.last.values()]
    assert head["spent"] == result.record.spent
    assert head["status"]["text"] == "finished 6 of 6 intervals"


def test_the_card_of_a_segment(client: Client, finished: Path, result: popgrad.Result) -> None:
    heir = next(each for each in result.segments if each.id in result.record.copied)
    assert heir.source is not None
    found = client.get(f"/api/runs/{run_id(finished)}/segments/{heir.member}/{heir.interval}").json
    expected = card(
        heir, result.telemetry[heir.id], result.record.by_id[heir.source], checkpoint=False
    )
    assert found | {"replay": ""} == json.loads(json.dumps(expected))


def test_a_card_names_the_replay_of_its_segment(client: Client, finished: Path) -> None:
    card = client.get(f"/api/runs/{run_id(finished)}/segments/2/3").json
    command = ["popgrad", "replay", str(finished), "--member", "2", "--interval", "3"]
    assert shlex.split(card["replay"]) == command
    done = popgrad_program(*command[1:])
    assert done.code == 0
    assert "member 2, interval 3: bit-identical" in done.out


@pytest.mark.parametrize(
    "where", ["9/0", "0/99", "-1/0", "0/x", f"0/{10**17}", "0/" + "9" * 40, "٣/0"]
)
def test_there_is_no_card_of_a_segment_that_is_not_recorded(
    client: Client, finished: Path, where: str
) -> None:
    quoted = where.encode().decode("latin-1")
    answer = client.get(f"/api/runs/{run_id(finished)}/segments/{quoted}".replace("Ù£", "%D9%A3"))
    assert (answer.status, answer.json) == (404, {"error": "there is no such segment"})


def test_the_schedule_of_any_lineage(
    client: Client, finished: Path, result: popgrad.Result
) -> None:
    address = f"/api/runs/{run_id(finished)}/schedule"
    assert client.get(address).body.decode() == result.schedule().to_json()
    table = client.get(f"{address}?format=csv&member=2")
    assert table.body.decode() == result.schedule(2).to_csv()
    assert table.headers["content-type"] == "text/csv; charset=utf-8"
    lineage = client.get(f"{address}?member=1&interval=3").body.decode()
    assert lineage == result.schedule((1, 3)).to_json()
    assert client.get(f"{address}?format=xml").status == 400
    assert client.get(f"{address}?member=99").status == 400
    assert client.get(f"{address}?interval=1").status == 400


def test_the_scheduler_of_a_lineage_sets_its_values(client: Client, finished: Path) -> None:
    source = client.get(f"/api/runs/{run_id(finished)}/schedule?format=torch").body.decode()
    names: dict[str, object] = {}
    exec(source, names)
    optimizer = optim.SGD(nn.Linear(1, 1).parameters(), lr=1.0)
    names["Schedule"](optimizer)  # type: ignore[operator]
    schedule = popgrad.load(finished).schedule()
    for step in range(schedule.steps):
        assert names["value"]("h0", step) == schedule.at(step)["h0"]  # type: ignore[operator]


# --- comparison -----------------------------------------------------------------------------------


def test_the_comparison_groups_runs_over_seeds(client: Client, runs: Path) -> None:
    ids = "&".join(f"run={line['id']}" for line in client.get("/api/runs").json["runs"])
    found = client.get(f"/api/compare?{ids}").json
    (problem,) = found["problems"]
    assert (problem["label"], problem["score"], problem["lower_is_better"]) == (
        "quadratic",
        "q",
        False,
    )
    assert [group["label"] for group in problem["groups"]] == ["pbt", "random-search"]
    group = problem["groups"][0]
    assert [(run["name"], run["seed"]) for run in group["runs"]] == [("pbt/0", 0), ("pbt/1", 1)]
    assert group["steps"] == group["runs"][0]["steps"] == [8, 16, 24, 32, 40, 48]
    last = [run["best"][-1] for run in group["runs"]]
    assert group["best"]["value"][-1] == pytest.approx(sum(last) / 2)
    assert group["best"]["low"][-1] == pytest.approx(min(last))
    assert group["best"]["high"][-1] == pytest.approx(max(last))
    assert found["sentences"] == list(popgrad.compare(runs).sentences)
    assert found["errors"] == []


def test_a_comparison_leaves_out_copies_and_what_is_damaged(tmp_path: Path, finished: Path) -> None:
    for name in ("a", "b", "broken"):
        shutil.copytree(finished, tmp_path / name)
    (tmp_path / "broken" / "journal.db").write_bytes(b"x" * 999)
    with served(tmp_path) as client:
        ids = "&".join(f"run={run_id(tmp_path / name)}" for name in ("a", "b", "broken"))
        found = client.get(f"/api/compare?{ids}").json
        assert client.get("/api/compare").status == 400
        assert client.get("/api/compare?run=0").status == 404
    assert [run["name"] for run in found["problems"][0]["groups"][0]["runs"]] == ["a"]
    errors = {each["name"]: each["error"] for each in found["errors"]}
    assert errors.keys() == {"b", "broken"}
    assert "counts once" in errors["b"]


# --- nothing is written ---------------------------------------------------------------------------


def test_nothing_is_written(tmp_path: Path, finished: Path) -> None:
    directory = Path(shutil.copytree(finished, tmp_path / "run"))
    before = contents(tmp_path)
    for path in [*directory.iterdir(), directory]:
        path.chmod(path.stat().st_mode & ~0o222)
    with served(tmp_path) as client:
        run = f"/api/runs/{run_id(directory)}"
        for address in ("/api/runs", run, f"{run}/segments/0/0", f"{run}/schedule"):
            assert client.get(address).status == 200
        assert client.get(f"/api/compare?run={run_id(directory)}").status == 200
        with client.events(directory) as events:
            assert [events.next()[0] for _ in range(3)] == ["start", "header", "segments"]
    directory.chmod(0o755)
    assert contents(tmp_path) == before
    assert sorted(os.listdir(directory)) == sorted(os.listdir(finished))
