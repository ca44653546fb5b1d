"""What is wrong with a run is found, each with what to do; a whole one has no problems."""

import json
import shutil
import sqlite3
from collections.abc import Callable
from pathlib import Path

import pytest

import popgrad
from popgrad import doctor
from popgrad.store.directory import Directory
from popgrad.store.journal import Journal
from spies import CLIMB, Spy, odd


@pytest.fixture(scope="module")
def whole(tmp_path_factory: pytest.TempPathFactory) -> Path:
    directory = tmp_path_factory.mktemp("whole")
    popgrad.run(
        odd(),
        population=4,
        intervals=3,
        interval=2,
        executor="serial",
        fraction=0.25,
        directory=directory,
    )
    return directory


@pytest.fixture
def run(whole: Path, tmp_path: Path) -> Path:
    shutil.copytree(whole, tmp_path / "run")
    return tmp_path / "run"


def levels(run: Path) -> dict[str, str]:
    return {finding.about: finding.level for finding in doctor.examine_run(run)}


def found(run: Path, about: str) -> doctor.Finding:
    return next(finding for finding in doctor.examine_run(run) if finding.about == about)


def change(run: Path, statement: str) -> None:
    database = sqlite3.connect(run / "journal.db")
    with database:
        database.execute(statement)
    database.close()


def test_a_whole_run_has_no_problems_and_is_not_changed(whole: Path) -> None:
    before = {path: path.read_bytes() for path in whole.rglob("*") if path.is_file()}
    assert set(levels(whole).values()) == {"ok"}
    assert {path: path.read_bytes() for path in whole.rglob("*") if path.is_file()} == before


@pytest.mark.parametrize(
    ("statement", "text"),
    [
        ("DELETE FROM segments WHERE interval = 1", "which is missing"),
        ("UPDATE segments SET source_interval = 1 WHERE interval = 1", "run in a circle"),
        (
            "UPDATE segments SET digest = '', score = NULL WHERE interval = 0",
            "has no state to start from",
        ),
        (
            "UPDATE segments SET first_step = 9 WHERE interval = 1 AND member = 0",
            "begins with step 9",
        ),
        (
            "UPDATE segments SET source_member = (source_member + 1) % 4 WHERE interval = 2",
            "differs from decision 1,",
        ),
        (
            "UPDATE segments SET hparams = json_set(hparams, '$.lr', 1.0) WHERE interval = 1",
            "differs from decision 0,",
        ),
        ("""UPDATE segments SET hparams = '{"lr": 1}' WHERE interval = 1""", "does not fit"),
        ("DELETE FROM decisions WHERE number = 0", "decision 0 is missing"),
        ("UPDATE segments SET hparams = 'nonsense'", "is damaged"),
        (
            "CREATE TRIGGER t AFTER INSERT ON segments BEGIN DELETE FROM segments; END",
            "other tables",
        ),
    ],
)
def test_a_journal_that_contradicts_itself_is_found(run: Path, statement: str, text: str) -> None:
    change(run, statement)
    finding = found(run, "journal")
    assert finding.level == "problem"
    assert text in finding.text
    assert "restore the directory from a copy" in finding.advice


def test_a_journal_with_a_damaged_page_is_found(run: Path) -> None:
    content = bytearray((run / "journal.db").read_bytes())
    content[5000:9000] = bytes(4000)
    (run / "journal.db").write_bytes(content)
    assert found(run, "journal").level == "problem"


def lose(path: Path) -> None:
    path.unlink()


def alter(path: Path) -> None:
    path.write_bytes(path.read_bytes()[:-1] + b"x")


@pytest.mark.parametrize(
    ("damage", "level", "text"),
    [(lose, "note", "last states are missing"), (alter, "problem", "damaged")],
)
def test_checkpoints_that_are_not_what_the_journal_says_are_found_and_mended_as_advised(
    run: Path, damage: Callable[[Path], None], level: str, text: str
) -> None:
    last = popgrad.load(run).segments[-1]
    damage(Directory(run).checkpoints.path(last.digest))
    finding = found(run, "checkpoints")
    assert (finding.level, text in finding.text) == (level, True)
    assert "popgrad resume" in finding.advice
    popgrad.resume(run, task=odd(), intervals=4)
    assert levels(run)["checkpoints"] == "ok"


def test_what_can_be_collected_is_told(run: Path) -> None:
    Directory(run).checkpoints.save({"of": "nobody"})
    finding = found(run, "space")
    assert (finding.level, finding.advice) == ("note", "popgrad gc deletes them")


def test_failures_are_told_with_the_first_reason(tmp_path: Path) -> None:
    broken = Spy(broken={(1, 1): "nan", (2, 1): "raise"})
    popgrad.run(
        broken, population=4, intervals=2, interval=2, executor="serial", directory=tmp_path / "run"
    )
    finding = found(tmp_path / "run", "failures")
    assert finding.text == "2 of 8 segments; the first: member 1, interval 1: the score (q) is nan"


def test_a_task_that_has_changed_or_gone_is_told_and_not_run(tmp_path: Path) -> None:
    file = tmp_path / "climb.py"
    file.write_text(CLIMB)
    popgrad.run(
        f"{file}:Climb",
        population=3,
        intervals=2,
        interval=2,
        executor="serial",
        directory=tmp_path / "run",
    )
    assert levels(tmp_path / "run")["task"] == "ok"
    file.write_text(f"{CLIMB}\nraise SystemExit\n")
    assert "has changed since the run started" in found(tmp_path / "run", "task").text
    file.unlink()
    assert "does not exist" in found(tmp_path / "run", "task").text


def test_another_machine_is_told(run: Path) -> None:
    journal = Journal(run / "journal.db")
    journal.set_about(fingerprint=journal.about()["fingerprint"] | {"capability": "AVX9000"})
    journal.close()
    finding = found(run, "machine")
    assert (finding.level, "'AVX9000' -> " in finding.text) == ("note", True)


def test_a_run_in_progress_and_one_that_was_stopped_are_told_apart(run: Path) -> None:
    with Directory(run).locked():
        assert found(run, "progress").text.startswith("process ")
    change(run, f"UPDATE about SET value = '{json.dumps('unfinished')}' WHERE key = 'stopped'")
    finding = found(run, "progress")
    assert (finding.level, finding.advice) == ("note", f"continue with: popgrad resume {run}")


def test_where_there_is_no_run_that_is_the_problem(tmp_path: Path) -> None:
    (finding,) = doctor.examine_run(tmp_path)
    assert finding.level == "problem"
    assert "this is not the directory of a run" in finding.text


def test_a_run_of_members_that_decide_one_by_one_is_whole_too(tmp_path: Path) -> None:
    popgrad.run(
        Spy(), population=5, intervals=4, interval=2, executor="processes", workers=2, mode="async",
        fraction=0.4, directory=tmp_path / "run",
    )  # fmt: skip
    assert set(levels(tmp_path / "run").values()) == {"ok"}
    change(
        tmp_path / "run",
        "UPDATE segments SET source_member = (source_member + 1) % 5 WHERE interval = 3",
    )
    assert found(tmp_path / "run", "journal").level == "problem"


def test_a_stacked_run_is_compared_with_as_many_threads(tmp_path: Path) -> None:
    task = odd()
    space = {"batch_size": popgrad.Constant(32)}
    popgrad.run(
        task, population=3, intervals=2, interval=2, executor="vectorised", workers=2, space=space,
        directory=tmp_path / "run",
    )  # fmt: skip
    assert set(levels(tmp_path / "run").values()) == {"ok"}


def test_facts_that_cannot_be_are_found_and_not_stumbled_over(run: Path) -> None:
    for key, value in (("fingerprint", "[]"), ("config", "7"), ("space", '"x"')):
        change(run, f"UPDATE about SET value = '{value}' WHERE key = '{key}'")
        assert doctor.examine_run(run)[0].level == "problem"
