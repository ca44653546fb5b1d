"""The commands `ablate` and `schedule --explain`, as a user reads them."""

import json
import shutil
import time
from pathlib import Path

import pytest

from popgrad.runs import ablation
from program import SMALL, popgrad, start_program


def test_ablate_prints_the_arms_the_cost_and_a_sentence(finished: Path, tmp_path: Path) -> None:
    run = shutil.copytree(finished, tmp_path / "run")
    done = popgrad("ablate", str(run), "--seeds", "2", "--no-random-search")
    assert done.code == 0
    assert "better" in done.out
    assert "Cost in training steps" in done.out
    assert "ablation.png" in done.out
    assert "seed 1000, schedule" in done.err

    again = popgrad("ablate", str(run), "--seeds", "2", "--no-random-search", "--json")
    assert again.json["seeds"] == [1000, 1001]
    assert " ".join(again.json["sentence"].split()) in " ".join(done.out.split())


def test_ablate_reads_no_test_split_of_a_task_without_one(finished: Path, tmp_path: Path) -> None:
    done = popgrad("ablate", str(finished), "--dir", str(tmp_path / "kept"), "--seeds", "0")
    assert done.code == 2
    assert "seeds: expected an integer in 1..1000" in done.err


def test_an_interrupt_states_how_to_continue(
    finished: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def interrupted(*_: object, **__: object) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr(ablation, "ablate", interrupted)
    done = popgrad("ablate", str(finished), "--dir", str(tmp_path / "kept"))
    assert done.code == 130
    assert "continue with the same command" in done.err


@pytest.mark.slow
@pytest.mark.parametrize("killed", ["schedule-1001", "random-search"])
def test_an_ablation_that_was_killed_continues_to_the_same_table(killed: str) -> None:
    """Killed while a model trains, or the random search, whose third interval is held until then."""
    given = ("toy.py:Toy", *SMALL, "--no-test", "--no-check", "--debug")
    assert popgrad("run", *given, "--dir", "whole").code == 0
    shutil.copytree("whole", "run")
    # The models before the one to kill are there already: only that one is held.
    search = () if killed == "random-search" else ("--no-random-search",)
    if killed == "schedule-1001":
        assert popgrad("ablate", "run", "--seeds", "1", *search).code == 0

    program = start_program("ablate", "run", "--seeds", "2", *search, HOLD="yes")
    wait_for_segments(Path("run/ablation") / killed, 8 if killed == "random-search" else 2)
    program.kill()
    program.communicate()

    summary = Path("run/ablation/ablation.json")
    # What a table says is about whole models: it is that of the first call, or there is none yet.
    kept = json.loads(summary.read_text()).get("seeds")
    assert kept == ([1000] if killed == "schedule-1001" else None)

    again = popgrad("ablate", "run", "--seeds", "2", *search, "--json")
    whole = popgrad("ablate", "whole", "--seeds", "2", *search, "--json")
    assert again.code == whole.code == 0
    assert again.json == whole.json
    assert json.loads(summary.read_text())["seeds"] == [1000, 1001]


def wait_for_segments(directory: Path, count: int) -> None:
    """Wait until a run has so many segments on record."""
    deadline = time.monotonic() + 60
    while time.monotonic() < deadline:
        shown = popgrad("show", str(directory), "--json")
        if shown.code == 0 and shown.json["segments"] >= count:
            return
        time.sleep(0.1)
    raise AssertionError(shown)


def test_explain_prints_a_shape_and_lines_to_paste(finished: Path) -> None:
    done = popgrad("schedule", str(finished), "--explain")
    assert done.code == 0
    assert "off by" in done.out
    code = "\n".join(line for line in done.out.splitlines() if "lambda step" in line)
    names: dict[str, object] = {}
    exec("import math\n" + code, names)
    assert {"h0", "h1"} <= names.keys()

    rows = popgrad("schedule", str(finished), "--explain", "--json").json
    assert [row["name"] for row in rows] == ["h0", "h1"]
    assert all(row["code"].splitlines()[-1] in done.out for row in rows)


def test_explain_is_not_mixed_with_tables_of_phases(finished: Path) -> None:
    for other in ("--csv", "--merged"):
        done = popgrad("schedule", str(finished), "--explain", other)
        assert (done.code, done.out) == (2, "")
        assert "given both" in done.err
