"""The monitor tests the newest complete checkpoint, once, and leaves the record as it is."""

import csv
import dataclasses
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

import popgrad
import spies
from popgrad import RunError
from popgrad.runs import monitor as monitoring
from popgrad.runs.monitor import Monitor
from popgrad.store.journal import Journal
from spies import record

ODD = f"{spies.__file__}:odd"
BATCHES = {"batch_size": popgrad.Constant(32)}  # 97 samples: 4 steps an epoch
GIVEN: dict[str, Any] = {
    "population": 1, "interval": 3, "strategy": "schedule", "executor": "serial", "space": BATCHES,
}  # fmt: skip


def trained(directory: Path, intervals: int = 3, task: Any = ODD) -> popgrad.Result:
    return popgrad.run(task, directory=directory, intervals=intervals, outputs=False, **GIVEN)


def readings(directory: Path) -> list[tuple[str, str, int]]:
    journal = Journal(directory / "journal.db", readonly=True)
    try:
        return [(each["reader"], each["split"], each["interval"]) for each in journal.readings()]
    finally:
        journal.close()


def table(directory: Path) -> list[dict[str, str]]:
    with (directory / "results.csv").open(newline="") as stream:
        return list(csv.DictReader(stream))


def test_the_newest_checkpoint_is_tested_and_the_record_stays(tmp_path: Path) -> None:
    result = trained(tmp_path / "run")
    before = record(tmp_path / "run")
    said = Monitor(tmp_path / "run").test_newest()
    metrics = result.test()
    assert said == (
        f"test after epoch 3, step 9 (it decides nothing): accuracy {metrics['accuracy']:.4g}, "
        f"loss {metrics['loss']:.4g}"
    )
    assert readings(tmp_path / "run")[0] == ("monitor", "test", 2)
    row = {
        "epoch": "3",
        "iter": "9",
        "test_loss": str(metrics["loss"]),
        "test_acc": str(metrics["accuracy"]),
    }
    assert table(tmp_path / "run") == [row]
    assert record(tmp_path / "run") == before


def test_a_checkpoint_is_tested_once_also_by_a_later_monitor(tmp_path: Path) -> None:
    trained(tmp_path / "run")
    monitor = Monitor(tmp_path / "run")
    assert monitor.test_newest() is not None
    assert monitor.test_newest() is None
    assert Monitor(tmp_path / "run").test_newest() is None
    assert len(table(tmp_path / "run")) == 1
    popgrad.resume(tmp_path / "run", intervals=4)
    assert monitor.test_newest() is not None
    assert [row["iter"] for row in table(tmp_path / "run")] == ["9", "12"]
    assert [row["epoch"] for row in table(tmp_path / "run")] == ["3", "3"]


def test_what_others_have_read_is_none_of_its_rows(tmp_path: Path) -> None:
    result = trained(tmp_path / "run")
    result.test()
    result.evaluate((0, 2), "validation", reader="monitor")
    assert Monitor(tmp_path / "run").test_newest() is not None
    assert len(table(tmp_path / "run")) == 1


def test_no_table_where_none_is_wanted(tmp_path: Path) -> None:
    trained(tmp_path / "run")
    assert Monitor(tmp_path / "run", table=False).test_newest() is not None
    assert not (tmp_path / "run" / "results.csv").exists()
    assert readings(tmp_path / "run") == [("monitor", "test", 2)]


def test_a_checkpoint_that_the_journal_does_not_name_is_none(tmp_path: Path) -> None:
    trained(tmp_path / "run")
    folder = tmp_path / "run" / "checkpoints"
    newest = max(folder.iterdir())
    (folder / ".0123.part").write_bytes(newest.read_bytes()[:100])
    (folder / f"{'f' * 64}.safetensors").write_bytes(newest.read_bytes()[:100])
    assert Monitor(tmp_path / "run").test_newest() is not None
    assert readings(tmp_path / "run") == [("monitor", "test", 2)]


def test_a_checkpoint_that_is_let_go_of_meanwhile_gives_way_to_a_newer_one(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A Plain is better after each interval, so that none but its last state is kept."""
    given = {key: value for key, value in GIVEN.items() if key != "space"}
    popgrad.run(spies.Plain(), directory=tmp_path / "run", intervals=3, **given)
    looks: list[int] = []

    def load(directory: Path, data_dir: str | None) -> popgrad.Result:
        """At first the record as it was, when interval 1 was the newest."""
        looks.append(1)
        result = popgrad.load(directory, task=spies.Plain(), data_dir=data_dir)
        shown = 2 if len(looks) == 1 else 3
        partial = dataclasses.replace(result.record, segments=result.segments[:shown])
        return dataclasses.replace(result, record=partial)

    monkeypatch.setattr(monitoring, "load", load)
    monitor = Monitor(tmp_path / "run")
    assert monitor.test_newest() is not None
    assert readings(tmp_path / "run") == [("monitor", "test", 2)]
    assert len(looks) == 2
    row = table(tmp_path / "run")[0]  # a task that counts no epochs has intervals
    assert (row["epoch"], row["iter"], row["test_loss"]) == ("3", "9", "")
    assert float(row["test_acc"]) > 0


def test_a_state_that_stays_away_is_said(tmp_path: Path) -> None:
    trained(tmp_path / "run")
    for path in (tmp_path / "run" / "checkpoints").iterdir():
        path.unlink()
    with pytest.raises(RunError, match="is missing"):
        Monitor(tmp_path / "run").test_newest()
    assert readings(tmp_path / "run") == []


def start_monitor(*argv: str) -> "subprocess.Popen[str]":
    command = [sys.executable, "-m", "popgrad.runs.monitor", *argv]
    pipe = subprocess.PIPE
    return subprocess.Popen(command, stdin=pipe, stdout=pipe, stderr=pipe, text=True)


def test_the_process_tests_at_once_and_once_more_when_its_input_ends(tmp_path: Path) -> None:
    talking = tmp_path / "talking.py"
    talking.write_text(f"import sys\nsys.path.insert(0, {str(Path(spies.__file__).parent)!r})\n"
                       "from spies import Plain\n\nclass Task(Plain):\n"
                       "    def evaluate(self, *given):\n        print('hello')\n"
                       "        return super().evaluate(*given)\n")  # fmt: skip
    given = {key: value for key, value in GIVEN.items() if key != "space"}
    popgrad.run(f"{talking}:Task", directory=tmp_path / "run", intervals=2, **given)
    with start_monitor(str(tmp_path / "run"), "--sleep", "1000") as process:
        assert process.stderr is not None
        said = process.stderr.readline() + process.stderr.readline()
        assert said.startswith("hello\ntest after epoch 2, step 6 (it decides nothing): q ")
        popgrad.resume(tmp_path / "run", intervals=3)
        out, err = process.communicate(timeout=100)  # closes its input
    assert (process.returncode, out) == (0, "")
    assert err.startswith("hello\ntest after epoch 3, step 9 ")
    assert [row["iter"] for row in table(tmp_path / "run")] == ["6", "9"]


def test_the_process_says_in_one_line_what_it_cannot_do(tmp_path: Path) -> None:
    with start_monitor(str(tmp_path), "--no-table") as process:
        out, err = process.communicate(timeout=100)
    assert (process.returncode, out) == (1, "")
    assert err.startswith("popgrad monitor: there is no journal at ")
    assert err.count("\n") == 1


@pytest.mark.parametrize("last", ["tested", "gone"])
def test_only_the_last_checkpoint_has_to_be_there(
    last: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """Those before it may be let go of faster than they can be opened."""
    source, sink = os.pipe()
    answers = ["gone", "gone", "tested", "gone", last]

    class Chasing(Monitor):
        def test_newest(self) -> str | None:
            answer = answers.pop(0)
            if len(answers) == 1:
                os.close(sink)
            if answer == "gone":
                raise RunError("the checkpoint is missing")
            return answer

    monkeypatch.setattr(monitoring, "Monitor", Chasing)
    monkeypatch.setattr(sys, "argv", ["monitor", str(tmp_path), "--sleep", "0"])
    with open(source) as stdin:
        monkeypatch.setattr(sys, "stdin", stdin)
        if last == "gone":
            with pytest.raises(SystemExit, match="popgrad monitor: the checkpoint is missing"):
                monitoring.main()
        else:
            monitoring.main()
    assert answers == []
    assert capsys.readouterr().err.splitlines() == ["tested"] * (2 if last == "tested" else 1)
